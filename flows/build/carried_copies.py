"""Rows that stay as they are take part in the search for copies, with their kept fingerprints and MIDI files.

Without them, a new copy of a test recording whose disk is away would share nothing with it, and could enter train. Rows
that represent their cluster go on doing so; those that do not come last, for they are not chosen anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from aria_data.deduplicate.clusters import Item as Copied
from aria_data.manifest import Row
from aria_data.records import AudioCluster, Recording
from flows.build.carried import Carried
from flows.engine.context import BuildContext
from flows.engine.items import fingerprint_item
from flows.engine.stages import FINGERPRINT, INGEST

BEFORE, AMONG, BEHIND = range(
    3
)  # first in an order of preference: carried representatives, rows of now, carried copies


@dataclass(frozen=True)
class CarriedItems:
    """The recordings and segments of carried rows, as the search for copies takes them."""

    recordings: tuple[Copied, ...] = ()
    segments: tuple[Copied, ...] = ()
    onsets_of: Mapping[str, str] = field(default_factory=dict)  # samples_sha256 -> fingerprint, base64
    paths: Mapping[str, Path] = field(default_factory=dict)  # midi_sha256 -> file

    @classmethod
    def read(cls, context: BuildContext, carried: Carried) -> CarriedItems:
        """Read what earlier builds recorded of the carried rows. Raises `DatasetCorrupt`."""
        if not carried.rows:
            return cls()
        recordings = _recordings(context, carried)
        representing = {row["recording_id"] for row in carried.rows if row["is_cluster_lead"]}
        return cls(
            tuple(_item_of(one, one.recording_id in representing) for one in recordings.values()),
            tuple(Copied(row["segment_id"], row["midi_sha256"], _quality(row)) for row in carried.rows),
            _onsets(context, recordings) if FINGERPRINT.is_wanted(context) else {},
            {row["midi_sha256"]: context.root / row["midi_path"] for row in carried.rows},
        )


def regrouped(carried: Carried, recordings: Mapping[str, AudioCluster], notes: Mapping[str, AudioCluster]) -> Carried:
    """Give the carried rows with the clusters found now, of recordings by recording_id and of notes by segment_id.

    A row that lost its place to another carried row represents its cluster no more.
    """
    rows = (_regrouped(row, recordings.get(row["recording_id"]), notes[row["segment_id"]]) for row in carried.rows)
    return replace(carried, rows=tuple(rows))


def _regrouped(row: Row, recording: AudioCluster | None, notes: AudioCluster) -> Row:
    recording = recording or AudioCluster(row["recording_cluster"], row["is_cluster_lead"])  # of a table that is lost
    is_lead = row["is_cluster_lead"] and recording.is_lead and notes.is_lead
    return row | {
        "recording_cluster": recording.cluster_id,
        "notes_cluster": notes.cluster_id,
        "is_cluster_lead": is_lead,
        "in_deduplicated": row["in_deduplicated"] and is_lead,
        "in_unique": row["in_unique"] and is_lead,
    }


def _recordings(context: BuildContext, carried: Carried) -> dict[str, Recording]:
    """The recordings that the rows were made from, by recording_id; an address may have brought other audio since."""
    wanted = {row["recording_id"]: row["audio_sha256"] for row in carried.rows}
    found = (outcome.record for outcome in INGEST.table(context).of_recordings(wanted.keys()))
    return {one.recording_id: one for one in found if one is not None and wanted[one.recording_id] == one.audio_sha256}


def _onsets(context: BuildContext, recordings: Mapping[str, Recording]) -> dict[str, str]:
    keys = {FINGERPRINT.key(context, fingerprint_item(one)): one.samples_sha256 for one in recordings.values()}
    found = FINGERPRINT.table(context).lookup(keys.keys())
    return {keys[key]: outcome.record.onsets for key, outcome in found.items() if outcome.record is not None}


def _item_of(recording: Recording, is_representative: bool) -> Copied:
    place = BEFORE if is_representative else BEHIND
    return Copied(recording.recording_id, recording.samples_sha256, (place, -recording.duration_s))


def _quality(row: Row) -> tuple[int, float]:
    return (BEFORE if row["is_cluster_lead"] else BEHIND, -row["duration_s"])
