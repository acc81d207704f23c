"""What the pages ask of a version: a page of a filter, one row and all that is known of it, what was rejected."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from aria_data.errors import UsageError
from aria_data.manifest import Manifest
from aria_data.storage import printable
from flows.browse.conditions import require_simple
from flows.browse.filters import MEASURES, NOT_REVIEWED, PAGE_ROWS, Filter
from flows.browse.held import NUMBER, Held
from flows.browse.remembered import Remembered
from flows.report.views import CHANGED, open_views

MAX_ANSWER_S = 20.0  # a question that takes longer is stopped, so that it holds up nobody else; ours
MAX_COMPARED_S = 300.0  # of comparing two versions: once for a server
MEMORY = "300MB"  # of DuckDB: with the rows, a million of them, less than 1 GB
MAX_KEPT = 24  # filters and orders that are remembered: 1 to 4 MB each for a million rows
MAX_RELATED = 50
SHOWN = ("segment_id", "title", "composer", "duration_s", "num_notes", *MEASURES[1:2], *MEASURES[4:7], "split")
_LONG = ("midi_path", "midi_sha256", "transcriber_sha256", "classifier_sha256", "audio_sha256")  # not held
TIES = ("audio_cluster", "recording_cluster", "notes_cluster")


@dataclass(frozen=True)
class Page:
    rows: list[dict[str, Any]]
    num_found: int
    hours: float
    histograms: dict[str, list[tuple[float, float, int]]]  # measure -> from, to, files; without its own range


class Rows:
    """The rows of one version, and the tables behind them, in a locked database; any thread may ask."""

    def __init__(self, root: Path, version: int | str | None = None):
        self.root = root
        self._manifest = Manifest(root)
        self.version = self._manifest.number_of(version)
        self._opened = open_views(root, self.version, MEMORY)
        self._connection = self._opened.__enter__()
        self._lock = threading.Lock()
        self.column_names = self._manifest.column_names(self.version)
        self.held = Held(self._manifest.files(self.version), [name for name in self.column_names if name not in _LONG])
        self._connection.register("held", self.held.table)
        self._kept: Remembered[np.ndarray] = Remembered(MAX_KEPT)
        self._order("segment_id", False)

    def close(self) -> None:
        self._opened.__exit__(None, None, None)

    # ---------------------------------------------------------------- questions to the database

    def _ask(self, sql: str, parameters: list[Any] | None = None) -> list[dict[str, Any]]:
        def ask(connection: Any) -> list[dict[str, Any]]:
            result = connection.execute(sql, parameters or [])
            names = [column[0] for column in result.description]
            return [dict(zip(names, row, strict=True)) for row in result.fetchall()]

        return self._run(ask)

    def _numbers(self, sql: str, parameters: list[Any] | None = None) -> np.ndarray:
        return self._run(lambda connection: connection.execute(sql, parameters or []).fetchnumpy()[NUMBER])

    def _run(self, ask: Callable[[Any], Any], limit_s: float | None = None) -> Any:
        """Ask the database. Raises `UsageError` in one line, also where it takes too long."""
        import duckdb

        with self._lock:  # a registered Arrow table is known to its connection only, so all threads share one
            limit = threading.Timer(limit_s or MAX_ANSWER_S, self._connection.interrupt)
            limit.start()
            try:
                return ask(self._connection)
            except (duckdb.Error, UnicodeError) as error:
                line = (str(error)[:300].splitlines() or [""])[0]
                raise UsageError(f"the condition cannot be used: {printable(line, 300)}") from error
            finally:
                limit.cancel()

    # ---------------------------------------------------------------- pages of the table

    def page(self, chosen: Filter, verdicts: Mapping[str, str]) -> Page:
        """Find a page of rows, how many there are in all, and the histograms.

        `verdicts` are those of reviewed segments. Raises `UsageError` in one line for a condition that cannot be used.
        """
        others = self._others(chosen, verdicts)
        found = others & self.held.within(chosen.ranges) if chosen.ranges else others
        order = self._order(chosen.sort, chosen.is_descending)
        numbers = order[found[order]]
        start = chosen.page * PAGE_ROWS
        histograms = {}
        for name in MEASURES:
            left = {measure: each for measure, each in chosen.ranges.items() if measure != name}
            is_in = others & self.held.within(left) if name in chosen.ranges else found
            histograms[name] = self.held.histogram(name, is_in)
        rows = self.held.rows(numbers[start : start + PAGE_ROWS], SHOWN)
        return Page(rows, len(numbers), self.held.hours(found), histograms)

    def _others(self, chosen: Filter, verdicts: Mapping[str, str]) -> np.ndarray:
        """Which rows a filter chooses by all but ranges."""
        key = ("filter", chosen.text, chosen.where, *sorted(chosen.facets.items()))
        found = self._kept.get(key, lambda: self._found(chosen))
        if not chosen.review:
            return found
        wanted = [key for key, verdict in verdicts.items() if chosen.review in (verdict, NOT_REVIEWED)]
        is_reviewed = np.zeros(len(self.held), bool)
        is_reviewed[self.held.numbers_of(wanted)] = True
        return found & (~is_reviewed if chosen.review == NOT_REVIEWED else is_reviewed)

    def _found(self, chosen: Filter) -> np.ndarray:
        found = self.held.matching(chosen.text, chosen.facets)
        if chosen.where.strip():
            self._require_condition(chosen.where)
            table = "held"
            if any(name in chosen.where.lower() for name in _LONG):
                table = f'(SELECT present.*, "{NUMBER}" FROM present JOIN held USING (segment_id))'
            holds = np.zeros(len(self.held), bool)
            holds[self._numbers(f'SELECT "{NUMBER}" FROM {table} WHERE (\n{chosen.where}\n)')] = True
            found &= holds
        return found

    def _require_condition(self, where: str) -> None:
        import duckdb

        with self._lock:
            try:
                require_simple(self._connection, where)
            except (duckdb.Error, UnicodeError, RecursionError) as error:
                line = (str(error)[:300].splitlines() or [""])[0]
                raise UsageError(f"the condition cannot be used: {printable(line, 300)}") from error

    def _order(self, name: str, is_descending: bool) -> np.ndarray:
        """All numbers in the order of a column, those without a value last; of one that there is not, by id."""
        name = name if name in self.column_names and name not in _LONG else "segment_id"
        sql = f'SELECT "{NUMBER}" FROM held ORDER BY "{name}" {"DESC" if is_descending else "ASC"} NULLS LAST'
        key = ("order", name, is_descending)
        return self._kept.get(key, lambda: self._numbers(f"{sql}, segment_id"))

    def next_to_review(self, chosen: Filter, verdicts: Mapping[str, str], seed: str) -> str | None:
        """The next segment of a filter that nobody has reviewed: by least agreement, or drawn at random by a seed."""
        order = self._shuffled(seed) if seed else self._order("onset_agreement", False)
        left = self._others(replace(chosen, review=""), verdicts) & self.held.within(chosen.ranges)
        left[self.held.numbers_of(list(verdicts))] = False
        numbers = order[left[order]][:1]
        return self.held.rows(numbers, ["segment_id"])[0]["segment_id"] if len(numbers) else None

    def _shuffled(self, seed: str) -> np.ndarray:
        """All numbers in an order that depends on the ids and the seed only."""
        sql = f'SELECT "{NUMBER}" FROM held ORDER BY md5(segment_id || ?)'
        return self._kept.get(("seed", seed), lambda: self._numbers(sql, [f" {seed}"]))

    # ---------------------------------------------------------------- one segment, one rejected item

    def row(self, segment_id: str) -> dict[str, Any] | None:
        """All columns of a row that is not removed; None for an unknown segment."""
        if not len(self.held.numbers_of([segment_id])):
            return None
        found = self._manifest.rows_of([segment_id], self.version).to_pylist()
        return found[0] if found else None

    def related(self, row: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The other rows of a row's clusters or composition, at most `MAX_RELATED`, copies first (`is_copy`)."""
        names = [name for name in self.column_names if name not in _LONG]
        found: list[dict[str, Any]] = []
        for ties, is_copy in ((TIES, True), (("composition_id",), False)):
            numbers = [self.held.equal(name, row[name]) for name in ties if row[name]]
            taken = np.unique(np.concatenate(numbers))[: MAX_RELATED + 1] if numbers else np.zeros(0, int)
            seen = {row["segment_id"], *(one["segment_id"] for one in found)}
            rows = [one | {"is_copy": is_copy} for one in self.held.rows(taken, names) if one["segment_id"] not in seen]
            found += sorted(rows, key=lambda one: one["segment_id"])
        return found[:MAX_RELATED]

    def measures(self, row: Mapping[str, Any]) -> dict[str, float]:
        """The numbers of a segment's transcription; of several, those of the manifest's."""
        sql = (
            "SELECT record.measures AS measures FROM table_measure WHERE item_id = ? AND record IS NOT NULL "
            "AND record.measures['num_notes'] = ?"
        )
        found = self._ask(sql, [row["segment_id"], row["num_notes"]])
        return dict(found[-1]["measures"]) if found else {}

    def alignment(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Along which score a row's notes go; empty where they were not aligned."""
        found = self._ask("SELECT * FROM alignments WHERE segment_id = ? AND reason = ''", [row["segment_id"]])
        return found[0] if found else {}

    def records(self, table: str, item_id: str) -> list[dict[str, Any]]:
        """The records of an item in a stage's table (`table`: a name of ours)."""
        sql = f"SELECT record FROM table_{table} WHERE item_id = ? AND record IS NOT NULL"
        return [dict(row["record"]) for row in self._ask(sql, [item_id])]

    def record(self, table: str, item_id: str) -> dict[str, Any]:
        """The last of an item's `records`; empty where there is none."""
        return (self.records(table, item_id) or [{}])[-1]

    def recording(self, recording_id: str) -> dict[str, Any]:
        """What is known of decoded audio, by its own id or its candidate's; empty for an unknown one."""
        sql = (
            "SELECT record FROM table_ingest "
            "WHERE record IS NOT NULL AND (item_id = ? OR record.recording_id = ?) LIMIT 1"
        )
        found = self._ask(sql, [recording_id] * 2)
        return dict(found[0]["record"]) if found else {}

    def rejections(self, reason: str, page: int) -> tuple[list[dict[str, Any]], int]:
        """A page of what the last build rejected or failed on, and how many there are."""
        where, values = ("reason = ?", [reason]) if reason else ("true", [])
        count = self._ask(f"SELECT count(*) AS n FROM rejections WHERE {where}", values)[0]["n"]
        sql = f"SELECT * FROM rejections WHERE {where} ORDER BY stage, reason, item_id LIMIT {PAGE_ROWS}"
        return self._ask(f"{sql} OFFSET {page * PAGE_ROWS}", values), count

    def rejection(self, item_id: str) -> list[dict[str, Any]]:
        return self._ask("SELECT * FROM rejections WHERE item_id = ? OR candidate_id = ?", [item_id] * 2)

    def changed(self) -> pa.Table:
        """What differs from the version before: segment_id and kind, in the order of the ids."""
        sql = f"{CHANGED} ORDER BY segment_id"
        return self._run(lambda connection: connection.sql(sql).to_arrow_table(), MAX_COMPARED_S)

    def reasons(self) -> list[dict[str, Any]]:
        return self._ask("SELECT reason, count(*) AS n FROM rejections GROUP BY reason ORDER BY n DESC, reason")
