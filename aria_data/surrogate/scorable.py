"""What a model must offer to be scored, and the windows it is scored on. No scores, no training.

A score looks at a model through four functions, so a language model over MIDI tokens and a classifier of sound go the
same way. Whatever the model, it is cut in three: inputs -> `embed` -> `features` -> a linear head -> logits.

    class Scored:  # a user's own model
        def __init__(self, network):
            self.network = network
        def embed(self, inputs):                # whatever `Examples.take` gives; may simply return it
            return self.network.embedding(inputs)
        def features(self, embedded):           # (windows, positions, width): the input of the last linear layer
            return self.network.body(embedded)
        def head(self):                         # weight (classes, width) and bias (classes) or None
            return self.network.head.weight, self.network.head.bias
        def module(self):                       # the parameters of `grand_full` and `effort`; put in evaluation mode
            return self.network

    scores.el2n(Scored(network), examples)

For a language model a window is a piece of a file and a position a token; for a classifier of sound a window is a
clip and a position a span of it that has a label of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from aria_data.errors import UsageError

NOT_COUNTED = -100  # the target of a position that no loss and no score looks at; torch's own ignore_index


class Scorable(Protocol):
    """A model as the scores see it: logits = features(embed(inputs)) @ weight.T + bias."""

    def embed(self, inputs: Tensor) -> Tensor:
        """Give what VoG takes gradients at: floating point, (windows, ...)."""

    def features(self, embedded: Tensor) -> Tensor:
        """Give the head's input, (windows, positions, width)."""

    def head(self) -> tuple[Tensor, Tensor | None]:
        """Give weight (classes, width) and bias (classes), attached to the parameters."""

    def module(self) -> nn.Module:
        """Give the network itself."""


def logits_of(model: Scorable, features: Tensor) -> Tensor:
    weight, bias = model.head()
    return nn.functional.linear(features, weight, bias)


def at_least_float32(values: Tensor) -> Tensor:
    """A model in half precision is scored in single."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def window_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy over the counted positions of each window, (windows,); NaN where none is counted."""
    losses = nn.functional.cross_entropy(logits.transpose(1, 2), targets, ignore_index=NOT_COUNTED, reduction="none")
    return losses.sum(dim=1) / (targets != NOT_COUNTED).sum(dim=1)


@contextmanager
def scoring_mode(model: Scorable) -> Iterator[None]:
    """Switch dropout and the like off, and back to what it was."""
    modules = list(model.module().modules())
    were_training = [module.training for module in modules]
    model.module().eval()
    try:
        yield
    finally:
        for module, was_training in zip(modules, were_training, strict=True):
            module.training = was_training


@dataclass(frozen=True)
class Examples:
    """Windows, each owned by one file. `take` reads some of them, so they may lie on disk."""

    take: Callable[[np.ndarray], tuple[Tensor, Tensor]]  # window indices -> inputs, targets (windows, positions)
    owners: np.ndarray  # (windows,) the number of the file, ascending: a file's windows stand together
    num_files: int

    def __post_init__(self) -> None:
        if np.any(np.diff(self.owners) < 0):
            raise UsageError("The windows of a file must stand together, files in order. Sort the windows by owner.")

    @property
    def num_windows(self) -> int:
        return len(self.owners)

    @property
    def window_shares(self) -> np.ndarray:
        """What one window is of its file: 1 / (windows of the file), so that every file counts the same."""
        return 1.0 / np.bincount(self.owners, minlength=self.num_files)[self.owners]

    def batches(self, num_windows: int) -> Iterator[np.ndarray]:
        """Give the indices of all windows in order, some at a time."""
        for first in range(0, self.num_windows, num_windows):
            yield np.arange(first, min(first + num_windows, self.num_windows))

    def files(self) -> Iterator[tuple[int, np.ndarray]]:
        """Give each file that has windows, with their indices."""
        numbers, firsts = np.unique(self.owners, return_index=True)
        yield from zip(numbers.tolist(), np.split(np.arange(self.num_windows), firsts[1:]), strict=True)


def read(model: Scorable, examples: Examples, indices: np.ndarray) -> tuple[Tensor, Tensor]:
    """Take windows to where the model is."""
    device = next(model.module().parameters()).device
    inputs, targets = examples.take(indices)
    return inputs.to(device), targets.to(device)


def mean_per_file(values: np.ndarray, examples: Examples) -> np.ndarray:
    """Average windows to files; NaN for a file without windows, or with one that has no counted position."""
    return reduce_per_file(values, examples, np.mean)


def reduce_per_file(values: np.ndarray, examples: Examples, how: Callable[[np.ndarray], float]) -> np.ndarray:
    """As `mean_per_file` with another summary, such as `np.max`: one broken minute hardly moves a mean."""
    out = np.full(examples.num_files, np.nan)
    for number, indices in examples.files():
        out[number] = how(values[indices])
    return out
