"""A split, once given, stays: whatever is removed, learned, corrected or left out for a while."""

from __future__ import annotations

import json

import pytest
from fakes import manifest_row, melody, write_audio

from aria_data.manifest import Manifest
from aria_data.release import ReleaseConfig
from aria_data.release.rows_of_segments import build_rows
from aria_data.release.split_history import SplitHistory, labels_of
from flows.remove import remove_items


def splits(out) -> dict[str, str]:
    return {row["source_url"]: row["split"] for row in Manifest(out).rows() if row["removed_in"] is None}


def song(folder, name: str, seed: int, title: str = "") -> None:
    write_audio(folder / f"{name}.wav", melody(8, seed))
    if title:
        (folder / f"{name}.info.json").write_text(json.dumps({"title": title}))


TITLES = [f"Chopin: Etude Op. 10 No. {number}, piano solo" for number in range(1, 13)]
SHARES = ("segment.min_segment_s=5", "release.test_share=0.3", "release.validation_share=0.3")


@pytest.fixture
def world(tmp_path, build):
    """Twelve recordings of twelve pieces, some in each split, and what builds them again."""
    for number, title in enumerate(TITLES):
        song(tmp_path / "in", f"{number:02d}", number, title)

    def again(*more: str) -> dict[str, str]:
        build(tmp_path / "in", tmp_path / "out", settings=(*SHARES, *more))
        return splits(tmp_path / "out")

    again()
    return tmp_path, again


def test_removing_the_first_of_a_group_moves_none_of_the_others(world):
    root, again = world
    for number in range(12):  # a second recording of each piece, later
        song(root / "in", f"{number:02d} again", 100 + number, TITLES[number])
    before = again()
    assert set(before.values()) == {"train", "validation", "test"}
    first = [row["segment_id"] for row in Manifest(root / "out").rows() if len(row["source_url"]) == len("00.wav")]
    remove_items(root / "out", first, "a wish")
    after = again()
    assert len(after) == 12
    assert after == {name: split for name, split in before.items() if name in after}


def test_learning_and_correcting_a_title_moves_no_row_out_of_its_split(world):
    root, again = world
    before = again()
    for number in range(12):
        song(root / "in", f"{number:02d}", number, f"Scriabin: Etude Op. 42 No. {number % 8 + 1}, piano solo")
    after = again()
    strictest = ["train", "validation", "test"]
    for name in before:  # two pieces share a number now, so some groups became one: the stricter split holds
        assert strictest.index(after[name]) >= strictest.index(before[name])
    assert sum(after[name] != before[name] for name in before) <= 4


def test_what_was_left_out_for_a_while_comes_back_into_its_split(world):
    root, again = world
    before = again()
    assert again("segment.min_segment_s=60") == {}
    assert again("release.test_share=0.9", "release.validation_share=0.05") == before


def test_a_new_recording_of_a_piece_joins_its_split_also_when_the_others_are_gone(world):
    root, again = world
    before = again()
    remove_items(root / "out", [row["segment_id"] for row in Manifest(root / "out").rows()], "all of it")
    for number in range(12):
        song(root / "in", f"{number:02d} new", 200 + number, TITLES[number])
    after = again("release.test_share=0.0", "release.validation_share=0.0")
    assert after == {name.replace(".wav", " new.wav"): split for name, split in before.items()}


def test_where_two_groups_become_one_the_stricter_split_holds_and_diff_says_so(tmp_path):
    from flows.show.differences import reasons_of

    plain = {"audio_cluster": "", "notes_cluster": "", "excluded_by": "", "composition_id": ""}
    old = [
        manifest_row("a_0", recording_cluster="r-a", split="test", **plain),
        manifest_row("b_0", recording_cluster="r-b", split="train", **plain),
    ]
    Manifest(tmp_path).commit(old)
    given = SplitHistory(tmp_path).read()
    assert given == {"recording_id=a": "test", "recording_id=b": "train"}
    joined = [row | {"recording_cluster": "r-a"} for row in old]
    rows = build_rows([], ReleaseConfig(), [], 2, carried=joined, given_splits=given)
    assert {row["split"] for row in rows} == {"test"}
    Manifest(tmp_path).commit(rows)
    why = reasons_of(tmp_path, Manifest(tmp_path).diff(1, 2), 1, 2).changed["b_0"]
    assert why == "other clusters and linked now to rows of a stricter split"


def test_a_dataset_released_before_splits_were_recorded_is_read_for_those_of_all_its_versions(tmp_path):
    manifest = Manifest(tmp_path)
    manifest.commit([manifest_row("a_0", split="test", composition_id="x:1"), manifest_row("b_0", split="train")])
    manifest.commit([manifest_row("b_0", split="train", composition_id="y:1")])
    given = SplitHistory(tmp_path).read()
    assert given["recording_id=a"] == given["composition_id=x:1"] == "test"
    assert given["recording_id=b"] == "train"
    SplitHistory(tmp_path).add(manifest.rows())
    assert SplitHistory(tmp_path).read()["composition_id=y:1"] == "train"


def test_excluded_is_no_split_that_stays():
    assert labels_of(manifest_row("a_0", composition_id="", audio_cluster="")) == ["recording_id=a"]
    rows = [manifest_row("a_0", split="excluded", excluded_by="", composition_id="x:1")]
    assert build_rows([], ReleaseConfig(test_share=0, validation_share=0), [], 2, carried=rows)[0]["split"] == "train"


NEVER_BY_HASH = ReleaseConfig(test_share=0, validation_share=0)


def split_after(given: dict[str, str], composition_id: str, **values) -> str:
    """The split of a new row where the rows with these splits are gone."""
    row = manifest_row("new_0", composition_id=composition_id, excluded_by="", **{"audio_cluster": ""} | values)
    return build_rows([], NEVER_BY_HASH, [], 2, carried=[row], given_splits=given)[0]["split"]


@pytest.mark.parametrize(("earlier", "later"), [
    ("beethoven:op27-2", "beethoven:op27-2:3"),
    ("beethoven:op27-2:3", "beethoven:op27-2"),
    ("beethoven:op27-2:1", "beethoven:op27-2:3"),
    ("chopin:op9", "chopin:op9-2"),
    ("chopin:op9-2", "chopin:op9"),
    ("schumann:op15-7", "schumann:op15-1"),
    ("bach:bwv846-869", "bach:bwv847:fugue"),
])  # fmt: skip
def test_a_work_keeps_its_split_when_only_another_part_of_it_was_ever_there(earlier, later):
    assert split_after({f"composition_id={earlier}": "test"}, later) == "test"


def test_two_pieces_of_an_opus_are_not_tied_by_the_opus_that_is_gone():
    given = {"composition_id=chopin:op9": "train", "composition_id=chopin:op9-1": "test"}
    assert split_after(given, "chopin:op9-2") == "train"
    assert split_after(given, "chopin:op9") == "test"


def test_the_same_samples_in_another_file_keep_their_split_when_the_first_file_is_gone():
    given = {"recording_id=old": "test", "audio_cluster=audio-1": "test"}
    assert split_after(given, "", audio_cluster="audio-1") == "test"
