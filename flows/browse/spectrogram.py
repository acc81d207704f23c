"""A picture of a recording's span: loudness by semitone, A0 to C8, and time. Of a long one, first a coarse one."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from aria_data.audio.decode import AudioReader
from aria_data.audio.opening import opened
from aria_data.errors import AriaDataError
from aria_data.storage import local_audio
from aria_data.storage.files import from_location

RATE = 8_000  # Hz: pictures show up to 4 kHz, the piano's highest fundamental
WIDTH, HEIGHT = 1600, 176  # pixels; two a semitone
LOWEST_PITCH, HIGHEST_PITCH = 21, 108
FLOOR_DB = -70.0  # of a picture, below its loudest point
WINDOW, MIN_HOP = 2048, 512  # samples
FRAMES_A_COLUMN = 4  # of a long span: more are not seen
COARSE_COLUMNS = 100  # of a coarse picture: each is a jump in the file, and a quarter of a second of it
SILENT_DB = 2 * FLOOR_DB
JUMPED = frozenset(("flac", "wav", "w64", "aiff", "ogg", "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"))  # to the sample
FAR_S = 30.0  # from the beginning: a shorter way is read
COLOURS = (  # of silence to the loudest: matplotlib's "magma" at 17 equal steps
    "000004 0a0822 1d1147 36106b 51127c 6a1c81 832681 9c2e7f b73779 cf4070 e55064 f4695c fb8761 fea571 fec287 fde0a1 "
    "fcfdbf"
).split()


def spectrogram_png(root: Path, location: str, start_s: float, end_s: float, is_coarse: bool = False) -> bytes:
    """Draw a span as a PNG of fixed size, time over its whole width. A column is the loudest of its frames.

    A coarse one reads short parts only; where the file does not allow that, all of it is read. Raises `AudioUnreadable`
    or `AudioUnreachable`.
    """
    path = local_audio(from_location(location, root))
    picture = _sampled(path, start_s, end_s) if is_coarse else None
    if picture is None and start_s > FAR_S:
        picture = _jumped(path, start_s, end_s)
    if picture is None:
        with AudioReader(path, RATE, 1) as reader:
            picture = _read((block[:, 0] for block in reader.blocks(start_s, end_s)), max(end_s - start_s, 1e-3))
    return _png(picture)


def _png(picture: np.ndarray) -> bytes:
    from PIL import Image

    is_empty = picture.max(axis=0) <= SILENT_DB
    for column in np.flatnonzero(is_empty)[np.flatnonzero(is_empty) > 0]:  # there are fewer frames than columns
        picture[:, column] = picture[:, column - 1]
    shown = np.clip((picture - picture.max()) / -FLOOR_DB + 1.0, 0.0, 1.0)
    image = Image.fromarray((shown[::-1] * 255).astype(np.uint8))
    image.putpalette(_palette())
    out = io.BytesIO()
    image.save(out, "png", compress_level=3)
    return out.getvalue()


@lru_cache(maxsize=1)
def _palette() -> bytes:
    """256 colours, each red, green, blue."""
    anchors = np.array([list(bytes.fromhex(colour)) for colour in COLOURS])
    places = np.linspace(0, 255, len(COLOURS))
    channels = [np.interp(np.arange(256), places, anchors[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=1).round().astype(np.uint8).tobytes()


def _read(blocks: Iterable[np.ndarray], duration_s: float) -> np.ndarray:
    """The picture of all samples, in dB, shape (HEIGHT, WIDTH)."""
    picture = np.full((HEIGHT, WIDTH), SILENT_DB, np.float32)
    hop = max(MIN_HOP, int(duration_s * RATE / WIDTH / FRAMES_A_COLUMN))
    for start, levels in _levels(blocks, hop):
        times_s = (start + np.arange(len(levels)) * hop) / RATE
        columns = np.minimum((times_s / duration_s * WIDTH).astype(int), WIDTH - 1)
        here, firsts = np.unique(columns, return_index=True)
        loudest = np.maximum.reduceat(levels, firsts, axis=0)
        picture[:, here] = np.maximum(picture[:, here], loudest.T)
    return picture


def _levels(blocks: Iterable[np.ndarray], hop: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the sample where frames begin, and their levels in dB, shape (num_frames, HEIGHT)."""
    pending, done = np.zeros(0, np.float32), 0
    for block in itertools.chain(blocks, [np.zeros(WINDOW, np.float32)]):
        pending = np.concatenate([pending, block])
        count = (len(pending) - WINDOW) // hop + 1 if len(pending) >= WINDOW else 0
        if count > 0:
            yield done, _levels_of(np.lib.stride_tricks.sliding_window_view(pending, WINDOW)[::hop][:count])
            pending, done = pending[count * hop :], done + count * hop


def _levels_of(frames: np.ndarray, rate: int = RATE) -> np.ndarray:
    window, bins = _analysis(frames.shape[1], rate)
    amplitude = np.abs(np.fft.rfft(frames * window, axis=1)[:, bins])
    return 20 * np.log10(amplitude * (WINDOW / len(window)) + 1e-6)


@lru_cache(maxsize=4)
def _analysis(length: int, rate: int) -> tuple[np.ndarray, np.ndarray]:
    """The window of a frame, and for each line of the picture the bin of the frame's spectrum."""
    frequencies = np.fft.rfftfreq(length, 1 / rate)
    pitches = np.linspace(LOWEST_PITCH, HIGHEST_PITCH, HEIGHT)
    bins = np.clip(np.searchsorted(frequencies, 440.0 * 2 ** ((pitches - 69) / 12)), 1, len(frequencies) - 1)
    return np.hanning(length).astype(np.float32), bins


def _jumped(path: Path, start_s: float, end_s: float) -> np.ndarray | None:
    """The picture of a span that is jumped to; None where the file cannot be jumped in exactly."""
    import av

    try:
        with opened(path) as file:
            if file.container.format.name not in JUMPED:
                return None
            file.container.seek(int(start_s / file.stream.time_base), stream=file.stream)
            return _read(_from_here(file.container, file.stream, start_s, end_s), max(end_s - start_s, 1e-3))
    except (av.FFmpegError, AriaDataError, OSError, ValueError, OverflowError):
        return None


def _from_here(container: Any, stream: Any, start_s: float, end_s: float) -> Iterator[np.ndarray]:
    """Yield a span as mono blocks at `RATE`. Raises `ValueError` where the container is not just before it."""
    import soxr

    resampled = soxr.ResampleStream(stream.rate, RATE, 1, dtype="float32")
    is_first = True
    for frame in container.decode(stream):
        if frame.time is None or (is_first and not start_s - FAR_S < frame.time < start_s + 0.1):
            raise ValueError("the jump did not end where it should")
        if frame.time >= end_s:
            break
        is_first = False
        block = _mono(frame)[max(0, round((start_s - frame.time) * stream.rate)) :]
        yield resampled.resample_chunk(block)
    yield resampled.resample_chunk(np.zeros(0, np.float32), last=True)


def _sampled(path: Path, start_s: float, end_s: float) -> np.ndarray | None:
    """The picture of short parts that are jumped to; None where the file cannot be jumped in."""
    import av

    picture = np.full((HEIGHT, WIDTH), SILENT_DB, np.float32)
    times_s = start_s + (end_s - start_s) * np.arange(COARSE_COLUMNS) / COARSE_COLUMNS
    try:
        with opened(path) as file:
            file.stream.codec_context.thread_type = "NONE"  # threads read ahead, in vain before a jump
            for column, time_s in enumerate(times_s):
                file.container.seek(int(time_s / file.stream.time_base), stream=file.stream)
                picture[:, column * (WIDTH // COARSE_COLUMNS)] = _first_levels(file.container, file.stream)
    except (av.FFmpegError, AriaDataError, OSError, ValueError, OverflowError, IndexError, StopIteration):
        return None
    return picture


def _first_levels(container: Any, stream: Any) -> np.ndarray:
    """The levels in dB of the frame that begins where a container is, shape (HEIGHT,)."""
    length = _coarse_window(stream.rate)
    blocks, missing = [], length
    for frame in container.decode(stream):
        blocks.append(_mono(frame)[:missing])
        missing -= len(blocks[-1])
        if missing <= 0:
            break
    samples = np.concatenate([*blocks, np.zeros(missing, np.float32)])
    return _levels_of(samples[None, :], stream.rate)[0]


def _coarse_window(rate: int) -> int:
    """As much as is read of a column of a coarse picture, at the file's own rate: 0.13 to 0.26 s, a power of two."""
    return 1 << int(rate * WINDOW / RATE).bit_length() - 1


def _mono(frame: Any) -> np.ndarray:
    """The mean of a decoded frame's channels, full scale at 1, as float32."""
    block = frame.to_ndarray()
    if not frame.format.is_planar:
        block = block.reshape(-1, len(frame.layout.channels)).T
    scale = np.iinfo(block.dtype).max if np.issubdtype(block.dtype, np.integer) else 1.0
    return block.mean(axis=0, dtype=np.float32) / np.float32(scale)
