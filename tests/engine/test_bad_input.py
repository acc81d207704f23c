"""Whatever lies in the source folder or the dataset folder: one clear line, the rest goes on, nothing half is left.

The classifier and the transcriber are stand-ins (see `fakes`); everything that touches files is real.
"""

from __future__ import annotations

import dataclasses
import http.server
import json
import os
import shutil
import struct
import subprocess
import sys
import threading
import urllib.error
import urllib.request
import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from fakes import encode_audio, manifest_row, melody, noise, use_fakes, write_audio
from places import SUPPORT

from aria_data.audio import probe
from aria_data.collect import collect_folder
from aria_data.errors import (
    ConfigInvalid,
    DatasetCorrupt,
    DatasetLocked,
    DatasetNotFound,
    DatasetNotWritable,
    UsageError,
)
from aria_data.manifest import Manifest, manifest
from aria_data.midi import read_midi
from aria_data.records import Rejection
from aria_data.storage import exclusive_lock, files, printable, stage_tables
from aria_data.storage.files import from_location
from aria_data.storage.stage_tables import RecordTable
from flows.build.assemble import BuildSummary
from flows.cli.jobs import run_build
from flows.remove import remove_items
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


# ---------------------------------------------------------------- playlists


class _Listener(http.server.BaseHTTPRequestHandler):
    asked: list[str] = []

    def do_GET(self):
        self.asked.append(self.path)
        self.send_error(404)

    def log_message(self, *_):
        pass


@pytest.fixture
def listener():
    _Listener.asked.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Listener)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_playlist_named_like_audio_is_never_followed(tmp_path, build, listener):
    target = write_audio(tmp_path / "elsewhere" / "secret.wav", melody(8))
    address = f"http://127.0.0.1:{listener.server_port}/x.ts"
    source = tmp_path / "in"
    source.mkdir()
    for number, place in enumerate((address, str(target), f"file://{target}", "/etc/passwd", "secret.wav")):
        hls = f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:8,\n{place}\n#EXT-X-ENDLIST\n"
        (source / f"hls {number}.mp3").write_text(hls)
        (source / f"plain {number}.m4a").write_text(f"#EXTM3U\n{place}\n")
        (source / f"concat {number}.wav").write_text(f"ffconcat version 1.0\nfile '{place}'\n")
        (source / f"sdp {number}.ogg").write_text(f"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\na={place}\n")
        dash = f'<?xml version="1.0"?><MPD type="static"><Period><AdaptationSet><Representation><BaseURL>{place}'
        (source / f"dash {number}.mka").write_text(dash + "</BaseURL></Representation></AdaptationSet></Period></MPD>")
    summary = build(source, tmp_path / "out")
    assert summary.version == 0
    assert len(summary.failures) == 25
    assert {line.split(": ")[1].split(" ")[0] for line in summary.failures} == {"not_audio"}
    assert _Listener.asked == []


def test_the_listener_of_the_playlist_test_would_notice(listener):
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(f"http://127.0.0.1:{listener.server_port}/x.ts")
    assert _Listener.asked == ["/x.ts"]


# ---------------------------------------------------------------- hostile texts

HOSTILE_SIDECARS = {
    "huge": b'{"title": "' + b"x" * (5 << 20) + b'"}',
    "list": b'["title"]',
    "number": b"5",
    "null": b"null",
    "empty": b"",
    "cut": b'{"title": "Nocturne',
    "binary": bytes(range(256)),
    "nested": b'{"title":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "deeply nested": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "wrong types": json.dumps(
        {"title": 5, "description": [1], "uploader": {"a": 1}, "duration": "long", "webpage_url": 7, "license": True}
    ).encode(),
    "odd numbers": b'{"duration": 1e999, "title": null}',
    "large number": b'{"duration": ' + b"9" * 5000 + b"}",
    "not a number": b'{"duration": NaN}',
    "nul": json.dumps({"title": "Noc\0turne\0", "description": "\0" * 100}).encode(),
    "half characters": b'{"title": "\\ud800 \\udfff", "uploader": "\\udc80"}',
    "escapes": json.dumps({"title": "\x1b[2J\x1b]0;x\x07\u202eabc", "uploader": "\x9b31m"}).encode(),
    "lines": json.dumps({"webpage_url": "http://x\nfailed (0):\n", "title": "a\nb"}).encode(),
    "other address": json.dumps({"webpage_url": "javascript:alert(1)"}).encode(),
    "utf-16": json.dumps({"title": "Nocturne"}).encode("utf-16"),
}


def test_a_hostile_sidecar_never_costs_its_recording(tmp_path, build):
    for number, (name, content) in enumerate(HOSTILE_SIDECARS.items()):
        write_audio(tmp_path / "in" / f"{name}.wav", melody(6, number))
        (tmp_path / "in" / f"{name}.info.json").write_bytes(content)
    write_audio(tmp_path / "in" / "pipe.wav", melody(6, 100))
    os.mkfifo(tmp_path / "in" / "pipe.info.json")
    summary = build(tmp_path / "in", tmp_path / "out")
    assert (summary.failures, summary.not_done) == ([], [])
    rows = Manifest(tmp_path / "out").rows()
    assert len(rows) == len(HOSTILE_SIDECARS) + 1
    for row in rows:
        texts = [value for value in row.values() if isinstance(value, str)]
        assert all(char.isprintable() for text in texts for char in text), row["source_url"]
    assert {row["source_url"] for row in rows if not row["source_url"].endswith(".wav")} == {r"http://x\nfailed (0):"}


def test_hostile_tags_never_cost_their_recording_and_reach_no_terminal(tmp_path, build):
    tags = {
        "title": "\x1b[31mred\x1b]0;x\x07 \u202e",
        "artist": "a\0b",
        "comment": "y" * 100_000,
        "copyright": "\x9b2J",
    }
    encode_audio(tmp_path / "in" / "tagged.flac", melody(6, 0, 48_000, 1), "flac", tags=tags)
    encode_audio(
        tmp_path / "in" / "many.mp3", melody(6, 1, 48_000, 1), "libmp3lame", tags={f"k{i}": "v" for i in range(999)}
    )
    summary = build(tmp_path / "in", tmp_path / "out")
    assert (summary.num_files, summary.failures, summary.not_done) == (2, [], [])
    for row in Manifest(tmp_path / "out").rows():
        texts = [value for value in row.values() if isinstance(value, str)]
        assert all(char.isprintable() for text in texts for char in text)
    info = probe(tmp_path / "in" / "tagged.flac")
    assert info.tags["title"] == "[31mred]0;x "
    assert len(info.tags["comment"]) <= 2000


# ---------------------------------------------------------------- folders


def test_a_folder_with_nothing_usable_makes_no_version_and_says_so(tmp_path, build, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.mp3").write_text("no")
    summary = build(tmp_path / "in", tmp_path / "out")
    assert (summary.version, summary.is_new_version, summary.num_files) == (0, False, 0)
    with pytest.raises(DatasetNotFound):
        Manifest(tmp_path / "out").rows()
    closing_tables(summary, "out")
    assert "Nothing usable was found, so out has no version." in capsys.readouterr().out


def test_an_empty_folder_makes_no_version(tmp_path, build):
    (tmp_path / "in").mkdir()
    summary = build(tmp_path / "in", tmp_path / "out")
    assert (summary.version, summary.candidates.num_in, summary.failures) == (0, 0, [])


@pytest.mark.parametrize("kind", ["missing", "a file", "dangling link"])
def test_a_source_that_is_no_folder_is_refused_before_anything_is_made(tmp_path, build, kind):
    source = tmp_path / "in"
    if kind == "a file":
        source.write_text("x")
    elif kind == "dangling link":
        source.symlink_to("nowhere")
    with pytest.raises(UsageError, match=r"in: is not a folder\. Name a folder with recordings, an address"):
        build(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_out_that_is_a_file_is_refused_and_stays(tmp_path, build):
    (tmp_path / "in").mkdir()
    (tmp_path / "out").write_text("precious")
    with pytest.raises(UsageError, match="out: is a file, but --out names a folder"):
        build(tmp_path / "in", tmp_path / "out")
    assert (tmp_path / "out").read_text() == "precious"


def test_source_and_out_may_not_be_the_same_folder(tmp_path, build):
    with pytest.raises(UsageError, match="the same folder"):
        build(tmp_path, tmp_path / "x" / "..")


def test_a_dataset_inside_its_source_is_not_collected(tmp_path, build):
    write_audio(tmp_path / "a.wav", melody(6))
    first = build(tmp_path, tmp_path / "out")
    second = build(tmp_path, tmp_path / "out")
    assert first.candidates == second.candidates
    assert second.candidates.num_in == 1
    assert not second.is_new_version


# ---------------------------------------------------------------- a full disk, a disk that may not be written


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MB in memory."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small file system can only be mounted by root")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def _leave_free(disk: Path, num_bytes: int) -> None:
    ballast = disk / "ballast"
    ballast.unlink(missing_ok=True)
    ballast.write_bytes(bytes(max(0, shutil.disk_usage(disk).free - num_bytes)))


@pytest.mark.parametrize(
    "is_seen_before",
    [pytest.param(True, marks=pytest.mark.slow), False],
    ids=["seen before writing", "found out while writing"],
)
def test_a_full_disk_stops_the_build_in_one_line_wherever_it_happens_and_space_mends_it(
    tmp_path, build, small_disk, monkeypatch, is_seen_before
):
    for number in range(4):
        write_audio(tmp_path / "in" / f"{number}.wav", melody(6, number))
    reference = build(tmp_path / "in", tmp_path / "reference")
    spare = files.SPARE_BYTES if is_seen_before else 0
    if not is_seen_before:
        for module in (stage_tables, manifest):
            monkeypatch.setattr(module, "require_space", lambda path, num_bytes: None)
    lines = []
    for free_kib in range(0, 180, 12):
        _leave_free(small_disk, spare + free_kib * 1024)
        try:
            build(tmp_path / "in", small_disk / "out")
        except DatasetNotWritable as error:
            lines.append(str(error))
        assert not list(small_disk.rglob("*.partial"))
    for line in lines:
        assert line.endswith(": no space left on the device. Free some and run the same command again.")
        assert "\n" not in line
    assert len({line.split(":")[0] for line in lines}) >= 3  # it was full at several places
    _leave_free(small_disk, 3 << 20)
    summary = build(tmp_path / "in", small_disk / "out")
    assert summary.num_files == reference.num_files == 4
    released = [Manifest(root).versions() for root in (small_disk / "out", tmp_path / "reference")]
    assert [len(versions) for versions in released] == [1, 1]
    assert released[0][0].content_sha256 == released[1][0].content_sha256


def test_an_out_on_a_read_only_disk_is_one_line_and_reading_it_still_works(tmp_path, build, small_disk):
    write_audio(tmp_path / "in" / "a.wav", melody(6))
    build(tmp_path / "in", small_disk / "out")
    write_audio(tmp_path / "in" / "b.wav", melody(6, 1))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for out in (small_disk / "out", small_disk / "new"):
        with pytest.raises(DatasetNotWritable, match=r"may not be written\. Check its permissions or choose another"):
            build(tmp_path / "in", out)
    with pytest.raises(DatasetNotWritable):
        remove_items(small_disk / "out", [Manifest(small_disk / "out").rows()[0]["segment_id"]], "x")
    assert Manifest(small_disk / "out").query("num_notes = 12").num_rows == 1
    assert build(tmp_path / "in", small_disk / "out", dry_run=True).stages["screen"].num_worked_on == 1


UNPRIVILEGED = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from fakes import use_fakes
use_fakes(type("Patch", (), {{"setattr": staticmethod(setattr)}}))
from aria_data.errors import AriaDataError
from flows.cli.jobs import run_build
try:
    summary = run_build(Path({source!r}), Path({out!r}), settings=["segment.min_segment_s=5"], with_prefect=False)
    print(*summary.failures, *summary.not_done, summary.candidates, sep="\\n")
except AriaDataError as error:
    print(type(error).__name__, error)
"""


def _obey_permissions() -> None:
    """Drop root's power to read and write whatever it likes; permissions then count for it as for anybody."""
    import ctypes

    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP, in force from the next exec on


def build_unprivileged(source: Path, out: Path) -> list[str]:
    """Run a build for which permissions count, and give the lines it printed."""
    command = UNPRIVILEGED.format(tests=str(SUPPORT), source=str(source), out=str(out))
    ran = subprocess.run(
        [sys.executable, "-c", command], cwd="/", capture_output=True, text=True, preexec_fn=_obey_permissions
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


@pytest.fixture
def modes():
    """Change permissions for the length of a test, so that its folder can be cleared away afterwards."""
    changed: list[Path] = []

    def change(path: Path, mode: int) -> None:
        changed.append(path)
        os.chmod(path, mode)

    yield change
    for path in reversed(changed):
        os.chmod(path, 0o755)


@pytest.mark.slow
def test_files_and_folders_that_may_not_be_read_are_reported_and_the_rest_goes_on(tmp_path, modes):
    source = tmp_path / "in"
    for number, name in enumerate(("good.wav", "secret.wav", "closed/a.wav", "listed/b.wav", "odd.mp3/c.wav")):
        write_audio(source / name, melody(6, number))
    for name, mode in (("secret.wav", 0o000), ("closed", 0o000), ("listed", 0o444), ("odd.mp3", 0o000)):
        modes(source / name, mode)
    lines = build_unprivileged(source, tmp_path / "out")
    for name in ("closed", "listed/b.wav", "odd.mp3", "secret.wav"):
        (line,) = [line for line in lines if line.startswith(f"{name}: unreadable (")]
        assert "may not be read. Check its permissions" in line
    assert lines[-1] == "5 in = 1 in the manifest + 0 rejected + 0 failed + 4 not done"


def test_an_out_without_permission_is_one_line(tmp_path, modes):
    write_audio(tmp_path / "in" / "a.wav", melody(6))
    out = tmp_path / "closed" / "out"
    out.parent.mkdir()
    modes(out.parent, 0o555)
    (line,) = build_unprivileged(tmp_path / "in", out)
    assert line == f"DatasetNotWritable {out}: may not be written. Check its permissions or choose another --out."


# ---------------------------------------------------------------- a damaged dataset folder


@pytest.fixture
def dataset(tmp_path, build):
    for number in range(2):
        write_audio(tmp_path / "in" / f"{number}.wav", melody(6, number))
    build(tmp_path / "in", tmp_path / "out")
    return tmp_path / "out"


def content_of(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


GARBAGE = {"noise": b"\x00\xff garbage", "empty": b"", "cut": b'{"add":{"path":"x.par', "other": b'[1, 2]\n"x"\n'}


@pytest.mark.parametrize("kind", GARBAGE)
@pytest.mark.parametrize("table", ["tables/ingest", "manifest"])
def test_garbage_in_a_tables_log_stops_the_build_in_one_line_and_deletes_nothing(dataset, build, table, kind):
    log = dataset / table / "_delta_log" / "00000000000000000000.json"
    log.write_bytes(GARBAGE[kind])
    before = content_of(dataset)
    with pytest.raises(DatasetCorrupt) as caught:
        build(dataset.parent / "in", dataset)
    message = str(caught.value)
    assert message.startswith(str(dataset / table))
    assert "\n" not in message
    assert "this table is damaged" in message
    assert "backup" in message
    after = content_of(dataset)
    assert {path: content for path, content in before.items() if after.get(path) != content} == {}


def test_a_commit_missing_from_the_middle_deletes_nothing_and_is_one_line(dataset, build):
    for number in range(2, 4):
        write_audio(dataset.parent / "in" / f"{number}.wav", melody(6, number))
        build(dataset.parent / "in", dataset)
    (dataset / "tables" / "ingest" / "_delta_log" / "00000000000000000001.json").unlink()
    before = content_of(dataset / "tables" / "ingest")
    with pytest.raises(DatasetCorrupt, match="tables/ingest: this table is damaged"):
        build(dataset.parent / "in", dataset)
    assert content_of(dataset / "tables" / "ingest") == before


@pytest.mark.parametrize(("table", "is_cache"), [("ingest", True), ("removals", False)])
def test_only_a_table_that_can_be_computed_again_is_said_to_be_one(dataset, build, table, is_cache):
    remove_items(dataset, [Manifest(dataset).rows()[0]["segment_id"]], "takedown")
    (dataset / "tables" / table / "_delta_log" / "00000000000000000000.json").write_bytes(b"x")
    with pytest.raises(DatasetCorrupt, match=f"tables/{table}: this table is damaged") as caught:
        build(dataset.parent / "in", dataset)
    assert ("delete this table's folder" in str(caught.value)) == is_cache


def test_a_damaged_table_can_be_deleted_and_is_computed_again(dataset, build):
    expected = Manifest(dataset).rows()
    (dataset / "tables" / "ingest" / "_delta_log" / "00000000000000000000.json").write_bytes(b"x")
    shutil.rmtree(dataset / "tables" / "ingest")
    summary = build(dataset.parent / "in", dataset)
    assert summary.stages["ingest"].num_worked_on == 2
    assert not summary.is_new_version
    assert Manifest(dataset).rows() == expected


@pytest.mark.parametrize("damage", ["deleted", "garbage"])
def test_a_lost_data_file_of_the_manifest_is_one_line_for_every_command(dataset, build, damage):
    row = Manifest(dataset).rows()[0]
    for file in (dataset / "manifest").rglob("*.parquet"):
        file.unlink() if damage == "deleted" else file.write_bytes(b"garbage")
    for action in (
        lambda: build(dataset.parent / "in", dataset),
        lambda: Manifest(dataset).rows(),
        lambda: Manifest(dataset).query("num_notes > 0"),
        lambda: Manifest(dataset).diff(1, 1),
        lambda: remove_items(dataset, [row["segment_id"]], "x"),
    ):
        with pytest.raises(DatasetCorrupt) as caught:
            action()
        assert "a data file is missing or damaged" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_lost_data_file_of_a_stage_is_one_line(dataset, build):
    for file in (dataset / "tables" / "classify").rglob("*.parquet"):
        file.unlink()
    with pytest.raises(DatasetCorrupt, match="tables/classify: this table is damaged") as caught:
        build(dataset.parent / "in", dataset)
    assert "\n" not in str(caught.value)


def test_a_garbage_dataset_toml_is_said_with_a_way_out(dataset, build):
    before = (dataset / "dataset.toml").read_bytes()
    (dataset / "dataset.toml").write_bytes(b"\xff\xfe [[[ garbage")
    with pytest.raises(ConfigInvalid, match="dataset.toml: is not valid TOML .* Name another with --config") as caught:
        build(dataset.parent / "in", dataset)
    assert "\n" not in str(caught.value)
    summary = build(dataset.parent / "in", dataset, config_path=Path("defaults"))
    assert not summary.is_new_version
    assert (dataset / "dataset.toml").read_bytes() == before


def test_what_a_killed_build_left_is_cleared_away(dataset, build):
    partial = dataset / "midi" / "ab" / "x.mid.partial"
    partial.parent.mkdir(exist_ok=True)
    partial.write_bytes(b"half")
    orphan = dataset / "tables" / "ingest" / "part-00000-orphan.parquet"
    orphan.write_bytes(b"half")
    kept = content_of(dataset / "manifest")
    build(dataset.parent / "in", dataset)
    assert not partial.exists()
    assert not orphan.exists()
    assert content_of(dataset / "manifest") == kept


def test_a_second_build_at_the_same_time_is_told_to_wait(dataset, build):
    before = content_of(dataset)
    with exclusive_lock(dataset / ".lock"):
        for action in (
            lambda: build(dataset.parent / "in", dataset),
            lambda: remove_items(dataset, [Manifest(dataset).rows()[0]["segment_id"]], "x"),
        ):
            with pytest.raises(DatasetLocked, match=r"another build is working in this folder\. Wait for it to end\."):
                action()
    assert content_of(dataset) == before
    assert build(dataset.parent / "in", dataset).version == 1


def test_a_source_that_loses_files_keeps_what_was_made_of_them(dataset, build):
    (dataset.parent / "in" / "0.wav").unlink()
    summary = build(dataset.parent / "in", dataset)
    assert (summary.num_files, summary.failures, summary.not_done) == (2, [], [])
    assert not summary.is_new_version


def test_a_file_that_changed_into_rubbish_fails_and_leaves_the_next_version(dataset, build):
    path = dataset.parent / "in" / "0.wav"
    path.write_text("no longer audio")
    summary = build(dataset.parent / "in", dataset)
    assert [line.split(" (")[0] for line in summary.failures] == ["0.wav: not_audio"]
    assert (summary.version, summary.num_files) == (2, 1)
    assert Manifest(dataset).versions()[0].num_files == 2


# ---------------------------------------------------------------- queries

INJECTIONS = [
    "1=1); DROP TABLE manifest; --",
    "1=1) ; SELECT 1; (",
    "true) UNION ALL SELECT * FROM read_csv('/etc/passwd') --",
    "segment_id IN (SELECT column0 FROM read_csv('/etc/passwd'))",
    "exists (SELECT * FROM read_text('/etc/passwd'))",
    "exists (FROM '/etc/passwd')",
    "exists (FROM glob('/etc/*'))",
    "exists (FROM parquet_scan('http://127.0.0.1/x.parquet'))",
    "1=1); COPY manifest TO 'stolen.csv'; --",
    "COPY (SELECT 1) TO 'stolen.csv'",
    "1=1); ATTACH 'stolen.db' AS s; --",
    "1=1); INSTALL httpfs; LOAD httpfs; --",
    "1=1); SET enable_external_access = true; --",
    "1=1); PRAGMA database_list; --",
    "1=1); EXPORT DATABASE 'stolen'; --",
    "exists (SELECT * FROM columns)",  # a Python variable in sight of the query's function
    "exists (SELECT * FROM dataset)",
    "no_such_column = 1",
    "segment_id = ",
    "'unclosed",
    "(",
    "))",
    "segment_id = 5 +",
    "*",
    "num_notes = '\x00'",
    "composer = '\udcff'",
    "/* open comment",
    "sum(num_notes) > 1",
]


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    root = tmp_path_factory.mktemp("released")
    Manifest(root).commit([manifest_row("local-1_0"), manifest_row("local-2_0", title="-- ;")])
    return root


@pytest.mark.parametrize("where", INJECTIONS)
def test_a_query_can_only_read_the_manifest_and_a_bad_one_is_one_line(released, where, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    before = content_of(released)
    with pytest.raises(UsageError) as caught:
        Manifest(released).query(where)
    assert str(caught.value).startswith("the query ")
    assert "\n" not in str(caught.value)
    assert "root:" not in str(caught.value)
    assert content_of(released) == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", ["num_notes > 0 -- all", "num_notes > 0\nor false", "title = ';' or title <> '--'"])
def test_a_query_with_a_comment_a_line_break_or_odd_quotes_still_works(released, where):
    assert Manifest(released).query(where).num_rows == 2


@pytest.mark.parametrize("kind", ["missing", "empty", "a file", "other files"])
def test_a_folder_without_a_dataset_is_one_line_for_every_command_and_stays_as_it_is(tmp_path, kind):
    root = tmp_path / "nothing"
    if kind == "a file":
        root.write_text("x")
    elif kind != "missing":
        root.mkdir()
    if kind == "other files":
        (root / "manifest").mkdir()
        (root / "manifest" / "readme.txt").write_text("x")
    for action in (
        lambda: Manifest(root).rows(),
        lambda: Manifest(root).versions(),
        lambda: Manifest(root).diff(1, 2),
        lambda: Manifest(root).query("true"),
        lambda: remove_items(root, ["local-1_0"], "x"),
    ):
        with pytest.raises(DatasetNotFound, match="nothing: holds no released dataset"):
            action()
    assert [path.name for path in tmp_path.rglob("*")] == {
        "missing": [],
        "empty": ["nothing"],
        "a file": ["nothing"],
        "other files": ["nothing", "manifest", "readme.txt"],
    }[kind]


def test_the_location_of_any_name_leads_back_to_its_file(world):
    candidates = collect_folder(world.source).candidates
    paths = {from_location(candidate.location, world.out) for candidate in candidates}
    assert all(candidate.location.isascii() for candidate in candidates)
    assert {_path(world.source, name) for name in HOSTILE_NAMES} <= paths


def test_a_full_disk_stops_a_build_with_prefect_at_once(tmp_path, monkeypatch):
    from flows.engine import prefect_api

    monkeypatch.setattr(prefect_api, "FREE_BYTES", 1 << 60)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    refused = pytest.raises(DatasetNotWritable, match="no space left on the device")
    with refused, prefect_api.temporary_api(tmp_path / ".prefect"):
        pass
