"""Segments are where the evidence for piano is best: a slow and simple reference finds the same ones."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from work import num_calls

from aria_data.segment import Scored, SegmentConfig, find_segments
from aria_data.segment.segmentation import best_states, evidence, piano_share, verdict

CONFIG = SegmentConfig(
    min_window_score=0.5,
    min_segment_score=0.7,
    min_segment_s=10.0,
    max_gap_s=3.0,
    local_weight=0.5,
    switch_cost=3.0,
    lead_s=0.0,
    tail_s=0.0,
)
STEP_S = 0.25


def scored(levels: list[float], duration_s: float | None = None, local: list[float] | None = None) -> Scored:
    """A recording with one score a second; the four steps of a second have the same unless others are given."""
    steps = np.repeat(levels, 4) if local is None else np.array(local)
    return Scored(np.array(levels, float), 1.0, steps, STEP_S, len(levels) if duration_s is None else duration_s)


def spans(found) -> list[tuple[float, float]]:
    return [(segment.start_s, segment.end_s) for segment in found]


def value_of(states, gains, switch_cost: float) -> float:
    changes = sum(one != other for one, other in itertools.pairwise(states))
    return sum(gain for gain, is_in in zip(gains, states, strict=True) if is_in) - switch_cost * changes


@given(
    st.lists(st.integers(-8, 8).map(lambda value: value / 2), min_size=1, max_size=10),
    st.sampled_from([0.0, 0.5, 1.0, 3.0, 10.0]),
)
def test_no_sequence_of_states_is_better_than_the_one_found(gains, switch_cost):
    found = best_states(np.array(gains), switch_cost)
    best = max(value_of(states, gains, switch_cost) for states in itertools.product([False, True], repeat=len(gains)))
    assert value_of(found.tolist(), gains, switch_cost) == pytest.approx(best)


def references(recording: Scored, config: SegmentConfig) -> list[list[tuple[float, float]]]:
    """Try all ways to label the seconds; of each of the best: gaps filled, runs kept that are long and sure enough."""
    gains = evidence(recording, config).reshape(-1, 4).sum(axis=1) * STEP_S
    values = {
        way: value_of(way, gains, config.switch_cost) for way in itertools.product([False, True], repeat=len(gains))
    }
    best = max(values.values())
    return [_kept(way, recording, config) for way, value in values.items() if value > best - 1e-9]


def _kept(states: tuple[bool, ...], recording: Scored, config: SegmentConfig) -> list[tuple[float, float]]:
    joined: list[tuple[int, int]] = []
    first = 0
    for is_in, group in itertools.groupby(states):
        last = first + len(list(group))
        if is_in and joined and first - joined[-1][1] < config.max_gap_s:
            joined[-1] = (joined[-1][0], last)
        elif is_in:
            joined.append((first, last))
        first = last
    return [
        (first, last)
        for first, last in joined
        if last - first >= config.min_segment_s and np.mean(recording.scores[first:last]) >= config.min_segment_score
    ]


whole_seconds = st.lists(
    st.tuples(st.sampled_from([0.02, 0.2, 0.45, 0.6, 0.8, 0.97]), st.integers(1, 6)), min_size=1, max_size=4
).map(lambda runs: [score for score, length in runs for _ in range(length)][:12])


@given(whole_seconds, st.floats(0, 4), st.sampled_from([0.0, 2.0, 8.0]))
def test_segments_are_those_that_trying_every_labelling_finds(levels, switch_cost, max_gap_s):
    config = replace(CONFIG, local_weight=1.0, switch_cost=switch_cost, max_gap_s=max_gap_s, min_segment_s=3.0)
    recording = scored(levels)
    assert spans(find_segments("r", recording, config)) in references(recording, config)


@given(
    st.lists(st.floats(0, 1), max_size=40),
    st.floats(0, 0.9),
    st.lists(st.floats(0, 1), min_size=160, max_size=160),
    st.floats(0, 2),
    st.floats(0, 2),
)
def test_segments_are_in_order_apart_inside_and_meet_every_limit(levels, missing, local, lead_s, tail_s):
    duration_s = max(0.0, len(levels) - missing)
    recording = scored(levels, duration_s, local[: int(np.ceil(duration_s / STEP_S))])
    config = replace(CONFIG, lead_s=lead_s, tail_s=tail_s, min_segment_s=2.0, min_segment_score=0.4)
    found = find_segments("r", recording, config)
    edges = [edge for span in spans(found) for edge in span]
    assert edges == sorted(edges)
    assert all(0 <= edge <= duration_s for edge in edges)
    assert [segment.number for segment in found] == list(range(len(found)))
    for segment in found:
        assert segment.end_s - segment.start_s >= config.min_segment_s
        assert segment.audio_score >= config.min_segment_score - 1e-4
    assert 0.0 <= piano_share(recording, config) <= 1.0 + 1e-9


@given(whole_seconds, st.floats(0, 0.499))
def test_a_recording_without_segments_has_a_reason_whose_number_misses_the_limit(levels, missing):
    recording = scored(levels, len(levels) - missing)
    found = find_segments("r", recording, CONFIG)
    judged = verdict(found, recording, CONFIG)
    assert judged.is_kept == bool(found)
    limits = {
        "no_solo_piano": 1.0,
        "segment_shorter_than_min": CONFIG.min_segment_s,
        "audio_score_below_min": CONFIG.min_segment_score,
    }
    if not found:
        assert judged.measured < limits[judged.reason] + 1e-4


def test_a_short_dip_does_not_split_a_segment_and_a_long_one_does():
    short, long = [0.95] * 12 + [0.1] * 1 + [0.95] * 12, [0.95] * 12 + [0.02] * 6 + [0.95] * 12
    assert spans(find_segments("r", scored(short), CONFIG)) == [(0.0, 25.0)]
    assert len(find_segments("r", scored(long), CONFIG)) == 2


def test_a_gap_up_to_the_preset_s_eight_seconds_is_closed():
    levels = [0.95] * 20 + [0.02] * 6 + [0.95] * 20
    preset = replace(CONFIG, max_gap_s=8.0)
    assert spans(find_segments("r", scored(levels), preset)) == [(0.0, 46.0)]


def test_one_sure_second_is_no_piano():
    levels = [0.02] * 10 + [0.99] + [0.02] * 10
    config = replace(CONFIG, min_segment_s=0.5, min_segment_score=0.0)
    assert not find_segments("r", scored(levels), config)
    assert piano_share(scored(levels), config) == 0.0


def test_a_boundary_lies_where_the_steps_change_not_where_the_windows_do():
    """Windows of 5 s change slowly around a boundary at 20.5 s; steps know it to a quarter of a second."""
    windows = [0.98] * 18 + [0.9, 0.75, 0.4, 0.2, 0.08] + [0.02] * 17
    local = [0.97] * 82 + [0.03] * 78
    (segment,) = find_segments("r", scored(windows, local=local), CONFIG)
    assert segment.end_s == pytest.approx(20.5, abs=0.25)


def test_clean_piano_in_a_talky_recital_is_kept_whatever_the_rest_is():
    levels = [0.02] * 200 + [0.97] * 40 + [0.02] * 200
    (segment,) = find_segments("r", scored(levels), CONFIG)
    assert (segment.start_s, segment.end_s) == (200.0, 240.0)
    assert segment.audio_score == pytest.approx(0.97)


def test_padding_keeps_a_little_of_what_is_around_and_never_reaches_the_neighbour():
    levels = [0.02] * 5 + [0.97] * 12 + [0.02] * 4 + [0.97] * 12
    padded = replace(CONFIG, lead_s=0.5, tail_s=9.0)
    assert spans(find_segments("r", scored(levels), padded)) == [(4.5, 19.0), (20.5, 33.0)]


def test_an_empty_recording_has_no_segments_and_says_so():
    nothing = Scored(np.zeros(0), 1.0, np.zeros(0), STEP_S, 0.0)
    assert find_segments("r", nothing, CONFIG) == []
    assert verdict([], nothing, CONFIG).reason == "no_solo_piano"
    assert piano_share(nothing, CONFIG) == 0.0


def test_the_work_for_ten_hours_is_twice_that_for_five():
    def recording(num_hours: int) -> Scored:
        levels = np.tile(np.repeat([0.95, 0.05], 300), 6 * num_hours)
        return Scored(levels, 1.0, np.repeat(levels, 4), STEP_S, float(len(levels)))

    assert len(find_segments("r", recording(10), CONFIG)) == 60
    five, ten = (num_calls(find_segments, "r", recording(hours), CONFIG) for hours in (5, 10))
    assert ten < 2.2 * five
