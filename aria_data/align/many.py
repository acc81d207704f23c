"""Align many performances, in several processes. Order of results is that of finishing; each item is given once."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import numpy as np

from aria_data.align.alignment import AlignConfig, Alignment, NotAligned, align
from aria_data.align.score_index import ScoreCandidate, ScoreIndex
from aria_data.midi import Note

WAITING_PER_PROCESS = 4  # items handed out before the first of them is finished: a few megabytes


@dataclass(frozen=True, slots=True)
class Item:
    """A performance to be aligned."""

    tag: Any  # what it is known by to the caller; comes back with the result
    notes: list[Note]
    candidates: list[ScoreCandidate]


def candidates_of(
    notes: list[Note], index: ScoreIndex, composition_id: str, config: AlignConfig
) -> list[ScoreCandidate]:
    """The scores that a performance may be of; `composition_id` is what its texts name, or ""."""
    pitch = np.array([note.pitch for note in sorted(notes)], np.int64)
    return index.candidates(pitch, composition_id, config.max_candidates, config.min_shared)


def align_many(
    items: Iterable[Item], config: AlignConfig, num_processes: int = 0
) -> Iterator[tuple[Item, Alignment | NotAligned]]:
    """Yield each item with its alignment, or why it has none. `num_processes` 0: one a core; 1: in this process."""
    num_processes = num_processes or os.cpu_count() or 1
    if num_processes == 1:
        yield from ((item, align(item.notes, item.candidates, config)) for item in items)
        return
    context = multiprocessing.get_context("spawn")  # threads of Arrow and Numba do not survive a fork
    with ProcessPoolExecutor(num_processes, context) as pool:
        waiting: deque[tuple[Item, Future[Alignment | NotAligned]]] = deque()
        for item in items:
            waiting.append((item, pool.submit(align, item.notes, item.candidates, config)))
            if len(waiting) >= WAITING_PER_PROCESS * num_processes:
                yield from _finished(waiting)
        while waiting:
            yield from _finished(waiting)


def _finished(
    waiting: deque[tuple[Item, Future[Alignment | NotAligned]]],
) -> Iterator[tuple[Item, Alignment | NotAligned]]:
    """Wait for one at least, and yield those that are finished."""
    wait([future for _, future in waiting], return_when="FIRST_COMPLETED")
    for _ in range(len(waiting)):
        item, future = waiting.popleft()
        if future.done():
            yield item, future.result()
        else:
            waiting.append((item, future))
