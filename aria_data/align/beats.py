"""When each beat of the score was played, from matched notes. No beat is guessed beyond the notes that were matched."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aria_data.align.note_matches import NoteMatches
from aria_data.align.positions import Positions
from aria_data.align.scores import Score
from aria_data.midi import Note

NEAR_BEATS = 4.0  # quarter notes before and after a beat in which notes speak for it


@dataclass(frozen=True, slots=True)
class Beat:
    """One beat as it was played."""

    time_s: float  # from the beginning of the performance's file
    is_downbeat: bool
    bar: int  # the number that the score gives it
    score_quarters: float  # its place in the score as written
    signature: str  # "3/4,-2": time signature and number of sharps
    is_played: bool  # a note begins on it; else its time lies between its neighbours'
    support: float  # share of the written notes around it that were matched, 0 to 1
    stretch: int  # counts up where the performance jumps: to a repeat, over a cut


def find_beats(notes: list[Note], score: Score, path: Positions, matches: NoteMatches) -> list[Beat]:
    """Give the beats of every stretch, in order of time."""
    beats: list[Beat] = []
    for number, stretch in enumerate(path.stretches):
        is_here = matches.stretch == number
        written, played = matches.score_note[is_here], matches.played_note[is_here]
        where, when = _chord_times(notes, score, written, played)
        if len(where) < 2:
            continue
        is_inside = (score.beat >= stretch.start - 1e-6) & (score.beat < stretch.end - 1e-6)
        is_inside &= (score.beat >= where[0] - 1e-6) & (score.beat <= where[-1] + 1e-6)
        chosen = np.flatnonzero(is_inside)
        times = np.interp(score.beat[chosen], where, when)
        bars = score.bar_number[score.bar_of(score.beat[chosen])]
        support = _support(score.beat[chosen], score.onset[written], played >= 0)
        for index, beat in enumerate(chosen):
            is_played = bool(np.min(np.abs(where - score.beat[beat])) < 1e-3)
            beats.append(
                Beat(
                    float(times[index]),
                    bool(score.is_downbeat[beat]),
                    int(bars[index]),
                    float(score.beat[beat]),
                    score.signature[beat],
                    is_played,
                    float(support[index]),
                    number,
                )
            )
    return _in_order(beats)


def _chord_times(
    notes: list[Note], score: Score, written: np.ndarray, played: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Places and times of the chords that were played, both ascending: the median onset of their matched notes."""
    is_used = (played >= 0) & ~score.is_grace[written]
    onset = score.onset[written[is_used]]
    time = np.array([notes[index].onset_s for index in played[is_used]])
    where, place = np.unique(onset, return_inverse=True)
    when = np.array([np.median(time[place == index]) for index in range(len(where))])
    kept = _heaviest_rise(when, np.bincount(place, minlength=len(where)))
    return where[kept], when[kept]


def _heaviest_rise(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The places of the ascending sequence that weighs most: what is left when as little as possible is taken out."""
    total, before = np.array(weights, float), np.full(len(values), -1)
    for index in range(1, len(values)):
        reached = np.where(values[:index] < values[index], total[:index], 0.0)
        best = int(np.argmax(reached))
        if reached[best] > 0:
            total[index] += reached[best]
            before[index] = best
    found, index = [], int(np.argmax(total)) if len(values) else -1
    while index >= 0:
        found.append(index)
        index = int(before[index])
    return np.array(found[::-1], np.int64)


def _support(beats: np.ndarray, onset: np.ndarray, is_matched: np.ndarray) -> np.ndarray:
    """The share of written notes that were matched, within `NEAR_BEATS` of each beat."""
    low = np.searchsorted(onset, beats - NEAR_BEATS)
    high = np.searchsorted(onset, beats + NEAR_BEATS, "right")
    total = np.concatenate([[0], np.cumsum(is_matched)])
    return (total[high] - total[low]) / np.maximum(high - low, 1)


def _in_order(beats: list[Beat]) -> list[Beat]:
    """Leave out beats that are not after the last one: at a jump, both sides may claim the same moment."""
    found: list[Beat] = []
    for beat in beats:
        if not found or beat.time_s > found[-1].time_s:
            found.append(beat)
    return found
