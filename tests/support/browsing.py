"""A browser's server in a thread, an HTTP client of it, and Debian's Chromium for tests that need a real browser."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.browse import make_app
from flows.browse.app import UVICORN

TOKEN = "a token of the test"
NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
ADVICE = "`make test` sets this up where it can; else: pip install 'aria-data[browser]', and Debian's chromium"


class Visitor:
    """A real HTTP client of a real server that runs in a thread."""

    def __init__(self, root: Path, version: int | str | None = None):
        import uvicorn

        listening = socket.socket()
        listening.bind(("127.0.0.1", 0))
        self.origin = f"http://127.0.0.1:{listening.getsockname()[1]}"
        self.server = uvicorn.Server(uvicorn.Config(make_app(root, TOKEN, version), **UVICORN))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [listening]}, daemon=True)
        self.thread.start()
        self.client = httpx.Client(base_url=self.origin, follow_redirects=True, trust_env=False, timeout=120)
        for _ in range(6000):
            if self.server.started:
                break
            time.sleep(0.01)

    def __enter__(self) -> Visitor:
        assert self.client.get("/", params={"token": TOKEN}).status_code == 200
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.server.should_exit = True
        self.thread.join(60)

    def get(self, path: str, **settings: Any) -> httpx.Response:
        return self.client.get(path, **settings)

    def post(self, data: dict[str, Any], **headers: str) -> httpx.Response:
        return self.client.post("/review", data=data, headers={"origin": self.origin, **headers})


def why_no_chromium() -> str:
    """Why no test can drive a real browser here; empty where one can."""
    missing = [name for name in ("playwright", "axe_playwright_python") if importlib.util.find_spec(name) is None]
    if not _chromium():
        missing.append("chromium")
    return f"no {' and no '.join(missing)} here ({ADVICE})" if missing else ""


def _chromium() -> str:
    return next((path for path in map(shutil.which, NAMES) if path), "")


@contextmanager
def chromium() -> Iterator[Any]:
    """Start a headless Chromium. Skips the test where there is none.

    Not for a whole session: while it runs, this thread has an event loop, and a flow cannot start one of its own.
    """
    if reason := why_no_chromium():
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    arguments = ["--autoplay-policy=no-user-gesture-required", "--disable-dev-shm-usage"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_chromium(), args=arguments, chromium_sandbox=False)
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """A page of a browser whose console is read: `said` holds every error and warning, and every failed request."""

    def __init__(self, browser: Any, **settings: Any):
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **settings})
        self.context.set_default_timeout(30_000)
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.asked: set[str] = set()  # schemes and hosts
        self.page.on("console", lambda each: each.type in ("error", "warning") and self.said.append(each.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.add(request.url.split("/")[0] + request.url.split("/")[2]))

    def until(self, expression: str, seconds: float = 30.0) -> None:
        """Wait until a JavaScript expression is true. (Playwright's own way needs `eval`, which the pages forbid.)"""
        for _ in range(int(seconds * 20)):
            if self.page.evaluate(expression):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"{expression} did not become true within {seconds} s")

    def faults(self) -> list[str]:
        """What axe-core finds seriously wrong with the page as it is now: the rule and where."""
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(self.page).response["violations"]
        serious = [each for each in found if each["impact"] in ("serious", "critical")]
        return [f"{each['id']}: {node['html'][:200]}" for each in serious for node in each["nodes"]]
