"""A recipe run as a Prefect flow, which only keeps the record: without it, or after it has died, the recipe still ends.

What the recipe itself gives or raises is told apart from what Prefect's engine raises around it.
"""

from __future__ import annotations

import contextvars
import functools
import inspect
import os
import queue
import threading
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from prefect import Flow

from aria_data.errors import DatasetError
from aria_data.storage import printable
from flows.engine.orders import report
from flows.engine.prefect_api import Api, starting_api, temporary_api
from flows.engine.prefect_environment import URL, quiet_log, quiet_prefect
from flows.engine.record import Record, kept
from flows.engine.tasks import work_on

DRAIN_S = 20.0  # the last events of a run take less than a second; a server that hangs may not hold up a build


class RecipeResult:
    """What a recipe gave or raised, however its flow run ended."""

    def __init__(self) -> None:
        self.has_ended = False
        self.result: Any = None
        self.error: BaseException | None = None

    def of(self, recipe: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap the recipe: note what comes of it."""

        @functools.wraps(recipe)
        def body(*arguments: Any, **named: Any) -> Any:
            try:
                self.result = recipe(*arguments, **named)
            except BaseException as error:
                self.error = error
                raise
            self.has_ended = True
            return self.result

        return body


def run_recorded(recipe: Flow, arguments: Sequence[Any], home: Path, verbose: bool = False) -> Any:
    """Run the recipe, recorded as a flow run by an API in `home`, or as a flow by the server of `PREFECT_API_URL`.

    An API in `home` comes up beside the recipe. Where no API can be had, the recipe runs without, and one line says
    why; where the API dies, it ends as it would have, and one line says that the record is not complete. Raises what
    the recipe raises.
    """
    if os.environ.get(URL):
        return _recorded(recipe, arguments, home, verbose)
    return contextvars.Context().run(_beside, recipe, arguments, home, verbose)  # no part of a flow of the caller's


def _beside(recipe: Flow, arguments: Sequence[Any], home: Path, verbose: bool) -> Any:
    with ExitStack() as stack:
        try:
            starting = stack.enter_context(starting_api(home, verbose))
        except DatasetError as error:
            report(f"the build goes on without Prefect's record of it. {error}")
        else:
            parameters = inspect.signature(recipe.fn).bind(*arguments).arguments
            if not verbose:
                stack.enter_context(quiet_log())
            with kept(Record(starting, recipe, parameters, work_on), recipe.name):
                return recipe.fn(*arguments)
    return run_alone(recipe, arguments, verbose)


def run_alone(recipe: Flow, arguments: Sequence[Any], verbose: bool = False) -> Any:
    """Run the recipe without Prefect, also where a flow of the caller's is running."""
    with quiet_prefect(verbose):
        return contextvars.Context().run(recipe.fn, *arguments)


def _recorded(recipe: Flow, arguments: Sequence[Any], home: Path, verbose: bool) -> Any:
    with ExitStack() as stack:
        try:
            api = stack.enter_context(temporary_api(home, verbose))
        except DatasetError as error:
            report(f"the build goes on without Prefect's record of it. {error}")
        else:
            return _watched(recipe, arguments, api, verbose)
    return run_alone(recipe, arguments, verbose)


def _watched(recipe: Flow, arguments: Sequence[Any], api: Api, verbose: bool) -> Any:
    ended = RecipeResult()
    watched = recipe.with_options()
    watched.fn = ended.of(recipe.fn)
    with ExitStack() as stack:
        if not verbose:
            stack.enter_context(warnings.catch_warnings(action="ignore"))
            stack.enter_context(quiet_log())
        events = stack.enter_context(_Events(api))
        fault: Exception | None = None
        try:
            watched(*arguments)
        except BaseException as error:
            if ended.error is not None:
                raise ended.error from None
            if not isinstance(error, Exception):
                raise
            fault = error
        events.are_lost = fault is not None or api.last_words() is not None
        if events.are_lost:
            report(f"{_why(api, fault)} The build goes on; Prefect's record of it is not complete.")
    return ended.result if ended.has_ended else run_alone(recipe, arguments, verbose)


def _why(api: Api, fault: Exception | None) -> str:
    words = api.last_words()
    if words is not None:
        return f"Prefect's API ended during the build: {words}."
    return (
        f"Prefect's API at {api.url} failed ({printable(' '.join(str(fault).split()), 200) or type(fault).__name__})."
    )


class _Events:
    """What tells the API of tasks, in a thread of Prefect's: one for each API, and at its end at the latest with it.

    Prefect keeps one for all APIs of a process, and would go on at its exit, for minutes, to reach one that has ended.
    """

    def __init__(self, api: Api):
        self.api = api
        self.are_lost = False

    def __enter__(self) -> _Events:
        from prefect.events.clients import PrefectEventsClient
        from prefect.events.worker import EventsWorker, emit_events_to_cloud

        if not emit_events_to_cloud():
            EventsWorker.set_client_override(PrefectEventsClient, api_url=self.api.url, reconnection_attempts=1)
        return self

    def __exit__(self, *error: object) -> None:
        from prefect.events.worker import EventsWorker

        worker = EventsWorker.instance()
        EventsWorker.set_client_override(None)
        if self.are_lost or self.api.last_words() is not None:
            with suppress(queue.Empty):
                while True:
                    worker._queue.get_nowait()
        ending = threading.Thread(target=worker.drain, daemon=True)  # beside an event loop, it would not wait
        ending.start()
        ending.join(DRAIN_S)
