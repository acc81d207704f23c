"""Decision rules of published systems, applied to our window scores. For evaluations only; no build uses them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aria_data.segment import Scored
from aria_data.segment.accuracy import Span


@dataclass(frozen=True)
class AriaRule:
    """Aria-MIDI's rule as published (aria-cl): a threshold for the whole file, then runs of windows above a limit."""

    min_window_score: float = 0.6
    max_gap_s: float = 8.0
    min_file_score: float = 0.6  # mean over the *whole file*
    min_segment_s: float = 45.0


def aria_segments(scored: Scored, rule: AriaRule) -> list[Span]:
    """Give the segments by Aria-MIDI's rule, (start_s, end_s)."""
    if not len(scored.scores) or float(np.mean(scored.scores)) < rule.min_file_score:
        return []
    spans: list[Span] = []
    for index in np.flatnonzero(scored.scores > rule.min_window_score).tolist():
        start_s, end_s = index * scored.hop_s, min((index + 1) * scored.hop_s, scored.duration_s)
        if spans and start_s - spans[-1][1] < rule.max_gap_s:
            spans[-1] = (spans[-1][0], end_s)
        else:
            spans.append((start_s, end_s))
    return [span for span in spans if span[1] - span[0] >= rule.min_segment_s]


def giantmidi_segments(scored: Scored, min_file_score: float = 0.5) -> list[Span]:
    """Give the whole file or nothing: GiantMIDI-Piano keeps a file whose mean score reaches `min_file_score`."""
    if not len(scored.scores) or float(np.mean(scored.scores)) < min_file_score:
        return []
    return [(0.0, scored.duration_s)]
