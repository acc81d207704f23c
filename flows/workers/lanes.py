"""Lanes: shards pass through several threads in order, so that each thread works on another shard. No stages here.

Between two lanes is a queue of a few shards: a fast lane waits for a slow one, and memory stays that of a few shards.
"""

from __future__ import annotations

import contextvars
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Generic, TypeVar

AHEAD = 2  # shards that may wait between two lanes
LEAVE_AFTER_S = 20.0  # after an error, lanes end with the item in hand; one that takes longer is left behind

T = TypeVar("T")


class Stopped(Exception):
    """Another lane failed, or the user stopped the build: what is in hand is not finished."""


class Gate:
    """Lets threads pass until it is closed, as at the end of a build, for lanes that were left behind."""

    def __init__(self) -> None:
        self._num_inside, self._is_closed = 0, False
        self._changed = threading.Condition()

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Be inside for the block. Raises `Stopped` when the gate is closed."""
        with self._changed:
            if self._is_closed:
                raise Stopped
            self._num_inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._num_inside -= 1
                self._changed.notify_all()

    def close(self) -> None:
        """Let nobody in any more, and wait until nobody is inside."""
        with self._changed:
            self._is_closed = True
            self._changed.wait_for(lambda: not self._num_inside)


class Channel(Generic[T]):
    """A queue between two threads that can be closed from either side."""

    def __init__(self, size: int):
        self._size, self._waiting = size, deque[T]()
        self._changed = threading.Condition()
        self._is_ended = self._is_closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, item: T) -> None:
        """Add an item when there is room. Raises `Stopped` when the channel was closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or len(self._waiting) < self._size)
            if self._is_closed:
                raise Stopped
            self._waiting.append(item)
            self._changed.notify_all()

    def end(self) -> None:
        """Say that no item follows."""
        with self._changed:
            self._is_ended = True
            self._changed.notify_all()

    def close(self) -> None:
        """Give up on what waits: nobody takes or adds anything more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator[T]:
        """Take items until the end. Raises `Stopped` when the channel was closed."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_closed or self._waiting or self._is_ended)
                if self._is_closed:
                    raise Stopped
                if not self._waiting:
                    return
                item = self._waiting.popleft()
                self._changed.notify_all()
            yield item


class Lanes(Generic[T]):
    """Threads through which items pass in order. `works` are called one after the other with each item.

    `stopped` is set as soon as one of them, or whoever takes the items, raises: long work should look at it.
    """

    def __init__(
        self,
        works: Sequence[Callable[[T], None]],
        names: Sequence[str],
        ahead: int = AHEAD,
        waits: Callable[[int, bool], AbstractContextManager[None]] = lambda at, is_for_input: nullcontext(),
    ):
        self.stopped = threading.Event()
        self.names = tuple(names)
        self._works, self._waits = works, waits  # `waits` is entered while a lane waits: for input, or for room
        self.channels: list[Channel[T]] = [Channel(ahead) for _ in range(len(works) + 1)]
        self._error: BaseException | None = None
        self._failed = threading.Lock()

    def run(self, items: Iterable[T]) -> Generator[T, None, None]:
        """Yield the items that have passed through all lanes. The first error of any lane is raised here.

        `items` are taken in a thread of their own, as there is room for them.
        """
        threads = [self._thread("feed", lambda: self._feed(items))]
        threads += [self._thread(name, self._passing(at)) for at, name in enumerate(self.names)]
        try:
            yield from self.channels[-1]
        except Stopped:
            pass
        except BaseException as error:  # of whoever stops the build
            self._stop(error)
        finally:
            self._stop(None)
            for thread in threads:
                thread.join(LEAVE_AFTER_S)
        if self._error is not None:
            raise self._error

    def _feed(self, items: Iterable[T]) -> None:
        for item in items:
            self.channels[0].put(item)
        self.channels[0].end()

    def _passing(self, at: int) -> Callable[[], None]:
        def work() -> None:
            coming = iter(self.channels[at])
            while True:
                with self._waits(at, True):
                    item = next(coming, None)
                if item is None:
                    break
                self._works[at](item)
                with self._waits(at, False):
                    self.channels[at + 1].put(item)
            self.channels[at + 1].end()

        return work

    def _thread(self, name: str, work: Callable[[], None]) -> threading.Thread:
        context = contextvars.copy_context()  # a flow run of Prefect's is known by its context

        def run() -> None:
            try:
                context.run(work)
            except Stopped:
                pass
            except BaseException as error:
                self._stop(error)

        thread = threading.Thread(target=run, name=f"lane {name}", daemon=True)
        thread.start()
        return thread

    def _stop(self, error: BaseException | None) -> None:
        with self._failed:
            self._error = self._error or error
        self.stopped.set()
        for channel in self.channels:
            channel.close()


def waiting(lanes: Lanes[Any]) -> dict[str, int]:
    """How many items wait before each lane."""
    return {name: len(channel) for name, channel in zip(lanes.names, lanes.channels, strict=False)}
