"""Files that are written whole or not at all, and their hashes. No tables, no audio."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes

from aria_data.errors import DatasetError, DatasetLocked, DatasetNotWritable

PARTIAL = ".partial"
HASH_BLOCK_BYTES = 1 << 20
SPARE_BYTES = 1 << 20  # asked for beyond the data: a commit's log entry takes some kilobytes


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` to `path` through a `.partial` file beside it, so that nobody ever reads half of it.

    Makes the folder if need be. Raises `DatasetNotWritable` without permission or space, and leaves no `.partial`.
    """
    partial = path.with_name(path.name + PARTIAL)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True) if os.path.lexists(partial) else None
        raise not_writable(path, error) from error


def require_space(path: Path, num_bytes: int) -> None:
    """Raise `DatasetNotWritable` unless the disk has room for `num_bytes` and `SPARE_BYTES` more.

    Without this check the table library leaves half a file on a full disk and prints a panic.
    """
    place = next((each for each in (path, *path.parents) if each.exists()), Path("/"))
    if shutil.disk_usage(place).free < num_bytes + SPARE_BYTES:
        raise not_writable(path, OSError(errno.ENOSPC, "No space left on device"))


def not_writable(path: Path | str, error: BaseException) -> DatasetError:
    """Make an error that states in one line why a write failed and what to do. `error` is an OSError or deltalake's."""
    text = str(error)
    code = getattr(error, "errno", None)
    if code == errno.ENOSPC or "No space left" in text or "StorageFull" in text or "os error 28" in text:
        return DatasetNotWritable(f"{path}: no space left on the device. Free some and run the same command again.")
    if code in (errno.EACCES, errno.EPERM, errno.EROFS) or "ermission denied" in text or "Read-only file" in text:
        return DatasetNotWritable(f"{path}: may not be written. Check its permissions or choose another --out.")
    return DatasetNotWritable(
        f"{path}: cannot be written ({' '.join(text.split())[:200]}). Check the disk and the path."
    )


def sha256_file(path: Path | str) -> str:
    """Give the sha256 of a file's bytes, in hex. Reads blocks of 1 MiB. Raises `OSError`."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(HASH_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def to_location(path: Path | str) -> str:
    """Give the absolute path as a file:// address in ASCII. Every file name survives, also one that is not UTF-8."""
    return "file://" + quote_from_bytes(os.fsencode(os.path.abspath(path)))


def from_location(location: str, dataset_root: Path) -> Path:
    """Give the path of a file:// address, or of a location relative to the dataset folder."""
    if location.startswith("file://"):
        return Path(os.fsdecode(unquote_to_bytes(location.removeprefix("file://"))))
    return dataset_root / location


def printable(text: str | bytes, limit: int = 200) -> str:
    """Make any name safe to print on one line and to store as UTF-8: escape control characters and broken bytes.

    Characters that change the direction of writing are escaped too, so that a hostile name cannot make a line read as
    something else. The result has at most `limit` characters.
    """
    if isinstance(text, bytes):
        text = os.fsdecode(text)
    shown = "".join(
        char
        if char.isprintable() and char not in _DIRECTION_MARKS
        else char.encode("unicode_escape", "surrogatepass").decode()
        for char in text
    )
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


_DIRECTION_MARKS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@contextmanager
def exclusive_lock(path: Path) -> Iterator[None]:
    """Hold the file `path` as a lock, which the system frees when the process ends, however it ends.

    Raises `DatasetLocked` at once when another process holds it, and `DatasetNotWritable`.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise not_writable(path.parent, error) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DatasetLocked(
                f"{path.parent}: another build is working in this folder. Wait for it to end."
            ) from error
        yield
    finally:
        os.close(descriptor)
