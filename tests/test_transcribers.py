"""The real transcriber on real sound: a piece rendered here, whose notes are known."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from aria_data import transcribers
from aria_data.errors import ConfigInvalid
from aria_data.evaluate import compare_notes
from aria_data.midi import SUSTAIN, Note, Pedal, Performance, midi_bytes, read_midi
from aria_data.transcribe import TranscribeConfig
from aria_data.transcribers.transkun import HOP_S, WINDOW_S, weights_path

SECONDS = 20  # more than one window, so that events are joined across two


@pytest.fixture(scope="module")
def played() -> Performance:
    """A slow melody over broken chords, with the sustain pedal down for every second bar."""
    notes, pedals = [], []
    for beat in range(36):
        onset_s = 0.5 + beat * 0.5
        notes.append(Note(onset_s, onset_s + 0.45, 48 + (0, 7, 4, 7)[beat % 4] + (0, 5, 7, 0)[beat // 4 % 4], 60))
        if beat % 2 == 0:
            notes.append(Note(onset_s, onset_s + 0.9, 72 + (0, 4, 7, 5, 2)[beat % 5], 85))
        if beat % 8 == 0:
            pedals.append(Pedal(onset_s, onset_s + 1.9, SUSTAIN))
    return Performance(sorted(notes), pedals)


@pytest.fixture(scope="module")
def waveform(played) -> np.ndarray:
    from classifiers.soundfont import render

    notes = [(note.onset_s, note.offset_s, note.pitch, note.velocity) for note in played.notes]
    pedals = [(pedal.onset_s, pedal.offset_s, pedal.controller) for pedal in played.pedals]
    return render(notes, pedals)[: SECONDS * 44_100]


@pytest.fixture(scope="module")
def transkun():
    return transcribers.load("transkun", "cpu")


@pytest.fixture(scope="module")
def heard(transkun, waveform) -> Performance:
    return transkun.transcribe([waveform])


def test_the_notes_that_were_played_are_heard(played, heard):
    assert compare_notes(played, heard).onset_f1 >= 0.97


def test_a_window_border_neither_loses_nor_doubles_notes(played, heard):
    border_s = HOP_S - (WINDOW_S - HOP_S)
    near = [note for note in heard.notes if border_s - 0.75 < note.onset_s < WINDOW_S - 0.25]
    true = [note for note in played.notes if border_s - 0.75 < note.onset_s < WINDOW_S - 0.25]
    assert len(near) == len(true)


def test_a_pitch_never_overlaps_itself_and_velocities_are_midi(heard):
    last_end: dict[int, float] = {}
    for note in heard.notes:
        assert note.onset_s >= last_end.get(note.pitch, 0.0)
        assert 1 <= note.velocity <= 127
        last_end[note.pitch] = note.offset_s


def test_the_melody_is_louder_than_the_accompaniment(heard):
    melody = np.mean([note.velocity for note in heard.notes if note.pitch >= 72])
    assert melody > np.mean([note.velocity for note in heard.notes if note.pitch < 72]) + 5


def test_what_is_heard_does_not_depend_on_how_the_audio_is_cut_into_blocks(transkun, waveform, heard):
    blocks = np.array_split(waveform, 997)
    assert midi_bytes(transkun.transcribe(blocks)) == midi_bytes(heard)


def test_silence_and_nothing_give_no_notes(transkun):
    assert transkun.transcribe([np.zeros((44_100, 2), np.float32)]).notes == []
    assert transkun.transcribe([]) == Performance([], [])


def test_notes_and_pedals_survive_the_file(heard, tmp_path):
    (tmp_path / "heard.mid").write_bytes(midi_bytes(heard))
    back = read_midi(tmp_path / "heard.mid")
    assert len(back.notes) == len(heard.notes)
    assert len(back.pedals) == len(heard.pedals)
    onsets = [(note.pitch, note.onset_s) for note in back.notes]
    assert np.allclose(sorted(onsets), sorted((note.pitch, note.onset_s) for note in heard.notes), atol=5e-4)


def test_the_weights_have_the_hash_that_is_recorded(transkun):
    assert transkun.sha256 == hashlib.sha256(weights_path().read_bytes()).hexdigest()
    assert transcribers.weights_sha256("transkun") == transkun.sha256


def test_an_unknown_transcriber_is_refused_by_name():
    with pytest.raises(ConfigInvalid, match="'whisper' is not one of transkun"):
        transcribers.load(TranscribeConfig("whisper").transcriber)
