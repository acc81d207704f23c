"""A dataset as trainers read it: rows, MIDI bytes, versions, figures, samples, torch; what was removed stays away."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path

import pytest
from click.testing import CliRunner
from datasets_made import make_rows, row_with_midi, song
from fakes import manifest_row

import aria_data
from aria_data.errors import DatasetCorrupt, DatasetNotFound, UsageError
from aria_data.manifest import Manifest
from aria_data.manifest.dataset import read_midi_of
from aria_data.manifest.manifest import arrow_schema
from aria_data.manifest.rows import PLAIN_ROWS
from flows.cli import look as dataset_commands
from flows.remove import remove_items


@pytest.fixture
def rows(tmp_path):
    return make_rows(tmp_path, 12)


@pytest.fixture
def dataset(tmp_path, rows):
    Manifest(tmp_path).commit(rows)
    return aria_data.Dataset(tmp_path)


def tombstone_of(row: dict, version: int) -> dict:
    kept = ("segment_id", "recording_id", "number", "source", "first_version")
    blank = dict.fromkeys(row) | {name: row[name] for name in kept}
    return blank | {"removed_in": version, "removal_reason": "takedown"}


def remove(root: Path, rows: list[dict], *numbers: int) -> list[dict]:
    """Release a version without some of the rows and delete their files, as `aria-data remove` does."""
    version = Manifest(root).version() + 1
    left = [tombstone_of(row, version) if i in numbers else row for i, row in enumerate(rows)]
    Manifest(root).commit(left)
    for number in numbers:
        (root / rows[number]["midi_path"]).unlink()
    return left


# ---------------------------------------------------------------- rows


def test_rows_are_the_manifests_in_order_and_narrowed_by_a_condition_and_columns(dataset, rows):
    assert list(dataset.rows()) == rows
    assert list(dataset.rows("split = 'test'", ["num_notes"])) == [{"num_notes": n} for n in (3, 7, 11)]
    frame = dataset.to_pandas("num_notes < 5")
    assert list(frame.columns) == arrow_schema().names
    assert frame["num_notes"].tolist() == [0, 1, 2, 3, 4]
    assert frame["segment_id"].tolist() == [row["segment_id"] for row in rows[:5]]


def test_many_rows_come_a_batch_at_a_time(tmp_path):
    Manifest(tmp_path).commit([manifest_row(f"local-{number:05d}_0") for number in range(2 * PLAIN_ROWS + 1)])
    assert sum(1 for _ in aria_data.Dataset(tmp_path).rows()) == 2 * PLAIN_ROWS + 1


def test_iteration_pairs_each_row_with_the_bytes_of_its_file(dataset, rows):
    assert list(dataset) == [(row, song(number)) for number, row in enumerate(rows)]
    assert [row["num_notes"] for row, _ in dataset.iterate("num_notes % 5 = 0")] == [0, 5, 10]
    assert dataset.midi("local-0007_0") == song(7)


@pytest.mark.parametrize(
    "where",
    [
        "1=1); DROP TABLE manifest; --",
        "no_such = 1",
        "exists (from read_csv('/etc/passwd'))",
        "exists (from '/etc/passwd')",
        "true; COPY manifest TO 'x.csv'",
        "true) union all select * exclude (bucket) from manifest where (true",
    ],
)
def test_a_condition_can_only_read_and_choose(dataset, rows, where, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    for ask in (dataset.select, dataset.iterate):
        with pytest.raises(UsageError, match="the query") as error:
            ask(where)
        assert "\n" not in str(error.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_what_cannot_be_given_is_one_clear_line(tmp_path, dataset):
    with pytest.raises(UsageError, match="unknown column 'nope'. Known: segment_id, "):
        dataset.rows(columns=["nope"])
    with pytest.raises(DatasetNotFound, match=r"version 1 has no segment '\.\./\.\./etc'"):
        dataset.midi("../../etc")
    with pytest.raises(DatasetNotFound, match="nothing: holds no released dataset"):
        aria_data.Dataset(tmp_path / "nothing")
    with pytest.raises(DatasetNotFound, match="has no version 9; its versions are 1 to 1"):
        aria_data.Dataset(tmp_path, version=9)
    with pytest.raises(UsageError, match=r"1\.0 is not a number or a name"):
        aria_data.Dataset(tmp_path, version=1.0)
    assert not (tmp_path / "nothing").exists()


# ---------------------------------------------------------------- files


def test_a_missing_and_a_changed_file_are_named_with_their_segment(tmp_path, dataset, rows):
    (tmp_path / rows[3]["midi_path"]).unlink()
    with pytest.raises(DatasetCorrupt, match=r"\.mid: the MIDI file of segment local-0003_0 cannot be read") as error:
        list(dataset)
    assert "\n" not in str(error.value)
    (tmp_path / rows[3]["midi_path"]).write_bytes(song(4))
    with pytest.raises(DatasetCorrupt, match="not the MIDI file that the manifest means for segment local-0003_0"):
        dataset.midi("local-0003_0")
    assert dataset.midi("local-0004_0") == song(4)


@pytest.mark.parametrize("path", ["../secret.mid", "/etc/passwd", "midi/../../secret.mid", "a\0b", "", None])
def test_a_path_that_leaves_the_dataset_is_never_read(tmp_path, path):
    (tmp_path / "secret.mid").write_bytes(song(1))
    sha256 = hashlib.sha256(song(1)).hexdigest()
    with pytest.raises(DatasetCorrupt, match="no path below the dataset"):
        read_midi_of(tmp_path / "set", {"segment_id": "a_0", "midi_path": path, "midi_sha256": sha256})


# ---------------------------------------------------------------- versions and removals


def test_each_version_is_read_as_it_was(tmp_path, dataset, rows):
    Manifest(tmp_path).commit([*rows, row_with_midi(tmp_path, "local-9999_0", song(99))])
    assert dataset.version == 1
    assert len(list(dataset)) == 12
    newest = aria_data.Dataset(tmp_path)
    assert (newest.version, len(list(newest))) == (2, 13)
    assert len(list(aria_data.Dataset(tmp_path, version=1))) == 12
    assert [version.number for version in dataset.versions()] == [1, 2]


def test_what_was_removed_has_no_bytes_in_any_version(tmp_path, dataset, rows):
    remove(tmp_path, rows, 2, 5)
    kept = [row["segment_id"] for i, row in enumerate(rows) if i not in (2, 5)]
    for version in (1, 2):
        opened = aria_data.Dataset(tmp_path, version)
        assert [row["segment_id"] for row, _ in opened] == kept
        assert [row["segment_id"] for row, _ in opened.iterate("removed_in is not null or true")] == kept
        assert {row["segment_id"] for row in opened.sample(99)} == set(kept)
        with pytest.raises(DatasetNotFound, match=r"segment local-0002_0 was removed in version 2 \(takedown\)"):
            opened.midi("local-0002_0")
    assert len(list(aria_data.Dataset(tmp_path, 1).rows())) == 12  # the rows of a version never change
    assert len(list(aria_data.Dataset(tmp_path, 2).rows("removed_in = 2"))) == 2


# ---------------------------------------------------------------- figures and samples


def test_stats_count_files_hours_and_notes_by_group(dataset):
    found = dataset.stats()
    assert (found["num_files"], found["hours"], found["num_notes"]) == (12, round(12 * 1.5 / 3600, 6), 66)
    assert (found["num_recordings"], found["num_compositions"]) == (12, 1)
    assert {name: group["num_files"] for name, group in found["by"]["composer"].items()} == {
        "": 4,
        "Erik Satie": 4,
        "Frédéric Chopin": 4,
    }
    assert list(found["by"]["split"]) == ["train", "test", "validation"]
    assert found["by"]["subset"]["in_unique"]["num_files"] == 6
    notes = found["measures"]["num_notes"]
    assert (notes["min"], notes["median"], notes["max"], notes["mean"], notes["num_known"]) == (0, 5.5, 11, 5.5, 12)
    assert dataset.stats("split = 'test'")["num_notes"] == 21
    assert json.loads(json.dumps(found)) == found


def test_stats_of_nothing_are_zeros(dataset):
    found = dataset.stats("false")
    assert (found["num_files"], found["hours"], found["num_notes"], found["by"]["composer"]) == (0, 0, 0, {})
    assert found["measures"]["num_notes"]["median"] is None


def test_a_sample_depends_on_its_seed_and_grows_without_changing(dataset):
    assert dataset.sample(5, seed=1) == dataset.sample(5, seed=1)
    assert dataset.sample(9, seed=1)[:5] == dataset.sample(5, seed=1)
    assert dataset.sample(5, seed=1) != dataset.sample(5, seed=2)
    assert {row["split"] for row in dataset.sample(3, where="split = 'test'")} == {"test"}
    assert len(dataset.sample(99)) == 12
    assert dataset.sample(0) == []
    with pytest.raises(UsageError, match="a sample of -1 rows"):
        dataset.sample(-1)


# ---------------------------------------------------------------- torch


def num_bytes(row: dict, midi: bytes) -> tuple[int, int]:
    return row["num_notes"], len(midi)


def test_the_torch_dataset_maps_positions_to_what_load_makes(dataset):
    from torch.utils.data import Dataset as TorchDataset

    found = dataset.torch("num_notes >= 6", load=num_bytes)
    assert isinstance(found, TorchDataset)
    assert len(found) == 6
    assert found[0] == (6, len(song(6)))
    assert found[-1][0] == 11
    assert dataset.torch()[3][1] == song(3)
    for position in (6, -7):
        with pytest.raises(IndexError):
            found[position]


def test_the_torch_dataset_travels_to_workers(dataset):
    found = pickle.loads(pickle.dumps(dataset.torch("num_notes >= 6", load=num_bytes)))
    assert [found[i] for i in range(6)] == [(n, len(song(n))) for n in range(6, 12)]


# ---------------------------------------------------------------- commands


def run(command, *arguments) -> str:
    ended = CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False)
    assert ended.exit_code == 0
    return ended.stdout


def test_the_stats_command_shows_groups_and_measures(tmp_path, dataset):
    shown = run(dataset_commands.stats, tmp_path)
    for words in ("12 files", "Frédéric Chopin", "note_density", "validation", "in_unique"):
        assert words in shown
    found = json.loads(run(dataset_commands.stats, tmp_path, "--json", "--where", "split = 'test'"))
    assert found["num_files"] == 3


def test_the_sample_command_prints_rows_in_any_format(tmp_path, dataset, rows):
    lines = run(dataset_commands.sample, tmp_path, "-n", "3", "--seed", "7", "--format", "jsonl").splitlines()
    assert [json.loads(line) for line in lines] == dataset.sample(3, seed=7)
    (path,) = run(dataset_commands.sample, tmp_path, "-n", "1", "--format", "paths").splitlines()
    assert Path(path).exists()
    assert "2 rows" in run(dataset_commands.sample, tmp_path, "-n", "2")


def made_by_a_build(root: Path, number: int) -> dict:
    """A row whose MIDI file is where a build puts it, and a removal finds it."""
    content, recording_id = song(number), f"local-{number}"
    sha256, shelf = hashlib.sha256(content).hexdigest(), hashlib.sha256(recording_id.encode()).hexdigest()[:2]
    path = f"midi/{shelf}/{recording_id}_0.{sha256[:8]}.mid"
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(content)
    return manifest_row(f"{recording_id}_0", midi_path=path, midi_sha256=sha256)


# A worker forked from a process that ran much else may end with code 1 at its shutdown: seen once in a whole run.
@pytest.mark.parametrize("num_workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_training_that_is_open_while_a_removal_runs_hears_of_it(tmp_path, num_workers):
    from torch.utils.data import DataLoader

    rows = [made_by_a_build(tmp_path, number) for number in range(6)]
    Manifest(tmp_path).commit(rows)
    train = aria_data.Dataset(tmp_path).torch()
    remove_items(tmp_path, ["local-3_0"], "takedown")
    with pytest.raises(DatasetNotFound, match=r"segment local-3_0 was removed in version 2 \(takedown\)"):
        list(DataLoader(train, batch_size=None, num_workers=num_workers))
    again = aria_data.Dataset(tmp_path).torch()
    assert len(list(DataLoader(again, batch_size=None, num_workers=num_workers))) == 5


def test_a_midi_file_that_is_lost_is_not_called_removed(tmp_path):
    rows = [made_by_a_build(tmp_path, number) for number in range(2)]
    Manifest(tmp_path).commit(rows)
    opened = aria_data.Dataset(tmp_path)
    remove_items(tmp_path, ["local-0_0"], "takedown")
    (tmp_path / rows[1]["midi_path"]).unlink()
    with pytest.raises(DatasetCorrupt, match="segment local-1_0 cannot be read"):
        list(opened.iterate())
