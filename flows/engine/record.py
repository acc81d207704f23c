"""Prefect's record of a build, kept beside the work: its API comes up while the recipe runs, and is told what happened.

The recipe does not wait for it, and does not notice when it fails: one line says so, and the build goes on.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prefect import Flow

from aria_data.errors import DatasetError
from aria_data.storage import printable
from flows.engine.orders import report
from flows.engine.prefect_api import Starting, settings_for

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.states import State

DRAIN_S = 20.0  # without an answer, after the end of the recipe: a server that hangs may not hold up a build


@dataclass(frozen=True)
class Done:
    """A piece of work that has ended, as a task run; or the recipe itself, as the flow run."""

    name: str
    seconds: float
    fault: str = ""  # why it failed; "" where it did not
    is_recipe: bool = False


class Record:
    """What a build does, for Prefect's API, which a thread of its own tells as soon as it answers."""

    def __init__(self, starting: Starting, recipe: Flow, parameters: Mapping[str, Any], task: Any):
        self._starting, self._recipe, self._parameters, self._task = starting, recipe, dict(parameters), task
        self._waiting: queue.SimpleQueue[Done] = queue.SimpleQueue()
        self._has_begun = threading.Event()
        self._is_given_up = False
        self._thread = threading.Thread(target=self._keep, name="prefect record", daemon=True)
        self._thread.start()

    @contextmanager
    def of(self, name: str, is_recipe: bool = False) -> Iterator[None]:
        """Note that this work ran as long as the block, and what it raised."""
        began = time.monotonic()
        try:
            yield
        except BaseException as error:
            said = printable(" ".join(str(error).split()), 300)
            self._waiting.put(Done(name, time.monotonic() - began, said or type(error).__name__, is_recipe))
            raise
        self._waiting.put(Done(name, time.monotonic() - began, "", is_recipe))

    def finish(self) -> None:
        """Wait until everything noted is told, as long as the API comes up or answers."""
        self._has_begun.wait()
        while self._thread.is_alive():
            num_left = self._waiting.qsize()
            self._thread.join(DRAIN_S)
            if self._thread.is_alive() and self._waiting.qsize() == num_left:
                report("Prefect's API does not answer. Prefect's record of the build is not complete.")
                return

    def give_up(self) -> None:
        """Say nothing more: the build was stopped, or failed before there was an API."""
        self._is_given_up = True

    @property
    def has_begun(self) -> bool:
        """Whether the API answers, or never will."""
        return self._has_begun.is_set()

    def _keep(self) -> None:
        url = ""
        try:
            api = self._starting.wait()
            url = api.url
            self._has_begun.set()
            from prefect.client.orchestration import SyncPrefectClient

            with settings_for(api), SyncPrefectClient(url, httpx_settings={"trust_env": False}) as client:
                self._tell(client)
        except Exception as error:  # of the network, of Prefect, of its database
            if not self._is_given_up:
                self._report(error, url)
        finally:
            self._has_begun.set()

    def _tell(self, client: SyncPrefectClient) -> None:
        from prefect.states import Completed, Failed, Running

        def ended(done: Done) -> State:
            said = f"{done.seconds:.1f} s"
            return Failed(message=f"{done.fault} ({said})") if done.fault else Completed(message=said)

        run = client.create_flow_run(self._recipe, parameters=self._parameters, state=Running())
        for number, done in enumerate(iter(self._waiting.get, None)):
            if done.is_recipe:
                client.set_flow_run_state(run.id, ended(done), force=True)
                return
            task_run = client.create_task_run(self._task, run.id, str(number), name=done.name, state=Running())
            client.set_task_run_state(task_run.id, ended(done), force=True)

    def _report(self, error: Exception, url: str) -> None:
        words = self._starting.last_words()
        if words is not None and (url or self._starting.was_killed):
            said = f"Prefect's API ended during the build: {words}."
        elif isinstance(error, DatasetError):
            report(f"the build goes on without Prefect's record of it. {error}")
            return
        else:
            said = f"Prefect's API at {url} failed ({printable(' '.join(str(error).split()), 200)})."
        report(f"{said} The build goes on; Prefect's record of it is not complete.")


RECORD: ContextVar[Record | None] = ContextVar("record", default=None)  # of the build that runs in this context


@contextmanager
def kept(record: Record, name: str) -> Iterator[None]:
    """While a recipe runs as the block, `record` is that of everything in it; then it is completed, if it can be."""
    token = RECORD.set(record)
    try:
        with record.of(name, is_recipe=True):
            yield
        record.finish()
    except BaseException as error:
        if isinstance(error, Exception) and record.has_begun:
            record.finish()
        record.give_up()
        raise
    finally:
        RECORD.reset(token)
