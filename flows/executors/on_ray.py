"""The work of stages on a Ray cluster: actors that keep their models, those with a GPU apart from the others.

Files that a worker does not see are sent to it, and what it writes is sent back, so a cluster needs no common disk.
Only this process writes into the dataset. Another one talks to Ray (`ray_side`): when the cluster goes away, it ends,
and this one goes on as soon as the cluster is back.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from aria_data.errors import AriaDataError, UsageError
from aria_data.records import Candidate
from aria_data.storage.stage_tables import Outcome
from flows.engine.context import BuildContext, Item, NotDone, Pending, Stage
from flows.engine.orders import Engine, report
from flows.engine.shards import seconds_of
from flows.engine.stages import CLASSIFY, FINGERPRINT, INGEST, MEASURE, TRANSCRIBE
from flows.executors.assignments import STAGES, Assignment, Begun, Finished, Rest, Setup
from flows.executors.away import Away
from flows.workers.bridge import Bridge, BridgeDied
from flows.workers.lanes import Stopped
from flows.workers.processes import WorkerDied
from flows.workers.ray_cluster import LOOK_EVERY_S, UNFIT_S, require_ray
from flows.workers.ray_pool import NodeAvoided

WORK_OFF = "flows.executors.assignments:work_off"
SIZES, WORK = "flows.executors.ray_side:sizes", "flows.executors.ray_side:work"
NODES = "flows.executors.ray_side:nodes"
CHUNK_S = 15.0  # of work that a worker is given at once: what its death may cost, and long beside the 2 ms of a call
LEAST_S = 3.0  # of work, of the last pieces of a shard: they get smaller, so that workers end at about the same time
FIRST_AUDIO_S = {INGEST.name: 300.0, TRANSCRIBE.name: 60.0}  # of the first pieces, before anything was measured
OTHER_AUDIO_S = 600.0
MAX_THREADS = 256  # each waits for a worker
PLACES_OF_A_GPU = 8  # cores that a GPU is worth, where shards are cut: they hold something for all workers
MAX_PLACES = 16  # a shard of 32 h of audio or 4,000 recordings, some 80 MB with all that is known of them
AWAY_S, ASK_EVERY_S = 600.0, 5.0  # so long a cluster that went away may take to come back
GONE_S = 75.0  # so long Ray may take to notice that a machine is gone: 5 checks, at most 10 s each, 3 s between them


class OnRay:
    """The executor of a cluster. It is connected when there is work."""

    name = "ray"

    def __init__(self, context: BuildContext, engine: Engine):
        require_ray()
        self._context, self.engine = context, engine
        self._asking = threading.Lock()
        self._was_there = False
        self._gone_at = 0.0  # since when it does not answer
        self._sizes, self._sized_at = dict[str, int](), 0.0
        self._avoided: set[str] = set()  # nodes that were named as such
        self.num_places = 1  # until it is connected
        self._pace: dict[str, Pace] = defaultdict(Pace)

    def is_counted(self, stage: Stage) -> bool:
        """See `Executor`: workers count for themselves."""
        return stage.name in STAGES

    def work(self, context: BuildContext, stage: Stage, items: Sequence[Item]) -> Iterator[Outcome]:
        """See `Executor`. What an earlier stage made on its way is taken here; texts are read here, too."""
        if stage.name not in STAGES:
            yield from stage.work(context, stage, items)
            return
        heavy = {item.item_id for item in items if _is_heavy(context, stage, item)}
        here = [item for item in items if item.item_id not in heavy]
        away = [item for item in items if item.item_id in heavy]
        pending: dict[str, Pending] = {}
        is_worth_retrying = False
        for some, work in ((here, stage.work), (away, self._spread)):
            try:
                if some:
                    yield from work(context, stage, some)
            except NotDone as error:
                pending |= error.items
                is_worth_retrying |= error.is_worth_retrying
        if pending:
            raise NotDone(pending, is_worth_retrying)

    @cached_property
    def bridge(self) -> Bridge:
        """The process that talks to Ray."""
        return Bridge("talks to Ray")

    def sizes(self, is_fresh: bool = False) -> dict[str, int]:
        """How many workers there are by stage, and `gpus` and `nodes`; some seconds old unless it has to be fresh.

        Waits for a cluster that was there before. Raises `UsageError` for one that never was, or does not come back.
        """
        with self._asking:
            if not is_fresh and self._sizes and time.monotonic() < self._sized_at + LOOK_EVERY_S:
                return self._sizes
            began = time.monotonic()
            while True:
                try:
                    counts: dict[str, int] = self.bridge.ask(SIZES, self.engine)
                    break
                except (UsageError, WorkerDied) as error:
                    if not self._was_there or (self._gone_at and time.monotonic() > self._gone_at + AWAY_S):
                        raise _no_cluster(error) from error
                if not self._gone_at:
                    minutes = f"{AWAY_S / 60:.0f} minutes"
                    report(f"the Ray cluster went away. The build waits {minutes} for it; what is finished stays.")
                self._gone_at = self._gone_at or time.monotonic()
                if self._context.stopped.wait(ASK_EVERY_S):
                    raise Stopped
            on_cpu, on_gpu, nodes = counts[INGEST.name], counts["gpus"], counts["nodes"]
            if self._gone_at or not self._was_there:
                took_s = f"; connected in {time.monotonic() - began:.1f} s" if not self._gone_at else ""
                report(f"ray: {on_cpu} workers on processors, {on_gpu} on GPUs; nodes: {nodes}{took_s}.")
            self._was_there, self._gone_at = True, 0.0
            self._sizes, self._sized_at = counts, time.monotonic()
            self.num_places = max(1, min(on_cpu + PLACES_OF_A_GPU * on_gpu, MAX_PLACES))
            return counts

    def of_items(self, deaths: list[str]) -> list[str]:
        """Of deaths, by the ids of their nodes, those whose nodes live on. Waits until Ray knows."""
        end = time.monotonic() + GONE_S
        while True:
            alive = self.bridge.ask(NODES, self.engine)
            left = [node for node in deaths if node in alive]
            if len(left) < len(deaths) or time.monotonic() >= end:
                return left
            if self._context.stopped.wait(min(ASK_EVERY_S, GONE_S)):
                raise Stopped

    def say_avoided(self, node: str, why: str) -> None:
        """Tell once that a node gets no work for a while."""
        if node not in self._avoided:
            self._avoided.add(node)
            report(f"{why.rstrip('.')}. It gets no work for {UNFIT_S / 60:.0f} minutes, if others can do it.")

    def close(self) -> None:
        """End the actors, and leave the cluster."""
        if "bridge" in self.__dict__:
            self.bridge.close()

    # ---------------------------------------------------------------- pieces of work

    def _spread(self, context: BuildContext, stage: Stage, items: Sequence[Item]) -> Iterator[Outcome]:
        """Cut items into pieces, have workers do them at the same time, and yield outcomes as they come."""
        counts, pace = self.sizes(), self._pace[stage.name]
        setup = Setup("", self._context.config, self._context.compute, 1)
        coming: queue.SimpleQueue[Outcome | BaseException | None] = queue.SimpleQueue()
        stopped = threading.Event()
        pending: dict[str, Pending] = {}
        retry: list[bool] = []

        def work_on(piece: Sequence[Item]) -> None:
            try:
                with closing(OnActor(self, setup, pace, context, stage, piece).outcomes()) as calling:
                    for outcome in calling:
                        coming.put(outcome)
                        if stopped.is_set():
                            return
            except NotDone as error:
                pending.update(error.items)
                retry.append(error.is_worth_retrying)
            except BaseException as error:
                coming.put(error)
            coming.put(None)

        pieces = list(pace.cut(stage, items, counts[stage.name]))
        threads = ThreadPoolExecutor(min(len(pieces), MAX_THREADS))
        try:
            for piece in pieces:
                threads.submit(work_on, piece)
            yield from _until(coming, len(pieces), context.stopped)
        finally:
            stopped.set()
            threads.shutdown(wait=False, cancel_futures=True)
        if pending:
            raise NotDone(pending, any(retry))


def _no_cluster(error: Exception) -> UsageError:
    return error if isinstance(error, UsageError) else UsageError(f"--engine ray: Ray ended ({error}). Build again.")


def _until(
    coming: queue.SimpleQueue[Outcome | BaseException | None], num_ends: int, stopped: threading.Event
) -> Iterator[Outcome]:
    while num_ends:
        try:
            one = coming.get(timeout=1.0)
        except queue.Empty:
            if stopped.is_set():
                raise Stopped from None
            continue
        if one is None:
            num_ends -= 1
        elif isinstance(one, BaseException):
            raise one
        else:
            yield one


def _is_heavy(context: BuildContext, stage: Stage, item: Item) -> bool:
    """Whether an item is worth a way to a worker: an earlier stage has not made its result on its own way."""
    if stage is INGEST:
        return isinstance(item.payload, Candidate)  # what was fetched was decoded then
    if stage is CLASSIFY or stage is FINGERPRINT:
        ahead = context.ahead.get(item.payload.audio_sha256)
        return ahead is None or not (ahead.onsets if stage is FINGERPRINT else ahead.scores is not None)
    return True


class Pace:
    """How fast workers are at a stage: how much they are given at once. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._audio_s = self._worked_s = 0.0

    def note(self, audio_s: float, worked_s: float) -> None:
        """A worker needed so long for so much audio."""
        with self._lock:
            self._audio_s, self._worked_s = self._audio_s + audio_s, self._worked_s + worked_s

    def cut(self, stage: Stage, items: Sequence[Item], num_places: int) -> Iterator[list[Item]]:
        """Cut items into pieces of about `CHUNK_S` of work, the last ones smaller, down to `LEAST_S`; items of one file
        stay together as far as they fit."""
        most = least = FIRST_AUDIO_S.get(stage.name, OTHER_AUDIO_S)
        if self._worked_s:
            most, least = (seconds * self._audio_s / self._worked_s for seconds in (CHUNK_S, LEAST_S))
        left_s = sum(seconds_of_item(item) for item in items)
        most = min(most, max(1.0, left_s / num_places))  # so that all have something to do
        piece: list[Item] = []
        piece_s = 0.0
        for item in sorted(items, key=_in_file_order):
            piece.append(item)
            piece_s += seconds_of_item(item)
            if piece_s >= min(most, max(least, left_s / (2 * num_places))):
                yield piece
                left_s -= piece_s
                piece, piece_s = [], 0.0
        if piece:
            yield piece


def seconds_of_item(item: Item) -> float:
    """About how long an item's audio is."""
    payload = item.payload
    return item.audio_s or (seconds_of(payload) if isinstance(payload, Candidate) else 0.0) or 1.0


def _in_file_order(item: Item) -> tuple[str, float]:
    payload = item.payload
    first = payload[0] if isinstance(payload, tuple) else payload
    return first.location, payload[1].start_s if isinstance(payload, tuple) else 0.0


class OnActor(Away):
    """Items for one actor at a time, with the files that they need."""

    def __init__(self, executor: OnRay, setup: Setup, pace: Pace, *work: Any):
        super().__init__(*work)
        self._executor, self._setup, self._pace = executor, setup, pace

    def attempt(self, items: Sequence[Item]) -> Iterator[Sequence[Begun | Finished | Rest]]:
        """See `Away.attempt`."""
        traces = self.context.traces
        given = {item.item_id: traces[item.item_id] for item in items if item.item_id in traces}
        assignment = Assignment(self._setup, self.stage.name, tuple(items), given if self.stage is MEASURE else {})
        files = files_of(self.context, self.stage, items)
        executor = self._executor
        try:
            rest, seconds = yield from executor.bridge.call(WORK, executor.engine, WORK_OFF, assignment, files)
        except BridgeDied:
            executor.sizes(is_fresh=True)  # waits for the cluster
            raise
        except NodeAvoided as death:
            executor.say_avoided(death.node, str(death))
            raise
        self._pace.note(sum(seconds_of_item(item) for item in items), seconds)
        self.context.on_work(self.stage.name, rest.worker, seconds)
        yield (rest,)

    def of_items(self, deaths: list[str]) -> list[str]:
        """See `Away.of_items`."""
        try:
            return self._executor.of_items(deaths)
        except WorkerDied:  # the cluster is away: nothing is known
            return []


def files_of(context: BuildContext, stage: Stage, items: Sequence[Item]) -> dict[str, Path]:
    """The files that a worker reads for these items, by location: sound, MIDI, weights."""
    locations = set()
    for item in items:
        payload = item.payload if isinstance(item.payload, tuple) else (item.payload,)
        if stage is not MEASURE or item.item_id not in context.traces:
            locations.add(payload[0].location)
        if stage is MEASURE:
            locations.add(payload[2].midi_path)
    found = dict(context.weights_files(stage.name))
    for location in sorted(locations):
        with suppress(AriaDataError):  # the worker says that it is not there
            found[location] = context.audio_of(location)
    return found
