"""Find the copies among what a build has: the same audio, the same recording, the same notes, each with its lead."""

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
from aria_data.manifest.exclusions import notes_in
from aria_data.records import (
    Annotation,
    AudioCluster,
    Measurement,
    Segment,
    Transcription,
    Verdict,
)
from flows.engine.context import BuildContext
from flows.engine.stages import ANNOTATE, FINGERPRINT, MEASURE, TRANSCRIBE

if TYPE_CHECKING:
    from flows.engine.items import BuildState
    from flows.show.build_tables import Progress

LENGTH_STEP = math.log(1.1)  # of two copies about equally long the better one leads, otherwise the longer
LOSSLESS = ("flac", "alac", "pcm", "ape", "wavpack", "tta")


@dataclass(frozen=True)
class Copies:
    """Where everything stands among its copies."""

    audio: Mapping[str, str] = field(default_factory=dict)  # recording_id -> cluster of the same samples
    recordings: Mapping[str, AudioCluster] = field(default_factory=dict)  # by recording_id
    notes: Mapping[str, AudioCluster] = field(default_factory=dict)  # by segment_id


@dataclass(frozen=True)
class _CopySearch:
    """What a build knows when it looks for copies."""

    context: BuildContext
    found: BuildState
    passes: Mapping[str, Mapping[str, Verdict]]
    progress: Progress

    def noes(self, segment_id: str) -> tuple[bool, bool]:
        """Whether a segment fails the stricter and the lighter limits: the first thing that its quality depends on."""
        strict, light = (self.passes[subset].get(segment_id) for subset in ("in_deduplicated", "in_pruned"))
        return (strict is None or not strict.is_kept, light is None or not light.is_kept)

    def unknowns(self, recording_id: str) -> tuple[bool, bool]:
        """Whether a recording's composition and composer are unknown: its lead speaks for all the copies."""
        said = self.annotations.get(self.found.recordings[recording_id].candidate_id)
        return (said is None or not said.composition_id, said is None or not said.composer_id)

    @cached_property
    def annotations(self) -> Mapping[str, Annotation]:
        return self.found.records(ANNOTATE.name)


def find_copies(
    context: BuildContext, found: BuildState, passes: Mapping[str, Mapping[str, Verdict]], progress: Progress
) -> Copies:
    """Cluster recordings and segments on all levels. The indexes are kept in `DATASET/index/`."""
    search = _CopySearch(context, found, passes, progress)
    segments = [segment for key, segment in found.segments().items() if key in passes["in_pruned"]]
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
        noes = min(search.noes(segment.segment_id) for segment in segments)
        is_lossy = not recording.codec.startswith(LOSSLESS)
        amount = len(candidate.tags) + len(candidate.description)
        wanted = (noes, -_length(recording.duration_s), search.unknowns(recording_id))
        better = (is_lossy, -recording.sample_rate, -amount, candidate.source_url)
        items.append(Copied(recording_id, recording.samples_sha256, (*wanted, *better)))
    heard = {
        search.found.recordings[key].samples_sha256: record.onsets
        for key, record in search.found.records(FINGERPRINT.name).items()
        if key in by_recording
    }

    def read(content: str) -> Notes:
        return fingerprints.from_bytes(base64.b64decode(heard[content]))

    index = _updated(search, "sound", fingerprints.CONFIG, heard, read)
    return same_recording(items, index.pairs(), index.compare)


def _notes(
    search: _CopySearch, segments: Sequence[Segment], recordings: Mapping[str, AudioCluster]
) -> dict[str, AudioCluster]:
    transcriptions: dict[str, Transcription] = search.found.records(TRANSCRIBE.name)
    measurements: dict[str, Measurement] = search.found.records(MEASURE.name)
    items, paths = [], {}
    for segment in segments:
        key = segment.segment_id
        is_copy = not recordings[segment.recording_id].is_lead
        length = _length(segment.end_s - segment.start_s)
        wanted = (search.noes(key), is_copy, -length, search.unknowns(segment.recording_id))
        quality = (*wanted, -_agreement(measurements[key]), -segment.audio_score)
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
    try:
        return notes_in(path)
    except PermanentError:  # damaged by hand: it has no copies, and the build's other checks say what is wrong
        return None


def _length(seconds: float) -> int:
    return round(math.log(max(seconds, 1e-3)) / LENGTH_STEP)


def _agreement(measurement: Measurement) -> float:
    """How well the notes fit the sound, 0 to 1, coarse enough that noise does not decide."""
    said = [measurement.measures.get(name, math.nan) for name in ("chroma_agreement", "onset_agreement")]
    return round(sum(0.0 if math.isnan(value) else value for value in said) / len(said), 2)
