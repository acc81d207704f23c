"""Write transcriptions of segments as .mid files in the dataset folder, and describe them as `Transcription`s."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from aria_data.audio import IntegrityLimits
from aria_data.midi import Note, Performance, midi_bytes
from aria_data.records import Segment, Transcription
from aria_data.storage import write_whole
from aria_data.transcribe import devices
from aria_data.transcribe.base import Compute, TranscribeConfig, TranscriptionResult
from aria_data.transcribe.spans import Span, transcribe_spans

MAX_NOTE_S = 20.0  # ours: a longer key press is an error of the transcriber, not a held note (bytedance stops at 6 s)


def span_of(audio: Path, segment: Segment, listener: str = "") -> Span:
    """Give the span of `audio`, the recording's file, that a segment covers. Its key is the segment's id."""
    return Span(segment.segment_id, audio, segment.start_s, segment.end_s, listener=listener)


def save_transcription(root: Path, segment: Segment, result: TranscriptionResult, transcriber: Any) -> Transcription:
    """Write the segment's .mid into the dataset folder `root`, whole or not at all, and describe it.

    The file name holds the content's hash: a later transcription never overwrites one that a version names.
    """
    performance, num_endless = cut_endless_notes(result.performance)
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
        confidence=round(result.confidence, 4),
        num_endless_notes=num_endless,
        precision=transcriber.precision,
        heads_sha256=getattr(transcriber, "heads_sha256", ""),
        published_velocities=_published(result),
    )


def _published(result: TranscriptionResult) -> str:
    """The velocities before calibration, in an order that writing and reading a .mid does not change."""
    if result.published_velocities is None:
        return ""
    notes = result.performance.notes
    order = sorted(range(len(notes)), key=lambda place: (notes[place].pitch, notes[place].onset_s))
    return bytes(result.published_velocities[order].tolist()).hex()


def transcribe_file(
    audio: str | Path,
    midi: str | Path | None = None,
    config: TranscribeConfig | None = None,
    compute: Compute | None = None,
) -> TranscriptionResult:
    """Transcribe all of an audio file, piano or not, from a script or a notebook; write it where `midi` names a file.

    The model is loaded once in a process. Raises `AudioUnreadable` for what is not whole, `UsageError` or
    `ConfigInvalid` for a device or a model that is not there.
    """
    model = _loaded(config or TranscribeConfig(), compute or Compute())
    ((_, result),) = transcribe_spans(model, [Span(str(audio), Path(audio), limits=IntegrityLimits())])
    if isinstance(result, Exception):
        raise result
    result = replace(result, performance=cut_endless_notes(result.performance)[0])
    if midi is not None:
        write_whole(Path(midi), midi_bytes(result.performance))
    return result


@functools.lru_cache(maxsize=1)
def _loaded(config: TranscribeConfig, compute: Compute) -> Any:
    return devices.load_everywhere(config, compute)


def cut_endless_notes(performance: Performance) -> tuple[Performance, int]:
    """Shorten notes of more than `MAX_NOTE_S` to that. Gives (the performance, how many were shortened)."""
    num_endless = sum(note.offset_s - note.onset_s > MAX_NOTE_S for note in performance.notes)
    if not num_endless:
        return performance, 0
    notes = [
        Note(note.onset_s, min(note.offset_s, note.onset_s + MAX_NOTE_S), note.pitch, note.velocity)
        for note in performance.notes
    ]
    return Performance(notes, performance.pedals), num_endless
