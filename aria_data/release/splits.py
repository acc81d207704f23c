"""Groups of rows that must be in the same split, and the split of a group.

Rows that share a recording, a cluster or a composition are one group, also through a chain of other rows. A new group's
split follows from the hash of its name alone. A group with rows that had a split before keeps it (`split_history`);
where new data joins two groups, the stricter of their splits holds for both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping

EXCLUDED = "excluded"  # the split of groups that an exclusion list names
STRICTNESS = ("train", "validation", "test")  # a later one keeps more data out of training


def split_of(group: str, test_share: float, validation_share: float) -> str:
    """Give the split of a group, "train", "validation" or "test", by its name's hash. Shares are 0 to 1, of groups."""
    place = int(hashlib.sha256(group.encode()).hexdigest()[:8], 16) / 2**32
    if place < test_share:
        return "test"
    return "validation" if place < test_share + validation_share else "train"


def groups_of(labels: Mapping[str, Collection[str]]) -> list[list[str]]:
    """Give the groups of ids that common labels join, each sorted; an id without labels is a group of its own."""
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ids = sorted(labels)
    place_of: dict[str, int] = {}
    edges = [
        (row, len(ids) + place_of.setdefault(label, len(place_of)))
        for row, item_id in enumerate(ids)
        for label in labels[item_id]
    ]
    if not edges:
        return [[item_id] for item_id in ids]
    ends = np.array(edges).T
    size = len(ids) + len(place_of)
    graph = coo_array((np.ones(len(edges), bool), (ends[0], ends[1])), shape=(size, size))
    _, number = connected_components(graph, directed=False)
    groups: dict[int, list[str]] = {}
    for item_id, group in zip(ids, number, strict=False):
        groups.setdefault(int(group), []).append(item_id)
    return list(groups.values())
