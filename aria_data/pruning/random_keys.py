"""Lots drawn from ids: random numbers that stay with a file (permanent random numbers, Ohlsson 1995).

A file's key depends on its id and on what is drawn for, and on no other file. So a draw is the same in whatever order
the files come, files added later leave the keys of the others as they are, and a larger draw contains a smaller one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

_BITS = 53  # what a float64 holds


def random_keys(ids: Iterable[str], *purpose: object) -> np.ndarray:
    """Give each id a number from the uniform distribution on the open interval from 0 to 1.

    Two purposes (`"draw", seed`) give random_keys that are independent of each other.
    """
    start = hashlib.blake2b("\0".join([*map(str, purpose), ""]).encode(), digest_size=8)
    drawn = []
    for each in ids:
        digest = start.copy()
        digest.update(each.encode("utf-8", "surrogatepass"))
        drawn.append(int.from_bytes(digest.digest(), "big") >> (64 - _BITS))
    return (np.array(drawn, dtype=np.float64) + 0.5) / 2**_BITS
