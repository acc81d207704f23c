"""A Prefect API that lives exactly as long as one build, with its records inside the dataset folder.

Prefect's own temporary server survives a parent that is killed. This one reads a pipe that only its parent holds, so
it ends when the parent ends, for whatever reason. `python -m flows.engine.prefect_api` is the child process.
"""

from __future__ import annotations

import http.client
import os
import re
import site
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from aria_data.errors import DatasetError
from aria_data.storage import not_writable, printable, require_space
from flows.engine.prefect_environment import (
    PROXIES,
    URL,
    Ended,
    changed_environment,
    loopback_without_proxy,
    own_environment,
    quiet_environment,
    quiet_prefect,
    settings_of_environment,
)

__all__ = ["Api", "PrefectNotAnswering", "quiet_environment", "quiet_prefect", "temporary_api"]

PORT = "ARIA_DATA_API_PORT"  # which port the child listens on; 0 = a free one
FREE_BYTES = 20_000_000  # Prefect's own database; without room for it the server waits for ever
START_TIMEOUT_S = 120.0  # a fresh home took 25 s on a busy machine
ANSWER_TIMEOUT_S = 5.0  # a server of the user's own that takes longer is not there
MAX_RETRIES = 2  # of a request to the build's own server, which is on this machine
TO_API = "PREFECT_LOGGING_TO_API_ENABLED"  # the log of a run holds nothing; where its server dies, Prefect would say so
ADVICE = f"Mend or unset {URL}, or build with --no-prefect."


class PrefectNotAnswering(DatasetError):
    """There is no Prefect API: the one named does not answer, or the build's own does not start."""

    reason = "prefect_not_answering"


@dataclass(frozen=True)
class Api:
    """A Prefect API in use."""

    url: str
    last_words: Ended  # None also for a server of the user's own


@contextmanager
def temporary_api(home: Path, verbose: bool = False, has_schedules: bool = False, port: int = 0) -> Iterator[Api]:
    """Start a Prefect API for this process and stop it at the end; a `PREFECT_API_URL` already set is used instead.

    It answers when the block begins, and Prefect's settings point to it. With `has_schedules` it also starts scheduled
    runs, and serves Prefect's own pages at its address. `port` 0 is any free port. Raises `PrefectNotAnswering` when it
    does not start or answer, `DatasetNotWritable` where `home` cannot be written.
    """
    url = os.environ.get(URL)
    if url:
        changes: dict[str, str | None] = {"DO_NOT_TRACK": "1", TO_API: os.environ.get(TO_API, "false")}
        changes |= loopback_without_proxy()
        with changed_environment(changes), _settings(url):
            _require_answer(url)
            yield Api(url, lambda: None)
        return
    retries = {} if has_schedules else {"PREFECT_CLIENT_MAX_RETRIES": str(MAX_RETRIES)}
    with (
        changed_environment(own_environment(home, verbose) | retries),
        _proxies_for_runs(has_schedules),
        _server(home, has_schedules, port) as api,
        changed_environment({URL: api.url}),
        _settings(api.url, api.last_words),
    ):
        yield api


@contextmanager
def _proxies_for_runs(has_schedules: bool) -> Iterator[None]:
    """Raise `PrefectNotAnswering` where scheduled runs, which are processes of Prefect's own, would fail at a proxy.

    They ask the API directly, but httpx fails at a proxy or a `no_proxy` that it does not know all the same.
    """
    import httpx

    try:
        if has_schedules:
            httpx.Client().close()
    except Exception as error:  # of three libraries, for three faults
        raise PrefectNotAnswering(
            f"scheduled runs cannot start with the proxy variables of this environment ({printable(str(error))}). "
            "Unset them for this command; --set web.proxy=ADDRESS is the proxy of crawls."
        ) from error
    yield


@contextmanager
def _settings(url: str, ended: Ended | None = None) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(settings_of_environment(ended))
        except Exception as error:  # of pydantic: a variable, a profile or prefect.toml
            said = printable(" ".join(str(error).split()), 300)
            raise PrefectNotAnswering(
                f"{URL}={_shown(url)}: Prefect's settings are not valid ({said}). {ADVICE}"
            ) from error
        yield


def _require_answer(url: str) -> None:
    """Raise `PrefectNotAnswering` unless the server that the user names lets itself be asked, within seconds."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_REQUEST_TIMEOUT, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    try:
        with (
            temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0, PREFECT_API_REQUEST_TIMEOUT: ANSWER_TIMEOUT_S}),
            get_client(sync_client=True) as client,
        ):
            client.read_flows(limit=1)
    except Exception as error:  # refused, unknown host, TLS, 401, 404, another program's answer ...
        raise PrefectNotAnswering(f"{URL}={_shown(url)}: {_why(error)}. {ADVICE}") from error


def _why(error: Exception) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return f"refuses access ({status}); look at PREFECT_API_KEY and PREFECT_API_AUTH_STRING"
    if status is not None:
        return f"is no Prefect API (it answers {status}); its address ends in /api"
    said = printable(" ".join(str(error).split()), 200) or type(error).__name__
    return f"no Prefect API answers there ({said})"


def _shown(url: str) -> str:
    """An address without the name and password that it may hold."""
    scheme, separator, rest = url.rpartition("://")
    host, slash, path = rest.partition("/")
    return printable(f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}")


@contextmanager
def starting_api(home: Path, verbose: bool = False) -> Iterator[Starting]:
    """Start a Prefect API of this process's own, without waiting for it; it is stopped at the end.

    The environment is without variables of the user's own Prefect meanwhile. Raises `DatasetNotWritable` where `home`
    cannot be written.
    """
    retries = {"PREFECT_CLIENT_MAX_RETRIES": str(MAX_RETRIES)}
    with changed_environment(own_environment(home, verbose) | retries), _child(home, False, 0) as starting:
        yield starting


class Starting:
    """A server that was started in a process of its own, and may answer soon."""

    def __init__(self, child: subprocess.Popen, log: Path, began_at: int):
        self._child, self._log, self._began_at = child, log, began_at

    def last_words(self) -> str | None:
        """What it said last, once it has ended; None while it runs."""
        code = self._child.poll()
        return None if code is None else _last_line(self._log, self._began_at, code)

    @property
    def was_killed(self) -> bool:
        """Whether it ended by a signal: it did not fail by itself."""
        return (self._child.poll() or 0) < 0

    def wait(self) -> Api:
        """Wait until it answers. Raises `PrefectNotAnswering` when it ends before, or after two minutes."""
        number = _port(self._child, self.last_words)
        _wait_until_ready(number, self.last_words)
        return Api(f"http://127.0.0.1:{number}/api", self.last_words)


@contextmanager
def settings_for(api: Api) -> Iterator[None]:
    """While the block runs, in this thread, Prefect's clients ask this API and nothing of the user's is in the way."""
    with _settings(api.url, api.last_words):
        yield


@contextmanager
def _server(home: Path, has_schedules: bool, port: int) -> Iterator[Api]:
    """Run the server in a process of its own while the block runs; it answers when the block begins."""
    with _child(home, has_schedules, port) as starting:
        yield starting.wait()


@contextmanager
def _child(home: Path, has_schedules: bool, port: int) -> Iterator[Starting]:
    require_space(home, FREE_BYTES)
    try:
        home.mkdir(parents=True, exist_ok=True)
        log = open(home / "server.log", "ab")  # noqa: SIM115  closed below, after the child
    except OSError as error:
        raise not_writable(home, error) from error
    began_at = log.tell()
    child = subprocess.Popen(
        [sys.executable, "-P", "-W", "ignore", "-m", "flows.engine.prefect_api"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        env=_of_child(has_schedules, port),
        start_new_session=True,  # Ctrl-C is for the build; the server ends after it
    )
    try:
        yield Starting(child, home / "server.log", began_at)
    finally:
        _end(child, log)


def _end(child: subprocess.Popen, log: IO[bytes]) -> None:
    for pipe in (child.stdin, child.stdout):
        if pipe:
            pipe.close()
    child.kill()
    child.wait()
    log.close()


def _of_child(has_schedules: bool, port: int) -> dict[str, str]:
    """The child's environment: no proxy, and the folder that this package lies in, wherever Python was started.

    With the relative address "/api" Prefect's pages call the server that they were loaded from.
    """
    given = {name: value for name, value in os.environ.items() if name.lower() not in PROXIES}
    root = str(Path(__file__).resolve().parents[2])
    if root not in site.getsitepackages():
        given["PYTHONPATH"] = os.pathsep.join(filter(None, (root, given.get("PYTHONPATH"))))
    if has_schedules:
        return given | {PORT: str(port), "PREFECT_UI_ENABLED": "1", "PREFECT_SERVER_UI_API_URL": "/api"}
    return given | {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}


def _port(child: subprocess.Popen, last_words: Ended) -> int:
    """The number that the child prints first. Raises `PrefectNotAnswering` when it ends without."""
    assert child.stdout is not None
    line = child.stdout.readline()
    if not line.strip().isdigit():
        child.wait(5)
        raise PrefectNotAnswering(f"Prefect's API did not start: {last_words()}")
    return int(line)


def _wait_until_ready(port: int, last_words: Ended) -> None:
    """Wait until the server answers. Raises `PrefectNotAnswering` as soon as it has ended, or after two minutes."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        said = last_words()
        if said is not None:
            raise PrefectNotAnswering(f"Prefect's API did not start: {said}")
        if _is_healthy(port):
            return
        time.sleep(0.1)
    raise PrefectNotAnswering(
        f"Prefect's API did not answer within {START_TIMEOUT_S:.0f} s. Look at .prefect/server.log."
    )


def _is_healthy(port: int) -> bool:
    """Ask directly: unlike urllib, http.client knows no proxies."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/api/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _last_line(log: Path, began_at: int, code: int) -> str:
    """What an ended server said last, on one line: the last error of Python's, else the last line."""
    try:
        with open(log, "rb") as file:
            file.seek(max(began_at, file.seek(0, os.SEEK_END) - 20_000))
            lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    except OSError:
        lines = []
    errors = [line for line in lines if re.match(r"[\w.]+(Error|Exception|Exit)\b", line)]
    said = printable((errors or lines or ["it said nothing"])[-1], 300)
    return f"{said} ({f'signal {-code}' if code < 0 else f'exit code {code}'}; {log})"


def _serve() -> None:
    """The child process: bind a port, print its number, serve until standard input closes.

    It works in its home, where no .env, prefect.toml or pyproject.toml of the user's lies.
    """
    import socket

    os.chdir(os.environ["PREFECT_HOME"])
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
