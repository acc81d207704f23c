"""Files sent to a worker that does not see this machine's disks, or sees them: then nothing is sent.

`deliver` is this side, `missing` and `keep` are the worker's. A worker keeps what it got, up to `MAX_KEPT` bytes, in a
folder that ends with it.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import os
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aria_data.storage import not_writable

PART = 32 << 20  # bytes that are sent at a time
MAX_KEPT = 2 << 30  # bytes of files in a worker's folder
NAME = "aria-data-worker-"  # of such a folder, before the process's id


@dataclass(frozen=True, slots=True)
class Label:
    """Which file is meant: where it lies on the sender's machine, and what tells it from another one there."""

    path: str
    num_bytes: int
    modified_ns: int

    @classmethod
    def of(cls, path: Path) -> Label | None:
        """The label of a file; None for one that cannot be read now: whoever needs it there finds out."""
        with suppress(OSError):
            status = os.stat(path)
            if os.access(path, os.R_OK):
                return cls(str(path), status.st_size, status.st_mtime_ns)
        return None

    @property
    def place(self) -> str:
        """Where a worker keeps the file in its folder: under its own name, which messages show."""
        key = hashlib.sha256(f"{self.path}\0{self.num_bytes}\0{self.modified_ns}".encode(errors="surrogateescape"))
        return f"{key.hexdigest()[:32]}/{os.path.basename(self.path)}"


def deliver(ask: Callable[..., Any], files: Mapping[str, Path]) -> dict[str, str]:
    """Let a worker have files, by location. Gives where each is there; `ask` calls a function in the worker."""
    labels = {location: Label.of(path) for location, path in files.items()}
    there: dict[str, str] = ask(f"{__name__}:missing", {key: label for key, label in labels.items() if label})
    for location, label in labels.items():
        if label is None:
            there[location] = str(files[location])
        elif location not in there:
            for offset, part in _parts(label):
                there[location] = ask(f"{__name__}:keep", label, offset, part)
    return there


def _parts(label: Label) -> Iterator[tuple[int, bytes]]:
    with suppress(OSError), open(label.path, "rb") as file:
        offset = 0
        while offset == 0 or offset < label.num_bytes:
            part = file.read(PART)
            yield offset, part
            offset += len(part)
            if not part:
                return


# ---------------------------------------------------------------- the worker's side


def missing(send: Callable[[Any], None], labels: Mapping[str, Label]) -> dict[str, str]:
    """Give where files are that this process sees or has kept, by location; the others have to be sent."""
    found = {}
    for location, label in labels.items():
        if Label.of(Path(label.path)) == label:
            found[location] = label.path
        elif label.place in kept():
            kept().move_to_end(label.place)
            found[location] = str(scratch() / "files" / label.place)
    return found


def keep(send: Callable[[Any], None], label: Label, offset: int, part: bytes) -> str:
    """Keep a part of a file; give where it is. The files that were used least recently make room.

    Raises `DatasetNotWritable` where the disk is full.
    """
    path = scratch() / "files" / label.place
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "r+b" if offset else "wb") as file:
            file.seek(offset)
            file.write(part)
    except OSError as error:
        raise not_writable(path, error) from error
    if offset + len(part) >= label.num_bytes:
        kept()[label.place] = label.num_bytes
        while sum(kept().values()) > MAX_KEPT and len(kept()) > 1:
            place, _ = kept().popitem(last=False)
            shutil.rmtree((scratch() / "files" / place).parent, ignore_errors=True)
    return str(path)


@functools.cache
def kept() -> OrderedDict[str, int]:
    """The sizes of the files that this process keeps, by place, the one that was used least recently first."""
    return OrderedDict()


@functools.cache
def scratch() -> Path:
    """A folder of this process's own. Those of processes that are gone are deleted."""
    above = Path(tempfile.gettempdir())
    for folder in above.glob(f"{NAME}*"):
        pid = folder.name.removeprefix(NAME).partition("-")[0]
        if pid.isdigit() and not _is_running(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{NAME}{os.getpid()}-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True
