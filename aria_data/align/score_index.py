"""Scores by the composition they are of, and by their notes: which of them may a performance be of?

The patterns of notes are those of `deduplicate.note_patterns`, with a note's place in the order of notes instead of its
time: so tempo and rubato do not count. A performance's patterns are looked up in those of all scores together, so the
work grows with the number of performances, not with that of pairs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aria_data.align.scores import Score
from aria_data.deduplicate import NoteIndexConfig, Notes
from aria_data.deduplicate.note_patterns import find_patterns

BY_ORDER = NoteIndexConfig(min_step_s=0.003, max_step_s=0.024, ratio_bins=1, bins_per_octave=0)  # 3 to 24 notes on
MAX_SCORES_OF_PATTERN = 100  # a pattern of more scores says nothing
BATCH_SCORES = 100


@dataclass(frozen=True, slots=True)
class ScoreCandidate:
    """A score that a performance may be of, and why."""

    score: Score
    num_shared: int  # patterns of notes
    is_named: bool  # the performance's texts name the score's composition


class ScoreIndex:
    """Scores by composition and by patterns of notes. 1,000 scores of 3,000 notes take about 10 MB."""

    def __init__(self, scores: Sequence[Score]):
        self.scores = list(scores)
        self._by_composition: dict[str, list[int]] = defaultdict(list)
        for number, score in enumerate(self.scores):
            if score.composition_id:
                self._by_composition[score.composition_id].append(number)
        parts = []
        for first in range(0, len(self.scores), BATCH_SCORES):
            batch = [_in_order(each.pitch) for each in self.scores[first : first + BATCH_SCORES]]
            for number, found in enumerate(find_patterns(batch, BY_ORDER), first):
                hashes = np.unique(found.hash)
                parts.append((hashes, np.full(len(hashes), number, np.int32)))
        hashes, owner = (np.concatenate(column) for column in zip(*parts, strict=True)) if parts else (_NONE, _NONE)
        order = np.argsort(hashes, kind="stable")
        self._hash, self._owner = hashes[order], owner[order]

    def __len__(self) -> int:
        return len(self.scores)

    def of_composition(self, composition_id: str) -> list[Score]:
        """The scores of exactly this composition."""
        return [self.scores[number] for number in self._by_composition.get(composition_id, ())]

    def candidates(
        self, pitch: np.ndarray, composition_id: str = "", limit: int = 4, min_shared: int = 3
    ) -> list[ScoreCandidate]:
        """Give the scores that a performance may be of: first those its texts name, then those that share most.

        `pitch` is of its notes in order of onset. At most `limit` scores of each kind.
        """
        shared = self._count_shared(pitch)
        named = sorted(self._by_composition.get(composition_id, ()), key=lambda number: (-shared[number], number))
        alike = [int(number) for number in np.lexsort((np.arange(len(shared)), -shared))]
        alike = [number for number in alike if shared[number] >= min_shared and number not in named]
        chosen = [*named[:limit], *alike[:limit]]
        return [ScoreCandidate(self.scores[each], int(shared[each]), each in named) for each in chosen]

    def _count_shared(self, pitch: np.ndarray) -> np.ndarray:
        """How many different patterns the performance shares with each score."""
        hashes = np.unique(find_patterns([_in_order(pitch)], BY_ORDER)[0].hash) if len(pitch) else _NONE
        low, high = np.searchsorted(self._hash, hashes), np.searchsorted(self._hash, hashes, "right")
        is_telling = high - low <= MAX_SCORES_OF_PATTERN
        low, high = low[is_telling], high[is_telling]
        places = np.repeat(high - np.cumsum(high - low), high - low) + np.arange(np.sum(high - low))
        return np.bincount(self._owner[places], minlength=len(self.scores))


_NONE = np.zeros(0, np.uint64)


def _in_order(pitch: np.ndarray) -> Notes:
    return Notes(np.arange(len(pitch), dtype=np.uint32), np.asarray(pitch, np.uint8))
