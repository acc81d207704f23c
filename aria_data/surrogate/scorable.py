"""The interface that scores need of a model, and the windows it is scored on. No scores, no training.

A score uses four functions of a model, so it works for a language model over MIDI tokens and for a classifier of audio
alike. Any model is divided in the same way: inputs -> `embed` -> `features` -> a linear head -> logits.

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

    aria_data.pruning.scores.el2n(Scored(network), examples)

For a language model, a window is a piece of a file and a position a token. For a classifier of audio, a window is a
clip and a position a span of it with a label of its own.
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

NOT_COUNTED = -100  # the target of a position that is left out of losses and scores; torch's default ignore_index


class Scorable(Protocol):
    """A model as the scores see it: logits = features(embed(inputs)) @ weight.T + bias."""

    def embed(self, inputs: Tensor) -> Tensor:
        """Give the inputs that VoG differentiates by: floating point, (windows, ...)."""

    def features(self, embedded: Tensor) -> Tensor:
        """Give the head's input, (windows, positions, width)."""

    def head(self) -> tuple[Tensor, Tensor | None]:
        """Give weight (classes, width) and bias (classes,) or None, attached to the parameters."""

    def module(self) -> nn.Module:
        """Give the network itself."""


def logits_of(model: Scorable, features: Tensor) -> Tensor:
    """Apply the head: (windows, positions, width) -> (windows, positions, classes)."""
    weight, bias = model.head()
    return nn.functional.linear(features, weight, bias)


def at_least_float32(values: Tensor) -> Tensor:
    """Convert half precision to single, in which scores are computed; leave other types."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def window_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy over the counted positions of each window, (windows,); NaN where none is counted."""
    losses = nn.functional.cross_entropy(logits.transpose(1, 2), targets, ignore_index=NOT_COUNTED, reduction="none")
    return losses.sum(dim=1) / (targets != NOT_COUNTED).sum(dim=1)


@contextmanager
def scoring_mode(model: Scorable) -> Iterator[None]:
    """Put the model in evaluation mode (no dropout), and each module back to its mode at the end."""
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
    """Windows, each of one file. `take` reads some of them, so they may be on disk.

    Raises `UsageError` when the windows of a file are not together, files in ascending order.
    """

    take: Callable[[np.ndarray], tuple[Tensor, Tensor]]  # window indices -> inputs, targets (windows, positions)
    owners: np.ndarray  # (windows,) number of the file that a window is of, ascending
    num_files: int  # some may have no windows

    def __post_init__(self) -> None:
        if np.any(np.diff(self.owners) < 0):
            raise UsageError("The windows of a file must stand together, files in order. Sort the windows by owner.")

    @property
    def num_windows(self) -> int:
        return len(self.owners)

    @property
    def window_shares(self) -> np.ndarray:
        """(windows,) 1 / (number of windows of the window's file), so that every file counts the same."""
        return 1.0 / np.bincount(self.owners, minlength=self.num_files)[self.owners]

    def batches(self, num_windows: int) -> Iterator[np.ndarray]:
        """Yield the indices of all windows in order, `num_windows` at a time."""
        for first in range(0, self.num_windows, num_windows):
            yield np.arange(first, min(first + num_windows, self.num_windows))

    def files(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the number of each file that has windows, with the indices of its windows."""
        numbers, firsts = np.unique(self.owners, return_index=True)
        yield from zip(numbers.tolist(), np.split(np.arange(self.num_windows), firsts[1:]), strict=True)


def read(model: Scorable, examples: Examples, indices: np.ndarray) -> tuple[Tensor, Tensor]:
    """Read windows onto the model's device: inputs, targets."""
    device = next(model.module().parameters()).device
    inputs, targets = examples.take(indices)
    return inputs.to(device), targets.to(device)


def mean_per_file(values: np.ndarray, examples: Examples) -> np.ndarray:
    """Average values (windows,) to (files,). NaN for a file without windows, or with a window whose value is NaN."""
    return reduce_per_file(values, examples, np.mean)


def reduce_per_file(values: np.ndarray, examples: Examples, how: Callable[[np.ndarray], float]) -> np.ndarray:
    """Like `mean_per_file`, with another summary `how`, such as `np.max`: one broken minute hardly changes a mean."""
    out = np.full(examples.num_files, np.nan)
    for number, indices in examples.files():
        out[number] = how(values[indices])
    return out
