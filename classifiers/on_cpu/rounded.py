"""The larger convolutions of `folded` in 8-bit integers, for x86 processors, where they take half of the time.

Weights are rounded to 221 steps, a scale an output channel. Values between two layers are uint8, a scale a channel:
what reaches `NUM_DEVIATIONS` of the channel's norm above its mean is 255, so no audio is needed to find the scales, and
scores do not depend on other audio. Each layer's input scales are multiplied into its weights, its output scales
divide them. Products are oneDNN's.
"""

from __future__ import annotations

import platform
from typing import Any

import torch
from torch import Tensor

PROCESSORS = ("x86_64", "AMD64")
LARGEST_WEIGHT = 110  # not 127: AVX2 adds two products in 16 bits, which then hold all but rare pairs of extremes
LARGEST_VALUE = 255
NUM_DEVIATIONS = 6.0  # of a channel's norm; larger values are cut off
MIN_TOP = 1e-3  # of a channel that is never heard
MAX_ERROR = 0.05  # of a layer that is tried; 0.01 is usual


def is_possible() -> bool:
    """Whether this processor and this torch may have such convolutions; `RoundedLayer.is_right` tries one."""
    has_operator = torch.backends.mkldnn.is_available() and hasattr(torch.ops.onednn, "qconv2d_pointwise")
    return has_operator and platform.machine() in PROCESSORS


def scales_of(norm: Any) -> Tensor:
    """Give what one step of uint8 is worth in each channel after a norm and ReLU."""
    return (norm.bias + NUM_DEVIATIONS * norm.weight).detach().clamp(min=MIN_TOP) / LARGEST_VALUE


class Rounding:
    """Float32 maps (1, channels, height, width) to uint8."""

    def __init__(self, scales: Tensor):
        self._factors = (1.0 / scales).view(1, -1, 1, 1).contiguous(memory_format=torch.channels_last)

    def __call__(self, maps: Tensor) -> Tensor:
        return torch.round(maps * self._factors).clamp_(max=LARGEST_VALUE).to(torch.uint8)


class RoundedLayer:
    """A convolution with its norm and ReLU, and perhaps a pool after it. Uint8 maps to uint8, or to float32."""

    def __init__(self, layer: Any, scales: Tensor, out_scales: Tensor | None, shape: list[int]):
        """`layer` is one of `folded`, `shape` that of the maps planned for.

        `scales` are those of its input, `out_scales` of its output, None for float32.
        """
        weight, bias = layer.weight * scales.view(1, -1, 1, 1), layer.bias
        if out_scales is not None:
            weight, bias = weight / out_scales.view(-1, 1, 1, 1), bias / out_scales
        self._steps = weight.abs().amax((1, 2, 3)).clamp(min=1e-12) / LARGEST_WEIGHT
        rounded = torch.round(weight / self._steps.view(-1, 1, 1, 1)).to(torch.int8)
        self._stride, self._padding, self._has_pool = layer.stride, layer.padding, layer.has_pool
        places = self._stride, self._padding, [1, 1], 1
        self._packed = torch.ops.onednn.qconv_prepack(rounded, self._steps, 1.0, 0, *places, shape)
        self._zeros, self._bias = torch.zeros(len(weight), dtype=torch.int32), bias.contiguous()
        self._dtype = torch.float32 if out_scales is None else torch.uint8
        self._scales, self._out_scales, self._layer = scales, out_scales, layer

    def __call__(self, maps: Tensor) -> Tensor:
        weights = 1.0, 0, self._packed, self._steps, self._zeros, self._bias
        places = self._stride, self._padding, [1, 1], 1
        out = torch.ops.onednn.qconv2d_pointwise(maps, *weights, *places, 1.0, 0, self._dtype, "relu", [], "")
        return _pooled(out) if self._has_pool else out

    def is_right(self) -> bool:
        """Try the layer on noise. False where its result is not that of float32, or this torch cannot compute it."""
        generator = torch.Generator().manual_seed(0)
        shape = 1, len(self._scales), 8, max(8, self._layer.weight.shape[3])
        maps = torch.randint(0, 64, shape, generator=generator).to(torch.uint8)
        maps = maps.contiguous(memory_format=torch.channels_last)
        try:
            found = self(maps).float()
        except (RuntimeError, NotImplementedError, TypeError):
            return False
        if self._out_scales is not None:
            found = found * self._out_scales.view(1, -1, 1, 1)
        exact = self._layer((maps * self._scales.view(1, -1, 1, 1)).contiguous(memory_format=torch.channels_last))
        if self._out_scales is not None:
            exact = torch.minimum(exact, LARGEST_VALUE * self._out_scales.view(1, -1, 1, 1))
        return bool((found - exact).norm() <= MAX_ERROR * exact.norm())


def _pooled(maps: Tensor) -> Tensor:
    """The largest of 2 x 2: torch has no such pool for uint8."""
    height, width = maps.shape[2] // 2 * 2, maps.shape[3] // 2 * 2
    values = maps.permute(0, 2, 3, 1)[:, :height, :width]  # channels last, as they lie
    rows = torch.maximum(values[:, 0::2], values[:, 1::2])
    return torch.maximum(rows[:, :, 0::2], rows[:, :, 1::2]).permute(0, 3, 1, 2)
