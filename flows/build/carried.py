"""Rows of the newest version that stay as they are, because the work on them could not be finished now.

An item that is *not done* (its disk is away, a model's server is down) is no rejection: its rows keep their earlier
results until a build can finish the work. `audio_reachable` is false where the audio could not be read.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aria_data.manifest import Row
from aria_data.manifest.digests import content_sha256
from aria_data.measure import load_limits, passing
from aria_data.release.tombstones import Known
from flows.engine.context import BuildContext, Pending
from flows.engine.items import BuildState
from flows.engine.stages import MEASURE


@dataclass(frozen=True)
class Waiting:
    """What a build could not finish, by candidate."""

    candidate_ids: frozenset[str]
    unreachable_ids: frozenset[str]  # of them those whose audio could not be read

    @classmethod
    def of(cls, not_done: Mapping[str, Pending]) -> Waiting:
        """Sort pending items, by item_id, into their candidates."""
        everything = not_done.values()
        return cls(
            frozenset(pending.candidate_id for pending in everything),
            frozenset(pending.candidate_id for pending in everything if pending.is_unreachable),
        )


@dataclass(frozen=True)
class Carried:
    """Rows that stay as they are, and whose they are."""

    rows: tuple[Row, ...] = ()
    candidate_ids: frozenset[str] = frozenset()

    @property
    def recording_ids(self) -> frozenset[str]:
        return frozenset(row["recording_id"] for row in self.rows)

    @property
    def segment_ids(self) -> frozenset[str]:
        return frozenset(row["segment_id"] for row in self.rows)


def pending_line(found: BuildState, item_id: str, pending: Pending) -> str:
    """Say what could not be finished, and why, on one line."""
    if not pending.is_unreachable:
        return f"{item_id}: {pending.message}"
    return f"{found.candidates[pending.candidate_id].source_url}: {pending.reason} ({pending.message})"


def carried_rows(root: Path, found: BuildState, not_done: Mapping[str, Pending], previous: Sequence[Row]) -> Carried:
    """Give the rows of `previous` whose candidates wait for an item of `not_done`.

    What was removed or opted out is not among them.
    """
    if not not_done or not previous:
        return Carried()
    waiting, known = Waiting.of(not_done), Known.read(root)
    rows: list[Row] = []
    candidate_ids: set[str] = set()
    for row in previous:
        owners = (_owners(found, row, known) - found.left_alone) & waiting.candidate_ids
        if row["removed_in"] is None and owners and not found.removal_of(row):
            is_away = bool(owners & waiting.unreachable_ids)
            rows.append(row | ({"audio_reachable": False} if is_away else {}))
            candidate_ids |= owners
    return Carried(tuple(rows), frozenset(candidate_ids))


def _owners(found: BuildState, row: Row, known: Known) -> set[str]:
    """The candidates that a row waits for: the one whose file is used, or all that had its bytes."""
    recording = found.recordings.get(row["recording_id"])
    if recording is not None:
        return {recording.candidate_id}
    return {row["recording_id"], *known.owners.get(row["recording_id"], ())}


def within_limits(context: BuildContext, found: BuildState, limits: str, carried: Collection[str]) -> set[str]:
    """The ids of the segments within limits; of carried rows by their earlier measurements."""
    measures = {key: one.measures for key, one in found.records(MEASURE.name).items()}
    if carried:
        earlier = (outcome.record for outcome in MEASURE.table(context).all())
        measures |= {one.segment_id: one.measures for one in earlier if one and one.segment_id in carried}
    return passing(measures, load_limits(limits))


def mark_reachable(
    context: BuildContext, found: BuildState, rows: list[Row], carried: Collection[str], newest_sha256: str
) -> list[Row]:
    """Set `audio_reachable` of the rows that were made now, whether or not their audio had to be read.

    A disk that went away makes no version by itself: where nothing else differs from the newest version (its content
    hash is `newest_sha256`), rows stay as they are there.
    """
    own = [row for row in rows if row["removed_in"] is None and row["segment_id"] not in carried]
    for row in own:
        row["audio_reachable"] = True
    if content_sha256(rows) == newest_sha256:
        return rows
    is_there: dict[str, bool] = {}
    for row in own:
        recording_id = row["recording_id"]
        if recording_id not in is_there:
            path = context.path_of(found.recordings[recording_id].location)
            is_there[recording_id] = os.access(path, os.R_OK)
        row["audio_reachable"] = is_there[recording_id]
    return rows
