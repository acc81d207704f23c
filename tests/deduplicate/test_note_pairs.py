"""Performances that share patterns are paired: as counting every pair would, without keeping every pair."""

from __future__ import annotations

import itertools
import tracemalloc
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aria_data.deduplicate.compiled import compiled
from aria_data.deduplicate.note_pairs import Occurrences, find_pairs
from aria_data.deduplicate.note_patterns import NoteIndexConfig

CONFIG = NoteIndexConfig(min_shared=2, min_shared_share=0.0)


def occurrences(performances: list[list[int]], fine: int = 0) -> Occurrences:
    hashes = [each for patterns in performances for each in patterns]
    number = np.repeat(np.arange(len(performances), dtype=np.int32), [len(each) for each in performances])
    return Occurrences(np.array(hashes, np.uint64), np.full(len(hashes), fine, np.uint16), number)


def pairs_of(performances: list[list[int]], config: NoteIndexConfig = CONFIG, num_known: int = 0) -> list[list[int]]:
    is_new = np.arange(len(performances)) >= num_known
    return find_pairs([occurrences(performances)], is_new, config).tolist()


def counted(performances: list[list[int]], config: NoteIndexConfig, num_known: int) -> list[list[int]]:
    """The peer: every pair looked at."""
    sets = [set(each) for each in performances]
    found = []
    for one, other in itertools.combinations(range(len(sets)), 2):
        needed = max(config.min_shared, config.min_shared_share * min(len(sets[one]), len(sets[other])))
        if other >= num_known and len(sets[one] & sets[other]) >= needed:
            found.append([one, other])
    return found


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.lists(st.integers(0, 30), max_size=12), max_size=12),
    st.integers(1, 4),
    st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    st.integers(0, 12),
)
def test_pairs_are_those_that_counting_every_pair_finds(performances, min_shared, min_shared_share, num_known):
    config = NoteIndexConfig(min_shared=min_shared, min_shared_share=min_shared_share)
    assert pairs_of(performances, config, num_known) == counted(performances, config, num_known)


def test_a_pattern_that_one_performance_has_twice_counts_once():
    assert pairs_of([[7, 7, 8], [7, 9, 9]]) == []
    assert pairs_of([[7, 7, 8], [7, 8, 8]]) == [[0, 1]]


def test_a_known_performance_is_paired_with_a_new_one_wherever_its_number_lies():
    same = [[1, 2, 3]] * 4
    is_new = np.array([False, True, False, False])
    assert find_pairs([occurrences(same)], is_new, CONFIG).tolist() == [[0, 1], [1, 2], [1, 3]]


def test_patterns_may_come_in_slices_of_their_hash():
    whole = occurrences([[1, 2, 3, 4], [1, 2, 5, 6], [3, 4, 5, 6], [1, 4, 7, 8]])
    places = [np.flatnonzero(whole.hash % 3 == rest) for rest in range(3)]
    slices = [Occurrences(whole.hash[each], whole.fine[each], whole.performance[each]) for each in places]
    assert find_pairs(slices, np.ones(4, bool), CONFIG).tolist() == [[0, 1], [0, 2], [0, 3], [1, 2]]


def test_in_a_full_bucket_those_who_share_their_time_alike_are_neighbours():
    performances = [[1, 2, 3]] * 40
    together = replace(CONFIG, max_bucket=1)
    found = occurrences(performances)
    fine = (found.performance % 20).astype(np.uint16)  # 0 is like 20, 1 like 21 ...
    pairs = find_pairs([Occurrences(found.hash, fine, found.performance)], np.ones(40, bool), together).tolist()
    assert [[each, each + 20] for each in range(20)] == [pair for pair in pairs if pair[1] - pair[0] == 20]
    assert len(pairs) == 39


def test_more_pairs_than_there_was_room_for_are_all_given():
    num = 100  # 4,950 pairs
    found = pairs_of([[1, 2, 3]] * num, replace(CONFIG, max_bucket=num))
    assert found == [list(each) for each in itertools.combinations(range(num), 2)]


def test_pairs_that_share_one_pattern_need_no_memory():
    """A pair kept is 8 bytes at least, and a pattern is in 16 of them."""
    rng = np.random.default_rng(0)
    performances = [rng.choice(20_000, 50, replace=False).tolist() for _ in range(4000)]
    found = occurrences(performances)
    patterns_of = Counter(found.hash.tolist())
    assert np.mean(list(patterns_of.values())) > 9
    pairs_of(performances[:10])  # compiled here, if not before
    tracemalloc.start()
    assert len(find_pairs([found], np.ones(4000, bool), NoteIndexConfig())) < 4000
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes / len(found.hash) < 64


def test_nothing_has_no_pairs():
    assert pairs_of([]) == []
    assert pairs_of([[], []]) == []
    assert find_pairs([], np.zeros(0, bool), CONFIG).shape == (0, 2)


@pytest.mark.parametrize("number", [3, 3.5])
def test_a_loop_is_compiled_where_its_code_cannot_be_kept(number):
    written: dict = {}
    exec("def doubled(number):\n    return 2 * number", written)  # has no file, so no folder either
    assert compiled(written["doubled"])(number) == 2 * number
