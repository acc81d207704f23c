"""A recording is known again by its fingerprint, however it was copied; another performance of the piece is not."""

from __future__ import annotations

import numpy as np
import pytest
import soxr
from fakes import encode_audio, melody
from hypothesis import given, settings
from hypothesis import strategies as st

from aria_data.audio import mono_blocks
from aria_data.deduplicate import NoteIndex
from aria_data.deduplicate.fingerprints import CONFIG, SAMPLE_RATE, UNIT_MS, fingerprint, from_bytes, to_bytes
from aria_data.deduplicate.note_matching import compare, is_same
from aria_data.deduplicate.note_patterns import Notes

LENGTH_S = 40


def recording(seed: int, performer: int, tuning: float = 0.0) -> np.ndarray:
    """Sound a random piece with an unsteady hand: decaying tones of five harmonics, enough like struck strings."""
    piece, hand = np.random.default_rng(seed), np.random.default_rng([seed, performer])
    waveform = np.zeros(LENGTH_S * SAMPLE_RATE, np.float32)
    times = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    at_s = 0.3
    while at_s < LENGTH_S - 1.5:
        pitch = piece.integers(50, 84) + tuning
        hertz = 440 * 2 ** ((pitch - 69) / 12) * np.arange(1, 6)
        tone = (np.sin(2 * np.pi * hertz[:, None] * times) / np.arange(1, 6)[:, None] ** 1.5).sum(axis=0)
        start = round(at_s * SAMPLE_RATE)
        waveform[start : start + SAMPLE_RATE] += 0.1 * hand.uniform(0.5, 1) * tone * np.exp(-4 * times)
        at_s += piece.choice([0.15, 0.3, 0.3, 0.6]) * hand.uniform(0.85, 1.15)
    return waveform


def fingerprint_of(waveform: np.ndarray, block: int = 16_384) -> Notes:
    return fingerprint(waveform[start : start + block] for start in range(0, len(waveform), block))


def faster(waveform: np.ndarray, share: float) -> np.ndarray:
    return soxr.resample(waveform, SAMPLE_RATE * (1 + share), SAMPLE_RATE).astype(np.float32)


def noisy(waveform: np.ndarray) -> np.ndarray:
    added = np.random.default_rng(0).normal(0, waveform.std() / 10, len(waveform))  # 20 dB below
    return (waveform + added).astype(np.float32)


SOUND = recording(1, 1)
ORIGINAL = fingerprint_of(SOUND)
COPIES = {
    "quieter": lambda sound: sound / 30,
    "trimmed": lambda sound: sound[9_999:-7_777],
    "1 % faster": lambda sound: faster(sound, 0.01),
    "1 % slower": lambda sound: faster(sound, -0.01),
    "in noise": noisy,
    "all of it": lambda sound: noisy(faster(sound[9_999:], 0.01)) / 3,
}


@pytest.mark.parametrize("change", COPIES)
def test_a_copy_is_the_same_recording(change):
    match = compare(ORIGINAL, fingerprint_of(COPIES[change](SOUND)), CONFIG)
    assert is_same(match, CONFIG)


def test_a_copy_in_another_codec_is_the_same_recording(tmp_path):
    path = encode_audio(
        tmp_path / "copy.mp3", soxr.resample(SOUND, SAMPLE_RATE, 48_000)[:, None], "mp3", codec_options={"b": "64000"}
    )
    match = compare(ORIGINAL, fingerprint(mono_blocks(path, SAMPLE_RATE)), CONFIG)
    assert is_same(match, CONFIG)


@pytest.mark.parametrize("other", [(1, 2), (2, 1)])
def test_another_performance_and_another_piece_are_other_recordings(other):
    assert not is_same(compare(ORIGINAL, fingerprint_of(recording(*other)), CONFIG), CONFIG)


def test_the_offset_is_where_the_copy_begins():
    match = compare(ORIGINAL, fingerprint_of(SOUND[3 * SAMPLE_RATE :]), CONFIG)
    assert match.offset_s == pytest.approx(-3, abs=0.02)
    assert match.tempo == pytest.approx(1, abs=0.001)


def test_a_piano_tuned_between_two_keys_is_known_again_when_it_sounds_a_little_sharper():
    between = recording(1, 1, tuning=0.42)
    match = compare(
        fingerprint_of(between), fingerprint_of(faster(between, 0.01)), CONFIG
    )  # 17 cents: now nearer to the next key
    assert is_same(match, CONFIG)


@settings(deadline=None, max_examples=3)
@given(st.integers(500, 70_000))
def test_the_size_of_the_blocks_does_not_matter(block):
    again = fingerprint_of(SOUND, block)
    assert np.array_equal(again.onset_ms, ORIGINAL.onset_ms)
    assert np.array_equal(again.pitch, ORIGINAL.pitch)


def test_a_long_recording_read_in_pieces_loses_nothing_where_they_meet():
    once, twice = fingerprint_of(SOUND), fingerprint_of(np.concatenate([SOUND, SOUND]))
    second = twice.onset_ms >= LENGTH_S * 1000
    assert len(twice) == pytest.approx(2 * len(once), abs=4)
    match = compare(once, Notes(twice.onset_ms[second], twice.pitch[second]), CONFIG)
    assert match.agreement > 0.95


def test_a_minute_needs_a_few_hundred_bytes():
    assert 100 < len(to_bytes(ORIGINAL)) / LENGTH_S * 60 < 500


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 500_000), st.integers(1, 127)), max_size=50))
def test_bytes_give_the_fingerprint_back(onsets):
    found = Notes.of([step * UNIT_MS / 1000 for step, _ in onsets], [pitch for _, pitch in onsets])
    again = from_bytes(to_bytes(found))
    assert np.array_equal(again.onset_ms, found.onset_ms)
    assert np.array_equal(again.pitch, found.pitch)


@pytest.mark.parametrize(
    "waveform", [np.zeros(0, np.float32), np.zeros(100, np.float32), np.zeros(100_000, np.float32)]
)
def test_nothing_and_silence_have_no_onsets_and_match_nothing(waveform):
    found = fingerprint_of(waveform)
    assert len(found) == 0
    assert from_bytes(to_bytes(found)).onset_ms.size == 0
    assert not is_same(compare(ORIGINAL, found, CONFIG), CONFIG)


def test_copies_are_found_among_many_by_an_index():
    index = NoteIndex(CONFIG)
    index.add((f"other {seed}", fingerprint_of(melody(20, seed)[:, 0])) for seed in range(5))
    index.add([("a", ORIGINAL), ("b", fingerprint_of(faster(SOUND, 0.01)[20_000:]))])
    assert [pair[:2] for pair in index.matches()] == [("a", "b")]
