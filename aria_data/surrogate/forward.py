"""One forward pass of a scorable model over its examples: what the last layer sees, and the loss. No scores."""

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
    """What one forward pass says of a batch. Positions that are not counted have share 0 and error 0."""

    log_probs: Tensor  # (windows, positions) of the target
    errors: Tensor  # (windows, positions, classes) e
    features: Tensor  # (windows, positions, width) h
    shares: Tensor  # (windows, positions) 1 / (counted positions of the window); they sum to 1
    targets: Tensor
    has_bias: bool

    def losses(self) -> Tensor:
        """The mean of -log p(y) over each window's counted positions, shape (windows,)."""
        return -(self.log_probs * self.shares).sum(dim=1)

    def squared_inputs(self) -> Tensor:
        """|h|^2, and 1 more for a bias."""
        return self.features.square().sum(dim=2) + float(self.has_bias)

    def head_inputs(self) -> Tensor:
        """h, with one more column of ones for a bias."""
        if not self.has_bias:
            return self.features
        return torch.cat([self.features, torch.ones_like(self.features[:, :, :1])], dim=2)

    def probabilities(self) -> Tensor:
        """p; only where positions are counted."""
        is_counted = (self.targets != NOT_COUNTED)[:, :, None]
        return self.errors.scatter_add(2, self.targets.clamp(min=0)[:, :, None], is_counted.to(self.errors.dtype))

    def head_gradients(self, weights: Tensor) -> Tensor:
        """sum over positions of weight times e (x) h: (windows, classes, width), the bias as one more column."""
        return torch.einsum("wpc,wpd->wcd", self.errors * weights[:, :, None], self.head_inputs())


@torch.no_grad()
def last_layer(model: Scorable, inputs: Tensor, targets: Tensor) -> LastLayer:
    """Run the model once; NaN shares for a window without counted positions."""
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
    """Go through all windows once, in order."""
    with scoring_mode(model):
        for indices in examples.batches(batch):
            yield indices, last_layer(model, *read(model, examples, indices))


def loss(model: Scorable, examples: Examples) -> np.ndarray:
    """Mean of -log p(y), nats a token, one value a file. High = hard. Marion et al. 2023: the measure to beat."""
    out = np.full(examples.num_windows, np.nan)
    for indices, found in passes(model, examples):
        out[indices] = found.losses().double().cpu().numpy()
    return mean_per_file(out, examples)
