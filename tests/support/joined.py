"""Groups of ids that common labels join: what a split must not part."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def groups_of(labels: Mapping[str, Collection[str]]) -> list[list[str]]:
    """Give the groups of ids that common labels join, each sorted; an id without labels is a group of its own."""
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
