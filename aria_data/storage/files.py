"""Files that are written whole or not at all, their hashes, and the lock of a folder. No tables, no audio.

The operating system's lock is free again however its process ends. Some file systems have none (NFS without a lock
service, some FUSE and cluster file systems): there `ARIA_DATA_LOCK=file` locks by a file that one process can make.
In an object store the lock is a lease (`lease`), and an object is written whole by the store itself (`object_paths`).
"""

from __future__ import annotations

import errno
import fcntl
import functools
import getpass
import hashlib
import json
import os
import re
import shutil
import socket
import tempfile
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote_from_bytes, unquote_to_bytes

from aria_data.errors import DatasetError, DatasetLocked, DatasetNotWritable, LocksMissing, UsageError
from aria_data.stores.lease import held_lease
from aria_data.stores.object_paths import ObjectPath

PARTIAL = ".partial"
HASH_BLOCK_BYTES = 1 << 20
SPARE_BYTES = 1 << 20  # a commit's log entry takes some kilobytes
LOCKING = "ARIA_DATA_LOCK"  # an environment variable: `system` or `file`
HELD = ".held"  # the ending of the file that is the lock, where the system has none
IS_HELD = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES)  # the last by file systems that lock by other means
HAS_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL)


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` to `path` through a `.partial` file beside it, so that nobody ever reads half of it.

    Makes the folder if need be. Raises `DatasetNotWritable` without permission or space, and leaves no `.partial`.
    """
    if isinstance(path, ObjectPath):
        _put(path, lambda: path.write_bytes(content))
        return
    with writing_whole(path) as file:
        file.write(content)


@contextmanager
def writing_whole(path: Path) -> Iterator[BinaryIO]:
    """As `write_whole`, for what is too long to be in memory: give a file, which is at `path` when the block ends.

    A block that ends with an error leaves nothing. A device or a pipe, such as /dev/null, is written to, not replaced.
    """
    if isinstance(path, ObjectPath):
        with tempfile.NamedTemporaryFile(prefix="aria-data-", suffix=path.suffix) as given:
            try:
                yield given  # type: ignore[misc]
                given.flush()
            except OSError as error:
                raise not_writable(tempfile.gettempdir(), error) from error
            _put(path, lambda: path.upload(Path(given.name)))
        return
    if path.exists() and not path.is_file() and not path.is_dir():
        try:
            with open(path, "wb") as file:
                yield file
            return
        except OSError as error:
            raise not_writable(path, error) from error
    partial = path.with_name(path.name + PARTIAL)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException as error:
        partial.unlink(missing_ok=True) if os.path.lexists(partial) else None
        if isinstance(error, OSError):
            raise not_writable(path, error) from error
        raise


def _put(path: ObjectPath, write: Callable[[], Any]) -> None:
    try:
        write()
    except OSError as error:
        raise not_writable(str(path), error) from error


def remove_folder(path: Path) -> None:
    """Delete a folder and all that is in it, if it is there; what cannot be deleted of one on a disk stays."""
    if isinstance(path, ObjectPath):
        path.remove_all()
    else:
        shutil.rmtree(path, ignore_errors=True)


def require_space(path: Path, num_bytes: int) -> None:
    """Raise `DatasetNotWritable` unless the disk has room for `num_bytes` and `SPARE_BYTES` more.

    Without this check the table library leaves half a file on a full disk and prints a panic. A store is never full.
    """
    if isinstance(path, ObjectPath):
        return
    place = next((each for each in (path, *path.parents) if each.exists()), Path("/"))
    if shutil.disk_usage(place).free < num_bytes + SPARE_BYTES:
        raise not_writable(path, OSError(errno.ENOSPC, "No space left on device"))


def not_writable(path: Path | str, error: BaseException) -> DatasetError:
    """Make an error that states in one line why a write failed and what to do. `error` is an OSError or deltalake's."""
    text = str(error)
    code = getattr(error, "errno", None)
    if isinstance(error, FileNotFoundError) and "://" in str(path):
        return DatasetNotWritable(f"{path}: there is no such bucket. Make it first, or choose another --out.")
    if code == errno.ENOSPC or "No space left" in text or "StorageFull" in text or "os error 28" in text:
        return DatasetNotWritable(f"{path}: no space left on the device. Free some and run the same command again.")
    is_denied = code in (errno.EACCES, errno.EPERM, errno.EROFS) or isinstance(error, PermissionError)
    if is_denied or "ermission denied" in text or "Read-only file" in text:
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


def sha256_of_weights(path: Path | str) -> str:
    """Give the sha256 of a large file that is asked for often. A file that is as it was is hashed once a process.

    As it was: the same size, times of writing and change, and inode. Raises `OSError`.
    """
    status = os.stat(path)
    return _sha256_of_state(
        str(path), status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_dev, status.st_ino
    )


@functools.lru_cache(maxsize=64)
def _sha256_of_state(path: str, *state: int) -> str:
    return sha256_file(path)


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


def json_line(value: Any, **settings: Any) -> bytes:
    """Write a value as a line of JSON in UTF-8, whatever files are called.

    Bytes of a name that are no UTF-8 become what `printable` shows: `caf\\udce9.wav`, six characters for the byte.
    """
    text = json.dumps(value, ensure_ascii=False, **settings)
    return _BROKEN_BYTES.sub(lambda found: f"\\\\u{ord(found[0]):04x}", text).encode() + b"\n"


def as_on_disk(folder: Path, name: str) -> Path:
    """Give the path of `name` below `folder`, with accents in one character or in two (NFC, NFD) as the file has them.

    macOS and what copies from it write names in the second way, tables and other systems in the first.
    """
    others = () if name.isascii() else (unicodedata.normalize(form, name) for form in ("NFC", "NFD"))
    paths = [folder / each for each in (name, *others)]
    return next((path for path in paths if os.path.lexists(path)), paths[0])


_BROKEN_BYTES = re.compile("[\ud800-\udfff]")  # what Python makes of bytes of a file name that are no UTF-8
_DIRECTION_MARKS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@contextmanager
def exclusive_lock(path: Path) -> Iterator[None]:
    """Hold the file `path` as a lock, which the system frees when the process ends, however it ends.

    Raises `DatasetLocked` at once when another process holds it, `LocksMissing` where the file system has no locks.
    With `ARIA_DATA_LOCK=file`, the lock is a file that a killed process leaves behind; the message names it then.
    """
    if isinstance(path, ObjectPath):
        with _leased(path):
            yield
        return
    kind = os.environ.get(LOCKING) or "system"
    if kind not in ("system", "file"):
        raise UsageError(f"{LOCKING}={printable(kind, 40)}: is `system` (without it, too) or `file`.")
    held = path.with_name(path.name + HELD)
    descriptor = _opened(path)
    try:
        _lock(descriptor, path, is_needed=kind == "system")
        if kind == "system":
            _require_not_held(held)
            _sign(descriptor)
            try:
                yield
            finally:
                _unsign(descriptor)
        else:
            with _held(held):
                yield
    finally:
        os.close(descriptor)


@contextmanager
def _leased(path: ObjectPath) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(held_lease(path, _holder()))
        except OSError as error:
            raise not_writable(str(path.parent), error) from error
        yield


def _opened(path: Path) -> int:
    """Open the lock's file, which belongs to whom the umask says.

    A file that another user of the group made, and nobody else may write, can be locked all the same.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except PermissionError:
            if not os.access(path.parent, os.W_OK | os.X_OK):
                raise
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise not_writable(path.parent, error) from error


def _lock(descriptor: int, path: Path, is_needed: bool) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in IS_HELD:
            who = _who(lambda: os.pread(descriptor, 1000, 0), must_run=True)
            raise DatasetLocked(
                f"{path.parent}: another build is working in this folder. Wait for it to end.{who and f' It is {who}.'}"
            ) from error
        if error.errno not in HAS_NO_LOCKS:
            raise not_writable(path, error) from error
        if is_needed:
            raise LocksMissing(
                f"{path.parent}: this file system has no locks ({error.strerror}), which keep two commands out of one "
                f"folder. Use another disk, or set {LOCKING}=file in the environment of every command that works here:"
                f" then the file {path.name}{HELD} keeps them apart, and has to be deleted after a command was killed."
            ) from error


@contextmanager
def _held(held: Path) -> Iterator[None]:
    """Make the file that is the lock, and delete it at the end.

    Making it succeeds for one process only, also on NFS. It is never taken over: that a process has ended cannot be
    seen from another machine.
    """
    try:
        descriptor = os.open(held, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except FileExistsError:
        _require_not_held(held)
        raise DatasetLocked(f"{held.parent}: another build was working in this folder. Try again.") from None
    except OSError as error:
        raise not_writable(held.parent, error) from error
    try:
        _sign(descriptor)
        yield
    finally:
        os.close(descriptor)
        held.unlink(missing_ok=True)


def _require_not_held(held: Path) -> None:
    if not held.exists():
        return
    who = _who(held.read_bytes)
    if who and not _who(held.read_bytes, must_run=True):
        raise DatasetLocked(
            f"{held}: was left behind ({who}; it has ended). Delete this file and run the command again."
        )
    raise DatasetLocked(
        f"{held.parent}: another build is working in this folder. Wait for it to end.{who and f' It is {who}.'} "
        f"If it was killed, delete {held}."
    )


def _sign(descriptor: int) -> None:
    """Write down who holds the lock, for those who find it held. A lock that cannot be written holds as well."""
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(_holder()).encode() + b"\n", 0)


def _holder() -> dict[str, Any]:
    since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return {"pid": os.getpid(), "host": socket.gethostname(), "user": _user(), "since": since}


def _unsign(descriptor: int) -> None:
    with suppress(OSError):
        os.ftruncate(descriptor, 0)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a user without a name, as in some containers
        return str(os.getuid())


def _who(read: Callable[[], bytes], must_run: bool = False) -> str:
    """Say who signed a lock; "" where that is not known, or, with `must_run`, where that process has ended."""
    try:
        holder = json.loads(read())
        pid, host = int(holder["pid"]), str(holder["host"])
        if must_run and host == socket.gethostname() and not _runs(pid):
            return ""
        return printable(f"process {pid} on {host}, user {holder['user']}, since {holder['since']}")
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True  # it belongs to another user
    return True
