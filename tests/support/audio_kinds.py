"""The inputs of the table in docs/audio.md, by their names there. Each is made small, from the same few seconds."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
from audio_files import RATE, film, stereo, tracks, wav, wrapped
from fakes import encode_audio, melody, write_audio

SECONDS = 6
Maker = Callable[[Path], Path]


def encoded(suffix: str, codec: str, **options) -> Maker:
    return lambda folder: encode_audio(folder / f"a.{suffix}", stereo(SECONDS), codec, **options)


def changed(make: Maker, change: Callable[[bytes], bytes]) -> Maker:
    def made(folder: Path) -> Path:
        path = make(folder)
        path.write_bytes(change(path.read_bytes()))
        return path

    return made


def written(name: str, content: Callable[[], bytes]) -> Maker:
    def made(folder: Path) -> Path:
        (folder / name).write_bytes(content())
        return folder / name

    return made


def cut(content: bytes) -> bytes:
    return content[: len(content) * 6 // 10]


def never_written(content: bytes) -> bytes:
    return content[: len(content) // 2] + bytes(len(content) - len(content) // 2)


def hole(content: bytes) -> bytes:
    third = len(content) // 3
    return content[:third] + bytes(third) + content[2 * third :]


def a_film(suffix: str, codec: str, picture: str, sounds, rate: int = RATE) -> Maker:
    def made(folder: Path) -> Path:
        waveforms = [(at_s, melody(seconds, 0, rate, 2)) for at_s, seconds in sounds]
        return film(folder / f"a.{suffix}", codec, waveforms, 9, picture, rate=rate)

    return made


def plain(waveform: np.ndarray, subtype: str) -> Maker:
    return lambda folder: write_audio(folder / "a.wav", waveform, subtype=subtype)


def with_value(value: float, num: int = 1) -> np.ndarray:
    waveform = melody(SECONDS).astype(np.float64)
    waveform[100 : 100 + num] = value
    return waveform


def end_mark_gone(content: bytes) -> bytes:
    return content[: content.rindex(b"OggS")]


def as_channels(*gains: float, **options) -> Maker:
    return written("a.wav", lambda: wav(melody(SECONDS) * np.array(gains), **options))


MP4, OPUS, MP3 = encoded("m4a", "aac"), encoded("opus", "libopus"), encoded("mp3", "libmp3lame")
BARE_MP3 = encoded("mp3", "libmp3lame", options={"write_xing": "0"})
FLAC, WAV, AIFF = encoded("flac", "flac"), encoded("wav", "pcm_s16le"), encoded("aiff", "pcm_s16be")
W64, CAF, AU = encoded("w64", "pcm_s16le"), encoded("caf", "pcm_s16le"), encoded("au", "pcm_s16be")
AVI, MKA, WV = encoded("avi", "libmp3lame"), encoded("mkv", "libmp3lame"), encoded("wv", "wavpack")
LONGER, LATE, GAP = [(0, SECONDS)], [(2, SECONDS)], [(0, 3), (4, 3)]

KINDS: dict[str, Maker] = {
    "WAV, 8 to 64 bit": plain(melody(SECONDS), "PCM_24"),
    "AIFF, W64, CAF, AU, VOC": W64,
    "FLAC": FLAC,
    "Ogg Vorbis, Opus": OPUS,
    "MP3": MP3,
    "MP3 without a header of its length": BARE_MP3,
    "AAC, AC-3 as a bare stream": encoded("aac", "aac"),
    "MP4, M4A, MOV, 3GP": MP4,
    "Matroska, WebM": MKA,
    "AVI": AVI,
    "MPEG transport or program stream": encoded("ts", "mp2"),
    "WavPack, TTA": WV,
    "WAV written to a pipe, without sizes": changed(WAV, lambda c: c.replace(c[4:8], b"\xff" * 4, 1)),
    "a film whose picture is longer": a_film("webm", "libopus", "libvpx", LONGER),
    "an FLV whose picture is longer": a_film("flv", "libmp3lame", "flv1", LONGER, 44_100),
    "joined MP3 files": changed(MP3, lambda c: c * 2),
    "Ogg without its end mark": changed(OPUS, end_mark_gone),
    "a film whose sound begins late": a_film("mp4", "aac", "mpeg4", LATE),
    "a film with a gap in its sound": a_film("mkv", "libmp3lame", "mpeg4", GAP),
    "WAV over 4 GiB, its sizes gone round": changed(WAV, lambda c: wrapped(c, 0.3)),
    "two tracks of sound": lambda folder: tracks(folder / "a.mp4", [0.5 * stereo(3), stereo(3)], 1),
    "a silent track before the one that sounds": lambda folder: tracks(folder / "a.mp4", [0 * stereo(6), stereo(6)], 0),
    "a right channel that is the left inverted": as_channels(1.0, -1.0),
    "ambisonic, or odd loudspeakers": as_channels(1.0, 0.5, -0.5, 0.0, ambisonic=True),
    "one sample of 1e30": plain(with_value(1e30), "DOUBLE"),
    "samples up to 4 times full scale": plain(6 * melody(SECONDS), "FLOAT"),
    "whole numbers stored as floats": plain(32_768 * melody(SECONDS), "FLOAT"),
    "a sample that is no number": plain(with_value(np.nan), "DOUBLE"),
    "more than 64 channels": written("a.wav", lambda: wav(np.tile(melody(1), 70), mask=0)),
    "cut WAV, AIFF, W64, CAF, AU, VOC": changed(W64, cut),
    "cut FLAC, WavPack, TTA": changed(FLAC, cut),
    "cut Ogg, within a page": changed(OPUS, cut),
    "cut MP3 that states its length": changed(MP3, cut),
    "cut MP3, AAC, MPEG that states none": changed(BARE_MP3, cut),
    "cut MP4, its index first": changed(encoded("mp4", "aac", options={"movflags": "faststart"}), cut),
    "cut MP4, its index last": changed(MP4, cut),
    "cut MP4 in fragments": changed(
        encoded("mp4", "aac", options={"movflags": "empty_moov", "frag_duration": "1000000"}), cut
    ),
    "cut Matroska, WebM, ASF": changed(MKA, cut),
    "cut AVI": changed(AVI, cut),
    "an end that was never written": changed(MP3, never_written),
    "a hole in FLAC": changed(FLAC, hole),
    "a hole in MP3": changed(MP3, hole),
    "two WAV or AIFF files in one": changed(AIFF, lambda c: c * 2),
    "AIFF that announces too little": changed(AIFF, lambda c: _short(c)),
    "nothing that decodes": written("a.wav", lambda: wav(np.zeros((0, 1)))),
    "a film without sound": lambda folder: _mute(folder / "a.mp4"),
    "a playlist with the name of audio": written("a.mp3", lambda: b"#EXTM3U\n#EXTINF:2,\nother.wav\n"),
    "no audio": written("a.mp3", lambda: b"<!doctype html>" * 99),
    "an empty file": written("a.mp3", lambda: b""),
}


def _short(content: bytes) -> bytes:
    at = content.index(b"SSND") + 4
    return content[:at] + struct.pack(">I", len(content) // 4) + content[at + 4 :]


def _mute(path: Path) -> Path:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
        container.mux(stream.encode(None))
    return path
