"""Rows of the next version as they were made before there were relations: all of them as Python values, one by one.

It is what the rows of `release.next_rows` are compared with. Nothing of the project uses it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from joined import groups_of

from aria_data.manifest import Row
from aria_data.manifest.columns import columns
from aria_data.measure.cuts import cut_evidence
from aria_data.release import ReleaseConfig
from aria_data.release.recordings_per_composition import recordings_kept
from aria_data.release.rows_of_segments import (
    FROM_ANNOTATION,
    FROM_MEASUREMENT,
    FROM_TRANSCRIPTION,
    FinishedSegment,
    as_bool,
    is_cut,
    rounded,
)
from aria_data.release.split_history import GivenToWorks, labels_of
from aria_data.release.splits import EXCLUDED, STRICTNESS, split_of
from aria_data.release.tombstones import NAMES, tombstone
from aria_data.repertoire import work_labels


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
        **{name: getattr(annotation, name) for name in FROM_ANNOTATION},
        **{name: getattr(one.transcription, name) for name in FROM_TRANSCRIPTION},
        **{name: getattr(one.candidate, name) for name in ("source", "source_url", "licence", "uploader")},
        **{name: rounded(measures.get(name, math.nan)) for name in FROM_MEASUREMENT},
        "agreement_per_5_s": one.measurement.agreement_per_5_s,
        "disagreements": one.measurement.disagreements,
        "num_endless_notes": int(measures["num_endless_notes"]),
        "is_start_truncated": is_cut(measures["start_level_db"]),
        "is_end_truncated": is_cut(measures["end_level_db"]),
        **{name: as_bool(measures.get(name)) for name in ("cut_at_start", "cut_at_end")},
        "cut_evidence": cut_evidence(measures),
        "velocity_calibrated": True if one.transcription.heads_sha256 else None,
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
