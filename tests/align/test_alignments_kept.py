"""Which alignments stay known: removals, runs that were overtaken, tags that changed. Without scores: records only."""

from __future__ import annotations

import pytest
from datasets_made import row_with_midi, song

from aria_data.manifest import Manifest
from aria_data.records import SegmentAlignment
from aria_data.release import SubsetRecipe
from aria_data.release.alignments import COLUMNS, alignments_of, folder_of, recording_of, with_alignments
from aria_data.release.removals import Removals
from aria_data.release.tombstones import sweep
from aria_data.segment.identity import NUMBERS, NumberedSpan
from aria_data.storage.stage_tables import DONE, Outcome, RecordTable, StageTable
from flows.align import _release
from flows.build.aligned import put_records
from flows.define_subset import define_recipe
from flows.remove import remove_items


def record(root, segment_id, midi_sha256="0", key="aaaaaaaa", **values) -> SegmentAlignment:
    """The record of a segment, with its two files."""
    name = f"{folder_of(recording_of(segment_id))}/{segment_id}.{key}"
    paths = {"beats_path": f"{name}.tsv", "details_path": f"{name}.parquet"}
    for path in paths.values():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("0.5\t0.5\tdb\n")
    known = dict.fromkeys(SegmentAlignment.__dataclass_fields__) | {
        "segment_id": segment_id, "midi_sha256": midi_sha256, "reason": "", "score_id": "a.musicxml",
        "score_sha256": "0", "evidence": "40 of 50", "proposed_composition": "", "composition_agrees": True,
    }  # fmt: skip
    return SegmentAlignment(**{**known, **paths, **values})


def known(root) -> dict[str, SegmentAlignment]:
    return {each.segment_id: each for each in RecordTable(root, "alignments", SegmentAlignment).read()}


def files(root) -> set[str]:
    return {path.name for path in (root / "alignments").rglob("*.tsv")}


@pytest.fixture
def dataset(tmp_path):
    """Two segments of a recording, one of another whose id begins like it, all aligned but not yet released."""
    root, ids = tmp_path / "dataset", ("local-a_0", "local-a_1", "local-a_b_0")
    rows = [
        row_with_midi(
            root, name, song(number), recording_id=recording_of(name), composition_id="bach:bwv1", number=int(name[-1]),
            start_s=60.0 * number, end_s=60.0 * number + 50, **dict.fromkeys(COLUMNS),
        )
        for number, name in enumerate(ids)
    ]  # fmt: skip
    Manifest(root).commit(rows)
    put_records(root, {row["segment_id"]: record(root, row["segment_id"], row["midi_sha256"]) for row in rows})
    spans = [NumberedSpan(recording_of(name), int(name[-1]), 60.0 * at, 60.0 * at + 50) for at, name in enumerate(ids)]
    numbers = StageTable(root, NUMBERS, NumberedSpan)
    numbers.append(Outcome(name, name, DONE, "", 1.0, "", one) for name, one in zip(ids, spans, strict=True))
    return root


def test_a_removal_leaves_what_is_aligned_but_not_yet_released_and_what_older_versions_name(dataset):
    record(dataset, "local-a_1", key="bbbbbbbb")  # an older version's
    remove_items(dataset, ["local-a_0"], "asked to")
    assert files(dataset) == {"local-a_1.aaaaaaaa.tsv", "local-a_1.bbbbbbbb.tsv", "local-a_b_0.aaaaaaaa.tsv"}
    assert list(known(dataset)) == ["local-a_1", "local-a_b_0"]


def test_a_removal_takes_files_of_other_numbers_that_held_the_same_music(dataset):
    numbers = StageTable(dataset, NUMBERS, NumberedSpan)
    numbers.append([Outcome("local-a_1", "before", DONE, "", 0.0, "", NumberedSpan("local-a", 1, 10.0, 40.0))])
    record(dataset, "local-a_1", key="bbbbbbbb")
    remove_items(dataset, ["local-a_0"], "asked to")
    assert files(dataset) == {"local-a_1.aaaaaaaa.tsv", "local-a_b_0.aaaaaaaa.tsv"}


def test_a_removed_recording_without_rows_leaves_no_alignment(dataset):
    put_records(dataset, {"local-x_y_0": record(dataset, "local-x_y_0"), "local-x_0": record(dataset, "local-x_0")})
    remove_items(dataset, ["local-a"], "asked to")
    assert set(known(dataset)) == {"local-a_b_0", "local-x_0", "local-x_y_0"}
    Removals(dataset).add(["local-x_y"], "asked to")
    sweep(dataset)
    assert set(known(dataset)) == {"local-a_b_0", "local-x_0"}
    assert files(dataset) == {"local-a_b_0.aaaaaaaa.tsv", "local-x_0.aaaaaaaa.tsv"}


def test_a_run_releases_no_alignment_whose_files_are_gone(dataset):
    rows = {row["segment_id"]: row for row in Manifest(dataset).rows()}
    done = {name: record(dataset, name, row["midi_sha256"], key="cccccccc") for name, row in rows.items()}
    (dataset / done["local-a_0"].details_path).unlink()
    StageTable(dataset, "align", SegmentAlignment).append(
        Outcome(name, name, DONE, "", None, "", one) for name, one in done.items()
    )
    _release(dataset, done)
    released = Manifest(dataset).rows()
    assert all((dataset / row[name]).is_file() for row in released for name in ("beats_path", "alignment_path"))
    assert [row["beats_path"].split(".")[1] for row in released] == ["aaaaaaaa", "cccccccc", "cccccccc"]


def test_a_subset_by_what_scores_say_has_its_members_when_they_are_released(dataset):
    define_recipe(dataset, "sure", SubsetRecipe(where="score_match > 0.9"))
    rows = {row["segment_id"]: row for row in Manifest(dataset).rows()}
    assert not any(row["in_sure"] for row in rows.values())
    matches = dict(zip(rows, (0.95, 0.8, 0.92), strict=True))
    done = {name: record(dataset, name, rows[name]["midi_sha256"], score_match=matches[name]) for name in rows}
    version = _release(dataset, done)
    assert version == Manifest(dataset).version()
    assert [row["in_sure"] for row in Manifest(dataset).rows()] == [True, False, True]
    assert _release(dataset, done) == version


def test_an_older_result_does_not_displace_one_of_the_notes_that_are_there_now(dataset):
    now = known(dataset)["local-a_0"].midi_sha256
    old = record(dataset, "local-a_0", "before", key="cccccccc")
    put_records(dataset, {"local-a_0": old}, {"local-a_0": now})
    assert known(dataset)["local-a_0"].midi_sha256 == now


def test_what_is_said_of_a_tag_goes_when_the_tag_changes(dataset):
    rows = Manifest(dataset).table()
    judged = dict(zip(rows["segment_id"].to_pylist(), ["bach:bwv1", "bach:bwv2", ""], strict=True))
    old = known(dataset)
    put_records(
        dataset,
        {name: record(dataset, name, old[name].midi_sha256, judged_composition=tag) for name, tag in judged.items()},
    )
    found = with_alignments(rows, alignments_of(dataset)).to_pylist()
    assert [row["composition_agrees"] for row in found] == [True, None, None]
    assert [row["composition_evidence"] for row in found] == ["40 of 50", None, None]
    assert [row["score_id"] for row in found] == ["a.musicxml"] * 3
