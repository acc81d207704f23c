"""The state of a selection while a method runs, and the steps before the method: names, limits, minima, caps.

Files that are kept here for certain have probability 1 and weight 1. Given those, the method draws the rest with known
probabilities, so a sum weighted by their inverse is an unbiased estimate of the sum over all files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from aria_data.errors import ConfigInvalid
from aria_data.pruning.budgets import ROUNDING, num_affordable
from aria_data.pruning.random_keys import random_keys
from aria_data.pruning.selection import BY_RANK, BY_SCORE, Pool, SelectConfig


class Sampling:
    """Which files may still be drawn, which are kept, with which probability, and why. Arrays are in pool order."""

    def __init__(self, pool: Pool, config: SelectConfig, seed: int):
        self.pool, self.config, self.seed = pool, config, seed
        num = len(pool)
        self.scores = normalized(pool.scores, pool.groups, config.normalize)
        self.costs = {"files": np.ones(num), "minutes": pool.minutes, "notes": pool.num_notes}[config.budget.unit]
        self.limit = config.budget.limit(num)
        self.is_open, self.is_kept = np.ones(num, bool), np.zeros(num, bool)
        self.cap_probs = np.ones(num)  # probability that the cap of its group leaves a file in the draw
        self.probs = np.zeros(num)  # inclusion probabilities of the files that are kept
        self.reasons = np.full(num, "", object)
        self.num_undrawn = 0  # files that the method might have kept with a larger budget
        self.warnings: list[str] = []

    def to_spend(self) -> float:
        """What is left of the budget, in its unit; never more than the cost of all open files."""
        return min(self.limit - self.costs[self.is_kept].sum(), self.costs[self.is_open].sum())

    def random_keys(self, purpose: str) -> np.ndarray:
        """The random keys of all files for this purpose and seed."""
        return random_keys(self.pool.ids, purpose, self.seed)

    def by_random_key(self, purpose: str = "draw") -> np.ndarray:
        """The indices of the open files, in the random order of their keys."""
        indices = np.flatnonzero(self.is_open)
        return indices[np.argsort(self.random_keys(purpose)[indices], kind="stable")]

    def by_rank(self) -> np.ndarray:
        """The indices of the open files, those to be kept first; see `_ranked_by`. Random keys break ties."""
        indices = np.flatnonzero(self.is_open)
        order = indices[np.lexsort((self.random_keys("tie")[indices], self._ranked_by()[indices]))]
        if self.config.method != "middle":
            return order
        from_median = np.abs(2 * np.arange(len(order)) - (len(order) - 1))
        return order[np.argsort(from_median, kind="stable")]

    def _ranked_by(self) -> np.ndarray:
        """What the rank goes by, for each file, the lowest first: as a rule the hardest; lengths in notes."""
        match self.config.method:
            case "longest":
                return -self.pool.num_notes
            case "shortest":
                return self.pool.num_notes
            case "bottom":
                return self.scores
        return -self.scores

    def keep(self, indices: np.ndarray, labels: Iterable[str]) -> None:
        """Keep these files; `labels` are their reasons."""
        self.is_kept[indices], self.is_open[indices] = True, False
        self.probs[indices] = self.cap_probs[indices]
        self.reasons[indices] = [f"kept: {label}" for label in labels]

    def leave(self, indices: np.ndarray, labels: Iterable[str]) -> None:
        """Leave these files out; `labels` are their reasons."""
        self.is_open[indices] = False
        self.reasons[indices] = [f"left: {label}" for label in labels]

    def draw(self, order: np.ndarray, labels: list[str]) -> int:
        """Keep the files of `order` up to the first that exceeds the budget, and leave the others.

        Gives the number kept. The caller sets their probabilities.
        """
        num = num_affordable(self.costs[order], self.limit - self.costs[self.is_kept].sum())
        self.keep(order[:num], labels[:num])
        self.leave(order[num:], (f"{label}, {num} were taken" for label in labels[num:]))
        self.num_undrawn += len(order) - num
        return num


def normalized(scores: np.ndarray, groups: np.ndarray, normalize: str) -> np.ndarray:
    """Express scores in standard deviations from the mean of all files, or of each group; 0 where all are equal.

    `normalize` is one of `selection.NORMALIZE`. All files without a group form one group. NaN stays NaN.
    """
    if normalize == "none":
        return scores
    codes = codes_of(groups) if normalize == "group" else np.zeros(len(scores), int)
    is_scored = ~np.isnan(scores)
    values, of_group = scores[is_scored], codes[is_scored]
    counts = np.maximum(np.bincount(of_group), 1)
    deviations = values - (np.bincount(of_group, values) / counts)[of_group]
    spreads = np.sqrt(np.bincount(of_group, deviations**2) / counts)[of_group]
    is_spread = spreads > ROUNDING * np.maximum(np.abs(values), 1e-300)
    found = np.full(len(scores), np.nan)
    found[is_scored] = np.where(is_spread, deviations / np.where(is_spread, spreads, 1), 0)
    return found


def codes_of(groups: np.ndarray) -> np.ndarray:
    """Number the groups 0, 1, 2, ... in the order of their names."""
    return np.unique(groups.astype(object), return_inverse=True)[1]


def ranks_within(codes: np.ndarray) -> np.ndarray:
    """Number the occurrences of each code in order: 0 for its first, 1 for its second, and so on."""
    order = np.argsort(codes, kind="stable")
    in_order = codes[order]
    ranks = np.empty(len(codes), int)
    ranks[order] = np.arange(len(codes)) - np.searchsorted(in_order, in_order)
    return ranks


def prepare(sampling: Sampling) -> None:
    """Do what does not depend on the method: ids to include and exclude, limits, cuts, minima and caps of groups.

    Raises `ConfigInvalid` when the files to include exceed the budget.
    """
    _by_name(sampling)
    _by_limits(sampling)
    _cut_hardest(sampling)
    _keep_minimum(sampling)
    _cap_groups(sampling)


def _by_name(sampling: Sampling) -> None:
    place = {each: index for index, each in enumerate(sampling.pool.ids)}
    for name, act in (("include", sampling.keep), ("exclude", sampling.leave)):
        wanted = sorted(set(getattr(sampling.config, name)))
        here = np.array([place[each] for each in wanted if each in place], int)
        act(here, [f"named in {name}"] * len(here))
        if missing := [each for each in wanted if each not in place]:
            sampling.warnings.append(f"{len(missing)} of {len(wanted)} ids in {name} are not here, first {missing[0]}.")
    if (cost := sampling.costs[sampling.is_kept].sum()) > sampling.limit * (1 + ROUNDING):
        unit = sampling.config.budget.unit
        raise ConfigInvalid(f"include: the files named have {cost:g} {unit}, the budget allows {sampling.limit:g}.")


def _by_limits(sampling: Sampling) -> None:
    config, scores = sampling.config, sampling.scores
    low, high = config.min_score, config.max_score
    if config.method in BY_SCORE or low is not None or high is not None:
        _leave_where(sampling, np.isnan(scores), lambda at: "it has no score")
    if low is not None:
        _leave_where(sampling, scores < low, lambda at: f"score {scores[at]:.6g} is below {low:g}")
    if high is not None:
        _leave_where(sampling, scores > high, lambda at: f"score {scores[at]:.6g} is above {high:g}")
    is_over = sampling.costs > sampling.limit * (1 + ROUNDING)
    _leave_where(
        sampling, is_over, lambda at: f"{sampling.costs[at]:g} {config.budget.unit} are more than the whole budget"
    )


def _leave_where(sampling: Sampling, is_meant: np.ndarray, label: Callable[[int], str]) -> None:
    indices = np.flatnonzero(sampling.is_open & is_meant)
    sampling.leave(indices, (label(int(index)) for index in indices))


def _cut_hardest(sampling: Sampling) -> None:
    share = {"window": sampling.config.offset, "stratified": sampling.config.hard_cut}.get(sampling.config.method, 0.0)
    order = sampling.by_rank() if share else np.array([], int)
    num = int(share * len(order) * (1 + ROUNDING))
    sampling.leave(order[:num], (f"hardest {share:.1%}: rank {rank} of {len(order)}" for rank in range(1, num + 1)))


def _in_groups(sampling: Sampling, purpose: str) -> tuple[np.ndarray, np.ndarray]:
    """The indices of the open files that have a group, the preferred ones first, and each one's rank in its group."""
    order = sampling.by_rank() if sampling.config.method in BY_RANK else sampling.by_random_key(purpose)
    order = order[sampling.pool.groups[order] != ""]
    return order, ranks_within(codes_of(sampling.pool.groups)[order])


def _num_kept(sampling: Sampling) -> np.ndarray:
    """For each file, the number of files of its group that are kept already."""
    codes = codes_of(sampling.pool.groups)
    return np.bincount(codes, sampling.is_kept)[codes].astype(int) if len(codes) else codes


def _keep_minimum(sampling: Sampling) -> None:
    """Keep `min_per_group` files of each group: one of each, then a second of each, until the budget ends."""
    wanted = sampling.config.min_per_group
    if not wanted:
        return
    order, ranks = _in_groups(sampling, "minimum")
    ranks = ranks + _num_kept(sampling)[order]
    group_keys = random_keys(sampling.pool.groups, "group", sampling.seed)
    first = np.lexsort((group_keys[order], ranks))
    order = order[first][ranks[first] < wanted]
    num = num_affordable(sampling.costs[order], sampling.limit - sampling.costs[sampling.is_kept].sum())
    sampling.keep(order[:num], [f"one of the {wanted} that its group keeps at least"] * num)
    if num < len(order):
        sampling.warnings.append(
            f"the budget ends before every group has its {wanted}: {len(order) - num} files short. "
            "Raise the budget or lower min_per_group."
        )


def _cap_groups(sampling: Sampling) -> None:
    """Leave out the files of each group beyond `max_per_group`: the last by rank, or by random key if the method draws.

    A cap by score would give some files probability 0, which no weight can correct; hence random keys.
    """
    most = sampling.config.max_per_group
    if not most:
        return
    room = np.maximum(most - _num_kept(sampling), 0)
    order, ranks = _in_groups(sampling, "cap")
    is_out = ranks >= room[order]
    if sampling.config.method not in BY_RANK:
        codes = codes_of(sampling.pool.groups)
        sizes = np.bincount(codes[order], minlength=len(codes))[codes]
        sampling.cap_probs[order] = np.minimum(1, room[order] / sizes[order])
    sampling.leave(order[is_out], [f"its group may keep {most}"] * int(is_out.sum()))
