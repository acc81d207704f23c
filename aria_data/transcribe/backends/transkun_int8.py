"""Transkun's linear layers in 8-bit integers, for processors that multiply those fast and bfloat16 not.

Weights are quantised when the model is loaded, a scale an output. What a layer reads is quantised with scales that do
not depend on the audio: `transkun_ranges.npz` holds the lowest, highest and mean value of every input channel, measured
on rendered piano by `benchmarks/int8_ranges.py`. Channels differ twentyfold and are not centred, so each is shifted to
the middle of its range, and part of its scale moves into the weights (SmoothQuant, Xiao et al. 2023). What rounding the
weights does to a mean input is added back. Products are oneDNN's; normalising and rounding are one pass in numba.
Layers that read the pedals' tokens, and keys and values, are not rounded (`transkun_network`): by them ends of notes
were lost.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np

RANGES = Path(__file__).with_name("transkun_ranges.npz")
LARGEST_WEIGHT = 127
LARGEST_PAIR = 140  # of two neighbours of one sign: AVX2 adds their products in 16 bits, which hold 140 * 234
CENTRE = 128  # stands for 0 among the 256 values of an input
SHARE_OF_INPUT = 0.7  # of a channel's range; the rest moves into the weights. Measured: 0.3, 0.5, 0.7, 0.85
MARGIN = 1.1  # of a range that was measured; what lies outside is cut off
GELU_SHARE = 0.8  # of the largest value measured after GELU; few values reach it
LOWEST_GELU = 0.17  # GELU gives nothing below -0.17
EPSILON = 1e-6  # of the normalisation (transkun)


def ranges_of(sha256: str) -> dict[str, np.ndarray] | None:
    """Give the measured ranges, by layer; None for other weights than those they were measured with."""
    if not RANGES.exists():
        return None
    with np.load(RANGES) as held:
        return dict(held) if str(held["weights"]) == sha256 else None


class Product:
    """A product with quantised weights. Inputs are uint8 with one scale, which is 1 where weights hold the scales."""

    def __init__(self, weight: Any, bias: Any):
        import torch

        weight = weight.detach().float().contiguous()
        self._scales = steps_of(weight)
        rounded = torch.round(weight / self._scales[:, None]).to(torch.int8)
        self._packed = torch.ops.onednn.qlinear_prepack(rounded, None)
        self._zeros = torch.zeros(len(weight), dtype=torch.int32)
        self._bias = bias.detach().float().contiguous()
        self.error = weight - rounded * self._scales[:, None]  # of each weight, once rounded
        self._float32, self._uint8 = torch.float32, torch.uint8
        self._plain, self._onto = torch.ops.onednn.qlinear_pointwise, torch.ops.onednn.qlinear_pointwise.binary

    def correct(self, mean: Any) -> None:
        """Add back what rounding takes from the output for a mean input."""
        self._bias = self._bias + self.error @ mean
        del self.error

    def _weights(self, values: Any, scale: float, centre: int) -> tuple[Any, ...]:
        return values, scale, centre, self._packed, self._scales, self._zeros

    def __call__(self, values: Any) -> Any:
        """Give float32."""
        weights = self._weights(values, 1.0, CENTRE)
        return self._plain(*weights, self._bias, 1.0, 0, self._float32, "none", [], "")

    def gelu(self, values: Any, scale: float, centre: int) -> Any:
        """Give GELU of the product as uint8 of this scale, `centre` for 0."""
        weights = self._weights(values, 1.0, CENTRE)
        return self._plain(*weights, self._bias, scale, centre, self._uint8, "gelu", [], "none")

    def add_to(self, stream: Any, values: Any, scale: float = 1.0, centre: int = CENTRE) -> Any:
        """Add the product to `stream`, float32, in place."""
        weights = self._weights(values, scale, centre)
        sums: tuple[Any, ...] = (1.0, 0, self._float32, 1.0, 0, "sum", 1.0, "none", [], "")
        return self._onto(*weights, stream, self._bias, *sums)


def steps_of(weight: Any) -> Any:
    """Give the size of a step, an output: as small as 127 steps allow, and sums of two products in 16 bits."""
    import torch

    pairs = weight.unflatten(1, (-1, 2))
    largest_pair = torch.maximum(pairs.clamp(min=0).sum(2), -pairs.clamp(max=0).sum(2)).amax(1)
    largest = weight.abs().amax(1)
    return torch.maximum(largest / LARGEST_WEIGHT, largest_pair / LARGEST_PAIR).clamp(min=1e-12)


class Linear:
    """A linear layer that quantises what it reads, after normalising it where `normalise` says so."""

    def __init__(self, weight: Any, bias: Any, seen: np.ndarray, normalise: bool = False):
        """`seen` is (3, inputs): the lowest, highest and mean value of each."""
        import torch

        weight = weight.detach().float()
        lowest, highest, mean = torch.from_numpy(seen).float()
        middle, reach = (highest + lowest) / 2, ((highest - lowest) / 2).clamp(min=1e-4) * MARGIN
        scale = reach**SHARE_OF_INPUT / weight.abs().amax(0).clamp(min=1e-5) ** (1 - SHARE_OF_INPUT)
        scale *= (reach / scale).max() / (CENTRE - 1)
        self._factor, self._shift = (1.0 / scale).numpy(), (CENTRE + 0.5 - middle / scale).numpy()
        self._round = _compiled()[normalise]
        at_middle = weight @ middle
        self.product = Product(weight * scale, at_middle if bias is None else at_middle + bias.detach())
        self.product.correct((mean - middle) / scale)

    def quantised(self, values: Any) -> Any:
        import torch

        out = torch.empty(values.shape, dtype=torch.uint8)
        width = values.shape[-1]
        rows = values.reshape(-1, width).numpy()
        self._round(rows, self._factor, self._shift, out.view(-1, width).numpy())
        return out

    def __call__(self, values: Any) -> Any:
        """Float32 to float32."""
        return self.product(self.quantised(values))

    def add_to(self, stream: Any, values: Any) -> Any:
        """Add the layer's output to `stream`, in place."""
        return self.product.add_to(stream, self.quantised(values))


class FeedForward:
    """Two linear layers with GELU between them, added to the stream. Between them is only uint8."""

    def __init__(self, first: tuple[Any, Any], second: tuple[Any, Any], seen: np.ndarray, after_gelu: np.ndarray):
        import torch

        self._first, self._second = Linear(*first, seen, normalise=True), Product(*second)
        self._second.correct(torch.from_numpy(after_gelu[2]).float())
        self._scale = float(after_gelu[1].max() * GELU_SHARE + LOWEST_GELU) / 255
        self._centre = round(LOWEST_GELU / self._scale)

    def add_to(self, stream: Any) -> Any:
        """Add to `stream`, float32, in place."""
        hidden = self._first.product.gelu(self._first.quantised(stream), self._scale, self._centre)
        return self._second.add_to(stream, hidden, self._scale, self._centre)


@functools.cache
def _compiled() -> tuple[Any, ...]:
    """Give the two ways to round: as they are, and normalised first."""
    import numba

    options: dict[str, Any] = {
        "nogil": True,
        "error_model": "numpy",
    }  # division by 0 is no error: audio may hold anything
    options["fastmath"] = {"reassoc", "contract", "arcp", "nsz", "nnan", "ninf"}  # the score says whether it is finite
    try:
        return tuple(numba.njit(cache=True, **options)(way) for way in (_round, _round_normalised))
    except RuntimeError:  # no folder where compiled code may be kept
        return tuple(numba.njit(**options)(way) for way in (_round, _round_normalised))


def _round(values, factor, shift, out):
    """Round float32 rows to uint8, each channel with its own factor and shift."""
    for row in range(values.shape[0]):
        for place in range(values.shape[1]):
            value = values[row, place] * factor[place] + shift[place]
            out[row, place] = np.uint8(np.int32(min(max(value, np.float32(0)), np.float32(255))))


def _round_normalised(values, factor, shift, out):
    """As `_round`, of rows divided by the root of their mean square."""
    num_rows, width = values.shape
    for row in range(num_rows):
        squares = np.float32(0)
        for place in range(width):
            squares += values[row, place] * values[row, place]
        level = np.float32(1) / np.sqrt(squares / np.float32(width) + np.float32(EPSILON))
        for place in range(width):
            value = values[row, place] * level * factor[place] + shift[place]
            out[row, place] = np.uint8(np.int32(min(max(value, np.float32(0)), np.float32(255))))
