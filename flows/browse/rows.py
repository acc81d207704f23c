"""The rows of a version, held in memory for filtering, sorting, counting and paging. Answers are small."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aria_data.errors import UsageError
from aria_data.manifest import Manifest
from aria_data.manifest.row_queries import condition_tree
from aria_data.storage import printable
from flows.report.views import open_views

PAGE_ROWS = 100
NUM_BINS = 40
MAX_PAGE = 1_000_000
MAX_ANSWER_S = 20.0  # a condition that takes longer is stopped, so that it holds up nobody else; ours
MEASURES = (  # that have a histogram to filter by
    "duration_s", "note_density", "pitch_entropy", "longest_silence_s", "audio_score", "transcription_confidence",
    "onset_agreement", "chroma_agreement",
)  # fmt: skip
FACETS = ("composer", "period", "genre", "split", "source", "licence")  # columns that are filtered by one value
SHOWN = ("segment_id", "title", "composer", "duration_s", "num_notes", *MEASURES[1:2], *MEASURES[4:7], "split")
_SEARCHED = ("segment_id", "title", "composer", "performer", "source_url", "composition_id")
_LONG = ("midi_path", "midi_sha256", "transcriber_sha256", "classifier_sha256", "audio_sha256")  # not held in memory


@dataclass(frozen=True)
class Filter:
    """What a view shows. Every view has an address that says so: `as_query` and `of` are each other's inverse."""

    text: str = ""  # found anywhere in `_SEARCHED`, in any case
    where: str = ""  # an SQL condition
    facets: Mapping[str, str] = field(default_factory=dict)
    ranges: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)  # measure -> least, most
    sort: str = "segment_id"
    is_descending: bool = False
    page: int = 0

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Filter:
        """Read a filter from an address. What cannot be read is left out."""
        facets = {name: query[name] for name in FACETS if query.get(name)}
        ranges = {name: (_number(query.get(f"min_{name}")), _number(query.get(f"max_{name}"))) for name in MEASURES}
        page = query.get("page", "0")
        return cls(
            query.get("q", "")[:300],
            query.get("where", "")[:2000],
            facets,
            {name: each for name, each in ranges.items() if each != (None, None)},
            query.get("sort", "segment_id"),
            query.get("order") == "desc",
            min(int(page), MAX_PAGE) if page.isascii() and page.isdigit() and len(page) < 9 else 0,
        )

    def as_query(self, **changed: Any) -> dict[str, str]:
        """Give the address's parameters; `changed` ones replace, with None they go. Another filter is at page 0."""
        found: dict[str, Any] = {"q": self.text, "where": self.where, **self.facets, "sort": self.sort}
        found["order"] = "desc" if self.is_descending else ""
        for name, (least, most) in self.ranges.items():
            found |= {f"min_{name}": least, f"max_{name}": most}
        found |= {"page": self.page or ""} | changed
        return {name: str(value) for name, value in found.items() if value not in (None, "")}


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "nan")
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None


@dataclass(frozen=True)
class Page:
    rows: list[dict[str, Any]]
    num_found: int
    hours: float
    histograms: dict[str, list[tuple[float, float, int]]]  # measure -> from, to, files; without its own range


class Rows:
    """The rows of one version in a locked in-memory database; any thread may ask."""

    def __init__(self, root: Path, version: int | str | None = None):
        self.root = root
        manifest = Manifest(root)
        self.version = manifest.number_of(version)
        self._opened = open_views(root, self.version)
        self._connection = self._opened.__enter__()
        self._lock = threading.Lock()
        names = [name for name in manifest.column_names(self.version) if name not in _LONG]
        quoted = ", ".join(f'"{name}"' for name in names)
        self.column_names = manifest.column_names(self.version)
        self._connection.execute(f"CREATE TABLE held AS SELECT {quoted} FROM present ORDER BY segment_id")
        self.bounds = {name: self._bounds_of(name) for name in MEASURES}
        self.values = {name: self._values_of(name) for name in FACETS}

    def close(self) -> None:
        self._opened.__exit__(None, None, None)

    def _ask(self, sql: str, parameters: list[Any] | None = None) -> list[dict[str, Any]]:
        import duckdb

        with self._lock:  # a registered Arrow table is known to its connection only, so all threads share one
            limit = threading.Timer(MAX_ANSWER_S, self._connection.interrupt)
            limit.start()
            try:
                found = self._connection.execute(sql, parameters or [])
                names = [column[0] for column in found.description]
                return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
            except (duckdb.Error, UnicodeError) as error:
                line = (str(error)[:300].splitlines() or [""])[0]
                raise UsageError(f"the condition cannot be used: {printable(line, 300)}") from error
            finally:
                limit.cancel()

    def _bounds_of(self, name: str) -> tuple[float, float]:
        low, high = self._ask(f"SELECT min({name}) AS a, max({name}) AS b FROM held WHERE isfinite({name})")[0].values()
        return (0.0, 1.0) if low is None else (low, high if high > low else low + 1.0)

    def _values_of(self, name: str, most: int = 200) -> list[str]:
        sql = f"SELECT {name} AS v FROM held WHERE {name} <> '' GROUP BY v ORDER BY count(*) DESC, v LIMIT {most}"
        return [row["v"] for row in self._ask(sql)]

    def page(self, chosen: Filter) -> Page:
        """Find a page of rows, how many there are in all, and the histograms. Raises `UsageError` in one line."""
        sort = chosen.sort if chosen.sort in self.column_names and chosen.sort not in _LONG else "segment_id"
        order = f'"{sort}" {"DESC" if chosen.is_descending else "ASC"} NULLS LAST, segment_id'
        where, values = self._condition(chosen)
        totals = self._ask(f"SELECT count(*) AS n, sum(duration_s) / 3600 AS hours FROM held WHERE {where}", values)[0]
        columns = ", ".join(f'"{name}"' for name in SHOWN)
        rows = self._ask(
            f"SELECT {columns} FROM held WHERE {where} ORDER BY {order} "
            f"LIMIT {PAGE_ROWS} OFFSET {chosen.page * PAGE_ROWS}",
            values,
        )
        histograms = {name: self._histogram(name, chosen) for name in MEASURES}
        return Page(rows, totals["n"], totals["hours"] or 0.0, histograms)

    def _histogram(self, name: str, chosen: Filter) -> list[tuple[float, float, int]]:
        others = {measure: each for measure, each in chosen.ranges.items() if measure != name}
        where, values = self._condition(Filter(chosen.text, chosen.where, chosen.facets, others))
        low, high = self.bounds[name]
        step = (high - low) / NUM_BINS
        sql = (
            f"SELECT least(floor(({name} - {low!r}) / {step!r}), {NUM_BINS - 1})::INT AS bin, count(*) AS n FROM held "
            f"WHERE isfinite({name}) AND {where} GROUP BY bin"
        )
        counts = {row["bin"]: row["n"] for row in self._ask(sql, values)}
        return [(low + bin_ * step, low + (bin_ + 1) * step, counts.get(bin_, 0)) for bin_ in range(NUM_BINS)]

    def _condition(self, chosen: Filter) -> tuple[str, list[Any]]:
        parts: list[str] = ["true"]
        values: list[Any] = []
        if chosen.text:
            either = " OR ".join(f"contains(lower(coalesce({name}, '')), ?)" for name in _SEARCHED)
            parts.append(f"({either})")
            values += [chosen.text.lower()] * len(_SEARCHED)
        for name, value in chosen.facets.items():
            parts.append(f"{name} = ?")
            values.append(value)
        for name, (least, most) in chosen.ranges.items():
            for sign, bound in ((">=", least), ("<=", most)):
                if bound is not None:
                    parts.append(f"{name} {sign} ?")
                    values.append(bound)
        if chosen.where.strip():
            self._require_condition(chosen.where)
            table = "present" if any(name in chosen.where.lower() for name in _LONG) else "held"
            parts.append(f"segment_id IN (SELECT segment_id FROM {table} WHERE (\n{chosen.where}\n))")
        return " AND ".join(parts), values

    def _require_condition(self, where: str) -> None:
        """Raise `UsageError` unless the text is one condition by itself, so that it cannot close our brackets."""
        import duckdb

        with self._lock:
            try:
                condition_tree(self._connection, where)
            except (duckdb.Error, UnicodeError) as error:
                line = (str(error)[:300].splitlines() or [""])[0]
                raise UsageError(f"the condition cannot be used: {printable(line, 300)}") from error

    def row(self, segment_id: str) -> dict[str, Any] | None:
        """All columns of a row; None for an unknown segment."""
        found = self._ask("SELECT * FROM present WHERE segment_id = ?", [segment_id])
        return found[0] if found else None

    def related(self, row: Mapping[str, Any], most: int = 50) -> list[dict[str, Any]]:
        """The other rows of a row's clusters or composition, copies first."""
        ties = ("audio_cluster", "recording_cluster", "notes_cluster", "composition_id")
        known = [name for name in ties if row[name]]
        if not known:
            return []
        same = " OR ".join(f"{name} = ?" for name in known)
        is_copy = " OR ".join(f"{name} = ?" for name in known if name != "composition_id") or "false"
        copies = [row[name] for name in known if name != "composition_id"]
        sql = (
            f"SELECT *, ({is_copy}) AS is_copy FROM held WHERE ({same}) AND segment_id <> ? "
            f"ORDER BY is_copy DESC, segment_id LIMIT {most}"
        )
        return self._ask(sql, [*copies, *(row[name] for name in known), row["segment_id"]])

    def measures(self, segment_id: str) -> dict[str, float]:
        found = self._ask("SELECT measures FROM measures WHERE segment_id = ?", [segment_id])
        return dict(found[0]["measures"]) if found else {}

    def location(self, recording_id: str) -> str:
        """Where a recording's audio is; empty for an unknown one."""
        sql = "SELECT location FROM recordings WHERE recording_id = ? OR candidate_id = ?"
        found = self._ask(sql, [recording_id] * 2)
        return found[0]["location"] if found else ""

    def rejections(self, reason: str, page: int) -> tuple[list[dict[str, Any]], int]:
        """A page of what the last build rejected or failed on, and how many there are."""
        where, values = ("reason = ?", [reason]) if reason else ("true", [])
        count = self._ask(f"SELECT count(*) AS n FROM rejections WHERE {where}", values)[0]["n"]
        sql = f"SELECT * FROM rejections WHERE {where} ORDER BY stage, reason, item_id LIMIT {PAGE_ROWS}"
        return self._ask(f"{sql} OFFSET {page * PAGE_ROWS}", values), count

    def rejection(self, item_id: str) -> list[dict[str, Any]]:
        return self._ask("SELECT * FROM rejections WHERE item_id = ? OR candidate_id = ?", [item_id] * 2)

    def ordered_ids(self, order: str, values: list[Any]) -> list[str]:
        """All segment ids in an order of ours (SQL, never a user's)."""
        return [row["segment_id"] for row in self._ask(f"SELECT segment_id FROM held ORDER BY {order}", values)]

    def reasons(self) -> list[dict[str, Any]]:
        return self._ask("SELECT reason, count(*) AS n FROM rejections GROUP BY reason ORDER BY n DESC, reason")
