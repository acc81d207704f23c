"""How far two transcriptions of the same sound agree, in every 5 s. A measure; nothing is decided here."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import numpy as np

from aria_data.midi import Note, Performance
from aria_data.midi.matching import match_notes

SPAN_S = 5.0
MIN_NOTES = 8  # of both transcriptions together: a span with fewer is not the one where they disagree most


def agreement_per_span(first: Performance, second: Performance, duration_s: float) -> list[float]:
    """Give the onset F1 of two transcriptions in every `SPAN_S`, 0 to 1; NaN where neither has a note.

    A matched note counts where the first has it. The last span may be shorter.
    """
    return _f1s(*_counts(first, second, duration_s))


def lowest_agreement(first: Performance, second: Performance, duration_s: float) -> tuple[float, float]:
    """Give the lowest of these, of spans with `MIN_NOTES` notes, and where it begins in seconds; NaN without one."""
    num_matched, num_notes = _counts(first, second, duration_s)
    found = [(f1, place) for place, f1 in enumerate(_f1s(num_matched, num_notes)) if num_notes[place] >= MIN_NOTES]
    f1, place = min(found, default=(math.nan, math.nan))
    return f1, place * SPAN_S


def as_text(agreements: Sequence[float]) -> str:
    """The same as rows have it: a JSON array, null for NaN."""
    return json.dumps([None if math.isnan(each) else round(each, 3) for each in agreements])


def _counts(first: Performance, second: Performance, duration_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Matched pairs, and notes of both sides, of every span."""
    pairs = match_notes(first.notes, second.notes)
    num_spans = max(1, math.ceil(duration_s / SPAN_S))
    matched = _histogram([first.notes[left] for left, _ in pairs], num_spans)
    theirs = {right for _, right in pairs}
    only_theirs = [note for place, note in enumerate(second.notes) if place not in theirs]
    return matched, matched + _histogram(first.notes, num_spans) + _histogram(only_theirs, num_spans)


def _histogram(notes: Sequence[Note], num_spans: int) -> np.ndarray:
    places = np.array([int(note.onset_s / SPAN_S) for note in notes], dtype=int)
    return np.bincount(np.clip(places, 0, num_spans - 1), minlength=num_spans)


def _f1s(num_matched: np.ndarray, num_notes: np.ndarray) -> list[float]:
    return [2 * both / notes if notes else math.nan for both, notes in zip(num_matched, num_notes, strict=True)]
