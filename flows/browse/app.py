"""The server: addresses, pages, and what becomes of errors. Requests name segments and items, never files."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from aria_data.errors import AriaDataError, UsageError
from aria_data.manifest.columns import is_subset
from aria_data.manifest.dataset import read_midi_of
from aria_data.midi import Performance, read_midi
from aria_data.storage import printable
from flows.browse import segments
from flows.browse.access import OnlyWithToken
from flows.browse.reviews import FAULTS, VERDICTS, Reviews
from flows.browse.rows import FACETS, MEASURES, PAGE_ROWS, SHOWN, Filter, Rows
from flows.show.explain import SUBSETS, subset_reasons

LOCAL_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})
STATIC = {"browse.css": "text/css", "browse.js": "text/javascript"}
MAX_FORM_BYTES = 4000
MAX_ITEM_S = 600.0  # of a rejected recording that is played


def make_app(root: Path, token: str, version: int | str | None = None, hosts: frozenset[str] = LOCAL_NAMES) -> Any:
    """Make the ASGI application for a version of the dataset at `root`. `hosts` are the names that it answers to."""
    pages = _Pages(root, version)
    routes = [
        Route("/", _answer(pages.table)),
        Route("/segment", _answer(pages.segment)),
        Route("/rejected", _answer(pages.rejected)),
        Route("/item", _answer(pages.item)),
        Route("/next", _answer(pages.next_to_review)),
        Route("/recording.wav", _answer(pages.recording_sound)),
        Route("/notes.wav", _answer(pages.notes_sound)),
        Route("/item.wav", _answer(pages.item_sound)),
        Route("/spectrogram.png", _answer(pages.spectrogram)),
        Route("/notes.json", _answer(pages.notes)),
        Route("/review", pages.review, methods=["POST"]),
        Route("/static/{name}", _answer(pages.static)),
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: pages.failed, AriaDataError: pages.failed})
    return OnlyWithToken(app, token, hosts)


def serve(root: Path, host: str, port: int, version: int | str | None, announce: Callable[[str], None]) -> None:
    """Answer a browser until Ctrl-C. `announce` gets the address to open, once the server listens."""
    import socket

    import uvicorn

    token = secrets.token_urlsafe(24)
    app = make_app(root, token, version, LOCAL_NAMES | {host.lower()})
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except (OSError, OverflowError) as error:
        listening.close()
        raise UsageError(f"--host {host} --port {port}: cannot be listened on ({error}). Name another port.") from error
    announce(f"http://{host}:{listening.getsockname()[1]}/?token={token}")
    config = uvicorn.Config(app, log_level="error", access_log=False, server_header=False, lifespan="off")
    uvicorn.Server(config).run(sockets=[listening])


def _answer(function: Callable[[Request], Response]) -> Callable[[Request], Any]:
    """Run a page's function in a thread, so that one slow answer does not hold up the others."""
    from starlette.concurrency import run_in_threadpool

    async def answer(request: Request) -> Response:
        return await run_in_threadpool(function, request)

    return answer


class _Pages:
    def __init__(self, root: Path, version: int | str | None):
        from jinja2 import Environment, PackageLoader, StrictUndefined

        self.root, self.rows, self.reviews = root, Rows(root, version), Reviews(root)
        loader = PackageLoader("flows.browse", "pages")
        self._templates = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
        self._templates.filters |= {"shown": _shown, "query": urlencode}

    def _page(self, name: str, status: int = 200, **values: Any) -> Response:
        common = {"dataset": printable(self.root.resolve().name, 80), "version": self.rows.version}
        return HTMLResponse(self._templates.get_template(name).render(**common, **values), status)

    # ---------------------------------------------------------------- pages

    def table(self, request: Request) -> Response:
        chosen = Filter.of(request.query_params)
        error = ""
        try:
            page = self.rows.page(chosen)
        except UsageError as refused:  # the condition: the rest of the filter is shown all the same
            error, page = str(refused), self.rows.page(Filter(chosen.text, "", chosen.facets, chosen.ranges))
        return self._page(
            "table.html.j2", 400 if error else 200, chosen=chosen, page=page, error=error, columns=SHOWN,
            facets={name: self.rows.values[name] for name in FACETS}, bounds=self.rows.bounds, measures=MEASURES,
            column_names=self.rows.column_names, page_rows=PAGE_ROWS, reviewed=self._verdicts(),
        )  # fmt: skip

    def segment(self, request: Request) -> Response:
        row = self._row(request)
        related = self.rows.related(row)
        subsets = [name for name in [*SUBSETS, *filter(is_subset, row)] if row[name]]
        measures = {name: value for name, value in self.rows.measures(row["segment_id"]).items() if value == value}
        reviews = [each for each in self.reviews.all() if each.segment_id == row["segment_id"]]
        return self._page(
            "segment.html.j2", row=row, related=related, subsets=subsets, measures=sorted(measures.items()),
            reasons=[printable(line, 500) for line in subset_reasons(row, [row, *related])],
            verdicts=VERDICTS, faults=FAULTS, reviews=reviews, is_played=bool(row["audio_reachable"] is not False),
        )  # fmt: skip

    def rejected(self, request: Request) -> Response:
        reason = request.query_params.get("reason", "")
        number = Filter.of(request.query_params).page
        found, count = self.rows.rejections(reason, number)
        reasons = self.rows.reasons()
        return self._page(
            "rejected.html.j2", found=found, count=count, reason=reason, number=number, reasons=reasons,
            page_rows=PAGE_ROWS,
        )  # fmt: skip

    def item(self, request: Request) -> Response:
        item_id = request.query_params.get("id", "")
        found = self.rows.rejection(item_id)
        if not found:
            raise HTTPException(404, f"No item {printable(item_id, 80)} was rejected in the last build.")
        has_sound = bool(self.rows.location(found[0]["item_id"]) or self.rows.location(found[0]["candidate_id"]))
        scores = segments.scores_of(self.root, found[0]["item_id"])
        return self._page(
            "item.html.j2", found=found, has_sound=has_sound, scores=json.dumps(scores), max_s=MAX_ITEM_S
        )  # fmt: skip

    def next_to_review(self, request: Request) -> Response:
        """Go to a segment that nobody has reviewed: the one with the least agreement, or one drawn by a seed."""
        seed = request.query_params.get("seed", "")
        order = "onset_agreement NULLS FIRST, segment_id" if not seed else "hash(segment_id || ?)"
        done = self._verdicts()
        found = self.rows.ordered_ids(order, [seed] if seed else [])
        chosen = next((each for each in found if each not in done), None)
        if chosen is None:
            raise HTTPException(404, "Every segment has been reviewed.")
        return RedirectResponse(f"/segment?{urlencode({'id': chosen, 'seed': seed})}", 303)

    # ---------------------------------------------------------------- what pages load

    def notes(self, request: Request) -> Response:
        row = self._row(request)
        scores = segments.scores_of(self.root, row["recording_id"])
        span = {"start_s": row["start_s"], "end_s": row["end_s"], "duration_s": row["duration_s"]}
        return JSONResponse({**segments.drawn(self._played(row)), "scores": scores, **span})

    def recording_sound(self, request: Request) -> Response:
        row = self._row(request)
        return _sound(request, segments.recording_wav(self.root, self._location(row), row["start_s"], row["end_s"]))

    def notes_sound(self, request: Request) -> Response:
        return _sound(request, segments.notes_wav(self._played(self._row(request))))

    def item_sound(self, request: Request) -> Response:
        found = self.rows.rejection(request.query_params.get("id", ""))
        ids = [each for one in found for each in (one["item_id"], one["candidate_id"])]
        location = next((place for place in map(self.rows.location, ids) if place), "")
        if not location:
            raise HTTPException(404, "There is no sound of it.")
        return _sound(request, segments.recording_wav(self.root, location, 0.0, MAX_ITEM_S))

    def spectrogram(self, request: Request) -> Response:
        row = self._row(request)
        picture = segments.spectrogram_png(self.root, self._location(row), row["start_s"], row["end_s"])
        return Response(picture, media_type="image/png")

    def static(self, request: Request) -> Response:
        kind = STATIC.get(request.path_params["name"])
        if kind is None:
            raise HTTPException(404, "There is no such file.")
        content = (resources.files("flows.browse") / "static" / request.path_params["name"]).read_bytes()
        return Response(content, media_type=kind)

    # ---------------------------------------------------------------- reviews and errors

    async def review(self, request: Request) -> Response:
        from starlette.concurrency import run_in_threadpool

        body = b""
        async for part in request.stream():
            body += part
            if len(body) > MAX_FORM_BYTES:
                raise HTTPException(413, "This review is too long.")
        form = parse_qs(body.decode("utf-8", "replace"))
        row = await run_in_threadpool(self.rows.row, form.get("id", [""])[0])
        if row is None:
            raise HTTPException(404, "This version has no such segment.")
        verdict, note = form.get("verdict", [""])[0], form.get("note", [""])[0]
        await run_in_threadpool(self.reviews.add, row, verdict, form.get("fault", []), note)
        place = "/next" if form.get("then") == ["next"] else "/segment"
        query = {"seed": form.get("seed", [""])[0]} if place == "/next" else {"id": row["segment_id"]}
        return RedirectResponse(f"{place}?{urlencode(query)}", 303)

    def failed(self, request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 400
        text = str(error.detail) if isinstance(error, HTTPException) else str(error)
        return self._page("error.html.j2", status, text=printable(text, 500))

    # ---------------------------------------------------------------- helpers

    def _row(self, request: Request) -> dict[str, Any]:
        segment_id = request.query_params.get("id", "")
        row = self.rows.row(segment_id)
        if row is None:
            raise HTTPException(404, f"This version has no segment {printable(segment_id, 80)}.")
        return row

    def _played(self, row: dict[str, Any]) -> Performance:
        read_midi_of(self.root, row)  # the file is there and is this row's
        return read_midi(self.root / row["midi_path"])

    def _location(self, row: dict[str, Any]) -> str:
        location = self.rows.location(row["recording_id"])
        if not location:
            raise HTTPException(404, "Nothing is known of where this recording's audio is.")
        return location

    def _verdicts(self) -> dict[str, str]:
        return {review.segment_id: review.verdict for review in self.reviews.all()}


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else printable(str(value), 120)


def _sound(request: Request, content: bytes) -> Response:
    """A WAV file, or the part of it that a browser asks for: without that it cannot jump."""
    headers = {"accept-ranges": "bytes"}
    start, dash, end = request.headers.get("range", "").removeprefix("bytes=").partition("-")
    if not dash or not start.isdigit() or int(start) >= len(content):
        return Response(content, 200, headers, "audio/wav")
    last = min(int(end), len(content) - 1) if end.isdigit() else len(content) - 1
    headers["content-range"] = f"bytes {start}-{last}/{len(content)}"
    return Response(content[int(start) : last + 1], 206, headers, "audio/wav")
