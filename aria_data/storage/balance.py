"""The balance of a build: every candidate ends in the manifest, as a rejection, as a failure, or is not done yet."""

from __future__ import annotations

from dataclasses import dataclass

from aria_data.errors import DatasetError
from aria_data.storage.relations import Relations


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


def balance_of(relations: Relations, came_in: str, in_manifest: str, not_done: str, rejected: str) -> Balance:
    """Account for every item. Each argument is a query: of `item_id`, and of `rejected` also of `is_failure`.

    An item counts once: as in the manifest when it, or any part of it, is there, else as not done when any part of it
    is, else as failed when any of its rejections is a failure, else as rejected. Raises `BalanceBroken` for any other.
    """
    states = f"""SELECT i.item_id, CASE WHEN m.item_id IS NOT NULL THEN 'in_manifest'
            WHEN n.item_id IS NOT NULL THEN 'not_done' WHEN r.has_failed THEN 'failed'
            WHEN r.item_id IS NOT NULL THEN 'rejected' END AS state
        FROM ({came_in}) i LEFT JOIN (SELECT DISTINCT item_id FROM ({in_manifest})) m USING (item_id)
        LEFT JOIN (SELECT DISTINCT item_id FROM ({not_done})) n USING (item_id)
        LEFT JOIN (SELECT item_id, bool_or(is_failure) AS has_failed FROM ({rejected}) GROUP BY item_id) r
        USING (item_id)"""
    lost = relations.value(f"SELECT min(item_id) FROM ({states}) WHERE state IS NULL")
    if lost is not None:
        raise BalanceBroken(
            f"{lost}: came in, and is neither in the manifest nor rejected. Please report this with `-v` output."
        )
    counts = dict(relations.rows(f"SELECT state, count(*) FROM ({states}) GROUP BY state"))
    ends = (counts.get(name, 0) for name in ("in_manifest", "rejected", "failed", "not_done"))
    return Balance(sum(counts.values()), *ends)
