"""Check an answer while audio is fetched: first its headers, then its growing size and time. Makes no requests."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aria_data.download.partial_files import forget, note_answer, stated_size
from aria_data.storage import printable, require_space
from aria_data.web import fetch_error, without_secrets
from aria_data.web.robots import reservation_in

CHECK_SPACE_EVERY = 16 << 20  # bytes


class Watch:
    """The checks of one try at one address. Both methods raise, `fetch_error` or `DatasetNotWritable`, to end it."""

    def __init__(self, partial: Path, url: str, is_direct: bool, is_one_file: bool, max_bytes: int, max_fetch_s: float):
        self._partial, self._url, self._is_direct, self._is_one_file = partial, url, is_direct, is_one_file
        self._max_bytes, self._max_fetch_s = max_bytes, max_fetch_s
        self._began, self._checked_at = time.monotonic(), 0

    def answer(self, url: str, status: int, headers: Mapping[str, str]) -> None:
        """Check the headers (lower-case names) of an answer before its body is read."""
        shown = printable(without_secrets(url), 160)
        if self._is_direct:
            self._require_audio(shown, headers)
        size = stated_size(status, headers)
        if size is None and _is_radio(headers):
            raise fetch_error("live", f"{shown}: is a stream of a radio station, and has no end yet.")
        if size is not None and size > self._max_bytes:
            raise fetch_error("too-long", f"{shown}: {size:,} bytes, more than download.max_bytes allows.", size)
        if size is not None:
            require_space(self._partial, size)
        is_noted = self._is_direct and self._is_one_file
        if is_noted and not note_answer(self._partial, self._url, status, headers):
            forget(self._partial)
            raise fetch_error("network", f"{shown}: gave a part of something else. It is fetched anew.")

    def _require_audio(self, shown: str, headers: Mapping[str, str]) -> None:
        content_type = headers.get("content-type", "").split(";")[0].strip().lower()
        rule = reservation_in(headers)
        if rule:
            raise fetch_error("robots", f"{shown}: the site asks that it is not used ({rule}).")
        if content_type in ("text/html", "application/xhtml+xml"):
            raise fetch_error("unsupported", f"{shown}: is a web page now, not audio.")
        if content_type.endswith("mpegurl") and self._is_one_file:
            raise fetch_error("unsupported", f"{shown}: is a playlist of a stream, not audio.")

    def progress(self, status: Mapping[str, Any]) -> None:
        """Check the bytes and seconds so far. yt-dlp calls this after every block."""
        num_bytes, shown = int(status.get("downloaded_bytes") or 0), printable(without_secrets(self._url), 160)
        if num_bytes > self._max_bytes:
            raise fetch_error(
                "too-long", f"{shown}: more than {self._max_bytes:,} bytes, and no end.", float(num_bytes)
            )
        if time.monotonic() - self._began > self._max_fetch_s:
            raise fetch_error("too-long", f"{shown}: did not end within {self._max_fetch_s:.0f} s.", self._max_fetch_s)
        if num_bytes - self._checked_at > CHECK_SPACE_EVERY:
            self._checked_at = num_bytes
            require_space(self._partial, CHECK_SPACE_EVERY)


def _is_radio(headers: Mapping[str, str]) -> bool:
    """Whether an answer comes from Icecast or SHOUTcast, whose streams last as long as the station."""
    is_named = any(name.startswith(("icy-", "ice-")) for name in headers)
    return is_named or re.search(r"icecast|shoutcast", headers.get("server", ""), re.IGNORECASE) is not None
