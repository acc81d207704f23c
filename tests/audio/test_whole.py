"""One decoding gives each of its listeners what a decoding of its own would have given, to the bit."""

from __future__ import annotations

import tracemalloc
from fractions import Fraction

import av
import numpy as np
import pytest
from fakes import encode_audio, melody, write_audio

from aria_data.audio import inspect, mono_blocks
from aria_data.audio.frames import BLOCK_SAMPLES, Tally, _seconds, converted
from aria_data.audio.opening import opened
from aria_data.audio.whole import WholeFile
from aria_data.errors import AudioUnreadable

KINDS = [
    ("wav", "pcm_s16le", 44_100, 1), ("wav", "pcm_s24le", 96_000, 2), ("wav", "pcm_f32le", 22_050, 2),
    ("flac", "flac", 48_000, 2), ("flac", "flac", 11_025, 1), ("mp3", "libmp3lame", 44_100, 2),
    ("mp3", "libmp3lame", 16_000, 1), ("opus", "libopus", 48_000, 2), ("m4a", "aac", 32_000, 2),
    ("m4a", "alac", 44_100, 1), ("ogg", "vorbis", 44_100, 2), ("wav", "pcm_s16le", 48_000, 6),
]  # fmt: skip


@pytest.mark.parametrize(("ending", "codec", "rate", "num_channels"), KINDS)
def test_one_decoding_is_bit_for_bit_what_two_are(ending, codec, rate, num_channels, tmp_path):
    sound = melody(3.3, seed=rate, rate=rate, num_channels=num_channels)
    sound[:, -1] *= -0.8  # channels that oppose each other are mixed by what was heard so far
    path = tmp_path / f"a.{ending}"
    write_audio(path, sound, rate) if codec == "vorbis" else encode_audio(path, sound, codec, rate)
    whole = WholeFile(path, 16_000)
    blocks = list(whole)
    alone = list(mono_blocks(path, 16_000))
    assert [len(block) for block in blocks] == [len(block) for block in alone]
    assert np.concatenate(blocks).tobytes() == np.concatenate(alone).tobytes()
    assert whole.facts == inspect(path)


@pytest.mark.parametrize(("ending", "codec", "rate", "num_channels"), KINDS)
def test_joined_frames_are_the_samples_of_each_frame_by_itself(ending, codec, rate, num_channels, tmp_path):
    sound = melody(2.2, seed=rate, rate=rate, num_channels=num_channels)
    path = tmp_path / f"a.{ending}"
    write_audio(path, sound, rate) if codec == "vorbis" else encode_audio(path, sound, codec, rate)
    expected: dict[str, list[np.ndarray]] = {"s16": [], "flt": []}
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            frame.pts = None
            for name, parts in expected.items():
                if name == "s16" and frame.format.name.startswith("flt"):
                    continue  # rounded in numpy, from the floats
                resampler = av.AudioResampler(format=name, layout=frame.layout, rate=frame.sample_rate)
                parts += [out.to_ndarray().reshape(-1, num_channels) for out in resampler.resample(frame)]
    with opened(path) as file:
        tally = Tally.of(file)
        found: dict[str, list[np.ndarray]] = {"s16": [], "flt": []}
        for name, block in converted(tally, {"s16": tally, "flt": Tally.of(file)}):
            found[name].append(block)
    for name, parts in expected.items():
        assert not parts or np.concatenate(found[name]).tobytes() == np.concatenate(parts).tobytes()
        assert {len(block) for block in found[name][:-1]} <= {BLOCK_SAMPLES}


def test_a_time_in_seconds_is_the_exact_fraction_rounded_once():
    rng = np.random.default_rng(0)
    for ticks, scale in zip(rng.integers(-(2**40), 2**50, 2000).tolist(), rng.integers(1, 10**9, 2000), strict=True):
        base = Fraction(int(rng.integers(1, 2000)), int(scale))
        assert _seconds(ticks, base) == float(ticks * base)
    assert _seconds(None, Fraction(1, 2)) is None


@pytest.mark.parametrize("num_bytes", [1000, 30_000, 60_001])
def test_a_damaged_file_is_described_as_by_itself(num_bytes, tmp_path):
    path = write_audio(tmp_path / "a.flac", melody(8, 1, 44_100, 2), 44_100)
    content = bytearray(path.read_bytes())
    path.write_bytes(content[: num_bytes + 20_000] if num_bytes % 2 else content[:num_bytes])
    found = []
    for read in (lambda: inspect(path), lambda: facts_of(WholeFile(path, 16_000))):
        try:
            found.append(read())
        except AudioUnreadable as error:
            found.append((str(error), error.reason, error.measured))
    assert found[0] == found[1]


def facts_of(whole: WholeFile):
    for _ in whole:
        pass
    return whole.facts


def test_a_file_that_is_too_long_is_refused_as_soon_as_it_is(tmp_path):
    path = write_audio(tmp_path / "a.wav", melody(8))
    blocks = iter(WholeFile(path, 16_000, max_duration_s=3))
    for _ in range(2):
        next(blocks)
    with pytest.raises(AudioUnreadable, match="lasts longer than 3 s"):
        next(blocks)


def test_memory_does_not_grow_with_the_file(tmp_path):
    peaks = []
    for seconds in (20, 200):
        path = write_audio(tmp_path / f"{seconds}.wav", melody(seconds, rate=8_000), 8_000)
        tracemalloc.start()
        assert facts_of(WholeFile(path, 16_000)).duration_s == seconds
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] + 100_000
