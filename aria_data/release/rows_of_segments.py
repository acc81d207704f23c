"""Make manifest rows of the results of all steps, with subsets and splits, and release them as a version."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aria_data.manifest.columns import arrow_schema
from aria_data.manifest.manifest import Manifest, Row, columns, content_sha256
from aria_data.measure.cuts import cut_evidence
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
from aria_data.release.config import ReleaseConfig
from aria_data.release.next_rows import PREVIOUS, put_given, put_next_rows, put_removals
from aria_data.storage.relations import Relations

CUT_LEVEL_DB = -20.0  # ours: a segment whose edge is louder, relative to its loud parts, was cut inside the music


@dataclass(frozen=True, slots=True)
class FinishedSegment:
    """One segment with the results of all steps."""

    candidate: Candidate
    screening: Screening
    recording: Recording
    classifier_sha256: str
    segment: Segment
    transcription: Transcription
    measurement: Measurement
    annotation: Annotation
    audio_cluster: str
    recording_cluster: AudioCluster
    notes_cluster: AudioCluster
    passes_pruned: bool  # the limits `pruned_limits`
    passes_deduplicated: bool  # the limits `deduplicated_limits`
    excluded_by: str = ""  # the exclusion list that names it, and the reason

    @property
    def is_lead(self) -> bool:
        """Whether it is the representative of its clusters, of recordings and of notes."""
        return self.recording_cluster.is_lead and self.notes_cluster.is_lead


def build_rows(
    finished: Iterable[FinishedSegment],
    config: ReleaseConfig,
    previous: Iterable[Row],
    next_version: int,
    removals: Mapping[str, str] = MappingProxyType({}),
    carried: Sequence[Row] = (),
    given_splits: Mapping[str, str] = MappingProxyType({}),
) -> list[Row]:
    """Make the manifest's rows, sorted by segment_id, of a few segments. A build makes them of relations (`next_rows`).

    `previous` are the rows of the newest version. They give each row's `first_version`, and their tombstones are kept
    for ever. Other rows that are not made again are dropped, or become tombstones if `removals` names them, which has
    reasons by segment_id, recording_id or source_url: then a removal was recorded but not released yet. `carried` rows
    stay as they are; `given_splits` are those of earlier versions (`SplitHistory.read`).
    """
    before = pa.Table.from_pylist(list(previous), schema=arrow_schema())
    with Relations.open(None) as relations:
        relations.put("finished", pa.Table.from_pylist([row_of(one) for one in finished], schema=arrow_schema()))
        relations.put("carried", pa.Table.from_pylist(list(carried), schema=arrow_schema()))
        relations.put("previous", before.select(PREVIOUS))
        relations.put("tombstones", before.filter(pc.is_valid(before["removed_in"])))
        put_removals(relations, removals)
        put_given(relations, given_splits)
        query = put_next_rows(relations, config, next_version)
        return relations.table(f"{query} ORDER BY segment_id").to_pylist()


def release(
    manifest: Manifest, rows: list[Row], note: str = "", facts: Mapping[str, Any] | None = None
) -> tuple[int, bool]:
    """Commit the rows as a new version, unless the newest version has the same rows and `facts` has no name.

    Gives (version, whether it is new); version 0 when there is nothing to release. `facts` describe how the rows were
    made (see `Manifest.commit`, which also has the errors).
    """
    newest = manifest.version()
    if newest == 0 and not rows:
        return 0, False
    is_named = bool((facts or {}).get("name"))
    if newest and not is_named and manifest.content_sha256(newest) == content_sha256(rows):
        return newest, False
    return manifest.commit(rows, note, facts), True


def row_of(one: FinishedSegment) -> Row:
    """The row of a segment by itself; what depends on others is None, and `in_deduplicated` says that it passes."""
    measures, annotation, segment = one.measurement.measures, one.annotation, one.segment
    values: Mapping[str, object] = {
        **{name: getattr(annotation, name) for name in FROM_ANNOTATION},
        **{name: getattr(one.transcription, name) for name in FROM_TRANSCRIPTION},
        **{name: getattr(one.candidate, name) for name in ("source", "source_url", "licence", "uploader")},
        **{name: rounded(measures.get(name, math.nan)) for name in FROM_MEASUREMENT},
        "velocity_calibrated": True if one.transcription.heads_sha256 else None,
        "agreement_per_5_s": one.measurement.agreement_per_5_s,
        "disagreements": one.measurement.disagreements,
        "num_endless_notes": int(measures["num_endless_notes"]),
        "is_start_truncated": is_cut(measures["start_level_db"]),
        "is_end_truncated": is_cut(measures["end_level_db"]),
        **{name: as_bool(measures.get(name)) for name in ("cut_at_start", "cut_at_end")},
        "cut_evidence": cut_evidence(measures),
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
        "audio_cluster": one.audio_cluster,
        "recording_cluster": one.recording_cluster.cluster_id,
        "notes_cluster": one.notes_cluster.cluster_id,
        "is_cluster_lead": one.is_lead,
        "excluded_by": one.excluded_by,
        "in_pruned": one.passes_pruned,
        "in_deduplicated": one.passes_deduplicated,
    }
    return {column["name"]: values.get(column["name"]) for column in columns()}


FROM_ANNOTATION = (
    "composer composer_id performer performer_id title catalogue catalogue_number piece_number movement form genre "
    "period key composition_id annotation_source annotation_confidence"
).split()
FROM_TRANSCRIPTION = "midi_path midi_sha256 transcriber transcriber_sha256 num_notes num_pedal_events".split()
FROM_MEASUREMENT = (
    "note_density pitch_entropy longest_silence_s transcription_confidence chroma_agreement onset_agreement "
    "missed_passage_s missed_passage_start_s score_likeness backend_agreement lowest_agreement lowest_agreement_start_s"
).split()


def rounded(value: float) -> float | None:
    """A number as rows have it: None for NaN."""
    return None if math.isnan(value) else round(value, 6)


def as_bool(value: float | None) -> bool | None:
    """A measure that is 0 or 1, as rows have it: None for NaN, or where it was not measured."""
    return None if value is None or math.isnan(value) else value == 1.0


def rounded_all(values: np.ndarray) -> np.ndarray:
    """Many numbers as rows have them, NaN for NaN: what `round(value, 6)` gives, at a tenth of its time."""
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = values * 1e6
        whole = np.rint(scaled)
        shown = whole / 1e6
        is_doubtful = (np.abs(np.abs(scaled - whole) - 0.5) < 1e-3) | (
            np.abs(values) > 1e9
        )  # 1e9: its product has 52 bits
    shown[is_doubtful] = [round(value, 6) for value in values[is_doubtful].tolist()]
    return shown


def is_cut(level_db: float) -> bool:
    """Whether a segment whose edge is so loud, relative to its loud parts, was cut inside the music."""
    return level_db > CUT_LEVEL_DB
