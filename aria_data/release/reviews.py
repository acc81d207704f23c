"""What people say of segments: good, bad, unsure, and what is wrong. Kept in `tables/reviews`, one row a review.

A review belongs to a span of a recording, so that it follows the music when segments get other numbers. A build reads
them if `release.reviews` says so.
"""

from __future__ import annotations

import getpass
import threading
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aria_data.errors import UsageError
from aria_data.records import Review
from aria_data.storage.delta_tables import open_delta
from aria_data.storage.stage_tables import DONE, Outcome, StageTable
from aria_data.storage.work_keys import work_key

VERDICTS = ("good", "bad", "unsure")
FAULT_KEYS = {"wrong tag": "t", "wrong bounds": "w", "second sound source": "s", "wrong notes": "n"}
FAULTS = tuple(FAULT_KEYS)
TABLE, VERSION = "reviews", 1
MAX_NOTE_CHARS = 500
MIN_SHARED = 0.5  # of the longer of two spans, as for numbers (`segment.identity`)


class Reviews:
    """The reviews of a dataset. The newest of a segment by one person counts."""

    def __init__(self, root: Path):
        self._table = StageTable(root, TABLE, Review)
        self._adding = threading.Lock()
        self._read: tuple[int, list[Review]] = (-1, [])  # the table's version, and its reviews

    def all(self) -> list[Review]:
        """Every review, oldest first."""
        opened = open_delta(self._table.path)
        version = -1 if opened is None else opened.version()
        if version != self._read[0]:
            found = [outcome.record for outcome in self._table.all() if outcome.record is not None]
            self._read = version, sorted(found, key=lambda review: review.number)
        return self._read[1]

    def verdicts(self) -> dict[str, str]:
        """The newest verdict of each segment that was reviewed, by the id that it had then."""
        return {review.segment_id: review.verdict for review in self.all()}

    def of(self, row: Mapping[str, Any]) -> list[Review]:
        """The reviews of a row's music, oldest first."""
        return reviews_of(row, self.by_recording().get(row["recording_id"], ()))

    def by_recording(self) -> dict[str, list[Review]]:
        """Every review by its recording, oldest first."""
        found: dict[str, list[Review]] = {}
        for review in self.all():
            found.setdefault(review.recording_id, []).append(review)
        return found

    def add(self, row: Mapping[str, Any], verdict: str, faults: Iterable[str] = (), note: str = "") -> Review:
        """Record a review of a manifest row. Raises `UsageError` for a verdict or fault that there is not."""
        named = sorted(set(faults))
        if verdict not in VERDICTS or not set(named) <= set(FAULTS):
            raise UsageError(f"a review is one of {', '.join(VERDICTS)}, with any of {', '.join(FAULTS)}.")
        with self._adding:
            return self._add(row, verdict, named, note)

    def _add(self, row: Mapping[str, Any], verdict: str, named: list[str], note: str) -> Review:
        number = 1 + max((review.number for review in self.all()), default=0)
        review = Review(
            number,
            row["segment_id"],
            row["recording_id"],
            row["start_s"],
            row["end_s"],
            verdict,
            "; ".join(named),
            note[:MAX_NOTE_CHARS],
            _who(),
            datetime.now(UTC).isoformat(timespec="seconds"),
            row["midi_sha256"] or "",
        )
        key = work_key(TABLE, VERSION, {}, {"number": number, "segment": row["segment_id"], "by": review.reviewer})
        self._table.append([Outcome(row["segment_id"], key, DONE, record=review)])
        return review


def reviews_of(row: Mapping[str, Any], of_recording: Iterable[Review]) -> list[Review]:
    """Those of a recording's reviews that are of this row's music: of the longer span, half is in the other."""
    return [one for one in of_recording if _shared(row["start_s"], row["end_s"], one.start_s, one.end_s) >= MIN_SHARED]


def _shared(start_s: float, end_s: float, other_start_s: float, other_end_s: float) -> float:
    longer_s = max(end_s - start_s, other_end_s - other_start_s)
    return (min(end_s, other_end_s) - max(start_s, other_start_s)) / longer_s if longer_s > 0 else 0.0


def reviewed(rows: Iterable[Mapping[str, Any]], reviews: Iterable[Review]) -> dict[str, Review]:
    """The newest review of each row's music, by segment_id; rows without one are left out."""
    by_recording: dict[str, list[Review]] = {}
    for review in sorted(reviews, key=lambda one: one.number):
        by_recording.setdefault(review.recording_id, []).append(review)
    found = {row["segment_id"]: reviews_of(row, by_recording.get(row["recording_id"], ())) for row in rows}
    return {segment_id: of_row[-1] for segment_id, of_row in found.items() if of_row}


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in some containers
        return "somebody"
