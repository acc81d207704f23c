"""Align segments with scores: which score, which bars, when each beat was played. An extra: `aria-data[align]`.

In: the notes of a MIDI file, a folder of scores (MusicXML, MIDI, Humdrum, MEI), the composition that tags name.
Out: `Alignment`s with beats, bars and matched notes; a judgement of the tags.
Rejects with `too_few_notes`, `no_candidate`, `too_long`, `agreement_below_min`, `leaps_above_max`,
`score_match_below_min`, `alignment_confidence_below_min`, each with its number. Scores: `score_unreadable`.

`score_files` and `notation` read scores by partitura, `score_cache` a folder of them; `score_index` finds candidates.
`positions` finds the way through a score, `note_matches` the notes along it by parangonar, `beats` their times;
`alignment` decides. `compositions` compares with the tags, `alignment_files` writes. Where no score is, there are no
beats: docs/alignment.md says why.
"""

from aria_data.align.alignment import AlignConfig, Alignment, NotAligned, align
from aria_data.align.compositions import CompositionCheck, check_composition
from aria_data.align.score_cache import read_scores
from aria_data.align.score_files import ScoreUnreadable, read_score, require_partitura
from aria_data.align.score_index import ScoreCandidate, ScoreIndex
from aria_data.align.scores import Score

__all__ = [
    "AlignConfig",
    "Alignment",
    "CompositionCheck",
    "NotAligned",
    "Score",
    "ScoreCandidate",
    "ScoreIndex",
    "ScoreUnreadable",
    "align",
    "check_composition",
    "read_score",
    "read_scores",
    "require_partitura",
]
