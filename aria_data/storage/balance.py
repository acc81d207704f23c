"""The balance of a build: every candidate ends in the manifest, as a rejection, as a failure, or is not done yet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from aria_data.errors import DatasetError
from aria_data.records import Candidate, Rejection, Segment


class BalanceBroken(DatasetError):
    """A candidate or segment is unaccounted for: a fault of this program, never of the data."""

    reason = "ledger_broken"


@dataclass(frozen=True, slots=True)
class Balance:
    """How many items came in, and where they ended. `num_in` is always the sum of the others."""

    num_in: int
    num_in_manifest: int
    num_rejected: int
    num_failed: int
    num_not_done: int

    def __str__(self) -> str:
        return (
            f"{self.num_in} in = {self.num_in_manifest} in the manifest + {self.num_rejected} rejected "
            f"+ {self.num_failed} failed + {self.num_not_done} not done"
        )


def balance_candidates(
    candidates: Iterable[Candidate],
    in_manifest: Collection[str],
    rejections: Iterable[Rejection],
    not_done: Collection[str],
) -> Balance:
    """Account for every candidate; `in_manifest` and `not_done` are candidate ids.

    A candidate counts once: as in the manifest when any of its segments is, else as not done when any part of it is,
    else as failed when any of its rejections is a failure, else as rejected. Raises `BalanceBroken` for any other.
    """
    has_failed: dict[str, bool] = {}
    for rejection in rejections:
        has_failed[rejection.candidate_id] = has_failed.get(rejection.candidate_id, False) or rejection.is_failure
    states = Counter(_state(candidate.candidate_id, in_manifest, has_failed, not_done) for candidate in candidates)
    return _balance(states)


def balance_segments(
    segments: Iterable[Segment],
    in_manifest: Collection[str],
    rejections: Iterable[Rejection],
    not_done: Collection[str],
) -> Balance:
    """Account for every segment, as `balance_candidates` does; `in_manifest` and `not_done` are segment ids."""
    has_failed = {rejection.item_id: rejection.is_failure for rejection in rejections}
    return _balance(Counter(_state(segment.segment_id, in_manifest, has_failed, not_done) for segment in segments))


def _state(
    item_id: str, in_manifest: Collection[str], has_failed: Mapping[str, bool], not_done: Collection[str]
) -> str:
    """Where an item ended. `has_failed` holds every rejected item, with whether the rejection is a failure."""
    if item_id in in_manifest:
        return "in_manifest"
    if item_id in not_done:
        return "not_done"
    if item_id in has_failed:
        return "failed" if has_failed[item_id] else "rejected"
    raise BalanceBroken(
        f"{item_id}: came in, and is neither in the manifest nor rejected. Please report this with `-v` output."
    )


def _balance(states: Counter[str]) -> Balance:
    return Balance(states.total(), states["in_manifest"], states["rejected"], states["failed"], states["not_done"])
