"""Make manifest rows of the results of all steps, with subsets and splits, and release them as a version."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from aria_data.manifest.manifest import Manifest, Row, columns, content_sha256
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
from aria_data.release.recordings_per_composition import recordings_kept
from aria_data.release.split_history import GivenToWorks, labels_of
from aria_data.release.splits import EXCLUDED, STRICTNESS, groups_of, split_of
from aria_data.release.tombstones import NAMES, tombstone
from aria_data.repertoire import work_labels

CUT_LEVEL_DB = -20.0  # ours: a segment whose edge is louder, relative to its loud parts, was cut inside the music


EXCLUDE_BAD = "exclude-bad"


@dataclass(frozen=True)
class ReleaseConfig:
    """Subsets and splits. Limits are names of presets or paths of TOML files (see `aria_data.measure.prune`)."""

    pruned_limits: str = "light"
    deduplicated_limits: str = "heavy"
    max_recordings_per_composition: int = 1  # in in_deduplicated, of known compositions; 0: all
    validation_share: float = 0.1  # of groups
    test_share: float = 0.1  # of groups
    exclude: tuple[str, ...] = ()  # exclusion lists: names of those in `manifests/exclusions`, or paths
    exclude_by: str = "both"  # "composition", "notes" or "both"
    reviews: str = "ignore"  # or "exclude-bad": what was reviewed as bad is in no subset

    def __post_init__(self) -> None:
        if self.exclude_by not in ("composition", "notes", "both"):
            raise ValueError(f"exclude_by is composition, notes or both, not {self.exclude_by!r}")
        if self.reviews not in ("ignore", EXCLUDE_BAD):
            raise ValueError(f"reviews is ignore or {EXCLUDE_BAD}, not {self.reviews!r}")
        if self.max_recordings_per_composition < 0:
            raise ValueError("max_recordings_per_composition is 0 (all) or more")


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
    """Make the manifest's rows, sorted by segment_id.

    `previous` are the rows of the newest version. They give each row's `first_version`, and their tombstones are kept
    for ever. Other rows that are not made again are dropped, or become tombstones if `removals` names them, which has
    reasons by segment_id, recording_id or source_url: then a removal was recorded but not released yet. `carried` rows
    stay as they are; `given_splits` are those of earlier versions (`SplitHistory.read`).
    """
    finished = sorted(finished, key=lambda one: one.segment.segment_id)
    kept = _recordings_kept(finished, config.max_recordings_per_composition)
    before = {row["segment_id"]: row for row in previous}
    rows = []
    for one in finished:
        known = before.get(one.segment.segment_id)
        rows.append(
            _row(one, one.recording.recording_id in kept)
            | {"first_version": known["first_version"] if known else next_version}
        )
    rows += carried
    _split(rows, config, given_splits)
    made = {row["segment_id"] for row in rows}
    for row in (row for key, row in before.items() if key not in made):
        reason = next((removals[row[name]] for name in NAMES if row[name] in removals), None)
        if row["removed_in"] is not None:
            rows.append(row)
        elif reason is not None:
            rows.append(tombstone(row, next_version, reason))
    return sorted(rows, key=lambda row: row["segment_id"])


def _split(rows: list[Row], config: ReleaseConfig, given: Mapping[str, str]) -> None:
    """Set the split of every row, one for each group: the strictest that any of it was given, else by a hash.

    The oldest row of a group names it for the hash.
    """
    by_id = {row["segment_id"]: row for row in rows}
    together = ("recording_id", "audio_cluster", "recording_cluster", "notes_cluster", "composition_id")
    works = work_labels({row["composition_id"] for row in rows})  # a work and its movements are one group
    labels = {
        key: [f"{name}={row[name]}" for name in together if row[name]]
        + [f"work={work}" for work in works.get(row["composition_id"], ())]
        for key, row in by_id.items()
    }
    of_works = GivenToWorks(given, works)
    for group in groups_of(labels):
        members = [by_id[key] for key in group]
        first = min(members, key=lambda row: (row["first_version"], not row["composition_id"], row["segment_id"]))
        named = sorted(filter(None, (row["excluded_by"] for row in members)))
        name = first["composition_id"] or first["audio_cluster"]
        earlier = [given[label] for row in members for label in labels_of(row) if label in given]
        earlier += [split for row in members for split in of_works.splits(row["composition_id"])]
        own = max(earlier, key=STRICTNESS.index, default="") or split_of(
            name, config.test_share, config.validation_share
        )
        split = EXCLUDED if named else own
        for row in members:
            row["split"] = split
            if named:
                row |= {"in_deduplicated": False, "in_unique": False}
                row["excluded_by"] = row["excluded_by"] or f"together with what is excluded by {named[0]}"


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


def _recordings_kept(finished: list[FinishedSegment], cap: int) -> set[str]:
    """Give the recordings within the cap of their composition, counting only segments fit for in_deduplicated."""
    eligible = (one for one in finished if one.is_lead and one.passes_deduplicated)
    return recordings_kept(
        (
            {
                "composition_id": one.annotation.composition_id,
                "recording_id": one.recording.recording_id,
                "audio_score": one.segment.audio_score,
            }
            for one in eligible
        ),
        cap,
    )


def _row(one: FinishedSegment, is_kept_of_composition: bool) -> Row:
    measures, annotation, segment = one.measurement.measures, one.annotation, one.segment
    in_deduplicated = one.passes_pruned and one.passes_deduplicated and one.is_lead and is_kept_of_composition
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
        "audio_cluster": one.audio_cluster,
        "recording_cluster": one.recording_cluster.cluster_id,
        "notes_cluster": one.notes_cluster.cluster_id,
        "is_cluster_lead": one.is_lead,
        "excluded_by": one.excluded_by,
        "in_pruned": one.passes_pruned,
        "in_deduplicated": in_deduplicated,
        "in_unique": in_deduplicated and bool(annotation.composition_id),
    }
    return {column["name"]: values.get(column["name"]) for column in columns()}


_FROM_ANNOTATION = (
    "composer composer_id performer performer_id title catalogue catalogue_number piece_number movement form genre "
    "period key composition_id annotation_source annotation_confidence"
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
