"""The frontier: which lead comes next, what waits, what is damaged."""

from __future__ import annotations

import os
import random
import sqlite3
from collections import Counter
from contextlib import closing, suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aria_data.collect import Frontier
from aria_data.collect.frontier import MAX_TRIES, Followed, Seen
from aria_data.collect.sources.base import Lead
from aria_data.errors import DatasetCorrupt, DatasetNotWritable

# The frontier


@pytest.fixture
def frontier(tmp_path):
    frontier = Frontier(tmp_path / "frontier.sqlite")
    yield frontier
    frontier.close()


def lead(target: str, priority: float = 1.0, **more) -> Lead:
    return Lead("page", target, priority=priority, **more)


def test_the_most_promising_lead_comes_first_then_the_nearest_then_the_oldest(frontier):
    frontier.add_seeds([lead("a", 0.5), lead("b", 0.9), lead("c", 0.9, depth=1), lead("d", 0.9)])
    assert [one.target for one in frontier.next_leads(9, 5, 0)] == ["b", "d", "c", "a"]


def test_a_lead_waits_until_its_round_is_finished_and_never_comes_again(frontier):
    frontier.add_seeds([lead("a")])
    assert frontier.next_leads(9, 5, 0) == frontier.next_leads(9, 5, 0)
    frontier.finish_round([Followed(lead("a"))], 0)
    assert frontier.next_leads(9, 5, 1e12) == []
    assert frontier.add_seeds([lead("a")]) == 0
    assert frontier.next_leads(9, 5, 1e12) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://a.org/x", "HTTP://A.org:80/x#top"), ("http://a.org", "http://a.org/"),
        ("http://a.org/?b=1&a=2", "http://a.org/?a=2&b=1&utm_source=x"), ("http://a.org/x", "http://a.org./x"),
    ],
)  # fmt: skip
def test_two_spellings_of_an_address_are_one_lead(frontier, one, other):
    assert frontier.add_seeds([lead(one), lead(other)]) == 1


def test_a_lead_that_failed_for_a_passing_reason_waits_and_ends_after_so_many_tries(frontier):
    frontier.add_seeds([lead("a")])
    for number in range(MAX_TRIES):
        now = number * 1000.0
        (one,) = frontier.next_leads(9, 5, now)
        frontier.finish_round([Followed(one, kind="network", detail="cut", is_temporary=True)], now, retry_s=600)
        assert frontier.next_leads(9, 5, now + 599) == []
    assert frontier.next_leads(9, 5, 1e12) == []
    assert frontier.counts()["failed"] == 1
    assert frontier.failures() == [("page: a", "network", "cut")]


def test_a_lead_whose_failure_is_for_good_is_not_tried_again(frontier):
    frontier.add_seeds([lead("a")])
    frontier.finish_round([Followed(lead("a"), kind="gone", detail="404")], 0)
    assert (frontier.next_leads(9, 5, 1e12), frontier.counts()["failed"]) == ([], 1)


def test_a_site_that_fills_the_frontier_steps_back_behind_a_new_one(frontier):
    frontier.add_seeds([lead("http://big.org/")])
    many = [lead(f"http://big.org/{number}", 0.8, depth=1) for number in range(50)]
    few = [lead("http://small.org/1", 0.7, depth=1)]
    frontier.finish_round([Followed(lead("http://big.org/"), leads=[*many, *few])], 0)
    order = [one.target for one in frontier.next_leads(99, 5, 0)]
    assert order.index("http://small.org/1") < 5


def test_seeds_and_feeds_are_looked_at_again_after_a_while_and_pages_are_not(frontier):
    seed = lead("http://a.org/")
    frontier.add_seeds([seed])
    found = [lead("http://a.org/x", depth=1, discovered_via="x"), Lead("feed", "http://a.org/f", 1, 1.0, "x")]
    frontier.finish_round([Followed(seed, leads=found)], 100)
    frontier.finish_round([Followed(one) for one in found], 100)
    assert frontier.revisit(before=100) == 0
    assert frontier.revisit(before=101) == 2
    assert {one.target for one in frontier.next_leads(9, 5, 200)} == {"http://a.org/", "http://a.org/f"}


def test_a_round_is_written_whole_or_not_at_all(frontier):
    frontier.add_seeds([lead("a")])
    broken = Followed(lead("a"), candidates=[Seen("x", "x", "t", 5, True), Seen("y", "y", object(), 5, True)])
    with pytest.raises(sqlite3.Error):
        frontier.finish_round([broken], 0, ["a line"])
    assert (frontier.counts()["seen"], frontier.num_in_outbox(), len(frontier.next_leads(9, 5, 0))) == (0, 0, 1)


names = st.integers(0, 12).map(lambda number: f"http://h{number % 3}.org/{number}")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(names, st.lists(names, max_size=4), st.sampled_from(["", "gone", "network"])), max_size=12))
def test_no_lead_is_ever_followed_to_its_end_twice_and_the_order_is_fixed(tmp_path, graph):
    """Whatever leads to whatever and fails however: the same run twice gives the same walk, each lead ended once."""
    links = {source: (targets, kind) for source, targets, kind in graph}

    def walk() -> tuple[list[str], list[tuple]]:
        path = tmp_path / f"{random.random()}.sqlite"
        frontier, walked, now = Frontier(path), [], 0.0
        frontier.add_seeds([lead("http://h0.org/0")])
        while leads := frontier.next_leads(2, 6, now):
            followed = []
            for one in leads:
                targets, kind = links.get(one.target, ([], ""))
                found = [lead(target, 0.9, depth=one.depth + 1, discovered_via="x") for target in targets]
                followed.append(Followed(one, leads=found, kind=kind, is_temporary=kind == "network"))
                walked.append(one.target)
            frontier.finish_round(followed, now)
            now += 1000
        tree = list(frontier.tree())
        frontier.close()
        return walked, tree

    walked, tree = walk()
    assert walk() == (walked, tree)
    for target, count in Counter(walked).items():
        assert count == (MAX_TRIES if links.get(target, ([], ""))[1] == "network" else 1)
    assert {row[3] for row in tree} <= {"done", "failed"}


def test_a_damaged_frontier_says_so_in_one_line_and_how_to_go_on(tmp_path):
    path = tmp_path / "frontier.sqlite"
    path.write_bytes(b"this is no database" * 1000)
    with pytest.raises(DatasetCorrupt, match="damaged.*delete it"):
        Frontier(path)


@pytest.mark.parametrize("place", [200, 5000, 9000])
def test_a_frontier_damaged_inside_is_found_out_and_never_a_traceback(tmp_path, place):
    path = tmp_path / "frontier.sqlite"
    frontier = Frontier(path)
    frontier.add_seeds([lead(f"http://a.org/{number}") for number in range(200)])
    frontier.close()
    content = bytearray(path.read_bytes())
    content[place : place + 3000] = os.urandom(3000)
    path.write_bytes(content)
    with suppress(DatasetCorrupt):
        frontier = Frontier(path)
        with closing(frontier):
            frontier.next_leads(500, 5, 0)
            frontier.counts()
            list(frontier.tree())
            frontier.failures()
            frontier.add_seeds([lead("http://a.org/new")])


@pytest.mark.parametrize("do", ["next_leads", "add_seeds", "finish_round", "outbox", "counts", "tree"])
def test_a_frontier_whose_tables_are_damaged_is_found_out_whatever_is_done(tmp_path, do):
    path = tmp_path / "frontier.sqlite"
    frontier = Frontier(path)
    frontier.add_seeds([lead(f"http://a.org/{number}") for number in range(500)])
    frontier.finish_round([Followed(lead("http://a.org/1"))], 0, ["a line"] * 500)
    frontier.close()
    content = bytearray(path.read_bytes())
    for start in range(4096 * 1, len(content), 4096):  # every page but the schema's
        content[start : start + 100] = b"\xff" * 100
    path.write_bytes(content)
    calls = {
        "next_leads": lambda one: one.next_leads(500, 5, 0),
        "add_seeds": lambda one: one.add_seeds([lead("http://a.org/new")]),
        "finish_round": lambda one: one.finish_round([Followed(lead("http://a.org/2"))], 0),
        "outbox": lambda one: one.outbox(9),
        "counts": lambda one: one.counts(),
        "tree": lambda one: list(one.tree()),
    }
    with pytest.raises(DatasetCorrupt, match="damaged"), closing(Frontier(path)) as frontier:
        calls[do](frontier)


def test_a_full_disk_is_not_called_a_damaged_frontier(frontier):
    frontier._db.execute("PRAGMA max_page_count = 12")
    with pytest.raises(DatasetNotWritable):
        frontier.add_seeds([lead(f"http://a.org/{number}") for number in range(5000)])
    assert frontier.next_leads(9, 5, 0) == []
    frontier._db.execute("PRAGMA max_page_count = 100000")
    assert frontier.add_seeds([lead("http://a.org/")]) == 1


def test_a_lead_that_waits_because_the_clock_was_wrong_does_not_wait_for_years(frontier):
    frontier.add_seeds([lead("a")])
    frontier.finish_round([Followed(lead("a"), kind="network", is_temporary=True)], now=5e9)
    assert len(frontier.next_leads(9, 5, now=1e9)) == 1


def test_a_folder_where_the_frontier_should_be_is_the_datasets_trouble(tmp_path):
    (tmp_path / "frontier.sqlite").mkdir()
    with pytest.raises(DatasetNotWritable):
        Frontier(tmp_path / "frontier.sqlite")
