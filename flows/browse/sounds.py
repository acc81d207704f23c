"""The sounds that were made last, and parts of them: a browser asks for one in pieces, to begin soon and to jump."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Hashable, Iterator
from typing import BinaryIO

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from flows.browse.remembered import Remembered

MAX_KEPT = 6  # files without a name: 160 MB an hour of sound
MAX_PART_BYTES = 1 << 20  # of an answer to a request for a part


class Sounds:
    """Keeps the sounds that were asked for last, so that each is decoded once."""

    def __init__(self) -> None:
        self._kept: Remembered[_Content] = Remembered(MAX_KEPT)  # a file is closed when no answer reads it any more

    def part(self, request: Request, key: Hashable, make: Callable[[], BinaryIO]) -> Response:
        """Answer with the sound, or with the part of it that a browser asks for. `make` raises what it raises."""
        content = self._kept.get(key, lambda: _content_of(make))
        headers = {"accept-ranges": "bytes"}
        start, dash, end = request.headers.get("range", "").removeprefix("bytes=").partition("-")
        if not dash or not _is_place(start) or int(start) >= content.num_bytes:
            headers["content-length"] = str(content.num_bytes)
            return StreamingResponse(content.pieces(), 200, headers, "audio/wav")
        wanted = int(end) if _is_place(end) else content.num_bytes
        last = min(max(wanted, int(start)), int(start) + MAX_PART_BYTES, content.num_bytes - 1)
        headers["content-range"] = f"bytes {start}-{last}/{content.num_bytes}"
        return Response(content.read(int(start), last + 1 - int(start)), 206, headers, "audio/wav")


def _content_of(make: Callable[[], BinaryIO]) -> _Content:
    with make() as file:
        return _Content(os.dup(file.fileno()))


class _Content:
    """A file's bytes, read without moving its position, since several answers read it at once. Closed when unused."""

    def __init__(self, descriptor: int):
        self._descriptor = descriptor
        self.num_bytes = os.fstat(descriptor).st_size
        weakref.finalize(self, os.close, descriptor)

    def read(self, start: int, count: int) -> bytes:
        return os.pread(self._descriptor, count, start)

    def pieces(self) -> Iterator[bytes]:
        for start in range(0, self.num_bytes, MAX_PART_BYTES):
            yield self.read(start, MAX_PART_BYTES)


def _is_place(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 12
