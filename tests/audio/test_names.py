"""A file name is a file: FFmpeg never takes it for an address or another file."""

from __future__ import annotations

import http.server
import threading

import numpy as np
import pytest
from audio_files import wav
from fakes import melody

from aria_data.audio import AudioReader, inspect, probe
from classifiers.features import read_blocks

NAMES = ["Bach: Prelude.wav", "file:y.wav", "data:audio,x.wav", "concat:a.wav|b.wav", "subfile,,start,0,end,9,,:a.wav"]


@pytest.fixture
def server():
    """A real server, so that a request would be seen and counted."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_):
            pass

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield httpd.server_address[1], asked
    httpd.shutdown()
    httpd.server_close()


def lengths(path) -> set[float]:
    """Read a file in every way there is; give the seconds."""
    with AudioReader(path, 16_000, 1) as reader:
        read_s = sum(map(len, reader.blocks())) / 16_000
    found = (probe(path).duration_s, inspect(path).duration_s, read_s, sum(map(len, read_blocks(path))) / 16_000)
    return {round(each, 1) for each in found}


@pytest.mark.parametrize("name", NAMES)
def test_a_relative_name_with_a_colon_is_that_file_and_no_other(tmp_path, monkeypatch, name):
    from pathlib import Path

    monkeypatch.chdir(tmp_path)
    for other in ("y.wav", " Prelude.wav", "a.wav"):
        Path(other).write_bytes(wav(melody(1)))
    Path(name).write_bytes(wav(melody(3)))
    assert lengths(Path(name)) == {3.0}


def test_a_name_like_an_address_sends_no_request(tmp_path, monkeypatch, server):
    from pathlib import Path

    port, asked = server
    monkeypatch.chdir(tmp_path)
    path = Path(f"http:/127.0.0.1:{port}/x.wav")
    path.parent.mkdir(parents=True)
    path.write_bytes(wav(melody(2)))
    assert lengths(path) == {2.0}
    assert asked == []


@pytest.mark.parametrize("kind", ["m3u8", "concat", "sdp", "xml"])
def test_a_playlist_with_the_name_of_audio_opens_nothing(tmp_path, server, kind):
    port, asked = server
    (tmp_path / "other.wav").write_bytes(wav(melody(2)))
    texts = {
        "m3u8": f"#EXTM3U\n#EXTINF:2,\nhttp://127.0.0.1:{port}/a.ts\n#EXTINF:2,\nother.wav\n",
        "concat": f"ffconcat version 1.0\nfile 'other.wav'\nfile 'http://127.0.0.1:{port}/a.wav'\n",
        "sdp": f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio {port} RTP/AVP 0\n",
        "xml": f'<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>http://127.0.0.1:{port}/</BaseURL></MPD>',
    }
    path = tmp_path / "song.mp3"
    path.write_text(texts[kind])
    for read in (probe, inspect, lambda each: list(read_blocks(each))):
        with pytest.raises(Exception, match="song.mp3|Invalid data"):
            read(path)
    assert asked == []


def test_the_mix_of_the_classifiers_own_reader_says_where_nothing_decodes(tmp_path):
    (tmp_path / "a.wav").write_bytes(wav(np.zeros((0, 1))))
    with pytest.raises(ValueError, match="holds no audio"):
        list(read_blocks(tmp_path / "a.wav"))
