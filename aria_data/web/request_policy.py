"""Checks that every request has to pass: its address, its host's pace, the budget. Opens connections; reads nothing.

A host name is resolved once, every IP address it leads to is checked, and the connection goes to a checked one; so no
second answer of a name server can lead into the own network. This module imports yt-dlp, so import it late.
"""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from yt_dlp.networking._helper import _socket_connect
from yt_dlp.networking.common import Response
from yt_dlp.networking.exceptions import RequestError

from aria_data.errors import AriaDataError
from aria_data.web.addresses import (
    AddressConfig,
    host_of,
    is_public,
    literal_ip,
    may_be_private,
    private_refused,
    require_address,
)
from aria_data.web.pacing import Pacer


class Stopped(RequestError):
    """Carries one of our own errors through yt-dlp, which passes `RequestError` on unchanged."""

    def __init__(self, error: AriaDataError):
        super().__init__(str(error))
        self.error = error


@dataclass(frozen=True)
class Known:
    """A page that was read before and need not be requested again."""

    asked: tuple[str, ...]  # the addresses that lead to it
    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    def answer(self) -> Response:
        headers = {name: value for name, value in self.headers.items() if name != "content-encoding"}
        return Response(io.BytesIO(self.body), self.url, headers, self.status)  # type: ignore[arg-type]


class RequestPolicy:
    """Checks that every request has to pass, and bounds of every answer: `max_page_bytes`, `min_bytes_per_s`, and
    `deadline_s` for the beginning of an answer and for a whole page."""

    def __init__(
        self,
        addresses: AddressConfig,
        pacer: Pacer,
        count_request: Callable[[], None] = lambda: None,
        min_bytes_per_s: float = 1000.0,
        max_page_bytes: int = 20 << 20,
        deadline_s: float = 60.0,
    ):
        self.on_answer: Callable[[str, int, Mapping[str, str]], None] | None = None
        self.known: Known | None = None  # a page that need not be requested again
        self.watched: list[
            Response
        ] = []  # answers since `on_answer` was set; a downloader that gives up leaves them open
        self.addresses, self.pacer, self.count_request = addresses, pacer, count_request
        self.min_bytes_per_s, self.max_page_bytes, self.deadline_s = min_bytes_per_s, max_page_bytes, deadline_s
        self._clock: _Clock | None = None

    def enter(self, url: str, proxy: str | None = None) -> None:
        """Check an address, count the request, wait until it may start. Raises `Stopped` with the `AriaDataError`."""
        try:
            require_address(url, self.addresses)
            if proxy is not None:
                self._require_public_behind_proxy(url)
            self.count_request()
            self.pacer.wait(host_of(url))
        except AriaDataError as error:
            raise Stopped(error) from error

    def connect(
        self, address: tuple[str, int], timeout: Any = None, source: Any = None, *, is_proxy: bool = False
    ) -> socket.socket:
        """Open a connection to this host (name, port), after all its IP addresses were checked.

        Raises `Stopped` for one of the own network, `OSError` when no connection can be opened.
        """
        host, port = address
        found = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
        if not is_proxy and not may_be_private(host, port, self.addresses):
            self._require_public(host, port, found)
        error: OSError | None = None
        for one in found:
            try:
                connection = _socket_connect(one, timeout, source)
                self._start_clock(connection)
                return connection
            except OSError as failure:
                error = failure
        raise error or OSError(f"{host} has no address")

    def _start_clock(self, connection: socket.socket) -> None:
        """End the connection when no answer has begun in time: headers can drip for ever, each byte in time."""
        self.stop_clock()
        self._clock = _Clock(connection, self.deadline_s)

    def stop_clock(self) -> bool:
        """Stop the clock of an answer that has begun, or will not. Gives whether the clock had ended the connection."""
        clock, self._clock = self._clock, None
        return clock is not None and clock.stop()

    def _require_public(self, host: str, port: int, found: list[Any]) -> None:
        """Raise `Stopped` when one of the addresses is private, because any of them may be used."""
        for one in found:
            ip = literal_ip(str(one[4][0]))
            if ip is None or not is_public(ip):
                raise Stopped(private_refused(f"{host}:{port}"))

    def _require_public_behind_proxy(self, url: str) -> None:
        """Check what the host name means here. The proxy resolves it again, and its answer cannot be checked."""
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 443
        if may_be_private(host, port, self.addresses):
            return
        try:
            found = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
        except OSError:
            return  # only the proxy knows this name
        self._require_public(host, port, found)


class _Clock:
    """Ends a connection after some seconds."""

    def __init__(self, connection: socket.socket, seconds: float):
        self._twin = connection.dup()  # of the same connection: TLS replaces the first socket object
        self._has_rung = False
        self._timer = threading.Timer(seconds, self._ring)
        self._timer.daemon = True
        self._timer.start()

    def _ring(self) -> None:
        self._has_rung = True
        with suppress(OSError):
            self._twin.shutdown(socket.SHUT_RDWR)

    def stop(self) -> bool:
        self._timer.cancel()
        self._twin.close()
        return self._has_rung
