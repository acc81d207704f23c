"""This machine as executor: the transcriber in a process of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from aria_data.errors import AriaDataError
from aria_data.storage.stage_tables import Outcome
from flows.engine.context import BuildContext, Item, Stage
from flows.engine.stages import INGEST, TRANSCRIBE
from flows.executors.assignments import Assignment, Begun, Finished, Rest, Setup
from flows.executors.away import Away
from flows.workers.processes import WorkerDied, WorkerNotStarted, Workers, WorkerUnfit

PLACED = frozenset({TRANSCRIBE.name})  # stages whose work `Local` does in a process of its own, which has the model
WORK_OFF, LOAD = "flows.executors.assignments:work_off", "flows.executors.assignments:load"
KEPT_S = 3600.0  # a process with a model is kept as long though nothing comes: the build ends it


class Local:
    """Transcribes in a process of its own, which loads the model while the first files are decoded; all else is done
    here, decoding in worker processes (`flows.engine.sound_stages`)."""

    name = "local"
    num_places = 1

    def __init__(self, context: BuildContext):
        self._setup = Setup.of(context)
        self._workers = Workers(1, "transcribes", {}, KEPT_S)
        self._loading: threading.Thread | None = None

    def work(self, context: BuildContext, stage: Stage, items: Sequence[Item]) -> Iterator[Outcome]:
        """See `Executor`."""
        if stage.name in PLACED:
            return _InProcess(self._workers, self._setup, context, stage, items).outcomes()
        if stage.name == INGEST.name and items:
            self._load_soon()
        return stage.work(context, stage, items)

    def is_counted(self, stage: Stage) -> bool:
        """See `Executor`."""
        return False

    def _load_soon(self) -> None:
        """Start the process and let it load the model, beside what is done here."""
        if self._loading is None:
            self._loading = threading.Thread(target=self._load, name="load transcriber", daemon=True)
            self._loading.start()

    def _load(self) -> None:
        with suppress(WorkerDied, AriaDataError):  # the first assignment says what is wrong
            for _ in self._workers.call(LOAD, self._setup).once():
                pass

    def close(self) -> None:
        """End the process."""
        self._workers.close()


class _InProcess(Away):
    """Items for the one process that has the model."""

    def __init__(self, workers: Workers, setup: Setup, *work: Any):
        super().__init__(*work)
        self._workers, self._setup = workers, setup

    def attempt(self, items: Sequence[Item]) -> Iterator[Sequence[Begun | Finished | Rest]]:
        """See `Away.attempt`."""
        call = self._workers.call(WORK_OFF, Assignment(self._setup, self.stage.name, tuple(items)))
        try:
            for message in call.once():
                yield (message,)
        except WorkerNotStarted as error:
            raise WorkerUnfit(str(error)) from error
        yield (call.result,)
