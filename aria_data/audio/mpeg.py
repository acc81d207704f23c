"""The Xing, Info or VBRI header in the first frame of an MPEG audio file: how many frames and bytes it announces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

_HEADER_BYTES = 4096  # the first MPEG frame, with the encoder's note in it, is at most 2881 bytes
_RATES_HZ = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}  # MPEG 1, 2, 2.5
_ID3V1_BYTES, _APE_FOOTER_BYTES = 128, 32


@dataclass(frozen=True, slots=True)
class Xing:
    """What the header announces, and the bytes between it and the tags at the file's end."""

    duration_s: float  # 0: not stated
    num_bytes: int  # 0: not stated
    num_bytes_there: int


def xing_of(file: BinaryIO, num_bytes: int) -> Xing | None:
    """Read the header of a file's first frame; None where it has none."""
    start, head = _behind_tags(file)
    if len(head) < 40 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer, rate = head[1] >> 3 & 3, head[1] >> 1 & 3, head[2] >> 2 & 3
    if version == 1 or layer != 1 or rate == 3:  # only layer III has such headers
        return None
    is_mono, samples = head[3] >> 6 == 3, 1152 if version == 3 else 576
    at = 4 + ((17 if is_mono else 32) if version == 3 else (9 if is_mono else 17))
    there = _end_of_sound(file, num_bytes) - start
    if head[at : at + 4] in (b"Xing", b"Info"):
        frames, size = _numbers(head, at)
    elif head[36:40] == b"VBRI":
        size, frames = int.from_bytes(head[46:50], "big"), int.from_bytes(head[50:54], "big")
    else:
        return None
    return Xing(frames * samples / _RATES_HZ[version][rate], size, there)


def _numbers(head: bytes, at: int) -> tuple[int, int]:
    flags, place, found = int.from_bytes(head[at + 4 : at + 8], "big"), at + 8, [0, 0]
    for number, bit in enumerate((1, 2)):
        if flags & bit:
            found[number] = int.from_bytes(head[place : place + 4], "big")
            place += 4
    return found[0], found[1]


def _behind_tags(file: BinaryIO) -> tuple[int, bytes]:
    """Give the place behind any ID3v2 and APE tags, and the bytes there."""
    start = 0
    while True:
        file.seek(start)
        head = file.read(_HEADER_BYTES)
        if head.startswith(b"ID3") and len(head) >= 10:
            size = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
            start += 10 + size + (10 if head[5] & 0x10 else 0)
        elif head.startswith(b"APETAGEX") and len(head) >= 32:
            start += 32 + int.from_bytes(head[12:16], "little")
        else:
            padding = len(head) - len(head.lstrip(b"\0")) if start else 0
            return start + padding, head[padding:]


def _end_of_sound(file: BinaryIO, num_bytes: int) -> int:
    """Give the place before the ID3v1 and APE tags at a file's end."""
    end = num_bytes
    file.seek(max(0, end - _ID3V1_BYTES))
    if file.read(3) == b"TAG":
        end -= _ID3V1_BYTES
    file.seek(max(0, end - _APE_FOOTER_BYTES))
    footer = file.read(_APE_FOOTER_BYTES)
    if footer.startswith(b"APETAGEX") and len(footer) == _APE_FOOTER_BYTES:
        end -= int.from_bytes(footer[12:16], "little") + (32 if footer[23] & 0x80 else 0)
    return max(0, end)
