"""One decoding of a whole file for all who need its samples: its description, mono blocks, what a listener makes.

What it gives is, to the bit, what `decode.inspect` and `decode.mono_blocks` give, which decode the file once each.
"""

from __future__ import annotations

import importlib
import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aria_data.audio.decode import AudioFacts, Description, Resampled, inspect, mono_blocks
from aria_data.audio.decoded import info_of
from aria_data.audio.downmix import Downmix
from aria_data.audio.frames import Tally, converted
from aria_data.audio.opening import opened
from aria_data.storage import local_audio, open_root
from aria_data.storage.files import from_location


class WholeFile:
    """A file that is decoded once. Iterate over it, then take `facts`, what `inspect` would give."""

    def __init__(self, path: Path, sample_rate: int, max_duration_s: float = math.inf, is_described: bool = True):
        self.path, self.sample_rate, self.max_duration_s = path, sample_rate, max_duration_s
        self.is_described = is_described
        self.facts: AudioFacts | None = None

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield mono float32 blocks of shape (num_samples,). Raises as `inspect` does, and as soon."""
        return self._described() if self.is_described else mono_blocks(self.path, self.sample_rate)

    def _described(self) -> Iterator[np.ndarray]:
        with opened(self.path) as file:
            context = file.stream.codec_context
            description = Description(self.path, info_of(file), Tally.of(file), self.max_duration_s)
            mix = Downmix([each.name for each in context.layout.channels], context.layout.name, 1)
            resampled = Resampled(context.sample_rate, self.sample_rate, 1)
            tallies = {"s16": description.tally, "flt": Tally.of(file)}
            for name, block in converted(description.tally, tallies):
                if name == "s16":
                    description.add(block)
                else:
                    yield from (out[:, 0] for out in resampled.add(mix(block)))
            yield from (out[:, 0] for out in resampled.finish())
            self.facts = description.finish()


@dataclass(frozen=True, slots=True)
class Order:
    """What is wanted of a file's sound, in plain values: it is sent to another process, maybe on another machine."""

    location: str  # a file:// address, or a path below the dataset folder
    sample_rate: int
    max_duration_s: float = math.inf
    is_described: bool = True  # `Answer.facts`
    is_sent: bool = True  # its blocks of samples
    listener: str = ""  # a function of the blocks, as "module:function"


@dataclass(frozen=True, slots=True)
class Answer:
    """What is known of a file when it was decoded."""

    facts: AudioFacts | None
    heard: Any  # what the listener gave


def decode_whole(send: Callable[[np.ndarray], None], dataset_root: str, order: Order) -> Answer:
    """Decode a file once, to its end. `send` gets its blocks of samples, if they are wanted."""
    path = local_audio(from_location(order.location, open_root(dataset_root)))
    if not order.is_sent and not order.listener:
        return Answer(inspect(path, order.max_duration_s) if order.is_described else None, None)
    whole = WholeFile(path, order.sample_rate, order.max_duration_s, order.is_described)

    def blocks() -> Iterator[np.ndarray]:
        for block in whole:
            if order.is_sent:
                send(block)
            yield block

    heard = named(order.listener)(blocks()) if order.listener else deque(blocks(), 0) and None
    return Answer(whole.facts, heard)


def named(function: str) -> Callable[..., Any]:
    """Give the function that is named as "module:function"."""
    module, _, name = function.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found
