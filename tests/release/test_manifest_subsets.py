"""Subsets and weights of one's own: columns of a version, used as any other, and no change to what was before them."""

from __future__ import annotations

import csv
import json
import pickle
import tarfile

import numpy as np
import pyarrow as pa
import pytest
from datasets_made import row_with_midi, song
from fakes import manifest_row

import aria_data
from aria_data.errors import UsageError
from aria_data.exports import export, verify
from aria_data.manifest import Manifest
from aria_data.manifest.manifest import (
    BUCKET,
    DIGEST,
    arrow_schema,
    columns,
    content_sha256,
    subset_column,
    weight_column,
)
from aria_data.release.rows_of_segments import release

SUBSET, WEIGHT = "in_calm", "weight_el2n_30"


def rows_of(*numbers: int, **values) -> list[dict]:
    return [manifest_row(f"local-{number:04d}_0", **values) for number in numbers]


def chosen(rows: list[dict]) -> list[dict]:
    """The same rows, every second one in the subset, each with a weight."""
    return [{**row, SUBSET: place % 2 == 0, WEIGHT: float(place)} for place, row in enumerate(rows)]


@pytest.fixture
def manifest(tmp_path):
    """Version 1 without, version 2 with a subset and a weight, version 3 after they were deleted."""
    made = Manifest(tmp_path)
    made.commit(rows_of(0, 1, 2, 3))
    made.commit(chosen(rows_of(0, 1, 2, 3)))
    made.commit(rows_of(0, 1, 2, 3))
    return made


# ---------------------------------------------------------------- names


@pytest.mark.parametrize("name", ["", "A", "1st", "_x", "a-b", "a b", 'a"b', "a\n", "é", "a" * 42])
def test_a_name_that_a_column_cannot_have_is_one_line(name):
    for column_of in (subset_column, weight_column):
        with pytest.raises(UsageError, match="cannot be a column") as error:
            column_of(name)
        assert "\n" not in str(error.value)


def test_names_become_columns_and_those_of_every_manifest_are_taken():
    assert (subset_column("a" * 41), weight_column("el2n_30")) == ("in_" + "a" * 41, WEIGHT)
    fixed = [column["name"] for column in columns() if column["name"].startswith("in_")]
    assert fixed
    for name in fixed:
        with pytest.raises(UsageError, match=f"'{name}' is a column of every manifest"):
            subset_column(name.removeprefix("in_"))


@pytest.mark.parametrize("name", ["in_Big", "weight_", "in_a-b"])
def test_a_row_with_a_bad_name_is_refused_and_nothing_is_written(tmp_path, name):
    with pytest.raises(UsageError, match="cannot be a column"):
        Manifest(tmp_path).commit([manifest_row("local-1_0", **{name: True})])
    assert not (tmp_path / "manifest").exists()


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_a_weight_that_is_none_is_refused(tmp_path, weight):
    with pytest.raises(UsageError, match=r"weight_el2n_30: .* is no weight; a weight is 0 or more, and finite"):
        Manifest(tmp_path).commit([manifest_row("local-1_0", **{WEIGHT: weight})])


@pytest.mark.parametrize("values", [{SUBSET: "yes"}, {WEIGHT: "much"}])
def test_a_value_of_another_kind_is_one_line(tmp_path, values):
    with pytest.raises(UsageError, match="do not fit the manifest's columns") as error:
        Manifest(tmp_path).commit([manifest_row("local-1_0", **values)])
    assert "\n" not in str(error.value)


# ---------------------------------------------------------------- versions


def test_a_version_has_the_columns_that_were_added_up_to_it(manifest):
    fixed = arrow_schema().names
    assert [manifest.column_names(number) for number in (1, 2, 3)] == [fixed, *[[*fixed, SUBSET, WEIGHT]] * 2]
    schema = manifest.schema(2)
    assert (schema.field(SUBSET).type, schema.field(WEIGHT).type) == (pa.bool_(), pa.float64())
    assert schema.names[: len(fixed)] == fixed
    assert not {BUCKET, DIGEST} & set(schema.names)


def test_rows_come_back_as_they_were_committed_and_are_empty_after_the_subset_is_deleted(manifest):
    rows = rows_of(0, 1, 2, 3)
    assert manifest.rows(1) == rows
    assert manifest.rows(2) == chosen(rows)
    assert manifest.rows(3) == [{**row, SUBSET: None, WEIGHT: None} for row in rows]


def test_a_subset_counts_in_the_content_and_an_empty_one_does_not(manifest):
    first, second, third = manifest.versions()
    assert second.content_sha256 == content_sha256(chosen(rows_of(0, 1, 2, 3))) != first.content_sha256
    assert third.content_sha256 == first.content_sha256
    assert manifest.content_sha256(2) == second.content_sha256
    assert release(manifest, rows_of(0, 1, 2, 3)) == (3, False)
    assert release(manifest, chosen(rows_of(0, 1, 2, 3))) == (4, True)


def test_a_diff_names_subset_columns_in_both_directions(manifest):
    expected = {row["segment_id"]: [SUBSET, WEIGHT] for row in rows_of(0, 1, 2, 3)}
    assert manifest.diff(1, 2).changed == manifest.diff(2, 1).changed == manifest.diff(2, 3).changed == expected
    assert manifest.diff(1, 3).changed == {}


def test_rows_that_do_not_change_are_not_written_when_few_get_a_value(tmp_path):
    manifest = Manifest(tmp_path)
    rows = rows_of(*range(100))
    manifest.commit(rows)
    before = set(manifest.path.rglob("*.parquet"))
    rows[7] = {**rows[7], SUBSET: True}
    manifest.commit(rows)
    assert len(set(manifest.path.rglob("*.parquet")) - before) == 1
    assert manifest.query(SUBSET)["segment_id"].to_pylist() == ["local-0007_0"]
    assert manifest.query(f"{SUBSET} IS NULL").num_rows == 99
    assert manifest.query("", version=2).column_names == manifest.column_names()


def test_columns_of_several_commits_and_of_appended_rows_stand_beside_each_other(tmp_path):
    manifest = Manifest(tmp_path)
    manifest.commit(rows_of(1, in_b=True))
    assert manifest.append(rows_of(2, in_a=False, weight_w=0.5)) == 2
    assert manifest.column_names()[-3:] == ["in_a", "in_b", "weight_w"]
    assert [(row["in_a"], row["in_b"], row["weight_w"]) for row in manifest.rows()] == [
        (None, True, None),
        (False, None, 0.5),
    ]
    whole = Manifest(tmp_path / "whole")
    whole.commit([*rows_of(1, in_b=True), *rows_of(2, in_a=False, weight_w=0.5)])
    assert whole.content_sha256() == manifest.content_sha256()


def test_a_condition_takes_subsets_and_weights_as_any_column_and_an_older_version_does_not_know_them(manifest):
    found = manifest.query(f"{SUBSET} AND {WEIGHT} > 1", version=2, columns=[WEIGHT, "segment_id"])
    assert found.to_pylist() == [{"segment_id": "local-0002_0", WEIGHT: 2.0}]
    assert manifest.query(SUBSET, version=3).num_rows == 0
    with pytest.raises(UsageError, match=f'cannot be understood.*"{SUBSET}"'):
        manifest.query(SUBSET, version=1)


# ---------------------------------------------------------------- as trainers read it


@pytest.fixture
def dataset(tmp_path):
    rows = [row_with_midi(tmp_path, f"local-{number:04d}_0", song(number)) for number in range(6)]
    Manifest(tmp_path).commit(chosen(rows))
    return aria_data.Dataset(tmp_path)


def test_a_dataset_gives_chooses_and_counts_by_subsets_and_weights(dataset):
    assert dataset.table(SUBSET, [WEIGHT])[WEIGHT].to_pylist() == [0.0, 2.0, 4.0]
    assert [row[WEIGHT] for row, _ in dataset.iterate(f"{WEIGHT} >= 4")] == [4.0, 5.0]
    assert {SUBSET, WEIGHT} <= set(dataset.to_pandas().columns)
    found = dataset.stats()
    assert found["by"]["subset"][SUBSET]["num_files"] == 3
    assert found["measures"][WEIGHT]["mean"] == 2.5
    with pytest.raises(UsageError, match=f"unknown column 'in_no'. Known: .*{SUBSET}, {WEIGHT}"):
        dataset.table(columns=["in_no"])


def test_weights_are_in_the_order_of_the_rows_and_one_in_the_mean(dataset):
    weights = dataset.select(SUBSET).weights(WEIGHT)
    assert weights.dtype == np.float64
    assert weights.tolist() == [0.0, 1.0, 2.0]
    assert dataset.select().weights(SUBSET).tolist() == [2.0, 0.0] * 3
    assert len(dataset.select("false").weights(WEIGHT)) == 0


def test_what_gives_no_weights_is_one_line(tmp_path, dataset):
    with pytest.raises(UsageError, match="'title' is no column of weights"):
        dataset.select().weights("title")
    with pytest.raises(UsageError, match="'weight_no' is no column of weights"):
        dataset.select().weights("weight_no")
    with pytest.raises(UsageError, match="not all 0"):
        dataset.select(f"{WEIGHT} = 0").weights(WEIGHT)
    Manifest(tmp_path).append([row_with_midi(tmp_path, "local-9999_0", song(9))])
    newest = aria_data.Dataset(tmp_path)
    with pytest.raises(UsageError, match=f"1 of 7 rows have no weight. Choose .* {WEIGHT} IS NOT NULL"):
        newest.select().weights(WEIGHT)
    assert len(newest.select(f"{WEIGHT} IS NOT NULL").weights(WEIGHT)) == 6


def weight_and_notes(row: dict, midi: bytes) -> tuple[float, float, int]:
    return row["weight"], row[WEIGHT], len(midi)


def test_a_torch_dataset_gives_each_item_its_weight_and_travels_with_them(dataset):
    found = dataset.torch(SUBSET, weight_and_notes, weight=WEIGHT)
    expected = [(0.0, 0.0, len(song(0))), (1.0, 2.0, len(song(2))), (2.0, 4.0, len(song(4)))]
    for each in (found, pickle.loads(pickle.dumps(found))):
        assert [each[place] for place in range(3)] == expected
        assert each[-1] == expected[-1]
        assert each.weights.tolist() == [0.0, 1.0, 2.0]
    row, midi = dataset.torch(weight=WEIGHT)[5]
    assert (row["weight"], midi) == (2.0, song(5))
    plain = dataset.torch()
    assert plain.weights is None
    assert "weight" not in plain[0][0]
    with pytest.raises(UsageError, match="unknown column 'weight_no'"):
        dataset.torch(weight="weight_no")


def test_a_weighted_sampler_never_draws_what_weighs_nothing(dataset):
    import torch

    found = dataset.torch(SUBSET, weight_and_notes, weight=WEIGHT)
    drawn = torch.utils.data.WeightedRandomSampler(found.weights, 600, generator=torch.Generator().manual_seed(0))
    counts = np.bincount(list(drawn), minlength=3)
    assert counts[0] == 0
    assert 1.5 < counts[2] / counts[1] < 2.7  # twice the weight


# ---------------------------------------------------------------- exports


def csv_rows(path) -> list[dict]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(("format_", "name"), [("folder", "manifest.csv"), ("aria", "segments.csv")])
def test_exports_with_a_csv_have_subsets_and_weights(tmp_path, dataset, format_, name):
    export(dataset, tmp_path / "out", format_)
    verify(tmp_path / "out")
    found = csv_rows(tmp_path / "out" / name)
    assert [(row[SUBSET], float(row[WEIGHT])) for row in found] == [
        (str(place % 2 == 0).lower(), float(place)) for place in range(6)
    ]


def test_parquet_shards_and_their_card_have_subsets_and_weights(tmp_path, dataset):
    from datasets import load_dataset

    export(dataset, tmp_path / "out", "huggingface")
    verify(tmp_path / "out")
    found = load_dataset(str(tmp_path / "out"), "full", cache_dir=str(tmp_path / "cache"))
    rows = [row for split in found.values() for row in split]
    assert sorted((row[WEIGHT], row[SUBSET]) for row in rows) == [(float(p), p % 2 == 0) for p in range(6)]
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"| `{SUBSET}` | bool |" in card
    assert f"  - name: {WEIGHT}\n    dtype: float64\n" in card


@pytest.mark.parametrize("format_", ["webdataset", "aria-jsonl"])
def test_json_of_exports_has_subsets_and_weights(tmp_path, dataset, format_):
    export(dataset, tmp_path / "out", format_)
    verify(tmp_path / "out")
    if format_ == "webdataset":
        found = []
        for path in sorted((tmp_path / "out").glob("*.tar")):
            with tarfile.open(path) as tar:
                found += [json.load(tar.extractfile(one)) for one in tar if one.name.endswith(".json")]
    else:
        lines = [line for path in (tmp_path / "out").glob("*.jsonl") for line in path.read_text().splitlines()]
        found = [json.loads(line)["metadata"] for line in lines]
    assert sorted((row[WEIGHT], row[SUBSET]) for row in found) == [(float(p), p % 2 == 0) for p in range(6)]


@pytest.mark.parametrize("format_", ["folder", "huggingface", "webdataset", "aria-jsonl", "aria"])
def test_a_deleted_subset_leaves_nothing_in_an_export(tmp_path, dataset, format_):
    rows = [{name: value for name, value in row.items() if name not in (SUBSET, WEIGHT)} for row in dataset.rows()]
    Manifest(tmp_path).commit(rows)
    export(aria_data.Dataset(tmp_path), tmp_path / "out", format_)
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file():
            assert SUBSET.encode() not in path.read_bytes()
