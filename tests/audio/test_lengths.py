"""Whether a file is whole: judged by what belongs to its sound, alike for builds and for commands."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from audio_files import RATE, film, id3v2, stereo, wav, wrapped
from fakes import encode_audio, melody, write_audio

from aria_data.audio import AudioReader, IntegrityLimits, inspect, require_whole
from aria_data.errors import AudioUnreadable

PICTURES = {"webm": ("libopus", "libvpx"), "mkv": ("libmp3lame", "mpeg4"), "avi": ("libmp3lame", "mpeg4")}
PICTURES |= {"mp4": ("aac", "mpeg4"), "flv": ("libmp3lame", "flv1"), "ts": ("mp2", "mpeg2video")}


def verdict(path) -> str:
    """Give the reason for which a build refuses a file, and see that the commands' way of reading gives the same."""
    reasons = []
    for read in (_as_a_build, _as_a_command):
        try:
            read(path)
            reasons.append("")
        except AudioUnreadable as error:
            reasons.append(f"{error.reason}: {error}")
    assert reasons[0] == reasons[1]
    reason, _, message = reasons[0].partition(": ")
    assert not message or message.startswith(path.name)
    assert "\n" not in message
    return reason


def _as_a_build(path):
    require_whole(path.name, inspect(path), IntegrityLimits())


def _as_a_command(path):
    with AudioReader(path, 16_000, 1, IntegrityLimits()) as reader:
        return sum(len(block) for block in reader.blocks())


def at_rate(kind: str) -> int:
    return 44_100 if kind == "flv" else RATE


@pytest.mark.parametrize("kind", PICTURES)
def test_a_picture_that_lasts_longer_is_no_proof_that_sound_is_missing(tmp_path, kind):
    codec, picture = PICTURES[kind]
    rate = at_rate(kind)
    path = film(tmp_path / f"a.{kind}", codec, [(0, melody(6, 0, rate, 2))], 10, picture, rate=rate)
    assert verdict(path) == ""
    assert inspect(path).duration_s == pytest.approx(6, abs=0.1)


@pytest.mark.parametrize("kind", ["webm", "mkv", "flv", "mp4"])
def test_a_film_that_was_cut_is_cut_short(tmp_path, kind):
    codec, picture = PICTURES[kind]
    rate = at_rate(kind)
    options = {"movflags": "faststart"} if kind == "mp4" else {}
    path = film(tmp_path / f"a.{kind}", codec, [(0, melody(6, 0, rate, 2))], 10, picture, options, rate)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert verdict(path) == "truncated"


def test_a_joined_mp3_is_whole_although_its_header_is_that_of_the_first_part(tmp_path):
    parts = [encode_audio(tmp_path / f"{n}.mp3", stereo(4, n), "libmp3lame").read_bytes() for n in range(3)]
    (tmp_path / "joined.mp3").write_bytes(b"".join(parts))
    assert verdict(tmp_path / "joined.mp3") == ""
    assert inspect(tmp_path / "joined.mp3").duration_s == pytest.approx(12, abs=0.2)


def test_an_mp3_that_has_fewer_bytes_and_frames_than_its_header_says_is_cut_short(tmp_path):
    content = encode_audio(tmp_path / "a.mp3", stereo(8), "libmp3lame").read_bytes()
    (tmp_path / "cut.mp3").write_bytes(content[: len(content) * 6 // 10])
    (tmp_path / "never written.mp3").write_bytes(content[: len(content) // 2] + bytes(len(content) // 2))
    assert verdict(tmp_path / "cut.mp3") == verdict(tmp_path / "never written.mp3") == "truncated"


@pytest.mark.parametrize("options", [{}, {"write_xing": "0"}])
def test_a_large_tag_at_either_end_of_an_mp3_changes_nothing(tmp_path, options):
    content = encode_audio(tmp_path / "a.mp3", stereo(6), "libmp3lame", options=options).read_bytes()
    size = 300_000
    footer = b"APETAGEX" + struct.pack("<IIII", 2000, size + 32, 1, 0) + bytes(8)
    item = struct.pack("<II", size - 20, 2) + b"Cover Art\0\0\0"
    ape = (item + b"Info Xing" * 40_000)[:size] + footer
    big = id3v2({"TXXX": b"Info\0Xing" * 30_000})
    for name, made in (("behind.mp3", content + ape), ("before.mp3", big + content)):
        (tmp_path / name).write_bytes(made)
        assert verdict(tmp_path / name) == ""
        assert inspect(tmp_path / name).duration_s == pytest.approx(6, abs=0.1)


def test_a_missing_end_mark_on_a_whole_ogg_page_is_a_note(tmp_path):
    content = bytearray(encode_audio(tmp_path / "a.opus", stereo(6), "libopus").read_bytes())
    at = content.rindex(b"OggS")
    (tmp_path / "stream.opus").write_bytes(content[:at])
    content[at + 5] &= ~4
    (tmp_path / "android.opus").write_bytes(_with_checksum(content, at))
    for name in ("stream.opus", "android.opus"):
        assert verdict(tmp_path / name) == ""
        assert inspect(tmp_path / name).notes == ("its last page is not marked as the last",)
    (tmp_path / "cut.opus").write_bytes(content[: at + 300])
    assert verdict(tmp_path / "cut.opus") == "truncated"


def _with_checksum(content: bytearray, at: int) -> bytes:
    """Give an Ogg page the checksum of what it is now."""
    content[at + 22 : at + 26] = bytes(4)
    crc = 0
    for byte in content[at:]:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ 0x04C11DB7 if crc & 0x8000_0000 else crc << 1) & 0xFFFF_FFFF
    content[at + 22 : at + 26] = struct.pack("<I", crc)
    return bytes(content)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_a_wav_whose_sizes_went_round_at_4_gib_is_read_to_its_end(tmp_path, share):
    path = tmp_path / "a.wav"
    path.write_bytes(wrapped(wav(melody(8, 0, 16_000, 2)), share))
    assert verdict(path) == ""
    facts = inspect(path)
    assert facts.duration_s == pytest.approx(8, abs=0.01)
    assert "all of it was read" in facts.notes[0]


@pytest.mark.parametrize("behind", [b"LIST" + struct.pack("<I", 6000) + bytes(6000), b"TAG" + bytes(125), bytes(9000)])
def test_what_lies_behind_the_sound_of_a_wav_is_not_taken_for_sound(tmp_path, behind):
    (tmp_path / "a.wav").write_bytes(wav(melody(4)) + behind)
    assert verdict(tmp_path / "a.wav") == ""
    assert (inspect(tmp_path / "a.wav").duration_s, inspect(tmp_path / "a.wav").notes) == (4.0, ())


@pytest.mark.parametrize("suffix", ["wav", "aiff", "m4a"])
def test_two_files_joined_into_one_are_refused_since_players_read_the_first_only(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    made = encode_audio(path, stereo(4), "aac") if suffix == "m4a" else write_audio(path, melody(4))
    content = made.read_bytes()
    (tmp_path / f"two.{suffix}").write_bytes(content * 2)
    assert verdict(tmp_path / f"two.{suffix}") == "sound_left_out"


@pytest.mark.parametrize("suffix", ["wav", "w64", "aiff", "caf", "au", "avi", "voc", "rf64.wav", "mov", "tta", "wv"])
def test_a_cut_file_is_cut_short_whatever_its_container(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    if suffix == "rf64.wav":
        import soundfile

        soundfile.write(path, melody(6), 16_000, format="RF64")
    else:
        codecs = {"aiff": "pcm_s16be", "au": "pcm_s16be", "avi": "libmp3lame", "tta": "tta", "wv": "wavpack"}
        encode_audio(path, stereo(6), codecs.get(suffix, "pcm_s16le"))
    assert verdict(path) == ""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 7 // 10])
    assert verdict(path) in ("truncated", "not_audio")


def test_a_cut_fragment_is_a_cut_file(tmp_path):
    options = {"movflags": "frag_keyframe+empty_moov", "frag_duration": "1000000"}
    content = encode_audio(tmp_path / "a.mp4", stereo(8), "aac", options=options).read_bytes()
    assert verdict(tmp_path / "a.mp4") == ""
    (tmp_path / "a.mp4").write_bytes(content[: len(content) * 6 // 10])
    assert verdict(tmp_path / "a.mp4") == "truncated"


def test_nothing_that_decodes_is_an_error_and_never_silence(tmp_path):
    (tmp_path / "a.wav").write_bytes(wav(np.zeros((0, 1))))
    assert verdict(tmp_path / "a.wav") == "no_audio_decoded"
