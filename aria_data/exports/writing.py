"""Shared by all exports: a folder that appears whole or not at all, checksums, counts, safe names. No format."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa

from aria_data import __version__
from aria_data.errors import DatasetCorrupt, DatasetLocked, UsageError
from aria_data.manifest import Dataset, Row
from aria_data.manifest.columns import is_added
from aria_data.manifest.dataset import READ_WITH_MIDI, Selection, read_aligned, read_midis_of
from aria_data.manifest.figures import COUNTED, statistics
from aria_data.manifest.manifest import arrow_schema
from aria_data.storage import HELD, PARTIAL, exclusive_lock, not_writable, printable, sha256_file

LAYOUT_VERSION = 1
SUMS, FACTS, LOCK = "SHA256SUMS", "export.json", ".lock"
LOCKS = (LOCK, LOCK + HELD)  # the second where the file system has no locks
MAX_FILES = 10_000  # in one folder or one tar
MIN_SHARDS = 8  # of a split, ours: enough for 2 ranks with 4 workers each, as a shard is read by one of them
SPLITS = ("train", "validation", "test")  # those that every dataset may have
ALIGNED_FILES = ("beats_path", "alignment_path")  # columns with files of their own
NOT_EXPORTED = ("midi_path", "removed_in", "removal_reason", *ALIGNED_FILES)  # paths in the dataset; always null here
NEEDED = (*READ_WITH_MIDI, *COUNTED, *ALIGNED_FILES)  # columns without which nothing is exported
SAY_EVERY = 100  # rows between two reports of progress
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,99}")
_PLAIN_SPLIT = re.compile(r"[A-Za-z0-9_]{1,40}")

Progress = Callable[[int, int], None]  # rows written, rows in all


@dataclass(frozen=True, slots=True)
class Exported:
    """A finished export, in numbers."""

    out: Path
    format: str
    version: int
    num_rows: int
    num_files: int  # on disk, checksums and facts included
    num_bytes: int
    without_rows: tuple[str, ...] = ()  # splits and configurations that have no row, and so are not there


def exported_columns(table: pa.Table | None = None) -> list[str]:
    """The manifest's columns that an export has; with its rows given, also users' subsets and weights among them."""
    names = arrow_schema().names if table is None else table.column_names
    return [name for name in names if name not in NOT_EXPORTED]


def exported_row(row: Row) -> Row:
    """Give a row without the columns that are not exported."""
    return {name: value for name, value in row.items() if name not in NOT_EXPORTED}


def aligned_columns(table: pa.Table) -> list[str]:
    """Those of `ALIGNED_FILES` that any row has a file of; none where nothing was aligned with a score."""
    return [name for name in ALIGNED_FILES if table[name].null_count < len(table)]


class Names:
    """File names made of segment ids: plain ASCII without a dot, and unique even where case is ignored.

    An id that is such a name is used as it is, which is true for our sources; any other is replaced by a hash.
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def name(self, segment_id: str) -> str:
        name = segment_id
        if not _PLAIN_NAME.fullmatch(name) or name.lower() in self._taken:
            name = f"segment-{hashlib.sha256(segment_id.encode()).hexdigest()[:32]}"
        self._taken.add(name.lower())
        return name


class Writer:
    """An export while it is written. Every file is written through it, so that each has a checksum."""

    def __init__(self, folder: Path, selection: Selection, progress: Progress | None):
        self.folder, self.selection = folder, selection
        self.files: dict[str, dict[str, int]] = {}  # those that hold many rows
        self.num_files = self.num_bytes = self._num_done = 0
        self._progress = progress
        self._sums: TextIO = open(folder / SUMS, "w", encoding="ascii", newline="\n")  # noqa: SIM115

    def write(self, name: str, content: bytes) -> None:
        """Write a small file."""
        path = self.folder / name
        try:
            with open(path, "xb") as file:
                file.write(content)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        self._count(name, hashlib.sha256(content).hexdigest(), len(content))

    @contextmanager
    def large_file(self, name: str, num_rows: int) -> Iterator[Path]:
        """Give the path of a file to write with `num_rows` rows; it is hashed and counted at the end of the block."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        yield path
        with open(path, "rb") as file:
            os.fsync(file.fileno())
        num_bytes = path.stat().st_size
        self.files[name] = {"num_rows": num_rows, "num_bytes": num_bytes}
        self._count(name, sha256_file(path), num_bytes)

    def pairs(self, table: pa.Table | None = None) -> Iterator[tuple[Row, bytes]]:
        """Yield (row, MIDI bytes) of the selection, or of a part of it, and report progress."""
        for row, midi in self.selection if table is None else Selection(self.selection.root, table):
            yield row, midi
            self.advance(1)

    def aligned(self, row: Row, columns: Sequence[str] = ALIGNED_FILES) -> dict[str, bytes]:
        """Read the files of a row's alignment, by column; empty where it has none. Raises `DatasetCorrupt`."""
        found = {name: read_aligned(self.selection.root, row, name) for name in columns}
        return {name: content for name, content in found.items() if content is not None}

    def write_aligned(self, row: Row, name: str) -> dict[str, str]:
        """Write `beats/<name>.tsv` and `alignments/<name>.parquet`, as far as the row has them; gives both names."""
        names = {"beats_path": f"beats/{name}.tsv", "alignment_path": f"alignments/{name}.parquet"}
        contents = self.aligned(row)
        for column, content in contents.items():
            self.write(names[column], content)
        return {column: names[column] for column in contents}

    def midis(self, table: pa.Table) -> list[bytes]:
        """Read the MIDI files of a few rows at once, and report progress."""
        named = table.select(["segment_id", "midi_path", "midi_sha256"]).to_pylist()
        found = [midi for _, midi in read_midis_of(self.selection.root, named)]
        self.advance(len(found))
        return found

    def advance(self, num_rows: int) -> None:
        """Count rows as done, and report progress every `SAY_EVERY` rows."""
        before, self._num_done = self._num_done, self._num_done + num_rows
        if self._progress and (before // SAY_EVERY != self._num_done // SAY_EVERY or self._is_done()):
            self._progress(self._num_done, len(self.selection))

    def _is_done(self) -> bool:
        return self._num_done == len(self.selection)

    def _count(self, name: str, sha256: str, num_bytes: int) -> None:
        self._sums.write(f"{sha256}  {name}\n")
        self.num_files += 1
        self.num_bytes += num_bytes

    def finish(self, facts: dict[str, Any]) -> None:
        """Write the facts and close the checksums. Raises `AssertionError` if the format did not write every row."""
        if not self._is_done():
            raise AssertionError(f"{self._num_done} of {len(self.selection)} rows were exported")
        content = {**facts, "files": {name: self.files[name] for name in sorted(self.files)}}
        self.write(FACTS, json.dumps(content, indent=1).encode() + b"\n")
        self._sums.flush()
        os.fsync(self._sums.fileno())
        self._sums.close()
        self.num_files += 1
        self.num_bytes += (self.folder / SUMS).stat().st_size

    def close(self) -> None:
        """Close the file of checksums, also after an error."""
        self._sums.close()


@contextmanager
def new_export(
    dataset: Dataset,
    out: Path | str,
    where: str,
    format_: str,
    progress: Progress | None,
    columns: Iterable[str] | None = None,
) -> Iterator[Writer]:
    """Give a writer for the rows for which `where` holds; `out` appears when the block has ended without an error.

    Of the fixed columns only `columns` are read (None: all), and what the facts and the MIDI files need.
    Raises `UsageError` when `out` is not a new or empty folder, or no row is chosen, and `DatasetNotWritable`.
    """
    target = Path(os.path.realpath(out))
    _require_new(target)
    names = None
    if columns is not None:
        added = filter(is_added, dataset.column_names)
        names = list(dict.fromkeys([*NEEDED, *columns, *added]))
    selection = _without_empty_columns(dataset.select(where, names))
    if not len(selection):
        raise UsageError(f"{dataset.root}: version {dataset.version} has no MIDI file for which {where!r} holds.")
    if progress:
        progress(0, len(selection))
    try:
        with _whole_folder(target) as partial:
            writer = Writer(partial, selection, progress)
            try:
                yield writer
                writer.finish(_facts(dataset, where, format_, selection))
            finally:
                writer.close()
    except (OSError, pa.ArrowException) as error:
        raise not_writable(target, error) from error


def _without_empty_columns(selection: Selection) -> Selection:
    """Leave out users' columns that are null in all rows, such as those of a subset that was deleted."""
    table = selection.table
    empty = [name for name in table.column_names if is_added(name) and table[name].null_count == len(table)]
    return Selection(selection.root, table.drop_columns(empty)) if empty else selection


def exported(
    writer: Writer, dataset: Dataset, out: Path | str, format_: str, without_rows: Iterable[str] = ()
) -> Exported:
    """Describe the export of a writer whose block has ended."""
    num_rows, there = len(writer.selection), set(splits_of(writer.selection.table))
    missing = (*(f"split {split}" for split in SPLITS if split not in there), *without_rows)
    return Exported(Path(out), format_, dataset.version, num_rows, writer.num_files, writer.num_bytes, missing)


def _facts(dataset: Dataset, where: str, format_: str, selection: Selection) -> dict[str, Any]:
    version = next(each for each in dataset.versions() if each.number == dataset.version)
    counts = statistics(selection.table)
    return {
        "format": format_,
        "layout_version": LAYOUT_VERSION,
        "made_by": f"aria-data {__version__}",
        "version": dataset.version,
        "content_sha256": version.content_sha256,
        "where": where,
        "num_rows": counts["num_files"],
        "hours": counts["hours"],
        "num_notes": counts["num_notes"],
        "num_rows_by_split": {name: group["num_files"] for name, group in sorted(counts["by"]["split"].items())},
    }


def _require_new(target: Path) -> None:
    if target.is_dir():
        if any(entry.name not in LOCKS for entry in target.iterdir()):
            raise UsageError(f"{printable(str(target))}: is not empty; an export goes into a new or an empty folder.")
        if os.path.ismount(target):
            raise UsageError(f"{printable(str(target))}: is a whole disk; name a new folder in it.")
    elif os.path.lexists(target):
        raise UsageError(f"{printable(str(target))}: is a file, but --out names a folder.")


@contextmanager
def _whole_folder(target: Path) -> Iterator[Path]:
    """Give a folder beside `target` that is renamed to it at the end; what a killed export left in it is deleted."""
    partial = target.with_name(target.name + PARTIAL)
    if partial.is_dir() and any(partial.iterdir()) and not (partial / LOCK).exists():
        raise UsageError(
            f"{printable(str(partial))}: is in the way and not of an export; move it or name another --out."
        )
    with ExitStack() as stack:
        try:
            stack.enter_context(exclusive_lock(partial / LOCK))
        except DatasetLocked as error:
            text = str(error).replace("another build is working in", "another export is writing")
            raise DatasetLocked(text.replace(f"{partial}: ", f"{printable(str(target))}: ")) from error
        _require_new(target)
        try:
            _clear(partial)
            yield partial
            os.rename(partial, target)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        for name in LOCKS:
            with suppress(OSError):
                (target / name).unlink()


def _clear(partial: Path) -> None:
    for entry in partial.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name not in LOCKS:
            entry.unlink()


def shards_of(rows: pa.Table, at_least: int, max_rows: int) -> list[pa.Table]:
    """Divide rows, in their order, into shards that differ by one row at most.

    There are `at_least` so many: fewer only where there are fewer rows, more where one would have over `max_rows`.
    """
    num_rows = rows.num_rows
    count = min(num_rows, max(at_least, -(-num_rows // max_rows)))
    ends = [num_rows * number // count for number in range(count + 1)] if count else [0]
    return [rows.slice(start, end - start) for start, end in pairwise(ends)]


def splits_of(table: pa.Table) -> list[str]:
    """The splits of rows, sorted. Raises `DatasetCorrupt` for one that cannot be part of a file name."""
    found = table["split"].unique().to_pylist()
    for split in found:
        if not isinstance(split, str) or not _PLAIN_SPLIT.fullmatch(split):
            raise DatasetCorrupt(f"a split of the manifest is {printable(repr(split))}, which is no plain word.")
    return sorted(found)


class CsvFile:
    """A CSV with `file_name` and the exported columns. Text is quoted; an empty field means that nothing is known.

    Where rows were aligned with scores, `beats_path` and `alignment_path` follow: files of the export.
    """

    def __init__(self, file: TextIO, table: pa.Table):
        self._writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
        self._aligned = aligned_columns(table)
        self._writer.writerow(["file_name", *exported_columns(table), *self._aligned])

    def add(self, file_name: str, row: Row, aligned: Mapping[str, str]) -> None:
        values = [*exported_row(row).values(), *(aligned.get(name) for name in self._aligned)]
        self._writer.writerow([file_name, *(str(v).lower() if isinstance(v, bool) else v for v in values)])
