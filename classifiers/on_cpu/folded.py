"""The network of `model` as it is computed on a CPU: the same steps, up to rounding, in less time.

Where integers are fast, the larger layers are `rounded`: scores differ by 0.008 at most, 0.0004 in the median (LOG.md).

Norms are multiplied into the weights of the convolutions before them, so that a convolution, its norm and ReLU are one
call of oneDNN with packed weights. Of the sound around a chunk only as much is convolved as reaches the chunk's steps;
the rest of it is there for the level alone. Training and GPUs use `model.PianoNet` itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from classifiers.model import PianoNet, relative_level
from classifiers.on_cpu import rounded

REACH_STEPS = 2  # on either side, by which sound changes a step of the trunk: 1 + 1/2 + 1/4 + ... for its layers
NUM_EXACT = 2  # layers, the smallest ones, that stay in float32
FRAMES_PLANNED = 3200  # for which oneDNN packs weights: a chunk; other lengths are as exact


class FoldedNet:
    """The network's steps, from one chunk of frames at a time."""

    def __init__(self, model: PianoNet, with_integers: bool = True):
        """`with_integers`: round the larger layers (`rounded`) where this machine can and a trial is right."""
        self.config = model.config
        blocks = _blocks_of(model)
        shape = [1, 1, FRAMES_PLANNED, model.config.num_mels]
        layers: list[_Layer] = []
        for block in blocks:
            layers.append(_Layer(block, shape))
            shape = layers[-1].shape_after(shape)
        self._layers: list[Callable[[Tensor], Tensor]] = [*layers]
        if with_integers and rounded.is_possible() and not any(layer.is_turned for layer in layers):
            self._layers = _with_integers(layers, [block[-2] for block in blocks])
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

    def __init__(self, block: list[Any], shape: list[int]):
        """`shape` is that of the maps that it is planned for."""
        convolution, norm = block[0], block[-2]
        self.has_pool = isinstance(block[1], nn.MaxPool2d)
        weight, self.bias = _folded(convolution, norm)
        self.weight = weight.contiguous(memory_format=torch.channels_last)
        self.stride, self.padding = list(convolution.stride), list(convolution.padding)
        self._planned, self._plain = shape, nn.Sequential(*block)
        # a pool takes the largest: a norm that turns values round cannot go before it
        self.is_turned = self.has_pool and bool((norm.weight < 0).any())
        self._packed = _packed(self.weight, self.padding, self.stride, shape)

    def shape_after(self, shape: list[int]) -> list[int]:
        shrinks = 2 if self.has_pool else self.stride[0]
        return [1, len(self.weight), shape[2] // shrinks, shape[3] // shrinks]

    def __call__(self, maps: Tensor) -> Tensor:
        if self.is_turned:
            return self._plain(maps)
        if self._packed is None:
            out = functional.relu(functional.conv2d(maps, self.weight, self.bias, self.stride, self.padding))
        else:
            after: tuple[str, list[float], str] = ("relu", [], "")
            out = torch.ops.mkldnn._convolution_pointwise(
                maps, self._packed, self.bias, self.padding, self.stride, [1, 1], 1, *after
            )
        return functional.max_pool2d(out, 2) if self.has_pool else out

    def rounded(self, scales: Tensor, out_scales: Tensor | None) -> rounded.RoundedLayer:
        return rounded.RoundedLayer(self, scales, out_scales, self._planned)


def _with_integers(layers: list[_Layer], norms: list[Any]) -> list[Callable[[Tensor], Tensor]]:
    """Give the layers, those after the first `NUM_EXACT` in integers; all as they are where a trial is wrong."""
    with torch.inference_mode():
        scales = [rounded.scales_of(norm) for norm in norms[:-1]]
        of_output: list[Tensor | None] = [*scales[NUM_EXACT:], None]
        sides = zip(layers[NUM_EXACT:], scales[NUM_EXACT - 1 :], of_output, strict=True)
        try:
            found = [layer.rounded(of_input, after) for layer, of_input, after in sides]
        except (RuntimeError, NotImplementedError, TypeError):  # a torch with another operator of this name
            return [*layers]
        if not all(layer.is_right() for layer in found):
            return [*layers]
        return [*layers[:NUM_EXACT], rounded.Rounding(scales[NUM_EXACT - 1]), *found]


def _packed(weight: Tensor, padding: list[int], stride: list[int], shape: list[int]) -> Any:
    """Give weights in oneDNN's own order; None where this torch has no such operator."""
    if not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_convolution_pointwise")):
        return None
    return torch.ops.mkldnn._reorder_convolution_weight(weight, padding, stride, [1, 1], 1, shape)
