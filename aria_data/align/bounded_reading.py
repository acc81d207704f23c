"""Read scores in a process of their own, so that one that is made to take hours or all memory costs a line.

partitura reads what it is given: a rest of a billion quarter notes becomes that many bars, and nothing in this process
could stop it.
"""

from __future__ import annotations

import atexit
import json
import os
import selectors
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

from aria_data.align.score_files import ScoreUnreadable
from aria_data.storage import printable

READ_S = 120.0  # partitura takes 0.3 to 5 s for a piece for piano, a minute for an opera
START_S = 120.0  # until the process has loaded partitura, on a busy machine
MAX_MEMORY_BYTES = 6 << 30  # of addresses, of which libraries take a third


class BoundedReader:
    """One process that reads scores, one after another; started when it is first needed. Safe for threads."""

    def __init__(self, read_s: float = READ_S, max_memory_bytes: int = MAX_MEMORY_BYTES):
        self.read_s, self.max_memory_bytes = read_s, max_memory_bytes
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def read(self, path: Path, score_id: str, texts: Mapping[str, str]) -> bytes:
        """Give a score as `score_cache.packed` packs it. Raises `ScoreUnreadable`, also after `read_s`."""
        with self._lock, tempfile.TemporaryDirectory(prefix="aria-data-score-") as folder:
            out = Path(folder) / "score.npz"
            said = self._ask(json.dumps([str(path.absolute()), score_id, dict(texts), str(out)]).encode() + b"\n")
            if said is None:
                limits = f"{self.read_s:.0f} s and {self.max_memory_bytes >> 30} GB"
                raise ScoreUnreadable(
                    f"{printable(str(path), 1000)}: is not read within {limits}. Remove it from the folder."
                )
            if said:
                raise ScoreUnreadable(said)
            return out.read_bytes()

    def _ask(self, line: bytes) -> str | None:
        """What the process says of a score, "" where it was read; None where it does not answer or has ended."""
        process = self._started()
        assert process.stdin is not None
        try:
            process.stdin.write(line)
            process.stdin.flush()
            answer = _answer(process, self.read_s)
        except OSError:
            answer = None
        if answer is None:
            self.close()
        return answer

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            command = [sys.executable, "-m", "aria_data.align.score_process", str(self.max_memory_bytes)]
            environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environ
            )
            atexit.register(self.close)
            _answer(self._process, START_S)
        return self._process

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        atexit.unregister(self.close)
        if process is not None:
            process.kill()
            process.communicate()


def _answer(process: subprocess.Popen[bytes], within_s: float) -> str | None:
    """The process's next line; None where none comes in time."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as waiting:
        waiting.register(process.stdout, selectors.EVENT_READ)
        line = process.stdout.readline() if waiting.select(within_s) else b""
    return json.loads(line) if line.endswith(b"\n") else None


READER = BoundedReader()
