"""The server: its addresses, and what answers them. Requests name segments and items, never files."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from aria_data.errors import AriaDataError, UsageError
from flows.browse.access import OnlyWithToken
from flows.browse.loads import Loads
from flows.browse.pages import Pages

if TYPE_CHECKING:
    from anyio import CapacityLimiter

    from flows.browse.held import Held

PAGES_AT_ONCE = 16  # threads
LOADS_AT_ONCE = 4  # of what decodes, renders and compares: seconds of a core each, so pages do not wait for them
LOCAL_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})
UVICORN: dict[str, Any] = {
    "log_level": "error", "access_log": False, "server_header": False, "lifespan": "off", "ws": "none",
    "limit_concurrency": 200, "timeout_graceful_shutdown": 2,
}  # fmt: skip
STATIC = {  # every file that is served, and its kind
    "browse.css": "text/css",
    "icon.svg": "image/svg+xml",
    "copies.js": "text/javascript",
    "player.js": "text/javascript",
    "roll.js": "text/javascript",
    "scores.js": "text/javascript",
    "table.js": "text/javascript",
    "vendored/htmx.min.js": "text/javascript",
    "vendored/uPlot.iife.min.js": "text/javascript",
    "vendored/uPlot.min.css": "text/css",
}


def make_app(root: Path, token: str, version: int | str | None = None, hosts: frozenset[str] = LOCAL_NAMES) -> Any:
    """Make the ASGI application for a version of the dataset at `root`. `hosts` are the names that it answers to."""
    from anyio import CapacityLimiter

    pages = Pages(root, version)
    loads, held = Loads(root, pages.rows), pages.rows.held
    short, long = CapacityLimiter(PAGES_AT_ONCE), CapacityLimiter(LOADS_AT_ONCE)
    answers = {
        "/": pages.table, "/segment": pages.segment, "/copies": pages.copies, "/rejected": pages.rejected,
        "/item": pages.item, "/changes": pages.changes, "/reviews": pages.reviews_given, "/next": pages.next_to_review,
        "/notes.json": loads.notes, "/static/{name:path}": _static,
    }  # fmt: skip
    heavy = {
        "/recording.wav": loads.recording_sound, "/notes.wav": loads.notes_sound, "/item.wav": loads.item_sound,
        "/spectrogram.png": loads.spectrogram, "/item.png": loads.item_spectrogram, "/copies.json": loads.aligned,
    }  # fmt: skip
    routes = [Route(path, _answer(function, short, held)) for path, function in answers.items()]
    routes += [Route(path, _answer(function, long, held)) for path, function in heavy.items()]
    routes.append(Route("/review", pages.review, methods=["POST"]))
    app = Starlette(routes=routes, exception_handlers={HTTPException: pages.failed, AriaDataError: pages.failed})
    return OnlyWithToken(app, token, hosts)


def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in STATIC:
        raise HTTPException(404, "There is no such file.")
    content = (resources.files("flows.browse") / "static").joinpath(*name.split("/")).read_bytes()
    return Response(content, media_type=STATIC[name])


def prepare() -> None:
    """Load what a segment's page needs before it is asked for: its first one then comes half a second sooner.

    What is in memory by then stays there, so the garbage collector need not go through it while notes are read.
    """
    import gc

    import av  # noqa: F401
    import PIL.Image  # noqa: F401

    gc.collect()
    gc.freeze()


def serve(root: Path, host: str, port: int, version: int | str | None, announce: Callable[[str], None]) -> None:
    """Answer a browser until Ctrl-C. `announce` gets the address to open, once the server listens."""
    import socket

    import uvicorn

    token = secrets.token_urlsafe(24)
    app = make_app(root, token, version, LOCAL_NAMES | {host.lower()})
    prepare()
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except (OSError, OverflowError) as error:
        listening.close()
        raise UsageError(f"--host {host} --port {port}: cannot be listened on ({error}). Name another port.") from error
    announce(f"http://{host}:{listening.getsockname()[1]}/?token={token}")
    config = uvicorn.Config(app, **UVICORN)
    uvicorn.Server(config).run(sockets=[listening])


def _answer(function: Callable[[Request], Response], limiter: CapacityLimiter, held: Held) -> Callable[[Request], Any]:
    """Run a page's function in a thread, so that one slow answer does not hold up the others."""
    from anyio import to_thread

    def answered(request: Request) -> Response:
        try:
            return function(request)
        finally:
            held.release()

    async def answer(request: Request) -> Response:
        return await to_thread.run_sync(answered, request, limiter=limiter)

    return answer
