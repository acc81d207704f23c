"""How close an estimate is to a reference: note by note, by the field's own measures (mir_eval)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from aria_data.midi import SUSTAIN, Note, Performance

ONSET_TOLERANCE_S = 0.05  # MIREX note tracking
OFFSET_RATIO = 0.2  # an offset may be off by 20 % of the note's length, or by 50 ms, whichever is more


VELOCITY_TOLERANCE = 0.1  # of the range, after the best linear fit of the two scales (Hawthorne et al. 2018)


@dataclass(frozen=True, slots=True)
class NoteAccuracy:
    """Precision, recall and F1 of notes and sustain pedal presses, each from 0 to 1.

    Where a note ends is a matter of convention. `onset_offset_f1` compares sounding ends, key releases lengthened by
    the pedal, as MAESTRO's reference notes are; `onset_release_f1` compares the key releases as they are written.
    `pedal_f1` compares when the sustain pedal goes down, `pedal_offset_f1` also when it goes up; NaN without pedal.
    """

    num_reference: int
    num_estimate: int
    onset_precision: float = 0.0
    onset_recall: float = 0.0
    onset_f1: float = 0.0
    onset_offset_f1: float = 0.0
    onset_release_f1: float = 0.0
    onset_velocity_f1: float = 0.0
    pedal_f1: float = math.nan
    pedal_offset_f1: float = math.nan


def compare_notes(reference: Performance, estimate: Performance) -> NoteAccuracy:
    """Match notes one to one within 50 ms of onset, by pitch."""
    from mir_eval import transcription, transcription_velocity

    reference_notes, estimate_notes = extend_by_pedal(reference), extend_by_pedal(estimate)
    counts = len(reference_notes), len(estimate_notes)
    pedal_f1, pedal_offset_f1 = _compare_pedals(reference, estimate)
    if not reference_notes or not estimate_notes:
        return NoteAccuracy(*counts, pedal_f1=pedal_f1, pedal_offset_f1=pedal_offset_f1)
    sounding = (*_arrays(reference_notes), *_arrays(estimate_notes))
    written = (*_arrays(sorted(reference.notes)), *_arrays(sorted(estimate.notes)))
    precision, recall, f1, _ = transcription.precision_recall_f1_overlap(
        *sounding, onset_tolerance=ONSET_TOLERANCE_S, offset_ratio=None
    )
    with_velocity = transcription_velocity.precision_recall_f1_overlap(
        *sounding[:2],
        _velocities(reference_notes),
        *sounding[2:],
        _velocities(estimate_notes),
        onset_tolerance=ONSET_TOLERANCE_S,
        offset_ratio=None,
        velocity_tolerance=VELOCITY_TOLERANCE,
    )
    return NoteAccuracy(
        *counts,
        precision,
        recall,
        f1,
        _with_offsets(sounding),
        _with_offsets(written),
        with_velocity[2],
        pedal_f1,
        pedal_offset_f1,
    )


def _with_offsets(arrays: tuple[np.ndarray, ...]) -> float:
    from mir_eval.transcription import precision_recall_f1_overlap

    return precision_recall_f1_overlap(*arrays, onset_tolerance=ONSET_TOLERANCE_S, offset_ratio=OFFSET_RATIO)[2]


def _compare_pedals(reference: Performance, estimate: Performance) -> tuple[float, float]:
    """Compare presses of the sustain pedal as if they were notes of one pitch (Kong et al. 2021)."""
    from mir_eval.transcription import precision_recall_f1_overlap

    presses = [
        [Note(pedal.onset_s, pedal.offset_s, 60, 64) for pedal in performance.pedals if pedal.controller == SUSTAIN]
        for performance in (reference, estimate)
    ]
    if not presses[0] or not presses[1]:
        value = 0.0 if presses[0] or presses[1] else math.nan
        return value, value
    arrays = (*_arrays(presses[0]), *_arrays(presses[1]))
    onset = precision_recall_f1_overlap(*arrays, onset_tolerance=ONSET_TOLERANCE_S, offset_ratio=None)[2]
    return onset, _with_offsets(arrays)


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


def _velocities(notes: list[Note]) -> np.ndarray:
    return np.array([note.velocity for note in notes])
