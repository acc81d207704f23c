"""A team's Prefect for tests: PostgreSQL where it is installed, a server, the deployments of prefect.yaml, workers.

with Database(folder) as database, Server(folder, database.url) as server:
    server.start()
    server.stop(); server.start()       # as after a crash: the same port, the same database
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from places import ROOT

PREFECT = str(Path(sys.executable).with_name("prefect"))
STARTS_S = 180  # a guard


def postgres() -> str | None:
    """The folder of PostgreSQL's programs; None where it is not installed."""
    found = shutil.which("postgres")
    return str(Path(found).resolve().parent) if found else None


class Database:
    """PostgreSQL in a folder, of an empty database."""

    def __init__(self, folder: Path):
        self.folder, self.port = folder, free_port()
        self.url = f"postgresql+asyncpg://prefect@127.0.0.1:{self.port}/postgres"

    def __enter__(self) -> Database:
        self.folder.mkdir()
        if os.getuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
            for above in self.folder.parents[:-2]:  # pytest's folders are for root only
                above.chmod(above.stat().st_mode | 0o011)
        self._run("initdb", "-U", "prefect", "-A", "trust", "-D", str(self.folder / "data"))
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        data, log = str(self.folder / "data"), str(self.folder / "log")
        self._run("pg_ctl", "-w", "-D", data, "-l", log, "-o", options, "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-w", "-D", str(self.folder / "data"), "-m", "immediate", "stop")

    def _run(self, program: str, *arguments: str) -> None:
        user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}
        command = [str(Path(str(postgres())) / program), *arguments]
        with open(os.devnull) as nothing:
            ended = subprocess.run(
                command, stdin=nothing, capture_output=program == "initdb", text=True, cwd="/", check=False, **user
            )
        assert ended.returncode == 0, ended.stderr


class Server:
    """Prefect's server at one port, with its database."""

    def __init__(self, folder: Path, database: str = ""):
        self.folder, self.port = folder, free_port()
        self.api = f"http://127.0.0.1:{self.port}/api"
        mine = {"PREFECT_HOME": str(folder / ".prefect"), "PREFECT_API_URL": self.api}
        quiet = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_SERVER_UI_ENABLED": "false", "DO_NOT_TRACK": "1"}
        at = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": database} if database else {}
        self.environment = os.environ | mine | quiet | at
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> Server:
        self.folder.mkdir(exist_ok=True)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        command = [PREFECT, "server", "start", "--host", "127.0.0.1", "--port", str(self.port)]
        with open(self.folder / "server.log", "ab") as log:
            self._process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log, cwd=self.folder)
        ends = time.monotonic() + STARTS_S
        while not self._answers():
            assert time.monotonic() < ends, (self.folder / "server.log").read_text()[-3000:]
            time.sleep(0.5)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.api}/health", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def stop(self) -> None:
        """Kill it, with what it started."""
        assert self._process is not None
        for each in [*psutil.Process(self._process.pid).children(recursive=True), self._process]:
            each.send_signal(signal.SIGKILL)
        self._process.wait()

    @contextmanager
    def client(self) -> Iterator[Any]:
        """A client of this server."""
        from prefect.client.orchestration import get_client
        from prefect.settings import PREFECT_API_URL, temporary_settings

        with temporary_settings({PREFECT_API_URL: self.api}), get_client(sync_client=True) as client:
            yield client

    def run(self, *arguments: str, **given: str) -> None:
        """Run a command of Prefect's."""
        command = [PREFECT, "--no-prompt", *arguments]
        ended = subprocess.run(command, env=self.environment | given, cwd=ROOT, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stdout + ended.stderr


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
