"""Positions agree with a player: a late beginning and gaps are silence, and nothing else is changed."""

from __future__ import annotations

import numpy as np
import pytest
from audio_files import RATE, film
from fakes import encode_audio, melody

from aria_data.audio import AudioReader, IntegrityLimits, inspect
from aria_data.audio.timeline import Moment, Timeline

KINDS = {"webm": ("libopus", "libvpx"), "mkv": ("libmp3lame", "mpeg4"), "mp4": ("aac", "mpeg4")}
KINDS |= {"flv": ("libmp3lame", "flv1"), "ts": ("mp2", "mpeg2video"), "mpg": ("mp2", "mpeg2video")}


def click_times(path) -> list[float]:
    """When the file gets loud after it was silent, in seconds."""
    with AudioReader(path, 16_000, 1, IntegrityLimits()) as reader:
        heard = np.concatenate(list(reader.blocks()))[:, 0]
    loud = np.flatnonzero(np.abs(heard) > 0.1) / 16_000
    return [float(at) for before, at in zip([-9.0, *loud[:-1]], loud, strict=True) if at - before > 0.25]


def clicks(seconds: float, rate: int) -> np.ndarray:
    """A burst of 20 ms every half second, from the first quarter on."""
    times = np.arange(round(seconds * rate)) / rate
    burst = (times - 0.25) % 0.5 < 0.02
    return np.repeat((0.5 * burst * np.sin(2 * np.pi * 1000 * times))[:, None], 2, axis=1).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_sound_that_begins_late_is_where_a_player_plays_it(tmp_path, kind):
    codec, picture = KINDS[kind]
    rate = 44_100 if kind == "flv" else RATE
    path = film(tmp_path / f"a.{kind}", codec, [(3, clicks(4, rate))], 8, picture, rate=rate)
    assert click_times(path) == pytest.approx([3.25 + 0.5 * n for n in range(8)], abs=0.05)
    assert inspect(path).lead_s == pytest.approx(3, abs=0.05)
    assert "silence stands before it" in inspect(path).notes[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_gap_between_packets_is_silence(tmp_path, kind):
    codec, picture = KINDS[kind]
    rate = 44_100 if kind == "flv" else RATE
    sounds = [(0, clicks(2, rate)), (4.5, clicks(2, rate))]
    path = film(tmp_path / f"a.{kind}", codec, sounds, 8, picture, rate=rate)
    expected = [0.25, 0.75, 1.25, 1.75, 4.75, 5.25, 5.75, 6.25]
    assert click_times(path) == pytest.approx(expected, abs=0.05)
    assert any("are read as silence" in note for note in inspect(path).notes)


@pytest.mark.parametrize(
    "suffix", ["mp3", "m4a", "opus", "flac", "aac", "webm", "mkv", "avi", "ts", "wv", "tta", "caf"]
)
def test_a_file_without_gaps_is_as_long_as_its_samples(tmp_path, suffix):
    codecs = {"mp3": "libmp3lame", "opus": "libopus", "flac": "flac", "webm": "libopus", "mkv": "libmp3lame"}
    codecs |= {"avi": "libmp3lame", "ts": "mp2", "wv": "wavpack", "tta": "tta", "caf": "pcm_s16le"}
    path = encode_audio(tmp_path / f"a.{suffix}", melody(5, 0, RATE, 2), codecs.get(suffix, "aac"))
    facts = inspect(path)
    assert facts.duration_s == pytest.approx(5, abs=0.06)
    assert (facts.lead_s, facts.notes) == (0, ())


@pytest.mark.parametrize(
    ("starts_s", "silences_s"),
    [
        ([0.0, 0.02, 0.04, 0.06], [0, 0, 0, 0]),
        ([0.0, 0.02, 1.04, 1.06], [0, 0, 1.0, 0]),
        ([0.0, 0.021, 0.042, 0.063], [0, 0, 0, 0]),  # a clock that is a little fast
        ([0.0, 0.02, 5.0, 0.06, 0.08], [0, 0, 0, 0, 0]),  # one wrong time stamp
        ([0.0, 0.04, 0.08, 0.12, 0.14], [0, 0, 0.04, 0, 0]),  # single packets are lost
        ([0.0, 0.02, 90.0, 90.02], [0, 0, 0, 0]),  # longer than the file
        ([0.0, 0.02, None, 0.06, 0.58], [0, 0, 0, 0, 0.5]),
    ],
)
def test_only_a_jump_that_lasts_is_a_gap(starts_s, silences_s):
    timeline = Timeline(0.0, 10.0)
    moments = [Moment(start_s, 0.02) for start_s in starts_s]
    found = [timeline.silence_before(one, after) for one, after in zip(moments, [*moments[1:], None], strict=True)]
    assert found == pytest.approx(silences_s)
    assert timeline.num_jumps == (max(each or 0 for each in starts_s) > 10)
