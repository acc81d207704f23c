"""A Prefect API that lives exactly as long as one build, with its records inside the dataset folder.

Prefect's own temporary server survives a parent that is killed. This one reads a pipe that only its parent holds, so
it ends when the parent ends, for whatever reason. `python -m flows.engine.prefect_api` is the child process.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from aria_data.errors import DatasetError
from aria_data.storage import not_writable, require_space

PORT = "ARIA_DATA_API_PORT"  # which port the child listens on; 0 = a free one
FREE_BYTES = 20_000_000  # Prefect's own database; without room for it the server waits for ever
START_TIMEOUT_S = 120.0  # a fresh home took 25 s on a busy machine


def quiet_environment(home: Path, verbose: bool) -> dict[str, str]:
    """Environment variables that keep Prefect's files in `home`, its telemetry off and, unless `verbose`, its log
    silent."""
    return {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_LOGGING_LEVEL": "INFO" if verbose else "CRITICAL",
        "PREFECT_LOGGING_TO_API_ENABLED": "false",
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
        "PREFECT_CLI_COLORS": "false",
    }


@contextmanager
def temporary_api(home: Path, verbose: bool = False, has_schedules: bool = False, port: int = 0) -> Iterator[None]:
    """Start a Prefect API for this process and stop it at the end; a `PREFECT_API_URL` already set is used instead.

    With `has_schedules` it also starts scheduled runs, and serves Prefect's own pages at its address. `port` 0 is any
    free port. Raises `DatasetError` when it does not start, `DatasetNotWritable` where `home` cannot be written.

    Prefect reads its settings when it is first imported, so they go into the environment. Where Prefect was imported
    before, `settings_of_environment` makes it follow them.
    """
    if os.environ.get("PREFECT_API_URL"):
        with changed_environment({"DO_NOT_TRACK": "1"}):
            yield
        return
    with (
        changed_environment(quiet_environment(home, verbose)),
        _server(home, has_schedules, port) as url,
        changed_environment({"PREFECT_API_URL": url}),
    ):
        yield


@contextmanager
def _server(home: Path, has_schedules: bool, port: int) -> Iterator[str]:
    """Run the server in a process of its own while the block runs; gives its address."""
    require_space(home, FREE_BYTES)
    try:
        home.mkdir(parents=True, exist_ok=True)
        log = open(home / "server.log", "ab")  # noqa: SIM115  closed below, after the child
    except OSError as error:
        raise not_writable(home, error) from error
    child = subprocess.Popen(
        [sys.executable, "-m", "flows.engine.prefect_api"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        env=os.environ | (_for_schedules(port) if has_schedules else _FOR_ONE_JOB),
        start_new_session=True,  # Ctrl-C is for the build; the server ends after it
    )
    try:
        yield f"http://127.0.0.1:{_port(child, home)}/api"
    finally:
        for pipe in (child.stdin, child.stdout):
            if pipe:
                pipe.close()
        child.kill()
        child.wait()
        log.close()


_FOR_ONE_JOB = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}


def _for_schedules(port: int) -> dict[str, str]:
    """With the relative address "/api" Prefect's pages call the server that they were loaded from."""
    return {PORT: str(port), "PREFECT_UI_ENABLED": "1", "PREFECT_SERVER_UI_API_URL": "/api"}


@contextmanager
def quiet_prefect(home: Path | None = None, verbose: bool = False) -> Iterator[None]:
    """Set an environment in which Prefect may be imported, its files in `home` or in a temporary folder.

    With a `home`, an environment that already names a server (`PREFECT_API_URL`) is left as it is.
    """
    if home is not None and os.environ.get("PREFECT_API_URL"):
        yield
        return
    with ExitStack() as stack:
        folder = home or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(changed_environment(quiet_environment(folder, verbose)))
        yield


@contextmanager
def changed_environment(changes: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables while the block runs; afterwards each has its former value."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def settings_of_environment() -> Iterator[None]:
    """While the block runs, Prefect follows the environment as it is now, whenever it was imported."""
    from prefect.settings import (
        PREFECT_API_URL,
        PREFECT_HOME,
        PREFECT_LOGGING_LEVEL,
        PREFECT_LOGGING_TO_API_ENABLED,
        temporary_settings,
    )

    known = (PREFECT_API_URL, PREFECT_HOME, PREFECT_LOGGING_LEVEL, PREFECT_LOGGING_TO_API_ENABLED)
    settings = {setting: os.environ[setting.name] for setting in known if setting.name in os.environ}
    with temporary_settings(settings), _prefect_loggers_at(os.environ.get("PREFECT_LOGGING_LEVEL")):
        yield


@contextmanager
def _prefect_loggers_at(level: str | None) -> Iterator[None]:
    """Loggers have the level of the moment in which Prefect was imported; hold them at this one for a while."""
    loggers = [logging.getLogger(name) for name in ("prefect", "prefect.flow_runs", "prefect.task_runs")]
    before = [logger.level for logger in loggers]
    try:
        for logger in loggers if level else ():
            logger.setLevel(level or logging.NOTSET)
        yield
    finally:
        for logger, its_level in zip(loggers, before, strict=True):
            logger.setLevel(its_level)


def wait_until_ready() -> None:
    """Wait until the API answers. Raises `DatasetError` when it does not within two minutes."""
    url, deadline = os.environ["PREFECT_API_URL"], time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise DatasetError(f"Prefect's API at {url} does not answer. Look at .prefect/server.log in the dataset folder.")


def _port(child: subprocess.Popen, home: Path) -> int:
    assert child.stdout is not None
    line = child.stdout.readline()
    if not line.strip().isdigit():
        raise DatasetError(f"Prefect's API did not start. {home / 'server.log'} says why.")
    return int(line)


def _serve() -> None:
    """The child process: bind a port, print its number, serve until standard input closes."""
    import socket

    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", int(os.environ.get(PORT, "0"))))
    print(listener.getsockname()[1], flush=True)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import uvicorn
    from prefect.server.api.server import create_app

    uvicorn.Server(uvicorn.Config(create_app, factory=True, log_level="error", lifespan="on")).run(sockets=[listener])


def _end_with_parent() -> None:
    while os.read(0, 1024):
        continue
    os._exit(0)


if __name__ == "__main__":
    _serve()
