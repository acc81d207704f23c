"""One decoding gives each of its listeners what a decoding of its own would have given, to the bit."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from fakes import encode_audio, melody, write_audio

from aria_data.audio import inspect, mono_blocks
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
