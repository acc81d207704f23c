"""Notes are damaged on purpose: the measure that is meant for the damage shows it, on sound rendered here."""

from __future__ import annotations

import math

import numpy as np
import pytest

from aria_data.audio.tuning import tuning_of
from aria_data.measure import quality
from aria_data.measure.measures import FIT_MEASURES
from aria_data.measure.quality import (
    SAMPLE_RATE,
    Trace,
    analyse_sound,
    edge_levels,
    fit,
    missed_passage,
    score_likeness,
)
from aria_data.midi import Note, Performance
from aria_data.transcribe.midi_output import cut_endless_notes

SECONDS = 40


@pytest.fixture(scope="module")
def played() -> Performance:
    """Two voices in free time, a strike every third of a second or so."""
    rng = np.random.default_rng(1)
    notes, now = [], 1.0
    while now < SECONDS - 4:
        notes.append(Note(now, now + 0.5, int(rng.choice([60, 62, 64, 65, 67, 69, 71, 72])), 80))
        if rng.random() < 0.5:
            notes.append(Note(now, now + 0.8, int(rng.choice([36, 43, 48])), 60))
        now += float(rng.uniform(0.22, 0.5))
    return Performance(sorted(notes))


@pytest.fixture(scope="module")
def waveform(played) -> np.ndarray:
    import soxr

    from classifiers.soundfont import render

    stereo = render([(n.onset_s, n.offset_s, n.pitch, n.velocity) for n in played.notes], [])
    return soxr.resample(stereo.mean(axis=1), 44_100, SAMPLE_RATE)[: SECONDS * SAMPLE_RATE, None].astype(np.float32)


@pytest.fixture(scope="module")
def trace(waveform) -> Trace:
    return analyse_sound(np.array_split(waveform, 77))


@pytest.fixture(scope="module")
def clean(trace, played) -> dict[str, float]:
    return fit(trace, played)


def changed(performance: Performance, change) -> Performance:
    return Performance(sorted(note for note in map(change, performance.notes) if note is not None))


def test_true_notes_fit_their_sound(clean):
    assert set(clean) < set(FIT_MEASURES)
    assert clean["chroma_agreement"] > 0.97
    assert clean["onset_agreement"] > 0.95
    assert clean["missed_passage_s"] == 0.0
    assert math.isnan(clean["missed_passage_start_s"])


def test_a_passage_without_notes_is_found_with_its_place(trace, played):
    values = fit(trace, changed(played, lambda n: None if 15 <= n.onset_s < 20 else n))
    assert 4 < values["missed_passage_s"] < 5.5
    assert 14.9 < values["missed_passage_start_s"] < 15.6
    assert values["onset_agreement"] < 0.95


def test_wrong_pitches_lower_the_chroma_agreement(trace, played, clean):
    rng = np.random.default_rng(0)
    wrong = changed(played, lambda n: Note(n.onset_s, n.offset_s, n.pitch + int(rng.choice([1, 0])), n.velocity))
    assert fit(trace, wrong)["chroma_agreement"] < clean["chroma_agreement"] - 0.1


def test_notes_moved_in_time_lower_the_onset_agreement(trace, played, clean):
    late = changed(played, lambda n: Note(n.onset_s + 0.12, n.offset_s + 0.12, n.pitch, n.velocity))
    assert fit(trace, late)["onset_agreement"] < clean["onset_agreement"] - 0.3


def test_half_of_the_notes_explain_fewer_onsets(trace, played, clean):
    rng = np.random.default_rng(0)
    assert fit(trace, changed(played, lambda n: n if rng.random() < 0.5 else None))["onset_agreement"] < 0.85


def test_the_trace_does_not_depend_on_how_the_sound_is_cut_into_blocks(waveform, trace):
    whole = analyse_sound([waveform])
    assert np.allclose(whole.chroma, trace.chroma)
    assert np.allclose(whole.onset_strength, trace.onset_strength)


def test_a_long_recording_is_traced_in_pieces_without_seams(waveform, trace, monkeypatch):
    monkeypatch.setattr(quality, "CHUNK_FRAMES", 700)  # two seams; the tuning comes from the first piece
    pieces = analyse_sound([waveform])
    assert pieces.chroma.shape == trace.chroma.shape == (12, len(waveform) // 512 + 1)
    assert np.allclose(pieces.level_db, trace.level_db, atol=1e-3)
    assert np.allclose(pieces.onset_strength, trace.onset_strength, atol=1e-3)


def test_silence_and_nothing_are_not_defined_rather_than_wrong():
    for blocks in ([], [np.zeros((SAMPLE_RATE * 5, 1), np.float32)]):
        values = fit(analyse_sound(blocks), Performance())
        assert math.isnan(values["chroma_agreement"])
        assert math.isnan(values["onset_agreement"])
        assert values["missed_passage_s"] == 0.0


def test_sound_without_any_notes_is_one_missed_passage(trace):
    values = fit(trace, Performance())
    assert values["onset_agreement"] == 0.0
    assert values["missed_passage_s"] > 30


def test_a_run_of_missed_onsets_is_broken_by_one_that_has_a_note():
    peaks, strengths = np.arange(10.0), np.ones(10)
    is_explained = np.array([1, 0, 0, 1, 0, 0, 0, 0, 1, 1], bool)
    assert missed_passage(peaks, strengths, is_explained) == (4.0, 3.0)


def test_music_cut_at_its_edge_is_loud_there(waveform, trace):
    start_db, end_db = edge_levels(trace)
    assert start_db < -40
    cut = analyse_sound([waveform[5 * SAMPLE_RATE : 20 * SAMPLE_RATE]])
    assert min(edge_levels(cut)) > -20
    assert end_db < -20


def test_a_machine_plays_on_a_grid_and_a_person_does_not(played):
    rng = np.random.default_rng(0)
    grid = np.unique(rng.integers(0, 400, 200)) * 0.15 + rng.normal(0, 0.004, len(np.unique(rng.integers(0, 400, 1))))
    assert score_likeness(np.sort(grid)) > 0.85
    assert score_likeness(np.array([note.onset_s for note in played.notes])) < 0.4
    assert math.isnan(score_likeness(np.array([1.0, 2.0])))


def test_a_note_held_for_ever_is_cut_and_counted():
    notes = [Note(0, 1, 60, 64), Note(2, 300, 62, 64)]
    cut, number = cut_endless_notes(Performance(notes))
    assert (number, cut.notes[1].offset_s, cut.notes[0]) == (1, 22.0, notes[0])
    assert cut_endless_notes(Performance(notes[:1])) == (Performance(notes[:1]), 0)


@pytest.mark.parametrize("cents", [-40, -20, 0, 20, 40])
def test_the_tuning_of_a_recording_is_measured(waveform, cents):
    import soxr

    moved = soxr.resample(waveform, SAMPLE_RATE * 2 ** (cents / 1200), SAMPLE_RATE)
    base = tuning_of(waveform, SAMPLE_RATE)
    assert abs(base) < 0.08
    assert tuning_of(moved, SAMPLE_RATE) - base == pytest.approx(cents / 100, abs=0.03)


def test_noise_and_silence_have_no_tuning():
    rng = np.random.default_rng(0)
    assert tuning_of(rng.normal(0, 0.1, (SAMPLE_RATE * 20, 2)), SAMPLE_RATE) == 0.0
    assert tuning_of(np.zeros((SAMPLE_RATE * 2, 1)), SAMPLE_RATE) == 0.0
    assert tuning_of(np.zeros((10, 1)), SAMPLE_RATE) == 0.0
