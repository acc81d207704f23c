"""Environment variables and settings under which Prefect works for a build, and how they are given back. No server.

Prefect is a guest: what its user set for other work (`PREFECT_...` variables, profiles, files in the working folder)
does not reach the API of a build, and after the build everything is as it was.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

URL = "PREFECT_API_URL"  # set by people who have a server of their own
LOOPBACK = ("127.0.0.1", "localhost", "::1")
Ended = Callable[[], str | None]  # why a server has ended; None while it runs
PROXIES = ("http_proxy", "https_proxy", "all_proxy")


def quiet_environment(home: Path, verbose: bool) -> dict[str, str]:
    """Environment variables that keep Prefect's files in `home`, its telemetry off and, unless `verbose`, its log
    silent."""
    return {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_LOGGING_LEVEL": "INFO" if verbose else "CRITICAL",
        "PREFECT_LOGGING_INTERNAL_LEVEL": "ERROR" if verbose else "CRITICAL",
        "PREFECT_LOGGING_TO_API_ENABLED": "false",
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
        "PREFECT_CLI_COLORS": "false",
    }


def own_environment(home: Path, verbose: bool) -> dict[str, str | None]:
    """The changes that leave no inherited `PREFECT_...` variable (None: remove it), only those of `quiet_environment`.

    Prefect reads its variables in upper and lower case.
    """
    inherited: dict[str, str | None] = {name: None for name in os.environ if name.upper().startswith("PREFECT_")}
    no_second_server = {"PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false"}
    return inherited | quiet_environment(home, verbose) | no_second_server | loopback_without_proxy()


def loopback_without_proxy() -> dict[str, str]:
    """The changes to `no_proxy` that keep requests to this machine away from a proxy. None where there is no proxy."""
    if not any(os.environ.get(name) or os.environ.get(name.upper()) for name in PROXIES):
        return {}
    lower, upper = os.environ.get("no_proxy", ""), os.environ.get("NO_PROXY", "")
    return {"no_proxy": _with_loopback(lower or upper), "NO_PROXY": _with_loopback(upper or lower)}


def _with_loopback(hosts: str) -> str:
    return hosts if hosts.strip() == "*" else ",".join([*filter(None, (hosts.strip(" ,"),)), *LOOPBACK])


def is_loopback(url: str) -> bool:
    """Whether an address is on this machine: localhost, 127.0.0.0/8, ::1."""
    with suppress(ValueError):
        host = urlsplit(str(url)).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    return False


@contextmanager
def quiet_prefect(verbose: bool = False) -> Iterator[None]:
    """Set an environment in which Prefect may be imported: nothing of the user's, its files in a temporary folder."""
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home,
        changed_environment(own_environment(Path(home), verbose)),
    ):
        yield


@contextmanager
def changed_environment(changes: Mapping[str, str | None]) -> Iterator[None]:
    """Set environment variables (None: remove) while the block runs; afterwards each has its former value."""
    before = {name: os.environ.get(name) for name in changes}
    try:
        _set(changes)
        yield
    finally:
        _set(before)


@contextmanager
def kept_environment() -> Iterator[None]:
    """Give every environment variable its former value afterwards, also those that imported libraries set."""
    before = dict(os.environ)
    try:
        yield
    finally:
        _set({name: before.get(name) for name in {*before, *os.environ}})


def _set(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@contextmanager
def settings_of_environment(ended: Ended | None = None) -> Iterator[None]:
    """While the block runs, Prefect follows the environment as it is now, whenever it was imported.

    `ended` belongs to a server of the build's own. With it, settings are read from nothing but the environment: from no
    profile and no file in the working folder; and requests fail at once when the server has ended. A server on this
    machine is asked without a proxy.
    """
    from prefect.context import SettingsContext, get_settings_context

    settings = _fresh_settings(is_own=ended is not None)
    context = SettingsContext(profile=get_settings_context().profile, settings=settings)
    with context, _prefect_loggers_at(settings.logging.level, settings.internal.logging_level), _local_clients(ended):
        yield


def _fresh_settings(is_own: bool) -> Any:
    from prefect.settings import Settings
    from prefect.settings.base import PrefectBaseSettings

    if not is_own:
        return Settings()
    every_source: Any = PrefectBaseSettings.settings_customise_sources

    def without_files(cls: Any, *sources: Any, **named: Any) -> tuple[Any, ...]:
        return every_source.__func__(cls, *sources, **named)[:2]  # arguments, environment

    with (
        _replaced(PrefectBaseSettings, "settings_customise_sources", classmethod(without_files)),
        warnings.catch_warnings(action="ignore"),  # that files are not read is meant
    ):
        return Settings()


@contextmanager
def _local_clients(ended: Ended | None) -> Iterator[None]:
    """Make Prefect's clients ask servers on this machine directly, and none that has `ended`.

    The environment alone cannot: httpx fails for a proxy or a `no_proxy` that it does not understand, also where the
    proxy would not be used. Prefect repeats requests to a server that is gone, with pauses.
    """
    from prefect.client import orchestration

    gone: list[Exception] = []  # a request that failed to the last attempt; the next ones need no attempts

    def refuse(request: Any) -> None:
        if gone or (ended and ended() is not None):
            raise ConnectionError("Prefect's API has ended.")

    async def refuse_async(request: Any) -> None:
        refuse(request)

    sync, asynchronous = orchestration.PrefectHttpxSyncClient, orchestration.PrefectHttpxAsyncClient
    with (
        _replaced(orchestration, "PrefectHttpxSyncClient", _local(sync, refuse, gone)),
        _replaced(orchestration, "PrefectHttpxAsyncClient", _local(asynchronous, refuse_async)),
    ):
        yield


def _local(client: Callable[..., Any], hook: Callable[..., Any], gone: list[Exception] | None = None) -> Any:
    """Make a client's class one that asks this machine directly, calls `hook` first, and notes in `gone` a failure."""
    from httpx import TransportError

    def make(**settings: Any) -> Any:
        trust = {"trust_env": False} if is_loopback(settings.get("base_url", "")) else {}
        made = client(**{**settings, **trust, "event_hooks": {"request": [hook]}})
        send = made.send

        def noting(*arguments: Any, **named: Any) -> Any:
            try:
                return send(*arguments, **named)
            except TransportError as error:
                gone.append(error)  # type: ignore[union-attr]
                raise

        if gone is not None:
            made.send = noting
        return made

    return make


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = owner.__dict__[name]
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextmanager
def _prefect_loggers_at(level: str, internal_level: str) -> Iterator[None]:
    """Loggers have the levels of the moment in which Prefect was imported; hold them at these for a while."""
    levels = dict.fromkeys(("prefect", "prefect.flow_runs", "prefect.task_runs"), level)
    levels["prefect._internal"] = internal_level
    before = {name: logging.getLogger(name).level for name in levels}
    try:
        for name, its_level in levels.items():
            logging.getLogger(name).setLevel(its_level)
        yield
    finally:
        for name, number in before.items():
            logging.getLogger(name).setLevel(number)


@contextmanager
def quiet_log() -> Iterator[None]:
    """Keep Prefect's log from the terminal while the block runs."""
    handlers = [*logging.getLogger().handlers, *logging.getLogger("prefect._internal").handlers]

    def is_of_others(record: logging.LogRecord) -> bool:
        return not record.name.startswith("prefect")

    for handler in handlers:
        handler.addFilter(is_of_others)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(is_of_others)
