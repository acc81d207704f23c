"""The network of `model` as it is computed on a CPU: the same steps, up to rounding, in less time.

Norms are multiplied into the weights of the convolutions before them, so that a convolution, its norm and ReLU are one
call of oneDNN with packed weights. Of the sound around a chunk only as much is convolved as reaches the chunk's steps;
the rest of it is there for the level alone. Training and GPUs use `model.PianoNet` itself.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from classifiers.model import PianoNet, relative_level

REACH_STEPS = 2  # on either side, by which sound changes a step of the trunk: 1 + 1/2 + 1/4 + ... for its layers
FRAMES_PLANNED = 3200  # for which oneDNN packs weights: a chunk; other lengths are as exact


class FoldedNet:
    """The network's steps, from one chunk of frames at a time."""

    def __init__(self, model: PianoNet):
        self.config = model.config
        height, width = FRAMES_PLANNED, model.config.num_mels
        self._layers: list[_Layer] = []
        for block in _blocks_of(model):
            layer = _Layer(block, height, width)
            self._layers.append(layer)
            height, width = height // layer.shrinks, width // layer.shrinks
        context: Any = model.context[0]
        self._padding = context.padding[0]  # in steps, of the layer over the trunk's
        self._context_weight, self._context_bias = _folded(context, model.context[1])

    def steps(self, frames: Tensor, first: int, num_steps: int) -> Tensor:
        """(frames, mels) in dB -> (num_steps, features) from step `first` on.

        Frames before the first are taken as the recording's beginning. Behind the last of these steps stand
        `frames_after` frames or more.
        """
        config, around = self.config, REACH_STEPS + self._padding
        begin = max(0, first - around)
        end = min(first + num_steps + around, len(frames) // config.frames_per_step)
        level = relative_level(frames[None], config)[0]
        values = level[begin * config.frames_per_step : end * config.frames_per_step][None, None]
        values = values.contiguous(memory_format=torch.channels_last)
        for layer in self._layers:
            values = layer(values)
        steps = functional.conv1d(values[..., 0], self._context_weight, self._context_bias, padding=self._padding)
        return functional.relu(steps)[0, :, first - begin : first - begin + num_steps].T

    @property
    def frames_after(self) -> int:
        """Frames behind a step, beyond which sound does not change it; the level sees further."""
        return (REACH_STEPS + self._padding) * self.config.frames_per_step


def _blocks_of(model: PianoNet) -> list[list[Any]]:
    """Give a convolution, perhaps a pool, a norm and ReLU each."""
    trunk: list[Any] = list(model.trunk)
    return [trunk[:3], *(list(block) for block in trunk[3:]), list(model.collapse)]


def _folded(convolution: Any, norm: Any) -> tuple[Tensor, Tensor]:
    """Give weights and bias of both together."""
    weight = convolution.weight
    with torch.no_grad():
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        return weight * scale.view(-1, *[1] * (weight.ndim - 1)), norm.bias - norm.running_mean * scale


class _Layer:
    """A convolution with its norm and ReLU, and the pool between them, if any."""

    def __init__(self, block: list[Any], height: int, width: int):
        """`height` and `width` are of the maps that it is planned for."""
        convolution, norm = block[0], block[-2]
        self._has_pool = isinstance(block[1], nn.MaxPool2d)
        self.shrinks = 2 if self._has_pool else convolution.stride[0]
        weight, self._bias = _folded(convolution, norm)
        self._weight = weight.contiguous(memory_format=torch.channels_last)
        self._stride, self._padding = list(convolution.stride), list(convolution.padding)
        self._packed = _packed(self._weight, self._padding, self._stride, [1, weight.shape[1], height, width])
        # a pool takes the largest: a norm that turns values round cannot go before it
        self._plain = nn.Sequential(*block) if self._has_pool and bool((norm.weight < 0).any()) else None

    def __call__(self, maps: Tensor) -> Tensor:
        if self._plain is not None:
            return self._plain(maps)
        if self._packed is None:
            out = functional.relu(functional.conv2d(maps, self._weight, self._bias, self._stride, self._padding))
        else:
            after: tuple[str, list[float], str] = ("relu", [], "")
            out = torch.ops.mkldnn._convolution_pointwise(
                maps, self._packed, self._bias, self._padding, self._stride, [1, 1], 1, *after
            )
        return functional.max_pool2d(out, 2) if self._has_pool else out


def _packed(weight: Tensor, padding: list[int], stride: list[int], shape: list[int]) -> Any:
    """Give weights in oneDNN's own order; None where this torch has no such operator."""
    if not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_convolution_pointwise")):
        return None
    return torch.ops.mkldnn._reorder_convolution_weight(weight, padding, stride, [1, 1], 1, shape)
