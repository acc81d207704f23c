"""Whether tables and files of a dataset are what they were, by names and states of files: nothing is read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from aria_data.stores.object_paths import ObjectInfo, ObjectPath

FOLDERS = ("audio", "midi")  # of files that records name
NAMES_TOGETHER = 50_000


def state_of_table(root: Path, name: str) -> dict[str, Any]:
    """The first and the newest commit of a table; {} where there is no table."""
    log = root / "tables" / name / "_delta_log"
    numbers = [int(file.stem) for file in log.glob("*.json") if file.stem.isdecimal()]
    return {str(number): state_of_commit(log, number) for number in {0, max(numbers)}} if numbers else {}


def is_continued(root: Path, name: str, before: dict[str, Any]) -> bool:
    """Whether a table has the commits that it had, and at most others after them."""
    log = root / "tables" / name / "_delta_log"
    return all(state_of_commit(log, int(number)) == state for number, state in before.items())


def state_of_commit(log: Path, number: int) -> list[int | str]:
    """The size and time of a commit of a table's log; [] where it is not there."""
    with suppress(OSError):
        status = (log / f"{number:020}.json").stat()
        tag = status.etag if isinstance(status, ObjectInfo) else status.st_mtime_ns
        return [status.st_size, tag]
    return []


def file_names(root: Path) -> Iterator[pa.RecordBatch]:
    """The places, below the dataset, of all files in the shelves of its folders of audio and of MIDI."""
    schema, names = pa.schema([("path", pa.string())]), list[str]()
    for folder in FOLDERS:
        for below in _of_a_store(root, folder) if isinstance(root, ObjectPath) else _of_a_disk(root, folder):
            names += [name for name in below if name.isprintable()]
            if len(names) > NAMES_TOGETHER:
                yield pa.RecordBatch.from_pydict({"path": names}, schema)
                names = []
    yield pa.RecordBatch.from_pydict({"path": names}, schema)


def _of_a_disk(root: Path, folder: str) -> Iterator[list[str]]:
    for shelf in _entries(root / folder):
        yield [f"{folder}/{shelf.name}/{entry.name}" for entry in _entries(shelf)]


def _of_a_store(root: ObjectPath, folder: str) -> Iterator[list[str]]:
    yield [str(path.relative_to(root)) for path in (root / folder).files()]


def _entries(folder: os.PathLike[str]) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:  # no folder, or none that may be read
        return []
