"""A column that another program added to the manifest's table stays with its rows, whatever this project writes."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable, write_deltalake
from fakes import manifest_row, melody, write_audio

from aria_data.errors import UsageError
from aria_data.manifest import Manifest
from aria_data.release import SubsetRecipe
from flows.define_subset import define_recipe
from flows.remove import remove_items


def add_column(root: Path, name: str = "my_label", values: pa.Array | None = None) -> None:
    """What a person with deltalake does; the value of a row is its id, where none are given."""
    delta = DeltaTable(str(root / "manifest"))
    table = pa.table(delta.to_pyarrow_table())
    table = table.append_column(name, table["segment_id"] if values is None else values)
    write_deltalake(delta, table, mode="overwrite", schema_mode="overwrite")


def labels(root: Path) -> dict[str, str | None]:
    table = DeltaTable(str(root / "manifest")).to_pyarrow_table(columns=["segment_id", "my_label"])
    return dict(zip(table["segment_id"].to_pylist(), table["my_label"].to_pylist(), strict=True))


@pytest.fixture
def manifest(tmp_path):
    manifest = Manifest(tmp_path)
    manifest.commit([manifest_row(f"local-{number:04d}_0") for number in range(40)])
    add_column(tmp_path)
    return manifest


def test_rows_that_are_committed_keep_another_programs_column_and_new_rows_have_none(manifest):
    rows = manifest.rows()
    rows[3]["title"] = "new"
    manifest.commit([*rows[:-1], manifest_row("local-9999_0")])
    assert labels(manifest.root) == {row["segment_id"]: row["segment_id"] for row in rows[:-1]} | {"local-9999_0": None}
    assert "my_label" not in manifest.column_names()
    assert manifest.query("my_label = 'local-0003_0'")["title"].to_pylist() == ["new"]


def test_rows_that_are_revised_or_kept_have_another_programs_column_as_before(manifest):
    before = labels(manifest.root)
    manifest.revise(lambda rows: rows.set_column(rows.column_names.index("title"), "title", rows["segment_id"]))
    assert labels(manifest.root) == before
    kept = manifest.kept_rows(pa.chunked_array([pa.array(sorted(before)[5:])]))
    manifest.commit([manifest_row(one, title="again") for one in sorted(before)[:5]], kept=kept)
    assert labels(manifest.root) == before
    assert manifest.query("title = 'again'").num_rows == 5


def test_a_version_after_another_programs_has_the_counts_of_all_rows(manifest):
    assert manifest.versions()[-1].num_files == 0  # that program said nothing
    manifest.append([manifest_row("local-9999_0")])
    newest = manifest.versions()[-1]
    assert newest.num_files == 41
    assert newest.hours * 3600 == pytest.approx(pc.sum(manifest.table()["duration_s"]).as_py(), abs=0.01)
    assert labels(manifest.root)["local-0003_0"] == "local-0003_0"


def test_a_column_named_as_a_subset_and_of_another_type_is_another_programs(manifest):
    add_column(manifest.root, "in_mine", pa.array(["yes"] * 40))
    assert "in_mine" not in manifest.column_names()
    manifest.revise(lambda rows: rows.set_column(rows.column_names.index("title"), "title", rows["segment_id"]))
    with pytest.raises(UsageError, match=r"added a column 'in_mine' of another type\. Choose another name"):
        manifest.commit([{**row, "in_mine": True} for row in manifest.rows()])
    stored = DeltaTable(str(manifest.path)).to_pyarrow_table()
    assert set(stored["in_mine"].to_pylist()) == {"yes"}


def test_another_programs_column_survives_builds_subsets_and_removals_and_a_removed_row_loses_it(tmp_path, build):
    source, root = tmp_path / "in", tmp_path / "out"
    for number in range(3):
        write_audio(source / f"Nocturne {number}.wav", melody(8, number))
    build(source, root)
    add_column(root)
    before = labels(root)
    gone, *others = sorted(before)
    write_audio(source / "Nocturne 3.wav", melody(8, 3))
    build(source, root)
    define_recipe(root, "short", SubsetRecipe(where="duration_s < 100"))
    remove_items(root, [gone], "asked to")
    after = labels(root)
    assert len(after) == 4
    assert {one: after[one] for one in others} == {one: before[one] for one in others}
    assert after[gone] is None
