"""Scores from several checkpoints of one training: VoG, forgetting, TracIn. Those of one model are in `scores.py`.

Checkpoints are the inner loop: all of them process a batch of windows before the next batch is read. So only one number
a window stays in memory, for any number of windows and checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from aria_data.errors import UsageError
from aria_data.pruning.scores import BATCH, head_gradients
from aria_data.surrogate import Examples, Scorable
from aria_data.surrogate.scorable import NOT_COUNTED, logits_of, mean_per_file, read, scoring_mode

Normalisation = Literal["none", "dataset", "group"]


def vog(
    models: Sequence[Scorable],
    examples: Examples,
    normalize: Normalisation = "none",
    groups: Sequence[str] | None = None,
    form: Literal["squared", "deviation"] = "squared",
    batch: int = BATCH,
) -> np.ndarray:
    """Variance over checkpoints of the gradient of the true classes' logits by the input embeddings. High = keep.

    G_c = d (sum over counted positions of logit[y]) / d embedding, (positions, width). "squared" is Anand et al. 2023,
    mean over positions and width of (1 / sqrt C) sum_c (G_c - mean)^2; "deviation" is Agarwal et al. 2022, mean of
    sqrt(1 / C sum_c (G_c - mean)^2). Both rank alike. In a causal model an embedding gets gradient from all later
    targets, so early positions have more of it. VoG does not detect noise (Anand et al.).

    Gives one value a file. Raises `UsageError` for fewer than two checkpoints.
    """
    _require_several(models, "vog")
    out = np.full(examples.num_windows, np.nan)
    with ExitStack() as stack:
        for model in models:
            stack.enter_context(scoring_mode(model))
        for indices in examples.batches(batch):
            out[indices] = _vog_of(models, examples, indices, form)
    return normalized(mean_per_file(out, examples), normalize, groups)


def _vog_of(models: Sequence[Scorable], examples: Examples, indices: np.ndarray, form: str) -> np.ndarray:
    mean = squares = torch.zeros(0)
    for count, model in enumerate(models, start=1):
        inputs, targets = read(model, examples, indices)
        gradient = embedding_gradients(model, inputs, targets)
        if count == 1:
            mean, squares = gradient, torch.zeros_like(gradient)
            continue
        step = gradient - mean  # Welford's update
        mean = mean + step / count
        squares = squares + step * (gradient - mean)
    spread = squares / len(models) ** 0.5 if form == "squared" else (squares / len(models)).sqrt()
    return _mean_over_window(spread, targets).cpu().numpy()


def embedding_gradients(model: Scorable, inputs: Tensor, targets: Tensor) -> Tensor:
    """d (sum over counted positions of logit[y]) / d embedding, in float64, with the embedding's shape."""
    embedded = model.embed(inputs).detach().requires_grad_()
    logits = logits_of(model, model.features(embedded))
    true = logits.gather(2, targets.clamp(min=0)[:, :, None])[:, :, 0]
    return torch.autograd.grad((true * (targets != NOT_COUNTED)).sum(), embedded)[0].double()


def _mean_over_window(values: Tensor, targets: Tensor) -> Tensor:
    """Mean over all but the first dimension; without padding, where each position has an embedding and a target."""
    flat = values.reshape(len(values), values.shape[1], -1).mean(dim=2)
    if flat.shape != targets.shape:
        return flat.mean(dim=1)
    positions = torch.arange(targets.shape[1], device=targets.device)
    last = torch.where(targets != NOT_COUNTED, positions, -1).amax(dim=1, keepdim=True)
    is_inside = positions <= last
    return (flat * is_inside).sum(dim=1) / is_inside.sum(dim=1)


def normalized(values: np.ndarray, how: Normalisation, groups: Sequence[str] | None = None) -> np.ndarray:
    """(value - mean) / sd over the dataset or over a file's group; 0 where all values of the group are equal.

    Normalised over the dataset, whole groups may score low and be pruned; normalised by group, each keeps its share.
    Raises `UsageError` for "group" without groups.
    """
    if how == "none":
        return values
    if how == "group" and groups is None:
        raise UsageError("Normalising by group needs each file's group. Give groups, or normalise by dataset.")
    labels = (
        np.zeros(len(values), dtype=int) if how == "dataset" else np.unique(np.array(groups), return_inverse=True)[1]
    )
    out = np.full(len(values), np.nan)
    for label in np.unique(labels):
        members = (labels == label) & ~np.isnan(values)
        if members.any():
            centred = values[members] - values[members].mean()
            out[members] = centred / (centred.std() or 1.0)
    return out


def forgetting(models: Sequence[Scorable], examples: Examples, batch: int = BATCH) -> np.ndarray:
    """How often a token's prediction changes from right to wrong between checkpoints, per counted token. High = keep.

    Toneva et al. 2019, as in Anand et al. 2023. The count is coarse: events between two checkpoints are missed. A token
    that is never right is never forgotten and counts 0; Toneva et al. rank it above all others. Gives one value a file.
    Raises `UsageError` for fewer than two checkpoints.
    """
    _require_several(models, "forgetting")
    out = np.full(examples.num_windows, np.nan)
    with ExitStack() as stack:
        for model in models:
            stack.enter_context(scoring_mode(model))
        for indices in examples.batches(batch):
            out[indices] = _forgotten(models, examples, indices)
    return mean_per_file(out, examples)


@torch.no_grad()
def _forgotten(models: Sequence[Scorable], examples: Examples, indices: np.ndarray) -> np.ndarray:
    was_right: Tensor | None = None
    events = shares = torch.zeros(0)
    for model in models:
        inputs, targets = read(model, examples, indices)
        logits = logits_of(model, model.features(model.embed(inputs)))
        is_right = logits.argmax(dim=2) == targets  # never where the target is not counted
        if was_right is None:
            events, shares = torch.zeros(targets.shape, device=targets.device), targets != NOT_COUNTED
        else:
            events = events + (was_right & ~is_right)
        was_right = is_right
    return (events.sum(dim=1) / shares.sum(dim=1)).double().cpu().numpy()


def tracin(models: Sequence[Scorable], learning_rates: Sequence[float], examples: Examples) -> np.ndarray:
    """sum over checkpoints of learning rate times |gradient of the file's loss at the head|^2. High = keep.

    The influence of a file on itself (Pruthi et al. 2020), as in Anand et al. 2023, who use the last encoder layer. It
    is derived for plain gradient descent; for an adaptive optimiser only its order of magnitude is right. Raises
    `UsageError` unless there is one learning rate a checkpoint.
    """
    if len(models) != len(learning_rates):
        raise UsageError(f"{len(models)} checkpoints need as many learning rates; {len(learning_rates)} were given.")
    out = np.zeros(examples.num_files)
    has_windows = np.zeros(examples.num_files, dtype=bool)
    for model, rate in zip(models, learning_rates, strict=True):
        for number, gradient in head_gradients(model, examples):
            out[number] += rate * gradient.double().square().sum().item()
            has_windows[number] = True
    return np.where(has_windows, out, np.nan)


def _require_several(models: Sequence[Scorable], score: str) -> None:
    if len(models) < 2:
        raise UsageError(f"{score} compares checkpoints of one training, and {len(models)} was given. Keep 2 or more.")
