"""Which segments of a build are part of a benchmark: by composition, and by the notes of their MIDI files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from aria_data.records import Annotation, Transcription
from aria_data.release import find_exclusion
from aria_data.release.exclusions import excluded_by

if TYPE_CHECKING:
    from flows.engine.context import BuildContext
    from flows.engine.items import BuildState


def find_excluded(context: BuildContext, found: BuildState) -> Mapping[str, str]:
    """Give `{segment_id: why}` for segments that a list of `release.exclude` names. Raises `ConfigInvalid`."""
    from flows.build.copies import notes_of
    from flows.engine.stages import ANNOTATE, TRANSCRIBE

    config = context.config.release
    if not config.exclude:
        return {}
    annotations: Mapping[str, Annotation] = found.records(ANNOTATE.name)
    transcriptions: Mapping[str, Transcription] = found.records(TRANSCRIBE.name)
    segments = []
    for segment_id, segment in found.segments().items():
        annotation = annotations.get(found.candidate_of(segment).candidate_id)
        if annotation is not None and segment_id in transcriptions:
            path = context.root / transcriptions[segment_id].midi_path
            segments.append((segment_id, annotation.composition_id, path))
    lists = [find_exclusion(name) for name in config.exclude]
    return excluded_by(lists, segments, config.exclude_by, read=notes_of)
