"""The balance adds up: every item is in the manifest, rejected, failed or not done, and counts once."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aria_data.storage.balance import Balance, BalanceBroken, balance_of
from aria_data.storage.relations import Relations


def balance(
    came_in: Iterable[str],
    in_manifest: Iterable[str],
    rejections: Iterable[tuple[str, bool]],
    not_done: Iterable[str],
) -> Balance:
    """The balance of items by name; a rejection is of an item, and a failure or not."""
    with Relations.open(None) as relations:
        for name, ids in {"came_in": came_in, "in_manifest": in_manifest, "not_done": not_done}.items():
            relations.put_values(name, {"item_id": ids}, {"item_id": pa.string()})
        ids, failures = zip(*rejections, strict=True) if (rejections := list(rejections)) else ((), ())
        types = {"item_id": pa.string(), "is_failure": pa.bool_()}
        relations.put_values("rejected", {"item_id": ids, "is_failure": failures}, types)
        return balance_of(relations, *(f"FROM {name}" for name in ("came_in", "in_manifest", "not_done", "rejected")))


def test_every_item_counts_once_in_the_order_manifest_not_done_failed_rejected():
    rejections = [("a", False), ("b", True), ("c", False), ("c", True), ("d", False), ("f", True)]
    found = balance("abcdef", "ae", rejections, "be")
    assert found == Balance(6, num_in_manifest=2, num_rejected=1, num_failed=2, num_not_done=1)
    assert str(found) == "6 in = 2 in the manifest + 1 rejected + 2 failed + 1 not done"


def test_what_cannot_be_accounted_for_breaks_the_ledger():
    with pytest.raises(BalanceBroken, match="b: came in, and is neither in the manifest nor rejected"):
        balance("ab", "a", [], [])
    with pytest.raises(BalanceBroken, match="r_1: came in"):
        balance(["r_0", "r_1"], ["r_0"], [("r", False)], [])


@settings(max_examples=20, deadline=None)
@given(st.dictionaries(st.text(max_size=3), st.sets(st.sampled_from(["in", "rejected", "fault", "later"]), min_size=1)))
def test_the_sum_of_the_ends_is_always_what_came_in(fates):
    noted = {"rejected", "fault"}
    rejections = [(name, kind == "fault") for name, kinds in fates.items() for kind in kinds & noted]
    having = lambda kind: {name for name, kinds in fates.items() if kind in kinds}  # noqa: E731
    found = balance(fates, having("in"), rejections, having("later"))
    assert (
        found.num_in == len(fates) == found.num_in_manifest + found.num_rejected + found.num_failed + found.num_not_done
    )
    assert found.num_in_manifest == len(having("in"))


def test_nothing_in_is_nothing_out():
    assert balance([], [], [], []) == Balance(0, 0, 0, 0, 0)
