"""The items of each stage, made from the results of the stages before it. One function a stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aria_data.manifest import Row
from aria_data.records import Candidate, Recording, Segment
from aria_data.release import Removal
from aria_data.storage.stage_tables import Outcome
from flows.engine.context import Item
from flows.engine.downloads import DOWNLOAD
from flows.engine.stages import ANNOTATE, CLASSIFY, FINGERPRINT, INGEST, MEASURE, SCREEN, SEGMENT, TRANSCRIBE

LOCAL = "local"  # the source of candidates whose audio is a file of the user's


@dataclass
class BuildState:
    """The results so far of one build. `done[stage name]` holds the outcomes that were not rejected, by item_id."""

    candidates: dict[str, Candidate] = field(default_factory=dict)
    recordings: dict[str, Recording] = field(default_factory=dict)  # distinct ones, by recording_id
    done: dict[str, dict[str, Outcome]] = field(default_factory=dict)
    removals: dict[str, Removal] = field(default_factory=dict)  # by the id they name
    left_alone: set[str] = field(default_factory=set)  # candidates that opted out
    only: set[str] | None = None  # candidates that may be fetched; None: all
    numbered: dict[str, list[Segment]] = field(default_factory=dict)  # the segments of each recording
    found_again: set[str] = field(default_factory=set)  # ids of removed segments whose music was found
    num_marks: dict[str, int] = field(default_factory=dict)  # candidate_id -> how often a person asked to try again

    def records(self, stage_name: str) -> dict[str, Any]:
        """The records of a stage, by item_id; empty where it has not run."""
        return {item_id: outcome.record for item_id, outcome in self.done.get(stage_name, {}).items()}

    def notes(self, stage_name: str) -> list[str]:
        """What a stage remarks on odd items that it took all the same, one line each."""
        found = self.done.get(stage_name, {}).items()
        return sorted(f"{self.candidates[key].source_url}: {one.detail}" for key, one in found if one.detail)

    def segments(self) -> dict[str, Segment]:
        """All segments by segment_id, without those removed for good."""
        return {one.segment_id: one for _, found in sorted(self.numbered.items()) for one in found}

    def removal_of(self, row: Row) -> Removal | None:
        """The removal that names a row, by its segment, its recording or its address."""
        names = (row["segment_id"], row["recording_id"], row["source_url"])
        return next((self.removals[name] for name in names if name in self.removals), None)

    def candidate_of(self, segment: Segment) -> Candidate:
        return self.candidates[self.recordings[segment.recording_id].candidate_id]


def _to_screen(found: BuildState) -> list[Item]:
    candidates = found.candidates.values()
    return [screening_item(candidate) for candidate in candidates if candidate.candidate_id not in found.left_alone]


def screening_item(candidate: Candidate) -> Item:
    """An item of the screen stage. The crawl uses it as well, so that a build finds the crawl's screenings."""
    return _item_of(candidate, _texts(candidate))


def _to_download(found: BuildState) -> list[Item]:
    items = []
    for candidate_id in found.records(SCREEN.name):
        candidate = found.candidates[candidate_id]
        if candidate.source != LOCAL and (found.only is None or candidate_id in found.only):
            num_marks = found.num_marks.get(candidate_id, 0)
            inputs = {"at": candidate.location} | ({"retry": num_marks} if num_marks else {})
            items.append(_item_of(candidate, inputs))
    return items


def _to_ingest(found: BuildState) -> list[Item]:
    items = []
    for candidate_id in found.records(SCREEN.name):
        candidate = found.candidates[candidate_id]
        if candidate.source == LOCAL:
            inputs = {"at": candidate.location, "bytes": candidate.num_bytes, "time": candidate.modified_ns}
            inputs |= {"content": candidate.content_sha256} if candidate.content_sha256 else {}
            items.append(_item_of(candidate, inputs))
    for candidate_id, fetched in found.records(DOWNLOAD.name).items():
        inputs = {"audio": fetched.audio_sha256, "path": fetched.audio_path}
        items.append(Item(candidate_id, candidate_id, inputs, fetched, fetched.duration_s))
    return items


def _to_classify(found: BuildState) -> list[Item]:
    return [
        Item(
            recording.recording_id,
            recording.candidate_id,
            {"audio": recording.audio_sha256},
            recording,
            recording.duration_s,
        )
        for _, recording in sorted(found.recordings.items())  # so a shard's scores lie in one file, for `_to_segment`
    ]


def _to_segment(found: BuildState) -> list[Item]:
    scored = found.done[CLASSIFY.name]
    return [
        Item(
            recording_id,
            recording.candidate_id,
            {"scores": scored[recording_id].key},
            (recording, scored[recording_id].record),  # None: its scores are in their table
        )
        for recording_id, recording in sorted(found.recordings.items())
        if recording_id in scored
    ]


def _to_fingerprint(found: BuildState) -> list[Item]:
    used = sorted({segment.recording_id for segment in found.segments().values()})
    return [fingerprint_item(found.recordings[recording_id]) for recording_id in used]


def fingerprint_item(recording: Recording) -> Item:
    """An item of the fingerprint stage. The search for copies uses it as well, to find earlier fingerprints."""
    inputs = {"samples": recording.samples_sha256}
    return Item(recording.recording_id, recording.candidate_id, inputs, recording, recording.duration_s)


def _to_transcribe(found: BuildState) -> list[Item]:
    items = []
    for segment_id, segment in found.segments().items():
        recording = found.recordings[segment.recording_id]
        span = {"audio": recording.audio_sha256, "start_s": segment.start_s, "end_s": segment.end_s}
        seconds = segment.end_s - segment.start_s
        items.append(Item(segment_id, recording.candidate_id, span, (recording, segment), seconds))
    return items


def _to_measure(found: BuildState) -> list[Item]:
    segments = found.segments()
    items = []
    for segment_id, transcription in found.records(TRANSCRIBE.name).items():
        segment = segments[segment_id]
        recording = found.recordings[segment.recording_id]
        inputs = {
            "audio": recording.audio_sha256,
            "start_s": segment.start_s,
            "end_s": segment.end_s,
            "midi": transcription.midi_sha256,
            "confidence": transcription.confidence,
            "endless": transcription.num_endless_notes,
        }
        payload = recording, segment, transcription
        items.append(Item(segment_id, recording.candidate_id, inputs, payload, segment.end_s - segment.start_s))
    return items


def _to_annotate(found: BuildState) -> list[Item]:
    used = {segment.recording_id for segment in found.segments().values()}
    candidates = [found.candidates[found.recordings[recording_id].candidate_id] for recording_id in sorted(used)]
    return [_item_of(candidate, _texts(candidate)) for candidate in candidates]


def _item_of(candidate: Candidate, inputs: Mapping[str, Any]) -> Item:
    return Item(
        candidate.candidate_id, candidate.candidate_id, inputs, candidate, candidate.announced_duration_s or 0.0
    )


def _texts(candidate: Candidate) -> dict[str, str]:
    return {name: getattr(candidate, name) for name in ("title", "description", "uploader", "tags")}


ITEMS: dict[str, Callable[[BuildState], list[Item]]] = {
    SCREEN.name: _to_screen,
    DOWNLOAD.name: _to_download,
    INGEST.name: _to_ingest,
    CLASSIFY.name: _to_classify,
    SEGMENT.name: _to_segment,
    FINGERPRINT.name: _to_fingerprint,
    TRANSCRIBE.name: _to_transcribe,
    MEASURE.name: _to_measure,
    ANNOTATE.name: _to_annotate,
}
