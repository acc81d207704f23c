"""One forward pass of a scorable model over its examples: the last layer's inputs and errors, and the loss."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from aria_data.surrogate.scorable import (
    NOT_COUNTED,
    Examples,
    Scorable,
    at_least_float32,
    logits_of,
    mean_per_file,
    read,
    scoring_mode,
)

BATCH = 32  # windows at a time


@dataclass(frozen=True)
class LastLayer:
    """The last layer in one forward pass of a batch. Positions that are not counted have share 0 and error 0."""

    log_probs: Tensor  # (windows, positions) log probability of the target, log p(y)
    errors: Tensor  # (windows, positions, classes) e = p - onehot(y)
    features: Tensor  # (windows, positions, width) the head's input h
    shares: Tensor  # (windows, positions) 1 / (counted positions of the window); a window's shares sum to 1
    targets: Tensor  # (windows, positions) y, or NOT_COUNTED
    has_bias: bool  # of the head

    def losses(self) -> Tensor:
        """The mean of -log p(y) over each window's counted positions, shape (windows,)."""
        return -(self.log_probs * self.shares).sum(dim=1)

    def squared_inputs(self) -> Tensor:
        """|h|^2, plus 1 for a bias, shape (windows, positions)."""
        return self.features.square().sum(dim=2) + float(self.has_bias)

    def head_inputs(self) -> Tensor:
        """h, with a column of ones added for a bias: (windows, positions, width [+ 1])."""
        if not self.has_bias:
            return self.features
        return torch.cat([self.features, torch.ones_like(self.features[:, :, :1])], dim=2)

    def probabilities(self) -> Tensor:
        """p, shape (windows, positions, classes); 0 at positions that are not counted."""
        is_counted = (self.targets != NOT_COUNTED)[:, :, None]
        return self.errors.scatter_add(2, self.targets.clamp(min=0)[:, :, None], is_counted.to(self.errors.dtype))

    def head_gradients(self, weights: Tensor) -> Tensor:
        """Sum over positions of weight * e (x) h: (windows, classes, width [+ 1 for a bias])."""
        return torch.einsum("wpc,wpd->wcd", self.errors * weights[:, :, None], self.head_inputs())


@torch.no_grad()
def last_layer(model: Scorable, inputs: Tensor, targets: Tensor) -> LastLayer:
    """Run the model once on a batch. A window without counted positions has NaN shares."""
    features = model.features(model.embed(inputs))
    logits = at_least_float32(logits_of(model, features))
    is_counted = targets != NOT_COUNTED
    known = targets.clamp(min=0)[:, :, None]
    log_probs = functional.log_softmax(logits, dim=2)
    errors = log_probs.exp().scatter_add(2, known, torch.full_like(log_probs[:, :, :1], -1.0))
    return LastLayer(
        log_probs=log_probs.gather(2, known)[:, :, 0] * is_counted,
        errors=errors * is_counted[:, :, None],
        features=at_least_float32(features),
        shares=is_counted.to(logits.dtype) / is_counted.sum(dim=1, keepdim=True),
        targets=targets,
        has_bias=model.head()[1] is not None,
    )


def passes(model: Scorable, examples: Examples, batch: int = BATCH) -> Iterator[tuple[np.ndarray, LastLayer]]:
    """Yield (window indices, `LastLayer`) for all windows in order, a batch at a time, with dropout off."""
    with scoring_mode(model):
        for indices in examples.batches(batch):
            yield indices, last_layer(model, *read(model, examples, indices))


def loss(model: Scorable, examples: Examples) -> np.ndarray:
    """Mean of -log p(y), nats a token, one value a file. High = hard. The baseline in Marion et al. 2023."""
    out = np.full(examples.num_windows, np.nan)
    for indices, found in passes(model, examples):
        out[indices] = found.losses().double().cpu().numpy()
    return mean_per_file(out, examples)
