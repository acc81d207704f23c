"""Groups of rows that must be in the same split, and the split of a group.

Rows that share a recording, a cluster or a composition are one group, also through a chain of other rows. A new group's
split follows from the hash of its name alone. A group with rows that had a split before keeps it (`split_history`);
where new data joins two groups, the stricter of their splits holds for both.
"""

from __future__ import annotations

import hashlib

EXCLUDED = "excluded"  # the split of groups that an exclusion list names
STRICTNESS = ("train", "validation", "test")  # a later one keeps more data out of training


def split_of(group: str, test_share: float, validation_share: float) -> str:
    """Give the split of a group, "train", "validation" or "test", by its name's hash. Shares are 0 to 1, of groups."""
    place = int(hashlib.sha256(group.encode()).hexdigest()[:8], 16) / 2**32
    if place < test_share:
        return "test"
    return "validation" if place < test_share + validation_share else "train"
