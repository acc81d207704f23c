"""Bars and beats of segments that were aligned with a score go into every layout; without any, nothing is different."""

from __future__ import annotations

import csv
import io
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets_made import row_with_midi

from aria_data.errors import DatasetCorrupt
from aria_data.exports import FORMATS, export, verify
from aria_data.manifest import Dataset, Manifest
from aria_data.midi import Note, Performance, midi_bytes
from aria_data.release.alignments import COLUMNS

BEATS = b"0.500000\t0.500000\tdb,3/4,-2\n1.000000\t1.000000\tb\n"
ALIGNED = {
    "score_id": "chopin/9-2.musicxml", "score_match": 0.96, "alignment_confidence": 0.98, "num_bars": 35,
    "first_bar": 0, "last_bar": 34, "is_complete_piece": True, "tempo_bpm_median": 92.5, "composition_agrees": True,
    "composition_evidence": "412 of 430 notes", "beats_path": "alignments/ab/local-a_0.1.tsv",
    "alignment_path": "alignments/ab/local-a_0.1.parquet",
}  # fmt: skip


@pytest.fixture(scope="module")
def details():
    sink = io.BytesIO()
    pq.write_table(pa.table({"kind": ["beat"], "time_s": [0.5], "bar": [1]}), sink)
    return sink.getvalue()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, details):
    """Two segments, of which one was aligned."""
    root = tmp_path_factory.mktemp("aligned") / "dataset"
    content = midi_bytes(Performance([Note(0.5, 1.0, 60, 70), Note(1.0, 1.4, 62, 70)]))
    rows = [
        row_with_midi(root, f"local-{name}_0", content, split="train", **(dict.fromkeys(COLUMNS) | columns))
        for name, columns in (("a", ALIGNED), ("b", {}))
    ]
    (root / "alignments" / "ab").mkdir(parents=True)
    (root / ALIGNED["beats_path"]).write_bytes(BEATS)
    (root / ALIGNED["alignment_path"]).write_bytes(details)
    Manifest(root).commit(rows)
    return Dataset(root)


@pytest.fixture(scope="module")
def exports(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports")
    for name in FORMATS:
        export(dataset, folder / name, name)
        verify(folder / name)
    return folder


@pytest.mark.parametrize(("name", "table"), [("folder", "manifest.csv"), ("aria", "segments.csv")])
def test_files_lie_in_folders_of_their_own_and_the_table_names_them(exports, details, name, table):
    with open(exports / name / table, newline="") as file:
        one, other = csv.DictReader(file)
    assert (exports / name / one["beats_path"]).read_bytes() == BEATS
    assert (exports / name / one["alignment_path"]).read_bytes() == details
    assert one["score_id"] == ALIGNED["score_id"]
    assert other["beats_path"] == other["alignment_path"] == other["score_id"] == ""
    assert len(list((exports / name).rglob("*.tsv"))) == 1


def test_shards_for_webdataset_have_them_beside_the_midi_file(exports, details):
    found = {}
    for path in (exports / "webdataset").glob("*.tar"):
        with tarfile.open(path) as tar:
            found |= {name: tar.extractfile(name).read() for name in tar.getnames()}
    assert sorted(found) == [
        "local-a_0.alignment.parquet", "local-a_0.beats.tsv", "local-a_0.json", "local-a_0.mid", "local-b_0.json",
        "local-b_0.mid",
    ]  # fmt: skip
    assert (found["local-a_0.beats.tsv"], found["local-a_0.alignment.parquet"]) == (BEATS, details)
    assert json.loads(found["local-a_0.json"])["last_bar"] == 34


def test_the_hub_gets_them_as_columns_that_the_card_describes(exports, details, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    datasets = pytest.importorskip("datasets")
    rows = datasets.load_dataset(str(exports / "huggingface"), "full", split="train", cache_dir=str(tmp_path))
    one, other = sorted(rows, key=lambda row: row["segment_id"])
    assert (one["beats"], one["alignment"], one["first_bar"]) == (BEATS.decode(), details, 0)
    assert (other["beats"], other["alignment"]) == (None, None)
    assert "| `beats` | string |" in (exports / "huggingface" / "README.md").read_text()


def test_a_line_of_aria_has_the_beats_in_seconds(exports):
    lines = (exports / "aria-jsonl" / "train.jsonl").read_text().splitlines()
    one, other = sorted((json.loads(line)["metadata"] for line in lines), key=lambda each: each["segment_id"])
    assert one["beats"] == [[0.5, "db"], [1.0, "b"]]
    assert (one["score_id"], one["num_bars"]) == (ALIGNED["score_id"], 35)
    assert not {"beats", "score_id", "num_bars"} & other.keys()


@pytest.mark.parametrize("name", FORMATS)
def test_without_alignments_no_file_or_column_of_them_is_there(dataset, tmp_path, name):
    export(dataset, tmp_path / "out", name, "score_id IS NULL")
    assert not [path for path in (tmp_path / "out").rglob("*") if path.suffix == ".tsv" or "alignment" in path.name]
    for path in (tmp_path / "out").glob("*.csv"):
        assert "beats_path" not in path.read_text().splitlines()[0]


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_is_away_is_one_line_and_leaves_nothing(dataset, tmp_path, name):
    root = dataset.root.parent / f"without-{name}"
    row = row_with_midi(root, "local-a_0", midi_bytes(Performance([Note(0.5, 1.0, 60, 70)])), split="train", **ALIGNED)
    Manifest(root).commit([row])
    with pytest.raises(DatasetCorrupt, match="cannot be read .*aria-data align"):
        export(Dataset(root), tmp_path / "out", name)
    assert not list(tmp_path.iterdir())


def test_a_row_that_names_a_file_outside_of_the_dataset_exports_nothing(dataset, tmp_path):
    root = tmp_path / "dataset"
    (tmp_path / "secret.tsv").write_bytes(BEATS)
    content = midi_bytes(Performance([Note(0.5, 1.0, 60, 70)]))
    columns = dict.fromkeys(COLUMNS) | {"beats_path": "../secret.tsv"}
    Manifest(root).commit([row_with_midi(root, "local-a_0", content, split="train", **columns)])
    with pytest.raises(DatasetCorrupt, match="no path below the dataset"):
        export(Dataset(root), tmp_path / "out", "folder")
