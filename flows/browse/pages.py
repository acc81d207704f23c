"""The pages: the table, a segment, copies, what was rejected, what changed, reviews. Their HTML is in `templates/`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from aria_data.errors import UsageError
from aria_data.manifest import Manifest
from aria_data.manifest.columns import is_subset
from aria_data.release.reviews import FAULT_KEYS, VERDICTS, Reviews
from aria_data.storage import printable
from flows.browse import segments
from flows.browse.facts import Changes, changed_since, heard, meanings, reasons_for, tags_of
from flows.browse.filters import FACETS, MEASURES, PAGE_ROWS, REVIEWS, Filter
from flows.browse.loads import LONG_S, MAX_ITEM_S
from flows.browse.rows import SHOWN, Rows
from flows.show.explain import SUBSETS

MAX_FORM_BYTES = 4000
MAX_SEED_CHARS = 40
MAX_COUNTS = 50  # of kinds of changes
MAX_WHOLE_CHARS = 2000  # of a description; what is in a table's cell is shorter


class Pages:
    """Pages of a version (by default the newest) of the dataset at `root`."""

    def __init__(self, root: Path, version: int | str | None):
        from jinja2 import Environment, PackageLoader, StrictUndefined

        self.root, self.rows, self.reviews = root, Rows(root, version), Reviews(root)
        self._manifest, self._changes = Manifest(root), Changes(self.rows)
        loader = PackageLoader("flows.browse", "templates")
        self._templates = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
        self._templates.filters |= {"shown": _shown, "whole": _whole, "query": _query}

    def _page(self, name: str, status: int = 200, **values: Any) -> Response:
        common = {"dataset": printable(self.root.resolve().name, 80), "version": self.rows.version}
        return HTMLResponse(self._templates.get_template(name).render(**common, **values), status)

    def table(self, request: Request) -> Response:
        chosen, verdicts, error = Filter.of(request.query_params), self.reviews.verdicts(), ""
        try:
            page = self.rows.page(chosen, verdicts)
        except UsageError as refused:  # the condition: the rest of the filter is shown all the same
            error, page = str(refused), self.rows.page(chosen.without_condition(), verdicts)
        return self._page(
            "table.html.j2", 400 if error else 200, chosen=chosen, page=page, error=error, columns=SHOWN,
            facets={name: self.rows.held.facets[name] for name in FACETS}, bounds=self.rows.held.bounds,
            measures=MEASURES, column_names=json.dumps(self.rows.column_names), page_rows=PAGE_ROWS,
            reviewed=verdicts, reviews=REVIEWS,
        )  # fmt: skip

    def segment(self, request: Request) -> Response:
        row = self._row(request.query_params.get("id", ""))
        related, measures = self.rows.related(row), self.rows.measures(row)
        via = "changes" if request.query_params.get("via") == "changes" else ""
        lines, limits = reasons_for(self.root, row, related, measures)
        subsets = [name for name in [*SUBSETS, *filter(is_subset, row)] if row[name]]
        numbers = sorted((name, value) for name, value in measures.items() if value == value)
        return self._page(
            "segment.html.j2", row=row, related=related, subsets=subsets, measures=numbers, lines=lines, limits=limits,
            tags=tags_of(self.rows, row), changed=changed_since(self._manifest, row, self.rows.version), via=via,
            neighbours=self._changes.neighbours(row["segment_id"]) if via else ("", ""), verdicts=VERDICTS,
            faults=FAULT_KEYS, reviews=self.reviews.of(row), is_played=row["audio_reachable"] is not False,
            queue=_queue(request), meanings=meanings(), long_s=LONG_S, lowest_bar_s=self._lowest_bar_s(row),
        )  # fmt: skip

    def copies(self, request: Request) -> Response:
        one, other = (self._row(request.query_params.get(name, "")) for name in ("id", "with"))
        return self._page("copies.html.j2", one=one, other=other)

    def rejected(self, request: Request) -> Response:
        reason, number = request.query_params.get("reason", ""), Filter.of(request.query_params).page
        found, count = self.rows.rejections(reason, number)
        return self._page(
            "rejected.html.j2", found=found, count=count, reason=reason, number=number, reasons=self.rows.reasons(),
            page_rows=PAGE_ROWS,
        )  # fmt: skip

    def item(self, request: Request) -> Response:
        item_id = request.query_params.get("id", "")
        found = self.rows.rejection(item_id)
        if not found:
            raise HTTPException(404, f"No item {printable(item_id, 80)} was rejected in the last build.")
        known = heard(self.rows, found)
        scores = segments.scores_of(self.root, known["recording_id"])
        drawn = {"scores": scores, "spans": known["spans"], "span": known["span"]}
        return self._page("item.html.j2", found=found, known=known, drawn=json.dumps(drawn), max_s=MAX_ITEM_S)

    def changes(self, request: Request) -> Response:
        number = Filter.of(request.query_params).page
        here, counts = self._changes.page(number * PAGE_ROWS, PAGE_ROWS), self._changes.counts()[:MAX_COUNTS]
        return self._page(
            "changes.html.j2", found=here, count=len(self._changes), counts=counts, number=number, page_rows=PAGE_ROWS
        )

    def reviews_given(self, request: Request) -> Response:
        number, found = Filter.of(request.query_params).page, self.reviews.all()[::-1]
        counts = Counter(self.reviews.verdicts().values())
        here = found[number * PAGE_ROWS : (number + 1) * PAGE_ROWS]
        return self._page(
            "reviews.html.j2", found=here, count=len(found), counts=counts, number=number, page_rows=PAGE_ROWS,
            num_left=len(self.rows.held) - sum(counts.values()),
        )  # fmt: skip

    def next_to_review(self, request: Request) -> Response:
        """Go to a segment of a filter that nobody has reviewed: with the least agreement, or drawn by a seed."""
        queue = _queue(request)
        chosen = Filter.of(request.query_params)
        found = self.rows.next_to_review(chosen, self.reviews.verdicts(), queue.get("seed", ""))
        if found is None:
            raise HTTPException(404, "Every segment of this view has been reviewed.")
        return RedirectResponse(f"/segment?{urlencode({'id': found, **queue})}", 303)

    async def review(self, request: Request) -> Response:
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
        queue = form.get("queue", [""])[0]
        place = f"/next?{queue}" if form.get("then") == ["next"] else f"/segment?{_query({'id': row['segment_id']})}"
        return RedirectResponse(_one_line(place), 303)

    async def failed(self, request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 400
        text = str(error.detail) if isinstance(error, HTTPException) else str(error)
        return self._page("error.html.j2", status, text=printable(text, 500))

    def _lowest_bar_s(self, row: Mapping[str, Any]) -> float | None:
        if row.get("lowest_agreement_bar") is None:
            return None
        return segments.lowest_bar_of(row, segments.bars_of(self.root, self.rows.alignment(row)))

    def _row(self, segment_id: str) -> dict[str, Any]:
        row = self.rows.row(segment_id)
        if row is None:
            raise HTTPException(404, f"This version has no segment {printable(segment_id, 80)}.")
        return row


def _queue(request: Request) -> dict[str, str]:
    """The part of an address that says which segments are reviewed, and in which order."""
    chosen = Filter.of(request.query_params).as_query(sort=None, order=None, page=None)
    seed = request.query_params.get("seed", "")[:MAX_SEED_CHARS]
    return chosen | ({"seed": seed} if seed else {})


def _query(values: dict[str, Any]) -> str:
    return urlencode(values, errors="replace")


def _one_line(address: str) -> str:
    return "".join(character for character in address if character.isprintable())


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else printable(str(value), 120)


def _whole(value: Any) -> str:
    return "" if value is None else printable(str(value), MAX_WHOLE_CHARS)
