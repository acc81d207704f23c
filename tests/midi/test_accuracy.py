"""The accuracy of notes is that of mir_eval for sounding notes, and the pedal makes notes sound longer."""

from __future__ import annotations

import math

import numpy as np
import pytest

from aria_data.midi import SOFT, Note, Pedal, Performance, matching
from aria_data.midi.accuracy import NoteAccuracy, compare_notes, extend_by_pedal

PEDALS = [Pedal(1.0, 2.0), Pedal(4.0, 6.0)]
NOTES = [Note(i + 1.0, i + 1.5, 60 + i, 64) for i in range(10)]


def moved(by_s: float, longer_s: float = 0.0) -> Performance:
    return Performance([Note(n.onset_s + by_s, n.offset_s + by_s + longer_s, n.pitch, n.velocity) for n in NOTES])


def test_the_same_notes_are_perfect():
    accuracy = compare_notes(Performance(NOTES, PEDALS), Performance(NOTES, PEDALS))
    assert accuracy == NoteAccuracy(10, 10, *[1.0] * 8)


def test_pedals_are_compared_by_press_and_by_release():
    late = [Pedal(p.onset_s, p.offset_s + 0.5) for p in PEDALS]
    accuracy = compare_notes(Performance(NOTES, PEDALS), Performance(NOTES, late))
    assert (accuracy.pedal_f1, accuracy.pedal_offset_f1) == (1.0, 0.0)
    assert compare_notes(Performance(NOTES, PEDALS), Performance(NOTES)).pedal_f1 == 0.0
    assert math.isnan(compare_notes(Performance(NOTES), Performance(NOTES)).pedal_f1)


@pytest.mark.parametrize("seed", range(8))
def test_pieces_give_what_mir_eval_gives_at_once(seed, monkeypatch):
    from mir_eval import transcription, transcription_velocity

    monkeypatch.setattr(matching, "MAX_PIECE", 3)
    rng = np.random.default_rng(seed)

    def side(number: int) -> list[Note]:
        onsets, pitches = np.sort(rng.uniform(0, 6, number)), rng.integers(60, 66, number)
        lengths, velocities = rng.uniform(0.05, 1, number), rng.integers(1, 128, number)
        rows = zip(onsets, onsets + lengths, pitches, velocities, strict=True)
        return sorted(Note(float(a), float(b), int(c), int(d)) for a, b, c, d in rows)

    true, estimated = side(120), side(100)
    arrays = [
        (np.array([(n.onset_s, n.offset_s) for n in s]), 440.0 * 2 ** ((np.array([n.pitch for n in s]) - 69) / 12))
        for s in (true, estimated)
    ]
    accuracy = compare_notes(Performance(true), Performance(estimated))
    onset = transcription.precision_recall_f1_overlap(*arrays[0], *arrays[1], offset_ratio=None)
    assert (accuracy.onset_precision, accuracy.onset_recall, accuracy.onset_f1) == pytest.approx(onset[:3])
    offset = transcription.precision_recall_f1_overlap(*arrays[0], *arrays[1], offset_ratio=0.2)
    assert accuracy.onset_release_f1 == pytest.approx(offset[2])
    velocities = [np.array([n.velocity for n in s]) for s in (true, estimated)]
    with_velocity = transcription_velocity.precision_recall_f1_overlap(
        *arrays[0], velocities[0], *arrays[1], velocities[1], offset_ratio=None
    )
    assert accuracy.onset_velocity_f1 == pytest.approx(with_velocity[2], abs=0.02)  # ties may match otherwise


@pytest.mark.slow
def test_a_concert_of_twelve_hours_is_compared_in_little_memory():
    import tracemalloc

    rng = np.random.default_rng(0)
    notes = [Note(0.12 * i, 0.12 * i + 0.3, int(rng.integers(40, 90)), 64) for i in range(60_000)]
    tracemalloc.start()
    accuracy = compare_notes(Performance(notes), Performance(notes))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert accuracy.onset_f1 == 1.0
    assert peak < 300e6


def test_a_release_counts_as_written_and_a_sounding_end_with_the_pedal():
    early = [Note(n.onset_s, n.onset_s + 0.2, n.pitch, n.velocity) for n in NOTES]
    accuracy = compare_notes(Performance(NOTES, [Pedal(0.0, 20.0)]), Performance(early, [Pedal(0.0, 20.0)]))
    assert (accuracy.onset_offset_f1, accuracy.onset_release_f1) == (1.0, 0.0)


def test_velocities_are_compared_after_the_best_linear_fit():
    reference = [Note(i + 1.0, i + 1.5, 60 + i, 40 + 5 * i) for i in range(10)]
    halved = [Note(n.onset_s, n.offset_s, n.pitch, n.velocity // 2 + 30) for n in reference]
    assert compare_notes(Performance(reference), Performance(halved)).onset_velocity_f1 == 1.0
    random = [Note(n.onset_s, n.offset_s, n.pitch, (n.pitch * 37) % 100 + 20) for n in reference]
    assert compare_notes(Performance(reference), Performance(random)).onset_velocity_f1 < 0.8


@pytest.mark.parametrize(("by_s", "expected"), [(0.04, 1.0), (-0.04, 1.0), (0.06, 0.0)])
def test_an_onset_counts_within_50_ms(by_s, expected):
    assert compare_notes(Performance(NOTES), moved(by_s)).onset_f1 == expected


def test_an_offset_counts_within_a_fifth_of_the_note_or_50_ms():
    assert compare_notes(Performance(NOTES), moved(0, 0.09)).onset_offset_f1 == 1.0
    late = compare_notes(Performance(NOTES), moved(0, 0.15))
    assert (late.onset_f1, late.onset_offset_f1) == (1.0, 0.0)


def test_missing_and_invented_notes_lower_recall_and_precision():
    missing = compare_notes(Performance(NOTES), Performance(NOTES[:5]))
    assert (missing.onset_precision, missing.onset_recall, missing.onset_f1) == (1.0, 0.5, pytest.approx(2 / 3))
    invented = compare_notes(Performance(NOTES[:5]), Performance(NOTES))
    assert (invented.onset_precision, invented.onset_recall) == (0.5, 1.0)


def test_another_pitch_is_another_note():
    wrong = Performance([Note(n.onset_s, n.offset_s, n.pitch + 12, n.velocity) for n in NOTES])
    assert compare_notes(Performance(NOTES), wrong).onset_f1 == 0.0


@pytest.mark.parametrize(("reference", "estimate"), [(NOTES, []), ([], NOTES), ([], [])])
def test_an_empty_side_scores_zero_and_warns_of_nothing(reference, estimate):
    accuracy = compare_notes(Performance(reference), Performance(estimate))
    assert (accuracy.num_reference, accuracy.num_estimate) == (len(reference), len(estimate))
    assert (accuracy.onset_f1, accuracy.onset_offset_f1, accuracy.onset_velocity_f1) == (0.0, 0.0, 0.0)


def test_a_note_sounds_until_the_pedal_lifts_or_the_key_is_struck_again():
    notes = [Note(0.0, 1.0, 60, 64), Note(0.5, 1.0, 64, 64), Note(2.0, 2.5, 60, 64), Note(5.0, 5.5, 67, 64)]
    sounding = extend_by_pedal(Performance(notes, [Pedal(0.8, 4.0)]))
    assert [(n.pitch, n.onset_s, n.offset_s) for n in sounding] == [
        (60, 0.0, 2.0),
        (64, 0.5, 4.0),
        (60, 2.0, 4.0),
        (67, 5.0, 5.5),
    ]


def test_a_pedal_pressed_after_the_release_or_another_pedal_holds_nothing():
    notes = [Note(0.0, 1.0, 60, 64)]
    for pedal in (Pedal(1.1, 4.0), Pedal(0.0, 1.0), Pedal(0.5, 4.0, SOFT)):
        assert extend_by_pedal(Performance(notes, [pedal])) == notes
