"""Stage tables: what is written is found again, whole or not at all, and nothing that counts is ever deleted."""

from __future__ import annotations

import dataclasses
import json
import tempfile
import types
import typing
from array import array
from pathlib import Path

import deltalake
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aria_data import records
from aria_data.errors import DatasetCorrupt, DatasetNotWritable, UsageError
from aria_data.records import Candidate, Recording, Rejection, Segment, Segmentation, Transcription, WindowScores
from aria_data.storage.delta_tables import address_of, remove_orphans
from aria_data.storage.stage_tables import DONE, FAILED, Outcome, RecordTable, StageTable
from aria_data.storage.work_keys import work_key

RECORD_TYPES = [value for value in vars(records).values() if dataclasses.is_dataclass(value)]
texts = st.text(st.characters(codec="utf-8"), max_size=20)
floats = st.floats(allow_nan=False)
PLAIN = {str: texts, int: st.integers(-(2**63), 2**63 - 1), float: floats, bool: st.booleans()}


def strategy_for(wanted):
    """Give a strategy for a record type or a field's type, for every kind of field that records have."""
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if wanted in PLAIN:
        return PLAIN[wanted]
    if wanted is array:
        return st.lists(floats, max_size=4).map(lambda values: array("d", values))
    if dataclasses.is_dataclass(wanted):
        hints = typing.get_type_hints(wanted)
        return st.builds(
            wanted, **{field.name: strategy_for(hints[field.name]) for field in dataclasses.fields(wanted)}
        )
    if origin is list:
        return st.lists(strategy_for(arguments[0]), max_size=4)
    if origin is dict:
        return st.dictionaries(texts, strategy_for(arguments[1]), max_size=4)
    assert origin is types.UnionType
    return st.none() | strategy_for(arguments[0])


@pytest.mark.parametrize("record_type", RECORD_TYPES, ids=lambda record_type: record_type.__name__)
@settings(max_examples=5, deadline=None)
@given(st.data())
def test_every_kind_of_record_comes_back_as_it_was_written(record_type, data):
    written = data.draw(st.lists(strategy_for(record_type), min_size=1, max_size=4))
    with tempfile.TemporaryDirectory() as folder:
        table = StageTable(Path(folder), "x", record_type)
        outcomes = [Outcome(f"id{i}", f"key{i}", DONE, "", None, "", record) for i, record in enumerate(written)]
        table.append(outcomes)
        assert table.lookup([outcome.key for outcome in outcomes]) == {outcome.key: outcome for outcome in outcomes}


def outcome(number: int, status: str = DONE) -> Outcome:
    record = Segmentation("r", [Segment("r", 0, 0.0, 1.5, 0.5)]) if status == DONE else None
    return Outcome(f"id{number}", f"key{number}", status, "why", 0.25, "detail", record)


def test_a_lookup_finds_the_keys_that_exist_and_no_others(tmp_path):
    table = StageTable(tmp_path, "segment", Segmentation)
    assert table.lookup(["key1"]) == {}
    assert table.lookup([]) == {}
    table.append([outcome(1), outcome(2, FAILED)])
    table.append([outcome(3)])
    assert table.lookup(["key2", "key3", "key9"]) == {"key2": outcome(2, FAILED), "key3": outcome(3)}
    assert sorted(one.key for one in table.all()) == ["key1", "key2", "key3"]


def test_an_append_of_nothing_makes_no_table(tmp_path):
    StageTable(tmp_path, "x", Segmentation).append([])
    assert list(tmp_path.iterdir()) == []


def test_an_append_that_fails_changes_nothing(tmp_path, monkeypatch):
    table = StageTable(tmp_path, "x", Segmentation)
    table.append([outcome(1)])

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(deltalake, "write_deltalake", fail)
    with pytest.raises(DatasetNotWritable, match="tables/x: no space left"):
        table.append([outcome(2)])
    assert [one.key for one in table.all()] == ["key1"]


def test_a_key_names_everything_that_determines_the_work_and_not_its_order():
    key = work_key("s", 1, {"a": 1, "b": 2.5}, {"c": "x"})
    assert key == work_key("s", 1, {"b": 2.5, "a": 1}, {"c": "x"})
    others = [("t", 1, {"a": 1, "b": 2.5}, {"c": "x"}), ("s", 2, {"a": 1, "b": 2.5}, {"c": "x"})]
    others += [("s", 1, {"a": 1, "b": 2.6}, {"c": "x"}), ("s", 1, {"a": 1, "b": 2.5}, {"c": "y"})]
    assert len({key, *(work_key(*other) for other in others)}) == 5


def test_a_column_that_a_record_has_no_more_is_ignored_and_a_new_one_takes_its_default(tmp_path):
    @dataclasses.dataclass(frozen=True)
    class Old:
        a: str
        gone: int

    @dataclasses.dataclass(frozen=True)
    class New:
        a: str
        later: str = "default"

    StageTable(tmp_path, "x", Old).append([Outcome("i", "k", DONE, record=Old("v", 1))])
    assert StageTable(tmp_path, "x", New).lookup(["k"])["k"].record == New("v")


def test_orphans_are_deleted_and_every_file_of_every_version_stays(tmp_path):
    table = RecordTable(tmp_path, "rejections", Rejection)
    for number in range(3):
        table.replace([Rejection(f"i{number}", "c", "u", "s", "r", None, "d", False)])
    named = set(table.path.glob("*.parquet"))
    assert len(named) == 3
    (table.path / "part-orphan.parquet").write_bytes(b"half")
    assert remove_orphans(table.path) == 1
    assert set(table.path.glob("*.parquet")) == named
    for version in range(3):
        assert deltalake.DeltaTable(str(table.path), version=version).to_pyarrow_table().num_rows == 1


def test_orphans_are_found_where_there_are_checkpoints(tmp_path):
    table = StageTable(tmp_path, "x", Segmentation)
    for number in range(3):
        table.append([outcome(number)])
    deltalake.DeltaTable(str(table.path)).create_checkpoint()
    table.append([outcome(3)])
    assert remove_orphans(table.path) == 0
    assert len(table.all()) == 4


@pytest.mark.parametrize(
    "damage",
    [
        lambda log: (log / f"{1:020}.json").unlink(),
        lambda log: (log / f"{1:020}.json").write_bytes(b""),
        lambda log: (log / f"{1:020}.json").write_bytes(b"\xff\xfe"),
        lambda log: (log / f"{1:020}.json").write_text('{"add": {"path": 5}}'),
        lambda log: (log / f"{1:020}.json").write_text('{"commitInfo": {}}\n{"add": {}}'),
        lambda log: (log / f"{1:020}.json").write_text('{"x": 1}\n[2]\n'),
    ],
)
def test_with_a_damaged_log_nothing_counts_as_an_orphan(tmp_path, damage):
    table = StageTable(tmp_path, "x", Segmentation)
    for number in range(3):
        table.append([outcome(number)])
    damage(table.path / "_delta_log")
    files = sorted(table.path.glob("*.parquet"))
    with pytest.raises(DatasetCorrupt, match="tables/x: this table is damaged"):
        remove_orphans(table.path)
    assert sorted(table.path.glob("*.parquet")) == files


def test_a_record_table_is_written_again_only_when_its_content_changed(tmp_path):
    table = RecordTable(tmp_path, "rejections", Rejection)
    assert table.read() == []
    some = [Rejection(f"i{n}", "c", "u", "s", "r", n / 2, "d", True) for n in (2, 1)]
    for content in (some, some, [], [], some[:1]):
        table.replace(content)
        assert table.read() == content
    assert deltalake.DeltaTable(str(table.path)).version() == 2


def test_old_versions_are_never_forgotten_by_the_table_library(tmp_path):
    table = StageTable(tmp_path, "x", Recording)
    table.append([Outcome("i", "k", FAILED)])
    settings_ = deltalake.DeltaTable(str(table.path)).metadata().configuration
    assert settings_["delta.enableExpiredLogCleanup"] == "false"


@pytest.mark.parametrize("name", ["a[b", "a]b", "a^b", "a|b", "a\\b", "a\nb", "a%20b", "\udcff"])
def test_a_path_that_the_table_library_misreads_is_refused_in_one_line(tmp_path, name):
    with pytest.raises(UsageError, match="a dataset folder's path may not hold") as caught:
        StageTable(tmp_path / name, "x", Segmentation).append([outcome(1)])
    assert str(caught.value).isprintable()
    assert not list(tmp_path.rglob("*.parquet"))


@pytest.mark.parametrize(
    "name", ["a b", "50% off", "#1", "a?b", "é 🎹", "{x}", "it's", "a:b", "*", "~", "a&b=c", "%zz"]
)
def test_any_other_path_holds_a_table(tmp_path, name):
    table = StageTable(tmp_path / name, "x", Segmentation)
    assert address_of(table.path) == str(table.path)
    for number in range(2):
        table.append([outcome(number)])
    assert len(table.all()) == 2
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_log_of_a_table_is_json_a_commit(tmp_path):
    table = StageTable(tmp_path, "x", Segmentation)
    table.append([outcome(1)])
    (commit,) = (table.path / "_delta_log").glob("*.json")
    assert any("add" in json.loads(line) for line in commit.read_text().splitlines())


def test_a_record_that_gained_a_field_goes_into_the_table_of_its_elders(tmp_path):
    fields = [(f.name, typing.get_type_hints(Transcription)[f.name]) for f in dataclasses.fields(Transcription)]
    elders = fields[: [name for name, _ in fields].index("confidence")]
    elder = dataclasses.make_dataclass("Elder", elders, frozen=True)
    values = {name: "x" if kind is str else 1 for name, kind in elders}
    StageTable(tmp_path, "transcribe", elder).append([Outcome("a", "1", DONE, record=elder(**values))])
    table = StageTable(tmp_path, "transcribe", Transcription)
    table.append([Outcome("b", "2", DONE, record=Transcription(**values, confidence=0.5, num_endless_notes=0))])
    assert table.lookup(["2"])["2"].record.confidence == 0.5
    assert table.lookup(["1"])["1"].record.confidence is None
    assert table.lookup(["1"])["1"].record.precision == ""


def test_fields_that_an_older_table_has_not_come_with_their_defaults(tmp_path):
    older = dataclasses.make_dataclass("Older", [("candidate_id", str), ("title", str)])
    StageTable(tmp_path, "collect", older).append([Outcome("a", "key", DONE, record=older("a", "a title"))])
    rows = StageTable(tmp_path, "collect", Candidate).fields(["observation", "title", "announced_duration_s"])
    (row,) = rows.read_all().to_pylist()
    assert [row[name] for name in ("observation", "title", "announced_duration_s")] == [0, "a title", None]


def test_arrays_that_may_be_missing_come_back_as_arrays_or_as_missing(tmp_path):
    """Scores made before levels were recorded have none."""
    table = StageTable(tmp_path, "classify", WindowScores)
    known = WindowScores("a", 1.0, array("d", [0.5]), 0.5, array("d", [0.1, 0.9]), "c", array("d", [0.2]), array("d"))
    before = WindowScores("b", 1.0, array("d", [0.5]), 0.5, array("d", [0.1, 0.9]), "c")
    table.append([Outcome(one.recording_id, f"{one.recording_id}" * 64, DONE, record=one) for one in (known, before)])
    found = {one.record.recording_id: one.record for one in table.all()}
    assert found == {"a": known, "b": before}
    assert isinstance(found["a"].local_any_piano, array)
