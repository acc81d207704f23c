"""A Ray cluster of real nodes on this machine, as `ray start` makes them, for tests that take nodes away and add some.

with Nodes(PYTHONPATH=...) as nodes:
    head = nodes.start_head()
    second = nodes.add(TMPDIR="/small")
    nodes.kill(second)
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile

import psutil
from fakes import use_fakes
from places import SUPPORT

TRIES = 4


class Nodes:
    """Nodes of a cluster, each with one processor. What `given` names is in the environment of their workers."""

    def __init__(self, **given: str):
        port, client = _free_ports(2)
        self._port, self._client_port = port, client
        self.address, self.client_address = f"127.0.0.1:{port}", f"ray://127.0.0.1:{client}"
        quiet = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
        paths = os.pathsep.join([str(SUPPORT), os.environ.get("PYTHONPATH", "")])
        self._environment = {**os.environ, "PYTHONPATH": paths, **quiet, **given}

    def __enter__(self) -> Nodes:
        self._folder = tempfile.mkdtemp(prefix="ray-")  # short: sockets lie in it
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start_head(self) -> set[int]:
        """Start the first node, or start it again. Gives the ids of what it consists of."""
        options = (
            f"--port={self._port}",
            f"--ray-client-server-port={self._client_port}",
            f"--temp-dir={self._folder}",
        )
        return self._start("--head", "--include-dashboard=false", *options)

    def add(self, **given: str) -> set[int]:
        """Start another node. Gives the ids of what it consists of."""
        return self._start(f"--address={self.address}", **given)

    def stop(self) -> None:
        """Kill all nodes."""
        self.kill(self._processes())

    def _start(self, *options: str, **given: str) -> set[int]:
        before = self._processes()
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--num-cpus=1", "--disable-usage-stats"]
        for _ in range(TRIES):
            run = subprocess.run(
                [*command, *options], capture_output=True, text=True, env=self._environment | given, check=False
            )
            if run.returncode == 0:
                return self._processes() - before
            self.kill(self._processes() - before)  # Ray gives a node 30 s, which a busy machine may not keep
        raise AssertionError(run.stderr[-2000:])

    def _processes(self) -> set[int]:
        """Processes that name this cluster's port, as all of Ray's own do."""
        found = set()
        for each in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                named = [word.rpartition("=")[2].rpartition(":")[2] for word in each.cmdline()[1:]]
                if str(self._port) in named and each.pid != os.getpid():
                    found.add(each.pid)
        return found

    def kill(self, pids: set[int]) -> None:
        """Kill processes and what they started, without a word, as a machine ends that is taken away."""
        for pid in pids:
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(pid)
                for each in [process, *process.children(recursive=True)]:
                    each.kill()


def _free_ports(count: int) -> list[int]:
    found: list[int] = []
    with contextlib.ExitStack() as held:
        while len(found) < count:
            one = held.enter_context(socket.socket())
            one.bind(("127.0.0.1", 0))
            found.append(one.getsockname()[1])
    return found


def use_workers_of_tests(patch, marks) -> None:
    """Builds have their work done by stand-ins on a cluster, in small pieces; `marks` is the folder of marks."""
    from flows.executors import on_ray

    use_fakes(patch)
    patch.setattr(on_ray, "WORK_OFF", "fake_worker:work_off")
    patch.setattr(on_ray, "CHUNK_S", 0.2)  # many pieces
    patch.setattr(on_ray, "FIRST_AUDIO_S", {"ingest": 5.0, "transcribe": 5.0})
    patch.setattr(on_ray, "GONE_S", 1.0)
    patch.setenv("PYTHONPATH", os.pathsep.join([str(SUPPORT), os.environ.get("PYTHONPATH", "")]))
    patch.setenv("MARKS", str(marks))
    patch.setenv("RAY_AUTH_MODE", "disabled")
    patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
