"""Who else wants to follow a build while it runs, as metrics and the page of a Prefect run do.

    with listening(listener):        # around the build
        ...

A process carries out one build at a time, so listeners are the process's: Prefect runs recipes in other contexts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from flows.show.summaries import StageSpeed


@dataclass(frozen=True)
class Followed:
    """A build that runs. What is asked of it is as of now; any thread may ask."""

    command: str  # build or fetch
    snapshot: Callable[[], Mapping[str, StageSpeed]]
    seconds: Callable[[], float]  # since it began
    money: Callable[[], Sequence[Mapping[str, Any]]]  # of language models, by model and task
    price_per_hour: float = 0.0  # dollars, of all machines together; 0: not known

    def machine_dollars(self) -> float | None:
        """What the machines cost until now; None without a price."""
        return self.price_per_hour * self.seconds() / 3600 if self.price_per_hour else None


Listener = Callable[[Followed], AbstractContextManager[None]]
_listeners: list[Listener] = []


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Have `listener` follow the builds of the block: what it gives is entered when one begins, and left at its end."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


@contextmanager
def followed(build: Followed) -> Iterator[None]:
    """Let those who listen follow a build while the block runs."""
    with ExitStack() as stack:
        for listener in _listeners:
            stack.enter_context(listener(build))
        yield
