"""Audio files as streams of samples: what a file announces, what it holds, and spans of it.

Everything is read through PyAV (FFmpeg's libraries; no program needed) in blocks of shape (num_samples, num_channels).
Blocks are not kept, so a ten-hour file needs no more memory than a short one.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from aria_data.audio.containers import has_end, share_there, states_duration
from aria_data.errors import AudioUnreadable
from aria_data.storage import printable

# Containers that hold their own audio. Playlists (hls, concat, dash ...) are left out on purpose:
# a hostile "song.mp3" that is a playlist could make FFmpeg open other files or addresses.
CONTAINERS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,eac3,flac,flv,iff,matroska,webm,mov,mp4,m4a,3gp,mp2,mp3,mpc,mpc8,"
    "mpeg,mpegts,ogg,oma,opus,rm,rso,shn,tak,tta,voc,w64,wav,wv,wsaud"
)
RATES_HZ = (2_000, 1_000_000)  # an absurd rate would make a small file fill the memory
LOOK_S = 30  # seconds of a span from which its rate is chosen
BLOCK_SAMPLES = 16384  # decoded frames are a tenth of that, and each block costs a fixed time
FLOOR_DB = -120.0  # the level of silence
MAX_TAGS, MAX_TAG_LENGTH = 64, 2000


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """What a file's header announces. Nothing is decoded for it."""

    duration_s: float | None
    sample_rate: int
    num_channels: int
    codec: str
    tags: dict[str, str] = field(default_factory=dict)  # lower-case names
    is_duration_stated: bool = True  # False: guessed from the bit rate, good enough to show progress


@dataclass(frozen=True, slots=True)
class AudioFacts:
    """What a file holds, found by decoding it to its end."""

    info: AudioInfo
    duration_s: float
    samples_sha256: str  # of the samples as 16-bit integers at the file's own rate and channels
    loudness_db: float  # root mean square over all samples and channels
    peak_db: float
    num_faults: int  # packets that did not decode
    early_end: str = ""  # why it could not be read to its end, or the sign that its end is missing


@dataclass(slots=True)
class _Trouble:
    """The faults met while one file was decoded. Fields as in `AudioFacts`."""

    num_faults: int = 0
    early_end: str = ""


def probe(path: Path) -> AudioInfo:
    """Read a file's header and tags. Raises `AudioUnreadable` for a file that cannot be opened as audio."""
    with _open(path) as (container, stream):
        return _info(path, container, stream)


def inspect(path: Path, max_duration_s: float = math.inf) -> AudioFacts:
    """Decode a file to its end and describe its samples. A file that is cut short or damaged is described, too.

    Raises `AudioUnreadable` for a file that cannot be opened as audio, when nothing decodes (`no_audio_decoded`), and
    as soon as it is longer than `max_duration_s` (`too_long`).
    """
    digest = hashlib.sha256()
    trouble = _Trouble()
    num_samples, square_sum, peak = 0, 0.0, 0
    with _open(path) as (container, stream):
        info = _info(path, container, stream)
        if not has_end(path, container.format.name):
            trouble.early_end = "its last page is missing"
        for block in _decode(container, stream, "s16", trouble):
            digest.update(block.tobytes())
            wide = block.astype(np.int32)
            square_sum += float(np.einsum("ij,ij->", wide, wide, dtype=np.float64))
            peak = max(peak, int(np.abs(wide).max(initial=0)))
            num_samples += len(block)
            if num_samples > max_duration_s * info.sample_rate:
                raise AudioUnreadable(
                    f"{printable(path.name)}: lasts longer than {max_duration_s:.0f} s, the longest allowed. "
                    "Cut it, or raise ingest.max_duration_s.",
                    reason="too_long",
                    measured=num_samples / info.sample_rate,
                )
    if num_samples == 0:
        raise AudioUnreadable(
            f"{printable(path.name)}: holds no audio that decodes. Get the file again.", reason="no_audio_decoded"
        )
    mean_square = square_sum / (num_samples * info.num_channels)
    return AudioFacts(
        info=info,
        duration_s=num_samples / info.sample_rate,
        samples_sha256=digest.hexdigest(),
        loudness_db=to_db(math.sqrt(mean_square) / 32768),
        peak_db=to_db(peak / 32768),
        num_faults=trouble.num_faults,
        early_end=trouble.early_end,
    )


def to_db(amplitude: float) -> float:
    """Convert an amplitude (1 = full scale) to decibels, at least -120 dB."""
    return max(FLOOR_DB, 20 * math.log10(amplitude)) if amplitude > 0 else FLOOR_DB


class AudioReader:
    """Reads spans of one file, in order, as float32 blocks at a fixed rate and channel count.

    Positions count decoded samples from the file's first, never time stamps, so a span read here is the span that
    the classifier scored, to the sample. Ask for spans in ascending order: the file is then decoded once; going back
    opens it again. Reading raises `AudioUnreadable` for a file that cannot be opened as audio.
    """

    def __init__(self, path: Path, sample_rate: int, num_channels: int):
        self.path, self.sample_rate, self.num_channels = path, sample_rate, num_channels
        self._blocks: Iterator[np.ndarray] | None = None
        self._position = 0  # native samples handed out so far
        self._pending = np.zeros((0, num_channels), np.float32)
        self._native_rate = 0

    def blocks(
        self,
        start_s: float = 0.0,
        end_s: float = math.inf,
        choose_rate: Callable[[np.ndarray, int], int] | None = None,
    ) -> Iterator[np.ndarray]:
        """Yield `[start_s, end_s)` as blocks of shape (num_samples, num_channels), at most what the file holds.

        `choose_rate` gets about the first `LOOK_S` seconds of the span at the file's own rate, and that rate, and
        gives the rate to resample to in place of `sample_rate`.
        """
        import soxr

        native = self._native(start_s, end_s)
        held, num_held = [], 0
        for block in native:
            held.append(block)
            num_held += len(block)
            if choose_rate is None or num_held >= LOOK_S * self._native_rate:
                break
        if not held:
            return
        rate = choose_rate(np.concatenate(held), self._native_rate) if choose_rate else self.sample_rate
        if self._native_rate == rate:
            yield from held
            yield from native
            return
        resampler = soxr.ResampleStream(self._native_rate, rate, self.num_channels, dtype="float32")
        for block in itertools.chain(held, native):
            out = resampler.resample_chunk(block)
            if len(out):
                yield out.reshape(-1, self.num_channels)
        last = resampler.resample_chunk(np.zeros((0, self.num_channels), np.float32), last=True)
        if len(last):
            yield last.reshape(-1, self.num_channels)

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
        with _open(self.path) as (container, stream):
            self._native_rate = stream.codec_context.sample_rate
            yield from _decode(container, stream, "flt", _Trouble(), self.num_channels)

    def close(self) -> None:
        """Close the file. A later read opens it again."""
        if self._blocks is not None:
            self._blocks.close()  # type: ignore[attr-defined]
            self._blocks = None

    def __enter__(self) -> AudioReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def mono_blocks(path: Path, sample_rate: int) -> Iterator[np.ndarray]:
    """Yield a whole file at `sample_rate` as mono blocks of shape (num_samples,). Raises as `AudioReader` does."""
    with AudioReader(path, sample_rate, 1) as reader:
        for block in reader.blocks():
            yield block[:, 0]


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


@contextmanager
def _open(path: Path):
    """Open a file and give its first audio stream. Raises `AudioUnreadable` with the reason in one line."""
    import av

    name = printable(path.name)
    _require_regular_file(path, name)
    try:
        container = av.open(
            os.fspath(path), mode="r", metadata_errors="replace", options={"format_whitelist": CONTAINERS}
        )
    except PermissionError as error:
        raise _unreadable(name) from error
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise AudioUnreadable(
            f"{name}: is not audio that can be opened ({_cause(error)}): another kind of file, damaged, or cut short. "
            "Get the whole file again, or remove it.",
            reason="not_audio",
        ) from error
    with container:
        stream = next(iter(container.streams.audio), None)
        if stream is None:
            raise AudioUnreadable(f"{name}: holds no audio stream. Remove it.", reason="no_audio_stream")
        if not stream.codec_context or not stream.codec_context.sample_rate:
            raise AudioUnreadable(
                f"{name}: announces no sample rate, so it is not audio, or damaged. Get the file again, or remove it.",
                reason="not_audio",
            )
        if not RATES_HZ[0] <= stream.codec_context.sample_rate <= RATES_HZ[1]:
            raise AudioUnreadable(
                f"{name}: claims {stream.codec_context.sample_rate} samples a second, but music has "
                f"{RATES_HZ[0]} to {RATES_HZ[1]}. It is damaged: get the file again, or remove it.",
                reason="not_audio",
                measured=stream.codec_context.sample_rate,
            )
        stream.codec_context.thread_type = "AUTO"
        yield container, stream


def _require_regular_file(path: Path, name: str) -> None:
    try:
        status = os.stat(path)
    except PermissionError as error:
        raise _unreadable(name) from error
    except (OSError, ValueError) as error:
        raise AudioUnreadable(
            f"{name}: cannot be found ({_cause(error)}). Bring it back, or remove the link.", reason="file_missing"
        ) from error
    if stat.S_ISDIR(status.st_mode):
        raise AudioUnreadable(f"{name}: is a folder that may not be read. Check its permissions.", reason="unreadable")
    if not stat.S_ISREG(status.st_mode):
        raise AudioUnreadable(f"{name}: is not a regular file. Remove it.", reason="not_a_file")
    if status.st_size == 0:
        raise AudioUnreadable(f"{name}: is empty (0 bytes). Get the file again.", reason="empty_file")
    if not os.access(path, os.R_OK):
        raise _unreadable(name)


def _unreadable(name: str) -> AudioUnreadable:
    return AudioUnreadable(f"{name}: may not be read. Check its permissions.", reason="unreadable")


def _cause(error: BaseException) -> str:
    return printable(getattr(error, "strerror", None) or str(error), 80)


def _info(path: Path, container, stream) -> AudioInfo:
    duration_s = None
    if stream.duration is not None and stream.time_base is not None:
        duration_s = float(stream.duration * stream.time_base)
    elif container.duration is not None:
        duration_s = container.duration / 1_000_000
    if duration_s is not None:
        duration_s /= share_there(path, container.format.name)
    is_stated = states_duration(path, container.format.name)
    tags: dict[str, str] = {}
    for found in (container.metadata, stream.metadata):
        for name, value in list(found.items())[:MAX_TAGS]:
            tags.setdefault(_clean(name).lower()[:64], _clean(value)[:MAX_TAG_LENGTH])
    context = stream.codec_context
    return AudioInfo(duration_s, context.sample_rate, context.layout.nb_channels, context.name, tags, is_stated)


def _clean(text: str) -> str:
    """Drop what UTF-8 cannot store, and control characters, which a terminal would act on."""
    return "".join(char for char in text if char.isprintable() or char in "\n\t").encode("utf-8", "replace").decode()


def _decode(container, stream, sample_format: str, trouble: _Trouble, num_channels: int | None = None):
    """Yield blocks of shape (num_samples, num_channels) at the stream's rate; packets that fail are only counted.

    A file may change its rate or layout on the way (chained Ogg, joined MP3): every frame is converted to the first's.
    """
    import av

    layout = {None: stream.codec_context.layout.name, 1: "mono", 2: "stereo"}[num_channels]
    rate = stream.codec_context.sample_rate
    width = num_channels or stream.codec_context.layout.nb_channels
    resampler: av.AudioResampler | None = None
    shape: tuple[str, str, int] | None = None

    def converted(frame) -> Iterator[np.ndarray]:
        try:
            for out in resampler.resample(frame) if resampler else ():
                yield out.to_ndarray().reshape(-1, width)
        except (av.error.FFmpegError, ValueError):
            trouble.num_faults += 1

    for frame in _frames(container, stream, trouble):
        if (frame.format.name, frame.layout.name, frame.sample_rate) != shape:
            yield from converted(None)
            shape = (frame.format.name, frame.layout.name, frame.sample_rate)
            resampler = av.AudioResampler(format=sample_format, layout=layout, rate=rate, frame_size=BLOCK_SAMPLES)
        frame.pts = None  # positions are counted in samples, and the resampler fails on odd time stamps
        yield from converted(frame)
    yield from converted(None)


def _frames(container, stream, trouble: _Trouble):
    import av

    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except (av.error.FFmpegError, OSError) as error:
            trouble.early_end = f"it cannot be read on ({_cause(error)})"
            return
        if packet is None:
            return
        try:
            yield from packet.decode()
        except (av.error.FFmpegError, ValueError):
            trouble.num_faults += 1
