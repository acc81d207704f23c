"""What lies between the products of transkun's network on a CPU, each in one pass over memory, compiled by numba.

torch normalises in five passes and adds bfloat16 to float32 in two; its attention in bfloat16 spends more on the
exponentials and on many small products than on arithmetic. numba has no bfloat16: here it is the upper half of a
float32, in uint16.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import extending, types

EPSILON = 1e-6  # of the normalisation (transkun)
OUT_OF_REACH = -1e30  # a logit that gets no weight
FLAGS = {"reassoc", "contract", "arcp", "nsz"}  # not nnan, ninf: audio may hold anything, and the score says so
intrinsic: Any = extending.intrinsic  # its types hold the context, which callers do not give
_INT32, _FLOAT = ir.IntType(32), ir.FloatType()


@intrinsic
def _from_bfloat16(context: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(builder.shl(builder.zext(arguments[0], _INT32), ir.Constant(_INT32, 16)), _FLOAT)

    return types.float32(types.uint16), generate


@intrinsic
def _to_bfloat16(context: Any, value: Any) -> Any:
    """Round to the nearest, halves to even. What is no number may become another one that is none, or an infinity."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bits, sixteen = builder.bitcast(arguments[0], _INT32), ir.Constant(_INT32, 16)
        is_odd = builder.and_(builder.lshr(bits, sixteen), ir.Constant(_INT32, 1))
        raised = builder.add(builder.add(bits, ir.Constant(_INT32, 0x7FFF)), is_odd)
        return builder.trunc(builder.lshr(raised, sixteen), ir.IntType(16))

    return types.uint16(types.float32), generate


@intrinsic
def _times_power_of_2(context: Any, value: Any, power: Any) -> Any:
    """`value * 2**power` for a whole power above -127."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        biased = builder.add(builder.fptosi(arguments[1], _INT32), ir.Constant(_INT32, 127))
        scale = builder.bitcast(builder.shl(biased, ir.Constant(_INT32, 23)), _FLOAT)
        return builder.fmul(arguments[0], scale)

    return types.float32(types.float32, types.float32), generate


@intrinsic
def _larger(context: Any, left: Any, right: Any) -> Any:
    """The larger one, so that LLVM computes many at once, which it does not with Python's `max`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        is_larger = builder.fcmp_ordered(">", *arguments, flags=("fast",))
        return builder.select(is_larger, *arguments, flags=("fast",))

    return types.float32(types.float32, types.float32), generate


def _compiled(function: Callable[..., None]) -> Any:
    try:
        return numba.njit(cache=True, nogil=True, fastmath=FLAGS)(function)
    except RuntimeError:  # no folder where compiled code may be kept: compile again in every process
        return numba.njit(nogil=True, fastmath=FLAGS)(function)


@numba.njit(inline="always", fastmath=FLAGS)
def _power_of_2(value):
    """2**value to 2e-7; below 2**-126 it stays there."""
    value = _larger(value, np.float32(-126.0))
    whole = np.floor(value)
    rest = value - whole
    found = np.float32(1.8775767e-3)  # a polynomial of degree 5, least largest error from 0 to 1
    found = found * rest + np.float32(8.9893397e-3)
    found = found * rest + np.float32(5.5826318e-2)
    found = found * rest + np.float32(2.4015361e-1)
    found = found * rest + np.float32(6.9315308e-1)
    found = found * rest + np.float32(9.9999994e-1)
    return _times_power_of_2(found, whole)


@_compiled
def _normalise(values, out):
    num_rows, width = values.shape
    for row in range(num_rows):
        squares = np.float32(0)
        for place in range(width):
            squares += values[row, place] * values[row, place]
        level = np.float32(1) / np.sqrt(squares / np.float32(width) + np.float32(EPSILON))
        for place in range(width):
            out[row, place] = values[row, place] * level


@_compiled
def _normalise_to_bfloat16(values, out):
    num_rows, width = values.shape
    for row in range(num_rows):
        squares = np.float32(0)
        for place in range(width):
            squares += values[row, place] * values[row, place]
        level = np.float32(1) / np.sqrt(squares / np.float32(width) + np.float32(EPSILON))
        for place in range(width):
            out[row, place] = _to_bfloat16(values[row, place] * level)


@_compiled
def _add_bfloat16(stream, values):
    num_rows, width = stream.shape
    for row in range(num_rows):
        for place in range(width):
            stream[row, place] += _from_bfloat16(values[row, place])


@_compiled
def _weigh(logits, reach, scale, shares):
    """Logits (rows, keys) become weights from 0 to 1, not divided by their sum; `shares` gets one part of each sum.

    `reach` is added to what two is raised to: minus infinity hides a key.
    """
    num_rows, num_padded = logits.shape
    factor = np.float32(scale * 1.4426950408889634)  # exp(x) is 2**(x log2 e)
    held = np.empty(num_padded, np.float32)
    for row in range(num_rows):
        line = logits[row]
        top = np.float32(OUT_OF_REACH)
        for place in range(num_padded):
            value = _from_bfloat16(line[place]) * factor + reach[place]
            held[place] = value
            top = _larger(top, value)
        total = np.float32(0)
        for place in range(num_padded):
            weight = _power_of_2(held[place] - top)
            line[place] = _to_bfloat16(weight)
            total += weight
        shares[row] = np.float32(1) / total


@_compiled
def _gather(fetched, shares, num_heads, out):
    """Of each head (rows * heads, queries, width / heads), times its queries' shares, to (rows, queries, width)."""
    num_rows, num_queries, width = out.shape
    each = width // num_heads
    for row in range(num_rows):
        for head in range(num_heads):
            of_head = row * num_heads + head
            for query in range(num_queries):
                share = shares[of_head * num_queries + query]
                for place in range(each):
                    value = _from_bfloat16(fetched[of_head, query, place]) * share
                    out[row, query, head * each + place] = _to_bfloat16(value)


def normalised(values: Any, dtype: Any) -> Any:
    """Divide float32 `values` (.., width) by the root of their mean square. Gives float32 or bfloat16."""
    import torch

    out = torch.empty(values.shape, dtype=dtype)
    rows = values.reshape(-1, values.shape[-1]).numpy()
    if dtype == torch.bfloat16:
        _normalise_to_bfloat16(rows, _bits(out, rows.shape))
    else:
        _normalise(rows, out.view(rows.shape).numpy())
    return out


def add(stream: Any, values: Any) -> Any:
    """Add bfloat16 `values` to float32 `stream`, in place."""
    shape = math.prod(stream.shape[:-1]), stream.shape[-1]
    _add_bfloat16(stream.view(shape).numpy(), _bits(values, shape))
    return stream


def attention(query: Any, keys_values: Any, num_keys: int, num_heads: int, counts: Any = None) -> Any:
    """Attend in bfloat16: queries (rows, places, width), keys and values (rows, keys, 2 width); gives (rows, places,
    width). Keys from `num_keys` on get no weight; others as if they were there `counts` times (tensor, once if None).
    Logits and weights are rounded to bfloat16, sums are not."""
    import torch

    rows, num_queries, width = query.shape
    num_padded = keys_values.shape[1]
    each = width // num_heads

    def of_heads(side: Any) -> Any:
        return side.unflatten(-1, (num_heads, each)).transpose(1, 2).reshape(rows * num_heads, -1, each)

    key, value = (of_heads(side) for side in keys_values.chunk(2, dim=-1))
    logits = torch.bmm(of_heads(query), key.transpose(1, 2))
    shares = np.empty(rows * num_heads * num_queries, np.float32)
    reach = np.zeros(num_padded, np.float32)
    if counts is not None:
        reach[:num_keys] = counts.log2().numpy()
    reach[num_keys:] = OUT_OF_REACH
    _weigh(_bits(logits, (len(shares), num_padded)), reach, each**-0.5, shares)
    out = torch.empty_like(query)
    fetched = torch.bmm(logits, value)
    _gather(_bits(fetched, fetched.shape), shares, num_heads, _bits(out, out.shape))
    return out


def _bits(values: Any, shape: tuple[int, ...]) -> np.ndarray:
    """The memory of a bfloat16 tensor as numba takes it."""
    import torch

    return values.view(shape).view(torch.uint16).numpy()
