"""The table of attempts to fetch: what was tried, how it ended, and when a candidate is due again."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path

from aria_data.download import DownloadConfig, settle
from aria_data.records import Attempt
from aria_data.storage import local_folder
from aria_data.storage.stage_tables import DONE, Outcome, StageTable
from aria_data.web import FetchDelayed

MARK = "retry"  # kind of the row that `aria-data retry` adds: a person wants the candidate tried again
FLUSH_AFTER_S = 5.0
MAX_WAIT_S = 86_400.0  # a day: the longest wait between two attempts


class Attempts:
    """The attempts of the dataset at `root`. Safe for threads. `flush` writes new attempts to the table."""

    def __init__(self, root: Path):
        self._table, self._lock = StageTable(root, "attempts", Attempt), threading.Lock()
        self._of: dict[str, list[Attempt]] = defaultdict(list)
        recorded = sorted(self._table.all(), key=lambda one: (one.measured or 0.0, one.record.began_at))
        for outcome in recorded:
            self._of[outcome.item_id].append(outcome.record)
        self._count = int(recorded[-1].measured or 0) if recorded else 0  # earlier code recorded the time only
        self._new: list[Attempt] = []
        self._is_settled = False
        self.resting: set[str] = set()  # candidates that were not requested, because their host is paused
        self._flushed = time.monotonic()

    def add(self, attempt: Attempt) -> None:
        """Record an attempt; all new ones are written if the last write was more than `FLUSH_AFTER_S` ago."""
        with self._lock:
            self._of[attempt.candidate_id].append(attempt)
            self._new.append(attempt)
            is_due = time.monotonic() - self._flushed > FLUSH_AFTER_S
        if is_due:
            self.flush()

    def flush(self) -> None:
        """Append the new attempts to the table."""
        with self._lock:
            new, self._new, self._flushed = self._new, [], time.monotonic()
            outcomes = []
            for one in new:
                self._count += 1
                key = f"{one.candidate_id} {one.began_at} {one.kind}"
                outcomes.append(Outcome(one.candidate_id, key, DONE, measured=float(self._count), record=one))
            self._table.append(outcomes)

    def settle(self, root: Path, fetched: Collection[str]) -> None:
        """Once a run, delete the side files of audio whose downloads are in the table; `fetched` are their ids."""
        with self._lock:
            is_settled, self._is_settled = self._is_settled, True
        if not is_settled:
            settle(local_folder(root), fetched)

    def last_kind(self, candidate_id: str) -> str:
        """The kind of failure of a candidate's latest attempt; "" if it was fetched or never tried."""
        tries = [one for one in self._of.get(candidate_id, ()) if one.kind != MARK]
        return tries[-1].kind if tries else ""

    def marks(self) -> dict[str, int]:
        """How often a person asked to try a candidate again, by its id."""
        return dict(Counter(key for key, tries in self._of.items() for one in tries if one.kind == MARK))

    def by_kind(self) -> dict[str, list[str]]:
        """The ids of candidates whose latest attempt failed, by the kind of failure."""
        found: dict[str, list[str]] = defaultdict(list)
        for candidate_id in self._of:
            kind = self.last_kind(candidate_id)
            if kind:
                found[kind].append(candidate_id)
        return dict(found)

    def mark(self, candidate_ids: Sequence[str]) -> None:
        """Record that a person wants these candidates tried again, and write it at once."""
        at = now()
        for candidate_id in candidate_ids:
            self.add(Attempt(candidate_id, "", at, 0.0, 0, MARK, "asked for"))
        self.flush()

    def require_due(self, candidate_id: str, config: DownloadConfig) -> None:
        """Raise `FetchDelayed` when a candidate's last failure is too recent, or the last of too many in a row.

        The wait is `config.retry_s` after one failure in a row and doubles with each further one, up to a day.
        """
        failed: list[Attempt] = []
        for one in self._of.get(candidate_id, ()):
            failed = [] if one.kind in ("", MARK) else [*failed, one]
        if not failed:
            return
        kind, count = failed[-1].kind, len(failed)
        if count >= config.max_attempts:
            message = f"{failed[-1].detail} Tried {count} times; `aria-data retry DATASET --kind {kind}` tries again."
            raise FetchDelayed(message, kind)
        wait_s = min(config.retry_s * 2 ** (count - 1), MAX_WAIT_S)
        due = datetime.fromisoformat(failed[-1].began_at).timestamp() + wait_s
        if 0 < due - time.time() <= wait_s:  # a longer rest means that a clock was wrong
            at = datetime.fromtimestamp(due).strftime("%Y-%m-%d %H:%M")
            raise FetchDelayed(f"{failed[-1].detail} Tried {count} times; not again before {at}.", kind)


def now() -> str:
    """Give the time as the table holds it: ISO 8601, UTC, microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
