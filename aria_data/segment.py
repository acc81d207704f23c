"""From the classifier's window scores to the stretches of solo piano in a recording."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aria_data.records import Segment, Verdict


@dataclass(frozen=True)
class SegmentConfig:
    """How sure, how long and how interrupted a segment may be.

    Lengths are Aria-MIDI's (aria-cl). Scores are ours, for the classifier that comes along: it was trained on
    synthesis only, and real pianos it finds odd score 0.3 to 0.5, where other real sounds stay below 0.3
    (LOG.md). Theirs are 0.6 for a window, the same to go on, and 0.6 for the mean of the *whole file*, which
    drops good piano inside a talky recital.
    """

    min_window_score: float = 0.5  # piano begins where a window reaches this,
    min_held_score: float = 0.25  # and goes on until one is below this
    min_segment_score: float = 0.35  # mean over the segment itself
    min_segment_s: float = 45.0
    max_gap_s: float = 8.0  # a shorter dip in the score does not end a segment


def find_segments(
    recording_id: str, scores: np.ndarray, hop_s: float, duration_s: float, config: SegmentConfig
) -> list[Segment]:
    """Find the stretches where the score stays high, in order, not overlapping.

    `scores[i]` is the probability of solo piano from `i * hop_s` to `(i + 1) * hop_s`; the last stretch ends
    with the recording, at `duration_s`.
    """
    segments: list[Segment] = []
    for first, last in _stretches(scores, config, hop_s):
        start_s, end_s = first * hop_s, min((last + 1) * hop_s, duration_s)
        score = float(np.mean(scores[first : last + 1]))
        if end_s - start_s >= config.min_segment_s and score >= config.min_segment_score:
            segments.append(Segment(recording_id, len(segments), start_s, end_s, round(score, 4)))
    return segments


def verdict(
    segments: list[Segment], scores: np.ndarray, hop_s: float, duration_s: float, config: SegmentConfig
) -> Verdict:
    """Say why a recording without segments has none: no window is piano, or no stretch is long or sure enough."""
    if segments:
        return Verdict(True)
    stretches = _stretches(scores, config, hop_s)
    if not stretches:
        return Verdict(False, "no_solo_piano", round(float(np.max(scores, initial=0.0)), 4))
    lengths_s = [min((last + 1) * hop_s, duration_s) - first * hop_s for first, last in stretches]
    if max(lengths_s) < config.min_segment_s:
        return Verdict(False, "segment_shorter_than_min", round(max(lengths_s), 3))
    best = max(
        float(np.mean(scores[first : last + 1]))
        for (first, last), length_s in zip(stretches, lengths_s, strict=True)
        if length_s >= config.min_segment_s
    )
    return Verdict(False, "audio_score_below_min", round(best, 4))


def _stretches(scores: np.ndarray, config: SegmentConfig, hop_s: float) -> list[tuple[int, int]]:
    """Give first and last window of each run of piano windows, runs joined over gaps shorter than `max_gap_s`."""
    scores = np.asarray(scores)
    held = np.concatenate([[0], (scores >= min(config.min_held_score, config.min_window_score)).astype(int), [0]])
    starts, ends = (np.flatnonzero(np.diff(held) == step) for step in (1, -1))
    stretches: list[tuple[int, int]] = []
    for first, end in zip(starts.tolist(), ends.tolist(), strict=True):
        if scores[first:end].max() < config.min_window_score:
            continue
        if stretches and (first - stretches[-1][1] - 1) * hop_s < config.max_gap_s:
            stretches[-1] = (stretches[-1][0], end - 1)
        else:
            stretches.append((first, end - 1))
    return stretches
