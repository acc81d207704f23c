"""Which training files lower the loss of which other files: a matrix, where the columns of a score table are sums.

A target is a file of its own here, held out of the training. Every number has the sign of `influence.py`: POSITIVE =
training on the file lowers the target's loss. All are of the last layer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from aria_data.pruning.influence import HeadCurvature, InfluenceConfig, conjugate_gradient
from aria_data.pruning.scores import head_gradients
from aria_data.surrogate import Examples, Scorable

KINDS = {
    "influence": "gradient . H^-1 . gradient of the target, as in the column of that name",
    "gradient_dot": "gradient . gradient of the target: influence with H = 1",
    "gradient_cosine": "the same, divided by the lengths of both: a file's size does not count",
    "tracin": "the sum over checkpoints of learning rate times gradient . gradient of the target (Pruthi et al. 2020)",
}


def attributions(
    models: Sequence[Scorable],
    learning_rates: Sequence[float],
    examples: Examples,
    targets: Examples,
    config: InfluenceConfig | None = None,
) -> dict[str, np.ndarray]:
    """Give each of `KINDS` of every file of `examples` on every file of `targets`: (files, target files), float64.

    `models` are checkpoints of one training on `examples`; the last is the model that influence is computed with. In
    memory are the gradients of the targets, (target files, classes, width), and as much again for each of two kinds.
    """
    dots = [_dots(model, examples, gradients_of(model, targets)) for model in models]
    rates = np.asarray(learning_rates)[:, None, None]
    config, model = config or InfluenceConfig(), models[-1]
    wanted = gradients_of(model, targets)
    lengths = _lengths(model, examples)[:, None] * torch.linalg.vector_norm(wanted.flatten(1), dim=1).cpu().numpy()
    return {
        "influence": _dots(model, examples, solutions_of(model, examples, wanted, config)) / examples.num_files,
        "gradient_dot": dots[-1],
        "gradient_cosine": np.divide(dots[-1], lengths, out=np.zeros_like(dots[-1]), where=lengths > 0),
        "tracin": (rates * np.stack(dots)).sum(axis=0),
    }


def gradients_of(model: Scorable, examples: Examples) -> Tensor:
    """The gradient of each file's loss at the head: (files, classes, width [+ 1 for a bias])."""
    return torch.stack([gradient for _, gradient in head_gradients(model, examples)])


def solutions_of(model: Scorable, examples: Examples, vectors: Tensor, config: InfluenceConfig) -> Tensor:
    """H^-1 v of each of the vectors, with H of `examples`."""
    curvature = HeadCurvature(model, examples, config.damping, config.max_windows, config.seed)
    return torch.stack(
        [conjugate_gradient(curvature, vector, config.cg_iterations, config.cg_tolerance) for vector in vectors]
    )


def _dots(model: Scorable, examples: Examples, vectors: Tensor) -> np.ndarray:
    """The product of each file's gradient with each vector, (files, vectors); NaN for a file without windows."""
    out = np.full((examples.num_files, len(vectors)), np.nan)
    flat = vectors.flatten(1).double()
    for number, gradient in head_gradients(model, examples):
        out[number] = (flat @ gradient.flatten().double()).cpu().numpy()
    return out


def _lengths(model: Scorable, examples: Examples) -> np.ndarray:
    out = np.full(examples.num_files, np.nan)
    for number, gradient in head_gradients(model, examples):
        out[number] = float(torch.linalg.vector_norm(gradient))
    return out
