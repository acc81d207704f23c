"""Removals delete rows and files of every version, however they were named and wherever the removal was killed."""

from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from fakes import manifest_row, melody, write_audio

from aria_data.errors import UsageError
from aria_data.manifest import Manifest, Row
from aria_data.records import Candidate, Download
from aria_data.release import ReleaseConfig, Removals
from aria_data.release.rows_of_segments import build_rows
from aria_data.storage.stage_tables import DONE, Outcome, StageTable
from flows import remove as removing
from flows.cli.command import cli
from flows.remove import remove_items, sweep


class Killed(Exception):
    """Stands for the end of the process at that point: nothing after it runs."""


def killed(*_: object, **__: object) -> None:
    raise Killed


def remove_killed_at(function: str, dataset: Path, entry: str, reason: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(removing, function, killed)
        with pytest.raises(Killed):
            remove_items(dataset, [entry], reason)


@pytest.fixture
def dataset(tmp_path, build):
    for seed, name in enumerate(("a.wav", "b.wav")):
        write_audio(tmp_path / "in" / name, melody(8, seed))
    build(tmp_path / "in", tmp_path / "out")
    return tmp_path / "out"


def by_url(dataset: Path) -> dict[str, Row]:
    return {row["source_url"]: row for row in Manifest(dataset).rows()}


def present(dataset: Path) -> set[str]:
    return {row["source_url"] for row in Manifest(dataset).query().to_pylist()}


def candidate_ids(dataset: Path) -> dict[str, str]:
    observed = [outcome.record for outcome in StageTable(dataset, "collect", Candidate).all()]
    return {one.source_url: one.candidate_id for one in observed}


def name_of(dataset: Path, kind: str) -> str:
    return candidate_ids(dataset)["a.wav"] if kind == "candidate_id" else by_url(dataset)["a.wav"][kind]


def stone_of(dataset: Path, row: Row) -> tuple[int | None, str | None]:
    (stone,) = [one for one in Manifest(dataset).rows() if one["segment_id"] == row["segment_id"]]
    return stone["removed_in"], stone["removal_reason"]


KINDS = ("candidate_id", "segment_id", "recording_id", "source_url")


def test_a_removal_by_candidate_id_takes_its_rows_out(dataset, build):
    gone = by_url(dataset)["a.wav"]
    removed = remove_items(dataset, [candidate_ids(dataset)["a.wav"]], "takedown")
    assert (removed.version, removed.num_removed, removed.copies) == (2, 1, ())
    assert stone_of(dataset, gone) == (2, "takedown")
    assert not (dataset / gone["midi_path"]).exists()
    assert (dataset.parent / "in" / "a.wav").exists()  # a person's own recording
    assert not build(dataset.parent / "in", dataset).is_new_version
    assert present(dataset) == {"b.wav"}


def test_a_candidate_of_the_same_path_below_another_folder_stays(dataset, build):
    own = candidate_ids(dataset)["a.wav"]
    write_audio(dataset.parent / "other" / "a.wav", melody(8, 7))
    build(dataset.parent / "other", dataset)
    assert len(Manifest(dataset).rows()) == 3
    assert remove_items(dataset, [own], "takedown").num_removed == 1
    assert present(dataset) == {"a.wav", "b.wav"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_removal_killed_before_its_commit_is_completed_by_the_next_build(dataset, build, kind):
    gone = by_url(dataset)["a.wav"]
    remove_killed_at("publish_change", dataset, name_of(dataset, kind), "takedown")
    assert present(dataset) == {"a.wav", "b.wav"}
    assert (dataset / gone["midi_path"]).exists()
    summary = build(dataset.parent / "in", dataset)
    assert (summary.version, summary.num_files) == (2, 1)
    assert stone_of(dataset, gone) == (2, "takedown")
    assert not (dataset / gone["midi_path"]).exists()
    assert not build(dataset.parent / "in", dataset).is_new_version


def test_a_removal_killed_before_its_commit_stays_out_when_the_same_bytes_come_under_another_name(dataset, build):
    gone = by_url(dataset)["a.wav"]
    remove_killed_at("publish_change", dataset, candidate_ids(dataset)["a.wav"], "takedown")
    shutil.copy(dataset.parent / "in" / "a.wav", dataset.parent / "in" / "z.wav")
    build(dataset.parent / "in", dataset)
    assert stone_of(dataset, gone) == (2, "takedown")
    assert present(dataset) == {"b.wav"}


def test_a_removal_killed_before_its_commit_is_completed_by_the_next_removal_with_its_own_reason(dataset):
    rows = by_url(dataset)
    remove_killed_at("publish_change", dataset, rows["a.wav"]["recording_id"], "first")
    assert remove_items(dataset, [rows["b.wav"]["recording_id"]], "second").num_removed == 2
    assert [stone_of(dataset, rows[name]) for name in ("a.wav", "b.wav")] == [(2, "first"), (2, "second")]
    assert not list((dataset / "midi").rglob("*.mid"))


@pytest.mark.parametrize("finisher", ["build", "remove"])
def test_a_removal_killed_after_its_commit_leaves_no_file_behind_the_next_time(dataset, build, finisher):
    gone, kept = by_url(dataset)["a.wav"], by_url(dataset)["b.wav"]
    remove_killed_at("sweep", dataset, gone["segment_id"], "takedown")
    assert stone_of(dataset, gone) == (2, "takedown")
    assert (dataset / gone["midi_path"]).exists()
    if finisher == "build":
        build(dataset.parent / "in", dataset)
    else:
        remove_items(dataset, [gone["segment_id"]], "takedown")
        assert {path.name for path in (dataset / "index").iterdir()} <= {"passed"}  # it has neither notes nor sound
    left = b"".join(path.read_bytes() for path in (dataset / "index").rglob("*.arrow"))
    assert gone["midi_sha256"].encode() not in left
    assert not (dataset / gone["midi_path"]).exists()
    assert (dataset / kept["midi_path"]).exists()


def test_the_midi_of_older_versions_goes_too(dataset, build):
    old = by_url(dataset)["a.wav"]
    path = dataset / old["midi_path"]
    older = path.with_name(f"{old['recording_id']}_1.0badcafe.mid")  # a segment that only an older version had
    shutil.copy(path, older)
    remove_items(dataset, [old["recording_id"]], "takedown")
    assert not path.exists()
    assert not older.exists()


def test_removing_one_segment_leaves_the_others_of_its_recording(tmp_path, build):
    silence = 0 * melody(12)
    write_audio(tmp_path / "in" / "a.wav", np.concatenate([melody(8, 1), silence, melody(8, 2)]))
    build(tmp_path / "in", tmp_path / "out")
    first, second = Manifest(tmp_path / "out").rows()
    remove_items(tmp_path / "out", [first["segment_id"]], "wrong notes")
    assert not (tmp_path / "out" / first["midi_path"]).exists()
    assert (tmp_path / "out" / second["midi_path"]).exists()


def test_removing_a_file_that_was_set_aside_names_the_one_that_stands_for_it(dataset, build):
    shutil.copy(dataset.parent / "in" / "a.wav", dataset.parent / "in" / "copy.wav")
    build(dataset.parent / "in", dataset)
    removed = remove_items(dataset, ["copy.wav"], "takedown")
    keeper = by_url(dataset)["a.wav"]
    assert removed.num_removed == 0
    assert [(one.segment_id, one.sameness, one.original) for one in removed.copies] == [
        (keeper["segment_id"], "file", "copy.wav")
    ]
    assert (dataset / keeper["midi_path"]).exists()
    build(dataset.parent / "in", dataset)
    assert present(dataset) == {"a.wav", "b.wav"}


def test_copies_that_stay_are_named_by_the_command(dataset, build):
    bytes_of_a = (dataset.parent / "in" / "a.wav").read_bytes()
    (dataset.parent / "in" / "tagged.wav").write_bytes(bytes_of_a + b"note\x04\0\0\0abcd")  # the same samples
    build(dataset.parent / "in", dataset)
    rows = by_url(dataset)
    assert rows["a.wav"]["recording_cluster"] == rows["tagged.wav"]["recording_cluster"]
    arguments = ["remove", str(dataset), "a.wav", "--reason", "takedown"]
    said = CliRunner().invoke(cli, arguments, catch_exceptions=False).output.splitlines()
    assert said[0].startswith("Removed 1 MIDI files; version 3 is without them")
    gone, stays = rows["a.wav"]["segment_id"], rows["tagged.wav"]["segment_id"]
    assert said[1:] == [
        f"{stays} (tagged.wav) stays: it has the same recording as {gone}.",
        "To remove those as well, name their ids.",
    ]


def test_fetched_audio_of_a_killed_removal_is_swept(tmp_path):
    audio = tmp_path / "audio" / "ab" / "web-1.flac"
    audio.parent.mkdir(parents=True)
    audio.write_bytes(b"audio")
    audio.with_name("web-2.flac").write_bytes(b"audio")
    for name in ("web-1", "web-2"):
        candidate = Candidate(name, "web", f"https://{name}.example/a.flac", f"https://{name}.example/", "")
        StageTable(tmp_path, "collect", Candidate).append([Outcome(name, name, DONE, record=candidate)])
        path = f"audio/ab/{name}.flac"
        record = Download(name, path, 5, "a", "s", 1.0, 8000, 1, "flac", -20.0, -3.0, 0, "", "", "x", "x")
        StageTable(tmp_path, "download", Download).append([Outcome(name, name, DONE, record=record)])
    assert sweep(tmp_path) == 0
    assert audio.exists()
    Removals(tmp_path).add(["domain:web-1.example"], "asked")
    sweep(tmp_path)
    assert [path.name for path in audio.parent.iterdir()] == ["web-2.flac"]


def test_a_row_that_is_not_made_again_becomes_a_tombstone_only_when_a_removal_names_it():
    previous = [manifest_row(f"r{n}_0", source_url=f"{n}.wav") for n in range(4)]
    removals = {"r0_0": "by segment", "r1": "by recording", "2.wav": "by path"}
    rows = build_rows([], ReleaseConfig(), previous, 2, removals)
    assert {row["segment_id"]: (row["removed_in"], row["removal_reason"], row["source_url"]) for row in rows} == {
        "r0_0": (2, "by segment", None),
        "r1_0": (2, "by recording", None),
        "r2_0": (2, "by path", None),
    }
    assert build_rows([], ReleaseConfig(), rows, 3, removals) == rows


def test_an_unknown_id_is_refused_and_one_that_only_an_older_version_had_is_not(dataset, build):
    write_audio(dataset.parent / "in" / "a.wav", melody(9, 5))
    old = by_url(dataset)["a.wav"]
    build(dataset.parent / "in", dataset)
    with pytest.raises(UsageError, match="nothing was removed"):
        remove_items(dataset, ["nope_0"], "takedown")
    assert remove_items(dataset, [old["segment_id"]], "takedown").num_removed == 0
    assert not (dataset / old["midi_path"]).exists()
    assert present(dataset) == {"a.wav", "b.wav"}


def test_the_first_of_several_removals_counts_whatever_the_clock_said(tmp_path, monkeypatch):
    from aria_data.release import removals

    class Clock(datetime):
        hours = 12

        @classmethod
        def now(cls, zone=None):
            return cls(2026, 11, 1, cls.hours, tzinfo=zone)

    monkeypatch.setattr(removals, "datetime", Clock)
    Removals(tmp_path).add(["a_0"], "first")
    Clock.hours = 3  # it was wrong before, or is now
    Removals(tmp_path).add(["a_0"], "second")
    assert Removals(tmp_path).by_id()["a_0"].reason == "first"
