"""The balance adds up: every item is in the manifest, rejected, failed or not done, and counts once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aria_data.records import Candidate, Rejection, Segment
from aria_data.storage.balance import Balance, BalanceBroken, balance_candidates, balance_segments


def candidate(name: str) -> Candidate:
    return Candidate(name, "local", "", "", "")


def rejection(candidate_id: str, is_failure: bool = False, item_id: str = "") -> Rejection:
    return Rejection(item_id or candidate_id, candidate_id, "", "s", "r", None, "", is_failure)


def test_every_candidate_counts_once_in_the_order_manifest_not_done_failed_rejected():
    candidates = [candidate(name) for name in "abcdef"]
    rejections = [
        rejection("a"),
        rejection("b", True),
        rejection("c"),
        rejection("c", True),
        rejection("d"),
        rejection("f", True),
    ]
    balance = balance_candidates(candidates, {"a", "e"}, rejections, {"b", "e"})
    assert balance == Balance(6, num_in_manifest=2, num_rejected=1, num_failed=2, num_not_done=1)
    assert str(balance) == "6 in = 2 in the manifest + 1 rejected + 2 failed + 1 not done"


def test_what_cannot_be_accounted_for_breaks_the_ledger():
    with pytest.raises(BalanceBroken, match="b: came in, and is neither in the manifest nor rejected"):
        balance_candidates([candidate("a"), candidate("b")], {"a"}, [], set())
    with pytest.raises(BalanceBroken, match="r_1: came in"):
        balance_segments(
            [Segment("r", 0, 0, 1, 1), Segment("r", 1, 2, 3, 1)], {"r_0"}, [rejection("c", item_id="r")], set()
        )


def test_segments_are_balanced_by_their_own_ids():
    segments = [Segment("r", number, 0.0, 1.0, 1.0) for number in range(4)]
    rejections = [rejection("c", item_id="r_1"), rejection("c", True, item_id="r_2")]
    assert balance_segments(segments, {"r_0"}, rejections, {"r_3"}) == Balance(4, 1, 1, 1, 1)


@given(st.dictionaries(st.text(max_size=3), st.sets(st.sampled_from(["in", "rejected", "fault", "later"]), min_size=1)))
def test_the_sum_of_the_ends_is_always_what_came_in(fates):
    noted = {"rejected", "fault"}
    rejections = [rejection(name, kind == "fault") for name, kinds in fates.items() for kind in kinds & noted]
    having = lambda kind: {name for name, kinds in fates.items() if kind in kinds}  # noqa: E731
    balance = balance_candidates([candidate(name) for name in fates], having("in"), rejections, having("later"))
    ends = balance.num_in_manifest + balance.num_rejected + balance.num_failed + balance.num_not_done
    assert balance.num_in == len(fates) == ends
    assert balance.num_in_manifest == len(having("in"))


def test_nothing_in_is_nothing_out():
    assert balance_candidates([], set(), [], set()) == Balance(0, 0, 0, 0, 0)
