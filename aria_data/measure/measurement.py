"""Gather all measures of one transcription: of its notes, of their fit to the sound, and of a second transcriber."""

from __future__ import annotations

import math
from dataclasses import dataclass

from aria_data.audio import AudioReader
from aria_data.measure.agreement import agreement_per_span, as_text, disagreements_of, lowest_agreement
from aria_data.measure.cuts import AT_EDGE_S, cut_measures
from aria_data.measure.measures import MEASURES, measure
from aria_data.measure.quality import Trace, analyse_sound, fit
from aria_data.midi import Performance
from aria_data.midi.matching import match_notes, precision_recall_f1
from aria_data.records import Measurement, Segment, Transcription
from aria_data.transcribe import TranscribeConfig


@dataclass(frozen=True)
class MeasureConfig:
    """Whether a second transcriber is compared with the first. It doubles the work of transcription."""

    second_transcriber: str = (
        ""  # as `transcribe.transcriber`, "" for none; `backend_agreement` is the onset F1 of the two
    )
    second_checkpoint: str = ""

    def second(self) -> TranscribeConfig | None:
        """Give the second transcriber's own configuration; None without one."""
        name = self.second_transcriber
        return TranscribeConfig(name, checkpoint=self.second_checkpoint, heads=False) if name else None


def measure_segment(
    reader: AudioReader | Trace,
    segment: Segment,
    transcription: Transcription,
    performance: Performance,
    second: Performance | None = None,
    duration_s: float = math.nan,
) -> Measurement:
    """Measure one segment's notes, and how well they fit its sound, which is read again.

    `reader` reads the recording in mono at `quality.SAMPLE_RATE`, or is the trace of the segment's sound, which was
    made when it was read for something else. `second` is what another transcriber made of the sound,
    `duration_s` the recording's length. The result has every one of `MEASURES`.
    """
    trace = reader if isinstance(reader, Trace) else analyse_sound(reader.blocks(segment.start_s, segment.end_s))
    values = {
        **measure(performance.notes, performance.pedals, segment.end_s - segment.start_s),
        **fit(trace, performance),
        **cut_measures(trace, segment.start_s <= AT_EDGE_S, segment.end_s >= duration_s - AT_EDGE_S),
        "transcription_confidence": transcription.confidence,
        "num_endless_notes": transcription.num_endless_notes,
        "backend_agreement": math.nan,
        "lowest_agreement": math.nan,
        "lowest_agreement_start_s": math.nan,
    }
    per_span = disagreements = None
    if second is not None:
        length_s = segment.end_s - segment.start_s
        values["backend_agreement"] = onset_agreement_of(performance, second)
        lowest = lowest_agreement(performance, second, length_s)
        values["lowest_agreement"], values["lowest_agreement_start_s"] = lowest
        per_span = as_text(agreement_per_span(performance, second, length_s))
        disagreements = disagreements_of(performance, second)
    measures = {name: float(values[name]) for name in MEASURES}
    return Measurement(segment.segment_id, measures, per_span, disagreements)


def onset_agreement_of(first: Performance, second: Performance) -> float:
    """Give the onset F1 of two transcriptions of the same sound, 0 to 1; NaN when neither has a note."""
    if not first.notes and not second.notes:
        return math.nan
    num_matched = len(match_notes(first.notes, second.notes))
    return precision_recall_f1(num_matched, len(first.notes), len(second.notes))[2]
