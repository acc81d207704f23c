"""How much what sounds changes at a step: a lot where another sound begins, and little inside a piece."""

from __future__ import annotations

import numpy as np
import pytest

from classifiers import music, predict, soundfont
from classifiers.predict import Classifier, sound_changes

RATE = 16_000


def played(program: int, seconds: float, seed: int) -> np.ndarray:
    notes, pedals = music.compose(np.random.default_rng(seed), seconds, (music.melody_and_chords,), beats_per_s=2.0)
    stereo = soundfont.render(notes, pedals, program=program, sample_rate=RATE, tail_s=1.0, gain_db=12.0)
    waveform = stereo.mean(axis=1)[: int(seconds * RATE)]
    return np.pad(waveform, (0, int(seconds * RATE) - len(waveform)))


def test_two_sounds_change_most_where_one_ends_and_the_other_begins():
    rng = np.random.default_rng(0)
    features = np.abs(rng.normal([[3.0, 0.1]] * 40 + [[0.1, 3.0]] * 60, 0.1)).astype(np.float16)
    changes = sound_changes(features, 4)
    assert (len(changes), changes.dtype) == (100, np.float32)
    assert abs(int(np.argmax(changes)) - 40) <= 1  # a step on either side is left out
    assert changes[40] > 0.9
    assert max(changes[:26].max(), changes[54:].max()) < 0.05


def test_long_recordings_are_compared_as_short_ones_are():
    features = np.abs(np.random.default_rng(1).normal(size=(9000, 8))).astype(np.float16)
    whole = sound_changes(features, 4)
    for first in (0, 4050, 8100):
        part = sound_changes(features[first : first + 200], 4)
        inside = slice(13 if first else 0, 187)
        np.testing.assert_allclose(part[inside], whole[first : first + 200][inside], atol=1e-6)


@pytest.mark.parametrize("length", [0, 1, 9, 11])
def test_of_less_than_two_seconds_and_a_half_nothing_is_known(length):
    assert not sound_changes(np.ones((length, 4), np.float16), 4).any()


def test_nothing_at_all_does_not_change():
    assert np.isfinite(sound_changes(np.zeros((100, 4), np.float16), 4)).all()


@pytest.mark.parametrize("program", [24, 46, 73])
def test_where_a_piano_begins_after_another_instrument_is_found_within_a_second(program):
    """A guitar, a harp and a flute."""
    scored = Classifier.load().score_blocks([np.concatenate([played(program, 12, 3), played(0, 20, 5)])])
    assert len(scored.changes) == len(scored.local_scores)
    at = int(np.argmax(scored.changes))
    assert at * scored.step_s == pytest.approx(12.0, abs=1.0)
    assert scored.changes[at] > 0.35 > np.median(scored.changes[60:-20]) * 3
    assert predict.Classifier.load().score_blocks([]).changes.shape == (0,)
