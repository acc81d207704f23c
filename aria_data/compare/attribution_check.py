"""Check attributions against training: train on random parts of the files, and see which kind foretold the losses.

`aria_data.compare.attribution` attributes, `datamodel.py` scores. The model is the surrogate, and so is the answer.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from aria_data.compare.attribution import KINDS, attributions
from aria_data.compare.compare_arms import CompareConfig, hold_out, split_files
from aria_data.compare.datamodel import Foretold, Retrained, ceiling_of, controls, foretold, parts_of, runs_of
from aria_data.compare.training_runs import VERSION, Bench, run_trainings, seconds_per_run
from aria_data.errors import ConfigInvalid
from aria_data.pruning.influence import QUICK, InfluenceConfig
from aria_data.storage import write_whole
from aria_data.surrogate import SurrogateConfig, Windows, forward, train

MIN_PARTS = 8  # with fewer, ranks say nothing


@dataclass(frozen=True)
class CheckConfig:
    """What is trained and tested. dattri's MAESTRO takes 5,000 files, 178 tested on, and halves of them."""

    num_parts: int = 32
    share: float = 0.5  # of the files, in each part
    num_seeds: int = 2  # trainings of each part
    num_models: int = 2  # on all files, over which attributions are averaged
    num_steps: int = 400  # of every training
    test_share: float = 0.2  # of the files, in whole compositions
    max_test_files: int = 60
    influence: InfluenceConfig = QUICK
    surrogate: SurrogateConfig = field(default_factory=SurrogateConfig)

    def __post_init__(self) -> None:
        if self.num_parts < MIN_PARTS:
            raise ConfigInvalid(f"num_parts: {self.num_parts} parts give no ranks to compare; {MIN_PARTS} do.")
        if min(self.num_seeds, self.num_models, self.num_steps) < 1 or not 0 < self.share < 1:
            raise ConfigInvalid("num_seeds, num_models and num_steps have to be 1 or more, share between 0 and 1.")

    @property
    def compared(self) -> CompareConfig:
        """The same as a comparison has it: what is held out, and the recipe of a training."""
        shares = {"test_share": self.test_share, "max_test_files": self.max_test_files}
        return CompareConfig(num_steps=self.num_steps, surrogate=self.surrogate, **shares)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Check:
    """How well each kind of attribution foretold what training gave."""

    rows: tuple[Foretold, ...]  # kinds of attribution, then controls
    ceiling: float | None  # what a kind without error would reach; None: one seed does not show it
    warnings: tuple[str, ...]
    about: dict[str, Any]


def check(
    windows: Windows,
    config: CheckConfig | None = None,
    test: Collection[str] | None = None,
    cache_dir: Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    announce: Callable[[str], None] | None = None,
    processes: int = 1,
) -> Check:
    """Attribute the losses of files held out, retrain on parts, compare. With `cache_dir` no training is repeated.

    Raises `UsageError` for too few compositions, `ConfigInvalid`.
    """
    config, on_progress = config or CheckConfig(), progress or (lambda what, done, total: None)
    warnings: list[str] = []
    asked = hold_out(windows, config.compared) if test is None else test
    test_files, open_files = split_files(windows, asked, config.compared, warnings)
    bench = Bench(windows, test_files, config.compared.recipe, cache_dir)
    parts = parts_of(windows, open_files, config.num_parts, config.share)
    plans = [[(bench.key(run), run) for run in of_seed] for of_seed in runs_of(parts, config.num_seeds)]
    runs = dict(pair for plan in plans for pair in plan)
    if announce:
        minutes = seconds_per_run(bench, open_files) * len(runs) / max(processes, 1) / 60
        announce(f"{len(runs)} trainings of {config.num_steps} steps: at most about {minutes:.0f} min.")
    results = run_trainings(bench, runs, processes, lambda done, total: on_progress("training", done, total))
    losses = np.stack([np.stack([results[key].losses for key, _ in plan]) for plan in plans])
    retrained = Retrained(np.stack([np.isin(open_files, part) for part in parts]), losses)
    kinds, own_loss = _attributed(bench, open_files, config, lambda done, total: on_progress("models", done, total))
    kinds |= controls(windows, open_files, test_files, own_loss)
    codes = np.unique(np.array([windows.groups[number] for number in test_files], object), return_inverse=True)[1]
    rows = tuple(foretold(name, values, retrained, codes) for name, values in kinds.items())
    warnings += [f"{row.name}: {row.retrieval.text}" for row in rows if row.retrieval and row.retrieval.is_same_for_all]
    return Check(rows, ceiling_of(retrained), tuple(warnings), _about(windows, config, test_files, open_files, codes))


def _attributed(
    bench: Bench, open_files: np.ndarray, config: CheckConfig, progress: Callable[[int, int], None]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Each kind of attribution and the files' own losses, averaged over models trained on all files."""
    found: list[dict[str, np.ndarray]] = []
    mine = bench.windows.of_files(open_files)
    for seed in range(config.num_models):
        key = _key(mine.sha256, bench.test.sha256, asdict(config), seed)
        kept = _fetch(bench.cache_dir, key)
        found.append(kept or _of_model(mine, bench.test, config, seed))
        if kept is None:
            _keep(bench.cache_dir, key, found[-1])
        progress(seed + 1, config.num_models)
    means = {name: np.mean([each[name] for each in found], axis=0) for name in found[0]}
    return {name: means[name] for name in KINDS}, means["loss"]


def _of_model(mine: Windows, test: Windows, config: CheckConfig, seed: int) -> dict[str, np.ndarray]:
    run = train(mine, replace(config.surrogate, num_steps=config.num_steps), seed, held_out=())
    models = [run.at(each) for each in run.checkpoints]
    rates = [each.learning_rate for each in run.checkpoints]
    found = attributions(models, rates, mine.examples(), test.examples(), config.influence)
    return found | {"loss": forward.loss(run.model, mine.examples())}


def _key(*values: Any) -> str:
    content = json.dumps([VERSION, *values], sort_keys=True, default=list)
    return f"attributions-{hashlib.sha256(content.encode()).hexdigest()[:24]}.npz"


def _fetch(folder: Path | None, name: str) -> dict[str, np.ndarray] | None:
    if folder is None or not (folder / name).is_file():
        return None
    try:
        with np.load(folder / name) as kept:
            return {key: kept[key] for key in kept.files}
    except (OSError, ValueError):
        return None


def _keep(folder: Path | None, name: str, values: dict[str, np.ndarray]) -> None:
    if folder is not None:
        out = io.BytesIO()
        np.savez(out, **values)  # type: ignore[arg-type]
        write_whole(folder / name, out.getvalue())


def _about(
    windows: Windows, config: CheckConfig, test_files: np.ndarray, open_files: np.ndarray, codes: np.ndarray
) -> dict[str, Any]:
    """How the check was made, as plain JSON values."""
    return {
        "config": asdict(config),
        "data_sha256": windows.sha256,
        "num_files_to_train_on": len(open_files),
        "num_files_tested_on": len(test_files),
        "num_compositions_tested_on": len(set(codes.tolist())),
    }
