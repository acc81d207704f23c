"""Cuts recordings into chunks of frames, with context around them, and reads several recordings at a time in threads.

For a GPU chunks are padded to one size, so that those of different recordings fit into one batch. A CPU computes each
by itself and needs no more frames than there are.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from classifiers.features import FeatureConfig, LogMel

if TYPE_CHECKING:
    from classifiers.model import ModelConfig

CHUNK_S = 48  # seconds of a chunk, without context; more is no faster on two cores
FEED_S = 6.0  # seconds decoded before frames are made: many short steps make threads wait for each other
BATCHES_AHEAD = 4  # batches decoded ahead of the network; a chunk is 1.4 MB
POLL_S = 0.1

Blocks = Iterable[np.ndarray]


@dataclass(frozen=True)
class Chunk:
    """Frames (num_frames, num_mels) in dB. Steps `first` to `first + num_steps` are the chunk's own; the others are
    context."""

    frames: np.ndarray
    first: int
    num_steps: int

    def padded(self, num_frames: int, floor_db: float) -> np.ndarray:
        """Give so many frames, those behind the last silent; all frames where there are more."""
        missing = max(0, num_frames - len(self.frames))
        return np.pad(self.frames, ((0, missing), (0, 0)), constant_values=floor_db)


def frames_of_chunk(config: ModelConfig) -> int:
    """Give the number of frames that every chunk fits into, its context included."""
    return (CHUNK_S + 2 * config.context_s) * config.frames_per_s


class ChunkStream:
    """The chunks of one recording. `duration_s` is complete after the last chunk."""

    def __init__(self, features: FeatureConfig, config: ModelConfig):
        self.features, self.config = features, config
        self._log_mel = LogMel(features)

    @property
    def duration_s(self) -> float:
        return self._log_mel.num_samples / self.features.sample_rate

    def chunks(self, blocks: Blocks) -> Iterator[Chunk]:
        """Cut mono blocks into chunks, each with `config.context_s` of sound before and after its own steps."""
        per_s = self.config.frames_per_s
        context, size = self.config.context_s * per_s, CHUNK_S * per_s
        held, before = np.zeros((0, self.features.num_mels), np.float32), 0
        for piece in self._frames(blocks):
            held = np.concatenate([held, piece])
            while len(held) >= before + size + context:
                yield self._chunk(held[: before + size + context], before, size)
                held, before = held[before + size - context :], context
        if len(held) > before:
            yield self._chunk(held, before, len(held) - before)

    def _frames(self, blocks: Blocks) -> Iterator[np.ndarray]:
        pieces, length = [], 0
        for block in blocks:
            pieces.append(block)
            length += len(block)
            if length >= FEED_S * self.features.sample_rate:
                yield self._log_mel.feed(np.concatenate(pieces))
                pieces, length = [], 0
        if pieces:
            yield self._log_mel.feed(np.concatenate(pieces))
        yield self._log_mel.flush()

    def _chunk(self, frames: np.ndarray, before: int, length: int) -> Chunk:
        step = self.config.frames_per_step
        return Chunk(frames, before // step, -(-length // step))


class ChunkReaders:
    """Threads that decode one stream each at a time into a common queue.

    The queue holds (key, found): a `Chunk`, at a stream's end its duration in seconds (float), or its exception.
    """

    def __init__(
        self,
        streams: Iterable[tuple[str, Callable[[], Blocks]]],
        features: FeatureConfig,
        config: ModelConfig,
        num_readers: int,
        batch_size: int,
    ):
        self.features, self.config, self._batch_size = features, config, batch_size
        self._streams, self._next = iter(streams), threading.Lock()
        self._found: queue.Queue[tuple[str, Any]] = queue.Queue(BATCHES_AHEAD * batch_size)
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._read, daemon=True) for _ in range(max(1, num_readers))]

    def __enter__(self) -> ChunkReaders:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def next_batch(self) -> list[tuple[str, Any]]:
        """Wait for one entry of the queue and give it with those that are ready, a batch at most; empty at the end."""
        batch: list[tuple[str, Any]] = []
        while len(batch) < self._batch_size:
            try:
                batch.append(self._found.get(timeout=0 if batch else POLL_S))
            except queue.Empty:
                if batch:
                    break
                if not any(thread.is_alive() for thread in self._threads) and self._found.empty():
                    break
        return batch

    def _read(self) -> None:
        while not self._stopped.is_set():
            try:
                with self._next:
                    key, open_blocks = next(self._streams)
            except StopIteration:
                return
            stream = ChunkStream(self.features, self.config)
            try:
                for chunk in stream.chunks(open_blocks()):
                    self._put(key, chunk)
                    if self._stopped.is_set():
                        return
                self._put(key, stream.duration_s)
            except Exception as error:  # of this stream alone; `score_many` gives it in place of scores
                self._put(key, error)

    def _put(self, key: str, found: Any) -> None:
        while not self._stopped.is_set():
            try:
                self._found.put((key, found), timeout=POLL_S)
                return
            except queue.Full:
                continue
