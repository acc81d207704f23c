"""Read a released dataset, as training needs it: rows, MIDI bytes, figures, samples, a torch `Dataset`. No writing.

    dataset = aria_data.Dataset("dataset/")          # the newest version; version=3 or version="its name" for another
    for row, midi in dataset.iterate("in_pruned and split = 'train'"):
        ...

A `where` is an SQL condition over the manifest's columns, including users' subsets and weights (`in_...`,
`weight_...`). Functions that give MIDI files leave out rows without one: those removed in this version, or since.
"""

from __future__ import annotations

import hashlib
import heapq
import math
import operator
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aria_data.errors import DatasetCorrupt, DatasetNotFound, UsageError
from aria_data.manifest.columns import is_subset, is_weight
from aria_data.manifest.figures import COUNTED, statistics
from aria_data.manifest.manifest import Manifest, Row, Version
from aria_data.manifest.removed import removal_of
from aria_data.manifest.rows import rows_of
from aria_data.storage import is_remote, open_root, printable
from aria_data.stores.object_paths import read_ahead

if TYPE_CHECKING:
    import numpy as np
    import pandas

ALIGNED_BY = ("segment_id", "beats_path", "alignment_path")  # columns that an alignment's files are read by
READ_WITH_MIDI = ("segment_id", "midi_path", "midi_sha256", "removed_in")  # columns that a MIDI file is read by


class Dataset:
    """One version of the dataset at `path`, by number or name, by default the newest. Raises `DatasetNotFound`.

    `path` is a folder, or a place in an object store: `s3://bucket/dataset` (`gs://`, `az://`).
    """

    def __init__(self, path: Path | str, version: int | str | None = None):
        self.root = open_root(path)
        self._manifest = Manifest(self.root)
        if version is not None and not isinstance(version, int | str):
            raise UsageError(f"version: {version!r} is not a number or a name; the versions are 1, 2, 3, ...")
        self.version = self._manifest.number_of(version)

    def __repr__(self) -> str:
        return f"Dataset({str(self.root)!r}, version={self.version})"

    def versions(self) -> list[Version]:
        """Every release, oldest first."""
        return self._manifest.versions()

    def table(self, where: str = "", columns: Sequence[str] | None = None) -> pa.Table:
        """Select rows as an Arrow table, sorted by segment_id; removed ones only if `where` names `removed_in`.

        Raises `UsageError` for a condition that cannot be understood and for an unknown column.
        """
        names = self.column_names if columns is None else list(columns)
        for name in names:
            self._require_column(name)
        return self._manifest.query(where, self.version, columns=names).select(names)

    @cached_property
    def column_names(self) -> list[str]:
        """This version's columns: those of every manifest, then users' subsets and weights added up to this version."""
        return self._manifest.column_names(self.version)

    def _require_column(self, name: str) -> None:
        if name not in self.column_names:
            raise UsageError(f"unknown column {name!r}. Known: {', '.join(self.column_names)}.")

    def rows(self, where: str = "", columns: Sequence[str] | None = None) -> Iterator[Row]:
        """Yield rows as plain values, sorted by segment_id; see `table`."""
        return rows_of(self.table(where, columns))

    def to_pandas(self, where: str = "", columns: Sequence[str] | None = None) -> pandas.DataFrame:
        """Give rows as a pandas DataFrame; see `table`."""
        return self.table(where, columns).to_pandas()

    def select(self, where: str = "", columns: Sequence[str] | None = None) -> Selection:
        """Choose rows that have a MIDI file: those not removed in this version or since.

        `columns` (None: all) must have those in `READ_WITH_MIDI`.
        """
        return Selection(self.root, self._present(self.table(where, columns)))

    def _present(self, table: pa.Table) -> pa.Table:
        """Leave out what was removed in this version or since."""
        if table["removed_in"].null_count < len(table):
            table = table.filter(pc.is_null(table["removed_in"]))
        if removed := self._removed_since:
            gone = pa.array(sorted(removed), pa.string())
            table = table.filter(pc.invert(pc.is_in(table["segment_id"], value_set=gone)))
        return table

    @property
    def _removed_since(self) -> dict[str, str]:
        """{segment_id: why} of all segments that the newest version marks as removed; their MIDI files are deleted."""
        newest = self._manifest.version()
        if newest == self.version:
            return {}
        names = ["segment_id", "removed_in", "removal_reason"]
        return {
            row["segment_id"]: f"removed in version {row['removed_in']} ({printable(row['removal_reason'] or '')})"
            for row in rows_of(self._manifest.query("removed_in IS NOT NULL", newest, columns=names))
        }

    def iterate(self, where: str = "") -> Iterator[tuple[Row, bytes]]:
        """Yield (row, bytes of its MIDI file), sorted by segment_id. Raises as `read_midi_of` does."""
        return iter(self.select(where))

    def __iter__(self) -> Iterator[tuple[Row, bytes]]:
        return self.iterate()

    def midi(self, segment_id: str) -> bytes:
        """Read one segment's MIDI file. Raises `DatasetNotFound` for an unknown or removed id, and `DatasetCorrupt`."""
        ids = self._index["segment_id"]
        place = bisect_left(range(len(ids)), segment_id, key=lambda index: ids[index].as_py())
        if place == len(ids) or ids[place].as_py() != segment_id:
            raise DatasetNotFound(f"{self.root}: version {self.version} has no segment {printable(segment_id)!r}.")
        row = self._index.slice(place, 1).to_pylist()[0]
        reason = self._removed_since.get(segment_id)
        if row["removed_in"] is not None:
            reason = f"removed in version {row['removed_in']} ({printable(row['removal_reason'] or '')})"
        if reason is not None:
            raise DatasetNotFound(f"{self.root}: segment {segment_id} was {reason}.")
        return read_midi_of(self.root, row)

    def beats(self, segment_id: str) -> bytes | None:
        """Read a segment's beats in ASAP's layout, a line a beat: `time, time, label`, in seconds of its MIDI.

        The label is `b` or `db`, with `,3/4,-2` where time or key signature change. None: it was aligned with no score.
        Raises `DatasetNotFound` for an unknown or removed id, and `DatasetCorrupt`.
        """
        return self._aligned(segment_id, "beats_path")

    def alignment(self, segment_id: str) -> pa.Table | None:
        """Read every beat and note of a segment with its place in the score (docs/alignment.md). None as `beats`."""
        content = self._aligned(segment_id, "alignment_path")
        return None if content is None else pq.read_table(pa.BufferReader(content))

    def _aligned(self, segment_id: str, column: str) -> bytes | None:
        self.midi(segment_id)  # it is there, and was not removed since
        row = self._manifest.rows_of([segment_id], self.version).select(ALIGNED_BY).to_pylist()[0]
        return read_aligned(self.root, row, column)

    @cached_property
    def _index(self) -> pa.Table:
        names = ["segment_id", "midi_path", "midi_sha256", "removed_in", "removal_reason"]
        return self.table("removed_in IS NULL OR true", names).combine_chunks()

    def stats(self, where: str = "") -> dict[str, Any]:
        """Count files, hours and notes, by composer, licence and so on, with distributions of measures (`figures`)."""
        added = [name for name in self.column_names if is_subset(name) or is_weight(name)]
        return statistics(self.table(where, [*COUNTED, *added]))

    def sample(self, n: int, seed: int = 0, where: str = "") -> list[Row]:
        """Draw `n` random rows that have a MIDI file, or all if there are fewer.

        A larger `n` with the same seed contains the smaller sample. Raises `UsageError` for a negative `n`.
        """
        if n < 0:
            raise UsageError(f"a sample of {n} rows cannot be drawn; ask for 0 or more.")
        ids = self._present(self.table(where, ["segment_id", "removed_in"]))["segment_id"].to_pylist()
        drawn = heapq.nsmallest(n, ids, key=lambda segment_id: _random_key(seed, segment_id))
        rows = {row["segment_id"]: row for row in rows_of(self._manifest.rows_of(drawn, self.version))}
        return [rows[segment_id] for segment_id in drawn]

    def torch(self, where: str = "", load: Callable[[Row, bytes], Any] | None = None, *, weight: str = "") -> Any:
        """Give a map-style `torch.utils.data.Dataset` of `load(row, midi)`; of (row, midi) without `load`.

        A `DataLoader` can use it with workers of any kind, as long as `load` can be pickled.

        `weight` names a column. Then each row has one value more, `row["weight"]`: its weight divided by the mean over
        all chosen rows. The attribute `weights` of the torch dataset is the array of them, for a
        `WeightedRandomSampler`. Raises `UsageError` as `Selection.weights` does.
        """
        if weight:
            self._require_column(weight)
        selection = self.select(where)
        return _torch_dataset(selection, load, selection.weights(weight) if weight else None)


class Selection:
    """Chosen rows, each with its MIDI file: a sequence of (row, MIDI bytes), read when asked for."""

    def __init__(self, root: Path, table: pa.Table):
        self.root, self.table = root, table

    def __len__(self) -> int:
        return self.table.num_rows

    def __getitem__(self, position: int) -> tuple[Row, bytes]:
        place = operator.index(position)
        place += len(self) if place < 0 else 0
        if not 0 <= place < len(self):
            raise IndexError(f"position {position} is outside of {len(self)} rows")
        row = self.table.slice(place, 1).to_pylist()[0]
        return row, read_midi_of(self.root, row)

    def __iter__(self) -> Iterator[tuple[Row, bytes]]:
        return read_midis_of(self.root, rows_of(self.table))

    def weights(self, column: str) -> np.ndarray:
        """The rows' weights as float64, in order, divided by their mean, so that a weighted loss keeps its scale.

        Raises `UsageError` for a column without numbers, a row without a weight, a negative one, and zeros only.
        """
        if column not in self.table.column_names or not _is_numeric(self.table[column].type):
            raise UsageError(f"{column!r} is no column of weights.")
        found = self.table[column]
        if found.null_count:
            raise UsageError(
                f"{column}: {found.null_count} of {len(found)} rows have no weight. "
                f"Choose only rows that have one: {column} IS NOT NULL."
            )
        values = found.cast(pa.float64()).to_numpy()
        if not len(values):
            return values
        mean = values.mean()
        if not (values >= 0.0).all() or not 0.0 < mean < math.inf:
            raise UsageError(f"{column}: weights are 0 or more, finite, and not all 0.")
        return values / mean


def _is_numeric(type_: pa.DataType) -> bool:
    return pa.types.is_floating(type_) or pa.types.is_integer(type_) or pa.types.is_boolean(type_)


def read_midi_of(root: Path, row: Row) -> bytes:
    """Read a row's MIDI file.

    Raises `DatasetNotFound` when it was removed since the row was read, and `DatasetCorrupt` when it cannot be read or
    its sha256 is not the row's.
    """
    segment_id, path = printable(row["segment_id"]), midi_path_of(root, row)
    try:
        content = path.read_bytes()
    except OSError as error:
        if isinstance(error, FileNotFoundError) and (removal := removal_of(root, row["segment_id"])):
            raise DatasetNotFound(
                f"{root}: segment {segment_id} was {removal}, after these rows were read. "
                "Open the dataset again; it leaves the segment out."
            ) from error
        raise DatasetCorrupt(
            f"{path}: the MIDI file of segment {segment_id} cannot be read ({error.strerror}). "
            "Restore it from a backup, or take the segment out with `aria-data remove`."
        ) from error
    if hashlib.sha256(content).hexdigest() != row["midi_sha256"]:
        raise DatasetCorrupt(
            f"{path}: is not the MIDI file that the manifest means for segment {segment_id}: its sha256 differs. "
            "Restore it from a backup."
        )
    return content


def read_midis_of(root: Path, rows: Iterable[Row]) -> Iterator[tuple[Row, bytes]]:
    """Yield each row with its MIDI file, in order; from an object store, some are asked for ahead."""

    def with_midi(row: Row) -> tuple[Row, bytes]:
        return row, read_midi_of(root, row)

    return read_ahead(rows, with_midi) if is_remote(root) else map(with_midi, rows)


def midi_path_of(root: Path, row: Row) -> Path:
    """The path of a row's MIDI file. Raises `DatasetCorrupt` for a path outside of the dataset."""
    segment_id, name = printable(row["segment_id"]), row["midi_path"]
    if not is_below(name):
        raise DatasetCorrupt(f"{root}: segment {segment_id} names {printable(str(name))!r}, no path below the dataset.")
    return root / name


def is_below(name: str | None) -> bool:
    """Whether a path in a manifest stays below the dataset. It is not trusted: manifests are exchanged."""
    if not name or "\0" in name:
        return False
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def read_aligned(root: Path, row: Row, column: str) -> bytes | None:
    """Read a file that a row names in `beats_path` or `alignment_path`; None where it names none.

    Raises `DatasetCorrupt` where the file is away or outside of the dataset.
    """
    name, segment_id = row[column], printable(row["segment_id"])
    if name is None:
        return None
    if not is_below(name):
        raise DatasetCorrupt(f"{root}: segment {segment_id} names {printable(str(name))!r}, no path below the dataset.")
    try:
        return (root / name).read_bytes()
    except OSError as error:
        raise DatasetCorrupt(
            f"{printable(str(root / name))}: the alignment of segment {segment_id} cannot be read ({error.strerror}). "
            "Run `aria-data align` again: it is made anew."
        ) from error


def _random_key(seed: int, segment_id: str) -> bytes:
    return hashlib.sha256(f"{seed} {segment_id}".encode()).digest()


def _torch_dataset(
    selection: Selection, load: Callable[[Row, bytes], Any] | None, weights_of_rows: np.ndarray | None
) -> Any:
    import torch.utils.data

    class TorchDataset(torch.utils.data.Dataset):
        weights = weights_of_rows

        def __len__(self) -> int:
            return len(selection)

        def __getitem__(self, position: int) -> Any:
            row, midi = selection[position]
            if weights_of_rows is not None:
                row["weight"] = float(weights_of_rows[position])
            return (row, midi) if load is None else load(row, midi)

        def __reduce__(self) -> Any:  # a spawned worker makes it again from these arguments
            return _torch_dataset, (selection, load, weights_of_rows)

    return TorchDataset()
