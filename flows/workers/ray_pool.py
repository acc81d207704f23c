"""Actors of a Ray cluster that call functions, as the worker processes of `flows.workers.processes` do on this machine.

    pool = RayPool(lambda: 4, num_cpus=1)
    with pool.held() as actor:
        for values in actor.call("module:function", argument):
            ...                                  # what the function sends, some at a time
        actor.result                             # what it gives

An actor keeps what its functions keep, such as models. One that dies raises `WorkerDied`; the next that is taken is
new.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from flows.workers.processes import WorkerDied, WorkerUnfit
from flows.workers.ray_cluster import LOOK_EVERY_S, Resources
from flows.workers.worker import GIVEN, RAISED, SENT, function_named, sendable

POLL_S = 1.0  # an actor answers at least as often
GATHER_S = 0.05  # an answer costs 2 to 4 ms of the processor on both sides together
START_S = 300.0  # a node that was just added may have to fetch the code
ANSWER_S = 30.0  # an actor that waits answers in milliseconds; its machine may be busy


class NoRoom(WorkerUnfit):
    """No node of the cluster has what these actors need."""


class NodeAvoided(WorkerUnfit):
    """An actor's node, as one whose disk is full, which gets no work for a while now."""


class Hands:
    """The actor: one call at a time, in a thread, whose answers wait until they are asked for."""

    def __init__(self) -> None:
        self._answers: list[tuple[str, Any]] = []
        self._changed = threading.Condition()
        self._is_first = True  # nothing was said yet in this call

    def begin(self, name: str, arguments: tuple[Any, ...]) -> list[tuple[str, Any]]:
        """Call a function, named as "module:function", with `send` and these arguments; gives its first `answers`."""
        self._is_first = True
        threading.Thread(target=self._call, args=(name, arguments), daemon=True).start()
        return self.answers()

    def ask(self, name: str, arguments: tuple[Any, ...]) -> tuple[str, Any]:
        """Call a short function that sends nothing, now; gives its result, or what it raises."""
        try:
            return GIVEN, function_named(name)(lambda value: None, *arguments)
        except Exception as error:
            return RAISED, sendable(error)

    def answers(self) -> list[tuple[str, Any]]:
        """What there is to say since the last time, after a second at most; may be empty.

        What is said first goes at once, since it tells what a death would be counted against. Later there is a moment
        for more, so that small work does not cost an answer an item.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._answers, POLL_S)
            if self._answers and not self._is_first:
                self._changed.wait_for(lambda: self._answers[-1][0] != SENT, GATHER_S)
            self._is_first &= not self._answers
            taken, self._answers = self._answers, []
            return taken

    def ready(self) -> str:
        """Give the id of the node that it is on."""
        import ray

        return str(ray.get_runtime_context().get_node_id())

    def _call(self, name: str, arguments: tuple[Any, ...]) -> None:
        try:
            result = function_named(name)(lambda value: self._say(SENT, value), *arguments)
        except Exception as error:
            self._say(RAISED, sendable(error))
        else:
            self._say(GIVEN, result)

    def _say(self, kind: str, value: Any) -> None:
        with self._changed:
            self._answers.append((kind, value))
            self._changed.notify()


class Actor:
    """This side of one actor."""

    def __init__(self, options: Mapping[str, Any]):
        import ray

        remote: Any = ray.remote(Hands)
        self._hands: Any = remote.options(max_restarts=0, **options).remote()
        self._ready = self._hands.ready.remote()
        self.node = ""  # the id of the one that it is on, as soon as it has its place
        self.is_free = True  # has given its last answer
        self.result: Any = None
        self._used_at = time.monotonic()

    def is_placed(self, wait_s: float) -> bool:
        """Whether it has its place in the cluster, after so long at most. Raises `WorkerUnfit` where it died."""
        import ray

        if not ray.wait([self._ready], timeout=wait_s)[0]:
            return False
        try:
            self.node = self._get(self._ready)
        except WorkerDied as error:
            raise WorkerUnfit(str(error)) from error
        return True

    def is_well(self) -> bool:
        """Whether it still answers: its node may have gone while it waited. One that was just used is not asked."""
        if time.monotonic() < self._used_at + LOOK_EVERY_S:
            return True
        try:
            self._get(self._hands.ready.remote(), ANSWER_S)
        except WorkerDied:
            return False
        return True

    def call(self, name: str, *arguments: Any) -> Iterator[list[Any]]:
        """Yield what the function sends, some at a time; then `result` is what it gives. Raises what it raises, and
        `WorkerDied`."""
        self.is_free = False
        coming = self._hands.begin.remote(name, arguments)
        while not self.is_free:
            answers = self._get(coming)
            self.is_free = bool(answers) and answers[-1][0] != SENT
            if not self.is_free:
                coming = self._hands.answers.remote()
            if sent := [value for kind, value in answers if kind == SENT]:
                yield sent
        self._used_at = time.monotonic()
        kind, value = answers[-1]
        if kind == RAISED:
            raise value
        self.result = value

    def ask(self, name: str, *arguments: Any) -> Any:
        """Call a short function that sends nothing, and give its result. Raises what it raises, and `WorkerDied`."""
        kind, value = self._get(self._hands.ask.remote(name, arguments))
        if kind == RAISED:
            raise value
        return value

    def kill(self) -> None:
        """End it, whatever it does."""
        import ray

        with suppress(Exception):  # of a cluster that is gone
            ray.kill(self._hands)

    def _get(self, reference: Any, timeout_s: float | None = None) -> Any:
        import ray
        from ray.exceptions import GetTimeoutError, RayError

        try:
            return ray.get(reference, timeout=timeout_s)
        except GetTimeoutError as error:
            raise WorkerDied(f"no place in the cluster within {timeout_s:.0f} s") from error
        except (RayError, ConnectionError) as error:
            said = " ".join(str(error).split())
            kind = WorkerUnfit if _is_of_machine(error, said) else WorkerDied
            raise kind(said[:200] or type(error).__name__, self.node) from error


def _is_of_machine(error: Exception, said: str) -> bool:
    """Whether an actor's end was its machine's: that went away, could not be reached, or has no memory or disk left."""
    from ray import exceptions

    kinds = ("OutOfMemoryError", "OutOfDiskError", "ObjectStoreFullError", "NodeDiedError", "ActorUnavailableError")
    is_one = isinstance(error, tuple(getattr(exceptions, kind) for kind in kinds))
    return is_one or bool(getattr(error, "preempted", False)) or "node has died" in said


class RayPool:
    """Actors of one kind, at most as many as `size` says, each started when it is first needed. Safe for threads."""

    def __init__(self, size: Callable[[], int], resources: Resources, **options: Any):
        self._size, self._resources, self._options = size, resources, options
        self._free: list[Actor] = []
        self._nodes: Counter[str] = Counter()  # of actors that live
        self._num_taken = 0
        self._is_closed = False
        self._changed = threading.Condition()

    @contextmanager
    def held(self) -> Iterator[Actor]:
        """An actor for this block alone; one that is in the middle of a call at its end is killed."""
        actor = self._take()
        try:
            yield actor
        except WorkerDied:
            actor.is_free = False
            raise
        finally:
            self._give_back(actor)

    def _take(self) -> Actor:
        with self._changed:
            while not self._free and self._num_taken >= self._allowed():
                self._changed.wait(LOOK_EVERY_S)
            self._num_taken += 1
            free = self._free.pop() if self._free else None
        try:
            if free is not None and not self._resources.is_avoided(free.node) and free.is_well():
                return free
            if free is not None:
                self._end(free)
            return self._placed(Actor({**self._options, **self._resources.place(self._options, self._nodes)}))
        except BaseException:
            with self._changed:
                self._num_taken -= 1
                self._changed.notify()
            raise

    def _placed(self, actor: Actor) -> Actor:
        """Wait until an actor has its place, which a node that is gone may have taken along; one that becomes free
        meanwhile is given instead. Raises `WorkerUnfit`."""
        end = time.monotonic() + START_S
        try:
            while not actor.is_placed(LOOK_EVERY_S):
                with self._changed:
                    free = self._free.pop() if self._free else None
                if free is not None:
                    actor.kill()
                    return free
                if time.monotonic() > end:
                    raise WorkerUnfit(f"no place in the cluster within {START_S:.0f} s")
        except BaseException:
            actor.kill()
            raise
        with self._changed:
            self._nodes[actor.node] += 1
        return actor

    def _end(self, actor: Actor) -> None:
        with self._changed:
            self._nodes[actor.node] -= 1
        actor.kill()

    def _allowed(self) -> int:
        size = self._size()
        if size < 1:
            raise NoRoom(f"the cluster has no room for {self._options}")
        return size

    def _give_back(self, actor: Actor) -> None:
        with self._changed:
            self._num_taken -= 1
            is_kept = actor.is_free and not self._is_closed
            if is_kept:
                self._free.append(actor)
            self._changed.notify()
        if not is_kept:
            self._end(actor)

    @property
    def num_places(self) -> int:
        """How many actors may work at the same time now."""
        return self._size()

    def close(self) -> None:
        """End the actors that are free now, and the others as soon as their calls end."""
        with self._changed:
            self._is_closed = True
            free, self._free = self._free, []
        for actor in free:
            actor.kill()
