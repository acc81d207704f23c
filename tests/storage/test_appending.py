"""Outcomes on their way into stage tables: few commits, and nothing is lost."""

from __future__ import annotations

import pytest

from aria_data.errors import DatasetNotWritable
from aria_data.records import Screening
from aria_data.storage import appending as appending_module
from aria_data.storage.appending import Appending, Closed
from aria_data.storage.stage_tables import DONE, Outcome, StageTable


def screened(*names: str) -> list[Outcome]:
    return [Outcome(name, f"key-{name}", DONE, record=Screening(name, 5, "rules", "")) for name in names]


def num_commits(table: StageTable) -> int:
    return len(list((table.path / "_delta_log").glob("*.json")))


def test_what_comes_within_seconds_is_one_commit_a_table(tmp_path):
    table, appending = StageTable(tmp_path, "screen", Screening), Appending()
    with appending.behind():
        for number in range(50):
            appending.to(table).append(screened(f"c{number:02}"))
    assert num_commits(table) == 1
    assert [one.item_id for one in table.all()] == [f"c{number:02}" for number in range(50)]


def test_what_waits_is_written_although_the_work_fails(tmp_path):
    table, appending = StageTable(tmp_path, "screen", Screening), Appending()

    def fail() -> None:
        with appending.behind():
            appending.to(table).append(screened("a"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [one.item_id for one in table.all()] == ["a"]


def test_too_much_is_not_kept_waiting(tmp_path, monkeypatch):
    monkeypatch.setattr("aria_data.storage.appending.MOST_WAITING", 2)
    table, appending = StageTable(tmp_path, "screen", Screening), Appending()
    with appending.behind():
        appending.to(table).append(screened("a", "b", "c"))
        assert len(table.all()) == 3


def test_tables_are_written_in_the_order_in_which_they_were_asked_for(tmp_path, monkeypatch):
    written: list[str] = []
    monkeypatch.setattr(StageTable, "append", lambda table, outcomes: written.append(table.name))
    appending = Appending()
    first, second = (appending.to(StageTable(tmp_path, name, Screening)) for name in ("numbers", "transcribe"))
    second.append(screened("a"))
    first.append(screened("a"))
    appending.flush()
    assert written == ["numbers", "transcribe"]


def test_a_table_that_cannot_be_written_stops_the_work_that_appends(tmp_path, monkeypatch):
    def full(table: StageTable, outcomes: list[Outcome]) -> None:
        raise DatasetNotWritable("the disk is full")

    monkeypatch.setattr(StageTable, "append", full)
    monkeypatch.setattr(appending_module, "FLUSH_AFTER_S", 0.01)
    appending = Appending()
    place = appending.to(StageTable(tmp_path, "screen", Screening))

    def append_on() -> None:
        with appending.behind():
            while True:
                place.append(screened("a"))

    with pytest.raises(DatasetNotWritable):
        append_on()


def test_nothing_is_written_after_the_end_although_a_lane_was_left_behind(tmp_path):
    table, appending = StageTable(tmp_path, "screen", Screening), Appending()
    place = appending.to(table)
    with appending.behind():
        place.append(screened("a"))
    place.append(screened("late"))
    appending.close()
    with pytest.raises(Closed, match="nothing more is recorded"):
        place.append(screened("too late"))
    appending.flush()
    assert [one.item_id for one in table.all()] == ["a"]
