"""Segments are the stretches of high scores, as a slow and obvious reference finds them too."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aria_data.segment import SegmentConfig, find_segments, verdict

CONFIG = SegmentConfig(
    min_window_score=0.6, min_held_score=0.4, min_segment_score=0.7, min_segment_s=10.0, max_gap_s=3.0
)


def segments_of(scores, config=CONFIG, hop_s=1.0, duration_s=None):
    return find_segments(
        "r", np.array(scores), hop_s, len(scores) * hop_s if duration_s is None else duration_s, config
    )


def reference(scores: list[float], hop_s: float, duration_s: float, config: SegmentConfig) -> list[tuple]:
    """Mark each window of a held run that reaches the limit once, fill each short gap, look at each run of marks."""
    marks = []
    for is_held, run in groupby(scores, key=lambda score: score >= config.min_held_score):
        run = list(run)
        marks += [is_held and max(run) >= config.min_window_score] * len(run)
    first = 0
    for is_marked, group in groupby(list(marks)):
        last = first + len(list(group))
        if not is_marked and first > 0 and last < len(marks) and (last - first) * hop_s < config.max_gap_s:
            marks[first:last] = [True] * (last - first)
        first = last
    found, first = [], 0
    for is_marked, group in groupby(marks):
        last = first + len(list(group))
        start_s, end_s, mean = first * hop_s, min(last * hop_s, duration_s), sum(scores[first:last]) / (last - first)
        if is_marked and end_s - start_s >= config.min_segment_s and mean >= config.min_segment_score:
            found.append((start_s, end_s, pytest.approx(mean, abs=1e-4)))
        first = last
    return found


scores_lists = st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), st.integers(1, 12)), max_size=12).map(
    lambda runs: [score for score, length in runs for _ in range(length)]
)


@given(scores_lists, st.sampled_from([0.5, 1.0]), st.floats(0, 0.499))
def test_segments_are_those_that_a_slow_reference_finds(scores, hop_s, missing):
    duration_s = max(0.0, len(scores) * hop_s - missing)
    found = segments_of(scores, hop_s=hop_s, duration_s=duration_s)
    assert [(s.start_s, s.end_s, s.audio_score) for s in found] == reference(scores, hop_s, duration_s, CONFIG)
    assert [segment.number for segment in found] == list(range(len(found)))


@given(scores_lists, st.floats(0, 0.499))
def test_a_recording_without_segments_has_a_reason_whose_number_misses_the_limit(scores, missing):
    duration_s = max(0.0, len(scores) - missing)
    found = segments_of(scores, duration_s=duration_s)
    said = verdict(found, np.array(scores), 1.0, duration_s, CONFIG)
    assert said.is_kept == bool(found)
    limits = {
        "no_solo_piano": CONFIG.min_window_score,
        "segment_shorter_than_min": CONFIG.min_segment_s,
        "audio_score_below_min": CONFIG.min_segment_score,
    }
    if not said.is_kept:
        assert said.measured < limits[said.reason]


def test_a_short_dip_does_not_split_a_segment():
    assert [(s.start_s, s.end_s) for s in segments_of([0.9] * 10 + [0.1] * 2 + [0.9] * 10)] == [(0, 22)]


def test_piano_once_begun_goes_on_at_a_score_that_would_not_begin_it():
    assert [(s.start_s, s.end_s) for s in segments_of([0.5] * 9 + [0.1] * 4 + [0.9] * 5 + [0.6] * 7)] == [(13, 25)]
    assert [(s.start_s, s.end_s) for s in segments_of([0.5] * 3 + [0.9] * 9 + [0.5] * 3)] == [(0, 15)]
    assert segments_of([0.59] * 30) == []


def test_a_gap_as_long_as_the_limit_splits():
    assert [(s.start_s, s.end_s) for s in segments_of([0.9] * 10 + [0.1] * 3 + [0.9] * 10)] == [(0, 10), (13, 23)]


def test_a_dip_lowers_the_score_of_its_segment():
    (segment,) = segments_of([1.0] * 10 + [0.0] * 2 + [1.0] * 8)
    assert segment.audio_score == 0.9


def test_a_segment_one_window_too_short_is_none_and_says_how_long_it_was():
    assert segments_of([0.9] * 9) == []
    said = verdict([], np.array([0.9] * 9), 1.0, 9.0, CONFIG)
    assert (said.reason, said.measured) == ("segment_shorter_than_min", 9.0)


def test_a_last_window_that_is_not_full_does_not_count_as_full():
    assert segments_of([0.9] * 10, duration_s=9.5) == []
    said = verdict([], np.array([0.9] * 10), 1.0, 9.5, CONFIG)
    assert (said.reason, said.measured) == ("segment_shorter_than_min", 9.5)


def test_a_score_on_the_limit_is_kept():
    assert len(segments_of([0.7] * 10)) == 1
    assert segments_of([0.69] * 10) == []


def test_the_number_of_an_unsure_recording_is_that_of_a_stretch_long_enough():
    scores = [0.65] * 12 + [0.0] * 5 + [1.0] * 3
    assert segments_of(scores) == []
    said = verdict([], np.array(scores), 1.0, 20.0, CONFIG)
    assert (said.reason, said.measured) == ("audio_score_below_min", 0.65)


def test_no_scores_are_no_piano():
    assert segments_of([]) == []
    assert verdict([], np.array([]), 1.0, 0.0, CONFIG).reason == "no_solo_piano"


def test_the_id_of_a_segment_is_its_recording_and_its_number():
    found = segments_of([0.9] * 10 + [0.0] * 5 + [0.9] * 10)
    assert [segment.segment_id for segment in found] == ["r_0", "r_1"]
