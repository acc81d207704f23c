"""What is kept of an alignment in a table: one flat record. Its beats and notes are in files (`alignment_files`)."""

from __future__ import annotations

from aria_data.align.alignment import Alignment, NotAligned
from aria_data.align.compositions import CompositionCheck
from aria_data.records import SegmentAlignment


def summary_of(
    segment_id: str,
    midi_sha256: str,
    found: Alignment | NotAligned,
    check: CompositionCheck,
    paths: tuple[str, str] = ("", ""),
    tagged: str = "",
) -> SegmentAlignment:
    """Give the record of one segment. `paths` are of its two files, `tagged` is what `check` judged."""
    judged = check.composition_agrees, check.proposed_composition, check.evidence
    if isinstance(found, NotAligned):
        nothing = (None,) * 9
        return SegmentAlignment(
            segment_id,
            midi_sha256,
            found.reason,
            round(found.measured, 6),
            found.score_id,
            "",
            *nothing,
            *judged,
            "",
            "",
            tagged,
        )
    return SegmentAlignment(
        segment_id,
        midi_sha256,
        "",
        None,
        found.score.score_id,
        found.score.sha256,
        round(found.score_match, 4),
        round(found.alignment_confidence, 4),
        found.num_bars,
        found.first_bar,
        found.last_bar,
        found.is_complete_piece,
        round(found.tempo_bpm_median, 3),
        len(found.beats),
        len(found.path.stretches) - 1,
        *judged,
        *paths,
        tagged,
    )
