"""What is done is looked up by keys: results that nothing needs are not read."""

from __future__ import annotations

from array import array

import pytest
from fakes import melody, write_audio

from aria_data.records import WindowScores
from aria_data.storage import stage_tables
from aria_data.storage.stage_tables import DONE, FAILED, Outcome, StageTable


def scores_of(item_id: str) -> Outcome:
    record = WindowScores(item_id, 1.0, array("d", [0.1, 0.9]), 0.5, array("d", [0.1, 0.1, 0.9, 0.9]), "c" * 64)
    return Outcome(item_id, f"key of {item_id}", DONE, record=record)


@pytest.fixture
def made(monkeypatch) -> list[type]:
    """The types of the records that are made of rows."""
    types: list[type] = []
    whole = stage_tables.from_column

    def noted(record_type, column):
        types.append(record_type)
        return whole(record_type, column)

    monkeypatch.setattr(stage_tables, "from_column", noted)
    return types


@pytest.fixture
def files_read(monkeypatch) -> list[int]:
    """How many files each reading opened."""
    counts: list[int] = []
    whole = stage_tables.data_files

    def noted(*arguments, **named):
        files = whole(*arguments, **named)
        counts.append(len(list(files.get_fragments())))
        return files

    monkeypatch.setattr(stage_tables, "data_files", noted)
    return counts


def test_a_lookup_without_records_makes_none_and_says_the_same(tmp_path, made):
    table = StageTable(tmp_path, "classify", WindowScores)
    failed = Outcome("b", "key of b", FAILED, "too_loud", 3.0, "very")
    table.append([scores_of("a"), failed])
    found = table.lookup(["key of a", "key of b", "key of c"], with_records=False)
    assert found == {"key of a": Outcome("a", "key of a", DONE), "key of b": failed}
    assert made == []


def test_the_scores_of_a_shard_are_read_from_the_files_that_hold_them(tmp_path, files_read):
    table = StageTable(tmp_path, "classify", WindowScores)
    for shard in ("ab", "cd", "ef", "g" * 40):
        table.append(map(scores_of, shard if len(shard) == 2 else [shard]))
    for wanted, num_files in ((["c", "d"], 1), (["b", "c"], 2), (["g" * 40], 1), (["x"], 1)):
        files_read.clear()
        found = table.records_of({item_id: f"key of {item_id}" for item_id in wanted})
        assert found == {item_id: scores_of(item_id).record for item_id in wanted if item_id != "x"}
        assert files_read == [num_files]  # one whose largest id is too long for statistics may hold any later one


def test_a_build_with_nothing_new_reads_no_scores_and_one_with_other_limits_does(tmp_path, build, made):
    write_audio(tmp_path / "in" / "Chopin - Nocturne.flac", melody(12))
    first = build(tmp_path / "in", tmp_path / "out")
    made.clear()
    again = build(tmp_path / "in", tmp_path / "out")
    assert (again.version, again.num_files, again.is_new_version) == (first.version, 1, False)
    assert WindowScores not in made
    build(tmp_path / "in", tmp_path / "out", settings=("segment.min_segment_s=6",))
    assert made.count(WindowScores) == 1
