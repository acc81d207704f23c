"""How well an estimate tells what hands and feet did: the sustain pedal in time, and how hard keys were struck."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from aria_data.midi.accuracy import extend_by_pedal
from aria_data.midi.matching import OFFSET_RATIO, match_notes, precision_recall_f1
from aria_data.midi.midi_files import SUSTAIN, Note, Performance

FRAME_S = 0.01
PRESS_TOLERANCE_S = 0.1  # a foot is slower than a finger: twice the tolerance of onsets


@dataclass(frozen=True, slots=True)
class PlayingAccuracy:
    """Figures of many performances, all frames, presses and notes counted together. F1 is 0 to 1.

    `velocity_slope` is that of the line through found over true velocities, 1 where soft is as soft and loud as loud as
    it was; `velocity_error` the median of their differences, in MIDI velocities.
    """

    frame_f1: float  # of 10 ms with the sustain pedal down
    press_f1: float  # of the times at which it goes down, within 100 ms
    share_down: float  # of the time, as the reference has it
    share_said: float  # as the estimate has it
    onset_f1: float
    onset_offset_f1: float  # of sounding ends
    onset_release_f1: float  # of key releases
    velocity_slope: float
    velocity_error: float


def compare_playing(pairs: Iterable[tuple[Performance, Performance]]) -> PlayingAccuracy:
    """Compare (reference, estimate) pairs, as `accuracy` does for each pair by itself."""
    frames, counts, matches, presses = np.zeros(4), np.zeros(2, int), np.zeros(3, int), np.zeros(3, int)
    velocities: list[tuple[int, int]] = []
    for reference, estimate in pairs:
        true, said = _is_down(reference, estimate)
        frames += (true & said).sum(), true.sum(), said.sum(), len(true)
        presses += _matched_presses(reference, estimate)
        sounding = extend_by_pedal(reference), extend_by_pedal(estimate)
        written = sorted(reference.notes), sorted(estimate.notes)
        counts += len(written[0]), len(written[1])
        by_onset = match_notes(*written)
        velocities += [(written[0][left].velocity, written[1][right].velocity) for left, right in by_onset]
        ends = len(match_notes(*sounding, OFFSET_RATIO)), len(match_notes(*written, OFFSET_RATIO))
        matches += len(by_onset), *ends
    both, down, said_down, num_frames = frames
    true_velocities, found = np.array(velocities, float).reshape(-1, 2).T
    of_notes = [precision_recall_f1(int(each), *(int(number) for number in counts))[2] for each in matches]
    return PlayingAccuracy(
        frame_f1=precision_recall_f1(int(both), int(down), int(said_down))[2],
        press_f1=precision_recall_f1(*(int(each) for each in presses))[2],
        share_down=float(down / max(1.0, num_frames)),
        share_said=float(said_down / max(1.0, num_frames)),
        onset_f1=of_notes[0],
        onset_offset_f1=of_notes[1],
        onset_release_f1=of_notes[2],
        velocity_slope=_slope(true_velocities, found),
        velocity_error=float(np.median(np.abs(found - true_velocities))) if len(found) else float("nan"),
    )


def _slope(true: np.ndarray, found: np.ndarray) -> float:
    return float(np.polyfit(true, found, 1)[0]) if len(true) > 1 and np.ptp(true) else float("nan")


def _is_down(reference: Performance, estimate: Performance) -> tuple[np.ndarray, np.ndarray]:
    """Whether the pedal is down, every 10 ms until the last note of the reference has ended."""
    length = int(max((note.offset_s for note in reference.notes), default=0.0) / FRAME_S) + 1
    rows = np.zeros((2, length), bool)
    for row, performance in zip(rows, (reference, estimate), strict=True):
        for pedal in performance.pedals:
            if pedal.controller == SUSTAIN:
                row[round(pedal.onset_s / FRAME_S) : round(pedal.offset_s / FRAME_S)] = True
    return rows[0], rows[1]


def _matched_presses(reference: Performance, estimate: Performance) -> tuple[int, int, int]:
    """(presses that match, of the reference, of the estimate). Times are halved, since notes match within 50 ms."""
    scale = 0.5 * 0.1 / PRESS_TOLERANCE_S
    true, found = (
        [
            Note(pedal.onset_s * scale, pedal.onset_s * scale + 1, 60, 64)
            for pedal in each.pedals
            if pedal.controller == SUSTAIN
        ]
        for each in (reference, estimate)
    )
    return len(match_notes(true, found)), len(true), len(found)
