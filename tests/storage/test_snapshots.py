"""A stage table is looked up by key: what is found is what is there, and only the rows near it are read."""

from __future__ import annotations

import hashlib
import random

import numpy as np
import pytest

from aria_data.records import Screening
from aria_data.storage.compaction import compact
from aria_data.storage.delta_tables import open_delta
from aria_data.storage.key_index import KeyIndex, words_of
from aria_data.storage.snapshots import Snapshot
from aria_data.storage.stage_tables import DONE, FAILED, Outcome, StageTable


def key_of(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()[:32]


def screened(number: int, key: str = "") -> Outcome:
    return Outcome(f"c{number}", key or key_of(number), DONE, record=Screening(f"c{number}", 5, "rules", str(number)))


@pytest.fixture
def table(tmp_path) -> StageTable:
    """Forty outcomes in four files."""
    table = StageTable(tmp_path, "screen", Screening)
    for first in range(0, 40, 10):
        table.append(screened(number) for number in range(first, first + 10))
    return table


def test_a_snapshot_finds_what_a_lookup_in_the_table_finds(table):
    table.append([screened(5), Outcome("c41", key_of(41), FAILED, "broken", reader=2), screened(50, "an odd key ü")])
    wanted = [key_of(number) for number in range(-3, 60, 2)] + ["an odd key ü", "another"]
    for with_records in (True, False):
        assert Snapshot(table).lookup(wanted, with_records) == table.lookup(wanted, with_records)
    assert set(Snapshot(table).among(wanted)) == table.lookup(wanted).keys()


def test_a_lookup_reads_only_the_row_groups_that_hold_a_key(table, monkeypatch):
    snapshot, rows = Snapshot(table), []
    read = snapshot._rows
    monkeypatch.setattr(snapshot, "_rows", lambda groups: (rows.append(read(groups).count_rows()), read(groups))[1])
    assert snapshot.lookup([key_of(-1)]) == {}
    assert snapshot.lookup([key_of(3), key_of(7)]).keys() == {key_of(3), key_of(7)}
    assert rows == [10]


def test_a_snapshot_reads_on_when_its_files_were_joined(table):
    snapshot = Snapshot(table)
    assert compact(table.path, open_delta(table.path), 1)
    table.append([screened(99)])
    assert snapshot.lookup([key_of(33), key_of(99)]).keys() == {key_of(33)}


def test_a_table_that_is_not_there_holds_nothing(tmp_path):
    assert Snapshot(StageTable(tmp_path, "screen", Screening)).lookup([key_of(1)]) == {}


def test_a_key_is_found_at_all_its_places_and_no_other_key_is(tmp_path):
    draw = random.Random(1)
    keys = [key_of(draw.randrange(500)) for _ in range(1000)] + ["x" * 32, "é"]
    index = KeyIndex(words_of(keys), np.arange(len(keys)))
    wanted = sorted({*keys, *map(key_of, range(600, 700))})
    numbers, places = index.find(words_of(wanted))
    assert all(keys[place] == wanted[number] for number, place in zip(numbers, places, strict=True))
    assert sorted(places.tolist()) == list(range(len(keys)))


def test_a_key_of_hex_digits_is_the_same_word_alone_and_among_odd_ones():
    assert (words_of([key_of(1)])[0] == words_of(["odd", key_of(1)])[1]).all()
    assert words_of([key_of(1).upper()]).tolist() != words_of([key_of(1)]).tolist()
