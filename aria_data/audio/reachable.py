"""Whether a file can be read at all just now. What cannot is a fault of the surroundings, never recorded as the file's.

FFmpeg reports a disk that fails and a file that is cut short by the same code (EIO), so after a failure the file is
read once more, plainly: only the operating system's own error counts.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import NamedTuple

from aria_data.errors import AudioUnreachable, AudioUnreadable
from aria_data.storage import printable

BLOCK_BYTES = 1 << 20
SHORT_S = 0.1  # less than this may be missing at the end
_MISSING = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}
_FORBIDDEN = {errno.EACCES, errno.EPERM}
_ADVICE = {
    "file_missing": "Bring it back, or its disk. A dataset does without it after `aria-data remove`.",
    "unreadable": "Check its permissions and those of its folder.",
    "io_error": "Check the disk or the connection to it.",
    "audio_changed": "Build again when nothing writes to it.",
}


class State(NamedTuple):
    """What tells one content of a path from another, without reading it."""

    device: int
    inode: int
    num_bytes: int
    modified_ns: int


def state_of(path: Path) -> State:
    """Give the state of a regular file with something in it.

    Raises `AudioUnreachable` when the file is missing, may not be read or cannot be asked about; `AudioUnreadable` when
    it is no regular file (`not_a_file`) or empty (`empty_file`).
    """
    name = printable(path.name)
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:
        raise unreachable(name, error) from error
    if stat.S_ISDIR(found.st_mode):  # the folder's files would be candidates, could it be read
        raise _because(name, "unreadable", "is a folder that may not be read")
    if not stat.S_ISREG(found.st_mode):
        raise AudioUnreadable(f"{name}: is not a regular file. Remove it.", reason="not_a_file")
    if not os.access(path, os.R_OK):
        raise _because(name, "unreadable", "may not be read")
    if found.st_size == 0:
        raise AudioUnreadable(f"{name}: is empty (0 bytes). Get the file again.", reason="empty_file")
    return State(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def require_readable(path: Path, before: State) -> None:
    """Read a file from its first byte to its last, after something failed: its content is at fault if this does not.

    Raises `AudioUnreachable` when it cannot be read, or is no longer what it was `before`.
    """
    name = printable(path.name)
    try:
        with open(path, "rb") as file:
            while file.read(BLOCK_BYTES):
                pass
    except OSError as error:
        raise unreachable(name, error) from error
    if state_of(path) != before:
        raise _because(name, "audio_changed", "changed while it was read")


def is_short(read_s: float, wanted_s: float | None) -> bool:
    """Whether less was read than there should be."""
    return wanted_s is not None and read_s < wanted_s - SHORT_S


def require_length(path: Path, read_s: float, wanted_s: float) -> None:
    """Raise `AudioUnreachable` where a file that was read whole before now holds less."""
    if is_short(read_s, wanted_s):
        said = f"holds only {read_s:.1f} s of the {wanted_s:.1f} s that it held before"
        raise _because(printable(path.name), "audio_changed", said)


def unreachable(name: str, error: BaseException) -> AudioUnreachable:
    """Make the error of a file, by name, that the operating system does not give."""
    number = getattr(error, "errno", None)
    cause = printable(getattr(error, "strerror", None) or str(error), 80)
    if number in _MISSING or isinstance(error, ValueError):
        return _because(name, "file_missing", f"cannot be found ({cause})")
    if number in _FORBIDDEN:
        return _because(name, "unreadable", "may not be read")
    return _because(name, "io_error", f"cannot be read ({cause})")


def _because(name: str, reason: str, said: str) -> AudioUnreachable:
    return AudioUnreachable(f"{name}: {said}. {_ADVICE[reason]}", reason)
