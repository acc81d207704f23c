"""A process that reads what comes from outside, one thing after another, and is ended where that takes too long.

Some libraries take hours or all memory for a file that is made or broken for it, and nothing could stop them in this
process, where they also hold up every other thread.
"""

from __future__ import annotations

import atexit
import os
import selectors
import subprocess
import sys
import threading
from contextlib import suppress
from typing import Any

START_S = 120.0  # until the process has loaded its libraries, on a busy machine
_ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class ReaderProcess:
    """A module of this package, run with these arguments, that prints a line when it is ready and one for each it gets.

    It is started when it is first asked, and anew where it has ended. Safe for threads: one asks at a time.
    """

    def __init__(self, module: str, *arguments: str):
        self._command = [sys.executable, "-m", module, *arguments]
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, line: bytes, within_s: float) -> bytes | None:
        """Give its answer to a line; None where it does not answer in time, or ends: it may have filled its memory.

        Raises `OSError` where it does not start.
        """
        with self._lock:
            process = self._started()
            writer = threading.Thread(target=_write, args=(process.stdin, line), daemon=True)
            writer.start()  # beside: a long line waits until it is read
            answer = _line_of(process, within_s)
            if answer is None:
                self._end()
            writer.join()
            return answer

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._end()
            environ = {**os.environ, **_ONE_THREAD, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environ
            )
            atexit.register(self._end)
            if _line_of(self._process, START_S) is None:
                code = self._process.poll()
                self._end()
                how = "does not start in time" if code is None else f"ends at its start, with {code}"
                raise OSError(f"the process that reads them {how}")
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        atexit.unregister(self._end)
        if process is not None:
            process.kill()
            process.communicate()


def _write(stream: Any, line: bytes) -> None:
    with suppress(OSError, ValueError):  # it was ended meanwhile
        stream.write(line)
        stream.flush()


def _line_of(process: subprocess.Popen[bytes], within_s: float) -> bytes | None:
    """The next line that the process prints; None where none comes in time."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as waiting:
        waiting.register(process.stdout, selectors.EVENT_READ)
        line = process.stdout.readline() if waiting.select(within_s) else b""
    return line if line.endswith(b"\n") else None
