"""Channels and tracks: what sounds is heard, whatever the layout, and a word says which track was read."""

from __future__ import annotations

import numpy as np
import pytest
from audio_files import stereo, tracks, wav
from fakes import melody, write_audio

from aria_data.audio import AudioReader, IntegrityLimits, inspect, require_whole
from aria_data.errors import AudioUnreadable

RATE = 16_000
TONE = melody(4)[:, 0]


def level(path, num_channels: int = 1) -> float:
    """The loudness of what the models are given, in dB."""
    with AudioReader(path, RATE, num_channels, IntegrityLimits()) as reader:
        heard = np.concatenate(list(reader.blocks()))
    return 20 * np.log10(np.sqrt(np.mean(heard**2)) + 1e-9)


@pytest.mark.parametrize("gain", [-1.0, -0.5, -0.99])
@pytest.mark.parametrize("width", [1, 2])
def test_a_right_channel_that_is_the_left_one_inverted_is_heard(tmp_path, gain, width):
    (tmp_path / "a.wav").write_bytes(wav(np.stack([TONE, gain * TONE], 1)))
    (tmp_path / "b.wav").write_bytes(wav(np.stack([TONE, -gain * TONE], 1)))
    assert level(tmp_path / "a.wav", width) == pytest.approx(level(tmp_path / "b.wav", width), abs=0.3)
    with AudioReader(tmp_path / "a.wav", RATE, 2) as reader:
        left, right = np.concatenate(list(reader.blocks())).T
    assert np.corrcoef(left, right)[0, 1] > 0.9


def test_channels_that_differ_are_mixed_as_before(tmp_path):
    rng = np.random.default_rng(0)
    both = rng.normal(0, 0.1, (RATE * 3, 2))
    write_audio(tmp_path / "a.wav", both, subtype="FLOAT")
    with AudioReader(tmp_path / "a.wav", RATE, 1) as reader:
        heard = np.concatenate(list(reader.blocks()))[:, 0]
    assert np.allclose(heard, both.sum(axis=1) * np.sqrt(0.5), atol=1e-6)


@pytest.mark.parametrize(
    ("num_channels", "mask"),
    [
        (2, 0x30),
        (2, 0x0C00),
        (1, 0x8),
        (2, 0x8),
        (3, 0),
        (3, 0x0E00),
        (9, 0),
        (20, 0),
        (6, 0x3F),
        (8, 0x63F),
        (4, 0x600F),
    ],
)
@pytest.mark.parametrize("place", ["first", "last", "all"])
def test_sound_in_any_channel_of_any_layout_is_heard(tmp_path, num_channels, mask, place):
    channels = np.zeros((len(TONE), num_channels))
    channels[:, {"first": slice(0, 1), "last": slice(num_channels - 1, num_channels), "all": slice(None)}[place]] = (
        TONE[:, None]
    )
    path = tmp_path / "a.wav"
    path.write_bytes(wav(channels, mask=mask))
    require_whole(path.name, inspect(path), IntegrityLimits())
    for width in (1, 2):
        assert level(path, width) > -25  # the tone is at -13.5 dB


def test_an_ambisonic_recording_is_heard(tmp_path):
    (tmp_path / "a.wav").write_bytes(wav(np.stack([TONE, 0.5 * TONE, -0.5 * TONE, 0 * TONE], 1), ambisonic=True))
    assert level(tmp_path / "a.wav") > -20


def test_more_channels_than_can_be_mixed_are_refused(tmp_path):
    (tmp_path / "a.wav").write_bytes(wav(np.tile(TONE[:, None], 70), mask=0))
    with pytest.raises(AudioUnreadable, match="a.wav: has 70 channels; at most 64 can be mixed") as caught:
        inspect(tmp_path / "a.wav")
    assert caught.value.reason == "too_many_channels"


@pytest.mark.parametrize("kind", ["mp4", "mkv", "mov"])
@pytest.mark.parametrize("default", [0, 1])
def test_of_two_tracks_the_default_one_is_read_and_a_note_says_so(tmp_path, kind, default):
    path = tracks(tmp_path / f"a.{kind}", [0.1 * stereo(3), 0.5 * stereo(3)], default)
    facts = inspect(path)
    number = default + 1
    assert facts.notes == (f"holds 2 tracks of sound: number {number}, the default one, was read",)
    assert facts.peak_db == pytest.approx(20 * np.log10(0.3 * (0.1, 0.5)[default]), abs=3)


@pytest.mark.parametrize("kind", ["mp4", "mkv"])
def test_a_default_track_without_sound_is_passed_over_for_the_one_that_sounds(tmp_path, kind):
    path = tracks(tmp_path / f"a.{kind}", [0 * stereo(3), stereo(3)], 0)
    assert inspect(path).notes == ("holds 2 tracks of sound: number 2, the first that sounds, was read",)
    assert level(path) > -25
    silent = tracks(tmp_path / f"b.{kind}", [0 * stereo(3), 0 * stereo(3)], 1)
    assert "none of which sounds" in inspect(silent).notes[0]
