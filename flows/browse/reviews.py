"""What people say of segments: good, bad, unsure, and what is wrong. Kept in `tables/reviews`, one row a review.

A review belongs to a span of a recording, so that it follows the music when segments get other numbers.
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
        """The newest verdict of each segment that was reviewed."""
        return {review.segment_id: review.verdict for review in self.all()}

    def of(self, row: Mapping[str, Any]) -> list[Review]:
        """The reviews of a row, oldest first."""
        return [review for review in self.all() if review.segment_id == row["segment_id"]]

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


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in some containers
        return "somebody"
