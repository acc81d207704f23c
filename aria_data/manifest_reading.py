"""Reading a version's rows in two steps: which rows a condition chooses, by the columns it names; then those rows.

The condition is a stranger's: DuckDB runs it, locked. What it gives are ids, and reading their rows is our own query.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from aria_data.errors import DatasetCorrupt, UsageError
from aria_data.manifest_columns import BUCKET, DIGEST, added_columns, arrow_schema, is_added
from aria_data.manifest_rows import sorted_by_id
from aria_data.tables import data_files

FEW = 2_000  # so many rows are looked for page by page; the engine needs some 350 bytes of stack for each

# Pages of few rows, and dictionaries only of what repeats: a row is read without much beside it.
LAYOUT: dict[str, Any] = {
    "compression": "SNAPPY",
    "data_page_row_count_limit": 512,
    "write_batch_size": 512,
    "dictionary_page_size_limit": 16 << 10,
    "max_row_group_size": 16 << 10,  # as much of each bucket is in memory while it is written
}


def damaged(path: Path, error: BaseException) -> DatasetCorrupt:
    """Say in one line that a data file cannot be read."""
    return DatasetCorrupt(
        f"{path}: a data file is missing or damaged ({' '.join(str(error).split())[:160]}). "
        "Restore the folder from a backup, or delete it and build again: finished work is not repeated."
    )


class Content:
    """The rows of one opened version; every way to read them raises `DatasetCorrupt` for a damaged file."""

    def __init__(self, path: Path, delta: Any):
        self._path, self._delta = path, delta
        names = [field.name for field in delta.schema().fields]
        self.schema = arrow_schema(added_columns(name for name in names if is_added(name)))
        self.has_digests = DIGEST in names
        self._stored = set(names) - {BUCKET}
        try:
            self._files = data_files(path, delta, self.schema)
        except (OSError, pa.ArrowException) as error:
            raise damaged(path, error) from error

    def read(self, names: Sequence[str], where: pads.Expression | None = None) -> pa.Table:
        """Read columns of all rows, or of those that an Arrow expression chooses, in no particular order."""
        try:
            return self._files.to_table(columns=list(names), filter=where)
        except (OSError, pa.ArrowException) as error:
            raise damaged(self._path, error) from error

    def rows(self, segment_ids: pa.ChunkedArray, names: Sequence[str]) -> pa.Table:
        """Read columns of these rows, sorted by segment_id."""
        if not len(segment_ids):
            return self.schema.empty_table().select(names)
        wanted = list(dict.fromkeys(["segment_id", *names]))
        if len(segment_ids) > FEW:
            chosen = pads.field("segment_id").isin(segment_ids.combine_chunks())
            return sorted_by_id(self.read(wanted, chosen)).select(names)
        return self._few_rows(segment_ids, wanted).sort_by("segment_id").select(names)

    def _few_rows(self, segment_ids: pa.ChunkedArray, names: Sequence[str]) -> pa.Table:
        """By the table library's own engine, which skips the pages without such a row."""
        from deltalake import QueryBuilder

        there = [name for name in names if name in self._stored]
        columns = ", ".join(f'"{name}"' for name in there)
        ids = ", ".join("'{}'".format(one.replace("'", "''")) for one in segment_ids.to_pylist())
        try:
            engine = QueryBuilder().register("manifest", self._delta)
            found = pa.table(engine.execute(f"SELECT {columns} FROM manifest WHERE segment_id IN ({ids})"))
        except Exception as error:  # deltalake raises its own types
            raise damaged(self._path, error) from error
        schema = pa.schema([self.schema.field(name) for name in names])
        empty = {name: pa.nulls(found.num_rows, schema.field(name).type) for name in names if name not in there}
        return pa.table({name: empty.get(name, found[name] if name in there else None) for name in names}).cast(schema)

    def ids_where(self, where: str, limit: int | None = None) -> pa.ChunkedArray:
        """Find the ids of the rows for which an SQL condition holds; see `ids_where`."""
        return ids_where(self._files, where, limit, self._path)


def ids_where(
    rows: pads.Dataset | pa.Table, where: str, limit: int | None = None, path: Path | None = None
) -> pa.ChunkedArray:
    """Find the ids of the rows for which an SQL condition holds, removed ones left out unless it names `removed_in`.

    The condition can only read: it runs in an empty in-memory database without access to files or network. Raises
    `UsageError` in one line for what is no condition; `path` is where rows are that are read from files.
    """
    import duckdb

    present = "" if "removed_in" in where else "removed_in IS NULL AND "
    sql = f"SELECT segment_id FROM manifest WHERE {present}(\n{where if where.strip() else 'true'}\n)"
    if limit is not None:
        sql += f" ORDER BY segment_id LIMIT {int(limit)}"
    settings: dict[str, Any] = {
        "enable_external_access": "false",
        "python_enable_replacements": "false",
        "threads": "2",
    }
    with duckdb.connect(":memory:", config=settings) as connection:
        connection.register("manifest", rows)
        connection.execute("SET lock_configuration = true")
        try:
            statements = connection.extract_statements(sql.encode().decode())
            connection.extract_statements(
                f"SELECT 1 WHERE\n{where if where.strip() else 'true'}\n"
            )  # closes no bracket
            if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
                raise UsageError("the query must be one condition, for example: composer_id = 'chopin'")
            found = connection.sql(sql).to_arrow_table()["segment_id"]
        except (duckdb.Error, UnicodeError) as error:
            if path is not None and "registered as 'manifest' failed" in str(error):
                raise damaged(path, error) from error
            raise UsageError(f"the query cannot be understood: {str(error).splitlines()[0]}") from error
    if pc.count_distinct(found).as_py() != len(found):
        raise UsageError("the query names some rows twice; it must be one condition: composer_id = 'chopin'")
    return found


def changed_columns(old: Content, new: Content, segment_ids: pa.ChunkedArray) -> dict[str, list[str]]:
    """Tell for each of these rows, which both have, the columns that differ; a few columns at a time."""
    names = list(dict.fromkeys([*new.schema.names, *old.schema.names]))
    ids = sorted(segment_ids.to_pylist())
    found: dict[str, list[str]] = {segment_id: [] for segment_id in ids}
    at_once = len(names) if len(ids) <= FEW else 8
    for start in range(0, len(names), at_once):
        group = names[start : start + at_once]
        was, now = (_rows_with(content, segment_ids, group) for content in (old, new))
        for name in group:
            differs = _differs(was[name], now[name])
            for place in pc.indices_nonzero(differs).to_pylist():
                found[ids[place]].append(name)
    return found


def _rows_with(content: Content, segment_ids: pa.ChunkedArray, names: Sequence[str]) -> pa.Table:
    there = [name for name in names if name in content.schema.names]
    table = content.rows(segment_ids, list(dict.fromkeys(["segment_id", *there])))
    for name in set(names) - set(there):
        table = table.append_column(
            arrow_schema([name]).field(name), pa.nulls(table.num_rows, arrow_schema([name]).field(name).type)
        )
    return table


def _differs(was: pa.ChunkedArray, now: pa.ChunkedArray) -> pa.ChunkedArray:
    is_one_empty = pc.xor(pc.is_null(was), pc.is_null(now))
    return pc.or_(pc.fill_null(pc.not_equal(was, now), False), is_one_empty)
