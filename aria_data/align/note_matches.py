"""Which note of the performance plays which note of the score, by parangonar along a path that is known.

parangonar's DualDTWNoteMatcher (Peter, Online Symbolic Alignment, ISMIR 2023) takes a score as it is played, in one
piece. So the score is unrolled along the path, and both are cut where the path is sure: what it costs grows with the
square of the notes.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from aria_data.align.positions import Positions, Stretch, chords_of
from aria_data.align.scores import Score
from aria_data.midi import Note

PIECE_NOTES = 150  # so long a piece of a performance is matched at once, up to twice as long where no cut is sure
MAX_PIECE_NOTES = 600
_SCORE_FIELDS = [
    ("onset_beat", "f8"), ("duration_beat", "f8"), ("pitch", "i4"), ("id", "U32"), ("is_grace", "?"),
]  # fmt: skip
_PERFORMED_FIELDS = [
    ("onset_sec", "f8"), ("duration_sec", "f8"), ("pitch", "i4"), ("velocity", "i4"), ("id", "U32"),
]  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class NoteMatches:
    """The score unrolled along the path, a row a note, and the note of the performance that plays each."""

    score_note: np.ndarray  # int64: the place in the score's arrays; a note that is repeated occurs more than once
    stretch: np.ndarray  # int64: the place in the path's stretches
    played_note: np.ndarray  # int64: the place in the performance's notes; -1: not played

    @property
    def num_matched(self) -> int:
        return int(np.sum(self.played_note >= 0))


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of a stretch that is matched at once; ends are not included."""

    first_note: int
    last_note: int
    first_chord: int
    last_chord: int


def match_notes(notes: list[Note], score: Score, path: Positions) -> NoteMatches:
    """Match notes in order of onset. Raises nothing for music: a piece that parangonar cannot take has no matches."""
    onsets, chord_of = chords_of(score)
    first_of_chord = np.searchsorted(chord_of, np.arange(len(onsets) + 1))
    columns: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for number, stretch in enumerate(path.stretches):
        for piece in _pieces(notes, stretch, path):
            written = np.arange(first_of_chord[piece.first_chord], first_of_chord[piece.last_chord])
            played = _match_piece(notes, range(piece.first_note, piece.last_note), score, written)
            columns.append((written, np.full(len(written), number), played))
    if not columns:
        empty = np.zeros(0, np.int64)
        return NoteMatches(empty, empty, empty)
    return NoteMatches(*(np.concatenate(column) for column in zip(*columns, strict=True)))


def _pieces(notes: list[Note], stretch: Stretch, path: Positions) -> Iterator[_Piece]:
    """Cut a stretch where the path goes on from one matched chord to the next, at the longest wait near by."""
    first, chord = stretch.first_note, stretch.first_chord
    sure = _sure_cuts(stretch, path)
    while stretch.last_note - first > 2 * PIECE_NOTES:
        near = sure[(sure >= first + PIECE_NOTES // 2) & (sure <= first + 2 * PIECE_NOTES)]
        near = near if len(near) else sure[sure > first + PIECE_NOTES // 2][:1]
        if not len(near) or near[0] - first > MAX_PIECE_NOTES:
            break
        waits = [notes[cut].onset_s - notes[cut - 1].onset_s for cut in near]
        cut = int(near[int(np.argmax(waits))])
        yield _Piece(first, cut, chord, int(path.chord[cut]))
        first, chord = cut, int(path.chord[cut])
    yield _Piece(first, stretch.last_note, chord, stretch.last_chord)


def _sure_cuts(stretch: Stretch, path: Positions) -> np.ndarray:
    """The notes before which the stretch may be cut: matched, first of their chord, with matched notes around."""
    inside = np.arange(stretch.first_note + 2, stretch.last_note - 2)
    is_sure = path.chord[inside] > path.chord[inside - 1]
    for beside in (-2, -1, 0, 1):
        is_sure &= path.is_match[inside + beside]
    return inside[is_sure]


def _match_piece(notes: list[Note], played: range, score: Score, written: np.ndarray) -> np.ndarray:
    """The note of the performance for each written note of the piece, -1 for none."""
    found = np.full(len(written), -1, np.int64)
    for pair in _aligned(_score_array(score, written), _performed_array(notes, played)):
        if pair["label"] == "match":
            found[int(pair["score_id"])] = played[int(pair["performance_id"])]
    return found


def _aligned(written: np.ndarray, performed: np.ndarray) -> list[dict[str, Any]]:
    from parangonar import DualDTWNoteMatcher

    if len(np.unique(written["onset_beat"][~written["is_grace"]])) < 2 or len(performed) < 2:
        return _by_order(written, performed)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return DualDTWNoteMatcher()(written, performed)
    except (ValueError, IndexError, KeyError, ZeroDivisionError, FloatingPointError):  # of very few or equal notes
        return _by_order(written, performed)


def _by_order(written: np.ndarray, performed: np.ndarray) -> list[dict[str, Any]]:
    """Match the notes of each pitch in their order: for pieces of one chord, which is no music to align."""
    pairs: list[dict[str, Any]] = []
    for pitch in np.unique(written["pitch"]):
        both = (each["id"][each["pitch"] == pitch] for each in (written, performed))
        pairs += [
            {"label": "match", "score_id": one, "performance_id": other} for one, other in zip(*both, strict=False)
        ]
    return pairs


def _score_array(score: Score, written: np.ndarray) -> np.ndarray:
    found = np.zeros(len(written), _SCORE_FIELDS)
    found["onset_beat"], found["duration_beat"] = score.onset[written], score.duration[written]
    found["pitch"], found["is_grace"] = score.pitch[written], score.is_grace[written]
    found["id"] = np.arange(len(written)).astype(str)
    return found


def _performed_array(notes: list[Note], played: range) -> np.ndarray:
    found = np.zeros(len(played), _PERFORMED_FIELDS)
    found["onset_sec"] = [notes[index].onset_s for index in played]
    found["duration_sec"] = [notes[index].offset_s - notes[index].onset_s for index in played]
    found["pitch"] = [notes[index].pitch for index in played]
    found["velocity"] = [notes[index].velocity for index in played]
    found["id"] = np.arange(len(played)).astype(str)
    return found
