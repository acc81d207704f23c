"""Read from a container's bytes what FFmpeg does not report: how much of it is there, and whether its end is missing.

For a file that was cut short, FFmpeg often reports the length that is left; for files that do not state a length it
guesses one, and the length of a film is not that of its sound. Each function reads a few kilobytes, or skips from
part to part; `format_name` is FFmpeg's name of the container.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from aria_data.audio.mpeg import xing_of
from aria_data.audio.riff import SPARE_BYTES, Sizes, sizes_of

_OGG_PAGE_BYTES = 65_307  # the largest page of RFC 3533
_GUESSED = ("aac", "ac3", "eac3", "amr", "mp3")  # FFmpeg guesses their length from the bit rate of the beginning
_OF_CONTAINER = ("matroska,webm", "flv", "asf", "rm", "mpeg", "mpegts")  # their length is that of the longest stream
_WITH_PAUSES = ("avi", "iff", "oma", *_OF_CONTAINER)  # and MP4: their packets have time stamps of their own
_ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")  # File Properties Object
_EBML_SEGMENT = b"\x18\x53\x80\x67"
_NEVER_ZERO = ("ogg", *_GUESSED, *_OF_CONTAINER)  # their sound is never a row of zeros
_MAX_UNWRITTEN = 0.02  # of a file's bytes, as `min_decoded_share`
_BLOCK_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Ending:
    """What a container's bytes say of its end. `is_whole`: nothing is missing, whatever length is announced."""

    share: float = 1.0  # of the announced bytes that is there
    is_whole: bool = False
    early_end: str = ""  # the sign that its end is missing
    unread: str = ""  # sound that lies behind what the file announces
    ignores_length: bool = False  # the announced size is too small, and all that follows is sound
    note: str = ""
    stated_s: float | None = None  # what belongs to the sound, where FFmpeg's is a guess or another stream's
    is_fragmented: bool = False


def ending_of(path: Path, format_name: str) -> Ending:
    """Look at a file's bytes for what is missing at its end, or left out behind it."""
    num_bytes = os.path.getsize(path)
    with open(path, "rb") as file:
        unwritten = _num_zeros(file, num_bytes) / num_bytes if format_name in _NEVER_ZERO else 0.0
        if unwritten > _MAX_UNWRITTEN:
            return Ending(share=1 - unwritten, early_end=f"the last {unwritten:.0%} of its bytes were never written")
        if format_name == "ogg":
            return _ogg(file, num_bytes)
        if format_name == "mp3":
            return _mp3(file, num_bytes)
        if format_name == "matroska,webm":
            return _matroska(file, num_bytes)
        if format_name == "asf":
            return _asf(file, num_bytes)
        if format_name.startswith("mov,"):
            return _mp4(file, num_bytes)
        sizes = sizes_of(file, num_bytes, format_name)
        return _of_sizes(sizes, format_name)


def owns_duration(format_name: str) -> bool:
    """Whether the announced length is that of the sound, and neither a guess nor the container's."""
    return format_name not in _GUESSED and format_name not in _OF_CONTAINER


def is_of_container(format_name: str) -> bool:
    """Whether the announced length is that of the container's longest stream."""
    return format_name in _OF_CONTAINER


def has_pauses(format_name: str) -> bool:
    """Whether a gap between packets may be a pause, as of a film. In other formats sound is missing there."""
    return format_name in _WITH_PAUSES or format_name.startswith("mov,")


def _of_sizes(sizes: Sizes, format_name: str) -> Ending:
    share_left_out = sizes.num_left_out / max(1, sizes.num_sound + sizes.num_left_out)
    megabytes = f"{sizes.num_left_out / 1e6:.1f} MB"
    if sizes.joined and share_left_out > 0.02:
        return Ending(unread=f"{sizes.joined} of {megabytes} begins behind its end, and is not read")
    if share_left_out > 0.02 and format_name == "wav":
        note = f"its header announces {megabytes} less than there are, as after 4 GiB: all of it was read"
        return Ending(ignores_length=True, note=note)
    if share_left_out > 0.02:
        return Ending(unread=f"{megabytes} lie behind the end that it announces, and are not read")
    return Ending(share=sizes.share)


def _ogg(file: BinaryIO, num_bytes: int) -> Ending:
    """The last page must be whole and end a packet. Recorders often do not mark it as the last."""
    file.seek(max(0, num_bytes - 2 * _OGG_PAGE_BYTES))
    tail = file.read()
    page = tail[max(0, tail.rfind(b"OggS\0")) :]
    num_lacings = page[26] if len(page) > 26 else 0
    lacings = page[27 : 27 + num_lacings]
    if len(page) < max(27, 27 + num_lacings + sum(lacings)) or not page.startswith(b"OggS"):
        return Ending(early_end="its last page is cut")
    if len(page) > 27 + num_lacings + sum(lacings) + SPARE_BYTES:
        return Ending(early_end="what follows is no Ogg page")
    if lacings.endswith(b"\xff"):
        return Ending(early_end="the page is missing that ends its last packet")
    return Ending() if page[5] & 4 else Ending(note="its last page is not marked as the last")


def _mp3(file: BinaryIO, num_bytes: int) -> Ending:
    """A Xing or VBRI header states frames and bytes. Where there are more bytes it is that of the first file joined."""
    found = xing_of(file, num_bytes)
    if found is None or found.num_bytes and found.num_bytes_there > 1.02 * found.num_bytes:
        return Ending()
    return Ending(stated_s=found.duration_s or None)


def _matroska(file: BinaryIO, num_bytes: int) -> Ending:
    """The segment states its size, unless it was written live."""
    file.seek(0)
    head = file.read(4096)
    at = head.find(_EBML_SEGMENT)
    if at < 0 or at + 12 > len(head):
        return Ending()
    first = head[at + 4]
    length = 9 - first.bit_length()
    size = int.from_bytes(head[at + 4 : at + 4 + length], "big") & ~(1 << 7 * length)
    if not 1 <= length <= 8 or size in (0, (1 << 7 * length) - 1):
        return Ending()
    end = at + 4 + length + size
    return Ending(share=min(1.0, num_bytes / end), is_whole=num_bytes >= end)


def _asf(file: BinaryIO, num_bytes: int) -> Ending:
    file.seek(0)
    head = file.read(1 << 16)
    at = head.find(_ASF_FILE)
    if at < 0 or at + 92 > len(head):
        return Ending()
    size = int.from_bytes(head[at + 40 : at + 48], "little")
    is_live = bool(head[at + 88] & 1)
    if is_live or size <= len(_ASF_FILE):
        return Ending()
    return Ending(share=min(1.0, num_bytes / size), is_whole=num_bytes >= size)


def _mp4(file: BinaryIO, num_bytes: int) -> Ending:
    """A fragmented file has no table of all its samples: what is cut in it is its last box."""
    start, is_fragmented, end, num_indexes = 0, False, 0, 0
    for _ in range(1_000_000):
        file.seek(start)
        head = file.read(16)
        if len(head) < 8:
            break
        size, name = int.from_bytes(head[:4], "big"), head[4:8]
        size = int.from_bytes(head[8:16], "big") if size == 1 else size or num_bytes - start
        is_fragmented |= name == b"moof"
        num_indexes += name == b"moov"
        if size < 8 or not all(32 <= byte < 127 or byte == 0xA9 for byte in name):
            break
        start = end = start + size
        if start >= num_bytes:
            break
    if is_fragmented and end > num_bytes:
        return Ending(early_end="its last fragment is cut", is_fragmented=True)
    if num_indexes > 1 and not is_fragmented:
        return Ending(unread="another file begins behind its end, and is not read")
    return Ending(is_fragmented=is_fragmented)


def _num_zeros(file: BinaryIO, num_bytes: int) -> int:
    """Count the zeros at a file's end, as a download leaves them that reserved its space."""
    end = num_bytes
    while end > 0:
        start = max(0, end - _BLOCK_BYTES)
        file.seek(start)
        left = len(file.read(end - start).rstrip(b"\0"))
        if left:
            return num_bytes - start - left
        end = start
    return num_bytes
