"""A piece that is cut inside the music is said to be, at the edges of its file; a whole one is not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from aria_data.measure.cuts import cut_evidence, cut_measures
from aria_data.measure.quality import SAMPLE_RATE, analyse_sound

NOISE_DB = -65.0


def struck(seconds: float, every_s: float = 0.5, decay_s: float = 1.5, seed: int = 0) -> np.ndarray:
    """Notes struck one after the other, each dying away: a piece with an attack at its beginning."""
    rng = np.random.default_rng(seed)
    out = np.zeros(int((seconds + 15.0) * SAMPLE_RATE), np.float32)
    for onset_s in np.arange(0.0, seconds, every_s):
        times = np.arange(len(out) - int(onset_s * SAMPLE_RATE)) / SAMPLE_RATE
        hz = 220.0 * 2 ** (int(rng.integers(0, 24)) / 12)
        tone = sum(np.sin(2 * np.pi * hz * k * times) / k for k in (1, 2, 3, 4))
        out[int(onset_s * SAMPLE_RATE) :] += (0.1 * tone * np.exp(-times / decay_s)).astype(np.float32)
    return out


def heard(waveform: np.ndarray, starts_file: bool = True, ends_file: bool = True) -> dict[str, float]:
    noise = np.random.default_rng(1).normal(0, 10 ** (NOISE_DB / 20), len(waveform))
    sound = (waveform + noise).astype(np.float32)
    return cut_measures(analyse_sound([sound[:, None]]), starts_file, ends_file)


def padded(waveform: np.ndarray, seconds: float) -> np.ndarray:
    return np.concatenate([np.zeros(int(seconds * SAMPLE_RATE), np.float32), waveform])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("decay_s", [0.6, 1.5])
def test_planted_cuts_are_found_and_whole_pieces_are_not_said_to_be_cut(seed, decay_s):
    whole = padded(struck(20.0, decay_s=decay_s, seed=seed), 0.05 + 0.1 * seed)
    measures = heard(whole)
    assert (measures["cut_at_start"], measures["cut_at_end"]) == (0.0, 0.0)
    assert cut_evidence(measures) is None
    first, last = 3.2 + 0.31 * seed, 14.1 + 0.43 * seed
    measures = heard(whole[int(first * SAMPLE_RATE) : int(last * SAMPLE_RATE)])
    assert (measures["cut_at_start"], measures["cut_at_end"]) == (1.0, 1.0)
    assert cut_evidence(measures).startswith("start: ")


def test_a_bound_inside_a_file_is_judged_by_what_sounds_before_it():
    whole = padded(struck(20.0), 1.0)
    inside = heard(whole[: int(12.3 * SAMPLE_RATE)], False, False)
    assert (inside["cut_at_start"], inside["cut_at_end"]) == (0.0, 1.0)
    assert heard(whole, False, False)["cut_at_end"] == 0.0
    assert math.isnan(heard(whole[2 * SAMPLE_RATE :], False, False)["cut_at_start"])  # it cannot be told


def test_silence_and_a_moment_of_sound_say_nothing_wrong():
    assert heard(np.zeros(20 * SAMPLE_RATE, np.float32))["cut_at_end"] == 0.0
    assert math.isnan(heard(struck(0.1)[: SAMPLE_RATE // 2])["cut_at_start"])


def started(waveform: np.ndarray) -> float:
    """`cut_at_start` of a file with noise far below it."""
    noise = np.random.default_rng(1).normal(0, 10 ** (NOISE_DB / 20), len(waveform))
    return cut_measures(analyse_sound([(waveform + noise).astype(np.float32)[:, None]]), True, True)["cut_at_start"]


@pytest.mark.parametrize("before_s", [0.05, 0.15, 0.25])
@pytest.mark.parametrize("seed", range(4))
def test_a_file_that_begins_while_notes_ring_is_cut_though_an_attack_follows_at_once(before_s, seed):
    """The cut is shortly before a note, where those before it have died away a little."""
    whole = struck(20.0, every_s=1.5, decay_s=0.6, seed=seed)
    assert started(whole[int((6.0 - before_s) * SAMPLE_RATE) :]) == 1.0


@pytest.mark.parametrize("silence_s", [0.005, 0.008])
@pytest.mark.parametrize("seed", range(4))
def test_a_piece_that_begins_within_the_first_milliseconds_of_its_file_is_whole(silence_s, seed):
    assert started(padded(struck(20.0, seed=seed), silence_s)) == 0.0


def test_the_silence_that_a_codec_puts_before_everything_hides_no_cut():
    """AAC: 1,024 samples at 44.1 kHz."""
    assert started(padded(struck(20.0)[int(7.2 * SAMPLE_RATE) :], 0.0215)) == 1.0
