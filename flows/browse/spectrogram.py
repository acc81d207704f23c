"""A picture of a recording's span: loudness by semitone, A0 to C8, and time. Of a long one, first a coarse one."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from aria_data.audio.decode import AudioReader
from aria_data.errors import AriaDataError
from aria_data.storage import local_audio
from aria_data.storage.files import from_location

RATE = 8_000  # Hz: pictures show up to 4 kHz, the piano's highest fundamental
WIDTH, HEIGHT = 1600, 176  # pixels; two a semitone
LOWEST_PITCH, HIGHEST_PITCH = 21, 108
FLOOR_DB = -70.0  # of a picture, below its loudest point
WINDOW, MIN_HOP = 2048, 512  # samples
FRAMES_A_COLUMN = 4  # of a long span: more are not seen
COARSE_COLUMNS = 160  # of a coarse picture: each is a jump in the file, and a quarter of a second of it
SILENT_DB = 2 * FLOOR_DB


def spectrogram_png(root: Path, location: str, start_s: float, end_s: float, is_coarse: bool = False) -> bytes:
    """Draw a span as a PNG of fixed size, time over its whole width. A column is the loudest of its frames.

    A coarse one reads short parts only; where the file does not allow that, all of it is read. Raises `AudioUnreadable`
    or `AudioUnreachable`.
    """
    path = local_audio(from_location(location, root))
    picture = _sampled(path, start_s, end_s) if is_coarse else None
    if picture is None:
        with AudioReader(path, RATE, 1) as reader:
            picture = _read((block[:, 0] for block in reader.blocks(start_s, end_s)), max(end_s - start_s, 1e-3))
    return _png(picture)


def _png(picture: np.ndarray) -> bytes:
    from matplotlib import colormaps
    from matplotlib.image import imsave

    is_empty = picture.max(axis=0) <= SILENT_DB
    for column in np.flatnonzero(is_empty)[np.flatnonzero(is_empty) > 0]:  # there are fewer frames than columns
        picture[:, column] = picture[:, column - 1]
    shown = np.clip((picture - picture.max()) / -FLOOR_DB + 1.0, 0.0, 1.0)
    out = io.BytesIO()
    imsave(out, (colormaps["magma"](shown[::-1]) * 255).astype(np.uint8), format="png")
    return out.getvalue()


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


def _levels_of(frames: np.ndarray) -> np.ndarray:
    frequencies = np.fft.rfftfreq(WINDOW, 1 / RATE)
    pitches = np.linspace(LOWEST_PITCH, HIGHEST_PITCH, HEIGHT)
    bins = np.clip(np.searchsorted(frequencies, 440.0 * 2 ** ((pitches - 69) / 12)), 1, len(frequencies) - 1)
    power = np.abs(np.fft.rfft(frames * np.hanning(WINDOW).astype(np.float32), axis=1))[:, bins]
    return 20 * np.log10(power + 1e-6)


def _sampled(path: Path, start_s: float, end_s: float) -> np.ndarray | None:
    """The picture of short parts that are jumped to; None where the file cannot be jumped in."""
    import av

    picture = np.full((HEIGHT, WIDTH), SILENT_DB, np.float32)
    times_s = start_s + (end_s - start_s) * np.arange(COARSE_COLUMNS) / COARSE_COLUMNS
    try:
        with av.open(str(path)) as container:
            stream = container.streams.audio[0]
            for column, time_s in enumerate(times_s):
                container.seek(int(time_s / stream.time_base), stream=stream)
                samples = _first_samples(container, stream)
                picture[:, column * (WIDTH // COARSE_COLUMNS)] = _levels_of(samples[None, :])[0]
    except (av.FFmpegError, AriaDataError, OSError, ValueError, IndexError, StopIteration):
        return None
    return picture


def _first_samples(container: object, stream: object) -> np.ndarray:
    """The next `WINDOW` samples at `RATE`, mono, from where a container is."""
    import soxr

    blocks, rate = [], stream.rate  # type: ignore[attr-defined]
    for frame in container.decode(stream):  # type: ignore[attr-defined]
        block = frame.to_ndarray()
        if not frame.format.is_planar:
            block = block.reshape(-1, len(frame.layout.channels)).T
        scale = np.iinfo(block.dtype).max if np.issubdtype(block.dtype, np.integer) else 1.0
        blocks.append(block.mean(axis=0, dtype=np.float64) / scale)
        if sum(map(len, blocks)) * RATE >= 1.1 * WINDOW * rate:
            break
    samples = soxr.resample(np.concatenate([*blocks, np.zeros(rate // 2)]), rate, RATE)
    return samples[:WINDOW].astype(np.float32)
