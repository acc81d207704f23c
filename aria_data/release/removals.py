"""The removals of a dataset: what was removed for good, and why. Every later build and version respects them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from aria_data.storage.stage_tables import DONE, Outcome, StageTable


@dataclass(frozen=True, slots=True)
class Removal:
    """One removal: of a segment, of a recording, or of everything that a source_url names."""

    item_id: str  # a segment_id, a recording_id or a source_url
    reason: str
    removed_at: str  # UTC, ISO 8601


class Removals:
    """The removals of the dataset at `root`."""

    def __init__(self, root: Path):
        self._table = StageTable(root, "removals", Removal)

    def by_id(self) -> dict[str, Removal]:
        """Every removal by the id it names; the earliest of several for one id, whatever the clocks said."""
        recorded = sorted(self._table.all(), key=lambda one: (one.measured or 0.0, one.record.removed_at), reverse=True)
        return {outcome.item_id: outcome.record for outcome in recorded}

    def add(self, item_ids: list[str], reason: str) -> None:
        """Record removals, whether or not the dataset holds the items yet."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        count = self._table.last_count() + 1  # earlier code recorded the time only
        self._table.append(
            Outcome(item_id, f"{item_id} {now}", DONE, measured=float(count), record=Removal(item_id, reason, now))
            for item_id in item_ids
        )
