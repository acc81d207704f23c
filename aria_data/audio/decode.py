"""Audio files as streams of samples: what a file announces, what it holds, and spans of it.

Everything is read through PyAV (FFmpeg's libraries; no program needed) in blocks of shape (num_samples, num_channels).
Blocks are not kept, so a ten-hour file needs no more memory than a short one.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from aria_data.audio.decoded import AudioInfo, Decoded, decoded_of, info_of
from aria_data.audio.downmix import Downmix
from aria_data.audio.frames import Tally, blocks_of
from aria_data.audio.integrity import IntegrityLimits, require_whole
from aria_data.audio.opening import opened
from aria_data.errors import AudioUnreadable
from aria_data.storage import printable

LOOK_S = 30  # seconds of a span from which its rate is chosen
FLOOR_DB = -120.0  # the level of silence


@dataclass(frozen=True, slots=True)
class AudioFacts(Decoded):
    """What a file holds, and what its samples are."""

    samples_sha256: str  # of the samples as 16-bit integers at the file's own rate and channels
    loudness_db: float  # root mean square over all samples and channels
    peak_db: float


def probe(path: Path) -> AudioInfo:
    """Read a file's header and tags. Raises `AudioUnreadable` for a file that cannot be opened as audio."""
    with opened(path) as file:
        return info_of(file)


def inspect(path: Path, max_duration_s: float = math.inf) -> AudioFacts:
    """Decode a file to its end and describe its samples. A file that is cut short or damaged is described, too.

    Raises `AudioUnreadable` for a file that cannot be opened as audio, when nothing decodes (`no_audio_decoded`), and
    as soon as it is longer than `max_duration_s` (`too_long`).
    """
    with opened(path) as file:
        description = Description(path, info_of(file), Tally.of(file), max_duration_s)
        for block in blocks_of(description.tally, "s16"):
            description.add(block)
        return description.finish()


class Description:
    """Describes samples, given as blocks of 16-bit integers at the file's own rate and channels. See `inspect`."""

    def __init__(self, path: Path, info: AudioInfo, tally: Tally, max_duration_s: float = math.inf):
        self.path, self.info, self.tally, self.max_duration_s = path, info, tally, max_duration_s
        self._digest = hashlib.sha256()
        self._square_sum, self._peak = 0.0, 0

    def add(self, block: np.ndarray) -> None:
        """Take the next block. Raises `AudioUnreadable` when the file is longer than allowed."""
        self._digest.update(block.tobytes())
        wide = block.astype(np.int32)
        self._square_sum += float(np.einsum("ij,ij->", wide, wide, dtype=np.float64))
        self._peak = max(self._peak, int(np.abs(wide).max(initial=0)))
        num_samples, sample_rate = self.tally.num_samples, self.info.sample_rate
        if num_samples > self.max_duration_s * sample_rate:
            raise AudioUnreadable(
                f"{printable(self.path.name)}: lasts longer than {self.max_duration_s:.0f} s, the longest allowed. "
                "Cut it, or raise ingest.max_duration_s.",
                reason="too_long",
                measured=num_samples / sample_rate,
            )

    def finish(self) -> AudioFacts:
        """Sum up, while the file is still open. Raises `AudioUnreadable` where nothing was decoded."""
        found = decoded_of(self.tally, self.info)
        if found.num_samples == 0:
            raise AudioUnreadable(
                f"{printable(self.path.name)}: holds no audio that decodes. Get the file again.",
                reason="no_audio_decoded",
            )
        mean_square = self._square_sum / (found.num_samples * self.info.num_channels)
        return AudioFacts(
            **{name: getattr(found, name) for name in Decoded.__dataclass_fields__},
            samples_sha256=self._digest.hexdigest(),
            loudness_db=to_db(math.sqrt(mean_square) / 32768),
            peak_db=to_db(self._peak / 32768),
        )


def to_db(amplitude: float) -> float:
    """Convert an amplitude (1 = full scale) to decibels, at least -120 dB."""
    return max(FLOOR_DB, 20 * math.log10(amplitude)) if amplitude > 0 else FLOOR_DB


class Resampled:
    """Resamples blocks of shape (num_samples, num_channels), in order; at an equal rate they stay as they are."""

    def __init__(self, from_rate: int, to_rate: int, num_channels: int):
        import soxr

        self._num_channels = num_channels
        self._stream: Any = None
        if from_rate != to_rate:
            self._stream = soxr.ResampleStream(from_rate, to_rate, num_channels, dtype="float32")

    def add(self, block: np.ndarray) -> Iterator[np.ndarray]:
        """Take the next block; yield what is ready."""
        if self._stream is None:
            yield block
            return
        yield from self._filled(self._stream.resample_chunk(block))

    def finish(self) -> Iterator[np.ndarray]:
        """Yield the rest."""
        if self._stream is not None:
            nothing = np.zeros((0, self._num_channels), np.float32)
            yield from self._filled(self._stream.resample_chunk(nothing, last=True))

    def _filled(self, out: np.ndarray) -> Iterator[np.ndarray]:
        if len(out):
            yield out.reshape(-1, self._num_channels)


class Listener(Protocol):
    """What hears a span while it is read for something else: mono blocks of shape (num_samples, 1)."""

    sample_rate: int

    def add(self, block: np.ndarray) -> None:
        """Take the next block."""
        ...

    def finish(self) -> Any:
        """Give what was found, as plain values."""
        ...


class AudioReader:
    """Reads spans of one file, in order, as float32 blocks at a fixed rate and channel count.

    Positions count samples from when the file begins, with silence where sound begins late or packets are missing, so
    a span read here is the span that the classifier scored, to the sample, and the one that a player plays. Ask for
    spans in ascending order: the file is then decoded once; going back opens it again. Reading raises
    `AudioUnreadable` for a file that cannot be opened as audio, `AudioUnreachable` for one that cannot be read. With
    `limits`, a reading that comes to the file's end raises `AudioUnreadable` there unless the file is whole.
    """

    def __init__(
        self,
        path: Path,
        sample_rate: int,
        num_channels: int,
        limits: IntegrityLimits | None = None,
        has_listener: bool = False,
    ):
        self.path, self.sample_rate, self.num_channels, self.limits = path, sample_rate, num_channels, limits
        self.has_listener = has_listener  # a mono mix is read beside the channels
        self.found: Decoded | None = None  # once the file's end was reached
        self._blocks: Iterator[np.ndarray] | None = None
        self._position = 0  # native samples handed out so far
        self._pending = np.zeros((0, num_channels + has_listener), np.float32)
        self._native_rate = 0

    def blocks(
        self,
        start_s: float = 0.0,
        end_s: float = math.inf,
        choose_rate: Callable[[np.ndarray, int], int] | None = None,
        listener: Listener | None = None,
    ) -> Iterator[np.ndarray]:
        """Yield `[start_s, end_s)` as blocks of shape (num_samples, num_channels), at most what the file holds.

        `choose_rate` gets about the first `LOOK_S` seconds of the span at the file's own rate, and that rate, and
        gives the rate to resample to in place of `sample_rate`. A `listener` gets what a mono reader at its rate would
        read of the span, where the reader `has_listener`.
        """
        native = self._native(start_s, end_s)
        if self.has_listener:
            native = self._listened(native, listener)
        held, num_held = [], 0
        for block in native:
            held.append(block)
            num_held += len(block)
            if choose_rate is None or num_held >= LOOK_S * self._native_rate:
                break
        if not held:
            return
        rate = choose_rate(np.concatenate(held), self._native_rate) if choose_rate else self.sample_rate
        resampled = Resampled(self._native_rate, rate, self.num_channels)
        for block in itertools.chain(held, native):
            yield from resampled.add(block)
        yield from resampled.finish()

    def _listened(self, native: Iterator[np.ndarray], listener: Listener | None) -> Iterator[np.ndarray]:
        """Give a listener its mix of each block; yield the channels."""
        resampled: Resampled | None = None
        for block in native:
            if listener is not None:
                resampled = resampled or Resampled(self._native_rate, listener.sample_rate, 1)
                for mono in resampled.add(np.ascontiguousarray(block[:, self.num_channels :])):
                    listener.add(mono)
            yield np.ascontiguousarray(block[:, : self.num_channels])
        if listener is not None and resampled is not None:
            for mono in resampled.finish():
                listener.add(mono)

    def _native(self, start_s: float, end_s: float) -> Iterator[np.ndarray]:
        if self._blocks is None or round(start_s * self._native_rate) < self._position:
            self.close()
            self._blocks = self._open_blocks()
            self._pending, self._position = next(self._blocks, self._pending[:0]), 0
        start = round(start_s * self._native_rate)
        end = math.inf if math.isinf(end_s) else round(end_s * self._native_rate)
        while self._position < end and self._refill():
            skip = max(0, min(len(self._pending), start - self._position))
            take = max(0, min(len(self._pending), int(min(end - self._position, len(self._pending)))) - skip)
            block = self._pending[skip : skip + take]
            self._position += skip + take
            self._pending = self._pending[skip + take :]
            if len(block):
                yield block  # the caller may stop here: the position is already right for the next span

    def _refill(self) -> bool:
        """Make sure that decoded samples are pending; False at the end of the file."""
        while not len(self._pending):
            block = next(self._blocks or iter(()), None)
            if block is None:
                return False
            self._pending = block
        return True

    def _open_blocks(self) -> Iterator[np.ndarray]:
        with opened(self.path) as file:
            context, tally = file.stream.codec_context, Tally.of(file)
            self._native_rate = context.sample_rate
            names, layout = [each.name for each in context.layout.channels], context.layout.name
            mix, mono = Downmix(names, layout, self.num_channels), Downmix(names, layout, 1)
            for block in blocks_of(tally, "flt"):
                yield np.concatenate([mix(block), mono(block)], axis=1) if self.has_listener else mix(block)
            if self.limits is not None:
                self.found = decoded_of(tally, info_of(file))
                require_whole(self.path.name, self.found, self.limits)

    def close(self) -> None:
        """Close the file. A later read opens it again."""
        if self._blocks is not None:
            self._blocks.close()  # type: ignore[attr-defined]
            self._blocks = None

    def __enter__(self) -> AudioReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def mono_blocks(
    path: Path, sample_rate: int, limits: IntegrityLimits | None = None, found: dict[Path, Decoded] | None = None
) -> Iterator[np.ndarray]:
    """Yield a whole file at `sample_rate` as mono blocks of shape (num_samples,). Raises as `AudioReader` does.

    With `limits`, `found` gets what the file holds when its end is reached.
    """
    with AudioReader(path, sample_rate, 1, limits) as reader:
        for block in reader.blocks():
            yield block[:, 0]
        if found is not None and reader.found is not None:
            found[path] = reader.found


class Readers:
    """An open `AudioReader` for each thread: a thread that asks for spans of one file in order decodes it once."""

    def __init__(self, sample_rate: int, num_channels: int):
        self._settings = sample_rate, num_channels
        self._of_thread: dict[int, AudioReader] = {}

    def of(self, path: Path) -> AudioReader:
        """Give this thread's reader of a file. The thread's reader of another file is closed."""
        number = threading.get_ident()
        reader = self._of_thread.get(number)
        if reader is None or reader.path != path:
            if reader is not None:
                reader.close()
            reader = self._of_thread[number] = AudioReader(path, *self._settings)
        return reader

    def __enter__(self) -> Readers:
        return self

    def __exit__(self, *_: object) -> None:
        for reader in self._of_thread.values():
            reader.close()
