"""What was taken for a piece but is another sound: at its ends, between two pieces that were taken for one.

A guitar with a piano, or a harp, may score as a piano does at its least sure. A piece is known by itself: a stretch at
its end that is much less surely solo piano than the piece, and no softer, does not belong to it; nor does one inside,
where what sounds changes on both sides. Bounds then lie where what sounds changes most. Numbers: LOG.md, 2026-12-01.
"""

from __future__ import annotations

import numpy as np

from aria_data.segment.edges import Evidence, Run

LESS_SURE = 1.75  # log odds below the piece's median: what scores so at an end is other sound,
LESS_SURE_S = 3.0  # if that makes so many log odds times seconds
SOFTER_DB = 8.0  # than the loud parts of the piece: an opening, which may score as it likes
MAX_OTHER_S = 24.0  # from an end, and half of the piece at most
LATER_S = 4.0  # at most, until the score is half way from that of other sound to the piece's
MIN_BREAK, BREAK_LESS_SURE = 0.6, 3.0  # change on both sides of what parts two pieces, and how unsure it is
BREAKS_S = (2.0, 10.0)
MIN_CHANGE, NEAR_S, FAR_COSTS = 0.45, (2.5, 1.5), 0.05  # of a bound; at begin and end; change a second away
CLEARER = (0.0, 0.1)  # so much more than at the bound as it was, at begin and end
DYING_DB, MAX_DYING_PIANO = 3.0, 0.6  # a last chord gets so much softer, and any piano is heard less surely


def without_other_sound(runs: list[Run], found: Evidence) -> list[Run]:
    """Leave out what at the ends of runs, or between two pieces in one, is another sound, where changes are known."""
    if not len(found.changes):
        return runs
    sure = (found.around + found.second.solo) / 2
    trimmed = [_trimmed(run, sure, found) for run in runs]
    return [_trimmed(part, sure, found) for run in trimmed for part in _parted(run, sure, found)]


def _trimmed(run: Run, sure: np.ndarray, found: Evidence) -> Run:
    first, last = run
    length = min(round(MAX_OTHER_S / found.step_s), (last - first) // 2)
    if not length:
        return run
    median, loud_db = np.median(found.around[first:last]), np.percentile(found.levels_db[first:last], 70)
    is_soft = found.levels_db < loud_db - SOFTER_DB
    begin = _other_steps(np.arange(first, first + length), sure, is_soft, float(median), found)
    end = _other_steps(np.arange(last - 1, last - length - 1, -1), sure, is_soft, float(median), found)
    return [first + begin, last - end]


def _other_steps(inward: np.ndarray, sure: np.ndarray, is_soft: np.ndarray, median: float, found: Evidence) -> int:
    """How many of these steps, from an end inward, are another sound."""
    limit = median - LESS_SURE
    above = (sure[inward] - limit) * found.step_s
    sums = np.cumsum(np.where(is_soft[inward], np.maximum(above, 0.0), above))
    count = int(np.argmin(sums)) + 1
    if sums[count - 1] > -LESS_SURE_S:
        return 0
    half_way = (median + min(limit, float(found.around[inward[:count]].mean()))) / 2
    later = inward[count : count + round(LATER_S / found.step_s)]
    is_piece = sure[later] >= half_way
    return count + (int(np.argmax(is_piece)) if is_piece.any() else len(later))


def _parted(run: Run, sure: np.ndarray, found: Evidence) -> list[Run]:
    """The pieces in a run: between them, what sounds changes twice, and what is there is far less sure."""
    first, last = run
    shortest, longest = (round(seconds / found.step_s) for seconds in BREAKS_S)
    limit = float(np.median(found.around[first:last])) - BREAK_LESS_SURE if last > first else 0.0
    peaks = [at for at in range(first + shortest, last - shortest) if _is_break(found.changes, at, shortest // 2)]
    parts, begin = [], first
    for at in peaks:
        ends = (end for end in peaks if shortest <= end - at <= longest and sure[at:end].mean() < limit)
        if at >= begin and (end := next(ends, None)) is not None:
            parts.append([begin, at])
            begin = end
    return [*parts, [begin, last]]


def _is_break(changes: np.ndarray, at: int, around: int) -> bool:
    return bool(changes[at] >= MIN_BREAK and changes[at] == changes[max(0, at - around) : at + around + 1].max())


def at_changes(runs: list[Run], found: Evidence) -> list[Run]:
    """Move each bound to where what sounds changes most near it, never into another run."""
    if not len(found.changes):
        return runs
    moved: list[Run] = []
    for number, (first, last) in enumerate(runs):
        low = moved[-1][1] if moved else 0
        high = runs[number + 1][0] if number + 1 < len(runs) else len(found.changes)
        middle = (first + last) // 2
        begin = _change_near(found, first, low, middle, 0)
        end = max(begin, _change_near(found, last, middle, high, 1))
        moved.append([begin, last if _dies_away(found, end, last) else end])
    return moved


def _dies_away(found: Evidence, first: int, last: int) -> bool:
    """Whether a last chord dies away in these steps; none: no."""
    levels, piano = found.levels_db[first:last], found.any_piano[first:last]
    return bool(len(levels) and levels[-1] < levels[0] - DYING_DB and piano.mean() < MAX_DYING_PIANO)


def _change_near(found: Evidence, bound: int, low: int, high: int, which: int) -> int:
    reach = round(NEAR_S[which] / found.step_s)
    places = np.arange(max(low, bound - reach), min(high, bound + reach, len(found.changes) - 1) + 1)
    if not len(places) or bound >= len(found.changes):
        return bound
    worth = found.changes[places] - FAR_COSTS * np.abs(places - bound) * found.step_s
    best = int(np.argmax(worth))
    is_clear = found.changes[places[best]] >= MIN_CHANGE and worth[best] > found.changes[bound] + CLEARER[which]
    return int(places[best]) if is_clear else bound
