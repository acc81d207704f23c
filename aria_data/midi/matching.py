"""Match notes one to one, as mir_eval does, in pieces: its matrices grow with the square of the number of notes.

Notes of different pitch never match, nor do notes further apart than the tolerance. Matching each pitch by itself, in
pieces that are cut where no two notes are near, therefore gives what matching all at once gives.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from aria_data.midi.midi_files import Note

ONSET_TOLERANCE_S = 0.05  # MIREX note tracking
OFFSET_RATIO = 0.2  # an offset may be off by 20 % of the note's length, or by 50 ms, whichever is more
MAX_PIECE = 200  # notes of both sides together that are matched at once, unless they are all near each other


def match_notes(
    reference: Sequence[Note], estimate: Sequence[Note], offset_ratio: float | None = None
) -> list[tuple[int, int]]:
    """Give pairs (index in `reference`, index in `estimate`) of notes that match: same pitch and onsets within 50 ms.

    With `offset_ratio`, offsets must agree as well, within this share of the note's length or 50 ms.
    """
    from mir_eval.transcription import match_notes as match

    pairs: list[tuple[int, int]] = []
    for left, right in _pieces(reference, estimate):
        found = match(
            *_arrays([reference[index] for index in left]),
            *_arrays([estimate[index] for index in right]),
            onset_tolerance=ONSET_TOLERANCE_S,
            offset_ratio=offset_ratio,
        )
        pairs += [(left[one], right[other]) for one, other in found]
    return sorted(pairs)


def precision_recall_f1(num_matched: int, num_reference: int, num_estimate: int) -> tuple[float, float, float]:
    """Give precision, recall and F1, each 0 to 1; 0 where there is nothing to count."""
    precision = num_matched / num_estimate if num_estimate else 0.0
    recall = num_matched / num_reference if num_reference else 0.0
    return precision, recall, 2 * precision * recall / (precision + recall) if num_matched else 0.0


def _pieces(reference: Sequence[Note], estimate: Sequence[Note]) -> Iterator[tuple[list[int], list[int]]]:
    """Yield the indices of notes of one pitch, of both sides, that may match each other."""
    by_pitch: dict[int, list[tuple[float, int, int]]] = defaultdict(list)
    for side, notes in enumerate((reference, estimate)):
        for index, note in enumerate(notes):
            by_pitch[note.pitch].append((note.onset_s, side, index))
    for events in by_pitch.values():
        piece: tuple[list[int], list[int]] = ([], [])
        before = -np.inf
        for onset_s, side, index in sorted(events):
            if len(piece[0]) + len(piece[1]) >= MAX_PIECE and onset_s - before > 2 * ONSET_TOLERANCE_S:
                if piece[0] and piece[1]:
                    yield piece
                piece = ([], [])
            piece[side].append(index)
            before = onset_s
        if piece[0] and piece[1]:
            yield piece


def _arrays(notes: Sequence[Note]) -> tuple[np.ndarray, np.ndarray]:
    intervals = np.array([(note.onset_s, max(note.offset_s, note.onset_s + 1e-4)) for note in notes]).reshape(-1, 2)
    hertz = 440.0 * 2.0 ** ((np.array([note.pitch for note in notes], dtype=float) - 69) / 12)
    return intervals, hertz
