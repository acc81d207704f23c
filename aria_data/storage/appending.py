"""Writes outcomes into stage tables behind the work: every few seconds, the outcomes of all lanes since the last time.

An append is a commit and a file, which take 10 ms whatever they hold. So what a lane appends waits for the next write,
at most `FLUSH_AFTER_S`; what a kill costs is that. While nothing runs behind (`behind`), who appends writes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from aria_data.storage.stage_tables import Outcome, StageTable

FLUSH_AFTER_S = 5.0  # work that a kill may cost; an append takes some 10 ms
MOST_WAITING = 20_000  # outcomes: beyond that the lane that appends waits for the write


class Closed(Exception):
    """The build has ended: what comes now is of work that was left behind, and is not recorded."""


class Appends(Protocol):
    """What takes outcomes: a stage table, or a place where they wait for it."""

    def append(self, outcomes: Sequence[Outcome]) -> None: ...


@dataclass
class _Place:
    """Outcomes that wait for their table."""

    appending: Appending
    table: StageTable
    waiting: list[Outcome]

    def append(self, outcomes: Sequence[Outcome]) -> None:
        self.appending.add(self, outcomes)


class Appending:
    """The stage tables of a build, open, each with the outcomes that wait for it. Safe for threads.

    Tables are written in the order in which they were first asked for.
    """

    def __init__(self) -> None:
        self._places: dict[str, _Place] = {}
        self._adding, self._writing = threading.Lock(), threading.Lock()
        self._written_at = time.monotonic()
        self._error: BaseException | None = None
        self._is_behind = self._is_closed = False
        self._num_waiting = 0  # in all places

    def to(self, table: StageTable) -> Appends:
        """The place where outcomes for this table wait; of several tables of one name the first is written."""
        with self._adding:
            return self._places.setdefault(table.name, _Place(self, table, []))

    def add(self, place: _Place, outcomes: Sequence[Outcome]) -> None:
        """Take outcomes. Raises `DatasetNotWritable`, also for what was appended before, and `Closed`."""
        with self._adding:
            if self._is_closed:
                raise Closed(f"{place.table.path}: the build has ended, and nothing more is recorded.")
            place.waiting += outcomes
            self._num_waiting += len(outcomes)
            num_waiting = self._num_waiting
        if self._error is not None:
            raise self._error
        if num_waiting > MOST_WAITING or (not self._is_behind and self._is_due()):
            self.flush()

    def flush(self) -> None:
        """Write what waits. Raises `DatasetNotWritable`."""
        with self._writing:
            with self._adding:
                taken = [(one, one.waiting) for one in self._places.values() if one.waiting]
                for place, _ in taken:
                    place.waiting = []
                self._num_waiting = 0
            self._written_at = time.monotonic()
            for place, outcomes in taken:
                place.table.append(sorted(outcomes, key=lambda one: one.item_id))

    def close(self) -> None:
        """Take and write nothing more. When this returns, no write is under way: then the lock may be let go of."""
        with self._writing, self._adding:
            self._is_closed = True
            for place in self._places.values():
                place.waiting = []

    def _is_due(self) -> bool:
        return time.monotonic() - self._written_at >= FLUSH_AFTER_S

    @contextmanager
    def behind(self) -> Iterator[None]:
        """Write in a thread, every few seconds while the block runs, and at its end what is left."""
        ended = threading.Event()
        thread = threading.Thread(target=self._write_until, args=(ended,), name="appending", daemon=True)
        self._is_behind = FLUSH_AFTER_S > 0
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            self._is_behind = False
            self.flush()
        if self._error is not None:
            raise self._error

    def _write_until(self, ended: threading.Event) -> None:
        while not ended.wait(max(FLUSH_AFTER_S, 0.05)):
            try:
                self.flush()
            except BaseException as error:  # raised where the next outcome is appended
                self._error = error
                return
