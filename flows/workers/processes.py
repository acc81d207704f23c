"""Worker processes on this machine: calls to them, what they send meanwhile, and what happens when one dies.

A worker that dies costs the call it had: another one takes its place and the call is made again. A call that kills
every worker that takes it fails alone, after `MAX_TRIES`.
"""

from __future__ import annotations

import atexit
import os
import signal
import site
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from aria_data.errors import PermanentError, TemporaryError
from flows.workers import worker as script
from flows.workers.lanes import Stopped
from flows.workers.worker import GIVEN, RAISED

MAX_TRIES = 3  # of one call, each of which killed its worker
WAIT_S = 1.0  # before the last try: what kills processes from outside, as for lack of memory, may pass
POISON = "kills_its_worker"
START_S = 120.0  # a worker imports nothing before it answers; a busy machine took 3 s
PYTHON = sys.executable
SEEN_BY_WORKERS = ("AWS_", "AZURE_", "GOOGLE_", "ARIA_DATA_", "XDG_", "HOME")  # how names begin: stores, caches
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class WorkerDied(Exception):
    """The process ended during a call. `how` is its exit code, or what is known of its end; `node` the machine's id."""

    def __init__(self, how: int | str | None, node: str = ""):
        super().__init__(how)
        self.how, self.node = how, node

    def __str__(self) -> str:
        if isinstance(self.how, str):
            return self.how
        code = self.how or 0
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"


class WorkerUnfit(WorkerDied):
    """The worker could not work, or its machine went away, whatever it had in hand: no item's fault."""


class WorkerNotStarted(TemporaryError):
    """A process did not start: no call's fault."""


class Call:
    """One call of a worker. Iterate over what it sends; then `result` is what it gives."""

    def __init__(self, pool: Workers, name: str, arguments: tuple[Any, ...]):
        self._pool, self._name, self._arguments = pool, name, arguments
        self.result: Any = None

    def __iter__(self) -> Iterator[Any]:
        """Yield each value sent, once: a call that is made again begins with what was yielded before.

        Raises what the function raises, and `PermanentError` where the call killed `MAX_TRIES` workers.
        """
        num_yielded, deaths = 0, list[str]()
        while True:
            try:
                for number, value in enumerate(self.once()):
                    if number >= num_yielded:
                        num_yielded += 1
                        yield value
                return
            except WorkerDied as death:
                deaths.append(str(death))
            if len(deaths) == MAX_TRIES - 1:
                time.sleep(WAIT_S)
            if len(deaths) >= MAX_TRIES:
                raise PermanentError(
                    f"each of {MAX_TRIES} processes that worked on it was killed by it ({', '.join(deaths)})",
                    POISON,
                    float(MAX_TRIES),
                )

    def once(self) -> Iterator[Any]:
        """Make the call in one worker. Raises what the function raises, and `WorkerDied`."""
        taken = self._pool.take()
        is_whole = False
        try:
            yield from self._answers(taken)
            is_whole = True
        finally:
            self._pool.give_back(taken, is_whole or taken.is_free)

    def _answers(self, worker: Worker) -> Iterator[Any]:
        worker.ask(self._name, self._arguments)
        while True:
            kind, value = worker.answer()
            if kind == GIVEN:
                self.result = value
                return
            if kind == RAISED:
                raise value
            yield value


class Worker:
    """This process's side of one worker."""

    def __init__(self, purpose: str, environment: Mapping[str, str], idle_s: float, served: Sequence[str] = ()) -> None:
        self.purpose, self.surroundings = purpose, _surroundings()
        mine, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [PYTHON, "-P", "-W", "ignore", script.__file__, str(theirs.fileno()), str(idle_s), *served],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=_environment(environment),
                start_new_session=True,
            )
        self.connection = Connection(mine.detach())
        self.is_free = True  # has given its last answer
        self._require_ready()

    def _require_ready(self) -> None:
        """Wait until the process answers. Raises `WorkerNotStarted`."""
        with suppress(EOFError, OSError):
            if self.connection.poll(START_S):
                self.connection.recv()
                return
        self.process.kill()
        said = f"a process that {self.purpose} did not start ({WorkerDied(self.end())})"
        raise WorkerNotStarted(f"{said}. Is there too little memory? Build again.")

    def ask(self, name: str, arguments: tuple[Any, ...]) -> None:
        self.is_free = False
        with suppress(OSError):  # `answer` finds out
            self.connection.send((name, arguments))

    def answer(self) -> tuple[str, Any]:
        """Wait for the next message. Raises `WorkerDied`."""
        try:
            kind, value = self.connection.recv()
        except (EOFError, OSError):
            raise WorkerDied(self.end()) from None
        self.is_free = kind in (GIVEN, RAISED)
        return kind, value

    def is_usable(self) -> bool:
        """Whether it waits for a call: it has neither ended nor said anything since its last answer, and it would
        find in the same stores and caches what this process finds."""
        return self.process.poll() is None and not self.connection.poll() and self.surroundings == _surroundings()

    def end(self) -> int:
        """End the process, and give its exit code."""
        with suppress(OSError):
            self.connection.close()
        try:
            return self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


class Workers:
    """At most `size` workers at a time, each started when it is first needed. Safe for threads.

    A worker has `environment` besides this process's, and ends when nobody asked it anything for `idle_s`; `purpose`
    is what messages say that it does.
    """

    def __init__(
        self,
        size: int,
        purpose: str = "decodes",
        environment: Mapping[str, str] = ONE_THREAD,
        idle_s: float = script.IDLE_S,
    ):
        self._room, self._lock = threading.BoundedSemaphore(size), threading.Lock()
        self._free: list[Worker] = []
        self._taken: set[Worker] = set()
        self._is_closed = False
        self.size, self._start = size, partial(Worker, purpose, environment, idle_s)

    def call(self, name: str, *arguments: Any) -> Call:
        """Call the function "module:function" in a worker, with plain arguments, as soon as one is free."""
        return Call(self, name, arguments)

    def take(self) -> Worker:
        """Wait until a worker is free. Raises `Stopped` when the workers were ended: nobody begins anything then."""
        if self._is_closed:
            raise Stopped
        self._room.acquire()
        try:
            worker = self._free_or_new()
        except BaseException:
            self._room.release()
            raise
        self._taken.add(worker)
        return worker

    def _free_or_new(self) -> Worker:
        with self._lock:
            while self._free:
                worker = self._free.pop()
                if worker.is_usable():
                    return worker
                worker.end()
        return self._start()

    def give_back(self, worker: Worker, is_free: bool) -> None:
        """Let others use a worker, or end one that is in the middle of a call."""
        self._taken.discard(worker)
        with self._lock:
            is_kept = is_free and not self._is_closed
            if is_kept:
                self._free.append(worker)
        if not is_kept:
            worker.process.kill()
            worker.end()
        self._room.release()

    def close(self) -> None:
        """End all workers; a call that is being made raises `WorkerDied`."""
        for worker in list(self._taken):
            worker.process.kill()
        with self._lock:
            self._is_closed = True
            while self._free:
                self._free.pop().end()


def _environment(wanted: Mapping[str, str]) -> dict[str, str]:
    """The worker's environment, with the folder that this package lies in, wherever Python was started."""
    given = {**os.environ, **wanted}
    root = str(Path(__file__).resolve().parents[2])
    if root not in site.getsitepackages():
        given["PYTHONPATH"] = os.pathsep.join(filter(None, (root, given.get("PYTHONPATH"))))
    return given


def _surroundings() -> dict[str, str]:
    """What of this process's environment says where files are, and how stores are reached."""
    return {name: value for name, value in os.environ.items() if name.startswith(SEEN_BY_WORKERS)}


_of_process: dict[int, Workers] = {}


def workers() -> Workers:
    """The workers of this process, which all builds in it share: as many as it has cores, two at least."""
    process = os.getpid()
    if process not in _of_process:  # a process that was forked has none of its parent's
        _of_process[process] = Workers(max(2, os.cpu_count() or 2))
        atexit.register(_of_process[process].close)
    return _of_process[process]
