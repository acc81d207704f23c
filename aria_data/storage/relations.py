"""Relations on disk, of bounded memory: what all recordings together need is joined by DuckDB, not held as objects.

A database lives in a folder for as long as it is open. It is no part of a dataset: what is in it was read from tables,
and what comes of it is written to tables.
"""

from __future__ import annotations

import ctypes
import itertools
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from aria_data.storage.files import not_writable
from aria_data.storage.local_copies import local_folder

FOLDER = ".relations"  # of a dataset; a killed build leaves it, the next one deletes it
MEMORY = "512MB"  # of the database's buffers and joins; what does not fit goes to its folder
LEAST_MEMORY = "32MB"
BATCH_ROWS = 10_000


class Relations:
    """A database of relations by name. Values are given and taken as Arrow."""

    def __init__(self, folder: Path, memory: str = MEMORY):
        import duckdb

        settings: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": memory,
            "threads": "2",
            "temp_directory": str(folder / "spilled"),
            "preserve_insertion_order": "false",
            "autoload_known_extensions": "false",
            "autoinstall_known_extensions": "false",
        }
        self.folder, self._memory = folder, memory
        with self._on_disk():
            self._connection = duckdb.connect(str(folder / "relations.duckdb"), config=settings)
        self._names = (f"given_{number}" for number in itertools.count())

    @classmethod
    @contextmanager
    def open(cls, root: Path | None, memory: str = MEMORY) -> Iterator[Relations]:
        """Open a new database below the dataset at `root`, or in a temporary folder; it is deleted at the end.

        Raises `DatasetNotWritable` where there is no permission or no space; so do all its methods for a full disk.
        """
        # DuckDB reads what follows a question mark as a query
        folder = Path(tempfile.mkdtemp()) if root is None or "?" in str(root) else local_folder(root) / FOLDER
        try:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        except OSError as error:
            raise not_writable(folder, error) from error
        try:
            relations = cls(folder, memory)
            try:
                yield relations
            finally:
                with suppress(Exception):  # what it would still write is deleted anyway
                    relations._connection.close()
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def run(self, sql: str, **given: pa.Table | pa.RecordBatchReader) -> None:
        """Carry out one statement, which may name what is `given`. Raises what reading a given reader raises."""
        with self._naming(self._connection, given):
            self._connection.execute(sql)

    @contextmanager
    def _naming(self, connection: Any, given: Mapping[str, pa.Table | pa.RecordBatchReader]) -> Iterator[None]:
        """Give names to tables and readers. An error in reading one is raised as it was, not as the database's."""
        raised: list[BaseException] = []
        for name, rows in given.items():
            connection.register(name, rows if isinstance(rows, pa.Table) else _watched(rows, raised))
        try:
            with self._on_disk():
                yield
        except Exception as error:
            if raised and error is not raised[0]:
                raise raised[0] from error
            raise
        finally:
            for name in given:
                connection.unregister(name)

    @contextmanager
    def _on_disk(self) -> Iterator[None]:
        """Say of the dataset's folder that it is full, where the database says so of its own file."""
        import duckdb

        try:
            yield
        except duckdb.Error as error:  # a full disk has many: of input and output, of a transaction, of memory
            if isinstance(error, duckdb.IOException) or "Could not write" in str(error) or "No space" in str(error):
                raise not_writable(self.folder, error) from error
            raise

    def make_room(self) -> None:
        """Write what is in memory to the database's file, and give the memory back: something else needs it now."""
        import duckdb

        with suppress(duckdb.Error):  # some of it is in use
            self._connection.execute(f"SET memory_limit = '{LEAST_MEMORY}'")
        self._connection.execute(f"SET memory_limit = '{self._memory}'")
        give_memory_back()

    def put(self, name: str, rows: pa.Table | pa.RecordBatchReader, select: str = "*") -> None:
        """Make a relation of rows, replacing one of that name; `select` says which columns of them it has."""
        given = next(self._names)
        self.run(f"CREATE OR REPLACE TABLE {name} AS SELECT {select} FROM {given}", **{given: rows})

    def put_file(self, name: str, path: Path, select: str = "*") -> None:
        """Make a relation of the rows of a Parquet file that `write` made."""
        self.run(f"CREATE OR REPLACE TABLE {name} AS SELECT {select} FROM {self.read(path)}")

    def read(self, path: Path) -> str:
        """The rows of a Parquet file, as SQL. DuckDB takes some characters of a path for patterns."""
        escaped = "".join(f"[{one}]" if one in "[?*" else one for one in str(path))
        return f"read_parquet({_quoted(escaped)})"

    def put_batches(self, name: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
        """Make a relation of rows that come a batch at a time."""
        self.put(name, pa.RecordBatchReader.from_batches(schema, iter(batches)))

    def put_values(self, name: str, values: Mapping[str, Iterable[Any]], types: Mapping[str, pa.DataType]) -> None:
        """Make a relation of a few plain values, a column each."""
        columns = {each: pa.array(list(values[each]), type_) for each, type_ in types.items()}
        self.put(name, pa.table(columns))

    def write(self, sql: str, name: str) -> Path:
        """Write the rows of a query into a Parquet file of the database's folder, and give its path."""
        path = self.folder / name
        self.write_to(sql, path)
        return path

    def write_to(self, sql: str, path: Path) -> None:
        """Write the rows of a query into a Parquet file."""
        self.run(f"COPY ({sql}) TO {_quoted(str(path))} (FORMAT parquet, ROW_GROUP_SIZE {2 * BATCH_ROWS})")

    def has(self, name: str) -> bool:
        """Whether there is a relation of this name."""
        return bool(self.value(f"SELECT count(*) FROM duckdb_tables() WHERE table_name = '{name}'"))

    def table(self, sql: str) -> pa.Table:
        """Give the rows of a query, for those that are few or narrow."""
        with self._on_disk():
            return self._connection.sql(sql).to_arrow_table()

    def batches(
        self, sql: str, num_rows: int = BATCH_ROWS, **given: pa.Table | pa.RecordBatchReader
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a query, a batch at a time. It sees the relations as they are when it begins."""
        with self._connection.cursor() as cursor, self._naming(cursor, given):
            yield from cursor.sql(sql).to_arrow_reader(num_rows)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Give the rows of a query as plain values, for few."""
        with self._on_disk():
            return self._connection.execute(sql).fetchall()

    def value(self, sql: str) -> Any:
        """Give the one value of a query."""
        return self.rows(sql)[0][0]


def _quoted(text: str) -> str:
    escaped = text.replace("'", "''")
    return f"'{escaped}'"


def _watched(reader: pa.RecordBatchReader, raised: list[BaseException]) -> pa.RecordBatchReader:
    """The same batches; an error in reading them is kept in `raised` as well."""

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            yield from reader
        except BaseException as error:
            raised.append(error)
            raise

    return pa.RecordBatchReader.from_batches(reader.schema, batches())


def give_memory_back() -> None:
    """Give what was freed back to the system: Arrow's pool keeps it, and so does the C library, for what comes next."""
    pa.default_memory_pool().release_unused()
    with suppress(OSError, AttributeError):  # another C library than GNU's
        ctypes.CDLL(None).malloc_trim(0)
