"""Align two performances note by note: how well they match, and whether they are the same performance.

Nothing is searched here: `note_index` chooses which performances to compare.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from aria_data.deduplicate.note_patterns import NoteIndexConfig, Notes, Patterns, find_patterns

FIRST_TOLERANCES_S = (0.2, 0.1)  # of the first fits; the last one uses `onset_tolerance_s`
DRIFT_NOTES = 8  # of 1, 8 and 16 neighbours, 8 separated copies from other performances best
PITCHES_APART_MS = 1e11  # longer than any recording, so that notes of two pitches are never near
MIN_BASELINE_S = 4.0  # two anchors closer than this determine the tempo badly: 20 ms of error would be 0.5 %
MAX_ANCHORS, MAX_GUESSES = 64, 160  # of the first, robust fit: at most 15,000 residuals


@dataclass(frozen=True, slots=True)
class Match:
    """How two performances align: `other's time = tempo * one's time + offset_s`."""

    offset_s: float
    tempo: float
    agreement: float  # F-measure of matched notes where both performances overlap, 0 to 1
    num_matched: int
    drift_s: float  # root mean square of the mean deviation over `DRIFT_NOTES` notes: rubato adds up, jitter does not
    coverage: float  # share of the notes in the overlap, 0 to 1, of the performance where it is larger


NO_MATCH = Match(0.0, 1.0, 0.0, 0, 0.0, 0.0)


def is_same(match: Match, config: NoteIndexConfig) -> bool:
    """Whether a match is good enough for the two to be the same performance."""
    return (
        match.agreement >= config.min_agreement
        and match.num_matched >= config.min_matched
        and match.drift_s <= config.max_drift_s
        and match.coverage >= config.min_coverage
    )


def compare(one: Notes, other: Notes, config: NoteIndexConfig) -> Match:
    """Align two performances without an index; `NO_MATCH` when they share too few patterns. Takes some milliseconds."""
    whole = replace(config, keep_one_in=1)
    its, others = find_patterns([one, other], whole)
    return compare_patterns(one, other, its, others, config)


def compare_patterns(one: Notes, other: Notes, its: Patterns, others: Patterns, config: NoteIndexConfig) -> Match:
    """Align two performances whose patterns are known; `NO_MATCH` when they share too few of them."""
    anchors = _anchors(its, others)
    if len(anchors) < config.min_shared:
        return NO_MATCH
    tempo, offset_ms, num_near = _guess(anchors, config)
    if num_near < config.min_shared:  # the shared patterns are not in the same order in time
        return NO_MATCH
    keys = sorted(range(-config.max_transposition, config.max_transposition + 1), key=abs)
    found = [_align(one, Notes(other.onset_ms, other.pitch + np.int16(by)), tempo, offset_ms, config) for by in keys]
    return max(found, key=lambda match: match.num_matched)  # of equal ones the first: the smallest transposition


def _align(one: Notes, other: Notes, tempo: float, offset_ms: float, config: NoteIndexConfig) -> Match:
    """Align note by note, starting from a rough line."""
    left, right = one.onset_ms.astype(float), other.onset_ms.astype(float)
    for tolerance_s in (*FIRST_TOLERANCES_S, config.onset_tolerance_s):
        pairs = _nearest(left * tempo + offset_ms, one.pitch, right, other.pitch, tolerance_s * 1000)
        if len(pairs[0]) < 2:
            return NO_MATCH
        tempo, offset_ms = _line(left[pairs[0]], right[pairs[1]], config.max_tempo_change)
    moved = left * tempo + offset_ms
    tolerance_ms = config.onset_tolerance_s * 1000
    pairs = _nearest(moved, one.pitch, right, other.pitch, tolerance_ms)
    if not len(pairs[0]):
        return NO_MATCH
    drift_s = _drift_ms(right[pairs[1]] - moved[pairs[0]]) / 1000
    low = max(moved[0], right[0]) - tolerance_ms
    high = min(moved[-1], right[-1]) + tolerance_ms
    num_one = int(((moved >= low) & (moved <= high)).sum())
    num_other = int(((right >= low) & (right <= high)).sum())
    agreement = 2 * len(pairs[0]) / (num_one + num_other)
    coverage = max(num_one / len(one), num_other / len(other))
    return Match(offset_ms / 1000, tempo, agreement, len(pairs[0]), drift_s, coverage)


def _drift_ms(late: np.ndarray) -> float:
    """Root mean square of the deviations, averaged over runs of notes: in two performances they go the same way."""
    width = min(DRIFT_NOTES, len(late))
    means = np.convolve(late, np.ones(width) / width, "valid")
    return float(np.sqrt((means**2).mean()))


def _anchors(one: Patterns, other: Patterns) -> np.ndarray:
    """Give (time in one, time in other) of shared patterns in ms: shape (num, 2), at most `MAX_ANCHORS`, spread out.

    Rare patterns are preferred: one that occurs often says little about the alignment.
    """
    left, right = np.argsort(one.hash, kind="stable"), np.argsort(other.hash, kind="stable")
    low = np.searchsorted(other.hash[right], one.hash[left], "left")
    high = np.searchsorted(other.hash[right], one.hash[left], "right")
    num = np.minimum(high - low, 8)
    here = np.repeat(left, num)
    step = np.arange(num.sum()) - np.repeat(np.cumsum(num) - num, num)
    there = right[np.repeat(low, num) + step] if len(right) else here
    rarest = np.argsort(np.repeat(num, num), kind="stable")[: 4 * MAX_ANCHORS]
    found = np.stack([one.time_ms[here[rarest]], other.time_ms[there[rarest]]], axis=1).astype(float)
    found = found[np.lexsort((found[:, 1], found[:, 0]))]
    return found[np.unique(np.linspace(0, len(found) - 1, MAX_ANCHORS).astype(int))] if len(found) else found


def _guess(anchors: np.ndarray, config: NoteIndexConfig) -> tuple[float, float, int]:
    """Find the line through one or two anchors that is near to most of them: slope, offset in ms, how many are near."""
    here, there = anchors.T
    first, second = np.triu_indices(len(anchors), 1)
    run, rise = here[second] - here[first], there[second] - there[first]
    is_far = np.abs(run) >= MIN_BASELINE_S * 1000
    slope = rise[is_far] / run[is_far]
    is_near_1 = np.abs(slope - 1) <= config.max_tempo_change
    first, slope = first[is_far][is_near_1], slope[is_near_1]
    chosen = np.unique(np.linspace(0, len(slope) - 1, MAX_GUESSES).astype(int)) if len(slope) else np.zeros(0, int)
    slopes = np.concatenate([np.ones(len(anchors)), slope[chosen]])
    offsets = np.concatenate([there - here, there[first[chosen]] - slope[chosen] * here[first[chosen]]])
    distance = np.abs(slopes[:, None] * here + offsets[:, None] - there)
    nearness = np.maximum(0, 1 - distance / (FIRST_TOLERANCES_S[1] * 1000))  # weighted: a repeat may be near as well
    best = int(nearness.sum(axis=1).argmax())
    return float(slopes[best]), float(offsets[best]), int((nearness[best] > 0).sum())


def _line(here: np.ndarray, there: np.ndarray, max_tempo_change: float) -> tuple[float, float]:
    """Fit a line by least squares, with a slope within `max_tempo_change` of 1."""
    centre_here, centre_there = here.mean(), there.mean()
    spread = ((here - centre_here) ** 2).sum()
    slope = ((here - centre_here) * (there - centre_there)).sum() / spread if spread > 0 else 1.0
    slope = float(np.clip(slope, 1 - max_tempo_change, 1 + max_tempo_change))
    return slope, float(centre_there - slope * centre_here)


def _nearest(
    one: np.ndarray, its_pitch: np.ndarray, other: np.ndarray, other_pitch: np.ndarray, tolerance_ms: float
) -> tuple[np.ndarray, np.ndarray]:
    """Pair notes of one pitch that are each other's nearest, within the tolerance. Gives their indices in both.

    This is faster than `aria_data.midi.matching.match_notes`, which finds the largest number of pairs; a few missing
    pairs do no harm here.
    """
    here, there = one + its_pitch * PITCHES_APART_MS, other + other_pitch * PITCHES_APART_MS
    order_here, order_there = np.argsort(here), np.argsort(there)
    to_there = _nearest_in(here, there[order_there])
    to_here = _nearest_in(there, here[order_here])
    found = order_there[to_there]
    is_mutual = order_here[to_here[found]] == np.arange(len(one))
    is_near = np.abs(here - there[found]) <= tolerance_ms
    return np.flatnonzero(is_mutual & is_near), found[is_mutual & is_near]


def _nearest_in(values: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    after = np.clip(np.searchsorted(ordered, values), 1, max(1, len(ordered) - 1))
    after = np.minimum(after, len(ordered) - 1)
    before = np.maximum(after - 1, 0)
    return np.where(np.abs(ordered[before] - values) <= np.abs(ordered[after] - values), before, after)
