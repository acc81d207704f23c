"""Where in the score each note of a performance is, roughly: also where repeats, cuts and beginnings in the middle are.

The path through the score with the most agreement is found, note by note (Viterbi's algorithm). A note stays at its
chord, goes on to one of the next, or jumps: at a repeat sign for little, anywhere else for much. What exactly was
matched is `note_matches`' work.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aria_data.align.scores import Score
from aria_data.deduplicate.compiled import compiled

MAX_CELLS = 400_000_000  # notes times chords, a byte each: a performance of three hours and its score
LONGEST_STEP = 8  # chords that may be left out in a row
STAY, SIGN, LEAP, BEGIN = 0, 100, 101, 102  # how a note came to its chord; 1 to LONGEST_STEP: so many chords on
MIN_STRETCH_NOTES = 8  # fewer matched notes between two jumps are chance


@dataclass(frozen=True)
class PositionCosts:
    """Costs of a path, in notes that agree. Chosen by hand; on half of ASAP's pieces no change was needed."""

    wrong_note: float = 0.7  # a note that its chord does not have
    left_out: float = 0.4  # a chord without a note
    sign: float = 3.0  # a jump from a repeat sign to another
    leap: float = 14.0  # a jump from anywhere to anywhere


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """A part of the performance that follows the score without a jump. Ends are not included."""

    first_note: int
    last_note: int
    first_chord: int
    last_chord: int
    start: float  # quarter notes: where the music begins, which may be a repeat sign before its first note
    end: float


@dataclass(frozen=True, slots=True, eq=False)
class Positions:
    """The path of a performance through a score."""

    chord: np.ndarray  # int32, of each note: its place in `chords_of(score)`
    is_match: np.ndarray  # bool: the chord has the note's pitch
    stretches: tuple[Stretch, ...]
    agreement: float  # share of the performance's notes that match, 0 to 1


def chords_of(score: Score) -> tuple[np.ndarray, np.ndarray]:
    """The onsets of a score, each once, and for each of its notes which one it has."""
    onsets, place = np.unique(score.onset, return_inverse=True)
    return onsets, place.astype(np.int32)


def find_positions(pitch: np.ndarray, score: Score, costs: PositionCosts | None = None) -> Positions | None:
    """Find the path; `pitch` is of the performance's notes in order of onset. None where the two are too long."""
    onsets, chord_of = chords_of(score)
    if not len(pitch) or len(pitch) * len(onsets) > MAX_CELLS:
        return None
    costs = costs or PositionCosts()
    keys = np.zeros((128, len(onsets)), bool)
    keys[score.pitch, chord_of] = True
    may_leave, may_enter = _signs(score, onsets)
    prices = costs.wrong_note, costs.left_out, costs.sign, costs.leap
    chord = _best_path(pitch.astype(np.int64), keys, may_leave, may_enter, *prices)
    is_match = keys[pitch, chord]
    stretches = _stretches(chord, is_match, onsets, score)
    return Positions(chord, is_match, stretches, float(np.mean(is_match)))


def _signs(score: Score, onsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which chords are the last before a sign that may be left, and which the first after one that may be entered."""
    may_leave, may_enter = np.zeros(len(onsets), bool), np.zeros(len(onsets), bool)
    leave = np.searchsorted(onsets, score.leave_at - 1e-6) - 1
    enter = np.searchsorted(onsets, score.enter_at - 1e-6)
    may_leave[leave[leave >= 0]] = True
    may_enter[enter[enter < len(onsets)]] = True
    return may_leave, may_enter


@compiled
def _best_path(pitch, keys, may_leave, may_enter, wrong_note, left_out, sign, leap):
    num_notes, num_chords = len(pitch), keys.shape[1]
    came = np.zeros((num_notes, num_chords), np.uint8)
    left_at = np.zeros((num_notes, 2), np.int32)  # the best chord to jump from: at a sign, anywhere
    before = np.zeros(num_chords, np.float32)
    now = np.zeros(num_chords, np.float32)
    for note in range(num_notes):
        best_sign, best_any = -1, 0
        for chord in range(num_chords):
            if before[chord] > before[best_any]:
                best_any = chord
            if may_leave[chord] and (best_sign < 0 or before[chord] > before[best_sign]):
                best_sign = chord
        left_at[note, 0], left_at[note, 1] = max(best_sign, 0), best_any
        for chord in range(num_chords):
            best, how = before[chord] - 0.1, 0
            for step in range(1, min(8, chord) + 1):
                total = before[chord - step] - left_out * (step - 1)
                if total > best:
                    best, how = total, step
            if best_sign >= 0 and may_enter[chord] and before[best_sign] - sign > best:
                best, how = before[best_sign] - sign, 100
            if before[best_any] - leap > best:
                best, how = before[best_any] - leap, 101
            if note == 0:
                best, how = np.float32(0.0), 102
            now[chord] = best + (1.0 if keys[pitch[note], chord] else -wrong_note)
            came[note, chord] = how
        before, now = now, before
    path = np.zeros(num_notes, np.int32)
    chord = int(np.argmax(before))
    for note in range(num_notes - 1, -1, -1):
        path[note] = chord
        how = came[note, chord]
        if how == 100:
            chord = left_at[note, 0]
        elif how == 101:
            chord = left_at[note, 1]
        elif how < 100:
            chord -= how
    return path


def _stretches(chord: np.ndarray, is_match: np.ndarray, onsets: np.ndarray, score: Score) -> tuple[Stretch, ...]:
    """Cut the path at its jumps, and leave out stretches that hardly match and the unmatched ends of the others."""
    step = np.diff(chord)
    cuts = np.flatnonzero((step < 0) | (step > LONGEST_STEP)) + 1
    edges = [0, *cuts.tolist(), len(chord)]
    found = []
    for first, last in zip(edges[:-1], edges[1:], strict=True):
        matched = first + np.flatnonzero(is_match[first:last])
        if len(matched) < MIN_STRETCH_NOTES:
            continue
        low, high = int(chord[matched[0]]), int(chord[matched[-1]])
        start, end = _bounds(low, high, onsets, score)
        found.append(Stretch(int(matched[0]), int(matched[-1]) + 1, low, high + 1, start, end))
    return tuple(found)


def _bounds(low: int, high: int, onsets: np.ndarray, score: Score) -> tuple[float, float]:
    """Where a stretch begins and ends: at a sign between its outer chords and the next ones, else at these chords."""
    start = float(onsets[low])
    end = float(onsets[high + 1]) if high + 1 < len(onsets) else score.end
    earlier = float(onsets[low - 1]) if low else -1.0
    entered = score.enter_at[(score.enter_at > earlier + 1e-6) & (score.enter_at <= start + 1e-6)]
    left = score.leave_at[(score.leave_at > onsets[high] + 1e-6) & (score.leave_at <= end + 1e-6)]
    return float(entered[-1]) if len(entered) else start, float(left[0]) if len(left) else end
