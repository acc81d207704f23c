"""What notes that match a score say of the composition: do they agree with the tags, and what do they propose?"""

from __future__ import annotations

from dataclasses import dataclass

from aria_data.align.alignment import Alignment, NotAligned
from aria_data.align.score_index import ScoreIndex

SURELY_OTHER = 0.6  # agreement below which the notes are not those of a score; those of right ones begin at 0.75


@dataclass(frozen=True, slots=True)
class CompositionCheck:
    """The judgement of a composition tag by the notes."""

    composition_agrees: bool | None  # None: nothing to compare, or the notes do not say
    proposed_composition: str = ""  # where tags are missing or contradicted
    evidence: str = ""  # one line for a person


def check_composition(tagged: str, found: Alignment | NotAligned, index: ScoreIndex) -> CompositionCheck:
    """Compare the tag, a `composition_id` or "", with what was aligned."""
    if isinstance(found, NotAligned):
        return _against_tag(tagged, found, index)
    score, num_played = found.score, len(found.path.chord)
    evidence = (
        f"{found.matches.num_matched} of {num_played} notes are those of {score.score_id} "
        f"(score_match {found.score_match:.2f}, alignment_confidence {found.alignment_confidence:.2f})"
    )
    if not score.composition_id:
        return CompositionCheck(None, "", evidence)
    if not tagged:
        return CompositionCheck(None, score.composition_id, evidence)
    if is_part_of(tagged, score.composition_id) or is_part_of(score.composition_id, tagged):
        return CompositionCheck(True, "", evidence)
    return CompositionCheck(False, score.composition_id, evidence)


def _against_tag(tagged: str, found: NotAligned, index: ScoreIndex) -> CompositionCheck:
    """A tag whose own score was tried is contradicted when the notes are surely others."""
    own = {score.score_id for score in index.of_composition(tagged)} if tagged else set()
    tried = [(score_id, agreement) for score_id, agreement in found.tried if score_id in own]
    if not tried or max(agreement for _, agreement in tried) >= SURELY_OTHER:
        return CompositionCheck(None)
    score_id, agreement = max(tried, key=lambda pair: pair[1])
    evidence = f"{agreement:.0%} of the notes lie on a path through {score_id}, as of a score of something else"
    return CompositionCheck(False, "", evidence)


def is_part_of(one: str, other: str) -> bool:
    """Whether one composition is the other or a part of it: `beethoven:op27-2:3` is one of `beethoven:op27-2`."""
    return one == other or one.startswith((f"{other}:", f"{other}-"))
