"""Many small files of a table become few; nothing that is read, or was released, is lost by it."""

from __future__ import annotations

from array import array

from deltalake import DeltaTable
from fakes import manifest_row

from aria_data.manifest import Manifest
from aria_data.records import Recording, WindowScores
from aria_data.storage.compaction import compact_tables
from aria_data.storage.delta_tables import remove_orphans
from aria_data.storage.stage_tables import DONE, FAILED, Outcome, StageTable


def outcome(number: int) -> Outcome:
    scores = WindowScores(f"r{number:03}", 1.0, array("d", [0.5, number]), 0.5, array("d", [0.25]), "c")
    is_done = number % 5 > 0
    record = scores if is_done else None
    return Outcome(f"r{number:03}", f"k{number}", DONE if is_done else FAILED, "" if is_done else "odd", record=record)


def filled(root, num_appends: int = 12) -> StageTable:
    table = StageTable(root, "classify", WindowScores)
    for number in range(num_appends):
        table.append([outcome(2 * number), outcome(2 * number + 1)])
    return table


def in_order(table: StageTable) -> list[Outcome]:
    return sorted(table.all(), key=lambda one: one.item_id)


def num_files(table: StageTable) -> int:
    return len(list(table.path.glob("*.parquet")))


def test_a_compacted_table_has_few_files_and_the_same_outcomes(tmp_path):
    table = filled(tmp_path)
    before = in_order(table)
    compact_tables(tmp_path, max_small_files=4)
    assert len(DeltaTable(str(table.path)).file_uris()) == 1
    assert in_order(table) == before == [outcome(number) for number in range(24)]
    assert table.lookup(["k7", "k8"]) == {"k7": outcome(7), "k8": outcome(8)}
    assert table.records_of({"r007": "k7"}) == {"r007": outcome(7).record}


def test_a_table_that_is_appended_to_for_long_stays_in_few_files(tmp_path, monkeypatch):
    monkeypatch.setattr("aria_data.storage.stage_tables.MAX_SMALL_FILES", 8)
    table = filled(tmp_path, 40)
    assert len(DeltaTable(str(table.path)).file_uris()) <= 8 + 2
    assert in_order(table) == [outcome(number) for number in range(80)]


def test_a_reader_that_opened_a_table_before_its_compaction_reads_on(tmp_path):
    table = filled(tmp_path)
    opened = DeltaTable(str(table.path)).to_pyarrow_dataset()
    compact_tables(tmp_path, max_small_files=4)
    remove_orphans(table.path)
    assert opened.to_table().num_rows == 24


def test_what_was_replaced_long_ago_is_deleted(tmp_path):
    table = filled(tmp_path)
    assert compact_tables(tmp_path, max_small_files=4) == {}
    assert num_files(table) == 13
    assert compact_tables(tmp_path, max_small_files=4, kept_h=0) == {"classify": 12}
    assert num_files(table) == 1
    assert in_order(table) == [outcome(number) for number in range(24)]
    remove_orphans(table.path)  # its log still names what is gone
    table.append([outcome(90)])
    assert len(in_order(table)) == 25


def test_released_versions_are_never_touched(tmp_path):
    manifest = Manifest(tmp_path)
    for number in range(1, 5):
        manifest.commit([manifest_row(f"r{each}_0") for each in range(3 * number)])
    contents = [manifest.content_sha256(number) for number in range(1, 5)]
    files = sorted((tmp_path / "manifest").rglob("*"))
    compact_tables(tmp_path, max_small_files=0, kept_h=0)
    assert sorted((tmp_path / "manifest").rglob("*")) == files
    assert [manifest.content_sha256(number) for number in range(1, 5)] == contents


def test_a_compaction_that_was_killed_leaves_the_table_as_it_was(tmp_path):
    table = filled(tmp_path)
    (table.path / "part-00000-killed-c000.snappy.parquet").write_bytes(b"half")
    assert remove_orphans(table.path) == 1
    assert in_order(table) == [outcome(number) for number in range(24)]
    compact_tables(tmp_path, max_small_files=4)
    assert in_order(table) == [outcome(number) for number in range(24)]


def test_a_small_table_is_left_alone(tmp_path):
    table = StageTable(tmp_path, "ingest", Recording)
    table.append([Outcome("a", "k", FAILED, "odd")])
    compact_tables(tmp_path, kept_h=0)
    assert DeltaTable(str(table.path)).version() == 0
