"""The frontier of a crawl in one SQLite file: leads to follow, leads followed, candidates seen. A kill loses nothing.

The results of a round of leads are written in one transaction (`finish_round`), in the order of the leads. So the
results of a crawl do not depend on the order of answers, or on where it was stopped. A known lead or candidate is never
added again; `revisit` makes leads wait again whose lists may have grown.
"""

from __future__ import annotations

import math
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aria_data.collect.sources.base import Lead
from aria_data.errors import DatasetCorrupt, DatasetLocked
from aria_data.storage import not_writable
from aria_data.web import host_of

WAITING, DONE, FAILED, DROPPED = "waiting", "done", "failed", "dropped"
_NOT_WRITABLE = r"unable to open|readonly|full|disk I/O"  # in SQLite's messages; the file itself is not damaged
DAMAGE = (sqlite3.DatabaseError, UnicodeDecodeError)  # errors of reading a damaged file
CLOCK_S = 86_400.0  # a lead that would wait longer was written while the clock was wrong
MAX_TRIES = 3  # of a lead that fails for a temporary reason
_SCHEMA = """
CREATE TABLE IF NOT EXISTS leads (
    lead_id TEXT PRIMARY KEY, source TEXT NOT NULL, target TEXT NOT NULL, depth INTEGER NOT NULL,
    priority REAL NOT NULL, via TEXT NOT NULL, hint TEXT NOT NULL, is_part INTEGER NOT NULL,
    state TEXT NOT NULL, tries INTEGER NOT NULL DEFAULT 0,
    not_before REAL NOT NULL DEFAULT 0, followed_at REAL, kind TEXT NOT NULL DEFAULT '',
    detail TEXT NOT NULL DEFAULT '',
    num_candidates INTEGER NOT NULL DEFAULT 0, num_new INTEGER NOT NULL DEFAULT 0,
    num_accepted INTEGER NOT NULL DEFAULT 0, parent TEXT NOT NULL DEFAULT '');
CREATE INDEX IF NOT EXISTS leads_next ON leads (state, priority DESC);
CREATE TABLE IF NOT EXISTS seen (
    candidate_id TEXT PRIMARY KEY, address TEXT NOT NULL, title TEXT NOT NULL, relevance_score INTEGER NOT NULL,
    is_accepted INTEGER NOT NULL, lead_id TEXT NOT NULL, depth INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS seen_address ON seen (address);
CREATE TABLE IF NOT EXISTS outbox (number INTEGER PRIMARY KEY AUTOINCREMENT, content TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS hosts (host TEXT PRIMARY KEY, num_leads INTEGER NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """One screened candidate, as the crawl tree shows it."""

    candidate_id: str
    address: str  # canonical, of its page
    title: str
    relevance_score: int
    is_accepted: bool


@dataclass(slots=True)
class Followed:
    """The result of following one lead."""

    lead: Lead
    candidates: list[Seen] = field(default_factory=list)  # new ones, in order
    num_candidates: int = 0  # with those known before
    leads: list[Lead] = field(default_factory=list)
    kind: str = ""  # of the failure, "" = none
    detail: str = ""
    is_temporary: bool = False  # the lead waits, and is followed again later
    is_cut: bool = False  # a budget ended it: the lead waits, and this does not count as a try
    rest_s: float = 0.0  # seconds to wait then
    left_out: str = ""  # what was found and not given
    is_by_limit: bool = False  # of what was left out, whether a higher `candidates_per_lead` brings some


class Frontier:
    """The frontier in the file `path`. For one process at a time, which holds the dataset's lock."""

    def __init__(self, path: Path):
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.executescript(_SCHEMA)
        except DAMAGE as error:
            raise self._error(error) from error
        except OSError as error:
            raise not_writable(path, error) from error

    def close(self) -> None:
        self._db.close()

    def add_seeds(self, seeds: Iterable[Lead], again: bool = False) -> int:
        """Add leads given by a person. With `again`, those that were followed before wait once more. Gives the number
        of new ones."""
        with self._transaction():
            seeds = list(seeds)
            num_new = sum(self._add(lead, parent="") for lead in seeds)
            if again:
                sql = "UPDATE leads SET state = ?, tries = 0, not_before = 0 WHERE lead_id = ?"
                self._db.executemany(sql, [(WAITING, lead.lead_id) for lead in seeds])
            return num_new

    def revisit(self, before: float) -> int:
        """Make seeds, feeds and searches wait again that were followed before this time (Unix seconds). Gives their
        number."""
        with self._transaction():
            return self._db.execute(
                "UPDATE leads SET state = ?, tries = 0 WHERE state IN (?, ?) AND followed_at < ? "
                "AND (via = '' OR source IN ('feed', 'search'))",
                (WAITING, DONE, FAILED, before),
            ).rowcount

    def next_leads(self, count: int, max_depth: int, now: float) -> list[Lead]:
        """Give the waiting leads of highest priority, in a fixed order. They stay waiting until `finish_round`."""
        rows = self._rows(
            "SELECT source, target, depth, priority, via, hint, is_part FROM leads WHERE state = ? AND depth <= ? "
            "AND (not_before <= ? OR not_before > ?) ORDER BY priority DESC, depth, rowid LIMIT ?",
            (WAITING, max_depth, now, now + CLOCK_S, count),
        )
        return [Lead(a, b, c, d, e, f, bool(is_part)) for a, b, c, d, e, f, is_part in rows]

    def is_seen(self, candidate_id: str, address: str = "") -> bool:
        """Whether a candidate, or the same page under another id, is known."""
        rows = self._rows(
            "SELECT 1 FROM seen WHERE candidate_id = ? OR (address = ? AND address != '') LIMIT 1",
            (candidate_id, address),
        )
        return bool(rows)

    def finish_round(
        self, followed: Sequence[Followed], now: float, outbox: Iterable[str] = (), retry_s: float = 600.0
    ) -> None:
        """Write the results of a round, whole or not at all. `outbox` waits here until it is in the dataset's tables.

        `now` is in Unix seconds; a lead that failed for a temporary reason waits `retry_s` from then.
        """
        with self._transaction():
            for one in followed:
                self._finish(one, now, retry_s)
            self._db.executemany("INSERT INTO outbox (content) VALUES (?)", ((content,) for content in outbox))

    def num_in_outbox(self) -> int:
        return int(self._rows("SELECT count(*) FROM outbox")[0][0])

    def outbox(self, count: int) -> tuple[int, list[str]]:
        """Give (the number of the last entry, the entries), of the oldest `count` entries."""
        rows = self._rows("SELECT number, content FROM outbox ORDER BY number LIMIT ?", (count,))
        return (rows[-1][0] if rows else 0), [content for _, content in rows]

    def clear_outbox(self, last: int) -> None:
        """Delete the entries up to a number, after they were written to the tables."""
        with self._transaction():
            self._db.execute("DELETE FROM outbox WHERE number <= ?", (last,))

    def _finish(self, one: Followed, now: float, retry_s: float) -> None:
        lead_id, num_new, num_accepted = one.lead.lead_id, 0, 0
        for seen in one.candidates:
            added = self._db.execute(
                "INSERT OR IGNORE INTO seen VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    seen.candidate_id,
                    seen.address,
                    seen.title,
                    seen.relevance_score,
                    seen.is_accepted,
                    lead_id,
                    one.lead.depth,
                ),
            ).rowcount
            num_new += added
            num_accepted += added and seen.is_accepted
        for lead in one.leads:
            self._add(lead, parent=lead_id)
        if one.is_cut:
            self._db.execute("UPDATE leads SET not_before = ? WHERE lead_id = ?", (now + one.rest_s, lead_id))
            return
        state = WAITING if one.is_temporary else FAILED if one.kind else DONE
        self._db.execute(
            "UPDATE leads SET state = CASE WHEN ? = 'waiting' AND tries + 1 >= ? THEN 'failed' ELSE ? END, "
            "tries = tries + 1, not_before = ?, followed_at = ?, kind = ?, detail = ?, "
            "num_candidates = num_candidates + ?, num_new = num_new + ?, num_accepted = num_accepted + ? "
            "WHERE lead_id = ?",
            (
                state,
                MAX_TRIES,
                state,
                now + retry_s if one.is_temporary else 0.0,
                now,
                one.kind,
                one.detail or (f"left out: {one.left_out}" if one.left_out else ""),
                one.num_candidates,
                num_new,
                num_accepted,
                lead_id,
            ),
        )

    def _add(self, lead: Lead, parent: str) -> int:
        """Add a lead unless it is known. Its priority falls with the number of leads at its host, so that no site fills
        the frontier alone."""
        host = host_of(lead.target) or lead.source
        (known,) = self._db.execute("SELECT num_leads FROM hosts WHERE host = ?", (host,)).fetchone() or (0,)
        novelty = 1.0 / (1.0 + math.log10(1.0 + known)) if parent else 1.0
        added = self._db.execute(
            "INSERT OR IGNORE INTO leads (lead_id, source, target, depth, priority, via, hint, is_part, state, parent) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                lead.lead_id,
                lead.source,
                lead.target,
                lead.depth,
                round(lead.priority * novelty, 6),
                lead.discovered_via,
                lead.hint,
                lead.is_part,
                WAITING,
                parent,
            ),
        ).rowcount
        if added:
            self._db.execute(
                "INSERT INTO hosts VALUES (?, 1) ON CONFLICT DO UPDATE SET num_leads = num_leads + 1", (host,)
            )
        return added

    def num_ready(self, max_depth: int) -> int:
        """Count the leads that wait, also those that may not be followed before a later time."""
        sql = "SELECT count(*) FROM leads WHERE state = ? AND depth <= ?"
        return int(self._rows(sql, (WAITING, max_depth))[0][0])

    def counts(self) -> dict[str, int]:
        """Count leads by state, and candidates `seen` and `accepted`."""
        found = dict(self._rows("SELECT state, count(*) FROM leads GROUP BY state"))
        ((seen, accepted),) = self._rows("SELECT count(*), coalesce(sum(is_accepted), 0) FROM seen")
        return {**{state: found.get(state, 0) for state in (WAITING, DONE, FAILED)}, "seen": seen, "accepted": accepted}

    def failures(self) -> list[tuple[str, str, str]]:
        """Give the leads that could not be followed as (lead, kind, detail)."""
        return self._rows("SELECT source || ': ' || target, kind, detail FROM leads WHERE kind != '' ORDER BY rowid")

    def left_out(self) -> list[tuple[str, str]]:
        """Give the leads that were followed and not taken whole, as (lead, what was left out)."""
        sql = "SELECT source || ': ' || target, detail FROM leads WHERE kind = '' AND detail != '' ORDER BY rowid"
        return self._rows(sql)

    def tree(self) -> Iterator[tuple[str, str, str, str, int, int]]:
        """Yield every lead, oldest first, as (lead_id, its parent's id, text, state, num_new, num_accepted)."""
        yield from self._rows(
            "SELECT lead_id, parent, source || ': ' || target, state, num_new, num_accepted FROM leads ORDER BY rowid"
        )

    def candidates_of(self, lead_id: str) -> list[Seen]:
        """Give the candidates that this lead was the first to find."""
        rows = self._rows(
            "SELECT candidate_id, address, title, relevance_score, is_accepted FROM seen WHERE lead_id = ? "
            "ORDER BY rowid",
            (lead_id,),
        )
        return [Seen(a, b, c, d, bool(is_accepted)) for a, b, c, d, is_accepted in rows]

    def _rows(self, sql: str, values: Sequence[object] = ()) -> list[tuple]:
        """Read rows. Raises `DatasetCorrupt`, `DatasetLocked` or `DatasetNotWritable`, by the cause."""
        try:
            return self._db.execute(sql, values).fetchall()
        except DAMAGE as error:
            raise self._error(error) from error

    def _transaction(self) -> _Transaction:
        return _Transaction(self)

    def _error(self, error: Exception) -> Exception:
        if isinstance(error, sqlite3.OperationalError) and re.search(_NOT_WRITABLE, str(error)):
            return not_writable(self.path, error)
        if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
            return DatasetLocked(f"{self.path}: another crawl is working on it. Wait for it to end.")
        return DatasetCorrupt(
            f"{self.path}: the frontier is damaged ({error}). Restore it from a backup, or delete it: the crawl then "
            "starts from its seeds, and candidates found before stay in the dataset."
        )


class _Transaction:
    def __init__(self, frontier: Frontier):
        self._frontier = frontier

    def __enter__(self) -> None:
        try:
            self._frontier._db.execute("BEGIN IMMEDIATE")
        except DAMAGE as error:
            raise self._frontier._error(error) from error

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        try:
            self._frontier._db.execute("ROLLBACK" if kind else "COMMIT")
        except DAMAGE as failure:  # a full disk shows here, and has rolled back by itself
            error = error or failure
        if isinstance(error, DAMAGE) and not isinstance(error, sqlite3.ProgrammingError):
            raise self._frontier._error(error) from error
