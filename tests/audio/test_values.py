"""Samples that are no sound: a few are clipped and counted, many are refused, and none reaches a model."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import melody, write_audio
from test_lengths import verdict

from aria_data.audio import AudioReader, inspect


@pytest.mark.parametrize("value", [10.0, 1e6, -1e6, 1e30, -3e38])
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_one_wild_sample_is_clipped_and_counted(tmp_path, value, subtype):
    wild, tame = melody(6, num_channels=2).astype(np.float64), melody(6, num_channels=2)
    wild[30_000, 0] = value
    tame[30_000, 0] = np.sign(value)
    path, other = (write_audio(tmp_path / name, w, subtype=subtype) for name, w in (("a.wav", wild), ("b.wav", tame)))
    facts = inspect(path)
    assert verdict(path) == ""
    assert facts.notes == ("1 samples over 4 times full scale were clipped",)
    assert facts.samples_sha256 == inspect(other).samples_sha256
    with AudioReader(path, 16_000, 1) as one, AudioReader(other, 16_000, 1) as two:
        assert np.array_equal(np.concatenate(list(one.blocks())), np.concatenate(list(two.blocks())))


def test_a_mix_that_is_over_full_scale_is_left_as_it_is(tmp_path):
    path = write_audio(tmp_path / "a.wav", 6 * melody(6), subtype="FLOAT")
    assert verdict(path) == ""
    assert inspect(path).notes == ()
    with AudioReader(path, 16_000, 1) as reader:
        assert np.abs(np.concatenate(list(reader.blocks()))).max() == pytest.approx(1.8, abs=0.01)


def test_whole_numbers_stored_as_floats_are_refused_with_what_to_do(tmp_path):
    path = write_audio(tmp_path / "a.wav", 32_768 * melody(6), subtype="FLOAT")
    assert verdict(path) == "samples_out_of_range"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("num", [1, 50_000])
def test_samples_that_are_no_numbers_are_refused(tmp_path, value, num):
    broken = melody(6)
    broken[1000 : 1000 + num] = value
    assert verdict(write_audio(tmp_path / "a.wav", broken, subtype="FLOAT")) == "samples_not_finite"
