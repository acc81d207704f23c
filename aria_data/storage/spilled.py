"""Rows that come a few at a time and are wanted all together later: they wait in a file, not in memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from aria_data.storage.files import not_writable

ROWS_TOGETHER = 10_000  # that are held until they are written
_NUMBERS = itertools.count()  # of files


class Spilled:
    """Rows of one schema in files of Arrow's called `path` and a number, in a folder that somebody else deletes.

    Not safe for threads.
    """

    def __init__(self, path: Path, schema: pa.Schema):
        self.path, self.schema = path, schema
        self.num_rows = 0
        self._columns: list[list[Any]] = [[] for _ in schema]
        self._writer: Any = None
        self._paths: list[Path] = []  # another one each time that rows are added after they were read

    def add(self, rows: Iterable[Sequence[Any]]) -> None:
        """Add rows, each with a value a column. Raises `DatasetNotWritable`."""
        for row in rows:
            for column, value in zip(self._columns, row, strict=True):
                column.append(value)
            self.num_rows += 1
        if self._columns and len(self._columns[0]) >= ROWS_TOGETHER:
            self._write()

    def reader(self) -> pa.RecordBatchReader:
        """All rows, in the order in which they came."""
        self._close()
        batches = (batch for path in self._paths for batch in pa.ipc.open_stream(path))
        return pa.RecordBatchReader.from_batches(self.schema, batches)

    def read(self) -> pa.Table:
        """All rows in memory, for few."""
        return self.reader().read_all()

    def keep(self, is_kept: Callable[[pa.RecordBatch], pa.Array]) -> None:
        """Keep only the rows for which `is_kept` is true; it is asked a batch at a time."""
        kept = Spilled(self.path, self.schema)
        for batch in self.reader():
            kept._put(batch.filter(is_kept(batch)))
        kept._close()
        for path in self._paths:
            path.unlink()
        self._paths, self.num_rows = kept._paths, kept.num_rows

    def _write(self) -> None:
        arrays = [pa.array(values, field.type) for values, field in zip(self._columns, self.schema, strict=True)]
        self._columns = [[] for _ in self.schema]
        self.num_rows -= len(arrays[0])
        self._put(pa.RecordBatch.from_arrays(arrays, schema=self.schema))

    def _put(self, batch: pa.RecordBatch) -> None:
        try:
            if self._writer is None:
                self._paths.append(self.path.with_name(f"{self.path.name}.{next(_NUMBERS)}"))
                self._writer = pa.ipc.new_stream(self._paths[-1], self.schema)
            self._writer.write_batch(batch)
        except OSError as error:
            raise not_writable(self.path, error) from error
        self.num_rows += len(batch)

    def _close(self) -> None:
        if self._columns and self._columns[0]:
            self._write()
        if self._writer is not None:
            try:
                self._writer.close()
            except OSError as error:
                raise not_writable(self.path, error) from error
            self._writer = None


def is_none_of(column: pa.Array, values: Iterable[str]) -> pa.Array:
    """For each value of a column, whether it is none of these."""
    return pc.invert(pc.is_in(column, value_set=pa.array(sorted(values), pa.string())))


def rows_of(records: Iterable[Any], schema: pa.Schema) -> Iterator[tuple[Any, ...]]:
    """The fields of records that a schema names, as rows."""
    names = schema.names
    return (tuple(getattr(record, name) for name in names) for record in records)
