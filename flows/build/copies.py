"""Cluster the recordings and segments of a build: same audio, same recording, same notes; choose representatives."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aria_data.deduplicate import (
    KeptIndex,
    NoteIndexConfig,
    Notes,
    fingerprints,
    same_audio,
    same_notes,
    same_recording,
)
from aria_data.deduplicate.clusters import Item as Copied
from aria_data.errors import PermanentError
from aria_data.records import (
    Annotation,
    AudioCluster,
    Measurement,
    Segment,
    Transcription,
    Verdict,
)
from aria_data.release.exclusions import notes_in
from flows.build.carried import Carried
from flows.build.carried_copies import AMONG, CarriedItems
from flows.engine.context import BuildContext
from flows.engine.stages import ANNOTATE, FINGERPRINT, MEASURE, TRANSCRIBE

if TYPE_CHECKING:
    from flows.engine.items import BuildState
    from flows.show.progress_bars import Progress

LENGTH_STEP = math.log(1.1)  # lengths within about 10 % count as equal; else the longer copy is the representative
LOSSLESS = ("flac", "alac", "pcm", "ape", "wavpack", "tta")


@dataclass(frozen=True)
class Copies:
    """The clusters of all recordings and segments."""

    audio: Mapping[str, str] = field(default_factory=dict)  # recording_id -> cluster of the same samples
    recordings: Mapping[str, AudioCluster] = field(default_factory=dict)  # by recording_id
    notes: Mapping[str, AudioCluster] = field(default_factory=dict)  # by segment_id


@dataclass(frozen=True)
class _CopySearch:
    """What the search for copies reads."""

    context: BuildContext
    found: BuildState
    passes: Mapping[str, Mapping[str, Verdict]]
    progress: Progress
    carried: CarriedItems

    def failed_limits(self, segment_id: str) -> tuple[bool, bool]:
        """Whether a segment fails the stricter and the lighter limits: the first criterion for a representative."""
        strict, light = (self.passes[subset].get(segment_id) for subset in ("in_deduplicated", "in_pruned"))
        return (strict is None or not strict.is_kept, light is None or not light.is_kept)

    def unknowns(self, recording_id: str) -> tuple[bool, bool]:
        """Whether a recording's composition and composer are unknown: a representative should have both."""
        annotation = self.annotations.get(self.found.recordings[recording_id].candidate_id)
        return (
            annotation is None or not annotation.composition_id,
            annotation is None or not annotation.composer_id,
        )

    @cached_property
    def annotations(self) -> Mapping[str, Annotation]:
        return self.found.records(ANNOTATE.name)


def find_copies(
    context: BuildContext,
    found: BuildState,
    passes: Mapping[str, Mapping[str, Verdict]],
    progress: Progress,
    carried: Carried,
) -> Copies:
    """Cluster recordings and segments on all three levels. The indexes are kept in `DATASET/index/`.

    `passes` holds the verdicts of `in_pruned` and `in_deduplicated` by segment_id; segments without one of `in_pruned`
    are left out. Recordings with `carried` rows are looked for as those rows have them.
    """
    search = _CopySearch(context, found, passes, progress, CarriedItems.read(context, carried))
    waiting = carried.recording_ids
    made = (segment for key, segment in found.segments().items() if key in passes["in_pruned"])
    segments = [segment for segment in made if segment.recording_id not in waiting]
    by_recording: dict[str, list[Segment]] = {}
    for segment in segments:
        by_recording.setdefault(segment.recording_id, []).append(segment)
    audio = same_audio(found.recordings[recording_id] for recording_id in by_recording)
    recordings = _recordings(search, by_recording)
    return Copies(audio, recordings, _notes(search, segments, recordings))


def _recordings(search: _CopySearch, by_recording: Mapping[str, list[Segment]]) -> dict[str, AudioCluster]:
    items = []
    for recording_id, segments in by_recording.items():
        recording = search.found.recordings[recording_id]
        candidate = search.found.candidates[recording.candidate_id]
        failed = min(search.failed_limits(segment.segment_id) for segment in segments)
        is_lossy = not recording.codec.startswith(LOSSLESS)
        amount = len(candidate.tags) + len(candidate.description)
        first = (AMONG, failed, -_length(recording.duration_s), search.unknowns(recording_id))
        then = (is_lossy, -recording.sample_rate, -amount, candidate.source_url)
        items.append(Copied(recording_id, recording.samples_sha256, (*first, *then)))
    onsets_of = {
        search.found.recordings[key].samples_sha256: record.onsets
        for key, record in search.found.records(FINGERPRINT.name).items()
        if key in by_recording
    }

    def read(content: str) -> Notes:
        return fingerprints.from_bytes(base64.b64decode(onsets_of[content]))

    onsets_of |= search.carried.onsets_of
    index = _updated(search, "sound", fingerprints.CONFIG, onsets_of, read)
    return same_recording([*items, *search.carried.recordings], index.pairs(), index.compare)


def _notes(
    search: _CopySearch, segments: Sequence[Segment], recordings: Mapping[str, AudioCluster]
) -> dict[str, AudioCluster]:
    transcriptions: dict[str, Transcription] = search.found.records(TRANSCRIBE.name)
    measurements: dict[str, Measurement] = search.found.records(MEASURE.name)
    items, paths = list(search.carried.segments), dict(search.carried.paths)
    for segment in segments:
        key = segment.segment_id
        is_copy = not recordings[segment.recording_id].is_lead
        length = _length(segment.end_s - segment.start_s)
        first = (AMONG, search.failed_limits(key), is_copy, -length, search.unknowns(segment.recording_id))
        quality = (*first, -_agreement(measurements[key]), -segment.audio_score)
        transcription = transcriptions[key]
        items.append(Copied(key, transcription.midi_sha256, quality))
        paths[transcription.midi_sha256] = search.context.root / transcription.midi_path
    if not search.context.config.deduplicate.by_notes:
        paths = {}

    def read(content: str) -> Notes | None:
        return notes_of(paths[content])

    index = _updated(search, "notes", NoteIndexConfig(), paths, read)
    return same_notes(items, index.pairs(), index.compare)


def _updated(
    search: _CopySearch,
    name: str,
    config: NoteIndexConfig,
    wanted: Mapping[str, Any],
    read: Callable[[str], Notes | None],
) -> KeptIndex:
    index = KeptIndex(search.context.root / "index" / name, config)
    num_new = index.num_new(wanted)
    with search.progress.stage(f"index {name}", num_new, 0.0, len(wanted) - num_new):
        index.update(wanted, read, lambda num: search.progress.advance(0.0, num))
    return index


def notes_of(path: Path) -> Notes | None:
    """The notes of a MIDI file; None where it is damaged, so that it has no copies."""
    try:
        return notes_in(path)
    except PermanentError:  # damaged by hand; the build's other checks report it
        return None


def _length(seconds: float) -> int:
    return round(math.log(max(seconds, 1e-3)) / LENGTH_STEP)


def _agreement(measurement: Measurement) -> float:
    """How well the notes fit the sound, 0 to 1, rounded so that noise does not decide."""
    values = [measurement.measures.get(name, math.nan) for name in ("chroma_agreement", "onset_agreement")]
    return round(sum(0.0 if math.isnan(value) else value for value in values) / len(values), 2)
