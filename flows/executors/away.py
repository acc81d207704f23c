"""Work of a stage that is done by workers that may die: what a death costs.

A worker that dies costs the items it had begun: each is tried again alone, and one that kills every worker fails by
name.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Generator, Iterator, Sequence

from aria_data.errors import PermanentError, UsageError
from aria_data.storage import printable
from aria_data.storage.stage_tables import Outcome
from flows.engine.context import BuildContext, Item, NotDone, Pending, Stage
from flows.executors.assignments import Begun, Finished, Rest
from flows.workers.bridge import BridgeDied
from flows.workers.lanes import Stopped
from flows.workers.processes import MAX_TRIES, POISON, WAIT_S, WorkerDied, WorkerUnfit

MAX_LOST = 5  # times that the way to all workers may be lost with nothing done between


class Away:
    """The items of one call of `work`, handed to workers until each has an outcome."""

    def __init__(self, context: BuildContext, stage: Stage, items: Sequence[Item]):
        self.context, self.stage = context, stage
        self._left = {item.item_id: item for item in items}
        self._suspects: dict[str, None] = {}  # items that a worker had, or may have had, when it died
        self._deaths: dict[str, list[str]] = defaultdict(list)  # by item: the machines of workers that died at it
        self._not_done: dict[str, Pending] = {}
        self._is_worth_retrying = False
        self._num_idle_deaths = 0  # of workers that died before they began anything
        self._num_lost = 0  # times that the way to all workers was lost, with nothing done between

    def attempt(self, items: Sequence[Item]) -> Iterator[Sequence[Begun | Finished | Rest]]:
        """Have a worker do these items. Yields what it says, some at a time, and a `Rest` at its end.

        Raises `WorkerDied`, and what the work raises.
        """
        raise NotImplementedError

    def of_items(self, deaths: list[str]) -> list[str]:
        """Of deaths, given by their machines, those that were no machine's own end."""
        return deaths

    def outcomes(self) -> Generator[Outcome, None, None]:
        """Yield an outcome an item. Raises `NotDone` at the end for those that have to be tried again, and `Stopped`
        where nothing more is wanted."""
        while self._left:
            if self.context.stopped.is_set():
                raise Stopped
            fresh = [item for item_id, item in self._left.items() if item_id not in self._suspects]
            alone = [self._left[item_id] for item_id in self._suspects if item_id in self._left][:1]
            yield from self._tried(fresh or alone)
        if self._not_done:
            raise NotDone(self._not_done, self._is_worth_retrying)

    def _tried(self, items: Sequence[Item]) -> Iterator[Outcome]:
        in_hand: set[str] = set()
        try:
            for messages in self.attempt(items):
                self._write([message for message in messages if isinstance(message, Finished)])
                for message in messages:
                    if isinstance(message, Begun):
                        in_hand.add(message.item_id)
                    elif isinstance(message, Finished):
                        in_hand.discard(message.outcome.item_id)
                        yield self._taken(message)
                    else:
                        self._finish(items, message)
        except BridgeDied as death:  # no item did that: what is left is tried again
            self._num_lost += 1
            if self._num_lost >= MAX_LOST:
                self._give_up(
                    f"the process that hands {self.stage.name} to workers ended {MAX_LOST} times before any of it was "
                    f"done ({death}). Does the cluster stay up, and is there memory on this machine? Build again.",
                )
        except WorkerUnfit as death:
            yield from self._after(death, set(), items)
        except WorkerDied as death:
            yield from self._after(death, in_hand, items)

    def _write(self, messages: Sequence[Finished]) -> None:
        """Write the files of what is finished, before any of it counts. Raises `UsageError` for other weights' work."""
        for message in messages:
            item = self._left.get(message.outcome.item_id)
            if item is not None and message.outcome.key != self.stage.key(self.context, item):
                raise UsageError(
                    f"a worker's {self.stage.name} has other weights, packages or code than this machine. Install the "
                    "same ones there (constraints.txt), and build again."
                )
        self.context.writing.write({path: content for one in messages for path, content in one.files.items()})

    def _taken(self, message: Finished) -> Outcome:
        self._num_idle_deaths = self._num_lost = 0
        self._left.pop(message.outcome.item_id, None)
        if message.worker:
            self.context.done_by[message.outcome.item_id] = message.worker
        self.context.ahead.update(message.ahead)
        self.context.traces.update(message.traces)
        return message.outcome

    def _finish(self, items: Sequence[Item], rest: Rest) -> None:
        self._not_done |= rest.not_done
        self._is_worth_retrying |= rest.is_worth_retrying
        for item in items:
            self._left.pop(item.item_id, None)

    def _after(self, death: WorkerDied, in_hand: set[str], items: Sequence[Item]) -> Iterator[Outcome]:
        """Count the death against the items that the worker had; give up on those that killed too many.

        Where none had begun, it is nobody's fault; several of these in a row end the work for now.
        """
        self._suspects |= dict.fromkeys(sorted(in_hand) or [item.item_id for item in items])
        self._num_idle_deaths += not in_hand
        for item_id in sorted(in_hand):
            deaths = self._deaths[item_id]
            deaths.append(death.node)
            if len(deaths) >= MAX_TRIES:
                deaths[:] = self.of_items(deaths)
            if len(deaths) >= MAX_TRIES:
                item = self._left.pop(item_id)
                yield self.stage.failure(self.context, item, self._poison(item, death))
        if self._num_idle_deaths:
            time.sleep(WAIT_S)  # what kills processes from outside may pass
        if self._num_idle_deaths >= MAX_TRIES:
            self._give_up(self._unfit(death))

    def _unfit(self, death: WorkerDied) -> str:
        if isinstance(death, WorkerUnfit):
            said = f"{MAX_TRIES} workers in a row could not do {self.stage.name}, the last one because: {death}"
            return said if said.lower().endswith("build again.") else f"{said.rstrip('.')}. Mend that, and build again."
        said = f"{MAX_TRIES} processes for {self.stage.name} ended before they began ({death})"
        return f"{said}. Is there too little memory? Build again."

    def _give_up(self, why: str) -> None:
        """Leave what is left to the next build."""
        for item in self._left.values():
            self._not_done[item.item_id] = Pending(item.candidate_id, why, "worker_died", False)
        self._left.clear()

    def _poison(self, item: Item, death: WorkerDied) -> PermanentError:
        name = printable(_name_of(item))
        said = f"{name}: each of {MAX_TRIES} processes that worked on it ({self.stage.name}) was killed by it ({death})"
        advice = "Get the file again, convert it to FLAC, or remove it; a file that changed is tried again."
        return PermanentError(f"{said}. {advice}", POISON, float(MAX_TRIES))


def _name_of(item: Item) -> str:
    payload = item.payload[0] if isinstance(item.payload, tuple) else item.payload
    location: str = getattr(payload, "location", item.item_id)
    return location.rpartition("/")[2] or item.item_id
