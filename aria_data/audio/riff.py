"""How much of the announced sound is in a file, for containers that state the size of their parts in bytes.

FFmpeg takes such a file as it finds it: a WAV, W64, AIFF, CAF, AU, AVI or RealMedia file that was cut is a shorter
one, and sound behind a size that is too small is not read. A few hundred bytes are read here, never the sound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

MAX_CHUNKS = 10_000
SPARE_BYTES = 4096  # behind the last chunk: padding, or a tag of a program that knows no chunks
TAGS = (b"TAG", b"ID3", b"APETAGEX")
W64_RIFF = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"


@dataclass(frozen=True, slots=True)
class Sizes:
    """What the sizes in a file say. `num_left_out` bytes lie behind all that they announce."""

    share: float = 1.0  # of the announced bytes of sound that is there
    sound_at: int = 0  # where the sound begins
    num_sound: int = 0  # its bytes, as announced; 0: not stated
    num_left_out: int = 0
    joined: str = ""  # what the bytes that are left out begin with, where it is another file


def is_unknown(size: int) -> bool:
    """Whether a size is what programs write that do not know it: into a pipe, or before a crash."""
    return size == 0 or 0x7FFF_0000 <= size <= 0x8001_0000 or size >= 0xFFFF_0000


def sizes_of(file: BinaryIO, num_bytes: int, format_name: str) -> Sizes:
    """Compare the sizes that a file's parts announce with its `num_bytes`; nothing is announced in other formats."""
    reader = READERS.get(format_name)
    return reader(file, num_bytes) if reader else Sizes()


def _chunks(file: BinaryIO, start: int, num_bytes: int, order: str, pad: int = 2) -> Iterator[tuple[bytes, int, int]]:
    """Yield (id, place of its content, size) of chunks with 4-byte ids and sizes, one after the other."""
    for _ in range(MAX_CHUNKS):
        file.seek(start)
        head = file.read(8)
        if len(head) < 8:
            return
        size = int.from_bytes(head[4:8], order)  # type: ignore[arg-type]
        yield head[:4], start + 8, size
        start += 8 + size + size % pad
        if start >= num_bytes:
            return


def _is_name(name: bytes) -> bool:
    return len(name) == 4 and all(32 <= byte < 127 for byte in name)


def _left_out(file: BinaryIO, end: int, num_bytes: int, order: str) -> tuple[int, str]:
    """Give the number of bytes behind the sound that no chunk explains, and the kind of file that begins there."""
    for name, at, size in _chunks(file, end, num_bytes, order):
        if name in (b"RIFF", b"RF64", b"FORM", b"RIFX"):
            return num_bytes - at + 8, "another file"
        if not _is_name(name) or at + size > num_bytes + SPARE_BYTES:
            return _unexplained(file, at - 8, num_bytes), ""
    return 0, ""


def _unexplained(file: BinaryIO, start: int, num_bytes: int) -> int:
    """Give the number of bytes from `start` on, unless they are few, a tag, or nothing but zeros."""
    file.seek(start)
    head = file.read(1 << 16)
    if num_bytes - start <= SPARE_BYTES or head.startswith(TAGS) or not any(head):
        return 0
    return num_bytes - start


def _measured(file: BinaryIO, num_bytes: int, at: int, size: int, order: str) -> Sizes:
    """Compare one chunk of sound with what there is."""
    there = max(0, num_bytes - at)
    if size > there:
        return Sizes(there / size, at, size)
    return Sizes(1.0, at, size, *_left_out(file, at + size + size % 2, num_bytes, order))


def _wav(file: BinaryIO, num_bytes: int) -> Sizes:
    file.seek(0)
    kind, long_size = file.read(4), 0
    if kind not in (b"RIFF", b"RIFX", b"RF64", b"BW64"):
        return Sizes()
    order = "big" if kind == b"RIFX" else "little"
    for name, at, size in _chunks(file, 12, num_bytes, order):
        if name == b"ds64":
            file.seek(at + 8)
            long_size = int.from_bytes(file.read(8), "little")
        if name == b"data":
            if size == 0xFFFF_FFFF and long_size > 0:
                return _measured(file, num_bytes, at, long_size, order)
            is_stated = not is_unknown(size) or at + size <= num_bytes and size > 0
            return _measured(file, num_bytes, at, size, order) if is_stated else Sizes(sound_at=at)
    return Sizes()


def _aiff(file: BinaryIO, num_bytes: int) -> Sizes:
    for name, at, size in _chunks(file, 12, num_bytes, "big"):
        if name == b"SSND" and not is_unknown(size):
            return _measured(file, num_bytes, at, size, "big")
    return Sizes()


def _w64(file: BinaryIO, num_bytes: int) -> Sizes:
    start = 40  # behind the file's own name, size and kind
    for _ in range(MAX_CHUNKS):
        file.seek(start)
        head = file.read(24)
        size = int.from_bytes(head[16:24], "little")
        if len(head) < 24 or size < 24:
            break
        if head.startswith(b"data"):
            file.seek(min(num_bytes, start + (size + 7 & ~7)))
            joined = "another file" if file.read(16) == W64_RIFF else ""
            left = num_bytes - start - size if joined else 0
            return Sizes(min(1.0, (num_bytes - start - 24) / max(1, size - 24)), start + 24, size - 24, left, joined)
        start += size + 7 & ~7
    return Sizes()


def _caf(file: BinaryIO, num_bytes: int) -> Sizes:
    start = 8
    for _ in range(MAX_CHUNKS):
        file.seek(start)
        head = file.read(12)
        size = int.from_bytes(head[4:12], "big", signed=True)
        if len(head) < 12 or size < 0:
            break
        if head.startswith(b"data"):
            return Sizes(min(1.0, (num_bytes - start - 12) / max(1, size)), start + 12, size)
        start += 12 + size
    return Sizes()


def _au(file: BinaryIO, num_bytes: int) -> Sizes:
    file.seek(0)
    head = file.read(12)
    at, size = int.from_bytes(head[4:8], "big"), int.from_bytes(head[8:12], "big")
    return Sizes() if is_unknown(size) else Sizes(min(1.0, max(0, num_bytes - at) / size), at, size)


def _avi(file: BinaryIO, num_bytes: int) -> Sizes:
    """A long AVI file is a row of RIFF chunks; the last one shows whether it was cut."""
    end = 0
    for name, at, size in _chunks(file, 0, num_bytes, "little"):
        if name != b"RIFF" or is_unknown(size):
            break
        end = at + size
    return Sizes(min(1.0, num_bytes / end)) if end else Sizes()


def _rm(file: BinaryIO, num_bytes: int) -> Sizes:
    start = 0
    for _ in range(MAX_CHUNKS):
        file.seek(start)
        head = file.read(8)
        size = int.from_bytes(head[4:8], "big")  # with these eight bytes
        if len(head) < 8 or size < 8 or is_unknown(size):
            break
        if head.startswith(b"DATA"):
            return Sizes(min(1.0, (num_bytes - start) / size), start, size)
        start += size
    return Sizes()


def _voc(file: BinaryIO, num_bytes: int) -> Sizes:
    file.seek(20)
    start = int.from_bytes(file.read(2), "little")
    for _ in range(MAX_CHUNKS):
        file.seek(start)
        head = file.read(4)
        if len(head) < 4 or head[0] == 0:
            break
        end = start + 4 + int.from_bytes(head[1:4], "little")
        if end > num_bytes:
            return Sizes(num_bytes / end)
        start = end
    return Sizes()


def _dsf(file: BinaryIO, num_bytes: int) -> Sizes:
    file.seek(12)
    size = int.from_bytes(file.read(8), "little")
    return Sizes(min(1.0, num_bytes / size)) if size else Sizes()


READERS: dict[str, Callable[[BinaryIO, int], Sizes]] = {
    "wav": _wav,
    "aiff": _aiff,
    "w64": _w64,
    "caf": _caf,
    "au": _au,
    "avi": _avi,
    "rm": _rm,
    "dsf": _dsf,
    "voc": _voc,
}
