"""Many candidates, recordings and rejections cost disk, not memory: what is held as objects; nothing is lost."""

from __future__ import annotations

import hashlib
import random
from dataclasses import replace

import pyarrow as pa
import pytest

from aria_data.records import Candidate
from aria_data.storage.key_index import GrowingIndex, word_of
from aria_data.storage.relations import Relations
from aria_data.storage.spilled import Spilled, is_none_of
from aria_data.storage.stage_tables import StageTable
from aria_data.web import OptOuts
from flows.candidates import same_files
from flows.candidates.latest import Candidates, Observations
from flows.candidates.same_files import File, SameFiles
from flows.engine import shards
from flows.engine.crawling import observation


@pytest.fixture
def relations(tmp_path):
    with Relations.open(tmp_path) as relations:
        yield relations


def candidate(number: int, title: str = "", **named) -> Candidate:
    return Candidate(f"c{number:02}", "web", f"https://a.org/{number}", f"https://a.org/{number}", title, **named)


def candidates_of(relations: Relations, table: StageTable) -> Candidates:
    observed = Observations(relations)
    observed.read(table)
    return observed.write()


def test_of_several_observations_the_one_with_the_highest_number_counts_then_the_newest(tmp_path, relations):
    table = StageTable(tmp_path, "collect", Candidate)
    seen = [candidate(number, collected_at=f"2026-01-01T00:00:0{number}") for number in range(5)]
    table.append(map(observation, seen))
    table.append(map(observation, [replace(seen[1], title="new", collected_at="2026-01-02")]))
    table.append(map(observation, [replace(seen[2], title="counted", collected_at="2025-01-01", observation=1)]))
    assert [one.title for one in candidates_of(relations, table)] == ["", "new", "counted", "", ""]


def test_candidates_come_in_the_order_of_their_addresses_a_block_at_a_time(tmp_path, relations, monkeypatch):
    monkeypatch.setattr(shards, "BLOCK", 4)
    numbers = list(range(10))
    random.Random(1).shuffle(numbers)
    StageTable(tmp_path, "collect", Candidate).append(observation(candidate(number)) for number in numbers)
    found = candidates_of(relations, StageTable(tmp_path, "collect", Candidate))
    assert [len(block) for block in found.blocks()] == [4, 4, 2]
    assert list(found) == [candidate(number) for number in range(10)]
    assert found.of({"c03", "c07", "c99"}) == [candidate(3), candidate(7)]


def test_an_observation_that_is_added_takes_the_place_of_the_one_before(relations):
    observed = Observations(relations)
    observed.add([candidate(1), candidate(2)])
    observed.add([candidate(2, title="again"), candidate(3)])
    assert (len(observed), [one.title for one in observed.write()]) == (3, ["", "again", ""])


def test_only_candidates_that_may_be_named_are_looked_at(tmp_path, relations, monkeypatch):
    StageTable(tmp_path, "collect", Candidate).append(observation(candidate(number)) for number in range(20))
    found, asked = candidates_of(relations, StageTable(tmp_path, "collect", Candidate)), []
    reason_for = OptOuts.reason_for
    monkeypatch.setattr(OptOuts, "reason_for", lambda self, one: (asked.append(one), reason_for(self, one))[1])
    opt_outs = OptOuts()
    opt_outs.add([("c07", "asked"), ("https://A.org/12", "wish")])
    named = [(one.candidate_id, reason) for one, reason in found.named_by(opt_outs)]
    assert named == [("c12", "wish"), ("c07", "asked")]
    assert len(asked) < 20


def test_the_first_file_with_some_bytes_is_known_among_many(tmp_path, monkeypatch):
    monkeypatch.setattr(same_files, "GrowingIndex", lambda: GrowingIndex(num_recent=8))
    files = [File(f"c{number}", f"file:///ü {number}", f"{number}.wav") for number in range(300)]
    seen = SameFiles(tmp_path, lambda file: f"{file.candidate_id != 'c250'}{int(file.candidate_id[1:]):03}")
    hashes = [hashlib.sha256(bytes([number])).hexdigest() for number in range(200)]
    firsts = [seen.representative(hashes[number % 200], file) for number, file in enumerate(files)]
    assert firsts == [files[number % 200] for number in range(300)]
    assert seen.first_of(hashes[7]) == "c7"
    assert list(seen.mistaken()) == [["c250", "c50"]]
    assert seen.first_of(hashes[50]) == "c250"


def test_a_growing_index_finds_every_key_and_no_other():
    index = GrowingIndex(num_recent=16)
    for number in range(1000):
        index.add(word_of(f"key {number}"), number)
    assert [index.get(word_of(f"key {number}")) for number in range(1000)] == list(range(1000))
    assert index.get(word_of("another")) is None
    assert len(index) == 1000


def test_rows_on_disk_come_back_in_their_order_without_those_that_were_dropped(tmp_path, monkeypatch):
    monkeypatch.setattr("aria_data.storage.spilled.ROWS_TOGETHER", 3)
    rows = Spilled(tmp_path / "rows", pa.schema([("name", pa.string()), ("number", pa.int64())]))
    rows.add((f"n{number}", number) for number in range(10))
    assert rows.read()["number"].to_pylist() == list(range(10))
    rows.keep(lambda batch: is_none_of(batch["name"], {"n4", "n8"}))
    rows.add([("late", 10)])
    rows.keep(lambda batch: is_none_of(batch["name"], {"n0"}))
    assert rows.read()["number"].to_pylist() == [1, 2, 3, 5, 6, 7, 9, 10]
    assert rows.num_rows == 8
