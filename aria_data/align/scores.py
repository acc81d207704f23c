"""A score as the alignment needs it: notes, bars, beats, repeat signs, placed in quarter notes. Reads no file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, eq=False)
class Score:
    """One score as written, not unfolded. Positions are quarter notes from its beginning.

    Notes are sorted by onset, then pitch. A beat is what ASAP calls so: the denominator of the time signature, three of
    them where the numerator is 6, 9, 12, ...
    """

    score_id: str  # the file's path below the folder of scores
    sha256: str
    title: str
    composer: str
    composition_id: str  # by the rules of `annotate`, "" where the texts name no work
    onset: np.ndarray  # float64
    duration: np.ndarray  # float64; 0 of grace notes
    pitch: np.ndarray  # uint8
    is_grace: np.ndarray  # bool
    note_ids: tuple[str, ...]
    bar_start: np.ndarray  # float64; the last value is the end of the last bar
    bar_number: np.ndarray  # int64, as the score counts; one fewer than `bar_start`
    beat: np.ndarray  # float64
    is_downbeat: np.ndarray  # bool
    signature: tuple[str, ...]  # of each beat, "3/4,-2": time signature and number of sharps
    leave_at: np.ndarray  # float64: where a player may leave for another place: ends of repeats, first endings, ...
    enter_at: np.ndarray  # float64: where he may go on

    @property
    def end(self) -> float:
        return float(self.bar_start[-1])

    def bar_of(self, position: np.ndarray) -> np.ndarray:
        """The place in `bar_number` of the bar that holds each position."""
        found = np.searchsorted(self.bar_start, np.asarray(position) + 1e-6, "right") - 1
        return np.clip(found, 0, len(self.bar_number) - 1)
