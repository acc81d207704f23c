"""The segments that may be released, each with the results of all steps, for the rows that are made of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from aria_data.records import Candidate, Download, Verdict
from aria_data.release.rows_of_segments import FinishedSegment
from flows.build.copies import Copies
from flows.build.exclusions import find_excluded
from flows.engine.context import BuildContext
from flows.engine.downloads import DOWNLOAD
from flows.engine.items import BuildState
from flows.engine.stages import ANNOTATE, MEASURE, SCREEN, TRANSCRIBE


def finished_segments(
    context: BuildContext,
    found: BuildState,
    passes: Mapping[str, Mapping[str, Verdict]],
    copies: Copies,
    waiting: Collection[str],
) -> Iterator[FinishedSegment]:
    """Give the segments that have verdicts in `passes` and an annotation, but for those of `waiting` recordings."""
    segments = found.segments()
    transcriptions, measurements = found.records(TRANSCRIBE.name), found.records(MEASURE.name)
    screenings, annotations = found.records(SCREEN.name), found.records(ANNOTATE.name)
    downloads = found.records(DOWNLOAD.name)
    excluded = find_excluded(context, found)
    for segment_id, in_pruned in passes["in_pruned"].items():
        segment = segments[segment_id]
        candidate = found.candidate_of(segment)
        if candidate.candidate_id not in annotations or segment.recording_id in waiting:
            continue
        yield FinishedSegment(
            candidate=_with_licence(candidate, downloads.get(candidate.candidate_id)),
            screening=screenings[candidate.candidate_id],
            recording=found.recordings[segment.recording_id],
            classifier_sha256=context.classifier_sha256,  # a part of the key of its scores
            segment=segment,
            transcription=transcriptions[segment_id],
            measurement=measurements[segment_id],
            annotation=annotations[candidate.candidate_id],
            audio_cluster=copies.audio[segment.recording_id],
            recording_cluster=copies.recordings[segment.recording_id],
            notes_cluster=copies.notes[segment_id],
            passes_pruned=in_pruned.is_kept,
            passes_deduplicated=passes["in_deduplicated"][segment_id].is_kept,
            excluded_by=excluded.get(segment_id, ""),
        )


def _with_licence(candidate: Candidate, fetched: Download | None) -> Candidate:
    """A licence that was read with the audio is newer than the candidate's."""
    return replace(candidate, licence=fetched.licence) if fetched is not None and fetched.licence else candidate
