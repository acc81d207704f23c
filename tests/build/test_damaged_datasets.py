"""A damaged dataset folder: one clear line, and nothing is deleted that cannot be computed again.

The classifier and the transcriber are stand-ins (see `fakes`); everything that touches files is real.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fakes import melody, write_audio

from aria_data.errors import (
    ConfigInvalid,
    DatasetCorrupt,
    DatasetLocked,
)
from aria_data.manifest import Manifest
from aria_data.storage import exclusive_lock
from flows.remove import remove_items

SETTINGS = ("segment.min_segment_s=5",)
ADVICE = ("Get the", "Check ", "Remove ", "remove ", "Cut it")  # a failure says what to do next


# ---------------------------------------------------------------- a damaged dataset folder


@pytest.fixture
def dataset(tmp_path, build):
    for number in range(2):
        write_audio(tmp_path / "in" / f"{number}.wav", melody(6, number))
    build(tmp_path / "in", tmp_path / "out")
    return tmp_path / "out"


def content_of(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


GARBAGE = {"noise": b"\x00\xff garbage", "empty": b"", "cut": b'{"add":{"path":"x.par', "other": b'[1, 2]\n"x"\n'}


@pytest.mark.parametrize("kind", GARBAGE)
@pytest.mark.parametrize("table", ["tables/ingest", "manifest"])
def test_garbage_in_a_tables_log_stops_the_build_in_one_line_and_deletes_nothing(dataset, build, table, kind):
    log = dataset / table / "_delta_log" / "00000000000000000000.json"
    log.write_bytes(GARBAGE[kind])
    before = content_of(dataset)
    with pytest.raises(DatasetCorrupt) as caught:
        build(dataset.parent / "in", dataset)
    message = str(caught.value)
    assert message.startswith(str(dataset / table))
    assert "\n" not in message
    assert "this table is damaged" in message
    assert "backup" in message
    after = content_of(dataset)
    assert {path: content for path, content in before.items() if after.get(path) != content} == {}


def test_a_commit_missing_from_the_middle_deletes_nothing_and_is_one_line(dataset, build):
    for number in range(2, 4):
        write_audio(dataset.parent / "in" / f"{number}.wav", melody(6, number))
        build(dataset.parent / "in", dataset)
    (dataset / "tables" / "ingest" / "_delta_log" / "00000000000000000001.json").unlink()
    before = content_of(dataset / "tables" / "ingest")
    with pytest.raises(DatasetCorrupt, match="tables/ingest: this table is damaged"):
        build(dataset.parent / "in", dataset)
    assert content_of(dataset / "tables" / "ingest") == before


@pytest.mark.parametrize(("table", "is_cache"), [("ingest", True), ("removals", False)])
def test_only_a_table_that_can_be_computed_again_is_said_to_be_one(dataset, build, table, is_cache):
    remove_items(dataset, [Manifest(dataset).rows()[0]["segment_id"]], "takedown")
    (dataset / "tables" / table / "_delta_log" / "00000000000000000000.json").write_bytes(b"x")
    with pytest.raises(DatasetCorrupt, match=f"tables/{table}: this table is damaged") as caught:
        build(dataset.parent / "in", dataset)
    assert ("delete this table's folder" in str(caught.value)) == is_cache


def test_a_damaged_table_can_be_deleted_and_is_computed_again(dataset, build):
    expected = Manifest(dataset).rows()
    (dataset / "tables" / "ingest" / "_delta_log" / "00000000000000000000.json").write_bytes(b"x")
    shutil.rmtree(dataset / "tables" / "ingest")
    summary = build(dataset.parent / "in", dataset)
    assert summary.stages["ingest"].num_worked_on == 2
    assert not summary.is_new_version
    assert Manifest(dataset).rows() == expected


@pytest.mark.parametrize("damage", ["deleted", "garbage"])
def test_a_lost_data_file_of_the_manifest_is_one_line_for_every_command(dataset, build, damage):
    row = Manifest(dataset).rows()[0]
    for file in (dataset / "manifest").rglob("*.parquet"):
        file.unlink() if damage == "deleted" else file.write_bytes(b"garbage")
    for action in (
        lambda: build(dataset.parent / "in", dataset),
        lambda: Manifest(dataset).rows(),
        lambda: Manifest(dataset).query("num_notes > 0"),
        lambda: Manifest(dataset).diff(1, 1),
        lambda: remove_items(dataset, [row["segment_id"]], "x"),
    ):
        with pytest.raises(DatasetCorrupt) as caught:
            action()
        assert "a data file is missing or damaged" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_lost_data_file_of_a_stage_is_one_line(dataset, build):
    for file in (dataset / "tables" / "classify").rglob("*.parquet"):
        file.unlink()
    with pytest.raises(DatasetCorrupt, match="tables/classify: this table is damaged") as caught:
        build(dataset.parent / "in", dataset)
    assert "\n" not in str(caught.value)


def test_a_garbage_dataset_toml_is_said_with_a_way_out(dataset, build):
    before = (dataset / "dataset.toml").read_bytes()
    (dataset / "dataset.toml").write_bytes(b"\xff\xfe [[[ garbage")
    with pytest.raises(ConfigInvalid, match="dataset.toml: is not valid TOML .* Name another with --config") as caught:
        build(dataset.parent / "in", dataset)
    assert "\n" not in str(caught.value)
    summary = build(dataset.parent / "in", dataset, config_path=Path("defaults"))
    assert not summary.is_new_version
    assert (dataset / "dataset.toml").read_bytes() == before


def test_what_a_killed_build_left_is_cleared_away(dataset, build):
    partial = dataset / "midi" / "ab" / "x.mid.partial"
    partial.parent.mkdir(exist_ok=True)
    partial.write_bytes(b"half")
    orphan = dataset / "tables" / "ingest" / "part-00000-orphan.parquet"
    orphan.write_bytes(b"half")
    kept = content_of(dataset / "manifest")
    build(dataset.parent / "in", dataset)
    assert not partial.exists()
    assert not orphan.exists()
    assert content_of(dataset / "manifest") == kept


def test_a_second_build_at_the_same_time_is_told_to_wait(dataset, build):
    before = content_of(dataset)
    with exclusive_lock(dataset / ".lock"):
        for action in (
            lambda: build(dataset.parent / "in", dataset),
            lambda: remove_items(dataset, [Manifest(dataset).rows()[0]["segment_id"]], "x"),
        ):
            with pytest.raises(DatasetLocked, match=r"another build is working in this folder\. Wait for it to end\."):
                action()
    assert content_of(dataset) == before
    assert build(dataset.parent / "in", dataset).version == 1


def test_a_source_that_loses_files_keeps_what_was_made_of_them(dataset, build):
    (dataset.parent / "in" / "0.wav").unlink()
    summary = build(dataset.parent / "in", dataset)
    assert (summary.num_files, summary.failures, summary.not_done) == (2, [], [])
    assert not summary.is_new_version


def test_a_file_that_changed_into_rubbish_fails_and_leaves_the_next_version(dataset, build):
    path = dataset.parent / "in" / "0.wav"
    path.write_text("no longer audio")
    summary = build(dataset.parent / "in", dataset)
    assert [line.split(" (")[0] for line in summary.failures] == ["0.wav: not_audio"]
    assert (summary.version, summary.num_files) == (2, 1)
    assert Manifest(dataset).versions()[0].num_files == 2
