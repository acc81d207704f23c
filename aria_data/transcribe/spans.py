"""Read spans of audio files ahead of the model: in this process on a CPU, in processes of their own for a GPU.

A reading process decodes one file at a time into a few slots of shared memory, so decoding can never run far ahead
of inference. A file that kills its reader fails alone; another reader takes the place.
"""

from __future__ import annotations

import math
import multiprocessing
import signal
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np

from aria_data.audio import AudioReader, IntegrityLimits
from aria_data.audio.decode import Listener
from aria_data.audio.reachable import require_length
from aria_data.audio.tuning import tuning_of
from aria_data.audio.whole import named
from aria_data.errors import AudioUnreadable, TemporaryError
from aria_data.storage import printable
from aria_data.transcribe.base import Transcriber, TranscriptionResult
from aria_data.transcribe.batching import Piece, pieces_of, transcribe_pieces

SLOTS_PER_READER = 4  # windows: 22 MB of shared memory a reader of transkun
MIN_DETUNING = 0.08  # semitones; 0.05 made no difference to the F1, 0.2 cost 0.02 of it
CRASHES = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL}


@dataclass(frozen=True, slots=True)
class Span:
    """A span of an audio file, in seconds; without an end, up to the end of the file.

    With `limits`, a span that comes to the file's end fails there unless the file is whole.
    """

    key: str  # names the result; unique among the spans given together
    path: Path
    start_s: float = 0.0
    end_s: float = math.inf
    limits: IntegrityLimits | None = None
    listener: str = ""  # a class of `Listener`s, as "module:class": what one finds is the result's `heard`


@dataclass(frozen=True, slots=True)
class Framing:
    """The attributes of a `Transcriber` that reading needs; small enough to be sent to another process."""

    sample_rate: int
    num_channels: int
    window: int
    hop: int
    lead: int
    correct_tuning: bool

    @classmethod
    def of(cls, transcriber: Transcriber | Framing) -> Framing:
        names = ("sample_rate", "num_channels", "window", "hop", "lead", "correct_tuning")
        return cls(*(getattr(transcriber, name) for name in names))


def transcribe_spans(
    transcriber: Any, spans: Iterable[Span], on_read: Callable[[str, float], None] = lambda key, seconds: None
) -> Iterator[tuple[str, TranscriptionResult | Exception]]:
    """Transcribe spans of files. Yields each key with its result, or its error, once it is finished, in any order.

    `transcriber` is a `Transcriber`, or several (`devices.TranscriberPool`). Give the spans of one file one after the
    other, in order: this process then decodes the file once; readers in processes each decode it for themselves.
    `on_read` is called with a key and seconds of its audio as they are read.
    """
    if hasattr(transcriber, "transcribe_spans"):
        yield from transcriber.transcribe_spans(spans, on_read)
        return
    failed: set[Hashable] = set()
    if transcriber.num_readers:
        pieces = read_in_processes(transcriber, spans, transcriber.num_readers, on_read)
    else:
        pieces = read_here(transcriber, spans, failed, on_read)
    for key, result in transcribe_pieces(transcriber, pieces, failed):
        yield str(key), result


def read_here(
    framing: Any, spans: Iterable[Span], failed: set[Hashable], on_read: Callable[[str, float], None]
) -> Iterator[Piece]:
    """Read one span after the other; a file stays open while its spans follow each other."""
    reader: AudioReader | None = None
    try:
        for span in spans:
            if reader is None or not _fits(reader, span):
                if reader is not None:
                    reader.close()
                has_listener = bool(span.listener)
                reader = AudioReader(span.path, framing.sample_rate, framing.num_channels, span.limits, has_listener)
            yield from pieces_of(framing, span.key, partial(_Blocks, reader, span, framing, on_read), failed)
    finally:
        if reader is not None:
            reader.close()


def _fits(reader: AudioReader, span: Span) -> bool:
    wanted = span.path, span.limits, bool(span.listener)
    return wanted == (reader.path, reader.limits, reader.has_listener)


class _Tolerant:
    """A listener whose faults do not cost the span: then nothing was heard, and whoever needs it listens again."""

    def __init__(self, listener: Listener):
        self.sample_rate = listener.sample_rate
        self._listener: Listener | None = listener

    def add(self, block: np.ndarray) -> None:
        try:
            if self._listener is not None:
                self._listener.add(block)
        except Exception:
            self._listener = None

    def finish(self) -> Any:
        with suppress(Exception):
            return self._listener.finish() if self._listener is not None else None


class _Blocks:
    """One span's samples, resampled to 440 Hz if wanted. `slower` is then the factor by which they became longer."""

    def __init__(self, reader: AudioReader, span: Span, framing: Any, on_read: Callable[[str, float], None]):
        self.reader, self.span, self.on_read = reader, span, on_read
        self.correct_tuning: bool = framing.correct_tuning
        self.slower = 1.0
        self.remarks: tuple[str, ...] = ()
        self.heard: Any = None

    def __iter__(self) -> Iterator[np.ndarray]:
        """Read the span. Raises `AudioUnreachable` when the file ends before the span does."""
        span, read_s = self.span, 0.0
        choose_rate = self._rate_at_440_hz if self.correct_tuning else None
        listener = _Tolerant(named(span.listener)()) if span.listener else None
        for block in self.reader.blocks(span.start_s, span.end_s, choose_rate, listener):
            seconds = len(block) / (self.reader.sample_rate * self.slower)
            read_s += seconds
            self.on_read(span.key, seconds)
            yield block
        self.remarks = self.reader.found.notes if self.reader.found is not None else ()
        self.heard = listener.finish() if listener is not None else None
        wanted_s = span.end_s - span.start_s
        if math.isfinite(wanted_s):
            require_length(span.path, read_s, wanted_s)
        if read_s == 0:
            raise AudioUnreadable(
                f"{printable(span.path.name)}: holds no audio that decodes. Get the file again.",
                reason="no_audio_decoded",
            )

    def _rate_at_440_hz(self, waveform: np.ndarray, sample_rate: int) -> int:
        """Give the rate to resample to, so that the samples, played at the model's rate, are tuned to 440 Hz."""
        tuning = tuning_of(waveform, sample_rate)
        rate = round(self.reader.sample_rate * 2 ** (tuning / 12)) if abs(tuning) >= MIN_DETUNING else 0
        self.slower = rate / self.reader.sample_rate if rate else 1.0
        return rate or self.reader.sample_rate


def read_in_processes(
    transcriber: Any, spans: Iterable[Span], num_readers: int, on_read: Callable[[str, float], None]
) -> Iterator[Piece]:
    """Read several spans at the same time: the pieces of one span come in order, those of different spans mixed."""
    remaining = iter(spans)
    framing = Framing.of(transcriber)
    readers: list[_Reader] = []
    try:
        for span in _first(remaining, num_readers):
            readers.append(_Reader(framing))
            readers[-1].begin(span)
        while readers:
            ready = wait([reader.connection for reader in readers])
            for reader in [reader for reader in readers if reader.connection in ready]:
                piece = reader.receive(on_read)
                if piece is not None:
                    yield piece
                if reader.span is not None:
                    continue
                following = next(remaining, None)
                if following is None or not reader.is_alive:
                    readers.remove(reader)
                    reader.stop()
                    if following is not None:
                        readers.append(_Reader(framing))
                if following is not None:
                    (reader if reader in readers else readers[-1]).begin(following)
    finally:
        for reader in readers:
            reader.stop()


def _first(remaining: Iterator[Span], number: int) -> Iterator[Span]:
    for _ in range(number):
        span = next(remaining, None)
        if span is None:
            return
        yield span


def _death(name: str, exit_code: int | None) -> Exception:
    """Give the error of a span whose reader died: for good after a crash in decoding, else to be tried again."""
    if exit_code is not None and -exit_code in CRASHES:
        return AudioUnreadable(
            f"{name}: decoding it crashed the process that did so. Get the file again, or remove it.",
            reason="decoder_crashed",
        )
    return TemporaryError(
        f"{name}: the process that read it ended ({exit_code}). Was there too little memory? Run the command again; "
        "a script of your own needs `if __name__ == '__main__':`."
    )


class _Reader:
    """This process's side of one reading process."""

    def __init__(self, framing: Framing):
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        size = framing.window * framing.num_channels
        shared = context.RawArray("f", SLOTS_PER_READER * size)
        self._slots = np.frombuffer(shared, np.float32).reshape(SLOTS_PER_READER, framing.window, framing.num_channels)
        self.process = context.Process(target=_read, args=(theirs, shared, framing), daemon=True)
        self.process.start()
        theirs.close()
        self.span: Span | None = None
        self.is_alive = True

    def begin(self, span: Span) -> None:
        self.span = span
        with suppress(OSError):  # when it has died, `receive` finds out
            self.connection.send(span)

    def receive(self, on_read: Callable[[str, float], None]) -> Piece | None:
        """Take the process's next message: a window, the end of its span, or seconds read (None)."""
        assert self.span is not None
        key, name = self.span.key, printable(self.span.path.name)
        try:
            kind, value = self.connection.recv()
            if kind == "window":
                window = self._slots[value].copy()
                self.connection.send(value)
                return Piece(key, window)
        except (EOFError, OSError):
            self.is_alive = False
            self.process.join(timeout=5)
            kind, value = "end", (_death(name, self.process.exitcode), 1.0, (), None)
        if kind == "read":
            on_read(key, value)
            return None
        self.span = None
        return Piece(key, None, *value)

    def stop(self) -> None:
        self.connection.close()
        self.process.join(timeout=0.2)
        self.process.kill()
        self.process.join()


def _read(connection: Connection, shared: Any, framing: Framing) -> None:
    """Read span after span, as they are sent, until the other side is gone."""
    slots = np.frombuffer(shared, np.float32).reshape(SLOTS_PER_READER, framing.window, framing.num_channels)
    try:
        spans = iter(connection.recv, None)
        free = list(range(SLOTS_PER_READER))

        def next_span() -> Iterator[Span]:
            for message in spans:
                if isinstance(message, Span):
                    yield message
                else:
                    free.append(message)

        read_s = 0.0

        def on_read(key: str, seconds: float) -> None:
            nonlocal read_s
            read_s += seconds

        for piece in read_here(framing, next_span(), set(), on_read):
            if read_s:
                connection.send(("read", read_s))
                read_s = 0.0
            if piece.window is None:
                connection.send(("end", (piece.error, piece.slower, piece.remarks, piece.heard)))
                continue
            while not free:
                free.append(connection.recv())
            slot = free.pop()
            slots[slot] = piece.window
            connection.send(("window", slot))
    except (EOFError, OSError, KeyboardInterrupt):
        pass
