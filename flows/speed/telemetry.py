"""What the stages of a run do and how fast: counted where work is done, added up here. Shown and kept elsewhere.

    telemetry = Telemetry()
    telemetry.expect("transcribe", num_items=250, audio_s=7200.0)
    meter = telemetry.stage("transcribe", worker="gpu 0")      # one a thread or process that works
    with meter.waiting(INPUT):
        shard = queue.get()
    with meter.working():
        ...
        meter.done(audio_s=31.5)                               # an item
        meter.done(audio_s=8.0, rejected="too_few_notes")
    with meter.waiting(ROOM):
        next_queue.put(shard)
    telemetry.queue("transcribe", depth=queue.qsize(), room=8)

Nothing here depends on how stages are run. A worker in another process has a `Meter` of its own and sends what
`Meter.take()` gives; the run adds it with `Telemetry.add`.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from aria_data.records import Download
from aria_data.storage.stage_tables import DONE, FAILED, Outcome
from flows.show.summaries import StageSpeed, WorkerSpeed
from flows.speed.expected import RECORDINGS

__all__ = ["INPUT", "RECORDINGS", "ROOM", "WORKING", "Meter", "Telemetry", "Work", "told_of"]
INPUT, ROOM = "input", "room"  # what a worker waits for: something to do, or room in the next stage's queue
WORKING = "working"
MAX_SAMPLES = 240  # of a run; beyond it every second one is dropped, and they are taken half as often
SAMPLE_EVERY_S = 2.0


@dataclass
class Work:
    """What one worker did at one stage. Plain and picklable; two of them add up."""

    num_items: int = 0
    audio_s: float = 0.0  # of the items that were done
    num_bytes: int = 0  # that were fetched
    seconds: dict[str, float] = field(default_factory=dict)  # by WORKING, INPUT and ROOM
    rejected: Counter[str] = field(default_factory=Counter)  # items by reason
    failed: Counter[str] = field(default_factory=Counter)
    not_done: Counter[str] = field(default_factory=Counter)

    def __iadd__(self, other: Work) -> Work:
        self.num_items += other.num_items
        self.audio_s += other.audio_s
        self.num_bytes += other.num_bytes
        for state, seconds in other.seconds.items():
            self.seconds[state] = self.seconds.get(state, 0.0) + seconds
        self.rejected.update(other.rejected)
        self.failed.update(other.failed)
        self.not_done.update(other.not_done)
        return self


class Meter:
    """Counts the work of one worker at one stage. `working` and `waiting` are for the worker's own thread; `done` and
    the others may be called from any."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._lock = threading.Lock()
        self._work = Work()
        self._state, self._since = "", clock()
        self.last = self._since  # when it last did anything

    @contextmanager
    def working(self) -> Iterator[None]:
        """Count the time of the block as work. A `waiting` inside of it does not count as work."""
        with self._being(WORKING):
            yield

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Count the time of the block as waiting: for INPUT, or for ROOM in the next queue."""
        with self._being(what):
            yield

    @contextmanager
    def _being(self, state: str) -> Iterator[None]:
        before = self._change(state)
        try:
            yield
        finally:
            self._change(before)

    def _change(self, state: str) -> str:
        with self._lock:
            self._count_time()
            before, self._state = self._state, state
            if WORKING in (before, state):
                self.last = self._since
            return before

    def _count_time(self) -> None:
        now = self._clock()
        if self._state:
            self._work.seconds[self._state] = self._work.seconds.get(self._state, 0.0) + now - self._since
        self._since = now

    def done(
        self, audio_s: float = 0.0, num_items: int = 1, *, rejected: str = "", failed: str = "", num_bytes: int = 0
    ) -> None:
        """Count items as done; `rejected` or `failed` is the reason why they go no further."""
        with self._lock:
            self.last = self._clock()
            self._work.num_items += num_items
            self._work.audio_s += audio_s
            self._work.num_bytes += num_bytes
            for reason, counted in ((rejected, self._work.rejected), (failed, self._work.failed)):
                if reason:
                    counted[reason] += num_items

    def not_done(self, reason: str, num_items: int = 1) -> None:
        """Count items that have to be tried again by the next build."""
        with self._lock:
            self._work.not_done[reason] += num_items

    def now(self) -> Work:
        """What was counted so far, the time of an open block too."""
        with self._lock:
            self._count_time()
            copy = Work()
            copy += self._work
            return copy

    def take(self) -> Work:
        """Give what was counted since the last call: what a process sends to the run that it works for."""
        with self._lock:
            self._count_time()
            taken, self._work = self._work, Work()
            return taken

    def add(self, work: Work) -> None:
        """Add what a worker in another process has taken."""
        with self._lock:
            self.last = self._clock()
            self._work += work


def told_of(outcome: Outcome) -> dict[str, Any]:
    """What an outcome tells `Meter.done`: the reason why an item goes no further, or the bytes that were fetched."""
    if outcome.status == DONE:
        return {"num_bytes": outcome.record.num_bytes} if isinstance(outcome.record, Download) else {}
    return {"failed" if outcome.status == FAILED else "rejected": outcome.reason}


@dataclass
class _Stage:
    meters: dict[str, Meter] = field(default_factory=dict)  # by worker
    num_expected: int = 0
    audio_expected_s: float = 0.0
    num_done_before: int = 0
    depth: int | None = None  # of the queue before it
    read_depth: Callable[[], int] | None = None  # asks for it
    room: int = 0
    began_s: float | None = None  # since the run began
    is_complete: bool = False  # nothing more is expected


class Telemetry:
    """The meters of all stages of a run, in the order in which stages were first named. Threads may share it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._began = clock()
        self._lock = threading.Lock()
        self._stages: dict[str, _Stage] = {}
        self.samples: list[dict[str, Any]] = []
        self._sample_every_s, self._sampled = SAMPLE_EVERY_S, -1e9

    @property
    def seconds(self) -> float:
        """How long the run has lasted."""
        return self._clock() - self._began

    def _stage(self, name: str) -> _Stage:
        return self._stages.setdefault(name, _Stage())

    def stage(self, name: str, worker: str = "main") -> Meter:
        """The meter of one worker at one stage; the same one for the same names."""
        with self._lock:
            stage = self._stage(name)
            if stage.began_s is None:
                stage.began_s = self.seconds
            return stage.meters.setdefault(worker, Meter(self._clock))

    def add(self, name: str, worker: str, work: Work) -> None:
        """Add what a worker in another process has taken from its meter."""
        self.stage(name, worker).add(work)

    def expect(self, name: str, num_items: int, audio_s: float = 0.0, num_done_before: int = 0) -> None:
        """Add to what a stage has to do, as it becomes known; `num_done_before` items were found done."""
        with self._lock:
            stage = self._stage(name)
            stage.num_expected += num_items
            stage.audio_expected_s += audio_s
            stage.num_done_before += num_done_before

    def complete(self, name: str) -> None:
        """Say that nothing more will be expected of a stage, and that what was expected has been tried."""
        with self._lock:
            stage = self._stage(name)
            stage.is_complete = True

    def queue(self, name: str, depth: int, room: int = 0) -> None:
        """Say how many shards or items wait before a stage, of how many that may."""
        with self._lock:
            stage = self._stage(name)
            stage.depth, stage.room = depth, room

    def queue_of(self, name: str, depth: Callable[[], int], room: int = 0) -> None:
        """As `queue`, for a queue that is asked each time how deep it is."""
        with self._lock:
            stage = self._stage(name)
            stage.read_depth, stage.room = depth, room

    def lanes(self, ends: Sequence[tuple[str, str]]) -> Callable[[int, bool], AbstractContextManager[None]]:
        """What counts the waiting of lanes, by the names of the first and last stage of each: a lane waits for input
        before its first stage, and for room after its last one. Give it the lane's place, and whether it is for input.
        """

        def waits(at: int, is_for_input: bool) -> AbstractContextManager[None]:
            first, last = ends[at]
            return self.stage(first).waiting(INPUT) if is_for_input else self.stage(last).waiting(ROOM)

        return waits

    def snapshot(self) -> dict[str, StageSpeed]:
        """What every stage did until now, by name."""
        with self._lock:
            return {name: self._speed(name, stage) for name, stage in self._stages.items()}

    def _speed(self, name: str, stage: _Stage) -> StageSpeed:
        total, workers = Work(), {}
        for worker, meter in stage.meters.items():
            work = meter.now()
            total += work
            workers[worker] = WorkerSpeed(
                num_items=work.num_items,
                audio_s=work.audio_s,
                working_s=work.seconds.get(WORKING, 0.0),
                waiting_for_input_s=work.seconds.get(INPUT, 0.0),
                waiting_for_room_s=work.seconds.get(ROOM, 0.0),
            )
        began_s = self.seconds if stage.began_s is None else stage.began_s
        ended_s = max((meter.last - self._began for meter in stage.meters.values()), default=0.0)
        return StageSpeed(
            name=name,
            num_done_before=stage.num_done_before,
            num_expected=stage.num_expected,
            audio_expected_s=stage.audio_expected_s,
            is_complete=stage.is_complete,
            began_s=began_s,
            ended_s=max(began_s, ended_s) if stage.is_complete else self.seconds,
            workers=workers,
            queue=stage.depth if stage.read_depth is None else stage.read_depth(),
            queue_room=stage.room,
            num_bytes=total.num_bytes,
            rejected=dict(total.rejected.most_common()),
            failed=dict(total.failed.most_common()),
            not_done=dict(total.not_done.most_common()),
        )

    def sample(self, more: Callable[[], Mapping[str, Any]] = dict) -> None:
        """Note how deep the queues are and how much is done, if it is time for it; `more` is asked for the rest."""
        if self.seconds - self._sampled < self._sample_every_s:
            return
        self._sampled = self.seconds
        stages = self.snapshot().values()
        self.samples.append(
            {
                "at_s": round(self.seconds, 1),
                "queues": {one.name: one.queue for one in stages if one.queue is not None},
                "items": {one.name: one.num_items for one in stages if one.num_items},
                **more(),
            }
        )
        if len(self.samples) >= MAX_SAMPLES:
            del self.samples[1::2]
            self._sample_every_s *= 2
