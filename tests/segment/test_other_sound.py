"""What was taken for a piece but is another sound is left out, where what sounds changes; what is only soft is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from aria_data.segment import Scored, SegmentConfig, find_segments

STEP_S = 0.25
Second = tuple[float, float, float]  # solo, any piano, level
PIANO: Second = (0.95, 0.98, -30.0)
SILENCE: Second = (0.04, 0.04, -85.0)
GUITAR_AND_PIANO: Second = (0.6, 0.95, -30.0)  # what the classifier says of both at one level
HARP: Second = (0.35, 0.8, -31.0)


def scored(*parts: tuple[int, Second, float]) -> Scored:
    """A recording of some seconds of each kind, and how much what sounds changes where each begins."""
    seconds = np.array([kind for length, kind, _ in parts for _ in range(length)])
    local, any_piano, levels = np.repeat(seconds, 4, axis=0).T
    changes, at = np.full(len(local), 0.05), 0
    for length, _, change in parts:
        near = np.arange(max(0, at - 8), min(len(changes), at + 9))
        changes[near] = np.maximum(changes[near], change - 0.1 * np.abs(near - at) * STEP_S / 0.5)
        at += 4 * length
    padded = np.pad(seconds[:, 0], 2, mode="edge")
    windows = np.convolve(padded, np.ones(5) / 5, "valid")  # a score is of the 5 s around its second
    return Scored(windows, 1.0, local, STEP_S, float(len(seconds)), any_piano, levels, changes)


def spans(recording: Scored, **settings: float) -> list[tuple[float, float]]:
    config = replace(SegmentConfig(lead_s=0.0, tail_s=0.0), **settings)
    return [(one.start_s, one.end_s) for one in find_segments("r", recording, config)]


@pytest.mark.parametrize("other", [GUITAR_AND_PIANO, HARP])
@pytest.mark.parametrize("length", [6, 9, 14])
@pytest.mark.parametrize("change", [0.05, 0.6])
def test_what_is_less_surely_piano_than_its_piece_is_left_out_at_both_ends(other, length, change):
    recording = scored((length, other, 0.0), (60, PIANO, change), (length, other, change))
    exact = 0.5 if change > 0.5 else 1.5  # the scores alone do not say it as exactly
    ((start_s, end_s),) = spans(recording)
    assert (start_s, end_s) == (pytest.approx(length, abs=exact), pytest.approx(60 + length, abs=exact))


def test_scores_of_earlier_code_give_the_segments_that_they_gave():
    recording = scored((8, GUITAR_AND_PIANO, 0.0), (60, PIANO, 0.6))
    assert spans(replace(recording, changes=None)) == [(0.0, 68.0)]


@pytest.mark.parametrize("length", [4, 8, 16])
def test_an_opening_that_is_softer_may_be_as_unsure_as_it_likes(length):
    soft = (0.3, 0.7, -42.0)
    recording = scored((10, SILENCE, 0.0), (length, soft, 0.9), (60, PIANO, 0.3), (10, SILENCE, 0.9))
    ((start_s, end_s),) = spans(recording)
    assert (start_s, end_s) == (pytest.approx(10.0, abs=0.5), pytest.approx(70.0 + length, abs=0.5))


@pytest.mark.parametrize("length", [3, 5, 7])
def test_two_pieces_with_another_sound_between_them_are_two(length):
    between = (0.2, 0.8, -31.0)  # a piano may sound in it: no hole that would end a piece
    recording = scored((50, PIANO, 0.0), (length, between, 0.75), (50, PIANO, 0.75))
    first, second = spans(recording)
    assert first == (0.0, pytest.approx(50.0, abs=0.5))
    assert second == (pytest.approx(50.0 + length, abs=0.5), 100.0 + length)


@pytest.mark.parametrize("changes", [(0.5, 0.75), (0.75, 0.5), (0.4, 0.4)])
def test_an_odd_passage_from_which_the_piece_comes_back_is_part_of_it(changes):
    odd = (0.2, 0.8, -31.0)
    assert spans(scored((50, PIANO, 0.0), (4, odd, changes[0]), (50, PIANO, changes[1]))) == [(0.0, 104.0)]


def test_an_unsure_piece_is_compared_with_itself_and_stays_whole():
    """Hammered strings on a bad recording: all of it scores as a guitar with a piano does."""
    assert spans(scored((60, GUITAR_AND_PIANO, 0.0))) == [(0.0, 60.0)]


@pytest.mark.parametrize("late", [1, 2])
def test_a_bound_lies_where_what_sounds_changes_though_the_scores_rise_late(late):
    rising = (0.4, 0.5, -30.0)
    other = (0.02, 0.03, -30.0)
    ((start_s, _),) = spans(scored((20, other, 0.0), (late, rising, 0.9), (60, PIANO, 0.1)))
    assert start_s == pytest.approx(20.0, abs=0.25)


def test_a_last_chord_is_not_cut_off_where_it_changes_while_it_dies_away():
    ring = [(1, (0.2, 0.4, -36.0 - 6.0 * second), 0.6 if second == 3 else 0.1) for second in range(5)]
    ((_, end_s),) = spans(scored((50, PIANO, 0.0), *ring, (10, SILENCE, 0.2)))
    assert end_s == pytest.approx(55.0, abs=1.0)
