"""Start a process that reads mutations, and watch over it: does it end, does it hang, what does it open and ask?"""

from __future__ import annotations

import ctypes
import http.server
import json
import os
import selectors
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

LIMIT_S = 60  # what takes a hundred times as long as the slowest of the others hangs
MAX_MEMORY_MB = 1000
IN_OPEN = 0x20


@contextmanager
def decoy_server() -> Iterator[tuple[int, list[str]]]:
    """A real server, so that a connection would be seen and counted. Gives (its port, a word for each connection)."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def handle(self):
            asked.append("a connection")

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield httpd.server_address[1], asked
    httpd.shutdown()
    httpd.server_close()


class Watched:
    """Files of which the kernel tells when one is opened, by whoever."""

    def __init__(self, *paths: Path):
        libc = ctypes.CDLL(None, use_errno=True)
        self.descriptor = libc.inotify_init1(os.O_NONBLOCK)
        for path in paths:
            assert libc.inotify_add_watch(self.descriptor, os.fsencode(path), IN_OPEN) >= 0

    def num_opened(self) -> int:
        try:
            return len(os.read(self.descriptor, 1 << 16)) // struct.calcsize("iIII")
        except BlockingIOError:
            return 0


def rows_of(code: Sequence[object], folder: Path) -> list[list]:
    """Run a script that prints a row when a mutation begins (two values) and when it is read (more); give the latter.

    A mutation at which it dies or hangs fails the test by its name.
    """
    found, begun = [], "the start"
    command = [sys.executable, *map(str, code)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=folder) as child:
        assert child.stdout is not None
        with selectors.DefaultSelector() as waiting:
            waiting.register(child.stdout, selectors.EVENT_READ)
            while waiting.select(LIMIT_S):
                line = child.stdout.readline()
                if not line:
                    break
                row = json.loads(line)
                begun = f"{row[0]} {row[1]}"
                if len(row) > 2:
                    found.append(row)
            else:
                child.kill()
                pytest.fail(f"{begun} hangs")
    assert child.returncode == 0, f"{begun} ended the process: {child.returncode}"
    return found
