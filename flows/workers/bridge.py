"""A process that makes several calls at the same time for this one, which goes on when it dies.

    bridge = Bridge("talks to Ray")
    for value in bridge.call("module:function", argument):    # in any thread
        ...

It keeps apart what may end the process it is in, as a client of Ray does when its cluster goes away.
"""

from __future__ import annotations

import itertools
import queue
import subprocess
import threading
from collections.abc import Generator
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from flows.workers.lanes import Stopped
from flows.workers.processes import Worker, WorkerDied
from flows.workers.worker import GIVEN, RAISED, READY, SENT, function_named, sendable

FOR_EVER_S = 1e8  # it ends with this process
STOP = ""  # as the name of a function: give up that call
END = -1  # as the number of a call: end
CLOSE_S = 10.0  # a cluster of Ray's own takes some seconds to end


class BridgeDied(WorkerDied):
    """The process ended, and with it all of its calls."""


class Bridge:
    """The process, started when it is first needed, and again after it has died. Safe for threads."""

    def __init__(self, purpose: str):
        self._purpose, self._lock = purpose, threading.Lock()
        self._is_closed = False
        self._side: _Side | None = None

    def call(self, name: str, *arguments: Any) -> Generator[Any, None, Any]:
        """Yield what the function sends; returns what it gives. Raises what it raises, and `BridgeDied`.

        Where the caller stops listening, the function's next `send` raises `Unheard` there.
        """
        side = self._running()
        result = yield from side.call(name, arguments)
        return result

    def ask(self, name: str, *arguments: Any) -> Any:
        """Call a function that sends nothing, and give its result."""
        calling = self.call(name, *arguments)
        while True:
            try:
                next(calling)
            except StopIteration as end:
                return end.value

    def _running(self) -> _Side:
        with self._lock:
            if self._is_closed:
                raise Stopped
            if self._side is None or not self._side.is_alive:
                self._side = _Side(Worker(self._purpose, {}, FOR_EVER_S, [f"{__name__}:serve"]))
            return self._side

    def close(self) -> None:
        """End the process, which has a moment to put its things in order. Calls raise `BridgeDied`, or `Stopped`."""
        with self._lock:
            self._is_closed = True
            if self._side is not None:
                self._side.close()


class _Side:
    """This process's side of a process that lives."""

    def __init__(self, worker: Worker):
        self.worker, self.is_alive = worker, True
        self._calls: dict[int, queue.SimpleQueue[tuple[str, Any]]] = {}
        self._numbers, self._sending = itertools.count(), threading.Lock()
        threading.Thread(target=self._listen, name="bridge", daemon=True).start()

    def call(self, name: str, arguments: tuple[Any, ...]) -> Generator[Any, None, Any]:
        number, answers = next(self._numbers), queue.SimpleQueue[tuple[str, Any]]()
        self._calls[number] = answers
        is_ended = False
        try:
            self._send(number, name, arguments)
            if not self.is_alive:  # it may have died before it could be asked
                raise BridgeDied("the process has ended")
            while True:
                kind, value = answers.get()
                is_ended = kind != SENT
                if kind == GIVEN:
                    return value
                if kind == RAISED:
                    raise value
                yield value
        finally:
            del self._calls[number]
            if not is_ended:
                self._send(number, STOP, ())

    def close(self) -> None:
        """Ask the process to end, and see that it does."""
        self._send(END, STOP, ())
        with suppress(subprocess.TimeoutExpired):
            self.worker.process.wait(CLOSE_S)
        self.worker.process.kill()

    def _send(self, *message: Any) -> None:
        with suppress(OSError), self._sending:  # `_listen` finds out
            self.worker.connection.send(message)

    def _listen(self) -> None:
        with suppress(Exception):  # its end, or a message that cannot be read: the process is of no more use
            while True:
                number, kind, value = self.worker.connection.recv()
                if (answers := self._calls.get(number)) is not None:
                    answers.put((kind, value))
        self.is_alive = False
        self.worker.process.kill()
        death = BridgeDied(self.worker.end())
        for answers in list(self._calls.values()):
            answers.put((RAISED, death))


# ---------------------------------------------------------------- the other side


class Unheard(Exception):
    """Nobody listens to this call any more."""


def serve(connection: Connection, idle_s: float) -> None:
    """Make the calls that come, each in a thread of its own, until the other side is gone."""
    connection.send((READY, None))
    sending, stopped = threading.Lock(), set[int]()

    def say(number: int, kind: str, value: Any) -> None:
        if number in stopped:
            raise Unheard
        with sending:
            connection.send((number, kind, value))

    def make(number: int, name: str, arguments: tuple[Any, ...]) -> None:
        with suppress(Unheard, OSError):
            try:
                result = function_named(name)(lambda value: say(number, SENT, value), *arguments)
            except Unheard:
                raise
            except Exception as error:
                say(number, RAISED, sendable(error))
            else:
                say(number, GIVEN, result)

    while True:
        number, name, arguments = connection.recv()
        if number == END:
            return
        if name == STOP:
            stopped.add(number)
        else:
            threading.Thread(target=make, args=(number, name, arguments), daemon=True).start()
