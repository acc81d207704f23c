"""Transcribe many spans of audio with one model: windows of several recordings share a forward pass.

Batches run at the same time; the outputs of a span's windows are joined in order. Audio is read while the model
computes. A span that fails, fails alone. The notes are all that is held in memory for the whole of a span.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from aria_data.errors import TemporaryError, TranscriptionFailed
from aria_data.midi import Note, Pedal, Performance
from aria_data.storage import printable
from aria_data.transcribe.base import Decoder, Transcriber, TranscriptionResult

Blocks = Callable[[], Iterable[np.ndarray]]  # opens a span: float32 blocks of shape (num_samples, channels)


@dataclass(slots=True)
class Piece:
    """A window of one span. A piece without a window ends the span, with the error that cut it short, if any."""

    key: Hashable
    window: np.ndarray | None = None
    error: Exception | None = None
    slower: float = 1.0  # of an end: the length of the audio given to the model, divided by that of the recording
    remarks: tuple[str, ...] = ()  # of an end: on the audio
    heard: Any = None  # of an end: what a listener found


def transcribe_all(
    transcriber: Transcriber, spans: Iterable[tuple[Hashable, Blocks]]
) -> Iterator[tuple[Hashable, TranscriptionResult | Exception]]:
    """Transcribe spans of audio, given as (key, function that opens it), read in this process, one after the other.

    Yields each key with its result, or its error, as soon as it is finished. Raises nothing for a single span.
    """
    failed: set[Hashable] = set()  # a span whose inference failed is not read on
    pieces = (piece for key, blocks in spans for piece in pieces_of(transcriber, key, blocks, failed))
    yield from transcribe_pieces(transcriber, pieces, failed)


def transcribe_one(transcriber: Transcriber, blocks: Iterable[np.ndarray]) -> TranscriptionResult:
    """Transcribe one span; its error is raised."""
    ((_, result),) = transcribe_all(transcriber, [(0, lambda: blocks)])
    if isinstance(result, Exception):
        raise result
    return result


def pieces_of(
    transcriber: Transcriber,
    key: Hashable,
    blocks: Blocks,
    failed: set[Hashable] = frozenset(),  # type: ignore[assignment]
) -> Iterator[Piece]:
    """Cut one span into windows, the last padded with silence, and an end. Never raises: the end carries the error.

    `transcriber` is a `Transcriber` or a `spans.Framing`; a key in `failed` is not read on.
    """
    try:
        source = blocks()
        for window in _windows(transcriber, source):
            yield Piece(key, window)
            if key in failed:
                break
    except Exception as error:
        yield Piece(key, error=_with_name(error, key))
    else:
        found = getattr(source, "slower", 1.0), getattr(source, "remarks", ()), getattr(source, "heard", None)
        yield Piece(key, None, None, *found)


def _windows(transcriber: Any, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    window, hop = transcriber.window, transcriber.hop
    buffer = np.zeros((window, transcriber.num_channels), np.float32)
    filled, has_samples = transcriber.lead, False
    for block in blocks:
        if not np.isfinite(block).all():
            raise TranscriptionFailed(
                "its audio holds samples that are no numbers. Encode the file again.", reason="samples_not_finite"
            )
        place = 0
        while place < len(block):
            if filled == window:
                yield buffer
                buffer = np.concatenate([buffer[hop:], np.zeros((hop, buffer.shape[1]), np.float32)])
                filled = window - hop
            num = min(window - filled, len(block) - place)
            buffer[filled : filled + num] = block[place : place + num]
            filled, place, has_samples = filled + num, place + num, True
    if has_samples:
        yield buffer


def transcribe_pieces(
    transcriber: Transcriber, pieces: Iterable[Piece], failed: set[Hashable]
) -> Iterator[tuple[Hashable, TranscriptionResult | Exception]]:
    """Transcribe the pieces of any number of spans, each span's in order. A key whose inference failed joins `failed`.

    Yields each key with its result, or its error, when its end has come.
    """
    decoders: dict[Hashable, Decoder] = {}
    errors: dict[Hashable, Exception] = {}
    model = _Model(transcriber)

    def join(group: list[Piece], outputs: list[Any]) -> Iterator[tuple[Hashable, TranscriptionResult | Exception]]:
        remaining = iter(outputs)
        for piece in group:
            key = piece.key
            try:
                decoder = decoders.get(key) or decoders.setdefault(key, transcriber.decoder())
                if piece.window is None:
                    error = errors.pop(key, piece.error)
                    del decoders[key]
                    failed.discard(key)
                    yield key, error or _ended(decoder, piece)
                    continue
                output = next(remaining)
                if isinstance(output, Exception):
                    raise _with_name(output, key)
                if key not in errors:
                    decoder.add(output)
            except Exception as error:
                errors.setdefault(key, error)
                failed.add(key)
                if piece.window is None:
                    yield key, errors.pop(key)

    with _threads(transcriber.num_workers) as pool:
        waiting: deque[tuple[list[Piece], Future]] = deque()
        for group in _groups(pieces, model):
            windows = [piece.window for piece in group if piece.window is not None]
            waiting.append((group, pool.submit(model.infer, windows)))
            if len(waiting) > transcriber.num_workers + 1:
                done, future = waiting.popleft()
                yield from join(done, future.result())
        for done, future in waiting:
            yield from join(done, future.result())


def _ended(decoder: Decoder, end: Piece) -> TranscriptionResult:
    return replace(at_speed(decoder.finish(), end.slower), remarks=end.remarks, heard=end.heard)


def _groups(pieces: Iterable[Piece], model: _Model) -> Iterator[list[Piece]]:
    """Gather pieces until they hold enough windows for one pass."""
    group: list[Piece] = []
    num_windows = 0
    for piece in pieces:
        group.append(piece)
        num_windows += piece.window is not None
        if num_windows >= model.batch_size:
            yield group
            group, num_windows = [], 0
    if group:
        yield group


def _with_name(error: Exception, key: Hashable) -> Exception:
    """Put the key before the message of a `TranscriptionFailed` that was raised without knowing its span."""
    if not isinstance(error, TranscriptionFailed) or str(error).startswith(str(key)):
        return error
    return TranscriptionFailed(f"{printable(str(key))}: {error}", error.reason, error.measured)


def at_speed(result: TranscriptionResult, slower: float) -> TranscriptionResult:
    """Convert times to those of the recording."""
    if slower == 1.0:
        return result
    notes = [
        Note(note.onset_s / slower, note.offset_s / slower, note.pitch, note.velocity)
        for note in result.performance.notes
    ]
    pedals = [
        Pedal(pedal.onset_s / slower, pedal.offset_s / slower, pedal.controller) for pedal in result.performance.pedals
    ]
    return replace(result, performance=Performance(notes, pedals))


class _Model:
    """A transcriber whose batches are halved when memory runs out, or to find the one window that fails."""

    def __init__(self, transcriber: Transcriber):
        self.transcriber, self.batch_size = transcriber, transcriber.batch_size

    def infer(self, windows: list[np.ndarray]) -> list[Any]:
        """Give an output, or an error, for each window. Never raises."""
        if not windows:
            return []
        if len(windows) > self.batch_size:
            return self._halves(windows)
        try:
            return self.transcriber.infer(np.stack(windows))
        except Exception as error:
            is_full = _is_out_of_memory(error)
            if len(windows) == 1:
                return [_no_memory(self.transcriber) if is_full else error]
        if is_full:
            self.batch_size = min(self.batch_size, max(1, len(windows) // 2))
            _free_memory()
        return self._halves(windows)

    def _halves(self, windows: list[np.ndarray]) -> list[Any]:
        middle = len(windows) // 2
        return self.infer(windows[:middle]) + self.infer(windows[middle:])


def _is_out_of_memory(error: Exception) -> bool:
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"OutOfMemoryError", "MemoryError"}) or "can't allocate memory" in str(error)


def _no_memory(transcriber: Transcriber) -> TemporaryError:
    return TemporaryError(
        f"not enough memory for one window of {transcriber.name}. Close other programs, or use fewer --threads."
    )


def _free_memory() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextmanager
def _threads(number: int) -> Iterator[ThreadPoolExecutor]:
    """Give a pool of threads that compute on one core each, so that none waits for another inside an operation."""
    import torch

    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(number, thread_name_prefix="infer", initializer=lambda: torch.set_num_threads(1))
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        torch.set_num_threads(before)
