"""Stage 6: everything that is measured about one transcription: its notes, how they fit the sound, a second opinion."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aria_data.audio import AudioReader
from aria_data.measures import MEASURES, measure
from aria_data.midi import Performance
from aria_data.quality import SAMPLE_RATE, fit, listen
from aria_data.records import Measurement, Segment, Transcription


@dataclass(frozen=True)
class MeasureConfig:
    """What else to measure. A second transcriber doubles the work of transcription."""

    second_transcriber: str = ""  # its name: measures how far two models agree, as an onset F1
    second_checkpoint: str = ""


def measure_segment(
    audio: Path, segment: Segment, transcription: Transcription, performance: Performance, backend_agreement: float
) -> Measurement:
    """Measure one segment's notes against each other and against its sound, which is read again."""
    with AudioReader(audio, SAMPLE_RATE, 1) as reader:
        trace = listen(reader.blocks(segment.start_s, segment.end_s))
    values = {
        **measure(performance.notes, performance.pedals, segment.end_s - segment.start_s),
        **fit(trace, performance),
        "transcription_confidence": transcription.confidence,
        "num_endless_notes": transcription.num_endless_notes,
        "backend_agreement": backend_agreement,
    }
    return Measurement(segment.segment_id, {name: float(values[name]) for name in MEASURES})


def onset_agreement_of(first: Performance, second: Performance) -> float:
    """Give the onset F1 of two transcriptions of the same sound; NaN when neither heard a note."""
    from mir_eval.transcription import precision_recall_f1_overlap

    if not first.notes or not second.notes:
        return 0.0 if first.notes or second.notes else math.nan
    arrays = [side for performance in (first, second) for side in _arrays(performance)]
    return float(precision_recall_f1_overlap(*arrays, offset_ratio=None)[2])


def _arrays(performance: Performance) -> Iterator[np.ndarray]:
    notes = performance.notes
    yield np.array([(note.onset_s, max(note.offset_s, note.onset_s + 1e-4)) for note in notes])
    yield 440.0 * 2.0 ** ((np.array([note.pitch for note in notes]) - 69) / 12)
