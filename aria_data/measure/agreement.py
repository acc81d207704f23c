"""How far two transcriptions of the same sound agree, in every 5 s and in every bar. Measures; nothing is decided here.

What they disagree on is kept as onsets, `disagreements_of`, because bars are known later, when a score is found.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import numpy as np

from aria_data.midi import Note, Performance
from aria_data.midi.matching import match_notes

SPAN_S = 5.0
CHORD_S = 0.05  # as far apart onsets of the two may be (mir_eval), and about as far those of a chord are
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


def disagreements_of(first: Performance, second: Performance) -> str:
    """Give the onsets, in seconds, of notes that only one of the two has, as the JSON object that rows have."""
    pairs = match_notes(first.notes, second.notes)
    found = {}
    for name, notes, matched in (
        ("only_first", first.notes, {left for left, _ in pairs}),
        ("only_second", second.notes, {right for _, right in pairs}),
    ):
        found[name] = sorted(round(note.onset_s, 3) for place, note in enumerate(notes) if place not in matched)
    return json.dumps(found)


def agreement_per_bar(
    downbeats_s: Sequence[float], onsets_s: Sequence[float], disagreements: str
) -> tuple[list[float], int | None]:
    """Give the onset F1 of every bar, and the place of the lowest in that list; None where no bar has `MIN_NOTES`.

    A bar reaches from `CHORD_S` before its downbeat, so that the chord there is whole, to the next; the last one to the
    end. `onsets_s` are those of the first transcription; NaN where neither has a note.
    """
    only = json.loads(disagreements)
    first, only_first, only_second = (
        _per_bar(downbeats_s, onsets) for onsets in (onsets_s, only["only_first"], only["only_second"])
    )
    num_matched = np.maximum(first - only_first, 0)
    num_notes = 2 * num_matched + only_first + only_second
    f1s = _f1s(num_matched, num_notes)
    found = [(f1, place) for place, f1 in enumerate(f1s) if num_notes[place] >= MIN_NOTES]
    return f1s, min(found)[1] if found else None


def _per_bar(downbeats_s: Sequence[float], onsets_s: Sequence[float]) -> np.ndarray:
    places = np.searchsorted(np.asarray(downbeats_s) - CHORD_S, np.asarray(onsets_s, dtype=float), side="right")
    return np.bincount(places, minlength=len(downbeats_s) + 1)[1:]  # the first number is of what comes before a bar


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
