"""The download stage: which candidates are fetched now, every attempt on record, how each ended."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from aria_data.addresses import host_of
from aria_data.download import DownloadConfig, download
from aria_data.errors import AriaDataError, DatasetError, PermanentError, TemporaryError
from aria_data.failures import FetchDelayed, kind_of
from aria_data.files import printable
from aria_data.pacing import HostResting
from aria_data.partials import settle
from aria_data.records import Attempt, Candidate, Download, Verdict
from aria_data.tables import DONE, Outcome, StageTable
from flows.workplace import Item, Stage, Workplace, each_item

# An expected no, not a fault of the item.
EXPECTED = frozenset({"too-long", "licence", "robots", "opted-out", "refused"})
MARK = "retry"  # the kind of a row that a person's wish to try again leaves among the attempts
FLUSH_AFTER_S = 5.0
MAX_WAIT_S = 86_400.0


class Attempts:
    """The archive of attempts of the dataset at `root`. Safe for threads; `flush` writes what is new."""

    def __init__(self, root: Path):
        self._table, self._lock = StageTable(root, "attempts", Attempt), threading.Lock()
        self._of: dict[str, list[Attempt]] = defaultdict(list)
        for outcome in sorted(self._table.all(), key=lambda outcome: outcome.record.began_at):
            self._of[outcome.item_id].append(outcome.record)
        self._new: list[Attempt] = []
        self._is_settled = False
        self.resting: set[str] = set()  # candidates that were not asked for, because their host is left alone
        self._flushed = time.monotonic()

    def add(self, attempt: Attempt) -> None:
        with self._lock:
            self._of[attempt.candidate_id].append(attempt)
            self._new.append(attempt)
            is_due = time.monotonic() - self._flushed > FLUSH_AFTER_S
        if is_due:
            self.flush()

    def flush(self) -> None:
        """Append what is new to the table."""
        with self._lock:
            new, self._new, self._flushed = self._new, [], time.monotonic()
            keys = ((one, f"{one.candidate_id} {one.began_at} {one.kind}") for one in new)
            self._table.append(Outcome(one.candidate_id, key, DONE, record=one) for one, key in keys)

    def settle(self, root: Path, fetched: Collection[str]) -> None:
        """Once in a run, forget the notes of audio whose records earlier runs brought into the table."""
        with self._lock:
            is_settled, self._is_settled = self._is_settled, True
        if not is_settled:
            settle(root, fetched)

    def last_kind(self, candidate_id: str) -> str:
        """The kind of a candidate's latest failure; "" if it has none, or was fetched since."""
        tries = [one for one in self._of.get(candidate_id, ()) if one.kind != MARK]
        return tries[-1].kind if tries else ""

    def num_marks(self, candidate_id: str) -> int:
        """How often a person asked to try again."""
        return sum(one.kind == MARK for one in self._of.get(candidate_id, ()))

    def by_kind(self) -> dict[str, list[str]]:
        """Candidates by the kind of their latest failure."""
        found: dict[str, list[str]] = defaultdict(list)
        for candidate_id in self._of:
            kind = self.last_kind(candidate_id)
            if kind:
                found[kind].append(candidate_id)
        return dict(found)

    def mark(self, candidate_ids: Sequence[str]) -> None:
        """Note a person's wish that these are tried again."""
        now = _now()
        for candidate_id in candidate_ids:
            self.add(Attempt(candidate_id, "", now, 0.0, 0, MARK, "asked for"))
        self.flush()

    def require_due(self, candidate_id: str, config: DownloadConfig) -> None:
        """Raise `FetchDelayed` when the candidate failed for a passing reason so lately, or so often, that it waits."""
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
        if 0 < due - time.time() <= wait_s:  # more is left only of a clock that was wrong
            at = datetime.fromtimestamp(due).strftime("%Y-%m-%d %H:%M")
            raise FetchDelayed(f"{failed[-1].detail} Tried {count} times; not again before {at}.", kind)


def _download(workplace: Workplace, stage: Stage, items: Sequence[Item]) -> Iterator[Outcome]:
    config, attempts = workplace.config.download, workplace.attempts
    attempts.settle(workplace.root, workplace.downloads)

    def one(item: Item) -> Outcome:
        candidate: Candidate = item.payload
        known = workplace.downloads.get(candidate.candidate_id)
        if known is not None and (workplace.root / known.audio_path).exists():
            return _judged(workplace, stage, item, known)
        attempts.require_due(candidate.candidate_id, config)
        began, started = _now(), time.monotonic()
        try:
            record = download(candidate, workplace.root, config, workplace.web)
        except DatasetError:
            raise
        except HostResting:  # nobody was asked: no attempt
            attempts.resting.add(candidate.candidate_id)
            raise
        except AriaDataError as error:
            kind, detail = kind_of(error), printable(str(error), 300)
            took_s = round(time.monotonic() - started, 3)
            attempts.add(Attempt(candidate.candidate_id, host_of(candidate.location), began, took_s, 0, kind, detail))
            return _ended(workplace, stage, item, error, kind)
        took_s, host = round(time.monotonic() - started, 3), host_of(record.fetched_from)
        attempts.add(Attempt(candidate.candidate_id, host, began, took_s, record.num_bytes, "", ""))
        return stage.outcome(workplace, item, record)

    try:
        yield from each_item(workplace, stage, items, one, config.num_parallel, is_retried=False)
    finally:
        attempts.flush()


def _ended(workplace: Workplace, stage: Stage, item: Item, error: AriaDataError, kind: str) -> Outcome:
    """An outcome for what trying again will not change; the rest is raised and stays not done."""
    if isinstance(error, TemporaryError):
        raise error
    measured = getattr(error, "measured", None)
    if kind in EXPECTED:
        return stage.outcome(workplace, item, None, Verdict(False, kind, measured), str(error))
    raise PermanentError(str(error), kind, measured) from error


def _judged(workplace: Workplace, stage: Stage, item: Item, known: Download) -> Outcome:
    """What was fetched before, under limits that may have changed since."""
    config = workplace.config.download
    if config.licences and known.licence_code not in config.licences:
        said = printable(known.licence, 60) or "none is named"
        verdict = Verdict(False, "licence")
        return stage.outcome(workplace, item, None, verdict, f"{item.payload.source_url}: its licence is {said}.")
    if known.duration_s > config.max_duration_s:
        return stage.outcome(workplace, item, None, Verdict(False, "too-long", known.duration_s), "longer than allowed")
    return stage.outcome(workplace, item, known)


def _settings(workplace: Workplace) -> dict[str, object]:
    config = workplace.config.download
    return {
        "licences": sorted(config.licences),
        "max_duration_s": config.max_duration_s,
        "max_bytes": config.max_bytes,
        "max_duration_error": [config.max_duration_error, config.max_duration_error_s],
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


DOWNLOAD = Stage("download", 1, Download, _download, _settings, file_of=lambda fetched: fetched.audio_path)
