"""The manifest keeps what it promises: its schema, its versions, its history, and that what is removed stays away."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path

import deltalake
import pytest
from fakes import manifest_row, melody, write_audio

from aria_data.errors import DatasetNotFound, DatasetNotWritable, UsageError
from aria_data.manifest import Manifest
from aria_data.manifest.manifest import BUCKET, DIGEST, arrow_schema, bucket_of, columns, content_sha256
from aria_data.midi import read_midi
from aria_data.release.alignments import COLUMNS as ALIGNED
from aria_data.release.rows_of_segments import release
from flows.remove import remove_items


def rows_of(*numbers: int, **values) -> list[dict]:
    return [manifest_row(f"local-{number:04d}_0", **values) for number in numbers]


# ---------------------------------------------------------------- schema


def test_the_schema_file_describes_every_column_once_with_type_unit_and_example():
    schema = json.loads(resources.files("manifests").joinpath("schema/manifest-1.json").read_text())
    assert schema["version"] == 1
    names = [column["name"] for column in schema["columns"]]
    assert len(names) == len(set(names))
    for column in schema["columns"]:
        assert set(column) == {"name", "type", "unit", "nullable", "description", "example"}
        assert column["description"]
    assert arrow_schema().names == names


@pytest.fixture
def dataset(tmp_path, build):
    for number in range(3):
        write_audio(tmp_path / "in" / f"Chopin - Nocturne op. 9 no. {number + 1}.wav", melody(8, number))
    build(tmp_path / "in", tmp_path / "out")
    return tmp_path / "out"


def test_the_rows_of_a_real_build_have_the_names_the_types_and_the_values_that_the_schema_promises(dataset):
    table = Manifest(dataset).table()
    assert table.schema.remove_metadata() == arrow_schema()
    raw = deltalake.DeltaTable(str(dataset / "manifest")).to_pyarrow_table()
    assert sorted(raw.column_names) == sorted([*arrow_schema().names, BUCKET, DIGEST])
    assert table.num_rows == 3
    for column in columns():
        num_null = table[column["name"]].null_count
        if not column["nullable"]:
            assert num_null == 0, column["name"]
        unknown = (
            "velocity_calibrated",
            "removed_in",
            "removal_reason",
            "missed_passage_start_s",
            "backend_agreement",
            "lowest_agreement",
            "lowest_agreement_start_s",
            "agreement_per_5_s",
            "disagreements",
            *ALIGNED,
        )
        if column["name"] in unknown:
            assert num_null == 3
        else:  # only tombstones have gaps
            assert num_null == 0, column["name"]


def test_the_rows_of_a_real_build_say_what_the_files_hold(dataset):
    for row in Manifest(dataset).rows():
        performance = read_midi(dataset / row["midi_path"])
        assert row["num_notes"] == len(performance.notes) == 16
        assert row["duration_s"] == row["end_s"] - row["start_s"] == 8.0
        assert row["note_density"] == 2.0
        assert row["segment_id"] == f"{row['recording_id']}_{row['number']}"
        assert row["recording_id"] == f"local-{row['audio_sha256'][:16]}"
        assert row["composer_id"] == "chopin"
        assert (row["transcriber"], row["transcriber_sha256"], row["classifier_sha256"]) == ("fake", "f" * 64, "c" * 64)


def test_every_example_in_the_schema_is_of_its_columns_type():
    kinds = {"string": str, "int64": int, "float64": (int, float), "bool": bool}
    for column in columns():
        if column["example"] is not None:
            assert isinstance(column["example"], kinds[column["type"]]), column["name"]
        else:
            assert column["nullable"]


def test_the_readme_has_one_line_for_each_column_with_its_type_and_unit():
    text = resources.files("manifests").joinpath("README.md").read_text()
    documented = re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]*) \|", text, re.MULTILINE)
    expected = [(column["name"], column["type"], column["unit"]) for column in columns()]
    assert [(name, type_, unit.strip()) for name, type_, unit in documented] == expected


# ---------------------------------------------------------------- versions


def test_versions_are_numbered_from_one_and_each_stays_as_it_was(tmp_path):
    manifest = Manifest(tmp_path)
    assert manifest.version() == 0
    contents = [rows_of(1, 2), rows_of(1, 2, 3), rows_of(1, 2, 3, title="new"), rows_of(2, 3, title="new")]
    assert [manifest.commit(rows, note=f"n{i}") for i, rows in enumerate(contents)] == [1, 2, 3, 4]
    for number, rows in enumerate(contents, start=1):
        assert manifest.rows(number) == rows
    versions = manifest.versions()
    assert [(v.number, v.num_files, v.note) for v in versions] == [
        (1, 2, "n0"),
        (2, 3, "n1"),
        (3, 3, "n2"),
        (4, 2, "n3"),
    ]
    assert [v.content_sha256 for v in versions] == [content_sha256(rows) for rows in contents]
    assert versions[0].hours == pytest.approx(2 * 1.5 / 3600, abs=1e-6)
    assert all(v.released_at.endswith("+00:00") for v in versions)


@pytest.mark.parametrize("version", [0, 3, -1])
def test_a_version_that_does_not_exist_is_one_line_with_those_that_do(tmp_path, version):
    manifest = Manifest(tmp_path)
    manifest.commit(rows_of(1))
    manifest.commit(rows_of(1, 2))
    for ask in (lambda: manifest.rows(version), lambda: manifest.query("", version), lambda: manifest.diff(1, version)):
        with pytest.raises(DatasetNotFound, match=f"has no version {version}; its versions are 1 to 2"):
            ask()


def test_a_diff_tells_added_removed_and_changed_with_the_columns(tmp_path):
    manifest = Manifest(tmp_path)
    manifest.commit(rows_of(1, 2, 3))
    changed = manifest_row("local-0002_0", title="other", num_notes=9)
    gone = manifest_row("local-0003_0", removed_in=2, removal_reason="takedown")
    manifest.commit([*rows_of(1), changed, gone, *rows_of(4)])
    difference = manifest.diff(1, 2)
    assert (difference.added, difference.removed) == (["local-0004_0"], ["local-0003_0"])
    assert difference.changed == {"local-0002_0": ["num_notes", "title"]}
    back = manifest.diff(2, 1)
    assert (back.added, back.removed) == (["local-0003_0"], ["local-0004_0"])
    assert manifest.diff(2, 2).changed == {}


def test_only_the_buckets_that_changed_are_written(tmp_path):
    manifest = Manifest(tmp_path)
    rows = rows_of(*range(100))
    manifest.commit(rows)
    rows[7] = {**rows[7], "title": "changed"}
    before = set((tmp_path / "manifest").rglob("*.parquet"))
    manifest.commit(rows)
    new = set((tmp_path / "manifest").rglob("*.parquet")) - before
    assert {path.parent.name for path in new} == {f"{BUCKET}={bucket_of(rows[7])}"}
    assert manifest.rows() == rows


def test_the_order_in_which_rows_arrive_never_changes_content(tmp_path):
    rows = rows_of(*range(40))
    for name, arrived in (("a", rows), ("b", rows[::-1])):
        Manifest(tmp_path / name).commit(arrived)
    assert Manifest(tmp_path / "a").rows() == Manifest(tmp_path / "b").rows() == rows
    hashes = {Manifest(tmp_path / name).versions()[0].content_sha256 for name in ("a", "b")}
    assert len(hashes) == 1


def test_nothing_is_released_when_nothing_changed_or_there_is_nothing(tmp_path):
    manifest = Manifest(tmp_path)
    assert release(manifest, []) == (0, False)
    assert not (tmp_path / "manifest").exists()
    assert release(manifest, rows_of(1)) == (1, True)
    assert release(manifest, rows_of(1)) == (1, False)
    assert release(manifest, rows_of(1, 2)) == (2, True)
    assert release(manifest, []) == (3, True)  # an emptied dataset is a version too
    assert manifest.rows() == []
    assert release(manifest, []) == (3, False)


@pytest.mark.parametrize("has_version", [False, True])
def test_a_commit_that_fails_changes_nothing_and_the_next_one_works(tmp_path, monkeypatch, has_version):
    manifest = Manifest(tmp_path)
    if has_version:
        manifest.commit(rows_of(1))

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(deltalake.DeltaTable, "create_write_transaction", fail)
        with pytest.raises(DatasetNotWritable, match="manifest: no space left"):
            manifest.commit(rows_of(1, 2))
    assert manifest.version() == int(has_version)
    if has_version:
        assert manifest.rows() == rows_of(1)
    assert manifest.commit(rows_of(1, 2)) == 1 + has_version
    assert manifest.rows() == rows_of(1, 2)


def test_data_files_without_a_commit_are_no_part_of_any_version(tmp_path):
    manifest = Manifest(tmp_path)
    manifest.commit(rows_of(1))
    (data,) = (tmp_path / "manifest").rglob("*.parquet")
    data.with_name("part-uncommitted.parquet").write_bytes(data.read_bytes())
    assert manifest.rows() == rows_of(1)


# ---------------------------------------------------------------- queries


def test_a_query_selects_sorts_limits_and_travels_in_time(tmp_path):
    manifest = Manifest(tmp_path)
    manifest.commit([*rows_of(3, 1, num_notes=5), *rows_of(2, num_notes=50)])
    manifest.commit(rows_of(1))
    found = manifest.query("num_notes < 10", version=1)
    assert found["segment_id"].to_pylist() == ["local-0001_0", "local-0003_0"]
    assert found.schema.names == arrow_schema().names
    assert manifest.query("", version=1, limit=2).num_rows == 2
    assert manifest.query().num_rows == 1
    assert manifest.query("title = 'it''s' or title like '%x%'").num_rows == 1


def test_a_query_leaves_out_what_was_removed_unless_it_names_it(tmp_path):
    manifest = Manifest(tmp_path)
    manifest.commit([*rows_of(1), manifest_row("local-0002_0", removed_in=1, removal_reason="x")])
    assert manifest.query("true or num_notes > 0").num_rows == 1
    assert manifest.query("removed_in is not null")["segment_id"].to_pylist() == ["local-0002_0"]


# ---------------------------------------------------------------- removal


def test_what_is_removed_becomes_a_tombstone_and_its_midi_is_gone(dataset):
    before = Manifest(dataset).rows()
    target = before[1]
    removed = remove_items(dataset, [target["segment_id"]], "takedown")
    assert (removed.version, removed.num_removed) == (2, 1)
    rows = {row["segment_id"]: row for row in Manifest(dataset).rows()}
    stone = rows[target["segment_id"]]
    kept = {"segment_id", "recording_id", "number", "source", "first_version"}
    assert {name: stone[name] for name in kept} == {name: target[name] for name in kept}
    assert (stone["removed_in"], stone["removal_reason"]) == (2, "takedown")
    assert {name for name, value in stone.items() if value is not None} == kept | {"removed_in", "removal_reason"}
    assert not (dataset / target["midi_path"]).exists()
    assert [rows[row["segment_id"]] for row in (before[0], before[2])] == [before[0], before[2]]
    assert all((dataset / row["midi_path"]).exists() for row in (before[0], before[2]))
    assert Manifest(dataset).versions()[-1].num_removed == 1
    assert Manifest(dataset).rows(1) == before


@pytest.mark.parametrize("name", ["segment_id", "recording_id", "source_url"])
def test_no_later_build_brings_back_what_was_removed(dataset, build, name):
    target = Manifest(dataset).rows()[0]
    remove_items(dataset, [target[name]], "takedown")
    after = Manifest(dataset).rows()
    summary = build(dataset.parent / "in", dataset)
    assert not summary.is_new_version
    assert Manifest(dataset).rows() == after
    assert not (dataset / target["midi_path"]).exists()
    assert sum("removed" in reason for reason in summary.rejections) == 1
    write_audio(dataset.parent / "in" / "new.wav", melody(8, 9))
    summary = build(dataset.parent / "in", dataset)
    assert (summary.version, summary.num_files) == (3, 3)
    rows = {row["segment_id"]: row for row in Manifest(dataset).rows()}
    assert rows[target["segment_id"]]["removed_in"] == 2
    assert not (dataset / target["midi_path"]).exists()


def test_a_removed_recording_stays_away_under_another_name(dataset, build):
    target = Manifest(dataset).rows()[0]
    remove_items(dataset, [target["recording_id"]], "takedown")
    old = dataset.parent / "in" / target["source_url"]
    old.rename(old.with_name("renamed.wav"))
    summary = build(dataset.parent / "in", dataset)
    assert summary.num_files == 2
    assert {row["removed_in"] for row in Manifest(dataset).rows()} == {None, 2}


def test_an_id_that_is_not_there_is_refused_and_nothing_is_removed(dataset):
    target = Manifest(dataset).rows()[0]["segment_id"]
    with pytest.raises(UsageError, match=r"has no segment, recording or source_url 'nope'; nothing was removed"):
        remove_items(dataset, [target, "nope"], "takedown")
    with pytest.raises(UsageError, match="--reason is empty"):
        remove_items(dataset, [target], "  ")
    assert Manifest(dataset).version() == 1


def test_removing_twice_is_one_removal(dataset):
    target = Manifest(dataset).rows()[0]["segment_id"]
    removed = remove_items(dataset, [target], "first")
    assert (removed.version, removed.num_removed) == (2, 1)
    again = remove_items(dataset, [target], "second")
    assert (again.version, again.num_removed) == (2, 0)
    assert Manifest(dataset).versions()[-1].num_removed == 1


def test_the_first_version_of_a_row_is_kept_through_later_versions(dataset, build):
    write_audio(dataset.parent / "in" / "new.wav", melody(8, 9))
    build(dataset.parent / "in", dataset)
    assert sorted(row["first_version"] for row in Manifest(dataset).rows()) == [1, 1, 1, 2]


def test_a_changed_setting_makes_a_version_and_taking_it_back_makes_the_first_content_again(dataset, build):
    first = Manifest(dataset).versions()[0].content_sha256
    (dataset.parent / "any.toml").write_text("min_num_notes = 1\n")
    lenient = f"release.pruned_limits={dataset.parent / 'any.toml'}"
    changed = build(dataset.parent / "in", dataset, settings=("segment.min_segment_s=5", lenient))
    assert (changed.version, changed.is_new_version) == (2, True)
    assert Manifest(dataset).versions()[1].content_sha256 != first
    back = build(dataset.parent / "in", dataset, config_path=Path("defaults"))
    assert back.version == 3
    assert all(stage.num_worked_on == 0 for stage in back.stages.values())
    assert Manifest(dataset).versions()[2].content_sha256 == first


def test_rows_are_appended_without_reading_the_others_and_the_version_says_the_same_as_a_whole_commit(tmp_path):
    appended, whole = Manifest(tmp_path / "a"), Manifest(tmp_path / "b")
    appended.commit(rows_of(1, 2, 3))
    assert appended.append(rows_of(4, 5), note="two more") == 2
    whole.commit(rows_of(1, 2, 3, 4, 5))
    assert appended.rows() == whole.rows()
    (last, only) = appended.versions()[-1], whole.versions()[-1]
    assert (last.num_files, last.content_sha256, last.note) == (5, only.content_sha256, "two more")
    assert abs(last.hours - only.hours) < 1e-6
    assert appended.diff(1, 2).added == sorted(row["segment_id"] for row in rows_of(4, 5))
    with pytest.raises(UsageError, match="already"):
        appended.append(rows_of(5, 6))


def test_a_table_of_rows_is_the_same_as_a_list_of_them(tmp_path):
    import pyarrow as pa

    Manifest(tmp_path / "a").commit(rows_of(1, 2))
    Manifest(tmp_path / "b").commit(pa.Table.from_pylist(rows_of(2, 1), schema=arrow_schema()))
    hashes = {Manifest(tmp_path / name).content_sha256() for name in ("a", "b")}
    assert hashes == {content_sha256(rows_of(1, 2))}


def test_a_manifest_from_before_rows_had_digests_is_compared_and_added_to_all_the_same(tmp_path):
    from deltalake import DeltaTable, write_deltalake

    manifest = Manifest(tmp_path / "a")
    manifest.commit(rows_of(1, 2))
    old = DeltaTable(str(manifest.path)).to_pyarrow_table().drop_columns([DIGEST])
    other = Manifest(tmp_path / "b")
    other.path.mkdir(parents=True)
    DeltaTable.create(str(other.path), schema=old.schema, partition_by=[BUCKET])
    write_deltalake(str(other.path), old, mode="append")
    assert other.content_sha256() == content_sha256(rows_of(1, 2))
    other.commit([*rows_of(1, 2), *rows_of(3)])
    assert other.rows() == rows_of(1, 2, 3)
    assert other.diff(1, 2).added == [rows_of(3)[0]["segment_id"]]
    assert other.content_sha256() == content_sha256(rows_of(1, 2, 3))
