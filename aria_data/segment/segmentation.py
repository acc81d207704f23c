"""Find the spans of solo piano in a recording from the classifier's scores, in six steps.

evidence     weighted mean of window scores and local scores, as log odds, for every quarter of a second
best_states  the sequence of piano / not piano that fits the evidence best, at a cost for each change
whole pieces holes in which a piano goes on are closed, openings and last chords taken in (`edges`)
other sound  what is less surely piano than its piece is left out, bounds lie where the sound changes (`other_sound`)
spans        runs of piano; short gaps are closed, a little sound is kept around each
segments     the spans that are long enough and have a high enough mean score
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from aria_data.records import Segment, Verdict
from aria_data.segment.edges import Evidence, Run, with_whole_ends, without_holes
from aria_data.segment.other_sound import at_changes, without_other_sound

MAX_LOG_ODDS = 4.0  # a probability of 98.2 %: a higher one counts no more, so that one second cannot outweigh many


@dataclass(frozen=True)
class SegmentConfig:
    """How high the scores, how long a segment and how long a gap in it must or may be.

    `min_segment_s` is the shortest file the Aria model's published filter keeps. The others are ours: weight and cost
    were set so that a few seconds of silence between two pieces are detected (LOG.md). Aria-MIDI's classifier (aria-cl)
    has 45 s, gaps of 8 s and scores of 0.6 (`manifests/recipes/aria-midi.toml`), and compares the mean of the *whole
    file*, which drops good piano in a recital with much talk; here each segment has its own mean.

    Raises `ValueError` for a score or weight outside 0 to 1 and for a negative length or cost.
    """

    min_window_score: float = 0.5  # the probability at which the evidence is 0
    min_segment_score: float = 0.6  # mean window score over the segment itself; the number is Aria-MIDI's
    min_segment_s: float = 30.0
    max_gap_s: float = 2.0  # a shorter gap does not end a segment, whatever sounds in it
    local_weight: float = 0.65  # 0 to 1, of the score of a step alone; the rest is for the 5 s around it
    switch_cost: float = 2.0  # of a beginning or an end, in log odds times seconds: 3 s of silence end a piece
    lead_s: float = 0.1  # kept before the first attack
    tail_s: float = 0.25  # kept after the last resonance
    max_hole_s: float = 8.0  # a longer one ends a segment, though a piano may sound in it
    max_edge_s: float = 24.0  # how far beyond its surely known ends a piece is followed; 0: not at all
    redo: int = 0  # raised, a build classifies, segments and measures again what earlier code did, and keeps good notes

    def __post_init__(self) -> None:
        for name in ("min_window_score", "min_segment_score", "local_weight"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is {getattr(self, name)}, but lies between 0 and 1.")
        for name in ("min_segment_s", "max_gap_s", "switch_cost", "lead_s", "tail_s", "max_hole_s", "max_edge_s"):
            if getattr(self, name) < 0.0:
                raise ValueError(f"{name} is {getattr(self, name)}, but may not be negative.")
        if self.redo < 0:
            raise ValueError(f"redo is {self.redo}, but counts from 0.")


@dataclass(frozen=True)
class Scored:
    """The classifier's scores of one recording.

    `scores[i]` is the probability of solo piano in the 5 s around `i * hop_s` to `(i + 1) * hop_s`;
    `local_scores[i]` that from `i * step_s` to `(i + 1) * step_s` alone. The last of each ends with the recording.
    `local_any_piano`, `levels_db` and `changes` are of the same steps; where the first two were not recorded, pieces
    are not followed beyond what is surely piano; without `changes`, other sound in what was found is not looked for.
    """

    scores: np.ndarray
    hop_s: float
    local_scores: np.ndarray
    step_s: float
    duration_s: float
    local_any_piano: np.ndarray | None = None
    levels_db: np.ndarray | None = None
    changes: np.ndarray | None = None

    @classmethod
    def of(cls, found: Any) -> Scored:
        """Take over the classifier's own result (`classifiers.predict.WindowScores`)."""
        of_steps = found.local_scores, found.step_s, found.duration_s, found.local_any_piano, found.levels_db
        return cls(found.scores, found.hop_s, *of_steps, found.changes)

    def beyond(self) -> Evidence | None:
        """What is known besides the scores; None where it was not recorded, or not of every step."""
        if self.local_any_piano is None or self.levels_db is None or not len(self.local_scores) or not len(self.scores):
            return None
        if not len(self.local_any_piano) == len(self.levels_db) == len(self.local_scores):
            return None
        is_known = self.changes is not None and len(self.changes) == len(self.local_scores)
        changes = self.changes if self.changes is not None and is_known else np.zeros(0)
        local = _log_odds(self.local_scores)
        return Evidence(local, self.local_any_piano, self.levels_db, self.step_s, _around(self), changes)


def find_segments(recording_id: str, scored: Scored, config: SegmentConfig) -> list[Segment]:
    """Find the segments of solo piano, in order, not overlapping."""
    segments: list[Segment] = []
    for span in _spans(scored, config):
        if span.duration_s >= config.min_segment_s and span.score >= config.min_segment_score:
            segments.append(Segment(recording_id, len(segments), span.start_s, span.end_s, round(span.score, 4)))
    return segments


def verdict(segments: list[Segment], scored: Scored, config: SegmentConfig) -> Verdict:
    """Give the reason why a recording without segments has none, with the highest score or the longest length.

    `no_solo_piano`: no span at all; `segment_shorter_than_min`: none is long enough; `audio_score_below_min`: none of
    the long ones has a high enough mean score.
    """
    if segments:
        return Verdict(True)
    spans = _spans(scored, config)
    if not spans:
        return Verdict(False, "no_solo_piano", round(float(np.max(scored.scores, initial=0.0)), 4))
    longest_s = max(span.duration_s for span in spans)
    if longest_s < config.min_segment_s:
        return Verdict(False, "segment_shorter_than_min", round(longest_s, 3))
    best = max(span.score for span in spans if span.duration_s >= config.min_segment_s)
    return Verdict(False, "audio_score_below_min", round(best, 4))


def piano_share(scored: Scored, config: SegmentConfig) -> float:
    """Give the share of a recording that is solo piano, 0 to 1, in spans of any length with a high enough score."""
    found_s = sum(span.duration_s for span in _spans(scored, config) if span.score >= config.min_segment_score)
    return found_s / scored.duration_s if scored.duration_s else 0.0


def evidence(scored: Scored, config: SegmentConfig) -> np.ndarray:
    """Give the log odds of solo piano for every step, above 0 where it is likelier than `min_window_score`."""
    local = _log_odds(scored.local_scores)
    if not len(local) or not len(scored.scores):
        return np.zeros(0)
    limit = float(_log_odds(np.array([config.min_window_score]))[0])
    return (1.0 - config.local_weight) * _around(scored) + config.local_weight * local - limit


def _around(scored: Scored) -> np.ndarray:
    """Log odds of solo piano in the 5 s around every step."""
    steps_s = (np.arange(len(scored.local_scores)) + 0.5) * scored.step_s
    hops_s = (np.arange(len(scored.scores)) + 0.5) * scored.hop_s
    return np.interp(steps_s, hops_s, _log_odds(scored.scores))


def _log_odds(probabilities: np.ndarray) -> np.ndarray:
    inside = np.clip(np.asarray(probabilities, dtype=float), 1e-6, 1.0 - 1e-6)
    return np.clip(np.log(inside / (1.0 - inside)), -MAX_LOG_ODDS, MAX_LOG_ODDS)


def best_states(gains: np.ndarray, switch_cost: float) -> np.ndarray:
    """Give the True / False sequence with the largest sum of the gains where it is True less `switch_cost` a change.

    It may begin and end in either state at no cost. Of equally good sequences it is the one that stays False longer.
    Dynamic programming over the two states, O(len(gains)).
    """
    if not len(gains):
        return np.zeros(0, dtype=bool)
    came_from = np.zeros((len(gains), 2), dtype=bool)
    outside, inside = 0.0, float(gains[0])
    for index, gain in enumerate(gains[1:].tolist(), 1):
        came_from[index] = inside - switch_cost > outside, inside > outside - switch_cost
        outside, inside = max(outside, inside - switch_cost), max(inside, outside - switch_cost) + gain
    states = np.zeros(len(gains), dtype=bool)
    states[-1] = inside > outside
    for index in range(len(gains) - 1, 0, -1):
        states[index - 1] = came_from[index, int(states[index])]
    return states


class _Span(NamedTuple):
    """A span of piano, in seconds, and the score that it is judged by."""

    start_s: float
    end_s: float
    score: float

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s


def _spans(scored: Scored, config: SegmentConfig) -> list[_Span]:
    """Give each run of piano with what belongs to its piece, joined over gaps shorter than `max_gap_s`, then padded.

    A span is judged by its mean score, or by that of its longest run where that is higher: what was taken in besides is
    less surely piano, and does not cost a piece.
    """
    states = best_states(evidence(scored, config) * scored.step_s, config.switch_cost)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], states, [False]]).astype(int)))
    runs: list[Run] = edges.reshape(-1, 2).tolist()
    found = scored.beyond() if runs else None
    whole = _joined(runs, scored, config)
    if found is not None:
        whole = with_whole_ends(without_holes(whole, found, config.max_hole_s), found, config.max_edge_s)
        whole = at_changes(without_other_sound(whole, found), found)
    exact = [(first * scored.step_s, min(last * scored.step_s, scored.duration_s)) for first, last in whole]
    spans = []
    for start_s, end_s in _padded(exact, scored.duration_s, config):
        score = _mean_score(scored, start_s, end_s)
        inside = [(first, last) for first, last in runs if start_s <= first * scored.step_s < end_s]
        if found is not None and inside:
            first, last = max(inside, key=lambda run: run[1] - run[0])
            score = max(score, _mean_score(scored, first * scored.step_s, last * scored.step_s))
        spans.append(_Span(start_s, end_s, score))
    return spans


def _joined(runs: list[Run], scored: Scored, config: SegmentConfig) -> list[Run]:
    joined: list[Run] = []
    for first, last in runs:
        if joined and first * scored.step_s - joined[-1][1] * scored.step_s < config.max_gap_s:
            joined[-1] = [joined[-1][0], last]
        else:
            joined.append([first, last])
    return joined


def _padded(spans: list[tuple[float, float]], duration_s: float, config: SegmentConfig) -> list[tuple[float, float]]:
    """Extend spans at both ends, never past the middle of the gap to the next span."""
    middles_s = [(before[1] + after[0]) / 2 for before, after in zip(spans[:-1], spans[1:], strict=True)]
    lows_s, highs_s = [0.0, *middles_s], [*middles_s, duration_s]
    return [
        (max(low_s, start_s - config.lead_s), min(high_s, end_s + config.tail_s))
        for (start_s, end_s), low_s, high_s in zip(spans, lows_s, highs_s, strict=False)
    ]


def _mean_score(scored: Scored, start_s: float, end_s: float) -> float:
    """Give the mean of the window scores of the hops whose middle lies inside, or of the nearest one."""
    middles_s = (np.arange(len(scored.scores)) + 0.5) * scored.hop_s
    inside = (middles_s >= start_s) & (middles_s < end_s)
    if not inside.any():
        inside[int(np.argmin(np.abs(middles_s - (start_s + end_s) / 2)))] = True
    return float(np.mean(scored.scores[inside]))
