"""A website for tests: pages with audio, playlists, a feed, a site of linked items, and faults on purpose.

    with Site() as site:
        site.add_audio("/a.mp3", seconds=8)
        site.add_page("/a.html", title="Sonata for solo piano", audio=["/a.mp3"])
        site.address("/a.html"); site.hits["/a.mp3"]

A real server on loopback, so that a real client is tested.
"""

from __future__ import annotations

import functools
import hashlib
import io
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from xml.sax.saxutils import escape

from fakes import melody

RATE = 16_000
Answer = Callable[["Handler"], None]


@functools.cache
def sound(seconds: float, number: int = 0, format_: str = "flac") -> bytes:
    """A melody as a file's bytes; other numbers are other melodies."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, melody(seconds, seed=number), RATE, format=format_.upper())
    return buffer.getvalue()


def a_web(**more) -> Any:
    """A `Web` that reaches `Site`, without pauses or a budget, with these settings of `WebConfig` besides."""
    from aria_data.web import RequestBudget, Web, WebConfig

    given = {"allow_hosts": ("127.0.0.1",), "min_interval_s": 0.0, "jitter": 0.0, "max_failures": 1000, **more}
    return Web(WebConfig(**given), RequestBudget(0))


class Site:
    """Routes by path; every request is counted in `hits` and kept in `requests` as (method, path, headers)."""

    def __init__(self) -> None:
        self.routes: dict[str, Answer] = {}
        self.hits: Counter[str] = Counter()
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.default: Answer = lambda handler: handler.give(404, b"nothing here", "text/plain")
        self.lock = threading.Lock()

    def __enter__(self) -> Site:
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"site": self}))
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def address(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server.server_port}{path}"

    def route(self, path: str, answer: Answer) -> str:
        self.routes[path] = answer
        return self.address(path)

    def add(self, path: str, body: bytes | str, kind: str = "text/html", **headers: str) -> str:
        content = body.encode() if isinstance(body, str) else body
        return self.route(path, lambda handler: handler.give(200, content, kind, **headers))

    def add_audio(self, path: str, seconds: float = 8.0, number: int = 0, format_: str = "flac", **headers: str) -> str:
        content = sound(seconds, number, format_)
        return self.route(path, lambda handler: handler.give_file(content, f"audio/{format_}", **headers))

    def add_page(
        self, path: str, title: str, audio: list[str] | None = None, links: list[str] | None = None, head: str = ""
    ) -> str:
        players = "".join(f'<audio controls src="{one}"></audio>' for one in audio or ())
        anchors = "".join(f'<a href="{one}">more</a>' for one in links or ())
        return self.add(
            path, f"<html><head><title>{escape(title)}</title>{head}</head><body>{players}{anchors}</body></html>"
        )

    def add_feed(self, path: str, items: list[tuple[str, str]], title: str = "A podcast") -> str:
        entries = "".join(
            f"<item><title>{escape(name)}</title>"
            f'<enclosure url="{self.address(audio)}" type="audio/flac" length="9"/></item>'
            for name, audio in items
        )
        body = f'<?xml version="1.0"?><rss version="2.0"><channel><title>{title}</title>{entries}</channel></rss>'
        return self.add(path, body, "application/rss+xml")

    def once(self, path: str, first: Answer) -> None:
        """Give another answer to the first request for an existing path."""
        then, state = self.routes[path], {"is_first": True}

        def answer(handler: Handler) -> None:
            with self.lock:
                is_first, state["is_first"] = state["is_first"], False
            (first if is_first else then)(handler)

        self.routes[path] = answer


class Handler(BaseHTTPRequestHandler):
    site: Site
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        with self.site.lock:
            self.site.hits[self.path] += 1
            self.site.requests.append((self.command, self.path, dict(self.headers)))
        try:
            self.site.routes.get(self.path, self.site.routes.get(path, self.site.default))(self)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()

    def give(self, status: int, body: bytes = b"", kind: str = "text/html", **headers: str) -> None:
        self.send_response(status)
        given = {"Content-Type": kind, "Content-Length": str(len(body))}
        for name, value in (given | {key.replace("_", "-").title(): value for key, value in headers.items()}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def give_file(self, content: bytes, kind: str, **headers: str) -> None:
        """Serve a file as real servers do: with ETag, ranges, and If-Range."""
        etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        given = {"etag": etag, "accept_ranges": "bytes"} | headers
        range_ = self.headers.get("Range", "")
        if range_.startswith("bytes=") and self.headers.get("If-Range", etag) == etag:
            start = int(range_.removeprefix("bytes=").split("-")[0])
            if start >= len(content):
                self.give(416, b"", kind, content_range=f"bytes */{len(content)}")
                return
            rest = content[start:]
            given = {"content_range": f"bytes {start}-{len(content) - 1}/{len(content)}"} | given
            self.give(206, rest, kind, **given)
            return
        self.give(200, content, kind, **given)

    def log_message(self, *_: Any) -> None:
        pass


def status(code: int, **headers: str) -> Answer:
    """Only a status."""
    return lambda handler: handler.give(code, b"no", "text/plain", **headers)


def redirect(target: str) -> Answer:
    return lambda handler: handler.give(302, b"", location=target)


def cut_after(content: bytes, num_bytes: int, kind: str = "audio/flac") -> Answer:
    """Announces a file, sends a part, and closes the connection."""

    def answer(handler: Handler) -> None:
        etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        handler.send_response(200)
        for name, value in (("Content-Type", kind), ("Content-Length", str(len(content))), ("ETag", etag)):
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(content[:num_bytes])
        handler.wfile.flush()
        handler.close_connection = True
        handler.connection.shutdown(2)

    return answer


def endless(kind: str = "audio/mpeg", block: bytes = b"\0" * 65536, every_s: float = 0.0) -> Answer:
    """Never stops, and gives no length."""

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", kind)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.close_connection = True
        while True:
            handler.wfile.write(block)
            handler.wfile.flush()
            time.sleep(every_s)

    return answer


def announces(num_bytes: int, kind: str = "audio/flac") -> Answer:
    """Announces a size and sends a little."""

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(num_bytes))
        handler.end_headers()
        handler.wfile.write(b"fLaC" + b"\0" * 4096)
        handler.close_connection = True

    return answer


def raw(first: bytes, more: bytes = b"", every_s: float = 0.0) -> Answer:
    """Bytes as they are, well formed or not; `more` of them for ever, if there are any."""

    def answer(handler: Handler) -> None:
        handler.close_connection = True
        handler.wfile.write(first)
        while more:
            handler.wfile.write(more)
            handler.wfile.flush()
            time.sleep(every_s)

    return answer
