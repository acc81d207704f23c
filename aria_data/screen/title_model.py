"""A small model of titles: the log odds that a work of this name is for piano solo. Numpy only; no network, no key.

A title becomes hashed features (character 2- to 5-grams, words, pairs of words); the model is a logistic regression
over them. Weights and what is known of them: `title_model.npz`, `title_model.md`. `title_training` makes them.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
import zlib
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources

import numpy as np

from aria_data.text import fold

NUM_BUCKETS = 1 << 19  # a power of two. With four times as many, F1 is 0.002 higher and a title takes a tenth longer
MAX_CHARS = 160  # of a title that are read
MAX_WORDS = 16  # of a title that are paired
PAIR = (
    3  # how much a pair of words counts, against 1: pairs know single works, the rest what their names have in common
)
WEIGHTS = "title_model.npz"
_CHAR_GRAMS = (2, 3, 4, 5)
_PRIME = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(29)
_LAST_BUCKET = np.uint64(NUM_BUCKETS - 1)
_NEIGHBOURS = np.array([3, 5], np.uint64)  # of two words: in this order
_LENGTHS = np.array(_CHAR_GRAMS, np.uint64)
_PADDING = "\0" * (_CHAR_GRAMS[-1] - 1)
# A column for each length: the powers of `_PRIME` by which the characters of an n-gram are weighted.
_POWERS = np.array(
    [
        [pow(int(_PRIME), n - 1 - place, 1 << 64) if place < n else 0 for n in _CHAR_GRAMS]
        for place in range(_CHAR_GRAMS[-1])
    ],
    np.uint64,
)
_WORD = re.compile(r"[^\W_]+")
_TO_NULLS = str.maketrans("123456789", "000000000")


@dataclass(frozen=True, slots=True)
class TitleModel:
    """Weights of the hashed features, and those of the combination with the rules (`title_features.NAMES`).

    A stored weight `w` (int8) means `scale * w * abs(w)`: small weights keep more digits than large ones. `squared` are
    the values of `w * abs(w)` (int16). `calibration` has two rows: what the combination gives, and the log odds meant.
    """

    squared: np.ndarray
    scale: float
    bias: float
    combination: np.ndarray
    calibration: np.ndarray
    sha256: str = ""

    def log_odds(self, cleaned: str) -> float:
        """The log odds by the title's words alone, for a cleaned title; 0 would be as likely as not."""
        features, pairs = hashed_features(cleaned)
        if not len(features):
            return self.bias
        total = self._sum(features) + PAIR * self._sum(pairs)
        return self.bias + self.scale * total / math.sqrt(len(features))

    def _sum(self, buckets: np.ndarray) -> int:
        return int(np.add.reduce(self.squared.take(buckets), dtype=np.int64))


def squared(stored: np.ndarray) -> np.ndarray:
    """The values `w * abs(w)` of stored weights (int8), as int16."""
    return stored.astype(np.int16) * np.abs(stored.astype(np.int16))


@cache
def title_model() -> TitleModel:
    """The model that is shipped with the package."""
    packed = resources.files("aria_data.screen").joinpath(WEIGHTS).read_bytes()
    with np.load(io.BytesIO(packed), allow_pickle=False) as stored:
        return TitleModel(
            squared(stored["weights"]),
            float(stored["scale"]),
            float(stored["bias"]),
            stored["combination"],
            stored["calibration"],
            hashlib.sha256(packed).hexdigest(),
        )


def hashed_features(cleaned: str) -> tuple[np.ndarray, np.ndarray]:
    """The buckets of a cleaned title's words and character n-grams, and those of its pairs of words; each once."""
    words = _WORD.findall(fold(cleaned[:MAX_CHARS]))
    if not words:
        return np.empty(0, np.int32), np.empty(0, np.int32)
    hashes = np.array([zlib.crc32(word.encode("utf-8", "replace")) for word in words], np.uint64) * _PRIME
    neighbours = _windows(hashes, len(hashes) - 1, 2) @ _NEIGHBOURS
    pairs = _pairs(hashes)
    buckets = _buckets([_char_grams(" ".join(["", *words, ""])), hashes, neighbours, pairs])
    buckets[len(buckets) - len(pairs) :] += NUM_BUCKETS  # sorted together, they come behind
    buckets.sort()
    is_new = np.empty(len(buckets), bool)
    is_new[0] = True
    np.not_equal(buckets[1:], buckets[:-1], out=is_new[1:])
    once = buckets[is_new]
    num_features = int(once.searchsorted(NUM_BUCKETS))
    return once[:num_features], once[num_features:] - NUM_BUCKETS


def _buckets(hashes: list[np.ndarray]) -> np.ndarray:
    mixed = np.concatenate(hashes)
    mixed ^= mixed >> _SHIFT
    mixed *= _PRIME
    mixed ^= mixed >> _SHIFT
    return (mixed & _LAST_BUCKET).astype(np.int32)


def _char_grams(text: str) -> np.ndarray:
    """Hashes of the character n-grams. Figures count as one character each, whichever they are."""
    encoded = (text.translate(_TO_NULLS) + _PADDING).encode("utf-32-le", "replace")
    codes = np.frombuffer(encoded, np.uint32).astype(np.uint64)
    hashes = _windows(codes, len(text), len(_POWERS)) @ _POWERS
    hashes ^= _LENGTHS
    return hashes.ravel().take(_whole_grams(len(text)))


def _windows(values: np.ndarray, num_windows: int, length: int) -> np.ndarray:
    """Every `length` neighbouring values, one row a place. A view."""
    return np.ndarray((num_windows, length), values.dtype, values, 0, values.strides * 2)


@lru_cache(maxsize=1024)
def _whole_grams(num_chars: int) -> np.ndarray:
    """Which of the n-grams that begin at each character end inside the text."""
    places, lengths = np.arange(num_chars)[:, None], np.array(_CHAR_GRAMS)
    return np.flatnonzero(places + lengths <= num_chars)


def _pairs(hashes: np.ndarray) -> np.ndarray:
    """Hashes of every two words, in any order."""
    some = hashes[:MAX_WORDS]
    first, second = _places(len(some))
    return (some[first] + some[second]) ^ (some[first] * some[second] >> np.uint64(7))


@cache
def _places(num_words: int) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.triu_indices(num_words, 1)
    return first, second
