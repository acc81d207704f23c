"""The columns of a score table, computed from the checkpoints of one training. In all, high = keep. Trains nothing.

The checkpoints may be a user's own or the surrogate's. A column that cannot be computed is left out, with a warning.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

import numpy as np
from torch import Tensor

from aria_data.errors import UsageError
from aria_data.pruning import over_time, scores
from aria_data.pruning.influence import InfluenceConfig, dealrec, influence, influence_by_probe
from aria_data.pruning.retrieval import retrieval_of
from aria_data.surrogate import Examples, Scorable
from aria_data.surrogate.scorable import mean_per_file, reduce_per_file

MIN_EPOCH = 1.0  # Fayyaz et al. 2022: earlier scores are worse than chance

DIRECTIONS = {  # column -> what a high value means; in every column of the table, high = keep
    "loss": "high is hard",
    "el2n": "high is hard",
    "el2n_max": "high is hard; of the hardest window",
    "el2n_p90": "high is hard; 90th percentile of the windows",
    "el2n_time": "high is hard; of these tokens alone",
    "el2n_pitch": "high is hard; of these tokens alone",
    "el2n_duration": "high is hard; of these tokens alone",
    "el2n_velocity": "high is hard; of these tokens alone",
    "grand_token": "high is hard",
    "grand_window": "high moves the parameters more",
    "grand_file": "high moves the parameters more",
    "grand_full": "high moves the parameters more",
    "vog": "high changes more during training",
    "forgetting": "high is forgotten more often",
    "pvi": "high is easy: the column is its negative",
    "tracin": "high influences itself more",
    "influence": "high lowers the loss of the probe",
    "influence_train": "high lowers the loss of the training set; as published",
    "effort": "high moves the last block more",
    "dealrec": "influence + lambda effort, each from 0 to 1",
    "dealrec_train": "influence_train + lambda effort, each from 0 to 1; as published",
}
COLUMNS = tuple(DIRECTIONS)
PROBED = ("influence", "dealrec")  # computed only with a probe
_BY_PROBE = "by probe"  # influence for each part of the probe, (files, parts); no column
_SUMS = {"dealrec": "influence", "dealrec_train": "influence_train"}


@dataclass(frozen=True)
class ColumnsConfig:
    """Settings of the scores. Which columns are computed is not one of them: see `columns_of`."""

    score_epoch: float | None = None  # scores of one network come from the nearest checkpoint; None: the last
    vog_normalize: over_time.Normalisation = "dataset"  # Anand et al. normalise by dataset in production
    effort_weight: float = 0.3  # DEALRec's lambda
    influence: InfluenceConfig = field(default_factory=InfluenceConfig)


@dataclass(frozen=True)
class Snapshot:
    """One checkpoint as a model."""

    model: Scorable
    epoch: float
    learning_rate: float


@dataclass(frozen=True)
class Task:
    """Everything that the columns are computed from."""

    snapshots: Sequence[Snapshot]  # in order of training
    examples: Examples  # the training files, to be scored
    num_classes: int
    probe: Examples | None = None  # held out: none of the examples, nor of their compositions
    groups: Sequence[str] | None = None  # one a file, for normalising within groups
    kinds: tuple[np.ndarray, Sequence[str]] | None = None  # of each class the index of its kind; the kinds' names
    effort_parameters: Callable[[Scorable], Sequence[Tensor]] = lambda model: list(model.module().parameters())
    config: ColumnsConfig = ColumnsConfig()

    @property
    def scored(self) -> Snapshot:
        """The checkpoint from which the scores of one network are computed."""
        wanted = self.config.score_epoch
        if wanted is None:
            return self.snapshots[-1]
        return min(self.snapshots, key=lambda snapshot: abs(snapshot.epoch - wanted))

    @property
    def models(self) -> list[Scorable]:
        return [snapshot.model for snapshot in self.snapshots]


def columns_of(
    task: Task, only: Collection[str] | None = None, progress: Callable[[int, int], None] | None = None
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Compute the columns in `only`, or all that can be computed. Gives {column: one value a file} and warnings.

    `progress` gets the number of columns done and of all. Raises `UsageError` for an unknown column.
    """
    wanted = require_known(only)
    warnings = _warnings_of(task.scored.epoch)
    impossible = _impossible(task)
    warnings += [f"{name} is left out: {impossible[name]}" for name in COLUMNS if name in impossible and name in wanted]
    possible = wanted - set(impossible)
    sums = possible & set(_SUMS)
    needed = possible | {_SUMS[name] for name in sums} | ({"effort"} if sums else set())
    found: dict[str, np.ndarray] = {}
    for names, compute in _TOGETHER:
        if mine := needed & set(names):
            found |= {name: values for name, values in compute(task, warnings).items() if name in {*mine, _BY_PROBE}}
            if progress:
                progress(len(found), len(needed))
    warnings += _blind_to_probe(found, task.config.effort_weight, wanted)
    for name in sums:
        found[name] = dealrec(found[_SUMS[name]], found["effort"], task.config.effort_weight)
    return {name: found[name] for name in COLUMNS if name in found and name in wanted}, warnings


def require_known(only: Collection[str] | None) -> set[str]:
    """Give the columns asked for, all for None. Raises `UsageError` for an unknown one."""
    if unknown := sorted(set(only or ()) - set(COLUMNS)):
        raise UsageError(f"{unknown[0]!r} is no score. There are {', '.join(COLUMNS)}.")
    return set(COLUMNS if only is None else only)


def _warnings_of(epoch: float) -> list[str]:
    if epoch == 0:
        return ["Scores come from an untrained network: what was published of GraNd there could not be reproduced."]
    if epoch < MIN_EPOCH:
        return [f"Scores come from epoch {epoch:.2f}; before 1 they are worse than chance (Fayyaz et al. 2022)."]
    return []


def _impossible(task: Task) -> dict[str, str]:
    """The columns that cannot be computed for this task, and why."""
    found: dict[str, str] = {}
    if task.probe is None:
        found |= dict.fromkeys(PROBED, "it needs a probe: files held out, of other pieces.")
    if task.kinds is None:
        found |= {f"el2n_{kind}": "its classes have no kinds." for kind in ("time", "pitch", "duration", "velocity")}
    if len(task.snapshots) < 2:
        found |= dict.fromkeys(("vog", "forgetting"), "there is one checkpoint only.")
    return found


def _of_one_pass(task: Task, warnings: list[str]) -> dict[str, np.ndarray]:
    windows = scores.per_window(task.scored.model, task.examples)
    found = {name: mean_per_file(values, task.examples) for name, values in windows.items()}
    null = scores.null_losses(task.examples, scores.unigram_log_probs(task.examples, task.num_classes))
    found["pvi"] = mean_per_file(windows["loss"] - null, task.examples) / np.log(2)  # negative: high is hard
    found["el2n_max"] = reduce_per_file(windows["el2n"], task.examples, np.max)
    found["el2n_p90"] = reduce_per_file(windows["el2n"], task.examples, lambda of_file: np.percentile(of_file, 90))
    return found


def _by_attribute(task: Task, warnings: list[str]) -> dict[str, np.ndarray]:
    assert task.kinds is not None  # _impossible
    found = scores.el2n_by_attribute(task.scored.model, task.examples, *task.kinds)
    return {f"el2n_{kind}": values for kind, values in found.items()}


def _grand_file(task: Task, warnings: list[str]) -> dict[str, np.ndarray]:
    return {"grand_file": scores.grand_file(task.scored.model, task.examples)}


def _grand_full(task: Task, warnings: list[str]) -> dict[str, np.ndarray]:
    return {"grand_full": scores.grand_full(task.scored.model, task.examples)}


def _effort(task: Task, warnings: list[str]) -> dict[str, np.ndarray]:
    model = task.scored.model
    return {"effort": scores.effort(model, task.examples, task.effort_parameters(model))}


def _vog(task: Task, warnings: list[str]) -> dict[str, np.ndarray]:
    return {"vog": over_time.vog(task.models, task.examples, task.config.vog_normalize, task.groups)}


def _forgetting(task: Task, warnings: list[str]) -> dict[str, np.ndarray]:
    return {"forgetting": over_time.forgetting(task.models, task.examples)}


def _tracin(task: Task, warnings: list[str]) -> dict[str, np.ndarray]:
    rates = [snapshot.learning_rate for snapshot in task.snapshots]
    return {"tracin": over_time.tracin(task.models, rates, task.examples)}


def _influence(task: Task, warnings: list[str], name: str, target: Literal["probe", "train"]) -> dict[str, np.ndarray]:
    config = replace(task.config.influence, target=target)
    found = influence(task.scored.model, task.examples, task.probe, config)
    warnings += [f"{name}: {line}" for line in found.warnings]
    if target == "train" or task.probe is None:
        return {name: found.values}
    return {name: found.values, _BY_PROBE: influence_by_probe(task.scored.model, task.examples, task.probe)}


def _blind_to_probe(found: Mapping[str, np.ndarray], effort_weight: float, wanted: Collection[str]) -> Iterator[str]:
    """A warning for each score of `PROBED` that names the same files whatever part of the probe it is asked about."""
    if (by_probe := found.get(_BY_PROBE)) is None:
        return
    values = {"influence": by_probe}
    if "dealrec" in wanted:
        parts = [dealrec(part, found["effort"], effort_weight) for part in by_probe.T]
        values["dealrec"] = np.stack(parts, axis=1)
    for name in sorted(values.keys() & set(wanted)):
        retrieval = retrieval_of(values[name])
        if retrieval is not None and retrieval.is_same_for_all:
            yield f"{name}: {retrieval.text}. It says more about the files than about the probe; another chooses alike."


_Compute = Callable[[Task, list[str]], dict[str, np.ndarray]]
_TOGETHER: tuple[tuple[tuple[str, ...], _Compute], ...] = (  # columns that one computation gives together
    (("loss", "el2n", "el2n_max", "el2n_p90", "grand_token", "grand_window", "pvi"), _of_one_pass),
    (("el2n_time", "el2n_pitch", "el2n_duration", "el2n_velocity"), _by_attribute),
    (("grand_file",), _grand_file),
    (("grand_full",), _grand_full),
    (("effort",), _effort),
    (("vog",), _vog),
    (("forgetting",), _forgetting),
    (("tracin",), _tracin),
    (("influence",), partial(_influence, name="influence", target="probe")),
    (("influence_train",), partial(_influence, name="influence_train", target="train")),
)
