"""What an observation of a file says beside an earlier one, and what was in the file then."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

from aria_data.records import Candidate, Recording
from aria_data.storage.stage_tables import StageTable
from flows.engine.stages import INGEST


def is_news(candidate: Candidate, before: Candidate | None) -> bool:
    """Whether an observation gives later stages work, rather than only a new state of the same file."""
    names = ("location", "num_bytes", "modified_ns", "content_sha256", "title", "description", "tags")
    return before is None or any(getattr(candidate, name) != getattr(before, name) for name in names)


def ingested_sha256(root: Path) -> Callable[[str], str]:
    """Give a function from a candidate's id to the hash of its file when it was ingested last; "" for never."""

    @functools.cache
    def all_of_them() -> dict[str, str]:
        done = (outcome for outcome in StageTable(root, INGEST.name, Recording).all() if outcome.record is not None)
        return {outcome.item_id: outcome.record.audio_sha256 for outcome in done}

    return lambda candidate_id: all_of_them().get(candidate_id, "")
