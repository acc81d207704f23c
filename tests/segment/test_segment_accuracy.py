"""Fit of segments, and the published rules beside ours."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aria_data.segment import Scored
from aria_data.segment.accuracy import fit_of_seconds, fit_of_segments
from flows.evaluate.published_rules import AriaRule, aria_segments, giantmidi_segments


def scored(levels: list[float]) -> Scored:
    return Scored(np.array(levels), 1.0, np.repeat(levels, 4), 0.25, float(len(levels)))


def test_a_segment_s_fit_is_that_of_its_best_match():
    (first, second, third) = fit_of_segments([(0, 10), (20, 30), (50, 60)], [(1, 11), (19, 30), (56, 60), (29, 35)])
    assert (first.iou, first.start_error_s, first.end_error_s) == (pytest.approx(9 / 11), 1, 1)
    assert (second.iou, second.start_error_s, second.end_error_s) == (pytest.approx(10 / 11), -1, 0)
    assert (third.iou, third.start_error_s) == (pytest.approx(0.4), None)  # too little of it to compare boundaries
    assert fit_of_segments([(0, 10)], [])[0].iou == 0.0


cuts = st.lists(st.integers(0, 40), min_size=0, max_size=8, unique=True).map(
    lambda values: list(zip(sorted(values)[::2], sorted(values)[1::2], strict=False))
)


@given(cuts, cuts)
def test_seconds_are_counted_as_a_list_of_them_counts(true, found):
    is_true, is_found = ({second for start, end in spans for second in range(start, end)} for spans in (true, found))
    fit = fit_of_seconds(true, found)
    assert (fit.found_s, fit.missed_s, fit.false_s) == (
        len(is_true & is_found),
        len(is_true - is_found),
        len(is_found - is_true),
    )
    if is_true | is_found:
        assert fit.iou == pytest.approx(len(is_true & is_found) / len(is_true | is_found))


def test_the_aria_rule_closes_gaps_below_eight_seconds_and_judges_the_whole_file():
    rule = AriaRule(min_segment_s=10.0)
    assert aria_segments(scored([0.9] * 20 + [0.1] * 7 + [0.9] * 20), rule) == [(0.0, 47.0)]
    assert aria_segments(scored([0.9] * 20 + [0.5] * 8 + [0.9] * 20), rule) == [(0.0, 20.0), (28.0, 48.0)]
    assert aria_segments(scored([0.9] * 9), rule) == []
    talky = [0.05] * 60 + [0.95] * 60
    assert aria_segments(scored(talky), rule) == []  # the published fault: clean piano inside a talky recital


def test_the_giantmidi_rule_keeps_all_of_a_file_or_nothing():
    assert giantmidi_segments(scored([0.05] * 50 + [0.99] * 60)) == [(0.0, 110.0)]
    assert giantmidi_segments(scored([0.05] * 70 + [0.99] * 60)) == []
    assert giantmidi_segments(Scored(np.zeros(0), 1.0, np.zeros(0), 0.25, 0.0)) == []
