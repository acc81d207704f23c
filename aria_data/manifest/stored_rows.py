"""Rows of a version that is being made, in a file instead of in memory; and columns that are read one at a time.

Statistics of a million rows need every column once, but never all of them together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from aria_data.manifest.columns import DIGEST, added_columns, arrow_schema
from aria_data.manifest.digests import BATCH_ROWS, digests_of
from aria_data.manifest.row_queries import ids_where
from aria_data.storage.delta_tables import lean


class StoredColumns:
    """Columns of rows that are read when they are asked for: what `statistics` and `dataset_card` need of a table."""

    def __init__(
        self,
        read: Callable[[list[str]], pa.Table],
        names: Sequence[str],
        num_rows: int,
        is_chosen: np.ndarray | None = None,
    ):
        self._read, self.column_names, self._num_all, self._is_chosen = read, list(names), num_rows, is_chosen

    @property
    def num_rows(self) -> int:
        return self._num_all if self._is_chosen is None else int(self._is_chosen.sum())

    def __len__(self) -> int:
        return self.num_rows

    def __getitem__(self, name: str) -> pa.ChunkedArray:
        return self.select([name])[name]

    def select(self, names: Sequence[str]) -> pa.Table:
        """These columns, of the chosen rows."""
        table = self._read(list(dict.fromkeys(names)))
        return table if self._is_chosen is None else table.filter(pa.array(self._is_chosen))

    def type_of(self, name: str) -> pa.DataType:
        """The type of a column."""
        return arrow_schema(added_columns([name])).field(name).type

    def only(self, names: Sequence[str]) -> StoredColumns:
        """The same rows without other columns."""
        return StoredColumns(self._read, names, self._num_all, self._is_chosen)

    def with_columns(self, beside: Mapping[str, pa.ChunkedArray]) -> StoredColumns:
        """The same rows, all of them, with columns that come on top, or in the place of those of the same name."""

        def read(names: list[str]) -> pa.Table:
            stored = [name for name in names if name not in beside]
            table = self._read(stored or self.column_names[:1])
            return pa.table({name: beside[name] if name in beside else table[name] for name in names})

        return StoredColumns(read, list(dict.fromkeys([*self.column_names, *beside])), self._num_all)

    def filter(self, is_chosen: pa.ChunkedArray | pa.Array) -> StoredColumns:
        """The rows of these for which it is true."""
        mask = is_chosen.to_numpy(zero_copy_only=False) if isinstance(is_chosen, pa.Array) else is_chosen.to_numpy()
        whole = np.zeros(self._num_all, bool)
        whole[np.arange(self._num_all) if self._is_chosen is None else np.flatnonzero(self._is_chosen)] = mask
        return StoredColumns(self._read, self.column_names, self._num_all, whole)


class StoredRows:
    """All rows of a version in a Parquet file, sorted by segment_id, and columns of the same length that replace some
    of the file's or come on top."""

    def __init__(self, path: Path, beside: Mapping[str, pa.ChunkedArray] | None = None):
        self.path, self._beside = path, {name: _chunked(values) for name, values in (beside or {}).items()}
        self._file = pads.dataset(str(path), format="parquet", schema=arrow_schema())
        names = [*self._file.schema.names, *(name for name in self._beside if name not in self._file.schema.names)]
        self.columns = StoredColumns(self._columns, names, self._file.count_rows())

    def with_columns(self, beside: Mapping[str, pa.ChunkedArray]) -> StoredRows:
        """The same rows with other columns."""
        return StoredRows(self.path, {**self._beside, **beside})

    def ids_where(self, where: str) -> pa.ChunkedArray:
        """Find the ids of the rows, not removed, for which the condition of a subset holds: over fixed columns only."""
        return ids_where(self._file.filter(pads.field("removed_in").is_null()), where, must_repeat=True)

    def reader(self, names: Sequence[str]) -> pa.RecordBatchReader:
        """Read some of the file's columns, a batch at a time."""
        return self._file.scanner(columns=list(names), **lean()).to_reader()

    def _columns(self, names: list[str]) -> pa.Table:
        stored = [name for name in names if name not in self._beside]
        table = self._file.to_table(columns=stored or ["segment_id"], **lean())
        columns = {name: self._beside.get(name, table[name] if name in stored else None) for name in names}
        return pa.table(columns)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows, a batch at a time, in order."""
        schema = arrow_schema()
        for name, values in self._beside.items():
            if name not in schema.names:
                schema = schema.append(pa.field(name, values.type))
        start = 0
        for batch in self._file.to_batches(**{**lean(), "batch_size": BATCH_ROWS}):
            end = start + batch.num_rows
            whole = {
                name: values.slice(start, batch.num_rows).combine_chunks() for name, values in self._beside.items()
            }
            columns = [whole[name] if name in whole else batch.column(name) for name in schema.names]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)
            start = end

    def index(self) -> pa.Table:
        """`segment_id` and digest of every row, in order."""
        parts = [(batch.column("segment_id"), digests_of(batch)) for batch in self.batches()]
        ids, digests = ([part[place] for part in parts] for place in (0, 1))
        return pa.table(
            {"segment_id": pa.chunked_array(ids, pa.string()), DIGEST: pa.chunked_array(digests, pa.string())}
        )


def _chunked(values: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    return pa.chunked_array([values]) if isinstance(values, pa.Array) else values


def of_all_rows(values: pa.ChunkedArray, is_there: pa.ChunkedArray) -> pa.ChunkedArray:
    """Spread the values of some rows over all: null where `is_there` is false."""
    mask = is_there.to_numpy()
    places = pa.array(np.cumsum(mask) - 1, mask=~mask)
    return values.combine_chunks().take(places) if len(values) else pa.nulls(len(mask), values.type)


def is_present(columns: StoredColumns) -> pa.ChunkedArray:
    """For each row, whether it is not removed."""
    return pc.is_null(columns["removed_in"])
