"""Measure how close an estimate is to a reference, note by note, with the measures of mir_eval."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from aria_data.midi.matching import OFFSET_RATIO, match_notes, precision_recall_f1
from aria_data.midi.midi_files import SUSTAIN, Note, Performance

VELOCITY_TOLERANCE = 0.1  # of the range, after the best linear fit of the two scales (Hawthorne et al. 2018)


@dataclass(frozen=True, slots=True)
class NoteAccuracy:
    """Precision, recall and F1 of notes and sustain pedal presses, each from 0 to 1.

    There are two conventions for the end of a note. `onset_offset_f1` compares sounding ends, key releases lengthened
    by the pedal, as MAESTRO's reference notes are; `onset_release_f1` compares the key releases as they are written.
    `pedal_f1` compares when the sustain pedal goes down, `pedal_offset_f1` also when it goes up; NaN when neither
    performance has a press of it.
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
    """Compare two performances. Notes match one to one, at the same pitch and within 50 ms of onset."""
    sounding = extend_by_pedal(reference), extend_by_pedal(estimate)
    written = sorted(reference.notes), sorted(estimate.notes)
    counts = len(written[0]), len(written[1])
    matched = match_notes(*sounding)
    precision, recall, f1 = precision_recall_f1(len(matched), *counts)
    return NoteAccuracy(
        *counts,
        precision,
        recall,
        f1,
        precision_recall_f1(len(match_notes(*sounding, OFFSET_RATIO)), *counts)[2],
        precision_recall_f1(len(match_notes(*written, OFFSET_RATIO)), *counts)[2],
        precision_recall_f1(_num_with_velocity(*sounding, matched), *counts)[2],
        *_compare_pedals(reference, estimate),
    )


def _num_with_velocity(reference: list[Note], estimate: list[Note], matched: list[tuple[int, int]]) -> int:
    """Count the matches whose velocities agree too, as `mir_eval.transcription_velocity` does: the reference's are
    scaled to 0 to 1, the estimate's are fitted to those by the best linear fit over all matches."""
    if not matched:
        return 0
    velocities = np.array([note.velocity for note in reference], dtype=float)
    velocities = (velocities - velocities.min()) / max(1.0, float(np.ptp(velocities)))
    true = velocities[[index for index, _ in matched]]
    estimated = np.array([estimate[index].velocity for _, index in matched], dtype=float)
    slope, intercept = np.linalg.lstsq(np.vstack([estimated, np.ones(len(estimated))]).T, true, rcond=None)[0]
    return int((np.abs(slope * estimated + intercept - true) < VELOCITY_TOLERANCE).sum())


def _compare_pedals(reference: Performance, estimate: Performance) -> tuple[float, float]:
    """Compare presses of the sustain pedal as if they were notes of one pitch (Kong et al. 2021)."""
    true, estimated = (
        [Note(pedal.onset_s, pedal.offset_s, 60, 64) for pedal in performance.pedals if pedal.controller == SUSTAIN]
        for performance in (reference, estimate)
    )
    if not true and not estimated:
        return math.nan, math.nan
    counts = len(true), len(estimated)
    onset = precision_recall_f1(len(match_notes(true, estimated)), *counts)[2]
    return onset, precision_recall_f1(len(match_notes(true, estimated, OFFSET_RATIO)), *counts)[2]


def extend_by_pedal(performance: Performance) -> list[Note]:
    """Give the notes, sorted, with their sounding ends: the sustain pedal holds a note until it lifts or the key is
    struck again."""
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
