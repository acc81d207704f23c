"""What of a dataset in an object store has to be on this machine's disk: copies of audio, databases, scratch.

All of it is below the user's cache folder (`XDG_CACHE_HOME`, else `~/.cache`), in `aria-data`:

    objects/, tables/   copies of objects that are read as files: the least recently used go when they are too many
    datasets/<16 hex of the address>/   scratch of a build, Prefect's records, the two SQLite files in use

A dataset in a folder has no copies: every function here gives its own path back.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from aria_data.errors import AudioUnreachable, DatasetNotWritable, UsageError
from aria_data.stores.object_paths import ObjectPath

CACHE_GB = "ARIA_DATA_CACHE_GB"  # an environment variable
DEFAULT_CACHE_GB = 20.0  # ours: the shards that a build has in work at once hold some 2 GB of lossless audio
KEPT_FILES = 16  # the newest of `objects`, however large: somebody is about to open them
KEPT_S = 3600.0  # as long at least a copy of a table's file stays after its last use: longer than it takes to read
STALE_S = 86_400.0  # what a killed process was fetching
_FETCHING = ".fetching"


def cache_home() -> Path:
    """The folder of this user's caches that are ours."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aria-data"


def local_folder(root: Path) -> Path:
    """Where a dataset keeps what can only be on a disk: its own folder, or for one in a store a folder of the cache."""
    if not isinstance(root, ObjectPath):
        return root
    return cache_home() / "datasets" / hashlib.sha256(str(root).encode()).hexdigest()[:16]


def local_copy(path: Path) -> Path:
    """Give a file of the disk with the content that `path` has now: itself, or a copy of an object.

    Copies are kept within `ARIA_DATA_CACHE_GB`; open one soon. Raises `FileNotFoundError`, `StoreUnreachable`,
    `DatasetNotWritable`.
    """
    if not isinstance(path, ObjectPath):
        return path
    info = path.info()
    copy = _place_of(path, info.etag)
    if not _is_used(copy, info.st_size):
        _fetch(path, copy)
        _trim_soon(copy)
    return copy


def copy_of_constant(path: ObjectPath) -> Path:
    """As `local_copy`, of an object that never changes, such as a table's data file: one request, or none."""
    copy = _place_of(path, "", "tables")
    if not _is_used(copy):
        _fetch(path, copy)
        _trim_soon(copy)
    return copy


def _is_used(copy: Path, num_bytes: int | None = None) -> bool:
    """Whether there is a copy of so many bytes; it is used now."""
    try:
        if num_bytes is not None and copy.stat().st_size != num_bytes:
            return False
        os.utime(copy)
        return True
    except OSError:
        return False


def _fetch(path: ObjectPath, copy: Path) -> None:
    fetching = copy.with_name(f"{secrets.token_hex(8)}{_FETCHING}")
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
        path.download(fetching)
        os.replace(fetching, copy)
    except OSError as error:
        raise _no_room(copy, error) from error
    finally:
        with contextlib.suppress(OSError):
            fetching.unlink(missing_ok=True)


def local_audio(path: Path) -> Path:
    """As `local_copy`, of a recording. Raises `AudioUnreachable` for one that is not in the store."""
    try:
        return local_copy(path)
    except FileNotFoundError:
        raise AudioUnreachable(f"{path}: is not there.", "file_missing") from None


def keep_file(source: Path, path: Path) -> None:
    """Move a file of the disk to its place in the dataset: nothing to do in a folder, where it is there already.

    Of a store's object, the file becomes the local copy.
    """
    if not isinstance(path, ObjectPath):
        return
    path.upload(source)
    copy = _place_of(path, path.info().etag)
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(source, copy)
    except OSError:  # it is in the store: the copy is only for speed
        source.unlink(missing_ok=True)
    _trim_soon(copy)


def _place_of(path: ObjectPath, etag: str, kind: str = "objects") -> Path:
    name = hashlib.sha256(f"{path} {etag}".encode()).hexdigest()
    return cache_home() / kind / name[:2] / f"{name}{path.suffix}"


def _trim_soon(copy: Path) -> None:
    """Trim once a hundredth of the limit has come since the last time: it looks at every copy."""
    with contextlib.suppress(OSError):
        _come[0] += copy.stat().st_size
    if _come[0] * 100 >= cache_bytes():
        _come[0] = 0
        trim()


_come = [0]  # bytes, since the last time


def trim() -> None:
    """Delete the least recently used copies until they are within the limit, but for those that may be in use."""
    found = sorted(_copies(), reverse=True)
    left, num_objects, now = cache_bytes(), 0, time.time()
    for used_at, num_bytes, name, kind in found:
        left -= num_bytes
        num_objects += kind == "objects"
        is_in_use = now - used_at < KEPT_S if kind == "tables" else num_objects <= KEPT_FILES
        if name.endswith(_FETCHING):
            is_in_use = now - used_at < STALE_S
        if not is_in_use and (left < 0 or name.endswith(_FETCHING)):
            with contextlib.suppress(OSError):
                os.unlink(name)


def _copies() -> Iterator[tuple[float, int, str, str]]:
    """When each copy was used last, its size, path and kind."""
    for kind in ("objects", "tables"):
        for folder in (cache_home() / kind).glob("*"):
            with contextlib.suppress(OSError), os.scandir(folder) as entries:
                for entry in entries:
                    with contextlib.suppress(OSError):
                        status = entry.stat()
                        yield status.st_mtime, status.st_size, entry.path, kind


def cache_bytes() -> int:
    """How large the copies may be together."""
    text = os.environ.get(CACHE_GB) or str(DEFAULT_CACHE_GB)
    try:
        return int(float(text) * 1e9)
    except (ValueError, OverflowError):
        raise UsageError(f"{CACHE_GB}={text!r}: is no number of gigabytes.") from None


def _no_room(path: Path, error: OSError) -> Exception:
    if isinstance(error, FileNotFoundError):
        return error
    return DatasetNotWritable(
        f"{path}: cannot be written ({error.strerror or error}). Free some space there, set {CACHE_GB} lower, or name "
        "another folder by XDG_CACHE_HOME."
    )


# -------------------------------------------------------------------- databases


def fetch_database(path: Path) -> Path:
    """Give the SQLite file that stands for `path` on this disk; fetched if another machine has changed it.

    Call it under the dataset's lock, and `give_back_database` when the file is closed. What a killed command had
    written is still there, unless another machine has written since.
    """
    if not isinstance(path, ObjectPath):
        return path
    local = _database_of(path)
    etag = _etag_of(path)
    if etag and etag != _based_on(local):
        for each in (local, *(local.with_name(f"{local.name}-{ending}") for ending in ("wal", "shm"))):
            each.unlink(missing_ok=True)
        local.parent.mkdir(parents=True, exist_ok=True)
        path.download(local)
        _note(local, etag)
    return local


def give_back_database(path: Path) -> None:
    """Write a closed SQLite file back into the store, if it was changed."""
    if not isinstance(path, ObjectPath):
        return
    local = _database_of(path)
    if local.is_file() and _state(local) != _noted(local).get("state"):
        path.upload(local)
        _note(local, _etag_of(path))


def _database_of(path: ObjectPath) -> Path:
    root = path.parent.parent
    return local_folder(cast(Path, root)) / path.parent.name / path.name


def _etag_of(path: ObjectPath) -> str:
    try:
        return path.info().etag
    except FileNotFoundError:
        return ""


def _based_on(local: Path) -> str:
    return str(_noted(local).get("etag", "")) if local.is_file() else ""


def _noted(local: Path) -> dict[str, str]:
    try:
        return dict(json.loads(local.with_name(f"{local.name}.json").read_bytes()))
    except (OSError, ValueError, TypeError):
        return {}


def _note(local: Path, etag: str) -> None:
    note = {"etag": etag, "state": _state(local)}
    local.with_name(f"{local.name}.json").write_text(json.dumps(note), encoding="utf-8")


def _state(local: Path) -> str:
    status = local.stat()
    return f"{status.st_size} {status.st_mtime_ns}"
