"""How close an estimate is to a reference: note by note, by the field's own measures (mir_eval)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aria_data.midi import SUSTAIN, Note, Performance

ONSET_TOLERANCE_S = 0.05  # MIREX note tracking
OFFSET_RATIO = 0.2  # an offset may be off by 20 % of the note's length, or by 50 ms, whichever is more


@dataclass(frozen=True, slots=True)
class NoteAccuracy:
    """F1 of notes, each from 0 to 1. `onset_offset_f1` compares sounding ends: key releases lengthened by the pedal."""

    num_reference: int
    num_estimate: int
    onset_precision: float
    onset_recall: float
    onset_f1: float
    onset_offset_f1: float


def compare_notes(reference: Performance, estimate: Performance) -> NoteAccuracy:
    """Match notes one to one within 50 ms of onset, by pitch."""
    from mir_eval.transcription import precision_recall_f1_overlap

    reference_notes, estimate_notes = extend_by_pedal(reference), extend_by_pedal(estimate)
    if not reference_notes or not estimate_notes:
        return NoteAccuracy(len(reference_notes), len(estimate_notes), 0.0, 0.0, 0.0, 0.0)
    arrays = (*_arrays(reference_notes), *_arrays(estimate_notes))
    precision, recall, f1, _ = precision_recall_f1_overlap(
        *arrays, onset_tolerance=ONSET_TOLERANCE_S, offset_ratio=None
    )
    offset_f1 = precision_recall_f1_overlap(*arrays, onset_tolerance=ONSET_TOLERANCE_S, offset_ratio=OFFSET_RATIO)[2]
    return NoteAccuracy(len(reference_notes), len(estimate_notes), precision, recall, f1, offset_f1)


def extend_by_pedal(performance: Performance) -> list[Note]:
    """Give the notes with their sounding ends: held by the sustain pedal until it lifts or the key is struck again."""
    pedals = sorted((pedal.onset_s, pedal.offset_s) for pedal in performance.pedals if pedal.controller == SUSTAIN)
    downs = np.array([down for down, _ in pedals])
    next_strike: dict[int, float] = {}
    notes = []
    for note in sorted(performance.notes, reverse=True):
        end_s = note.offset_s
        index = int(np.searchsorted(downs, end_s, side="right")) - 1
        if index >= 0 and end_s < pedals[index][1]:
            end_s = pedals[index][1]
        end_s = max(note.offset_s, min(end_s, next_strike.get(note.pitch, end_s)))
        next_strike[note.pitch] = note.onset_s
        notes.append(Note(note.onset_s, end_s, note.pitch, note.velocity))
    return notes[::-1]


def _arrays(notes: list[Note]) -> tuple[np.ndarray, np.ndarray]:
    intervals = np.array([(note.onset_s, max(note.offset_s, note.onset_s + 1e-4)) for note in notes])
    hertz = 440.0 * 2.0 ** ((np.array([note.pitch for note in notes]) - 69) / 12)
    return intervals, hertz
