"""Audio files as they are found: films, late sound, gaps, several tracks, odd channels, tags. Made with PyAV."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from fakes import melody

RATE = 48_000


def film(
    path: Path,
    codec: str,
    sounds: Sequence[tuple[float, np.ndarray]],
    picture_s: float = 0.0,
    picture: str = "mpeg4",
    options: Mapping[str, str] | None = None,
    rate: int = RATE,
) -> Path:
    """Mux sound and a picture. `sounds` are (seconds where it begins, waveform) of one track, with gaps between."""
    import av

    with av.open(str(path), "w", options=dict(options or {})) as container:
        streams = []
        if picture_s:
            shown = container.add_stream(picture, rate=10)
            shown.width = shown.height = 32
            shown.pix_fmt = "yuv420p"
            streams.append(shown)
        track = container.add_stream(codec, rate=rate, layout="stereo" if sounds[0][1].shape[1] == 2 else "mono")
        packets = list(_sound_packets(track, sounds, rate))
        if picture_s:
            for number in range(round(picture_s * 10)):
                frame = av.VideoFrame(32, 32, "yuv420p")
                frame.pts = number
                packets += shown.encode(frame)
            packets += shown.encode(None)
        packets.sort(key=lambda packet: float(packet.dts * packet.time_base))
        for packet in packets:
            container.mux(packet)
    return path


def _sound_packets(track, sounds, rate):
    import av

    size = track.codec_context.frame_size or 1024
    layout = track.codec_context.layout.name
    resampler = av.AudioResampler(track.codec_context.format, layout, rate)
    for begins_s, waveform in sounds:
        for start in range(0, len(waveform), size):
            chunk = np.ascontiguousarray(waveform[start : start + size].T.astype(np.float32))
            frame = av.AudioFrame.from_ndarray(chunk, "fltp", layout)
            frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
            frame.pts = round(begins_s * rate) + start
            for piece in resampler.resample(frame):
                yield from track.encode(piece)
    yield from track.encode(None)


def tracks(path: Path, waveforms: Sequence[np.ndarray], default: int | None, codec: str = "aac") -> Path:
    """Mux several tracks of sound; `default` is the one that is marked."""
    import av
    from av.stream import Disposition

    with av.open(str(path), "w") as container:
        streams = [container.add_stream(codec, rate=RATE, layout="stereo") for _ in waveforms]
        for number, stream in enumerate(streams):
            stream.disposition = Disposition.default if number == default else Disposition(0)
        packets = [
            packet
            for stream, waveform in zip(streams, waveforms, strict=True)
            for packet in _sound_packets(stream, [(0.0, waveform)], RATE)
        ]
        for packet in sorted(packets, key=lambda packet: float(packet.dts * packet.time_base)):
            container.mux(packet)
    return path


def wav(waveform: np.ndarray, rate: int = 16_000, mask: int | None = None, ambisonic: bool = False) -> bytes:
    """Give a 16-bit WAV file; with a `mask` of loudspeakers in its extended form."""
    pcm = (np.clip(waveform, -1, 1) * 32767).astype("<i2").tobytes()
    channels = waveform.shape[1]
    if mask is None and not ambisonic:
        head = struct.pack("<HHIIHH", 1, channels, rate, rate * channels * 2, channels * 2, 16)
    else:
        guid = "010000002107d3118644c8c1ca000000" if ambisonic else "0100000000001000800000aa00389b71"
        head = struct.pack(
            "<HHIIHHHHI", 0xFFFE, channels, rate, rate * channels * 2, channels * 2, 16, 22, 16, mask or 0
        )
        head += bytes.fromhex(guid)
    body = b"WAVEfmt " + struct.pack("<I", len(head)) + head + b"data" + struct.pack("<I", len(pcm)) + pcm
    return b"RIFF" + struct.pack("<I", len(body)) + body


def id3v1(title: bytes, artist: bytes = b"") -> bytes:
    return b"TAG" + title[:30].ljust(30, b"\0") + artist[:30].ljust(30, b"\0") + bytes(30) + b"2001" + bytes(31)


def id3v2(frames: Mapping[str, bytes], version: int = 3) -> bytes:
    """Give a tag whose texts say that they are Latin-1."""
    body = b"".join(
        name.encode() + struct.pack(">I", len(text) + 1) + b"\0\0" + b"\0" + text for name, text in frames.items()
    )
    size = bytes((len(body) >> shift) & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3" + bytes([version, 0, 0]) + size + body


def wrapped(content: bytes, share: float = 0.25) -> bytes:
    """Let a WAV file's sizes announce a part of what is there, as 32 bits do of more than 4 GiB."""
    at = content.index(b"data") + 4
    small = round((len(content) - at - 4) * share) & ~3
    return (
        content[:4] + struct.pack("<I", at - 4 + small) + content[8:at] + struct.pack("<I", small) + content[at + 4 :]
    )


def stereo(seconds: float, seed: int = 0) -> np.ndarray:
    return melody(seconds, seed, RATE, 2)
