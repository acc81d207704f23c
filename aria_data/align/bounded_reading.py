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
from typing import Any

from aria_data.align.score_files import ScoreNotReached, ScoreUnreadable
from aria_data.errors import UsageError
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
        """Give a score as `score_cache.packed` packs it. Raises `ScoreUnreadable`, also after `read_s`.

        Raises `UsageError` where no score can be read: the process does not start, or there is no space for its files.
        """
        try:
            with self._lock, tempfile.TemporaryDirectory(prefix="aria-data-score-") as folder:
                return self._read(path, [str(path.absolute()), score_id, dict(texts)], Path(folder) / "score.npz")
        except OSError as error:
            where = tempfile.gettempdir()
            raise UsageError(f"scores cannot be read: {error}. Free space and memory, {where} among it.") from error

    def _read(self, path: Path, asked: list[Any], out: Path) -> bytes:
        said = self._ask(json.dumps([*asked, str(out)]).encode() + b"\n")
        if said is None:
            limits = f"{self.read_s:.0f} s and {self.max_memory_bytes >> 30} GB"
            raise ScoreUnreadable(
                f"{printable(str(path), 1000)}: is not read within {limits}. Remove it from the folder."
            )
        message, is_its_fault = said
        if message:
            raise (ScoreUnreadable if is_its_fault else ScoreNotReached)(message)
        return out.read_bytes()

    def _ask(self, line: bytes) -> tuple[str, bool] | None:
        """What the process says of a score (`score_process`); None where it does not answer or has ended."""
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
            one_thread = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
            environ = {**os.environ, **one_thread, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environ
            )
            atexit.register(self.close)
            if _answer(self._process, START_S) != "ready":
                code = self._process.poll()
                self.close()
                how = "does not start in time" if code is None else f"ends at its start, with {code}"
                raise OSError(f"the process that reads them {how}")
        return self._process

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        atexit.unregister(self.close)
        if process is not None:
            process.kill()
            process.communicate()


def _answer(process: subprocess.Popen[bytes], within_s: float) -> Any:
    """What the process's next line holds; None where none comes in time."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as waiting:
        waiting.register(process.stdout, selectors.EVENT_READ)
        line = process.stdout.readline() if waiting.select(within_s) else b""
    return json.loads(line) if line.endswith(b"\n") else None


READER = BoundedReader()
