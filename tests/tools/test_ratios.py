"""`make benchmark`: its table, and that a ratio which is halved is seen. What it measures is no matter here."""

from __future__ import annotations

import sys

from places import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

import giantmidi_detector
import numpy as np
import pytest
import soundfile
from ratios import Ratio, halved, table


def test_a_ratio_that_is_halved_is_named_and_one_that_is_new_is_not():
    found = [Ratio("slow now", 4.0, 4.0, "a peer"), Ratio("as before", 1.0, 4.0, "a peer")]
    assert halved(found, {"slow now": 2.1, "as before": 4.4}) == ["slow now"]
    assert halved(found, {"slow now": 1.9}) == []


def test_the_table_has_a_line_a_ratio_with_what_it_is_against():
    lines = table([Ratio("transcribe a file", 2.0, 9.0, "transkun's own command")]).splitlines()
    assert len(lines) == 2
    assert lines[1].split() == ["transcribe", "a", "file", "2.00s", "9.00s", "4.50", "transkun's", "own", "command"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # librosa's loading imports modules that Python gives up
def test_the_detector_beside_ours_gives_a_number_for_each_whole_second(tmp_path):
    soundfile.write(tmp_path / "noise.wav", np.random.default_rng(0).normal(0, 0.1, 32_000 * 34 + 500), 32_000)
    found = giantmidi_detector.detect(tmp_path / "noise.wav")
    assert found.shape == (34,)  # more than one batch
    assert ((found > 0) & (found < 1)).all()
    assert giantmidi_detector.spectrum(np.zeros(33_000, np.float32)).shape == (1, 256, 64)  # the published shapes
