"""A local server that stands in for a site's API: it gives a test's answers over real HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from aria_data.web import Web, WebConfig


@dataclass
class Answer:
    """The body to send: an object becomes JSON, bytes go as they are."""

    body: Any
    status: int = 200
    content_type: str = "application/json; charset=utf-8"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Server:
    """The server's address, and the requests it got."""

    address: str
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)  # path and parameters


@contextmanager
def serving(answer: Callable[[str, dict[str, str]], Any]) -> Iterator[Server]:
    """Serve what `answer(path, parameters)` gives: an `Answer`, or an object to send as JSON."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            given = {name: values[0] for name, values in parse_qs(parts.query).items()}
            server.asked.append((parts.path, given))
            said = answer(parts.path, given)
            said = said if isinstance(said, Answer) else Answer(said)
            body = said.body if isinstance(said.body, bytes) else json.dumps(said.body).encode()
            self.send_response(said.status)
            for name, value in {
                "Content-Type": said.content_type,
                "Content-Length": str(len(body)),
                **said.headers,
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *arguments: Any) -> None: ...

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server = Server(f"http://127.0.0.1:{http.server_port}")
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def local_web() -> Web:
    """A `Web` that may send requests to this machine, without waiting."""
    return Web(WebConfig(allow_private=True, min_interval_s=0))
