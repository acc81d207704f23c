"""The arms of a comparison: subsets, as many random files beside each, and all files. No training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from aria_data.compare.training_runs import TrainingRun
from aria_data.errors import UsageError
from aria_data.pruning.random_keys import random_keys
from aria_data.surrogate import Windows

ALL = "all files"


class Chosen(Protocol):
    """A choice of files with their weights, such as a `Selection` of `aria_data.pruning`. No weights: all equal."""

    @property
    def ids(self) -> Sequence[str]: ...
    @property
    def weights(self) -> Sequence[float] | np.ndarray: ...
    @property
    def warnings(self) -> Sequence[str]: ...


@dataclass(frozen=True, eq=False)
class Subset:
    """A choice of files that was made elsewhere. Without weights, all files count the same."""

    ids: Sequence[str]
    weights: Sequence[float] | np.ndarray = ()
    warnings: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class Arm:
    """One line of the comparison: files that are trained on, in one or several variants, each with several seeds."""

    name: str
    kind: str  # "subset", "random", "all"
    variants: list[tuple[np.ndarray, np.ndarray]]  # of each draw: file numbers, ascending, and their weights, mean 1
    num_seeds: int  # training runs of each variant

    @property
    def num_files(self) -> int:
        """The mean number of files of the variants, rounded: with a budget of minutes they differ a little."""
        return round(sum(len(files) for files, _ in self.variants) / len(self.variants))

    @property
    def effective_num_files(self) -> float:
        """Kish's effective sample size, (sum w)^2 / sum w^2, in the mean over the variants."""
        return float(np.mean([weights.sum() ** 2 / np.square(weights).sum() for _, weights in self.variants]))

    def training_runs(self) -> Iterator[TrainingRun]:
        """Yield the training runs, variant by variant, each with all its seeds. No two runs of an arm share a seed."""
        for number, (files, weights) in enumerate(self.variants):
            for turn in range(self.num_seeds):
                yield TrainingRun(files, weights, number + turn * len(self.variants))


@dataclass(frozen=True)
class Repeats:
    """How many training runs each arm gets."""

    num_seeds: int  # of an arm with one choice of files
    num_draws: int  # of random files
    num_seeds_per_draw: int  # of each draw, in arms of several draws
    is_all_trained: bool  # whether there is an arm of all files


def gather(
    windows: Windows,
    subsets: Mapping[str, Chosen | Sequence[Chosen]],
    open_files: np.ndarray,
    repeats: Repeats,
    warnings: list[str],
) -> list[Arm]:
    """Give the arms: all files, then for each size of a subset random files and the subsets of that size.

    `open_files` are the numbers of the files that may be trained on, ascending. Warnings are added to `warnings`.
    Raises `UsageError` for no subset, a subset that cannot be trained on, and a subset called like a baseline.
    """
    if not subsets:
        raise UsageError("There is nothing to compare. Name at least one subset.")
    chosen = [_of_subset(name, given, windows, open_files, repeats, warnings) for name, given in subsets.items()]
    found = []
    if repeats.is_all_trained:
        found.append(Arm(ALL, "all", [(open_files, np.ones(len(open_files)))], repeats.num_seeds))
    for size in sorted({each.num_files for each in chosen}, reverse=True):
        if size < len(open_files):
            found.append(_of_random_files(windows, open_files, size, repeats))
        found += [each for each in chosen if each.num_files == size]
    if taken := {each.name for each in found if each.kind != "subset"} & set(subsets):
        raise UsageError(f"A subset may not be called {min(taken)!r}: a baseline is. Give it another name.")
    return found


def _of_subset(
    name: str,
    given: Chosen | Sequence[Chosen],
    windows: Windows,
    open_files: np.ndarray,
    repeats: Repeats,
    warnings: list[str],
) -> Arm:
    choices = list(given) if isinstance(given, Sequence) else [given]
    if not choices:
        raise UsageError(f"{name}: has no choice of files. Give one, or leave the name out.")
    for line in dict.fromkeys(line for each in choices for line in each.warnings):
        warnings.append(f"{name}: {line}")
    variants = [_variant(name, each, windows, open_files) for each in choices]
    num_lost = sum(len(each.ids) - len(files) for each, (files, _) in zip(choices, variants, strict=True))
    if num_lost:
        total = sum(len(each.ids) for each in choices)
        warnings.append(f"{name}: {num_lost} of its {total} files are of what is tested on, or cannot be trained on.")
    return Arm(name, "subset", variants, repeats.num_seeds if len(variants) == 1 else repeats.num_seeds_per_draw)


def _variant(name: str, choice: Chosen, windows: Windows, open_files: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give the numbers, ascending, and the weights, of mean 1, of those files of a choice that may be trained on."""
    weights = np.asarray(choice.weights, dtype=np.float64) if len(choice.weights) else np.ones(len(choice.ids))
    if len(set(choice.ids)) < len(choice.ids) or len(weights) != len(choice.ids):
        raise UsageError(f"{name}: has {len(choice.ids)} ids and {len(weights)} weights. Give each id once.")
    numbers = {file_id: number for number, file_id in enumerate(windows.ids)}
    if unknown := sorted(set(choice.ids) - numbers.keys() - windows.left_out.keys()):
        raise UsageError(f"{name}: {unknown[0]!r} is not among the {len(windows.ids)} files to choose from.")
    weight_of = {numbers[each]: weight for each, weight in zip(choice.ids, weights, strict=True) if each in numbers}
    files = np.array(sorted(weight_of.keys() & set(open_files.tolist())), dtype=np.int64)
    mine = np.array([weight_of[number] for number in files.tolist()])
    if not len(files) or not np.isfinite(mine).all() or mine.min() < 0 or not mine.any():
        raise UsageError(f"{name}: no file with a weight is left to train on. Leave it out or choose more.")
    return files, np.round(mine / mine.mean(), 12)  # rounded: the same to the last digit for any scale of the weights


def _of_random_files(windows: Windows, open_files: np.ndarray, size: int, repeats: Repeats) -> Arm:
    """Draw `size` random files in each draw. A draw of a larger size contains that of a smaller one."""
    ids = [windows.ids[number] for number in open_files]
    orders = [np.argsort(random_keys(ids, "compare", draw), kind="stable") for draw in range(repeats.num_draws)]
    variants = [(np.sort(open_files[order[:size]]), np.ones(size)) for order in orders]
    return Arm(f"random files ({size})", "random", variants, repeats.num_seeds_per_draw)
