"""The classifier hears a recording whose right channel is the left one upside down as any other."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import melody, write_audio

from classifiers.features import read_blocks


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_a_right_channel_upside_down_does_not_cancel_the_left_one(tmp_path, suffix):
    stereo = melody(3, seed=1, num_channels=2)
    plain = np.concatenate(list(read_blocks(write_audio(tmp_path / f"a{suffix}", stereo))))
    turned = np.concatenate(list(read_blocks(write_audio(tmp_path / f"b{suffix}", stereo * [1.0, -1.0]))))
    assert np.abs(plain).max() > 0.01
    np.testing.assert_allclose(turned, plain, atol=2e-4)
