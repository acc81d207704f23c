"""Pieces are followed to their ends: soft openings, odd passages and last chords belong to them, other sound not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from aria_data.segment import Scored, SegmentConfig, find_segments

STEP_S = 0.25
PIANO = (0.95, 0.98, -30.0)  # solo, any piano, level: of one second
SOFT = (0.15, 0.6, -48.0)  # what the classifier says of a soft opening: a piano perhaps, and perhaps not alone
OTHER = (0.02, 0.05, -28.0)
ACCOMPANIED = (0.03, 0.85, -28.0)
SILENCE = (0.04, 0.04, -85.0)


def scored(*parts: tuple[int, tuple[float, float, float]]) -> Scored:
    """A recording of some seconds of each kind."""
    seconds = np.array([kind for length, kind in parts for _ in range(length)])
    local, any_piano, levels = np.repeat(seconds, 4, axis=0).T
    return Scored(seconds[:, 0], 1.0, local, STEP_S, float(len(seconds)), any_piano, levels)


def spans(recording: Scored, **settings: float) -> list[tuple[float, float]]:
    config = replace(SegmentConfig(lead_s=0.0, tail_s=0.0), **settings)
    return [(one.start_s, one.end_s) for one in find_segments("r", recording, config)]


@pytest.mark.parametrize("length", [3, 6, 10, 20])
@pytest.mark.parametrize("before", [SILENCE, OTHER])
def test_a_soft_opening_belongs_to_its_piece(before, length):
    recording = scored((15, before), (length, SOFT), (60, PIANO), (10, SILENCE))
    ((start_s, end_s),) = spans(recording)
    assert start_s == pytest.approx(15.0, abs=1.0)
    assert end_s == pytest.approx(75.0 + length, abs=1.0)
    ((start_s, _),) = spans(replace(recording, levels_db=None))
    assert start_s > 14.0 + length  # what was found before


@pytest.mark.parametrize("other", [OTHER, ACCOMPANIED])
def test_other_sound_around_a_piece_stays_outside(other):
    ((start_s, end_s),) = spans(scored((20, other), (60, PIANO), (20, other)))
    assert (start_s, end_s) == (pytest.approx(20.0, abs=0.5), pytest.approx(80.0, abs=0.5))


@pytest.mark.parametrize("length", [3, 5, 7])
def test_a_passage_in_which_a_piano_goes_on_does_not_split_a_piece(length):
    odd = scored((40, PIANO), (length, (0.12, 0.5, -32.0)), (40, PIANO))
    assert spans(odd) == [(0.0, 80.0 + length)]
    assert len(spans(replace(odd, levels_db=None))) == 2


@pytest.mark.parametrize("between", [OTHER, ACCOMPANIED, SILENCE])
def test_pieces_with_something_else_or_silence_between_them_stay_apart(between):
    assert len(spans(scored((10, SILENCE), (40, PIANO), (5, between), (40, PIANO), (10, SILENCE)))) == 2


def test_a_chord_that_rings_into_a_silence_does_not_bring_two_pieces_together():
    ring = [(1, (0.2, 0.25, -32.0 - 8.0 * second)) for second in range(3)]
    first, second = spans(scored((40, PIANO), *ring, (2, SILENCE), (40, PIANO)), max_gap_s=2.5)
    assert (first[1], second[0]) == (pytest.approx(43.0, abs=0.5), pytest.approx(45.0, abs=0.5))


def test_a_last_chord_is_kept_until_it_has_died_away_and_applause_is_not():
    ring = [(0.2, 0.25, -32.0 - 6.0 * second) for second in range(7)]
    whole = scored((50, PIANO), *((1, each) for each in ring), (20, SILENCE))
    ((_, end_s),) = spans(whole)
    assert end_s == pytest.approx(57.0, abs=1.0)
    applauded = scored((50, PIANO), *((1, each) for each in ring[:4]), (20, OTHER))
    ((_, end_s),) = spans(applauded)
    assert end_s == pytest.approx(54.0, abs=1.0)


def test_what_was_taken_in_costs_no_piece_its_place():
    """Judged by its mean score, the whole of it would be too unsure; its longest run is sure enough."""
    ((start_s, end_s),) = spans(scored((10, SILENCE), (20, SOFT), (31, PIANO), (10, SILENCE)))
    assert (start_s, end_s) == (pytest.approx(10.0, abs=1.0), pytest.approx(61.0, abs=1.0))


def test_scores_without_levels_give_the_segments_that_they_always_gave():
    recording = scored((10, SILENCE), (8, SOFT), (60, PIANO), (8, OTHER))
    before = Scored(recording.scores, 1.0, recording.local_scores, STEP_S, recording.duration_s)
    assert spans(before) == spans(recording, max_edge_s=0.0, max_hole_s=0.0)
