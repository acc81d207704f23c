"""Audio is taken in when it is whole and audible; a rejection carries its number, a fault its reason."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from fakes import encode_audio, melody, write_audio

from aria_data.audio import IngestConfig, ingest
from aria_data.collect import collect_folder
from aria_data.errors import AudioUnreadable

CONFIG = IngestConfig()


def take_in(path, config=CONFIG):
    (candidate,) = [each for each in collect_folder(path.parent).candidates if each.source_url == path.name]
    return ingest(candidate, path, config)


def test_a_whole_file_becomes_a_recording_named_after_its_bytes(tmp_path):
    path = write_audio(tmp_path / "a.flac", melody(6, 0, 44_100, 2), 44_100)
    recording, verdict = take_in(path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert verdict.is_kept
    assert (recording.recording_id, recording.audio_sha256) == (f"local-{sha256[:16]}", sha256)
    assert (recording.duration_s, recording.sample_rate, recording.num_channels, recording.codec) == (
        6,
        44_100,
        2,
        "flac",
    )
    assert recording.peak_db == pytest.approx(20 * np.log10(0.3), abs=0.02)
    assert recording.loudness_db == pytest.approx(20 * np.log10(0.3 / np.sqrt(2)), abs=0.05)


@pytest.mark.parametrize(
    ("waveform", "reason", "measured"),
    [
        (np.zeros((16_000 * 6, 1)), "silent", -120.0),
        (np.full((16_000 * 6, 1), 0.00025), "silent", -72.04),
        (melody(4.9), "duration_below_min", 4.9),
    ],
)
def test_what_is_not_wanted_is_a_verdict_with_its_number(tmp_path, waveform, reason, measured):
    _, verdict = take_in(write_audio(tmp_path / "a.wav", waveform, subtype="FLOAT"))
    assert not verdict.is_kept
    assert (verdict.reason, verdict.measured) == (reason, pytest.approx(measured, abs=0.5))


def test_quiet_music_on_the_limits_is_kept(tmp_path):
    quiet = melody(5.0) / 0.3 * 10 ** (-66 / 20)  # -69 dB root mean square
    assert take_in(write_audio(tmp_path / "a.wav", quiet, subtype="FLOAT"))[1].is_kept


def test_a_file_that_lacks_a_little_is_kept_and_one_that_lacks_more_is_cut_short(tmp_path):
    content = write_audio(tmp_path / "whole.wav", melody(10)).read_bytes()
    for share in (0.985, 0.975):
        (tmp_path / f"{share}.wav").write_bytes(content[: round(len(content) * share)])
    assert take_in(tmp_path / "0.985.wav")[1].is_kept
    with pytest.raises(AudioUnreadable, match=r"0.975.wav: is cut short: 9\.[78] s decode of the 10.0 s") as caught:
        take_in(tmp_path / "0.975.wav")
    assert caught.value.reason == "truncated"
    assert caught.value.measured == pytest.approx(0.975, abs=0.001)


def test_a_file_with_many_packets_that_do_not_decode_is_damaged(tmp_path):
    path = encode_audio(tmp_path / "a.aac", melody(10, 0, 48_000), "aac")
    content = bytearray(path.read_bytes())
    for place in range(2000, len(content) - 100, 1500):
        content[place : place + 40] = bytes(40)
    path.write_bytes(content)
    with pytest.raises(
        AudioUnreadable, match=r"a.aac: is damaged: \d+ packets do not decode\. Get the file again"
    ) as caught:
        take_in(path)
    assert caught.value.reason == "damaged"
    assert caught.value.measured > CONFIG.max_faults
    assert take_in(path, IngestConfig(max_fault_share=100.0))[1].is_kept


def test_a_file_that_is_too_long_names_the_setting(tmp_path):
    with pytest.raises(AudioUnreadable, match="raise ingest.max_duration_s"):
        take_in(write_audio(tmp_path / "a.wav", melody(7)), IngestConfig(max_duration_s=6.0))
