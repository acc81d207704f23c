"""Mutated audio files, with fixed seeds, and a process of its own that reads them as builds and commands do.

`python audio_mutations.py FOLDER PORT FIRST LAST` makes the mutations FIRST to LAST below FOLDER and prints a line for
each when it begins and one when it is read: its number, the seconds it took, the verdicts, the memory so far.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from fakes import encode_audio, melody, write_audio
from work import peak_memory_mb

CODECS = {"wav": "pcm_s16le", "f32.wav": "pcm_f32le", "w64": "pcm_s16le", "aiff": "pcm_s16be", "au": "pcm_s16be"}
CODECS |= {"caf": "pcm_s16le", "flac": "flac", "opus": "libopus", "mp3": "libmp3lame", "mp2": "mp2", "m4a": "aac"}
CODECS |= {"alac.m4a": "alac", "mov": "pcm_s16le", "aac": "aac", "ac3": "ac3", "ac3.mkv": "ac3", "mkv": "libmp3lame"}
CODECS |= {"webm": "libopus", "flv": "aac", "avi": "libmp3lame", "pcm.avi": "pcm_s16le", "ts": "aac", "mpg": "mp2"}
CODECS |= {"rm": "ac3", "tta": "tta", "wv": "wavpack", "voc": "pcm_s16le", "ogg": ""}
SECONDS = 1.5
DECOY = "other.wav"


def originals(folder: Path) -> list[tuple[str, bytes]]:
    """Give one small file of every container."""
    folder.mkdir(parents=True, exist_ok=True)
    waveform, found = melody(SECONDS, 1, 48_000, 2), []
    for suffix, codec in CODECS.items():
        path = folder / f"a.{suffix}"
        if codec:
            encode_audio(path, waveform, codec)
        else:
            write_audio(path, waveform, 48_000)
        found.append((suffix, path.read_bytes()))
    return found


def mutated(content: bytes, rng: np.random.Generator, port: int, other: bytes) -> bytes:
    """Change a file in one of several ways, most of them near its beginning, where containers are described."""
    made = bytearray(content)
    kind = int(rng.integers(0, 11))
    at = int(len(made) * (rng.random() ** (3 if rng.random() < 0.6 else 1)))
    length = int(min(len(made) - at, 1 + rng.exponential(40)))
    if kind == 0:
        for place in rng.integers(0, len(made), int(rng.integers(1, 30))):
            made[int(place)] = int(rng.integers(0, 256))
    elif kind == 1:
        made[at : at + length] = rng.bytes(length)
    elif kind == 2:
        made[at : at + 4] = rng.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\x80"])
    elif kind == 3:
        del made[at:]
    elif kind == 4:
        del made[at : at + length]
    elif kind == 5:
        made[at:at] = rng.bytes(length)
    elif kind == 6:
        made[at : at + 20 * length] = bytes(min(20 * length, len(made) - at))
    elif kind == 7:
        made += made[at:] if rng.random() < 0.5 else other
    elif kind == 8:
        made[at:] = other[min(at, len(other)) :]
    elif kind == 9:
        named = rng.choice([DECOY, f"http://127.0.0.1:{port}/x.wav", f"tcp://127.0.0.1:{port}", f"file:{DECOY}"])
        made[at : at + len(named)] = str(named).encode()
    else:
        made[at] ^= 1 << int(rng.integers(0, 8))
    return bytes(made)


def verdict_of(read) -> str:
    from aria_data.errors import AudioUnreadable

    try:
        read()
    except AudioUnreadable as error:
        message = str(error)
        return error.reason if "\n" not in message and len(message) < 500 else f"a message: {message!r}"
    except Exception as error:
        return f"unexpected {type(error).__name__}: {error}"
    return ""


def verdicts(path: Path) -> list[str]:
    """Read a file as a build, as `classify` and as `transcribe` do."""
    from aria_data.audio import AudioReader, IntegrityLimits, inspect, mono_blocks, require_whole

    def as_transcribe() -> None:
        with AudioReader(path, 44_100, 2, IntegrityLimits()) as reader:
            assert all(np.isfinite(block).all() and block.shape[1] == 2 for block in reader.blocks())

    return [
        verdict_of(lambda: require_whole(path.name, inspect(path, 3600), IntegrityLimits())),
        verdict_of(lambda: sum(map(len, mono_blocks(path, 16_000, IntegrityLimits())))),
        verdict_of(as_transcribe),
    ]


def make(files: list[tuple[str, bytes]], folder: Path, number: int, port: int) -> Path:
    rng = np.random.default_rng(number)
    suffix, content = files[number % len(files)]
    other = files[int(rng.integers(0, len(files)))][1]
    for _ in range(int(rng.integers(1, 4))):
        content = mutated(content, rng, port, other) or b"\0"
    path = folder / f"{number}.{suffix}"
    path.write_bytes(content)
    return path


def main(folder: Path, port: int, first: int, last: int) -> None:
    files = originals(folder / "originals")
    for number in range(first, last):
        path = make(files, folder, number, port)
        print(json.dumps([number, path.name]), flush=True)
        began = time.monotonic()
        found = verdicts(path)
        memory_mb = peak_memory_mb()
        print(json.dumps([number, path.name, time.monotonic() - began, found, memory_mb]), flush=True)
        path.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:5]))
