"""Find out whether a foreign reader can read a text in bounded time, in a process that can be stopped.

yt-dlp seeks players in any page with hundreds of patterns, and some of them take hours on a page that is made or broken
for it; so does feedparser on long feeds. Nothing stops a pattern inside this process, where it also holds up every
other thread. So a text is read there first, without a network; only one that was read in time is read here.
"""

from __future__ import annotations

import atexit
import io
import json
import os
import re
import selectors
import subprocess
import sys
import threading
import warnings
from typing import Any

from aria_data.storage import printable
from aria_data.web.addresses import without_secrets
from aria_data.web.failures import fetch_error

READ_S = 30.0  # an ordinary page takes less than a tenth of a second
MAX_MEMORY_BYTES = 2 << 30
READERS = {"page": "yt-dlp", "feed": "feedparser"}
_REFERENCE = re.compile(r"&#([xX][0-9a-fA-F]+|[0-9]+);?")
START_S = 120.0  # until the process has loaded yt-dlp, on a busy machine


class TrialReader:
    """One process that reads pages, one after another; started when it is first needed. Safe for threads."""

    def __init__(self, read_s: float = READ_S):
        self.read_s = read_s
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def require_readable(self, url: str, content: str, kind: str) -> None:
        """Raise `FetchFailed` (unsupported) for a "page" or "feed" that is not read within `read_s` and 2 GB."""
        line = json.dumps([kind, url, content]).encode() + b"\n"
        with self._lock:
            is_read = self._is_read(line)
        if not is_read:
            shown = printable(without_secrets(url), 160)
            why = f"{READERS[kind]} cannot read this {kind} within {self.read_s:.0f} s and 2 GB, so it is left alone."
            raise fetch_error("unsupported", f"{shown}: {why}")

    def _is_read(self, line: bytes) -> bool:
        process = self._started()
        assert process.stdin is not None
        writer = threading.Thread(target=_write, args=(process.stdin, line), daemon=True)
        writer.start()
        is_read = _answers(process, self.read_s)
        if not is_read:
            self.close()
        writer.join()
        return is_read

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            command = [sys.executable, "-m", "aria_data.web.trial_process"]
            environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environ
            )
            atexit.register(self.close)
            _answers(self._process, START_S)
        return self._process

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        atexit.unregister(self.close)
        if process is not None:
            process.kill()
            process.communicate()


def _write(stream: Any, line: bytes) -> None:
    try:
        stream.write(line)
        stream.flush()
    except (OSError, ValueError):  # it was ended meanwhile
        pass


def _answers(process: subprocess.Popen[bytes], within_s: float) -> bool:
    """Whether the process prints a line in time. One that has ended does not: a page can also fill its memory."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as waiting:
        waiting.register(process.stdout, selectors.EVENT_READ)
        return bool(waiting.select(within_s)) and bool(process.stdout.readline())


def parse_feed(content: str) -> Any:
    """Give what feedparser finds in a feed: nothing is requested. Numbers of no character become U+FFFD."""
    import feedparser

    content = _REFERENCE.sub(_of_character, content)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own, about names that changed
        headers = {"content-type": "application/xml; charset=utf-8"}
        return feedparser.parse(io.BytesIO(content.encode("utf-8", "replace")), response_headers=headers)


def _of_character(found: re.Match[str]) -> str:
    digits = found[1].lower()[:12]
    code = int(digits[1:], 16) if digits.startswith("x") else int(digits)
    return found[0] if code < 0xD800 or 0xE000 <= code < 0x110000 else "\ufffd"


TRIAL = TrialReader()
