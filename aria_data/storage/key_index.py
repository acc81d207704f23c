"""Keys in 16 bytes each, sorted: which of many are there, and where, without an object a key."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

HEX_DIGITS = 32  # of a work key (`storage.work_keys`)
_WORK_KEY = re.compile(r"^[0-9a-f]{32}$")


def words_of(keys: Sequence[str] | pa.ChunkedArray) -> np.ndarray:
    """Each key as two numbers of 64 bits, an array of shape (keys, 2): 32 hex digits as they are, else a hash."""
    column = keys.combine_chunks() if isinstance(keys, pa.ChunkedArray) else pa.array(keys, pa.string())
    if not len(column):
        return np.empty((0, 2), np.uint64)
    if not pc.all(pc.match_substring_regex(column, _WORK_KEY.pattern)).as_py():
        made = [word_of(text) for text in column.to_pylist()]
        return np.frombuffer(b"".join(made), np.uint64).reshape(-1, 2)
    start = np.frombuffer(column.buffers()[1], np.int32)[column.offset]
    text = np.frombuffer(column.buffers()[2], np.uint8)[start : start + HEX_DIGITS * len(column)]
    halves = ((text & 15) + 9 * (text >> 6)).reshape(-1, HEX_DIGITS)
    return np.ascontiguousarray(halves[:, ::2] << 4 | halves[:, 1::2]).view(np.uint64)


def word_of(text: str) -> bytes:
    """The 16 bytes of one key."""
    if _WORK_KEY.fullmatch(text):
        return bytes.fromhex(text)
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()


class KeyIndex:
    """Keys and a whole number for each, its place; a key may have several places. 20 bytes a key."""

    def __init__(self, words: np.ndarray, places: np.ndarray):
        order = np.argsort(words[:, 0], kind="stable")
        self._first, self._second = words[order, 0], words[order, 1]
        self._places = places[order].astype(np.int32)

    def __len__(self) -> int:
        return len(self._first)

    def find(self, words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Give (the numbers of the keys that are there, a place of each); a key with several places comes as often."""
        low = np.searchsorted(self._first, words[:, 0], "left")
        counts = np.searchsorted(self._first, words[:, 0], "right") - low
        numbers = np.repeat(np.arange(len(words)), counts)
        within = np.arange(len(numbers)) - np.repeat(np.cumsum(counts) - counts, counts)
        at = low[numbers] + within
        is_same = self._second[at] == words[numbers, 1]
        return numbers[is_same], self._places[at[is_same]]


class GrowingIndex:
    """Keys of 16 bytes that come one at a time, each with a whole number: 24 bytes a key, and an object for the newest.

    What was added is sorted now and then into runs, of which each is at least twice as long as the next.
    """

    def __init__(self, num_recent: int = 1 << 14):
        self._recent: dict[bytes, int] = {}
        self._num_recent = num_recent
        self._runs: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []  # first halves, second halves, numbers

    def __len__(self) -> int:
        return len(self._recent) + sum(len(run[0]) for run in self._runs)

    def get(self, key: bytes) -> int | None:
        """The number of a key; None for one that was not added."""
        found = self._recent.get(key)
        if found is not None or not self._runs:
            return found
        first, second = np.frombuffer(key, np.uint64)
        for firsts, seconds, numbers in self._runs:
            at = int(firsts.searchsorted(first))
            while at < len(firsts) and firsts[at] == first:
                if seconds[at] == second:
                    return int(numbers[at])
                at += 1
        return None

    def add(self, key: bytes, number: int) -> None:
        """Add a key that is not there yet."""
        self._recent[key] = number
        if len(self._recent) >= self._num_recent:
            self._sort()

    def _sort(self) -> None:
        words = np.frombuffer(b"".join(self._recent), np.uint64).reshape(-1, 2)
        numbers = np.fromiter(self._recent.values(), np.int64, len(self._recent))
        run = words[:, 0], words[:, 1], numbers
        self._recent = {}
        while self._runs and len(self._runs[-1][0]) <= 2 * len(run[0]):
            before = self._runs.pop()
            run = tuple(np.concatenate(pair) for pair in zip(before, run, strict=True))  # type: ignore[assignment]
        order = np.argsort(run[0], kind="stable")
        self._runs.append((run[0][order], run[1][order], run[2][order]))
