"""Read scores in a process of their own, so that one that is made to take hours or all memory costs a line.

partitura reads what it is given: a rest of a billion quarter notes becomes that many bars, and nothing in this process
could stop it.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aria_data.align.score_files import ScoreNotReached, ScoreUnreadable
from aria_data.errors import UsageError
from aria_data.storage import printable
from aria_data.text.reader_process import ReaderProcess

READ_S = 120.0  # partitura takes 0.3 to 5 s for a piece for piano, a minute for an opera
MAX_MEMORY_BYTES = 6 << 30  # of addresses, of which libraries take a third


class BoundedReader:
    """One process that reads scores, one after another; started when it is first needed. Safe for threads."""

    def __init__(self, read_s: float = READ_S, max_memory_bytes: int = MAX_MEMORY_BYTES):
        self.read_s, self.max_memory_bytes = read_s, max_memory_bytes
        self._process = ReaderProcess("aria_data.align.score_process", str(max_memory_bytes))

    def read(self, path: Path, score_id: str, texts: Mapping[str, str]) -> bytes:
        """Give a score as `score_cache.packed` packs it. Raises `ScoreUnreadable`, also after `read_s`.

        Raises `UsageError` where no score can be read: the process does not start, or there is no space for its files.
        """
        try:
            with tempfile.TemporaryDirectory(prefix="aria-data-score-") as folder:
                return self._read(path, [str(path.absolute()), score_id, dict(texts)], Path(folder) / "score.npz")
        except OSError as error:
            where = tempfile.gettempdir()
            raise UsageError(f"scores cannot be read: {error}. Free space and memory, {where} among it.") from error

    def _read(self, path: Path, asked: list[Any], out: Path) -> bytes:
        said = self._ask(json.dumps([*asked, str(out)]).encode() + b"\n")
        if said is None:
            limits = f"{self.read_s:.0f} s and {self.max_memory_bytes >> 30} GB"
            raise ScoreUnreadable(
                f"{printable(str(path.absolute()), 1000)}: is not read within {limits}. Remove it from the folder."
            )
        message, is_its_fault = said
        if message:
            raise (ScoreUnreadable if is_its_fault else ScoreNotReached)(message)
        return out.read_bytes()

    def _ask(self, line: bytes) -> tuple[str, bool] | None:
        """What the process says of a score (`score_process`); None where it does not answer or has ended."""
        answer = self._process.ask(line, self.read_s)
        return None if answer is None else json.loads(answer)

    def close(self) -> None:
        """End the process."""
        self._process.close()


READER = BoundedReader()
