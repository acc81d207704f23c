"""Warnings about a selection, for the user to read before training on it: one sentence each, with the number."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aria_data.pruning.budgets import ROUNDING
from aria_data.pruning.sampling import Sampling
from aria_data.pruning.selection import BY_RANK, BY_RANK_OF_SCORE, BY_SCORE, WEIGHTED, Selection

FEW = 0.3  # at or below this share, selection by score alone loses to random: Ayed and Hayou, DeepCore, CCS, our pilot
FEW_EFFECTIVE = 0.7  # effective / kept files, below which to warn; calibrated with alpha 0.5 at 30 % has 0.67


def warnings_of(selection: Selection, sampling: Sampling) -> list[str]:
    """Give the warnings about a finished selection."""
    parts = (
        _of_scores(selection, sampling),
        _of_groups(selection),
        _of_size(sampling),
        _of_weights(selection, sampling),
    )
    return [sentence for part in parts for sentence in part]


def _of_scores(selection: Selection, sampling: Sampling) -> Iterator[str]:
    config, pool = selection.config, selection.pool
    if config.method not in BY_SCORE:
        return
    is_scored = ~np.isnan(sampling.scores)
    if num_without := int((~is_scored & ~sampling.is_kept).sum()):
        yield f"{num_without} of {len(pool)} files have no score and were left out; random baselines may have them."
    if is_scored.sum() > 1 and np.ptp(sampling.scores[is_scored]) == 0:
        yield "all scores are equal, so the choice is by lot."
    if config.normalize == "group":
        names, counts = np.unique(pool.groups[is_scored].astype(object), return_counts=True)
        if num_alone := int((counts[names != ""] == 1).sum()):
            yield f"{num_alone} files are alone in their group and count as average: score 0 after normalize='group'."
    if config.method in BY_RANK_OF_SCORE and len(selection.ids) <= FEW * len(pool):
        yield (
            f"{config.method} keeps {len(selection.ids)} of {len(pool)} files by score alone; at 30 % and below that "
            "usually does worse than random files. Compare with group_random, or use calibrated with alpha 0.1."
        )


def _of_groups(selection: Selection) -> Iterator[str]:
    config, groups = selection.config, selection.pool.groups
    num_named = int((groups != "").sum())
    num_groups = len(set(groups) - {""})
    if config.method == "group_random" and len(groups):
        if num_groups == num_named:
            yield "no two files share a known group, so group_random amounts to random."
        elif num_named < len(groups):
            yield f"{len(groups) - num_named} of {len(groups)} files have no group; each counts as a group of its own."
    if (config.min_per_group or config.max_per_group or config.normalize == "group") and num_named == 0 and len(groups):
        yield "no file has a group, so limits and scores by group have no effect."


def _of_size(sampling: Sampling) -> Iterator[str]:
    spent, limit, unit = sampling.costs[sampling.is_kept].sum(), sampling.limit, sampling.config.budget.unit
    if not sampling.is_kept.any():
        yield "nothing is kept."
    elif np.isfinite(limit) and spent < limit * (1 - ROUNDING) and not sampling.num_undrawn:
        yield f"only {spent:g} of {limit:g} {unit} are kept: the other limits leave no more."


def _of_weights(selection: Selection, sampling: Sampling) -> Iterator[str]:
    config, num_kept = selection.config, len(selection.ids)
    is_weighted = config.weights != "none" and (config.weights != "own" or config.method in WEIGHTED)
    if config.weights == "none" and config.method in WEIGHTED:
        yield f"{config.method} without its weights keeps its score's bias: other files mixed in do not mend it."
    if not is_weighted or not num_kept:
        return
    if config.method in BY_RANK:
        yield f"{config.method} gives other files no chance, so no weights make up for them: all are 1."
    if config.weights.startswith("clip:"):
        yield "clipped weights are biased towards what the score prefers."
    if config.budget.unit != "files":
        yield f"with a budget of {config.budget.unit} the probabilities are those given the number drawn: nearly exact."
    is_all_certain = num_kept < len(selection.pool) and not (selection.inclusion_probs < 1).any()
    if config.method == "calibrated" and config.alpha < 1 and is_all_certain:
        yield "no file was left to be drawn by lot, so the weights do not make up for the score's bias."
    if selection.effective_num_files < FEW_EFFECTIVE * num_kept:
        raised = _RAISES_IT.get(config.method, "A larger budget raises that.")
        yield (
            f"the {num_kept} files weigh as much as {selection.effective_num_files:.0f} equal ones (effective sample "
            f"size). {raised}"
        )
    if num_full := sum(sampling.cap_probs[~sampling.is_kept] == 0):
        yield f"{num_full} files had no chance because their group was full; the weights do not make up for them."


_RAISES_IT = {
    "calibrated": "A smaller alpha or a larger budget raises that.",
    "ht_proportional": "A larger floor raises that; a score that follows the size of the gradients makes up for it.",
}
