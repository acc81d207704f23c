"""Put everything known of each segment into manifest rows, with subsets and splits, and release them as a version."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from aria_data.manifest import Manifest, Row, columns, content_sha256
from aria_data.records import (
    Annotation,
    AudioCluster,
    Candidate,
    Measurement,
    Recording,
    Screening,
    Segment,
    Transcription,
)

CUT_LEVEL_DB = -20.0  # ours: an edge this near to the loud parts is inside the music; what dies away ends below


@dataclass(frozen=True)
class ReleaseConfig:
    """Subsets and splits. Limits are preset names or paths of TOML files (see `prune`)."""

    pruned_limits: str = "light"
    deduplicated_limits: str = "heavy"
    validation_share: float = 0.1
    test_share: float = 0.1


@dataclass(frozen=True, slots=True)
class FinishedSegment:
    """One segment with everything the stages found out about it."""

    candidate: Candidate
    screening: Screening
    recording: Recording
    classifier_sha256: str
    segment: Segment
    transcription: Transcription
    measurement: Measurement
    annotation: Annotation
    cluster: AudioCluster
    passes_pruned: bool
    passes_deduplicated: bool


def build_rows(
    finished: Iterable[FinishedSegment], config: ReleaseConfig, previous: Iterable[Row], next_version: int
) -> list[Row]:
    """Make the manifest's rows, sorted by segment_id. `previous` (the newest version's rows) gives each
    `first_version`, and its removed rows are carried on for ever."""
    finished = sorted(finished, key=lambda one: one.segment.segment_id)
    leads = _recording_kept_of_each_composition(finished)
    composition_of_cluster = {
        one.cluster.cluster_id: one.annotation.composition_id for one in finished if one.cluster.is_lead
    }
    before = {row["segment_id"]: row for row in previous}
    rows = []
    for one in finished:
        group = composition_of_cluster.get(one.cluster.cluster_id) or one.cluster.cluster_id
        known = before.get(one.segment.segment_id)
        rows.append(
            _row(one, is_lead_of_composition=leads.get(one.annotation.composition_id, one.recording.recording_id))
            | {
                "split": split_of(group, config),
                "first_version": known["first_version"] if known else next_version,
            }
        )
    made = {row["segment_id"] for row in rows}
    rows += [row for row in before.values() if row["removed_in"] is not None and row["segment_id"] not in made]
    return sorted(rows, key=lambda row: row["segment_id"])


def release(manifest: Manifest, rows: list[Row], note: str = "") -> tuple[int, bool]:
    """Commit the rows as a new version unless they say what the newest one says. Gives (version, is it new)."""
    newest = manifest.version()
    if newest == 0 and not rows:
        return 0, False
    if newest and manifest.content_sha256(newest) == content_sha256(rows):
        return newest, False
    return manifest.commit(rows, note), True


def split_of(group: str, config: ReleaseConfig) -> str:
    """Give the split of a composition or cluster: by its hash, so it never moves when data is added."""
    place = int(hashlib.sha256(group.encode()).hexdigest()[:8], 16) / 2**32
    if place < config.test_share:
        return "test"
    return "validation" if place < config.test_share + config.validation_share else "train"


def remove_rows(rows: Iterable[Row], item_ids: set[str], version: int, reason: str) -> tuple[list[Row], list[Row]]:
    """Turn the rows of removed segments or recordings into tombstones. Gives (all rows, the rows removed now).

    A tombstone keeps identity and history, and forgets what the text and the audio said.
    """
    kept: list[Row] = []
    gone: list[Row] = []
    for row in rows:
        if row["removed_in"] is None and {row["segment_id"], row["recording_id"], row["source_url"]} & item_ids:
            gone.append(row)
            row = tombstone(row, version, reason)
        kept.append(row)
    return kept, gone


def tombstone(row: Row, version: int, reason: str) -> Row:
    """Give what stays of a removed row."""
    stays = ("segment_id", "recording_id", "number", "source", "first_version")
    blank = {column["name"]: None for column in columns()}
    return blank | {name: row[name] for name in stays} | {"removed_in": version, "removal_reason": reason}


def _recording_kept_of_each_composition(finished: list[FinishedSegment]) -> dict[str, str]:
    """Give `{composition_id: recording_id}`: the recording with the surest segment, among those that may count."""
    best: dict[str, tuple[float, str]] = {}
    for one in finished:
        composition_id = one.annotation.composition_id
        if composition_id and one.cluster.is_lead and one.passes_deduplicated:
            rank = (-one.segment.audio_score, one.recording.recording_id)
            best[composition_id] = min(best.get(composition_id, rank), rank)
    return {composition_id: recording_id for composition_id, (_, recording_id) in best.items()}


def _row(one: FinishedSegment, is_lead_of_composition: str) -> Row:
    measures, annotation, segment = one.measurement.measures, one.annotation, one.segment
    in_deduplicated = (
        one.passes_pruned
        and one.passes_deduplicated
        and one.cluster.is_lead
        and is_lead_of_composition == one.recording.recording_id
    )
    values: Mapping[str, object] = {
        **{name: getattr(annotation, name) for name in _FROM_ANNOTATION},
        **{name: getattr(one.transcription, name) for name in _FROM_TRANSCRIPTION},
        **{name: getattr(one.candidate, name) for name in ("source", "source_url", "licence", "uploader")},
        **{name: _rounded(measures[name]) for name in _FROM_MEASUREMENT},
        "num_endless_notes": int(measures["num_endless_notes"]),
        "is_start_truncated": _is_cut(measures["start_level_db"]),
        "is_end_truncated": _is_cut(measures["end_level_db"]),
        "segment_id": segment.segment_id,
        "recording_id": segment.recording_id,
        "number": segment.number,
        "start_s": round(segment.start_s, 6),
        "end_s": round(segment.end_s, 6),
        "duration_s": round(segment.end_s - segment.start_s, 6),
        "audio_score": segment.audio_score,
        "classifier_sha256": one.classifier_sha256,
        "relevance_score": one.screening.relevance_score,
        "audio_sha256": one.recording.audio_sha256,
        "audio_cluster": one.cluster.cluster_id,
        "notes_cluster": f"notes-{one.transcription.midi_sha256[:16]}",
        "is_cluster_lead": one.cluster.is_lead,
        "in_pruned": one.passes_pruned,
        "in_deduplicated": in_deduplicated,
        "in_unique": in_deduplicated and bool(annotation.composition_id),
    }
    return {column["name"]: values.get(column["name"]) for column in columns()}


_FROM_ANNOTATION = (
    "composer composer_id performer title catalogue catalogue_number piece_number movement form genre period key "
    "composition_id annotation_source annotation_confidence"
).split()
_FROM_TRANSCRIPTION = "midi_path midi_sha256 transcriber transcriber_sha256 num_notes num_pedal_events".split()
_FROM_MEASUREMENT = (
    "note_density pitch_entropy longest_silence_s transcription_confidence chroma_agreement onset_agreement "
    "missed_passage_s missed_passage_start_s score_likeness backend_agreement"
).split()


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)


def _is_cut(level_db: float) -> bool:
    return level_db > CUT_LEVEL_DB
