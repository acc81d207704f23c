"""Answers of language models and their costs, in one SQLite file, so that an answer is paid for once. No requests.

Money is reserved before a request is sent, and settled when its answer arrives. A reservation that is never settled,
because the process was killed or the answer was lost, counts as spent: the sums may be too high, never too low.
Several threads and processes may use one file.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from aria_data.errors import DatasetCorrupt, DatasetError, TemporaryError
from aria_data.llm.prices import Usage, to_dollars
from aria_data.storage import not_writable, printable

T = TypeVar("T")
VERSION = 1
BUSY_S = 60.0
TOTAL = "total"
_TABLES = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, task TEXT NOT NULL, model TEXT NOT NULL, answer TEXT NOT NULL, answered_at REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS requests (
    request_id INTEGER PRIMARY KEY, run_id TEXT NOT NULL, task TEXT NOT NULL, model TEXT NOT NULL,
    num_items INTEGER NOT NULL, is_batch INTEGER NOT NULL, is_priced INTEGER NOT NULL,
    status TEXT NOT NULL, picodollars INTEGER NOT NULL,
    prompt_tokens INTEGER, completion_tokens INTEGER, cached_tokens INTEGER,
    sent_at REAL NOT NULL, settled_at REAL
);
CREATE INDEX IF NOT EXISTS requests_by_model ON requests (model, task);
CREATE TABLE IF NOT EXISTS sums (scope TEXT PRIMARY KEY, picodollars INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS batches (
    label TEXT PRIMARY KEY, batch_id TEXT NOT NULL, task TEXT NOT NULL, model TEXT NOT NULL,
    is_open INTEGER NOT NULL, created_at REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS batch_lines (
    label TEXT NOT NULL, custom_id TEXT NOT NULL, request_id INTEGER NOT NULL, sent TEXT NOT NULL,
    PRIMARY KEY (label, custom_id)
) WITHOUT ROWID;
"""


class BudgetSpent(TemporaryError):
    """A request could cost more than is left of the budget. The item stays not done until the budget is larger."""

    reason = "budget_spent"


@dataclass(frozen=True, slots=True)
class Limits:
    """Picodollars that may be spent: in one run, and in all runs of the ledger. None: no limit."""

    run: int | None = None
    total: int | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """What the ledger has seen of a task and a model; None where it has seen nothing."""

    tokens_an_item: float | None = None  # of answers
    seconds_an_item: float | None = None  # from the request to its answer, with what the server made it wait


@dataclass(frozen=True, slots=True)
class Spent:
    """Requests, tokens and costs of one model for one task. `picodollars` includes unsettled reservations."""

    model: str
    task: str
    num_requests: int
    num_unsettled: int
    num_unpriced: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    picodollars: int


class Ledger:
    """The ledger's file; every method is one transaction. Raises `DatasetCorrupt`, `DatasetNotWritable`."""

    def __init__(self, path: Path):
        self.path = path
        self._lock = threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, BUSY_S, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise not_writable(path, error) from error
        try:
            with self._locked():
                self._prepare()
        except BaseException:
            self._database.close()
            raise

    def close(self) -> None:
        with self._lock:
            self._database.close()

    def _prepare(self) -> None:
        _while_busy(lambda: self._database.execute("PRAGMA journal_mode = WAL"))
        self._database.execute("PRAGMA synchronous = FULL")
        with self._writing() as database:
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if version not in (0, VERSION):
                raise DatasetCorrupt(f"{self.path}: was written by another version ({version}, here {VERSION}).")
            for statement in _TABLES.split(";\n"):
                database.execute(statement)
            database.execute(f"PRAGMA user_version = {VERSION}")

    @contextmanager
    def _locked(self) -> Iterator[sqlite3.Connection]:
        """Hold the connection's lock, and translate errors of SQLite."""
        with self._lock:
            try:
                yield self._database
            except sqlite3.Error as error:
                raise self._explained(error) from error

    def _explained(self, error: sqlite3.Error) -> DatasetError:
        text = str(error)
        if "not a database" in text or "malformed" in text or "no such" in text:
            return DatasetCorrupt(
                f"{self.path}: is not a ledger, or is damaged ({printable(text)}). "
                "Move it away; answers will be asked, and paid, again."
            )
        full = "full" in text
        return not_writable(self.path, OSError(28, "No space left on device") if full else error)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that holds the write lock from its start, so that nobody changes what it has read."""
        with self._locked() as database:
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
            except BaseException:
                if database.in_transaction:
                    database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")

    def answer(self, key: str) -> dict[str, Any] | None:
        """The stored answer of a question, by its key (`questions.question_key`); None if there is none."""
        with self._locked() as database:
            row = database.execute("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone()
        return json.loads(row[0]) if row else None

    def reserve(
        self,
        run_id: str,
        task: str,
        model: str,
        num_items: int,
        picodollars: int | None,
        limits: Limits,
        is_batch: bool = False,
    ) -> int:
        """Reserve the most that a request may cost, and give the request's number. None: its price is not known.

        Raises `BudgetSpent` when the run, or the whole ledger, might exceed its limit.
        """
        most = picodollars or 0
        with self._writing() as database:
            for scope, limit, name in ((run_id, limits.run, "this run"), (TOTAL, limits.total, "the whole ledger")):
                spent = self._sum(database, scope)
                if limit is not None and spent + most > limit:
                    raise BudgetSpent(
                        f"the budget of {name}, {_shown(limit)}, does not cover another request: {_shown(spent)} is "
                        f"spent or reserved, and a request may cost up to {_shown(most)}. Raise it and run again; "
                        "what is answered is kept."
                    )
            self._add(database, run_id, most)
            row = (run_id, task, model, num_items, is_batch, picodollars is not None, "reserved", most, time.time())
            return database.execute(
                "INSERT INTO requests (run_id, task, model, num_items, is_batch, is_priced, status, picodollars,"
                " sent_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            ).lastrowid  # type: ignore[return-value]

    def settle(
        self,
        request_id: int,
        usage: Usage | None,
        picodollars: int | None,
        answers: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Replace a reservation by the actual cost (None: keep what was reserved), and store the answers by key."""
        now = time.time()
        with self._writing() as database:
            run_id, task, model, reserved, status = database.execute(
                "SELECT run_id, task, model, picodollars, status FROM requests WHERE request_id = ?", (request_id,)
            ).fetchone()
            if status == "reserved":
                cost = reserved if picodollars is None else picodollars
                self._add(database, run_id, cost - reserved)
                tokens = (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens) if usage else (None,) * 3
                database.execute(
                    "UPDATE requests SET status = 'settled', picodollars = ?, prompt_tokens = ?,"
                    " completion_tokens = ?, cached_tokens = ?, settled_at = ? WHERE request_id = ?",
                    (cost, *tokens, now, request_id),
                )
            for key, answer in (answers or {}).items():
                row = (key, task, model, json.dumps(answer, ensure_ascii=False), now)
                database.execute("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?)", row)

    def release(self, request_ids: Sequence[int]) -> None:
        """Cancel the reservations of requests that the server refused."""
        with self._writing() as database:
            for request_id in request_ids:
                row = database.execute(
                    "SELECT run_id, picodollars FROM requests WHERE request_id = ? AND status = 'reserved'",
                    (request_id,),
                ).fetchone()
                if row:
                    self._add(database, row[0], -row[1])
                    database.execute(
                        "UPDATE requests SET status = 'refused', picodollars = 0, settled_at = ? WHERE request_id = ?",
                        (time.time(), request_id),
                    )

    @staticmethod
    def _sum(database: sqlite3.Connection, scope: str) -> int:
        row = database.execute("SELECT picodollars FROM sums WHERE scope = ?", (scope,)).fetchone()
        return row[0] if row else 0

    def _add(self, database: sqlite3.Connection, run_id: str, picodollars: int) -> None:
        for scope in (run_id, TOTAL):
            database.execute(
                "INSERT INTO sums VALUES (?, ?) ON CONFLICT (scope) DO UPDATE"
                " SET picodollars = picodollars + excluded.picodollars",
                (scope, picodollars),
            )

    def spent(self, run_id: str = TOTAL) -> int:
        """Picodollars spent or reserved, by one run or by all."""
        with self._locked() as database:
            return self._sum(database, run_id)

    def table(self, run_id: str = "") -> list[Spent]:
        """Sums for each model and task, of one run or of all."""
        with self._locked() as database:
            rows = database.execute(
                "SELECT model, task, COUNT(*), SUM(status = 'reserved'), SUM(NOT is_priced),"
                " SUM(COALESCE(prompt_tokens, 0)), SUM(COALESCE(completion_tokens, 0)),"
                " SUM(COALESCE(cached_tokens, 0)), SUM(picodollars)"
                " FROM requests WHERE ? IN ('', run_id) GROUP BY model, task ORDER BY model, task",
                (run_id,),
            ).fetchall()
        return [Spent(*row) for row in rows]

    def seen(self, task: str, model: str) -> Seen:
        """The mean completion tokens and seconds an item so far; seconds without batches."""
        with self._locked() as database:
            tokens, items, seconds, live_items = database.execute(
                "SELECT SUM(completion_tokens), SUM(num_items), SUM((settled_at - sent_at) * NOT is_batch),"
                " SUM(num_items * NOT is_batch)"
                " FROM requests WHERE model = ? AND task = ? AND completion_tokens IS NOT NULL",
                (model, task),
            ).fetchone()
        return Seen(tokens / items if items else None, seconds / live_items if live_items else None)

    def open_batch(self, label: str, task: str, model: str, lines: Mapping[str, tuple[int, Any]]) -> None:
        """Record a batch before it is submitted: for each line, the request's number and what is sent in it."""
        with self._writing() as database:
            database.execute("INSERT INTO batches VALUES (?, '', ?, ?, 1, ?)", (label, task, model, time.time()))
            for custom_id, (request_id, sent) in lines.items():
                row = (label, custom_id, request_id, json.dumps(sent, ensure_ascii=False))
                database.execute("INSERT INTO batch_lines VALUES (?, ?, ?, ?)", row)

    def name_batch(self, label: str, batch_id: str) -> None:
        """Record the server's id of a batch."""
        with self._writing() as database:
            database.execute("UPDATE batches SET batch_id = ? WHERE label = ?", (batch_id, label))

    def close_batch(self, label: str) -> None:
        """Mark a batch as finished, and delete its lines."""
        with self._writing() as database:
            database.execute("UPDATE batches SET is_open = 0 WHERE label = ?", (label,))
            database.execute("DELETE FROM batch_lines WHERE label = ?", (label,))

    def open_batches(self, task: str, model: str) -> list[tuple[str, str]]:
        """(label, the server's id or "") of the batches that are recorded and not finished, oldest first."""
        with self._locked() as database:
            return database.execute(
                "SELECT label, batch_id FROM batches WHERE is_open AND task = ? AND model = ? ORDER BY created_at",
                (task, model),
            ).fetchall()

    def batch_lines(self, label: str) -> dict[str, tuple[int, Any]]:
        """The lines of a batch: the request's number and what was sent, by custom id."""
        with self._locked() as database:
            rows = database.execute(
                "SELECT custom_id, request_id, sent FROM batch_lines WHERE label = ?", (label,)
            ).fetchall()
        return {custom_id: (request_id, json.loads(sent)) for custom_id, request_id, sent in rows}


def _shown(picodollars: int) -> str:
    return f"${to_dollars(picodollars):.6g}"


def _while_busy(function: Callable[[], T]) -> T:
    """Retry while the database is locked: switching to WAL does not wait for another process that does the same."""
    for _ in range(200):
        try:
            return function()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            time.sleep(0.05)
    return function()
