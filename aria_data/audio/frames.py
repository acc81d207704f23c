"""From an open file to blocks of samples, once for all who read: packets, gaps, changes of format, wild samples.

Blocks have the stream's own rate and channels. What goes wrong is counted in a `Tally`, from which follows whether
the file is whole (`integrity`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from aria_data.audio.containers import is_of_container, owns_duration
from aria_data.audio.opening import Opened, cause
from aria_data.audio.reachable import require_readable
from aria_data.audio.timeline import Moment, Timeline

BLOCK_SAMPLES = 16384  # decoded frames are a tenth of that, and each block costs a fixed time
MAX_AMPLITUDE = 4.0  # 12 dB over full scale: mixes in floating point reach 2, what is louder is no sound
FLOATS = ("flt", "fltp", "dbl", "dblp")
BROADCASTS = ("mpegts", "mpeg")  # what they announce is FFmpeg's sum of what is there
MAX_NEW = 1000  # packets of streams that begin later


@dataclass(slots=True)
class Tally:
    """What was found while a file was decoded. All of it is the file's own: the file itself could be read."""

    opened: Opened
    timeline: Timeline
    num_samples: int = 0  # of one channel
    num_faults: int = 0  # packets that did not decode
    num_wild: int = 0  # samples far over full scale
    num_not_finite: int = 0  # samples that are no numbers
    early_end: str = ""
    first_s: float | None = None  # when the first packet of the sound begins
    reach_s: float = 0.0  # the end of the last packet of any stream

    @classmethod
    def of(cls, opened: Opened) -> Tally:
        """Begin one for an open file."""
        tally = cls(opened, _timeline(opened))
        tally.early_end = opened.ending.early_end
        return tally

    def stop(self, error: BaseException) -> None:
        """Note that decoding ended before the file did. Raises `AudioUnreachable` where the file cannot be read on."""
        require_readable(self.opened.path, self.opened.before)
        self.early_end = f"what follows cannot be read ({cause(error)})"


def _timeline(opened: Opened) -> Timeline:
    """A film begins with its first stream. MP4 and Matroska alone begin at 0, and the length that they state, too."""
    start_s, length_s = (opened.container.start_time or 0) / 1e6, (opened.container.duration or 0) / 1e6
    is_absolute = opened.format_name.startswith("mov,") and not opened.ending.is_fragmented
    is_absolute |= opened.format_name.startswith("matroska") and start_s < length_s
    end_s = None
    if length_s and (owns_duration(opened.format_name) or is_of_container(opened.format_name)):
        end_s = max(0.0, start_s) + length_s
    return Timeline(min(start_s, 0.0) if is_absolute else start_s, end_s, opened.format_name in BROADCASTS)


def blocks_of(tally: Tally, sample_format: str) -> Iterator[np.ndarray]:
    """Yield blocks of shape (num_samples, channels) at the stream's rate and channels.

    `sample_format` is "flt", float32 with full scale 1, or "s16", which rounds as FFmpeg does. A file may change its
    rate or layout on the way (chained Ogg, joined MP3): every frame is converted to the first's.
    """
    for _, block in converted(tally, {sample_format: tally}):
        yield block


def converted(tally: Tally, tallies: Mapping[str, Tally]) -> Iterator[tuple[str, np.ndarray]]:
    """Decode a file once, and yield what `blocks_of` gives for each of several formats, with the format.

    `tally` counts what is found in the file, that of a format what is found in its samples.
    """
    converters = {name: _Converter.of(own, name) for name, own in tallies.items()}
    for part in _joined(tally):
        for name, converter in converters.items():
            yield from ((name, block) for block in converter.take(part))
    for name, converter in converters.items():
        yield from ((name, block) for block in converter.flush())


def _joined(tally: Tally) -> Iterator[Any]:
    """Yield frames, those of the file's own rate and layout joined, and as numbers the silent samples between them."""
    context = tally.opened.stream.codec_context
    rate, layout = context.sample_rate, context.layout.name  # of the file's beginning: decoding may change them
    joint = _Joint((rate, layout))
    for frame, silence_s in _with_silence(tally):
        num_silent = round(silence_s * rate)
        if num_silent:
            yield from joint.flush()
            yield num_silent
        yield from joint.add(frame)
    yield from joint.flush()


class _Joint:
    """Joins frames of one rate and layout to frames of `BLOCK_SAMPLES`. Others stay as they are, and break the row.

    A decoder gives a thousand samples at a time. In FFmpeg's queue, a tenth as many steps follow in Python and in a
    resampler: half of the time of decoding a compressed file.
    """

    def __init__(self, own: tuple[int, str]):
        self._own, self._format = own, ""
        self._queue: Any = None

    def add(self, frame: Any) -> Iterator[Any]:
        import av

        frame.pts = None  # the queue and the resampler fail on odd time stamps
        is_own = (frame.sample_rate, frame.layout.name) == self._own and frame.samples
        if self._queue is None or not is_own or frame.format.name != self._format:
            yield from self.flush()
            if not is_own:
                yield frame
                return
            self._queue, self._format = av.AudioFifo(), frame.format.name
        self._queue.write(frame)
        while self._queue.samples >= BLOCK_SAMPLES:
            yield self._queue.read(BLOCK_SAMPLES)

    def flush(self) -> Iterator[Any]:
        """Give what is left; the next frame begins anew."""
        queue, self._queue = self._queue, None
        if queue is not None and queue.samples:
            yield queue.read(queue.samples)


class _Converter:
    """Converts frames to one format, at the file's own rate and channels."""

    def __init__(self, layout: str, width: int, rate: int, sample_format: str, tally: Tally):
        self.layout, self.width, self.rate, self.tally = layout, width, rate, tally
        self.is_rounded = sample_format == "s16"
        self._resampler: Any = None
        self._shape: tuple[str, str, int] | None = None

    @classmethod
    def of(cls, tally: Tally, sample_format: str) -> _Converter:
        context = tally.opened.stream.codec_context
        return cls(context.layout.name, context.layout.nb_channels, context.sample_rate, sample_format, tally)

    def take(self, part: Any) -> Iterator[np.ndarray]:
        """Convert a frame, or so many samples of silence."""
        if isinstance(part, int):
            yield from self.flush()
            yield from self._silence(part)
        else:
            yield from self._convert(part)

    def _convert(self, frame: Any) -> Iterator[np.ndarray]:
        import av

        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        if shape != self._shape:
            yield from self.flush()
            wanted = "s16" if self.is_rounded and frame.format.name not in FLOATS else self._float_of(frame)
            is_own = (frame.sample_rate, frame.layout.name) == (self.rate, self.layout)
            if is_own and frame.format.name == "fltp" and not self.is_rounded:
                yield from self._counted(frame.to_ndarray().T)  # nothing to convert
                return
            size = None if is_own else BLOCK_SAMPLES  # frames of the file's own rate and layout are joined already
            self._resampler = av.AudioResampler(format=wanted, layout=self.layout, rate=self.rate, frame_size=size)
            self._shape = shape
        yield from self._resampled(frame)

    def _float_of(self, frame: Any) -> str:
        return "dbl" if self.is_rounded and frame.format.name.startswith("dbl") else "flt"

    def flush(self) -> Iterator[np.ndarray]:
        """Give what was gathered; the next frame begins anew."""
        if self._resampler is not None:
            yield from self._resampled(None)
        self._resampler = self._shape = None

    def _silence(self, num_samples: int) -> Iterator[np.ndarray]:
        for start in range(0, num_samples, BLOCK_SAMPLES):
            length = min(BLOCK_SAMPLES, num_samples - start)
            self.tally.num_samples += length
            yield np.zeros((length, self.width), np.int16 if self.is_rounded else np.float32)

    def _resampled(self, frame: Any) -> Iterator[np.ndarray]:
        import av

        try:
            for out in self._resampler.resample(frame):
                yield from self._counted(out.to_ndarray().reshape(-1, self.width))
        except (av.error.FFmpegError, ValueError):
            self.tally.num_faults += 1

    def _counted(self, block: np.ndarray) -> Iterator[np.ndarray]:
        tamed = self._tamed(block)
        self.tally.num_samples += len(tamed)
        yield tamed

    def _tamed(self, block: np.ndarray) -> np.ndarray:
        """Replace what is no number by 0, clip what is no sound to full scale, and round where that is wanted."""
        if block.dtype == np.int16:
            return block
        if not np.abs(block).max(initial=0.0) <= MAX_AMPLITUDE:  # also where one is no number
            is_number = np.isfinite(block)
            self.tally.num_not_finite += int((~is_number).sum())
            block = np.where(is_number, block, 0.0).astype(block.dtype)
            is_wild = np.abs(block) > MAX_AMPLITUDE
            self.tally.num_wild += int(is_wild.sum())
            block = np.where(is_wild, np.sign(block), block)
        if self.is_rounded:
            return np.clip(np.rint(block * 32768), -32768, 32767).astype(np.int16)
        return block


def _with_silence(tally: Tally) -> Iterator[tuple[Any, float]]:
    """Yield each frame with the seconds of silence before it. A frame is held until the next one is known."""
    held: tuple[Any, Moment] | None = None
    for frame in _frames(tally):
        moment = _moment(frame)
        if held is not None:
            yield held[0], tally.timeline.silence_before(held[1], moment)
        elif not tally.num_faults:
            tally.timeline.begin(tally.first_s, moment)
        held = frame, moment
    if held is not None:
        yield held[0], tally.timeline.silence_before(held[1], None)


def _moment(frame: Any) -> Moment:
    at = frame.time  # FFmpeg's number, without a fraction of Python's; 0 also where the frame has no base of time
    return Moment(at or _seconds(frame.pts, frame.time_base), frame.samples / max(1, frame.sample_rate))


def _seconds(ticks: int | None, time_base: Fraction | None) -> float | None:
    """Give a time in seconds: what `float(ticks * time_base)` gives, to the last bit, in a third of the time."""
    if ticks is None or time_base is None:
        return None
    return ticks * time_base.numerator / time_base.denominator


def _frames(tally: Tally) -> Iterator[Any]:
    """Decode the chosen stream's packets. Those of other streams show how far the file reaches."""
    import av

    opened = tally.opened
    number = opened.stream.index
    is_whole_read = is_of_container(opened.format_name) and opened.format_name not in BROADCASTS
    packets = opened.container.demux(*(() if is_whole_read else (opened.stream,)))
    num_new = 0
    while True:
        try:
            packet = next(packets, None)
        except IndexError as error:  # PyAV's, of a stream that was not there when the file was opened
            num_new += 1
            if num_new > MAX_NEW:
                tally.stop(error)
                return
            packets = opened.container.demux(opened.stream)
            continue
        except (av.error.FFmpegError, OSError) as error:
            tally.stop(error)
            return
        if packet is None:
            return
        _reach(tally, packet)
        if packet.stream_index != number:
            continue
        if tally.first_s is None and packet.pts is not None:
            tally.first_s = float(packet.pts * packet.time_base)
        if packet.stream.type != "audio":  # a damaged FLV file may change what its streams are
            tally.num_faults += 1
            continue
        try:
            yield from packet.decode()
        except (av.error.FFmpegError, ValueError):
            tally.num_faults += 1


def _reach(tally: Tally, packet: Any) -> None:
    at = packet.pts if packet.pts is not None else packet.dts
    end_s = None if at is None else _seconds(at + (packet.duration or 0), packet.time_base)
    if end_s is not None and end_s > tally.reach_s:
        tally.reach_s = end_s
