"""Playlists, hostile texts and odd folders among the recordings: nothing is followed, nothing reaches a terminal.

The classifier and the transcriber are stand-ins (see `fakes`); everything that touches files is real.
"""

from __future__ import annotations

import http.server
import json
import os
import threading
import urllib.error
import urllib.request

import pytest
from fakes import encode_audio, melody, write_audio

from aria_data.audio import probe
from aria_data.errors import (
    DatasetNotFound,
    UsageError,
)
from aria_data.manifest import Manifest
from flows.show.build_tables import closing_tables

SETTINGS = ("segment.min_segment_s=5",)
ADVICE = ("Get the", "Check ", "Remove ", "remove ", "Cut it")  # a failure says what to do next


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
