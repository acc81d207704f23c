"""Permanent random numbers (Ohlsson 1995): each file has a random key that is computed from its id.

A key depends on the file's id and on the purpose of the draw, and on no other file. So a draw does not depend on the
order of the files, files added later do not change the keys of the others, and a larger draw contains a smaller one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

_BITS = 53  # what a float64 holds


def random_keys(ids: Iterable[str], *purpose: object) -> np.ndarray:
    """Give each id a random number, uniform on the open interval from 0 to 1: shape (ids,), float64.

    The same id and purpose always give the same number. Keys of two purposes (such as `"draw", seed`) are independent.
    """
    start = hashlib.blake2b("\0".join([*map(str, purpose), ""]).encode(), digest_size=8)
    drawn = []
    for each in ids:
        digest = start.copy()
        digest.update(each.encode("utf-8", "surrogatepass"))
        drawn.append(int.from_bytes(digest.digest(), "big") >> (64 - _BITS))
    return (np.array(drawn, dtype=np.float64) + 0.5) / 2**_BITS
