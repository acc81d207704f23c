"""Align one performance with the score that it is of, or reject it with a number.

Among the candidates the path with the most agreement decides; only along that path are notes matched. Nothing is
searched here (`score_index`) and nothing written (`alignment_files`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aria_data.align.beats import Beat, find_beats
from aria_data.align.note_matches import NoteMatches, match_notes
from aria_data.align.positions import Positions, find_positions
from aria_data.align.score_index import ScoreCandidate
from aria_data.align.scores import Score
from aria_data.midi import Note

MIN_SUPPORT = 0.6  # share of the written notes around a beat that must be matched, for the beat to be sure
WHOLE_SHARE = 0.95  # of the bars, for a performance with first and last bar to be complete


@dataclass(frozen=True)
class AlignConfig:
    """When a score counts as the right one. Thresholds: docs/alignment.md, set on one half of ASAP's pieces."""

    max_candidates: int = 4  # scores tried for a performance, of those its texts name and of those found by notes each
    min_shared: int = 3  # patterns of notes that a candidate found by notes shares
    min_notes: int = 30  # of the performance
    min_agreement: float = (
        0.7  # share of notes that the path explains; of 1 % of the wrong scores 0.65, right ones 0.72
    )
    max_leaps: float = 0.4  # jumps that no repeat sign explains, after the first, of 100 notes; right scores: up to 0.2
    min_score_match: float = 0.6
    min_confidence: float = 0.6


@dataclass(frozen=True, slots=True, eq=False)
class Alignment:
    """A performance along its score."""

    candidate: ScoreCandidate
    path: Positions
    matches: NoteMatches
    beats: tuple[Beat, ...]
    score_match: float  # notes matched, of those played and those written on the path: 2 m / (p + w), 0 to 1
    alignment_confidence: float  # share of beats whose surroundings were matched, 0 to 1
    num_bars: int  # downbeats heard; what is repeated counts again
    first_bar: int  # the lowest number of a bar heard, as the score counts
    last_bar: int  # the highest
    is_complete_piece: bool
    tempo_bpm_median: float  # of the beats that `scores.Score` speaks of

    @property
    def score(self) -> Score:
        return self.candidate.score


@dataclass(frozen=True, slots=True)
class NotAligned:
    """Why a performance has no alignment, with the number that decided."""

    reason: str
    measured: float
    score_id: str = ""  # of the best score tried
    tried: tuple[tuple[str, float], ...] = ()  # (score_id, agreement) of every candidate
    detail: str = ""  # what went wrong, where something did


def align(
    notes: Sequence[Note], candidates: Sequence[ScoreCandidate], config: AlignConfig | None = None
) -> Alignment | NotAligned:
    """Align the notes of a performance with the best of its candidates; notes in any order. Raises nothing for music.

    Reasons for none: `too_few_notes`, `no_candidate`, `too_long`, `agreement_below_min`, `leaps_above_max`,
    `score_match_below_min`, `alignment_confidence_below_min`.
    """
    config = config or AlignConfig()
    played = sorted(note for note in notes if 21 <= note.pitch <= 108)
    if len(played) < config.min_notes:
        return NotAligned("too_few_notes", float(len(played)))
    if not candidates:
        return NotAligned("no_candidate", 0.0)
    pitch = np.array([note.pitch for note in played])
    found = [(each, find_positions(pitch, each.score)) for each in candidates]
    paths = [(each, path) for each, path in found if path is not None and path.stretches]
    if not paths:
        return NotAligned("too_long", float(len(played)), candidates[0].score.score_id)
    tried = tuple((each.score.score_id, round(path.agreement, 4)) for each, path in paths)
    best, path = max(paths, key=lambda pair: _rank(*pair))
    if path.agreement < config.min_agreement:
        return NotAligned("agreement_below_min", path.agreement, best.score.score_id, tried)
    leaps = further_leaps(path, best.score)
    if leaps > config.max_leaps:
        return NotAligned("leaps_above_max", leaps, best.score.score_id, tried)
    made = _along(played, best, path)
    for name, limit in (("score_match", config.min_score_match), ("alignment_confidence", config.min_confidence)):
        if getattr(made, name) < limit:
            return NotAligned(f"{name}_below_min", getattr(made, name), best.score.score_id, tried)
    return made


def _rank(candidate: ScoreCandidate, path: Positions) -> tuple[float, int, bool]:
    """More agreement, to a hundredth, then fewer jumps, then a score with written bars rather than a MIDI file."""
    is_notated = not candidate.score.score_id.lower().endswith((".mid", ".midi"))
    return round(path.agreement, 2), -len(path.stretches), is_notated


def further_leaps(path: Positions, score: Score) -> float:
    """Jumps that no repeat sign explains, of 100 notes. The first is free: a piece may have one cut, however short."""
    num_leaps = 0
    for one, other in zip(path.stretches[:-1], path.stretches[1:], strict=True):
        num_leaps += not (_is_at(one.end, score.leave_at) and _is_at(other.start, score.enter_at))
    return 100.0 * max(num_leaps - 1, 0) / max(len(path.chord), 1)


def _is_at(position: float, signs: np.ndarray) -> bool:
    return bool(np.any(np.abs(signs - position) < 1e-6))


def _along(played: list[Note], best: ScoreCandidate, path: Positions) -> Alignment:
    score, matches = best.score, match_notes(played, best.score, path)
    beats = find_beats(played, score, path, matches)
    written = len(matches.score_note)
    bars = np.concatenate([_bars_of(score, each.start, each.end) for each in path.stretches])
    is_sure = [beat.support >= MIN_SUPPORT for beat in beats]
    return Alignment(
        best,
        path,
        matches,
        tuple(beats),
        2 * matches.num_matched / max(len(played) + written, 1),
        sum(is_sure) / max(len(is_sure), 1),
        sum(beat.is_downbeat for beat in beats),
        int(score.bar_number[bars].min()),
        int(score.bar_number[bars].max()),
        _is_complete(score, path, bars),
        _tempo(beats),
    )


def _bars_of(score: Score, start: float, end: float) -> np.ndarray:
    first, last = score.bar_of(np.array([start, max(start, end - 1e-3)]))
    return np.arange(first, last + 1)


def _is_complete(score: Score, path: Positions, bars: np.ndarray) -> bool:
    """Whether it begins in the first bar, ends in the last one (or at a sign, as da capo does), and lacks no part."""
    last = path.stretches[-1]
    begins = int(bars[0]) == 0 or path.stretches[0].start < _second_downbeat(score)
    ends = int(bars[-1]) == len(score.bar_number) - 1 or (_is_at(last.end, score.leave_at) and len(path.stretches) > 1)
    return bool(begins and ends and len(np.unique(bars)) >= WHOLE_SHARE * len(score.bar_number))


def _second_downbeat(score: Score) -> float:
    downbeats = score.beat[score.is_downbeat]
    return float(downbeats[1]) if len(downbeats) > 1 else score.end


def _tempo(beats: list[Beat]) -> float:
    """Median beats a minute, of neighbours within a stretch; 0 for fewer than two beats."""
    waits = [
        other.time_s - one.time_s
        for one, other in zip(beats[:-1], beats[1:], strict=True)
        if one.stretch == other.stretch
    ]
    return float(60.0 / np.median(waits)) if waits else 0.0
