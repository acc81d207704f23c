"""Compare subsets: train the same small model on each with one recipe, and on random files beside it, and test it.

The test files are of compositions that nothing was trained on. `differences.py` computes what the losses mean,
`comparison.py` makes the table. The model is a surrogate of the final one: a subset that is better here need not be
better there.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from aria_data.compare.arms import Arm, Chosen, Repeats, gather
from aria_data.compare.comparison import Comparison, Tested
from aria_data.compare.differences import Measured
from aria_data.compare.frechet import Space
from aria_data.compare.training_runs import Bench, TrainingResult, TrainingRun, kept, run_trainings, seconds_per_run
from aria_data.errors import ConfigInvalid, UsageError
from aria_data.surrogate import SurrogateConfig, Windows
from aria_data.surrogate.training import disjoint_folds

MIN_DRAWS = 3
FEW_COMPOSITIONS = 10  # with fewer, resampling them is not informative


@dataclass(frozen=True)
class CompareConfig:
    """One recipe for all arms. The defaults are those of the pilot. Raises `ConfigInvalid` for values out of range."""

    num_steps: int = 400  # of every training run, whatever its number of files
    num_seeds: int = 2  # training runs of each subset
    num_draws: int = 3  # of random files, for each size of subset
    num_seeds_per_draw: int = 1
    is_all_trained: bool = True  # also train on all files, to measure what a subset costs
    test_share: float = 0.2  # of the files, in whole compositions
    max_test_files: int = 400  # with more, testing would take as long as training
    split_seed: int = 0
    confidence: float = 0.95
    surrogate: SurrogateConfig = field(default_factory=SurrogateConfig)

    def __post_init__(self) -> None:
        if self.num_draws < MIN_DRAWS:
            raise ConfigInvalid(f"num_draws: {self.num_draws} random draws do not show a spread; {MIN_DRAWS} do.")
        if min(self.num_steps, self.num_seeds, self.num_seeds_per_draw, self.max_test_files) < 1:
            raise ConfigInvalid("num_steps, num_seeds, num_seeds_per_draw and max_test_files have to be 1 or more.")
        for name in ("test_share", "confidence"):
            if not 0 < getattr(self, name) < 1:
                raise ConfigInvalid(f"{name}: {getattr(self, name)} does not lie between 0 and 1.")

    @property
    def recipe(self) -> SurrogateConfig:
        """The configuration of every training run: `surrogate` with `num_steps` and one checkpoint, the last."""
        return replace(self.surrogate, num_steps=self.num_steps, num_checkpoints=1, checkpoint_epochs=None)

    @property
    def repeats(self) -> Repeats:
        return Repeats(self.num_seeds, self.num_draws, self.num_seeds_per_draw, self.is_all_trained)


def hold_out(windows: Windows, config: CompareConfig | None = None) -> tuple[str, ...]:
    """Choose the files to test on: the ids of whole compositions, which the seed `split_seed` determines.

    Make subsets of the other files, and pass these ids to `compare`. Compute scores from the other files too: a score
    computed with the test files would leak into the selection.
    """
    config = config or CompareConfig()
    share = min(config.test_share, config.max_test_files / len(windows.ids))
    return tuple(windows.ids[number] for number in disjoint_folds(windows.groups, share, 1, config.split_seed)[0])


def compare(
    windows: Windows,
    subsets: Mapping[str, Chosen | Sequence[Chosen]],
    config: CompareConfig | None = None,
    test: Collection[str] | None = None,
    cache_dir: Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    announce: Callable[[str], None] | None = None,
    processes: int = 1,
) -> Comparison:
    """Train on each of `subsets`, on random files and on all; test on the files `test`, or those of `hold_out`.

    `windows` has all files that subsets choose from, with their compositions as groups. Files of a composition that is
    tested on are left out of every subset. Several choices under one name are draws of one method: its line is then
    about the method, otherwise about that one choice. `announce` gets one line before training begins: how long it will
    take. With `cache_dir`, no finished training run is repeated. Each of `processes` trains in one thread.

    Raises `UsageError` for a subset that cannot be trained on, too few compositions to test on, no file left to train
    on, or a training that diverges.
    """
    config, on_progress = config or CompareConfig(), progress or (lambda what, done, total: None)
    warnings: list[str] = []
    test_files, open_files = split_files(windows, test, config, warnings)
    arms = gather(windows, subsets, open_files, config.repeats, warnings)
    bench = Bench(windows, test_files, config.recipe, cache_dir)
    plans = [[(bench.key(run), run) for run in each.training_runs()] for each in arms]
    runs = dict(pair for plan in plans for pair in plan)
    estimated_s = _announce(bench, runs, open_files, processes, announce or (lambda line: None))
    results = run_trainings(bench, runs, processes, lambda done, total: on_progress("training", done, total))
    losses = [np.stack([results[key].losses for key, _ in plan]) for plan in plans]
    is_scored = np.isfinite(np.concatenate(losses)).all(axis=0)
    if not is_scored.any():
        raise UsageError("A training diverged: its test loss is not a number. Use a lower learning rate.")
    tested = _tested(windows, test_files[is_scored])
    space = Space.of(windows, test_files[is_scored])
    measured = [
        _measured(each, loss[:, is_scored], tested, len(open_files), space)
        for each, loss in zip(arms, losses, strict=True)
    ]
    warnings += _warnings_of(measured, tested, config)
    about = _about(windows, config, open_files, tested, estimated_s, results)
    return Comparison(tuple(measured), tested, tuple(warnings), config.confidence, about)


def split_files(
    windows: Windows, test: Collection[str] | None, config: CompareConfig, warnings: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of the files to test on and of those to train on; the two share no composition and no copy."""
    chosen = set(hold_out(windows, config) if test is None else test)
    is_test = np.array([file_id in chosen for file_id in windows.ids], bool)
    test_groups = {group for group, is_tested in zip(windows.groups, is_test, strict=True) if is_tested}
    if len(test_groups) < 2:
        raise UsageError(
            f"Fewer than two compositions are left to test on: there are {len(windows.ids)} files of "
            f"{len(set(windows.groups))} compositions, of which some must be trained on. Give files of more "
            "compositions; in a folder of MIDI files, every folder is one."
        )
    is_in_test_group = np.array([group in test_groups for group in windows.groups], bool)
    is_copy = _copies(windows, is_test) & ~is_in_test_group
    if is_copy.any():
        warnings.append(f"{is_copy.sum()} files share a window with a file that is tested on; nothing trains on them.")
    if len(set(windows.groups)) == len(windows.ids):
        warnings.append("no two files share a composition; if none are known, a piece may be trained and tested on.")
    if windows.left_out:
        warnings.append(f"{len(windows.left_out)} files cannot be read or are too short; nothing trains on them.")
    open_files = np.flatnonzero(~is_in_test_group & ~is_copy)
    if not len(open_files):
        raise UsageError("No file is left to train on: all are of compositions that are tested on. Test on fewer.")
    return np.flatnonzero(is_test), open_files


def _copies(windows: Windows, is_test: np.ndarray) -> np.ndarray:
    """For each file, whether it shares a window with a file to test on; shape (files,)."""
    is_test_window = is_test[windows.owners]
    seen = {row.tobytes() for row in windows.tokens[is_test_window]}
    out = np.zeros(len(windows.ids), bool)
    for owner, row in zip(windows.owners, windows.tokens, strict=True):
        out[owner] |= row.tobytes() in seen
    return out


def _announce(
    bench: Bench,
    runs: Mapping[str, TrainingRun],
    open_files: np.ndarray,
    processes: int,
    announce: Callable[[str], None],
) -> float:
    """Estimate how long the remaining training runs will take, from a few steps made now. Gives the seconds."""
    num_done = len(kept(bench, runs))
    num_left = len(runs) - num_done
    done = f", {num_done} of them done before" if num_done else ""
    if not num_left:
        announce(f"{len(runs)} trainings, all done before.")
        return 0.0
    at_once = min(processes, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    estimated_s = seconds_per_run(bench, open_files) * math.ceil(num_left / max(at_once, 1))
    span = f"{estimated_s / 60:.0f} min" if estimated_s >= 90 else f"{estimated_s:.0f} s"
    what = f"{len(runs)} trainings of {bench.recipe.num_steps} steps{done}"
    announce(f"{what}: about {span}, {at_once} at once, on a machine as busy as now.")
    return estimated_s


def _tested(windows: Windows, test_files: np.ndarray) -> Tested:
    groups = [windows.groups[number] for number in test_files]
    names, codes = np.unique(np.array(groups, object), return_inverse=True)
    counts = Counter(windows.groups)
    sizes = np.array([counts[name] for name in names])
    return Tested(tuple(windows.ids[number] for number in test_files), tuple(map(str, names)), codes, sizes)


def _measured(arm: Arm, losses: np.ndarray, tested: Tested, num_open: int, space: Space) -> Measured:
    return Measured(
        arm.name,
        arm.kind,
        arm.num_files,
        arm.num_files / num_open,
        arm.effective_num_files,
        losses.reshape(len(arm.variants), arm.num_seeds, -1),
        tested.means(losses).reshape(len(arm.variants), arm.num_seeds, -1),
        np.array([space.distance(*variant) for variant in arm.variants]),
    )


def _warnings_of(measured: Sequence[Measured], tested: Tested, config: CompareConfig) -> list[str]:
    """Warnings that concern all intervals."""
    found = []
    if len(tested.compositions) < FEW_COMPOSITIONS:
        found.append(f"only {len(tested.compositions)} compositions are tested on: the intervals are rough.")
    sizes = {each.num_files for each in measured if each.kind == "random"}
    num = sum(each.kind == "subset" and each.num_files in sizes for each in measured)
    if num * (1 - config.confidence) >= 0.2:
        found.append(
            f"{num} subsets are compared with random files: of such {config.confidence:.0%} intervals about "
            f"{num * (1 - config.confidence):.1f} would say better or worse though nothing differed."
        )
    if config.num_seeds == 1:
        found.append("each subset was trained on once; its spread is taken from the random draws.")
    return found


def _about(
    windows: Windows,
    config: CompareConfig,
    open_files: np.ndarray,
    tested: Tested,
    estimated_s: float,
    results: Mapping[str, TrainingResult],
) -> dict[str, Any]:
    """How the comparison was made, as plain JSON values."""
    return {
        "config": asdict(config),
        "data_sha256": windows.sha256,
        "num_files_to_train_on": len(open_files),
        "num_files_tested_on": len(tested.ids),
        "num_compositions_tested_on": len(tested.compositions),
        "num_trainings": len(results),
        "estimated_s": round(estimated_s, 1),
        "training_s": round(sum(each.took_s for each in results.values()), 1),  # including cached ones
    }
