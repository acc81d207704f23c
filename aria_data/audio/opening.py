"""Open a file as audio: this file and no other, by its content, on the track that a player would play.

FFmpeg takes a name with a colon for an address, and some containers name other files. So a path is absolute, the only
protocol is `file`, and containers that do not hold their own audio are left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from aria_data.audio.containers import Ending, ending_of
from aria_data.audio.reachable import State, require_readable, state_of
from aria_data.errors import AudioUnreadable
from aria_data.storage import printable

# Playlists (hls, concat, dash ...) are left out on purpose: a hostile "song.mp3" that is a playlist could make FFmpeg
# open other files or addresses.
CONTAINERS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,eac3,flac,flv,iff,matroska,webm,mov,mp4,m4a,3gp,mp2,mp3,mpc,mpc8,"
    "mpeg,mpegts,ogg,oma,opus,rm,rso,shn,tak,tta,voc,w64,wav,wv,wsaud"
)
RATES_HZ = (2_000, 3_100_000)  # FFmpeg gives DSD512 at 3,072,000; an absurd rate would make a small file fill memory
MAX_CHANNELS = 64
SOUNDS = 10 ** (-70 / 20)  # the amplitude over which a track sounds; as `ingest.min_loudness_db`
_IS_DEFAULT, _IS_ASIDE = 0x0001, 0x0008 | 0x0080 | 0x0100  # comments, and for those who hear or see badly


@dataclass(slots=True)
class Opened:
    """An open container, the audio stream of it that is read, and what its bytes say of its end."""

    path: Path
    before: State
    container: Any  # av.container.InputContainer
    stream: Any  # av.AudioStream
    ending: Ending
    track_note: str = ""
    indexed: int | None = None  # where the index of an AVI file ends, in the stream's units

    @property
    def format_name(self) -> str:
        return str(self.container.format.name)


@contextmanager
def opened(path: Path) -> Iterator[Opened]:
    """Open a file. Raises `AudioUnreadable` for what is no audio, `AudioUnreachable` for what cannot be read."""
    before = state_of(path)
    ending = Ending()
    container = _container(path, before)
    try:
        ending = ending_of(path, container.format.name)
        if ending.ignores_length:
            container.close()
            container = _container(path, before, ignore_length="1")
        streams = [each for each in container.streams.audio if each.codec_context is not None]
        number, note = _track(path, before, len(streams)) if len(streams) > 1 else (0, "")
        stream: Any = streams[number] if streams else None
        _require_sound(printable(path.name), stream, len(container.streams.audio))
        stream.codec_context.thread_type = "AUTO"
        yield Opened(path, before, container, stream, ending, note, _end_of_index(container, stream))
    finally:
        container.close()


def _container(path: Path, before: State, **options: str) -> Any:
    import av

    settings = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"} | options
    try:
        return av.open(os.path.abspath(path), mode="r", metadata_errors="surrogateescape", options=settings)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        require_readable(path, before)
        raise AudioUnreadable(
            f"{printable(path.name)}: is not audio that can be opened ({cause(error)}): another kind of file, damaged, "
            "or cut short. Get the whole file again, or remove it.",
            reason="not_audio",
        ) from error


def _end_of_index(container: Any, stream: Any) -> int | None:
    """Give the end of the last entry of an AVI file's index: the last entry's time and the step to it."""
    entries = stream.index_entries
    if container.format.name != "avi" or len(entries) < 2:
        return None
    last, before = entries[len(entries) - 1].timestamp, entries[len(entries) - 2].timestamp
    return int(last + max(0, last - before))


def _require_sound(name: str, stream: Any, num_streams: int) -> None:
    if stream is None and num_streams:
        raise AudioUnreadable(
            f"{name}: its audio is in a format that cannot be decoded. Convert it to FLAC, or remove it.",
            reason="not_audio",
        )
    if stream is None:
        raise AudioUnreadable(f"{name}: holds no audio stream. Remove it.", reason="no_audio_stream")
    rate, num_channels = stream.codec_context.sample_rate, stream.codec_context.layout.nb_channels
    if not rate:
        raise AudioUnreadable(
            f"{name}: announces no sample rate, so it is not audio, or damaged. Get the file again, or remove it.",
            reason="not_audio",
        )
    if not RATES_HZ[0] <= rate <= RATES_HZ[1]:
        raise AudioUnreadable(
            f"{name}: claims {rate} samples a second, but music has {RATES_HZ[0]} to {RATES_HZ[1]}. It is damaged: "
            "get the file again, or remove it.",
            reason="not_audio",
            measured=rate,
        )
    if num_channels > MAX_CHANNELS:
        raise AudioUnreadable(
            f"{name}: has {num_channels} channels; at most {MAX_CHANNELS} can be mixed. Mix them down, or remove it.",
            reason="too_many_channels",
            measured=num_channels,
        )


@lru_cache(maxsize=256)
def _track(path: Path, before: State, num_tracks: int) -> tuple[int, str]:
    """Choose among several tracks: the default one if it sounds, else the first that does, comments last."""
    container = _container(path, before)
    with container:
        streams = [each for each in container.streams.audio if each.codec_context is not None]
        marks = [int(each.disposition) for each in streams]
    order = sorted(range(num_tracks), key=lambda at: (bool(marks[at] & _IS_ASIDE), not marks[at] & _IS_DEFAULT, at))
    for number in order:
        if _sounds(path, before, number):
            why = "the default one" if number == order[0] else "the first that sounds"
            return number, f"holds {num_tracks} tracks of sound: number {number + 1}, {why}, was read"
    return order[0], f"holds {num_tracks} tracks of sound, none of which sounds: number {order[0] + 1} was read"


def _sounds(path: Path, before: State, number: int) -> bool:
    """Whether a track is louder than silence anywhere. Reads up to the first sound."""
    import av
    import numpy as np

    with _container(path, before) as container:
        stream = [each for each in container.streams.audio if each.codec_context is not None][number]
        resampler = av.AudioResampler(format="flt", layout=stream.codec_context.layout.name, frame_size=16_384)
        try:
            packets = (packet for packet in container.demux(stream) if packet.stream.type == "audio")
            for packet in packets:
                for frame in packet.decode():
                    frame.pts = None
                    if any(np.abs(out.to_ndarray()).max(initial=0) > SOUNDS for out in resampler.resample(frame)):
                        return True
            return any(np.abs(out.to_ndarray()).max(initial=0) > SOUNDS for out in resampler.resample(None))
        except (av.error.FFmpegError, OSError, ValueError):
            return False


def cause(error: BaseException) -> str:
    """Give what FFmpeg says of an error, on one line."""
    return printable(getattr(error, "strerror", None) or str(error), 80)
