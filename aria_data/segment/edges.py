"""Where a piece really begins and ends: look into the holes between spans of piano, and beyond their ends.

The score of *solo* piano falls where a piece is soft, thin or odd: its opening, a passage, the last chord dying away.
That a piano sounds *at all* the classifier still says there, less surely, and no silence lies between. So a hole is
closed, and a span reaches further, while a piano may be sounding and nothing else is surely heard.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

Run = list[int]  # the first step of a run of piano, and the first one after it

FLOOR_SHARE = 1  # per cent of a recording's steps lie below its floor
OVER_FLOOR_DB, BELOW_LOUD_DB = 4.0, 55.0  # a step is silent below the one, or so far below the loud parts of its span
MIN_HOLE_PIANO, MIN_HOLE_SOLO = 0.25, -2.5  # means over a hole: any piano, and log odds of solo piano (8 %)
MAX_SILENCE_S = 0.75  # in a hole: with more of it, one piece has ended and another begins
MIN_EDGE_PIANO = 0.4  # the same beyond an end
MIN_FIRST_SOLO, MIN_LAST_SOLO = -2.0, -1.0  # openings are the softer ones; what follows an end may accompany another
MIN_SECOND_PIANO, MIN_SECOND_SOLO = 0.2, -3.0  # over every second beyond an end: below, something else is surely heard
MAX_RISE_DB, MIN_FALL_DB = 2.0, 1.0  # a dying chord gets no louder, and so much softer within a second
MIN_FURTHER_S = 1.0  # less than that is how exactly the classifier knows an end
MIN_CHORD_PIANO = 0.08  # any piano, while a chord dies away


@dataclass(frozen=True)
class Evidence:
    """What is known of every step of a recording: arrays of one length, and the length of a step."""

    solo: np.ndarray  # log odds of solo piano
    any_piano: np.ndarray  # probability that a piano sounds, alone or not
    levels_db: np.ndarray
    step_s: float
    around: np.ndarray  # log odds of solo piano in the 5 s around the step
    changes: np.ndarray  # how much what sounds changes where the step begins, 0 to 1; empty: not known

    @cached_property
    def floor_db(self) -> float:
        return float(np.percentile(self.levels_db, FLOOR_SHARE))

    @cached_property
    def second(self) -> Evidence:
        """The same, each step averaged over the second around it."""
        length = max(1, round(1.0 / self.step_s))
        solo, piano, levels = (_averaged(values, length) for values in (self.solo, self.any_piano, self.levels_db))
        return Evidence(solo, piano, levels, self.step_s, self.around, self.changes)


def _averaged(values: np.ndarray, length: int) -> np.ndarray:
    padded = np.pad(values, (length // 2, length), mode="edge")
    return np.convolve(padded, np.ones(length) / length, "valid")[: len(values)]


def without_holes(runs: list[Run], found: Evidence, max_hole_s: float) -> list[Run]:
    """Join runs over holes of at most `max_hole_s` in which a piano goes on, and nothing else is surely heard."""
    joined: list[Run] = []
    for first, last in runs:
        if joined and (first - joined[-1][1]) * found.step_s <= max_hole_s and _goes_on(found, joined[-1][1], first):
            joined[-1] = [joined[-1][0], last]
        else:
            joined.append([first, last])
    return joined


def _goes_on(found: Evidence, first: int, last: int) -> bool:
    is_silent = found.levels_db[first:last] < found.floor_db + OVER_FLOOR_DB
    has_piano = found.any_piano[first:last].mean() >= MIN_HOLE_PIANO
    is_alone = found.solo[first:last].mean() >= MIN_HOLE_SOLO
    return bool(has_piano and is_alone and is_silent.sum() * found.step_s <= MAX_SILENCE_S)


def with_whole_ends(runs: list[Run], found: Evidence, max_edge_s: float) -> list[Run]:
    """Let each run reach at most `max_edge_s` further at both ends, to where its piece begins and has died away.

    Runs that then touch are one.
    """
    highs = [*(first for first, _ in runs[1:]), len(found.solo)]
    reached: list[Run] = []
    for (first, last), high in zip(runs, highs, strict=False):
        low = reached[-1][1] if reached else 0
        steps = round(max_edge_s / found.step_s)
        silent_db = max(found.floor_db + OVER_FLOOR_DB, np.percentile(found.levels_db[first:last], 90) - BELOW_LOUD_DB)
        begins = first - _reach(found, range(first - 1, max(low, first - steps) - 1, -1), silent_db, MIN_FIRST_SOLO)
        ends = last + _reach(found, range(last, min(high, last + steps)), silent_db, MIN_LAST_SOLO)
        ends = _faded(found, ends, min(high, last + steps), silent_db)
        if reached and begins == low:  # the music goes on from the one to the other
            begins = reached.pop()[0]
        reached.append([begins, ends])
    return reached


def _reach(found: Evidence, steps: range, silent_db: float, min_solo: float) -> int:
    """How many of these steps, outward from an end, still belong to the piece."""
    best, piano, solo = 0, 0.0, 0.0
    for count, step in enumerate(steps, 1):
        is_silent = found.levels_db[step] < silent_db and found.any_piano[step] < 0.5
        is_other = found.second.solo[step] < MIN_SECOND_SOLO or found.second.any_piano[step] < MIN_SECOND_PIANO
        if is_silent or is_other:
            break
        piano, solo = piano + found.any_piano[step], solo + found.solo[step]
        is_alone = piano >= count * MIN_EDGE_PIANO and solo >= count * min_solo
        if is_alone and found.any_piano[step] >= MIN_HOLE_PIANO:
            best = count
    return best if best * found.step_s >= MIN_FURTHER_S else 0


def _faded(found: Evidence, end: int, high: int, silent_db: float) -> int:
    """Where the last chord has died away: softer all the time, until it is silent or something else begins."""
    levels, second, begin = found.levels_db, max(1, round(1.0 / found.step_s)), end
    softest = levels[max(0, end - second) : end].min()
    while end < high and silent_db <= levels[end] <= softest + MAX_RISE_DB:
        if found.any_piano[end] < MIN_CHORD_PIANO or levels[end] > levels[max(0, end - second)] - MIN_FALL_DB:
            break
        softest = min(softest, levels[end])
        end += 1
    return end if (end - begin) * found.step_s >= MIN_FURTHER_S else begin
