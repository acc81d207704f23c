"""Linear layers of transkun's network, in the kind of number that is wanted; integers are in `transkun_int8`."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from aria_data.transcribe.backends import transkun_int8


def passes_of(device: Any) -> Any:
    """The module of compiled passes, on a CPU; None elsewhere."""
    if device.type != "cpu":
        return None
    from aria_data.transcribe.backends import transkun_passes

    return transkun_passes


@dataclass(frozen=True)
class Layers:
    """Makes linear layers in the kind of number that is wanted: `dtype`, or integers where there are `ranges`."""

    device: Any
    dtype: Any
    ranges: Mapping[str, Any] | None = None
    prefix: str = ""  # of the names of layers in `ranges`

    @property
    def is_rounded(self) -> bool:
        return self.ranges is not None

    @property
    def exact(self) -> Layers:
        """The same without integers."""
        return replace(self, ranges=None)

    def within(self, name: str) -> Layers:
        return replace(self, prefix=self.prefix + name)

    def linear(self, name: str, weight: Any, bias: Any, normalise: bool = False) -> Any:
        if self.ranges is not None:
            return transkun_int8.Linear(weight, bias, self.ranges[self.prefix + name], normalise)
        return Linear(weight, bias, self.device, self.dtype, normalise)

    def feed_forward(self, first: tuple[Any, Any], second: tuple[Any, Any]) -> Any:
        if self.ranges is not None:
            largest = self.ranges[self.prefix + "first"], self.ranges[self.prefix + "second"]
            return transkun_int8.FeedForward(first, second, *largest)
        return FeedForward(
            Linear(*first, self.device, self.dtype, normalise=True, gelu=True),
            Linear(*second, self.device, self.dtype),
        )


@dataclass(frozen=True)
class FeedForward:
    """Two linear layers, added to the stream."""

    first: Linear
    second: Linear

    def add_to(self, stream: Any) -> Any:
        return self.second.add_to(stream, self.first(stream))


class Linear:
    """A linear layer in one dtype, on request with its input normalised and with GELU after it.

    In bfloat16 on a CPU it uses oneDNN with packed weights, as torch's own compiler does: bias and GELU cost no pass
    of their own. Where this torch has no such operator, it uses torch's plain functions.
    """

    def __init__(self, weight: Any, bias: Any, device: Any, dtype: Any, normalise: bool = False, gelu: bool = False):
        import torch

        self.weight = weight.detach().to(device, dtype).contiguous()
        self.bias = None if bias is None else bias.detach().to(device, dtype)
        self.dtype, self.normalise, self.gelu = dtype, normalise, gelu
        self._passes = passes_of(device)
        self._packed = None
        if device.type == "cpu" and dtype == torch.bfloat16 and hasattr(torch.ops.mkldnn, "_linear_pointwise"):
            with suppress(RuntimeError):
                self._packed = torch.ops.mkldnn._reorder_linear_weight(self.weight, 1024)

    def __call__(self, values: Any) -> Any:
        import torch

        if self.normalise and self._passes is not None:
            values = self._passes.normalised(values, self.dtype)
        elif self.normalise:
            values = torch.nn.functional.rms_norm(values, values.shape[-1:], eps=1e-6)
        values = values.to(self.dtype)
        if self._packed is not None:
            after: tuple[str, list[float], str] = ("gelu", [], "none") if self.gelu else ("none", [], "")
            return torch.ops.mkldnn._linear_pointwise(values, self._packed, self.bias, *after)
        out = torch.nn.functional.linear(values, self.weight, self.bias)
        return torch.nn.functional.gelu(out) if self.gelu else out

    def add_to(self, stream: Any, values: Any) -> Any:
        """Add the layer's output to `stream`, in place."""
        added = self(values)
        if self._passes is not None and added.dtype != stream.dtype:
            return self._passes.add(stream, added)
        return stream.add_(added)
