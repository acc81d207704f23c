"""Find out whether a foreign reader can read a text in bounded time, in a process that can be stopped.

yt-dlp seeks players in any page with hundreds of patterns, and some of them take hours on a page that is made or broken
for it; so does feedparser on long feeds. Nothing stops a pattern inside this process, where it also holds up every
other thread. So a text is read there first, without a network; only one that was read in time is read here.
"""

from __future__ import annotations

import io
import json
import re
import warnings
from typing import Any

from aria_data.storage import printable
from aria_data.text.reader_process import ReaderProcess
from aria_data.web.addresses import without_secrets
from aria_data.web.failures import fetch_error

READ_S = 30.0  # an ordinary page takes less than a tenth of a second
MAX_MEMORY_BYTES = 2 << 30
READERS = {"page": "yt-dlp", "feed": "feedparser"}
_REFERENCE = re.compile(r"&#([xX][0-9a-fA-F]+|[0-9]+);?")


class TrialReader:
    """One process that reads pages, one after another; started when it is first needed. Safe for threads."""

    def __init__(self, read_s: float = READ_S):
        self.read_s = read_s
        self._process = ReaderProcess("aria_data.web.trial_process")

    def require_readable(self, url: str, content: str, kind: str) -> None:
        """Raise for a "page" or "feed" that is not read within `read_s` and 2 GB: `FetchFailed` (unsupported).

        Raises `FetchDelayed` where the process that reads it does not start.
        """
        shown = printable(without_secrets(url), 160)
        try:
            answer = self._process.ask(json.dumps([kind, url, content]).encode() + b"\n", self.read_s)
        except OSError as error:
            raise fetch_error(
                "network", f"{shown}: not read, because {error}. Free memory; it is tried again."
            ) from error
        if answer is None:
            why = f"{READERS[kind]} cannot read this {kind} within {self.read_s:.0f} s and 2 GB, so it is left alone."
            raise fetch_error("unsupported", f"{shown}: {why}")

    def close(self) -> None:
        """End the process."""
        self._process.close()


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
