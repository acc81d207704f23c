"""One decoding of a whole file for all who need its samples: its description, and mono blocks to listen to.

What it gives is, to the bit, what `decode.inspect` and `decode.mono_blocks` give, which decode the file once each.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from aria_data.audio.decode import AudioFacts, Description, Resampled, mono_blocks
from aria_data.audio.decoded import info_of
from aria_data.audio.downmix import Downmix
from aria_data.audio.frames import Tally, converted
from aria_data.audio.opening import opened


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
