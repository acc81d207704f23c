"""The outcome of a comparison as rows: each subset beside random files of the same number, and beside all files.

It names nobody a winner: a verdict is what an interval says, and an interval that holds 0 says "no difference".
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np

from aria_data.compare.differences import Difference, Measured, difference, loss_of
from aria_data.errors import UsageError

RARE_QUANTILE = 0.25  # of the numbers of files of a composition
WORST_SHARE = 0.1  # of the compositions
MIN_WORST = 3
MAX_SUBSETS_PAIRED = 4  # up to so many all are compared with all; above only those of one number of files


@dataclass(frozen=True, eq=False)
class Tested:
    """What was tested on."""

    ids: tuple[str, ...]
    compositions: tuple[str, ...]
    codes: np.ndarray  # of each file the index of its composition
    sizes: np.ndarray  # how many files of each composition there are, tested on or not

    def means(self, losses: np.ndarray) -> np.ndarray:
        """(..., files) -> (..., compositions)"""
        return np.stack([losses[..., self.codes == code].mean(axis=-1) for code in range(len(self.sizes))], axis=-1)

    @property
    def is_rare(self) -> np.ndarray:
        """Compositions of which there are fewest; none where all have equally many."""
        is_rare = self.sizes <= np.quantile(self.sizes, RARE_QUANTILE, method="lower")
        return is_rare & (self.sizes < self.sizes.max())


@dataclass(frozen=True, slots=True)
class Tail:
    """Some of the compositions apart."""

    loss: float  # nats a token
    against_random: Difference | None


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. Differences are this one's loss minus the other's: below 0 is better."""

    name: str
    kind: str  # "subset", "random", "all"
    num_files: int
    fraction: float  # of the files that could be trained on
    effective_num_files: float
    num_trainings: int
    loss: Difference
    against_random: Difference | None
    against_all: Difference | None
    rare: Tail | None  # compositions with the fewest files
    worst: Tail | None  # compositions with the highest loss, on average over all lines


@dataclass(frozen=True, eq=False)
class Comparison:
    """What was measured; `comparison_report` shows it."""

    measured: tuple[Measured, ...]
    tested: Tested
    warnings: tuple[str, ...]
    confidence: float
    about: dict[str, Any]

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        return tuple(self._row(each) for each in self.measured)

    def row(self, name: str) -> Row:
        return self.rows[self.measured.index(self._named(name))]

    def between(self, name: str, other: str) -> Difference:
        """The loss of `name` minus that of `other`."""
        return difference(self._named(name), self._named(other), self.measured, self.confidence)

    def pairs(self) -> Iterator[tuple[str, str, Difference]]:
        """Subsets with each other: all, or, of many, those of the same number of files."""
        subsets = [each for each in self.measured if each.kind == "subset"]
        for one, other in combinations(subsets, 2):
            if len(subsets) <= MAX_SUBSETS_PAIRED or one.num_files == other.num_files:
                yield one.name, other.name, self.between(one.name, other.name)

    @cached_property
    def is_worst(self) -> np.ndarray:
        """The same compositions for every line: chosen by the mean of all, so that none is at an advantage."""
        loss = np.mean([each.by_composition.mean(axis=(0, 1)) for each in self.measured], axis=0)
        num = max(MIN_WORST, math.ceil(WORST_SHARE * len(loss)))
        is_worst = np.zeros(len(loss), bool)
        is_worst[np.argsort(-loss, kind="stable")[:num]] = num < len(loss)
        return is_worst

    def _named(self, name: str) -> Measured:
        found = next((each for each in self.measured if each.name == name), None)
        if found is None:
            names = ", ".join(each.name for each in self.measured)
            raise UsageError(f"{name!r} was not compared. There are {names}.")
        return found

    def _row(self, one: Measured) -> Row:
        beside = (each for each in self.measured if each.kind == "random" and each.num_files == one.num_files)
        random = next(beside, None) if one.kind == "subset" else None
        everything = next((each for each in self.measured if each.kind == "all" and each is not one), None)
        return Row(
            one.name,
            one.kind,
            one.num_files,
            one.fraction,
            one.effective_num_files,
            one.by_composition.shape[0] * one.by_composition.shape[1],
            loss_of(one, self.measured, self.confidence),
            self._apart(one, random),
            self._apart(one, everything),
            self._tail(one, random, self.tested.is_rare),
            self._tail(one, random, self.is_worst),
        )

    def _apart(self, one: Measured, other: Measured | None, is_asked: np.ndarray | None = None) -> Difference | None:
        return difference(one, other, self.measured, self.confidence, is_asked) if other else None

    def _tail(self, one: Measured, random: Measured | None, is_asked: np.ndarray) -> Tail | None:
        if not is_asked.any():
            return None
        return Tail(float(one.by_composition[:, :, is_asked].mean()), self._apart(one, random, is_asked))
