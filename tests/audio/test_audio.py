"""Audio is decoded to the sample: what a file holds, spans of it, and what it announces."""

from __future__ import annotations

import hashlib
import math
import struct
import tracemalloc

import numpy as np
import pytest
from fakes import encode_audio, melody, write_audio
from hypothesis import given, settings
from hypothesis import strategies as st

from aria_data.audio import AudioReader, Readers, inspect, probe
from aria_data.audio.containers import ending_of
from aria_data.audio.decode import FLOOR_DB, to_db
from aria_data.collect.folder import audio_files
from aria_data.errors import AudioUnreadable

RATE = 16_000


def whole(path, rate=RATE, num_channels=1, **span) -> np.ndarray:
    with AudioReader(path, rate, num_channels) as reader:
        return np.concatenate([np.zeros((0, num_channels), np.float32), *reader.blocks(**span)])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audio")
    waveform = melody(6, 0, 48_000, 2) * [1.0, 0.5]
    return {
        "wav": write_audio(folder / "a.wav", waveform, 48_000),
        "flac": write_audio(folder / "a.flac", waveform, 48_000),
        "ogg": write_audio(folder / "a.ogg", waveform, 48_000),
        "mp3": encode_audio(folder / "a.mp3", waveform.astype(np.float32), "libmp3lame"),
        "m4a": encode_audio(folder / "a.m4a", waveform.astype(np.float32), "aac"),
    }


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(["wav", "flac", "ogg", "mp3", "m4a"]),
    st.lists(st.tuples(st.floats(0, 7), st.floats(0, 3)), min_size=1, max_size=4),
)
def test_spans_read_from_one_reader_are_slices_of_the_whole(files, suffix, spans):
    decoded = whole(files[suffix], 48_000, 2)
    with AudioReader(files[suffix], 48_000, 2) as reader:
        for start_s, length_s in spans:  # in any order, so the reader has to go back, too
            blocks = list(reader.blocks(start_s, start_s + length_s))
            read = np.concatenate([np.zeros((0, 2), np.float32), *blocks])
            expected = decoded[round(start_s * 48_000) : round((start_s + length_s) * 48_000)]
            assert np.array_equal(read, expected)


def test_a_reader_whose_span_was_not_read_to_its_end_still_gives_the_next_one_right(files):
    decoded = whole(files["flac"], 48_000, 2)
    with AudioReader(files["flac"], 48_000, 2) as reader:
        for start_s in (1.0, 2.0, 3.0, 0.5):
            block, start = next(reader.blocks(start_s, start_s + 2.0)), round(start_s * 48_000)
            assert np.array_equal(block, decoded[start : start + len(block)])
        assert np.array_equal(np.concatenate(list(reader.blocks(4.0, 5.0))), decoded[192_000:240_000])


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 192_000])
def test_resampled_audio_keeps_its_length_and_its_shape(tmp_path, rate):
    times = np.arange(3 * rate) / rate
    tone = (0.4 * np.sin(2 * np.pi * 440 * times))[:, None]
    decoded = whole(write_audio(tmp_path / "a.wav", tone, rate, subtype="FLOAT"))[:, 0]
    assert abs(len(decoded) - 3 * RATE) <= 1
    expected = 0.4 * np.sin(2 * np.pi * 440 * np.arange(len(decoded)) / RATE)
    assert np.abs(decoded - expected)[RATE // 10 : -RATE // 10].max() < 1e-3


def test_channels_are_mixed_down_and_copied_up(tmp_path):
    left_only = melody(1, 0, RATE, 2) * [1.0, 0.0]
    path = write_audio(tmp_path / "a.wav", left_only, subtype="FLOAT")
    mono, stereo = whole(path), whole(path, RATE, 2)
    assert np.allclose(mono[:, 0], left_only[:, 0] * np.sqrt(0.5), atol=1e-3)  # FFmpeg keeps the power of the channels
    assert np.allclose(stereo, left_only, atol=1e-3)
    twice = whole(write_audio(tmp_path / "b.wav", melody(1), subtype="FLOAT"), RATE, 2)
    assert np.array_equal(twice[:, 0], twice[:, 1])


def test_facts_are_those_of_the_samples(tmp_path):
    waveform = (np.random.default_rng(0).normal(0, 3000, (RATE * 2, 2))).astype(np.int16)
    facts = inspect(write_audio(tmp_path / "a.wav", waveform))
    assert facts.samples_sha256 == hashlib.sha256(waveform.tobytes()).hexdigest()
    wide = waveform.astype(float) / 32768
    assert facts.loudness_db == pytest.approx(20 * math.log10(np.sqrt((wide**2).mean())), abs=1e-6)
    assert facts.peak_db == pytest.approx(20 * math.log10(np.abs(wide).max()), abs=1e-6)
    assert (facts.duration_s, facts.num_faults, facts.early_end) == (2.0, 0, "")
    assert (facts.info.sample_rate, facts.info.num_channels, facts.info.duration_s) == (RATE, 2, 2.0)


def test_the_most_negative_sample_is_full_scale(tmp_path):
    facts = inspect(write_audio(tmp_path / "a.wav", np.full((RATE, 1), -32768, np.int16)))
    assert (facts.loudness_db, facts.peak_db) == (0.0, 0.0)


def test_the_same_samples_in_wav_and_flac_have_the_same_hash_and_other_tags_do_not_change_it(tmp_path):
    waveform = (melody(3) * 32767).astype(np.int16)
    hashes = {inspect(write_audio(tmp_path / f"a.{suffix}", waveform)).samples_sha256 for suffix in ("wav", "flac")}
    assert len(hashes) == 1
    tagged = [
        inspect(
            encode_audio(tmp_path / f"{n}.mp3", melody(3, 0, 48_000), "libmp3lame", tags={"title": n})
        ).samples_sha256
        for n in ("a", "b")
    ]
    assert tagged[0] == tagged[1]


def test_silence_measures_the_floor_and_full_scale_zero():
    assert (to_db(0.0), to_db(1.0), to_db(1e-30)) == (FLOOR_DB, 0.0, FLOOR_DB)


def test_a_file_longer_than_allowed_is_not_read_to_its_end(tmp_path):
    with pytest.raises(AudioUnreadable, match=r"lasts longer than 2 s, the longest allowed") as caught:
        inspect(write_audio(tmp_path / "a.wav", melody(4)), max_duration_s=2)
    assert caught.value.reason == "too_long"
    assert 2 < caught.value.measured < 3


def test_a_long_file_needs_no_more_memory_than_a_short_one(tmp_path):
    path = write_audio(tmp_path / "a.flac", np.tile(melody(10, rate=48_000), (30, 1)), 48_000)  # 57 MB as float32
    tracemalloc.start()
    inspect(path)
    with AudioReader(path, RATE, 1) as reader:
        assert sum(len(block) for block in reader.blocks()) == pytest.approx(300 * RATE, abs=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def test_tags_are_read_with_small_names_from_every_kind_of_file(tmp_path):
    for suffix, codec in (("mp3", "libmp3lame"), ("flac", "flac"), ("m4a", "aac"), ("opus", "libopus")):
        path = encode_audio(
            tmp_path / f"a.{suffix}", melody(1, 0, 48_000), codec, tags={"title": "Für Elise", "artist": "B"}
        )
        info = probe(path)
        assert (info.tags["title"], info.tags["artist"]) == ("Für Elise", "B")


@pytest.mark.parametrize(("seconds", "rate"), [(0.05, RATE), (1, 7_350), (1, 384_000)])
def test_very_short_and_odd_files_are_read(tmp_path, seconds, rate):
    path = write_audio(tmp_path / "a.wav", melody(seconds, 0, rate), rate)
    assert inspect(path).duration_s == pytest.approx(seconds)
    assert len(whole(path)) == pytest.approx(seconds * RATE, abs=2)


@pytest.mark.parametrize("rate", [1, 0xFFFF_FFFF])
def test_a_header_with_an_absurd_rate_is_refused_or_read_and_never_anything_else(tmp_path, rate):
    content = bytearray(write_audio(tmp_path / "a.wav", melody(1)).read_bytes())
    content[24:28] = rate.to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(content)
    try:
        facts = inspect(tmp_path / "a.wav", max_duration_s=60)
    except AudioUnreadable as error:
        assert error.reason in ("not_audio", "too_long")  # noqa: PT017  which one depends on FFmpeg
    else:
        assert facts.duration_s < 60


def test_a_file_that_was_replaced_by_a_shorter_one_gives_what_there_is(tmp_path):
    assert len(whole(write_audio(tmp_path / "a.wav", melody(2)), start_s=1.5, end_s=5.0)) == RATE // 2
    assert len(whole(tmp_path / "a.wav", start_s=3.0, end_s=5.0)) == 0


def test_which_containers_state_their_length(tmp_path, files):
    assert probe(files["mp3"]).is_duration_stated
    bare = encode_audio(tmp_path / "a.mp3", melody(1, 0, 48_000), "libmp3lame", options={"write_xing": "0"})
    assert not probe(bare).is_duration_stated
    size = bytes([0, 0, 0x4E, 0x10])  # 10,000 bytes of tag before the sound
    (tmp_path / "tagged.mp3").write_bytes(b"ID3\x03\0\0" + size + bytes(10_000) + files["mp3"].read_bytes())
    assert probe(tmp_path / "tagged.mp3").is_duration_stated
    assert not probe(encode_audio(tmp_path / "a.aac", melody(1, 0, 48_000), "aac")).is_duration_stated
    assert probe(files["flac"]).is_duration_stated


def test_what_shows_that_a_container_was_cut(tmp_path, files):
    assert ending_of(files["ogg"], "ogg").early_end == ending_of(files["ogg"], "ogg").note == ""
    assert ending_of(files["wav"], "wav").share == 1.0
    for name, share in (("wav", 0.25), ("ogg", 0.9)):
        content = files[name].read_bytes()
        (tmp_path / name).write_bytes(content[: round(len(content) * share)])
    assert ending_of(tmp_path / "wav", "wav").share == pytest.approx(0.25, abs=1e-4)
    assert ending_of(tmp_path / "ogg", "ogg").early_end == "its last page is cut"
    ogg = files["ogg"].read_bytes()
    (tmp_path / "with a tag behind").write_bytes(ogg + b"TAG" + bytes(125))
    assert ending_of(tmp_path / "with a tag behind", "ogg").early_end == ""
    (tmp_path / "rf64").write_bytes(b"RF64\xff\xff\xff\xffWAVE")
    assert ending_of(tmp_path / "rf64", "wav").share == 1.0


@pytest.mark.parametrize("rate", [1, 100_000_000])
def test_an_absurd_rate_is_refused_before_it_fills_the_memory(tmp_path, rate):
    path = write_audio(tmp_path / "x.wav", melody(1))
    content = bytearray(path.read_bytes())
    content[24:28] = rate.to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(AudioUnreadable, match="samples a second|not audio"):
        probe(path)


def dsd_bits(rate: int, hz: float, seconds: float) -> np.ndarray:
    """One bit a sample, more often 1 where the wave is high: what a DSD recorder writes, with more noise."""
    times = np.arange(int(rate * seconds) // 32_768 * 32_768) / rate
    return np.random.default_rng(0).random(len(times)) < 0.5 + 0.4 * np.sin(2 * np.pi * hz * times)


def dsf(rate: int, bits: np.ndarray) -> bytes:
    data = np.packbits(bits, bitorder="little").tobytes()
    facts = struct.pack("<QIIIIIIQII", 52, 1, 0, 1, 1, rate, 1, len(bits), 4096, 0)
    rest = b"fmt " + facts + b"data" + struct.pack("<Q", 12 + len(data)) + data
    return b"DSD " + struct.pack("<QQQ", 28, 28 + len(rest), 0) + rest


def dff(rate: int, bits: np.ndarray) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return name + struct.pack(">Q", len(content)) + content

    facts = chunk(b"FS  ", struct.pack(">I", rate)) + chunk(b"CHNL", b"\0\x01C   ")
    facts += chunk(b"CMPR", b"DSD \x0enot compressed\0")
    rest = chunk(b"FVER", b"\x01\x05\0\0") + chunk(b"PROP", b"SND " + facts)
    return chunk(b"FRM8", b"DSD " + rest + chunk(b"DSD ", np.packbits(bits).tobytes()))


@pytest.mark.parametrize("times", [64, 128, 256, 512])
@pytest.mark.parametrize("write", [dsf, dff])
def test_dsd_of_every_rate_has_its_pitch_and_length(tmp_path, times, write):
    rate = times * (48_000 if times == 512 else 44_100)
    bits = dsd_bits(rate, 1000.0, 0.2)
    path = tmp_path / f"x.{write.__name__}"
    path.write_bytes(write(rate, bits))
    waveform = whole(path)[:, 0]
    assert len(waveform) == pytest.approx(len(bits) / rate * RATE, abs=2)
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform))))
    assert np.argmax(spectrum[5:]) + 5 == pytest.approx(1000.0 * len(waveform) / RATE, abs=1)
    assert path in audio_files(tmp_path)
    assert inspect(path).duration_s == pytest.approx(len(bits) / rate, abs=0.001)


def test_spans_of_one_file_share_a_reader_and_another_file_closes_it(tmp_path):
    paths = [write_audio(tmp_path / name, melody(3, seed)) for seed, name in enumerate(("a.wav", "b.wav"))]
    with Readers(RATE, 1) as readers:
        first = readers.of(paths[0])
        assert len(np.concatenate(list(first.blocks(0, 1)))) == RATE
        assert readers.of(paths[0]) is first
        other = readers.of(paths[1])
        assert other is not first
        assert first._blocks is None
        list(other.blocks(0, 1))
    assert other._blocks is None
