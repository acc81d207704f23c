"""The result of a comparison in rows: each subset against as many random files, and against all files.

No winner is named: a verdict follows from an interval alone, and is "no difference" for an interval that contains 0.
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
from aria_data.compare.frechet import distance_apart, rank_agreement
from aria_data.errors import UsageError

RARE_QUANTILE = 0.25  # of the number of files a composition has
WORST_SHARE = 0.1  # of the compositions
MIN_WORST = 3
MAX_SUBSETS_PAIRED = 4  # up to so many subsets, all pairs are compared; above, only pairs with equally many files


@dataclass(frozen=True, eq=False)
class Tested:
    """The test files and their compositions."""

    ids: tuple[str, ...]
    compositions: tuple[str, ...]
    codes: np.ndarray  # (files,) index of each file's composition
    sizes: np.ndarray  # (compositions,) how many files each has, tested on or not

    def means(self, losses: np.ndarray) -> np.ndarray:
        """Average losses over each composition's files: (..., files) -> (..., compositions)."""
        return np.stack([losses[..., self.codes == code].mean(axis=-1) for code in range(len(self.sizes))], axis=-1)

    @property
    def is_rare(self) -> np.ndarray:
        """(compositions,) those with the fewest files; none where all have equally many."""
        is_rare = self.sizes <= np.quantile(self.sizes, RARE_QUANTILE, method="lower")
        return is_rare & (self.sizes < self.sizes.max())


@dataclass(frozen=True, slots=True)
class Tail:
    """A row's result on some of the compositions only."""

    loss: float  # mean, nats a token
    against_random: Difference | None


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. A difference is this line's loss minus the other's: below 0 is better."""

    name: str
    kind: str  # "subset", "random", "all"
    num_files: int
    fraction: float  # 0 to 1, of the files that may be trained on
    effective_num_files: float
    num_trainings: int
    loss: Difference
    against_random: Difference | None
    against_all: Difference | None
    rare: Tail | None  # on the compositions with the fewest files
    worst: Tail | None  # on the compositions with the highest mean loss over all lines
    distance: float | None = None  # Fréchet, of the histograms of its files from those tested on; mean over draws
    distance_against_random: Difference | None = None


@dataclass(frozen=True, eq=False)
class Comparison:
    """The measured losses of all arms, from which rows and differences are computed. `comparison_report` shows it."""

    measured: tuple[Measured, ...]
    tested: Tested
    warnings: tuple[str, ...]
    confidence: float
    about: dict[str, Any]

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        return tuple(self._row(each) for each in self.measured)

    def row(self, name: str) -> Row:
        """The row of an arm. Raises `UsageError` for an unknown name."""
        return self.rows[self.measured.index(self._named(name))]

    def between(self, name: str, other: str) -> Difference:
        """The loss of `name` minus that of `other`. Raises `UsageError` for an unknown name."""
        return difference(self._named(name), self._named(other), self.measured, self.confidence)

    def pairs(self) -> Iterator[tuple[str, str, Difference]]:
        """Yield pairs of subsets with their difference: all pairs, or, of many subsets, only those of equal size."""
        subsets = [each for each in self.measured if each.kind == "subset"]
        for one, other in combinations(subsets, 2):
            if len(subsets) <= MAX_SUBSETS_PAIRED or one.num_files == other.num_files:
                yield one.name, other.name, self.between(one.name, other.name)

    @cached_property
    def is_worst(self) -> np.ndarray:
        """(compositions,) those with the highest loss in the mean over all arms, so the same for every row."""
        loss = np.mean([each.by_composition.mean(axis=(0, 1)) for each in self.measured], axis=0)
        num = max(MIN_WORST, math.ceil(WORST_SHARE * len(loss)))
        is_worst = np.zeros(len(loss), bool)
        is_worst[np.argsort(-loss, kind="stable")[:num]] = num < len(loss)
        return is_worst

    @cached_property
    def distance_agreement(self) -> float | None:
        """Spearman's rho of distance and loss over choices of one size, averaged over the sizes that have enough."""
        found = []
        for size in {each.num_files for each in self.measured}:
            same = [each for each in self.measured if each.num_files == size]
            losses = [each.by_composition.mean(axis=(1, 2)) for each in same]
            found.append(rank_agreement([each.distances for each in same], losses))
        known = [each for each in found if each is not None]
        return float(np.mean(known)) if known else None

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
            self._difference(one, random),
            self._difference(one, everything),
            self._tail(one, random, self.tested.is_rare),
            self._tail(one, random, self.is_worst),
            float(one.distances.mean()) if len(one.distances) else None,
            distance_apart(one.distances, random.distances, self.confidence) if random else None,
        )

    def _difference(self, one: Measured, other: Measured | None, which: np.ndarray | None = None) -> Difference | None:
        return difference(one, other, self.measured, self.confidence, which) if other else None

    def _tail(self, one: Measured, random: Measured | None, which: np.ndarray) -> Tail | None:
        if not which.any():
            return None
        return Tail(float(one.by_composition[:, :, which].mean()), self._difference(one, random, which))
