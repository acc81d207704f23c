"""The parts of a selection: the pool of files, the configuration, the result, its weights. `selectors.py` selects."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aria_data.errors import ConfigInvalid
from aria_data.pruning.budgets import Budget

BY_LENGTH = ("longest", "shortest")  # by number of notes, which is what a model reads; they need no score
BY_RANK_OF_SCORE = ("top", "bottom", "window", "middle")
BY_RANK = (*BY_LENGTH, *BY_RANK_OF_SCORE)  # without chance, except for ties
BY_SCORE = (*BY_RANK_OF_SCORE, "stratified", "score_proportional", "ht_proportional", "calibrated")
WEIGHTED = ("calibrated", "ht_proportional")  # methods that define weights of their own
METHODS = ("random", "group_random", *BY_LENGTH, *BY_SCORE)
NORMALIZE = ("none", "dataset", "group")


@dataclass(frozen=True)
class SelectConfig:
    """Which files are kept and how they are weighted. docs/pruning.md has the measurements.

    Raises `ConfigInvalid` for values that are unknown, out of range or contradict each other.
    """

    method: str = "group_random"  # needs no score; in our pilot no method was better, at 10 and at 50 %
    budget: Budget = Budget()
    offset: float = 0.1  # window: share skipped from the hard end; Paul et al. 0.01 on clean CIFAR-10, our pilot 0.1
    hard_cut: float = 0.1  # stratified: share of the hardest cut off first; DEALRec's code 0.1 (its text 0), CCS to 0.3
    strata: int = 50  # stratified: DEALRec and CCS
    alpha: float = 0.1  # calibrated: share by score; Ayed and Hayou 0.1, 0.5, 0.9; more costs effective sample size
    floor: float = 0.05  # *_proportional: size of the lowest score; the highest has 1 (Anand et al. C.3); value ours
    normalize: str = "none"  # or standard deviations from the mean of the dataset, or of the group
    min_score: float | None = None  # of the score after `normalize`
    max_score: float | None = None
    include: tuple[str, ...] = ()  # ids kept regardless of their score
    exclude: tuple[str, ...] = ()
    min_per_group: int = 0
    max_per_group: int = 0  # 0: no limit
    weights: str = "own"  # the method's own (1 except for `WEIGHTED`), "exact" (1 / probability), "none", "clip:MAX"
    weights_mean_one: bool = False  # otherwise the size of a weighted loss changes with the share that is kept

    def __post_init__(self) -> None:
        for name, value, known in (("method", self.method, METHODS), ("normalize", self.normalize, NORMALIZE)):
            if value not in known:
                raise ConfigInvalid(f"{name}: {value!r} is not one of {', '.join(known)}.")
        for name in ("offset", "hard_cut", "alpha", "floor"):
            value = getattr(self, name)
            if not 0 <= value <= 1 or (name == "floor" and value == 0):
                raise ConfigInvalid(f"{name}: {value} does not lie between 0 and 1.")
        for name in ("min_score", "max_score"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise ConfigInvalid(f"{name}: {value} is not a finite number.")
        if self.min_score is not None and self.max_score is not None and self.min_score > self.max_score:
            raise ConfigInvalid(f"min_score {self.min_score} is above max_score {self.max_score}; nothing could pass.")
        if self.strata < 1:
            raise ConfigInvalid(f"strata: {self.strata} are too few; 1 is the least.")
        if min(self.min_per_group, self.max_per_group) < 0 or 0 < self.max_per_group < self.min_per_group:
            raise ConfigInvalid(
                f"min_per_group {self.min_per_group} and max_per_group {self.max_per_group} do not go together."
            )
        if both := sorted(set(self.include) & set(self.exclude)):
            raise ConfigInvalid(f"{both[0]}: is to be included and excluded. Name it once.")
        self.max_weight()

    def max_weight(self) -> float:
        """The MAX of `clip:MAX`, in multiples of the mean weight; infinite for other ways of weighting."""
        if self.weights in ("own", "exact", "none"):
            return math.inf
        try:
            value = float(self.weights.removeprefix("clip:"))
        except ValueError:
            value = math.nan
        if not self.weights.startswith("clip:") or not value >= 1:
            raise ConfigInvalid(f"weights: {self.weights!r} is none of own, exact, none, clip:MAX with MAX from 1 up.")
        return value


@dataclass(frozen=True, eq=False)
class Pool:
    """The files to choose from, sorted by id, with their scores, groups and sizes. Make one with `Pool.of`."""

    ids: tuple[str, ...]
    scores: np.ndarray  # float64, high = keep; NaN where a file has none
    groups: np.ndarray  # objects: composition or cluster, "" where it is not known
    minutes: np.ndarray  # float64
    num_notes: np.ndarray  # float64

    @classmethod
    def of(
        cls,
        ids: Sequence[str],
        scores: Sequence[float] | np.ndarray | None = None,
        groups: Sequence[str] | np.ndarray | None = None,
        minutes: Sequence[float] | np.ndarray | None = None,
        num_notes: Sequence[int] | np.ndarray | None = None,
    ) -> Pool:
        """Make a pool of files in any order. Scores default to NaN, groups to unknown, minutes and notes to 0.

        Raises `ValueError` for a repeated id, a column of another length, an infinite score, and minutes or notes that
        are negative or not finite.
        """
        order = sorted(range(len(ids)), key=ids.__getitem__)
        given = [
            np.full(len(ids), fill, dtype) if values is None else np.asarray(values, dtype)
            for values, fill, dtype in (
                (scores, math.nan, np.float64),
                (groups, "", object),
                (minutes, 0.0, np.float64),
                (num_notes, 0.0, np.float64),
            )
        ]
        if any(values.shape != (len(ids),) for values in given):
            raise ValueError(f"{len(ids)} ids, but columns of shape {[values.shape for values in given]}")
        if len(set(ids)) < len(ids):
            raise ValueError("an id comes more than once")
        if np.isinf(given[0]).any() or not all((np.isfinite(each) & (each >= 0)).all() for each in given[2:]):
            raise ValueError("scores have to be finite or NaN, minutes and notes finite and not below 0")
        return cls(tuple(ids[at] for at in order), *(values[order] for values in given))

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class Selection:
    """The files that are kept, sorted by id, and why each file of the pool is kept or left."""

    ids: tuple[str, ...]
    weights: np.ndarray  # of `ids`, for the training loss
    inclusion_probs: np.ndarray  # of `ids`, above 0 to 1; 1 for files kept for certain
    reasons: dict[str, str]  # of every file of the pool: begins with "kept: " or "left: "
    warnings: list[str]
    pool: Pool
    config: SelectConfig
    seed: int

    @property
    def effective_num_files(self) -> float:
        """Kish's effective sample size: as many equally weighted files would estimate the mean loss as precisely."""
        return float(self.weights.sum() ** 2 / np.square(self.weights).sum()) if len(self.weights) else 0.0


def weights_of(inclusion_probs: np.ndarray, config: SelectConfig) -> np.ndarray:
    """Give the weights of kept files: the inverse of their probabilities if the configuration asks for it, else 1."""
    is_weighted = config.method in WEIGHTED if config.weights == "own" else config.weights != "none"
    weights = 1 / inclusion_probs if is_weighted else np.ones(len(inclusion_probs))
    if len(weights):
        weights = np.minimum(weights, config.max_weight() * weights.mean())
    if config.weights_mean_one and len(weights):
        weights = weights / weights.mean()
    return weights
