"""Whatever files lie in the source folder: one clear line for each that cannot be used, and the rest goes on.

The classifier and the transcriber are stand-ins (see `fakes`); everything that touches files is real.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import struct
import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from fakes import encode_audio, melody, noise, use_fakes, write_audio

from aria_data.collect import collect_folder
from aria_data.manifest import Manifest
from aria_data.midi import read_midi
from aria_data.records import Rejection
from aria_data.storage import printable
from aria_data.storage.files import from_location
from aria_data.storage.stage_tables import RecordTable
from flows.build.assemble import BuildSummary
from flows.cli.jobs import run_build
from flows.show.build_tables import closing_tables

SETTINGS = ("segment.min_segment_s=5",)
ADVICE = ("Get the", "Check ", "Remove ", "remove ", "Cut it")  # a failure says what to do next


# ---------------------------------------------------------------- files that cannot be used


def _cut(path: Path, share: float = 0.6) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: round(len(content) * share)])


def _stereo(seed: int) -> np.ndarray:
    return melody(8, seed, 48_000, 2)


def _wav_header_only(path: Path) -> None:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))


def _write_text(text: str) -> Callable[[Path], None]:
    return lambda path: path.write_text(text)


def _write_bytes(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content)


def _cut_wav(path: Path) -> None:
    _cut(write_audio(path, melody(8, 101)))


def _cut_flac(path: Path) -> None:
    _cut(write_audio(path, melody(8, 102)))


def _cut_ogg(path: Path) -> None:
    _cut(write_audio(path, _stereo(103), 48_000))


def _cut_opus(path: Path) -> None:
    _cut(encode_audio(path, _stereo(104), "libopus"))


def _cut_mp3(path: Path) -> None:
    _cut(encode_audio(path, _stereo(105), "libmp3lame"))


def _cut_m4a(path: Path) -> None:
    _cut(encode_audio(path, _stereo(106), "aac"))


def _cut_streaming_m4a(path: Path) -> None:
    _cut(encode_audio(path, _stereo(107), "aac", options={"movflags": "faststart"}))


def _cut_webm(path: Path) -> None:
    _cut(encode_audio(path, _stereo(108), "libopus"))


def _damaged_flac(path: Path) -> None:
    content = bytearray(write_audio(path, melody(8, 109)).read_bytes())
    content[len(content) // 3 : len(content) // 2] = bytes(len(content) // 2 - len(content) // 3)
    path.write_bytes(content)


def _chained_ogg_with_another_rate(path: Path) -> None:
    """FFmpeg stops reading there; the seconds behind must not be lost in silence."""
    first = write_audio(path, melody(30, 110, 16_000)).read_bytes()
    path.write_bytes(first + write_audio(path, melody(30, 111, 44_100), 44_100).read_bytes())


def _film_without_sound(path: Path) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        for _ in range(20):
            container.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
        container.mux(stream.encode(None))


# name -> (what makes it, reason)
FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "text.mp3": (_write_text("this is no audio\n" * 500), "not_audio"),
    "page.wav": (_write_text("<!doctype html><title>404</title>"), "not_audio"),
    "one byte.mp3": (_write_bytes(b"\xff"), "not_audio"),
    "random.mp3": (_write_bytes(np.random.default_rng(0).bytes(50_000)), "not_audio"),
    "zeros.mp3": (_write_bytes(bytes(50_000)), "not_audio"),
    "random.ogg": (_write_bytes(np.random.default_rng(1).bytes(50_000)), "not_audio"),
    "empty.mp3": (_write_bytes(b""), "empty_file"),
    "header only.wav": (_wav_header_only, "no_audio_decoded"),
    "film.mp4": (_film_without_sound, "no_audio_stream"),
    "cut.wav": (_cut_wav, "truncated"),
    "cut.flac": (_cut_flac, "truncated"),
    "cut.ogg": (_cut_ogg, "truncated"),
    "cut.opus": (_cut_opus, "truncated"),
    "cut.mp3": (_cut_mp3, "truncated"),
    "cut.m4a": (_cut_m4a, "not_audio"),  # its table of contents was at the end
    "cut streaming.m4a": (_cut_streaming_m4a, "truncated"),
    "cut.webm": (_cut_webm, "truncated"),
    "damaged.flac": (_damaged_flac, "truncated"),
    "chained.ogg": (_chained_ogg_with_another_rate, "truncated"),
    "fifo.mp3": (os.mkfifo, "not_a_file"),
    "device.mp3": (lambda path: path.symlink_to("/dev/zero"), "not_a_file"),
}

# what may be there tomorrow: name -> what makes it
AWAY: dict[str, Callable[[Path], object]] = {
    "dangling.mp3": lambda path: path.symlink_to("nowhere.mp3"),
    "loop.mp3": lambda path: path.symlink_to("loop.mp3"),
}


# ---------------------------------------------------------------- odd, but whole


def _stream_wav(path: Path, size: int) -> None:
    """A WAV that was written to a pipe announces no size, or the largest."""
    content = write_audio(path, melody(8, 201)).read_bytes()
    at = content.index(b"data") + 4
    path.write_bytes(
        content[:4] + struct.pack("<I", size) + content[8:at] + struct.pack("<I", size) + content[at + 4 :]
    )


def _joined_mp3(path: Path) -> None:
    first = encode_audio(path, melody(4, 202, 48_000, 2), "libmp3lame").read_bytes()
    path.write_bytes(first + encode_audio(path, melody(4, 203, 44_100, 1), "libmp3lame", 44_100).read_bytes())


def _uneven_adts(path: Path) -> None:
    """FFmpeg guesses the length of raw AAC from its beginning; after a quiet one the guess is many times too long."""
    quiet = np.zeros((20 * 48_000, 2), np.float32)
    encode_audio(path, np.concatenate([quiet, melody(8, 204, 48_000, 2)]), "aac")


def _uneven_mp3(path: Path) -> None:
    waveform = np.concatenate([np.zeros((20 * 48_000, 2), np.float32), melody(8, 205, 48_000, 2)])
    quality = {"flags": "+qscale", "global_quality": "236"}
    encode_audio(path, waveform, "libmp3lame", options={"write_xing": "0"}, codec_options=quality)


def _mp3_with_a_picture(path: Path) -> None:
    content = encode_audio(path, melody(8, 206, 48_000, 2), "libmp3lame").read_bytes()
    size = 1 << 20
    header = b"ID3\x03\0\0" + bytes((size >> shift) & 0x7F for shift in (21, 14, 7, 0))
    path.write_bytes(header + bytes(size) + content)


# name -> (what makes it, seconds)
GOOD: dict[str, tuple[Callable[[Path], object], float]] = {
    "plain.wav": (lambda path: write_audio(path, melody(8, 1)), 8),
    "8 bit.wav": (lambda path: write_audio(path, melody(8, 2), subtype="PCM_U8"), 8),
    "24 bit.wav": (lambda path: write_audio(path, melody(8, 3), subtype="PCM_24"), 8),
    "32 bit.wav": (lambda path: write_audio(path, melody(8, 4), subtype="PCM_32"), 8),
    "float32.wav": (lambda path: write_audio(path, melody(8, 5), subtype="FLOAT"), 8),
    "float64.wav": (lambda path: write_audio(path, melody(8, 6), subtype="DOUBLE"), 8),
    "24 bit.flac": (lambda path: write_audio(path, melody(8, 7), subtype="PCM_24"), 8),
    "stereo.wav": (lambda path: write_audio(path, melody(8, 8, num_channels=2)), 8),
    "three channels.wav": (lambda path: write_audio(path, melody(8, 9, num_channels=3)), 8),
    "surround.wav": (lambda path: write_audio(path, melody(8, 10, num_channels=6)), 8),
    "sixteen channels.wav": (lambda path: write_audio(path, melody(8, 11, num_channels=16)), 8),
    "surround.m4a": (lambda path: encode_audio(path, melody(8, 12, 48_000, 6), "aac"), 8),
    "mono.mp3": (lambda path: encode_audio(path, melody(8, 13, 44_100, 1), "libmp3lame", 44_100), 8),
    "mono.opus": (lambda path: encode_audio(path, melody(8, 14, 48_000, 1), "libopus"), 8),
    **{
        f"{rate} hertz.wav": (lambda path, rate=rate: write_audio(path, melody(8, rate, rate), rate), 8)
        for rate in (8_000, 11_025, 22_050, 44_100, 96_000, 192_000)
    },
    "pipe.wav": (lambda path: _stream_wav(path, 0xFFFF_FFFF), 8),
    "pipe without size.wav": (lambda path: _stream_wav(path, 0), 8),
    "joined.mp3": (_joined_mp3, 8),
    "uneven.aac": (_uneven_adts, 28),
    "uneven.mp3": (_uneven_mp3, 28),
    "with a picture.mp3": (_mp3_with_a_picture, 8),
    "long/" + "n" * 251 + ".wav": (lambda path: write_audio(path, melody(8, 20)), 8),
}

HOSTILE_NAMES = [
    'it\'s "quoted" & `ticked` $(echo).wav',
    "two\nlines, the second: 0 failed.wav",
    "tab\tand return\r.wav",
    "emoji 🎹.wav",
    "rich [bold red]markup[/] :bomb:.wav",
    "right to left \u202egnp.wav",
    "escape \x1b[2J\x1b]0;title\x07.wav",
    b"not utf-8 \xff\xfe.wav",
    "x%2F..%2F..%2Fetc%2Fpasswd.wav",
    "%s %n %d {0} {name}.wav",
    "-rf --help.wav",
    " ' OR 1=1; DROP TABLE manifest; --.wav",
    "file:.wav",
    "question?mark#hash%20.wav",
    "x .. .wav",
    "con.nul.wav",
    "é as two characters e\u0301.wav",
]


@dataclass
class World:
    """One folder with everything above, and what a build made of it."""

    source: Path
    out: Path
    summary: BuildSummary
    again: BuildSummary

    def row(self, name: str | bytes) -> dict | None:
        wanted = printable(name, 1000)
        return next((row for row in Manifest(self.out).rows() if row["source_url"] == wanted), None)

    def rejections(self, name: str | bytes) -> list[Rejection]:
        records = RecordTable(self.out, "rejections", Rejection).read()
        return [record for record in records if record.source_url == printable(name, 1000)]


def _path(folder: Path, name: str | bytes) -> Path:
    return folder / (os.fsdecode(name) if isinstance(name, bytes) else name)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("place") / "my set #1? 50% é"
    (source / "long").mkdir()
    for name, (make, _) in {**FAULTS, **GOOD}.items():
        make(source / name)
    for name, make_away in AWAY.items():
        make_away(source / name)
    for number, name in enumerate(HOSTILE_NAMES):
        write_audio(_path(source, name).with_name("made.wav"), melody(6, 300 + number)).rename(_path(source, name))
    write_audio(source / "silent.wav", np.zeros((160_000, 1), np.float32))
    write_audio(source / "nearly silent.wav", noise(8) * 1e-5)
    write_audio(source / "too short.wav", melody(2, 30))
    write_audio(source / "noise.wav", noise(8))
    for number, folder in enumerate(("a", "b")):
        write_audio(source / folder / "same name.wav", melody(8, 40 + number))
    write_audio(source / "copy 1.wav", melody(8, 50))
    shutil.copy(source / "copy 1.wav", source / "copy 2.wav")
    write_audio(source / "folder.mp3" / "inside.wav", melody(8, 60))
    (source / "empty folder.mp3").mkdir()
    (source / "round and round").symlink_to(source, target_is_directory=True)
    (source / "notes.txt").write_text("no audio by its name")
    for name in ("..%2F..%2Fetc%2Fpasswd.wav", "._plain.wav"):  # what macOS leaves beside each file begins like this
        (source / name).write_text("hidden")
    with pytest.MonkeyPatch.context() as patch:
        use_fakes(patch)
        summaries = [run_build(source, out, settings=SETTINGS, with_prefect=False) for _ in range(2)]
    return World(source, out, *summaries)


@pytest.mark.parametrize("name", FAULTS)
def test_a_file_that_cannot_be_used_gets_one_line_with_its_name_the_reason_and_what_to_do(world, name):
    (line,) = [line for line in world.summary.failures if line.startswith(f"{printable(name)}: ")]
    reason = FAULTS[name][1]
    assert line.startswith(f"{printable(name)}: {reason} (")
    assert "\n" not in line
    assert any(advice in line for advice in ADVICE), line
    (rejection,) = world.rejections(name)
    assert (rejection.stage, rejection.reason, rejection.is_failure) == ("ingest", reason, True)
    assert world.row(name) is None


@pytest.mark.parametrize("name", AWAY)
def test_a_file_that_is_away_is_not_done_and_no_failure(world, name):
    (line,) = [line for line in world.summary.not_done if name in line]
    assert line.startswith(f"{name}: file_missing ({name}: cannot be found (")
    assert "Bring it back" in line
    assert world.rejections(name) == []


@pytest.mark.parametrize("name", GOOD)
def test_an_odd_but_whole_file_is_transcribed_at_its_right_length(world, name):
    assert world.rejections(name) == []
    row = world.row(name)
    assert row is not None
    assert row["end_s"] == pytest.approx(GOOD[name][1], abs=0.15)
    loud_s = min(GOOD[name][1], 8.0)
    assert row["num_notes"] == pytest.approx(2 * loud_s, abs=2)  # the fake gives two notes a second


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_hostile_name_changes_nothing_but_how_it_is_shown(world, name):
    row = world.row(name)
    assert row is not None
    assert row["num_notes"] == 12
    assert row["source_url"].isprintable()
    assert "\u202e" not in row["source_url"] + row["title"]
    assert (world.out / row["midi_path"]).resolve().is_relative_to(world.out / "midi")
    assert len(read_midi(world.out / row["midi_path"]).notes) == 12


@pytest.mark.parametrize(
    ("name", "stage", "reason"),
    [
        ("silent.wav", "ingest", "silent"),
        ("nearly silent.wav", "ingest", "silent"),
        ("too short.wav", "ingest", "duration_below_min"),
        ("noise.wav", "segment", "no_solo_piano"),
    ],
)
def test_what_is_whole_but_not_wanted_is_rejected_with_its_number_and_is_no_failure(world, name, stage, reason):
    (rejection,) = world.rejections(name)
    assert (rejection.stage, rejection.reason, rejection.is_failure) == (stage, reason, False)
    assert rejection.measured is not None


def test_two_files_of_one_name_in_two_folders_are_two_recordings(world):
    rows = [world.row("a/same name.wav"), world.row("b/same name.wav")]
    assert len({row["recording_id"] for row in rows}) == 2


def test_the_same_bytes_twice_are_one_recording_and_the_copy_says_of_what(world):
    assert world.row("copy 1.wav")
    (rejection,) = world.rejections("copy 2.wav")
    assert (rejection.reason, rejection.is_failure) == ("same_bytes", False)
    assert rejection.detail == "the same file as copy 1.wav"


def test_a_folder_named_like_audio_is_a_folder_and_a_loop_of_folders_ends(world):
    assert world.row("folder.mp3/inside.wav")
    assert not [line for line in world.summary.failures if "empty folder" in line]
    assert not [row for row in Manifest(world.out).rows() if "round and round" in row["source_url"]]


def test_what_is_hidden_or_no_audio_by_its_name_is_left_aside_and_counted(world):
    assert world.summary.left_aside == {"hidden": 2, ".txt": 1}


def test_the_books_of_a_build_with_every_kind_of_fault_are_balanced(world):
    num_rejected = 5  # two silent, one short, one noise, one copy
    num_kept = len(GOOD) + len(HOSTILE_NAMES) + 4  # two of one name, one copied, one inside a folder named like audio
    balance = world.summary.candidates
    assert (balance.num_failed, balance.num_rejected, balance.num_not_done) == (len(FAULTS), num_rejected, len(AWAY))
    assert balance.num_in_manifest == num_kept
    assert balance.num_in == len(FAULTS) + num_rejected + num_kept + len(AWAY)
    assert len(world.summary.not_done) == len(AWAY)


def test_a_build_with_faults_leaves_nothing_half_written(world):
    assert not list(world.out.rglob("*.partial"))
    rows = Manifest(world.out).rows()
    files = {str(path.relative_to(world.out)) for path in (world.out / "midi").rglob("*") if path.is_file()}
    assert files == {row["midi_path"] for row in rows}


def test_a_second_build_repeats_the_lines_and_does_no_work(world):
    assert world.again.failures == world.summary.failures
    assert world.again.candidates == world.summary.candidates
    assert not world.again.is_new_version
    worked_on = {name: stage.num_worked_on for name, stage in world.again.stages.items() if stage.num_worked_on}
    assert worked_on == {"ingest": len(AWAY)}


def test_a_closing_list_shows_names_as_they_are_without_control_characters(world, capsys):
    marked_up = "[bold]x[/] :bomb:.mp3: not_audio (…)"
    closing_tables(dataclasses.replace(world.summary, failures=[marked_up, *world.summary.failures]), "out")
    shown = capsys.readouterr().out
    assert all(char.isprintable() or char == "\n" for char in shown)
    for line in (marked_up, *world.summary.failures[:10]):
        assert f"  {line}\n" in shown


def test_the_location_of_any_name_leads_back_to_its_file(world):
    candidates = collect_folder(world.source).candidates
    paths = {from_location(candidate.location, world.out) for candidate in candidates}
    assert all(candidate.location.isascii() for candidate in candidates)
    assert {_path(world.source, name) for name in HOSTILE_NAMES} <= paths
