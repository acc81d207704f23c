"""From segments of a recording to .mid files in the dataset folder."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from aria_data.files import write_whole
from aria_data.midi import midi_bytes
from aria_data.quality import cut_endless_notes
from aria_data.records import Segment, Transcription
from aria_data.transcribers.base import Heard, TranscribeConfig
from aria_data.transcribers.stretches import Stretch

__all__ = ["TranscribeConfig", "save_transcription", "stretch_of"]


def stretch_of(audio: Path, segment: Segment) -> Stretch:
    """Give a segment as the stretch of its recording's file that is to be heard."""
    return Stretch(segment.segment_id, audio, segment.start_s, segment.end_s)


def save_transcription(root: Path, segment: Segment, heard: Heard, transcriber: Any) -> Transcription:
    """Write the segment's .mid into the dataset folder, whole or not at all, and describe it.

    The name carries the content's hash: a later transcription never overwrites one that a version names.
    """
    performance, num_endless = cut_endless_notes(heard.performance)
    content = midi_bytes(performance)
    sha256 = hashlib.sha256(content).hexdigest()
    shelf = hashlib.sha256(segment.recording_id.encode()).hexdigest()[:2]
    midi_path = f"midi/{shelf}/{segment.segment_id}.{sha256[:8]}.mid"
    write_whole(root / midi_path, content)
    return Transcription(
        segment_id=segment.segment_id,
        recording_id=segment.recording_id,
        midi_path=midi_path,
        midi_sha256=sha256,
        transcriber=transcriber.name,
        transcriber_sha256=transcriber.sha256,
        num_notes=len(performance.notes),
        num_pedal_events=len(performance.pedals),
        confidence=round(heard.confidence, 4),
        num_endless_notes=num_endless,
    )
