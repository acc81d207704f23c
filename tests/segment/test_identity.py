"""A number belongs to music, not to a place in a list."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aria_data.records import Segment
from aria_data.segment.identity import TOLERANCE_S, NumberedSpan, number_segments, without_spans


def found(*spans: tuple[float, float]) -> list[Segment]:
    return [Segment("r", place, start_s, end_s, 0.9) for place, (start_s, end_s) in enumerate(spans)]


def known(*spans: tuple[int, float, float]) -> list[NumberedSpan]:
    return [NumberedSpan("r", *span) for span in spans]


def numbers(segments: list[Segment]) -> dict[int, tuple[float, float]]:
    return {segment.number: (segment.start_s, segment.end_s) for segment in segments}


def test_a_new_recording_is_numbered_in_order_of_time():
    assert numbers(number_segments(found((0, 10), (20, 30)), [])) == {0: (0, 10), 1: (20, 30)}


def test_another_cut_of_the_same_music_keeps_its_number_and_new_music_gets_a_new_one():
    before = known((0, 10, 70), (1, 80, 140))
    after = number_segments(found((2, 6), (9, 72), (80, 138), (150, 200)), before)
    assert numbers(after) == {0: (9, 72), 1: (80, 138), 2: (2, 6), 3: (150, 200)}


def test_of_two_halves_neither_is_mostly_the_old_segment_unless_one_is():
    assert numbers(number_segments(found((0, 29), (31, 60)), known((0, 0, 60)))) == {1: (0, 29), 2: (31, 60)}
    assert numbers(number_segments(found((0, 40), (42, 60)), known((0, 0, 60)))) == {0: (0, 40), 1: (42, 60)}


def test_two_that_become_one_are_the_longer_of_them_or_something_new():
    assert numbers(number_segments(found((0, 100)), known((0, 0, 20), (1, 22, 100)))) == {1: (0, 100)}
    assert numbers(number_segments(found((0, 100)), known((0, 0, 45), (1, 55, 100)))) == {2: (0, 100)}


def test_the_number_of_what_was_removed_is_never_used_again():
    assert numbers(number_segments(found((200, 260)), known((0, 0, 60), (7, 70, 90)))) == {8: (200, 260)}


def test_the_latest_span_of_a_number_counts():
    spans = known((0, 0, 60), (0, 0, 20))
    assert numbers(number_segments(found((0, 22), (25, 60)), spans)) == {0: (0, 22), 1: (25, 60)}


def test_a_removed_span_is_cut_out_of_whatever_holds_it():
    removed = known((1, 20, 80))
    left, hit = without_spans(found((0, 100), (110, 150)), removed, min_segment_s=15)
    assert ([(one.start_s, one.end_s) for one in left], hit) == ([(0, 20), (80, 100), (110, 150)], {1})
    assert without_spans(found((19, 81)), removed, min_segment_s=15) == ([], {1})


def test_a_neighbour_of_a_removed_span_stays_whole_however_short():
    left, hit = without_spans(found((0, 3), (80, 82)), known((1, 3.02, 80.01)), min_segment_s=15)
    assert ([(one.start_s, one.end_s) for one in left], hit) == ([(0, 3), (80, 82)], set())


SPANS = st.lists(st.tuples(st.integers(0, 200), st.integers(1, 60)), max_size=6)


def in_order(drawn: list[tuple[int, int]]) -> list[tuple[float, float]]:
    spans, now = [], 0.0
    for gap, length in drawn:
        spans.append((now + gap, now + gap + length))
        now = spans[-1][1]
    return spans


@given(SPANS, SPANS, st.sets(st.integers(0, 5)))
def test_numbers_are_distinct_and_nothing_removed_is_left(old, new, gone):
    before = [NumberedSpan("r", number, *span) for number, span in enumerate(in_order(old))]
    removed = [span for span in before if span.number in gone]
    left, _ = without_spans(found(*in_order(new)), removed, 1.0)
    after = number_segments(left, before)
    assert len({one.number for one in after}) == len(after)
    for one in after:
        for span in removed:
            assert min(one.end_s, span.end_s) - max(one.start_s, span.start_s) <= TOLERANCE_S
            assert one.number != span.number
    same = number_segments(after, [NumberedSpan("r", one.number, one.start_s, one.end_s) for one in after])
    assert same == after
