"""Which performances share patterns, found without comparing every pair. Performances are numbers (`note_index`).

Patterns that only one performance has are left out. All others are in one array, and the performances that share a
pattern are neighbours in it: a bucket. To count what one performance shares with others, its places in the array are
visited, and at each place its neighbours. Counts are kept for one performance at a time, so memory grows with the
number of patterns and not with the number of pairs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from aria_data.deduplicate.compiled import compiled
from aria_data.deduplicate.note_patterns import NoteIndexConfig

FIRST_PAIRS = 1024  # room for so many pairs at first; doubled whenever it is full


@dataclass(frozen=True, slots=True)
class Occurrences:
    """Patterns with the performance each occurs in; those of one performance are together, in order of time."""

    hash: np.ndarray  # uint64
    fine: np.ndarray  # uint16
    performance: np.ndarray  # int32: its number


@dataclass(frozen=True, slots=True)
class _Buckets:
    """Occurrences of patterns that several performances have; a bucket is sorted by `fine`, then by performance."""

    performance: np.ndarray  # int32
    number: np.ndarray  # int32, of the bucket: ascending


def find_pairs(slices: Iterable[Occurrences], is_new: np.ndarray, config: NoteIndexConfig) -> np.ndarray:
    """Give the pairs that share enough patterns: shape (num, 2), the lower number first, sorted.

    `is_new[number]` marks new performances; a pair has at least one. All occurrences of a hash must be in one slice.
    """
    buckets, num_patterns = _gather(slices, len(is_new))
    places = np.argsort(buckets.performance, kind="stable")
    starts = np.searchsorted(buckets.performance[places], np.arange(len(is_new) + 1))
    limits = config.max_bucket, config.min_shared, config.min_shared_share
    pairs = _count(buckets.performance, buckets.number, places, starts, is_new, num_patterns, *limits)
    pairs = np.sort(pairs, axis=1)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def _gather(slices: Iterable[Occurrences], num_performances: int) -> tuple[_Buckets, np.ndarray]:
    """Join the buckets of all slices, and count the different patterns of each performance."""
    found = [_Buckets(np.zeros(0, np.int32), np.zeros(0, np.int32))]
    num_patterns, num_buckets = np.zeros(num_performances, np.int64), 0
    for each in slices:
        each = _distinct(each)
        num_patterns += np.bincount(each.performance, minlength=num_performances)
        found.append(_buckets(each, num_buckets))
        num_buckets = max(num_buckets, found[-1].number.max(initial=-1) + 1)
    performance = np.concatenate([each.performance for each in found])
    return _Buckets(performance, np.concatenate([each.number for each in found])), num_patterns


def _distinct(found: Occurrences) -> Occurrences:
    """Sort by hash, and keep only the first of a hash that a performance has several times."""
    order = np.argsort(found.hash, kind="stable")
    hashes, performance = found.hash[order], found.performance[order]
    is_first = np.ones(len(order), bool)
    is_first[1:] = (hashes[1:] != hashes[:-1]) | (performance[1:] != performance[:-1])
    return Occurrences(hashes[is_first], found.fine[order[is_first]], performance[is_first])


def _buckets(found: Occurrences, first: int) -> _Buckets:
    """Make a bucket of each hash that several performances have, numbered from `first`. `found` is from `_distinct`."""
    is_like_last = np.zeros(len(found.hash) + 1, bool)
    is_like_last[1:-1] = found.hash[1:] == found.hash[:-1]
    is_shared = is_like_last[:-1] | is_like_last[1:]
    begins = ~is_like_last[:-1][is_shared]
    number = np.cumsum(begins, dtype=np.int32) + np.int32(first - 1)
    performance, fine = found.performance[is_shared], found.fine[is_shared]
    order = np.lexsort((performance, fine, number))
    return _Buckets(performance[order], number)


@compiled
def _count(performance, bucket, places, starts, is_new, num_patterns, max_bucket, min_shared, min_shared_share):
    """Count for each new performance how many patterns it shares with each of its neighbours in the buckets."""
    pairs, num_pairs = np.empty((FIRST_PAIRS, 2), np.int64), 0
    num_shared = np.zeros(len(is_new), np.int32)
    met = np.empty(len(is_new), np.int32)
    for one in np.flatnonzero(is_new):
        num_met = 0
        for place in places[starts[one] : starts[one + 1]]:
            for beside in range(max(0, place - max_bucket), min(len(bucket), place + max_bucket + 1)):
                other = performance[beside]
                if bucket[beside] != bucket[place] or (is_new[other] and other <= one):
                    continue  # a pair of new ones is counted once, from its lower number
                if num_shared[other] == 0:
                    met[num_met] = other
                    num_met += 1
                num_shared[other] += 1
        for other in met[:num_met]:
            needed = max(min_shared, min_shared_share * min(num_patterns[one], num_patterns[other]))
            if num_shared[other] >= needed:
                if num_pairs == len(pairs):
                    pairs = np.concatenate((pairs, np.empty_like(pairs)))
                pairs[num_pairs, 0], pairs[num_pairs, 1] = one, other
                num_pairs += 1
            num_shared[other] = 0
    return pairs[:num_pairs]
