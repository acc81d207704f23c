"""Read from a container's bytes what FFmpeg does not report: whether the length is stated, whether the end is missing.

For a WAV or Ogg file that was cut short, FFmpeg reports the length that is left; for files that do not state a length,
it guesses one. Each function reads a few kilobytes; `format_name` is FFmpeg's name of the container.
"""

from __future__ import annotations

import os
from pathlib import Path

_HEADER_BYTES = 4096  # the first MPEG frame, with the encoder's note in it, is at most 2881 bytes
_OGG_PAGE_BYTES = 65_307  # the largest page of RFC 3533
_RIFF_UNKNOWN = 0x7FFF_0000  # a program that writes to a pipe does not know the size and announces 2 or 4 GB, or 0


def states_duration(path: Path, format_name: str) -> bool:
    """Whether the container states its length. Otherwise FFmpeg guesses it from the bit rate of the beginning."""
    if format_name in ("aac", "ac3", "eac3", "amr"):
        return False
    if format_name != "mp3":
        return True
    with open(path, "rb") as file:
        head = _after_id3(file)
    return any(mark in head for mark in (b"Xing", b"Info", b"VBRI"))


def _after_id3(file) -> bytes:
    """Read the first bytes behind any ID3v2 tags."""
    start = 0
    while True:
        file.seek(start)
        head = file.read(_HEADER_BYTES)
        if not head.startswith(b"ID3") or len(head) < 10:
            return head
        size = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        start += 10 + size + (10 if head[5] & 0x10 else 0)


def share_there(path: Path, format_name: str) -> float:
    """Give the share of a WAV file's announced bytes that is there, 0 to 1; 1.0 for all other formats."""
    if format_name != "wav":
        return 1.0
    with open(path, "rb") as file:
        head = file.read(8)
    announced = 8 + int.from_bytes(head[4:8], "little")
    if not head.startswith(b"RIFF") or not 8 < announced < _RIFF_UNKNOWN:
        return 1.0
    return min(1.0, os.path.getsize(path) / announced)


def has_end(path: Path, format_name: str) -> bool:
    """Whether an Ogg file ends with a whole page that is marked as the last; True for all other formats."""
    if format_name != "ogg":
        return True
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - 2 * _OGG_PAGE_BYTES))
        tail = file.read()
    page = tail[max(0, tail.rfind(b"OggS\0")) :]
    num_lacings = page[26] if len(page) > 26 else 0
    length = 27 + num_lacings + sum(page[27 : 27 + num_lacings])
    return len(page) >= max(27, length) and bool(page[5] & 4)
