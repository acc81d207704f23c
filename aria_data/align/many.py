"""Align many performances, in several processes. Order of results is that of finishing; each item is given once."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

import numpy as np

from aria_data.align.alignment import AlignConfig, Alignment, NotAligned, align
from aria_data.align.score_index import ScoreCandidate, ScoreIndex
from aria_data.midi import Note
from aria_data.storage import printable

WAITING_PER_PROCESS = 4  # items handed out before the first of them is finished: a few megabytes

FAILED = "alignment_failed"  # the reason of `NotAligned` where a library raised something


@dataclass(frozen=True, slots=True)
class Item:
    """A performance to be aligned."""

    tag: Any  # what it is known by to the caller; comes back with the result
    notes: list[Note]
    candidates: list[ScoreCandidate]


Waiting = tuple[Item, Future[Alignment | NotAligned]]


def candidates_of(
    notes: list[Note], index: ScoreIndex, composition_id: str, config: AlignConfig
) -> list[ScoreCandidate]:
    """The scores that a performance may be of; `composition_id` is what its texts name, or ""."""
    pitch = np.array([note.pitch for note in sorted(notes)], np.int64)
    return index.candidates(pitch, composition_id, config.max_candidates, config.min_shared)


def align_many(
    items: Iterable[Item], config: AlignConfig, num_processes: int = 0
) -> Iterator[tuple[Item, Alignment | NotAligned]]:
    """Yield each item with its alignment, or why it has none. `num_processes` 0: one a core; 1: in this process.

    One that fails, or whose process ends, is `FAILED`, and the others go on.
    """
    num_processes = num_processes or os.cpu_count() or 1
    if num_processes == 1:
        yield from ((item, _aligned(item, config)) for item in items)
        return
    waiting, rest = deque[Waiting](), iter(items)
    while True:
        broken: list[Item] = []  # a process ended: one of these is why
        with _pool(num_processes) as pool:
            for item in rest:
                try:
                    waiting.append((item, pool.submit(_aligned, item, config)))
                except BrokenProcessPool:
                    broken.append(item)
                if not broken and len(waiting) >= WAITING_PER_PROCESS * num_processes:
                    yield from _finished(waiting, broken)
                if broken:
                    break
            while waiting:
                yield from _finished(waiting, broken)
        if not broken:
            return
        yield from ((item, _alone(item, config)) for item in broken)


def _aligned(item: Item, config: AlignConfig) -> Alignment | NotAligned:
    """Align one item; whatever goes wrong is said of it alone."""
    try:
        return align(item.notes, item.candidates, config)
    except Exception as error:  # of three libraries and files from everywhere
        return _failed(item, printable(f"{type(error).__name__}: {error}", 300))


def _alone(item: Item, config: AlignConfig) -> Alignment | NotAligned:
    """Align one item in a process of its own, which it may end."""
    with _pool(1) as pool:
        try:
            return pool.submit(_aligned, item, config).result()
        except BrokenProcessPool:
            return _failed(item, "it ends the process that aligns it, as one does that takes all memory")


def _failed(item: Item, detail: str) -> NotAligned:
    return NotAligned(FAILED, 0.0, item.candidates[0].score.score_id if item.candidates else "", detail=detail)


def _pool(num_processes: int) -> ProcessPoolExecutor:
    # threads of Arrow and Numba do not survive a fork
    return ProcessPoolExecutor(num_processes, multiprocessing.get_context("spawn"))


def _finished(waiting: deque[Waiting], broken: list[Item]) -> Iterator[tuple[Item, Alignment | NotAligned]]:
    """Wait for one at least, and yield those that are finished; `broken` gets those whose process ended."""
    wait([future for _, future in waiting], return_when="FIRST_COMPLETED")
    for _ in range(len(waiting)):
        item, future = waiting.popleft()
        if not future.done():
            waiting.append((item, future))
        elif isinstance(future.exception(), BrokenProcessPool):
            broken.append(item)
        else:
            yield item, future.result()
