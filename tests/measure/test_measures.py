"""Measures are what their names promise, on small examples counted by hand."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from work import num_calls

from aria_data.measure.measures import NOTE_MEASURES, entropy_bits, measure, sounding_offsets
from aria_data.midi import SOFT, Note, Pedal

times = st.floats(0, 300, allow_nan=False)
note_lists = st.lists(
    st.builds(
        lambda onset_s, length_s, pitch, velocity: Note(onset_s, onset_s + length_s, pitch, velocity),
        times,
        st.floats(0.01, 60),
        st.integers(21, 108),
        st.integers(1, 127),
    ),
    max_size=60,
)


def scale(num_notes: int, step_s: float = 1.0, length_s: float = 0.5) -> list[Note]:
    return [Note(i * step_s, i * step_s + length_s, 40 + i % 40, 64) for i in range(num_notes)]


def test_no_notes_are_one_long_silence():
    values = measure([], [], 50.0)
    assert values["longest_silence_s"] == 50.0
    assert values["num_notes"] == values["note_density"] == values["pitch_entropy"] == 0


def test_density_is_notes_per_second_of_the_segment():
    assert measure(scale(30), [], 60.0)["note_density"] == pytest.approx(0.5)


def test_the_densest_window_is_found_wherever_it_starts():
    burst = [Note(10.5 + i * 0.01, 10.6 + i * 0.01, 60, 64) for i in range(30)]
    values = measure([*scale(40), *burst], [], 40.0)
    assert values["densest_3_s"] == pytest.approx((30 + 3) / 3)
    assert values["densest_3_s_per_pitch"] == pytest.approx((30) / 3)


def test_four_pitches_evenly_are_two_bits():
    notes = [Note(i, i + 0.5, 60 + i % 4, 64) for i in range(40)]
    assert measure(notes, [], 40.0)["pitch_entropy"] == pytest.approx(2.0)


def test_octaves_are_different_pitches():
    assert entropy_bits(np.array([60, 72])) == pytest.approx(1.0)


def test_note_lengths_are_compared_on_a_10_ms_grid_up_to_5_s():
    equal = [Note(i * 10, i * 10 + 5 + i, 40 + i, 64) for i in range(8)]
    assert measure(equal, [], 100.0)["note_length_entropy"] == 0.0
    different = [Note(i * 10, i * 10 + 1 + i * 0.01, 40 + i, 64) for i in range(8)]
    assert measure(different, [], 100.0)["note_length_entropy"] == pytest.approx(3.0)


def test_silence_counts_at_the_edges_too():
    assert measure([Note(12, 13, 60, 64)], [], 20.0)["longest_silence_s"] == pytest.approx(12)
    assert measure([Note(1, 2, 60, 64)], [], 20.0)["longest_silence_s"] == pytest.approx(18)


def test_a_pedal_that_holds_a_note_shortens_the_silence():
    notes = [Note(0, 1, 60, 64), Note(9, 10, 62, 64)]
    assert measure(notes, [], 10.0)["longest_silence_s"] == pytest.approx(8)
    assert measure(notes, [Pedal(0.5, 6)], 10.0)["longest_silence_s"] == pytest.approx(3)
    assert measure(notes, [Pedal(0.5, 6, SOFT)], 10.0)["longest_silence_s"] == pytest.approx(8)


def test_a_pedal_left_down_hides_no_long_silence():
    assert measure([Note(0, 1, 60, 64)], [Pedal(0, 100)], 100.0)["longest_silence_s"] == pytest.approx(85)


def test_a_pedalled_note_ends_when_its_key_is_struck_again():
    notes = [Note(0, 1, 60, 64), Note(2, 3, 60, 64)]
    assert sounding_offsets(notes, [Pedal(0.5, 8)]).tolist() == [2, 8]


def test_overlapping_pedals_are_one():
    assert sounding_offsets([Note(0, 1, 60, 64)], [Pedal(0, 2), Pedal(1.5, 5)]).tolist() == [5]


def test_the_poorest_window_counts_for_unique_pitches():
    rich = [Note(i * 0.5, i * 0.5 + 0.4, 40 + i % 30, 64) for i in range(120)]
    poor = [Note(60 + i, 60.5 + i, 60 + i % 2, 64) for i in range(60)]
    values = measure([*rich, *poor], [], 120.0)
    assert values["num_unique_pitches"] == 30
    assert values["num_unique_pitches_in_30_s"] == 2


def test_a_segment_shorter_than_the_window_is_one_window():
    assert measure(scale(20), [], 20.0)["num_unique_pitches_in_120_s"] == 20


def test_repeating_the_same_for_20_minutes_shows_little_divergence():
    same = [Note(i, i + 0.5, 60 + i % 7, 64) for i in range(1500)]
    moving = [Note(i, i + 0.5, 40 + i // 40, 64) for i in range(1500)]
    assert measure(same, [], 1500.0)["chunk_divergence"] < 0.01
    assert measure(moving, [], 1500.0)["chunk_divergence"] > 1.0
    assert math.isnan(measure(same, [], 1000.0)["chunk_divergence"])


def test_two_strikes_of_one_key_at_one_moment_count_the_same_in_either_order():
    notes = [Note(0.0, 1.0, 60, 64), Note(0.0, 2.0, 60, 64)]
    assert measure(notes[::-1], [], 400.0) == pytest.approx(measure(notes, [], 400.0), nan_ok=True)


@settings(deadline=None, max_examples=60)
@given(note_lists, st.lists(st.tuples(times, st.floats(0.1, 50)), max_size=10))
def test_measures_are_finite_and_do_not_depend_on_the_order_of_notes(notes, presses):
    pedals = [Pedal(start, start + length) for start, length in presses]
    values = measure(notes, pedals, 400.0)
    assert tuple(values) == NOTE_MEASURES
    assert all(math.isfinite(value) and value >= 0 for name, value in values.items() if name != "chunk_divergence")
    assert measure(notes[::-1], pedals[::-1], 400.0) == pytest.approx(values, nan_ok=True)
    assert values["longest_silence_s"] <= 400.0
    assert values["densest_3_s_per_pitch"] <= values["densest_3_s"]


@settings(deadline=None, max_examples=40)
@given(note_lists.filter(bool))
def test_the_densest_window_is_what_counting_by_hand_finds(notes):
    onsets = [note.onset_s for note in notes]
    by_hand = max(sum(start <= onset < start + 5 for onset in onsets) for start in onsets) / 5
    assert measure(notes, [], 400.0)["densest_5_s"] == pytest.approx(by_hand)


@pytest.mark.timeout(200)  # a guard against hanging: a second or two are expected
def test_the_work_for_a_hundred_thousand_notes_is_twice_that_for_half_of_them():
    rng = np.random.default_rng(0)

    def work(num_notes: int) -> tuple[int, int]:
        """Calls, and bytes held at most, for as many notes a second."""
        duration_s = 0.07 * num_notes
        onsets, pitches = np.sort(rng.uniform(0, duration_s, num_notes)), rng.integers(21, 109, num_notes)
        notes = [Note(t, t + 0.3, p, 60) for t, p in zip(onsets.tolist(), pitches.tolist(), strict=True)]
        pedals = [Pedal(i, i + 0.5) for i in range(int(duration_s))]
        calls = num_calls(measure, notes, pedals, duration_s)
        tracemalloc.start()
        measure(notes, pedals, duration_s)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return calls, peak

    half, whole = work(50_000), work(100_000)
    assert whole[0] < 2.2 * half[0]
    assert whole[1] < 2.2 * half[1]
