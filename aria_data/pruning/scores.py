"""Scores of training examples from one model. They describe files; `selectors` decide what to keep.

Scores from several checkpoints are in `over_time.py`. A score is one number a file (float64, NaN for a file with
nothing to score), computed with dropout off. Below, p = softmax of the logits, y the target, e = p - onehot(y), h the
head's input. A window's loss is the mean over its counted positions, a file's loss the mean over its windows.

One score for images becomes several for sequences: gradients can be summed over a token, a window or a file before
their length is taken. On piano performances `grand_token` ranks files as EL2N does, but `grand_window` does not at all:
it is high for repetitive music, where gradients add up. Hence each level has its own name.

No score is meant for a network at initialisation. It can be computed (checkpoint epoch 0), but Kirsch 2023 (arXiv
2303.14753) could not reproduce what Paul et al. 2021 report for GraNd there: it follows the input's length and selects
no better than chance. Fayyaz et al. 2022 (arXiv 2211.05610) find the scores of early steps worse than chance too. So
train for one epoch at least; `columns.py` warns otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from aria_data.surrogate import Examples, Scorable
from aria_data.surrogate.forward import BATCH, passes
from aria_data.surrogate.scorable import (
    NOT_COUNTED,
    at_least_float32,
    logits_of,
    mean_per_file,
    read,
    reduce_per_file,
    scoring_mode,
    window_losses,
)


def el2n(model: Scorable, examples: Examples) -> np.ndarray:
    """Mean of |e|, 0 to sqrt 2. Level: token. High = hard = keep. Paul et al. 2021; for sequences Marion et al. 2023.

    Average over 2 or 3 networks. Ten, as for images, are not needed, because a score averages many tokens already.
    """
    return mean_per_file(per_window(model, examples)["el2n"], examples)


def el2n_by_attribute(
    model: Scorable, examples: Examples, kinds: np.ndarray, names: Sequence[str]
) -> dict[str, np.ndarray]:
    """EL2N of each kind of token alone, by name; `kinds[class]` is an index into `names`. NaN: no such token."""
    sums = np.zeros((len(names), examples.num_windows))
    counts = np.zeros_like(sums)
    kind_of = torch.from_numpy(kinds.astype(np.int64))
    for indices, found in passes(model, examples):
        lengths = torch.linalg.vector_norm(found.errors, dim=2).cpu()
        targets = found.targets.cpu()
        for number in range(len(names)):
            is_mine = (targets != NOT_COUNTED) & (kind_of[targets.clamp(min=0)] == number)
            sums[number, indices] = (lengths * is_mine).sum(dim=1).numpy()
            counts[number, indices] = is_mine.sum(dim=1).numpy()
    means = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
    return {name: reduce_per_file(means[number], examples, _mean_of_known) for number, name in enumerate(names)}


def _mean_of_known(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def grand_token(model: Scorable, examples: Examples) -> np.ndarray:
    """Mean of |e| |h|: length of each token's last-layer gradient. High = keep. Paul et al. 2021, DeepCore's form."""
    return mean_per_file(per_window(model, examples)["grand_token"], examples)


def grand_window(model: Scorable, examples: Examples) -> np.ndarray:
    """Mean over windows of |grad of the window's loss| at the last layer. High = keep. Paul et al. 2021."""
    return mean_per_file(per_window(model, examples)["grand_window"], examples)


def grand_file(model: Scorable, examples: Examples) -> np.ndarray:
    """Length of the gradient of the file's loss at the last layer. High = keep. Paul et al. 2021."""
    out = np.full(examples.num_files, np.nan)
    for number, gradient in head_gradients(model, examples):
        out[number] = torch.linalg.vector_norm(gradient).item()
    return out


def per_window(model: Scorable, examples: Examples) -> dict[str, np.ndarray]:
    """Give `loss`, `el2n`, `grand_token` and `grand_window` of every window, each of shape (windows,), in one pass."""
    out = {name: np.full(examples.num_windows, np.nan) for name in ("loss", "el2n", "grand_token", "grand_window")}
    for indices, found in passes(model, examples):
        lengths = torch.linalg.vector_norm(found.errors, dim=2)
        values = {
            "loss": found.losses(),
            "el2n": (lengths * found.shares).sum(dim=1),
            "grand_token": (lengths * found.squared_inputs().sqrt() * found.shares).sum(dim=1),
            "grand_window": torch.linalg.vector_norm(found.head_gradients(found.shares), dim=(1, 2)),
        }
        for name, numbers in values.items():
            out[name][indices] = numbers.double().cpu().numpy()
    return out


def head_gradients(model: Scorable, examples: Examples, batch: int = BATCH) -> Iterator[tuple[int, Tensor]]:
    """Yield each file's number and the gradient of its loss at the head, (classes, width [+ 1 for the bias])."""
    of_windows = torch.from_numpy(examples.window_shares)
    current, total = -1, torch.zeros(0)
    for indices, found in passes(model, examples, batch):
        shares = found.shares * of_windows[indices].to(found.shares)[:, None]
        owners = examples.owners[indices]
        gradients = found.head_gradients(shares)
        for number in np.unique(owners).tolist():
            mine = gradients[torch.from_numpy(np.flatnonzero(owners == number)).to(gradients.device)].sum(dim=0)
            if number == current:
                total = total + mine
                continue
            if current >= 0:
                yield current, total
            current, total = number, mine
    if current >= 0:
        yield current, total


def grand_full(
    model: Scorable, examples: Examples, parameters: Sequence[Tensor] | None = None, batch: int = BATCH
) -> np.ndarray:
    """Length of the gradient of the file's loss in all parameters, one backward pass a file. High = keep.

    This is GraNd as Paul et al. 2021 define it. It varies more between networks than the other scores (rank correlation
    0.7): average 5 or more. `parameters` restricts the gradient to some of them.
    """
    chosen = list(model.module().parameters()) if parameters is None else list(parameters)
    out = np.full(examples.num_files, np.nan)
    with scoring_mode(model):
        for number, indices in examples.files():
            totals = [torch.zeros_like(parameter) for parameter in chosen]
            for first in range(0, len(indices), batch):
                part = _loss_sum(model, examples, indices[first : first + batch]) / len(indices)
                grads = torch.autograd.grad(part, chosen, allow_unused=True)
                totals = [t if g is None else t + g for t, g in zip(totals, grads, strict=True)]
            squares = torch.stack([total.double().square().sum() for total in totals])
            out[number] = squares.sum().sqrt().item()
    return out


def effort(model: Scorable, examples: Examples, parameters: Sequence[Tensor]) -> np.ndarray:
    """Length of the gradient of the file's loss in the parameters to be learnt. High = keep. DEALRec (Lin et al. 2024).

    DEALRec means the pretrained *target* model and its adapter or last block. It is `grand_full` with these parameters.
    """
    return grand_full(model, examples, parameters)


def _loss_sum(model: Scorable, examples: Examples, indices: np.ndarray) -> Tensor:
    """Sum over windows of their mean losses, with gradients."""
    inputs, targets = read(model, examples, indices)
    return window_losses(at_least_float32(logits_of(model, model.features(model.embed(inputs)))), targets).sum()


def unigram_log_probs(examples: Examples, num_classes: int, batch: int = BATCH) -> np.ndarray:
    """Log probability of each class from its frequency among the targets, plus one: a model that sees no input."""
    counts = np.ones(num_classes)
    for indices in examples.batches(batch):
        targets = examples.take(indices)[1].numpy().ravel()
        counts += np.bincount(targets[targets != NOT_COUNTED], minlength=num_classes)
    return np.log(counts / counts.sum())


def null_losses(examples: Examples, null_log_probs: np.ndarray, batch: int = BATCH) -> np.ndarray:
    """Mean of -log p_null(y) of each window, shape (windows,). Needs no model."""
    out = np.full(examples.num_windows, np.nan)
    for indices in examples.batches(batch):
        targets = examples.take(indices)[1].numpy()
        is_counted = targets != NOT_COUNTED
        surprise = -null_log_probs[np.maximum(targets, 0)] * is_counted
        counts = is_counted.sum(axis=1)
        out[indices] = np.divide(surprise.sum(axis=1), counts, out=np.full(len(counts), np.nan), where=counts > 0)
    return out


def pvi(model: Scorable, examples: Examples, null_log_probs: np.ndarray) -> np.ndarray:
    """Mean of log2 p(y) - log2 p_null(y), in bits a token: the input's information about the target. Level: token.

    Ethayarajh et al. 2022, as in Anand et al. 2023. HIGH = EASY: a score table holds its negative. The null model is
    the best one without input, the frequencies of `unigram_log_probs`; the paper trains one on blank inputs instead.
    """
    return mean_per_file(
        null_losses(examples, null_log_probs) - per_window(model, examples)["loss"], examples
    ) / np.log(2)
