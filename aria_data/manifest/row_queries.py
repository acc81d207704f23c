"""Read a version's rows in two steps: find the ids that a condition chooses, then read the rows with these ids.

The condition is not trusted. DuckDB evaluates it in a locked connection and gives only ids; the rows are read by
queries of our own.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from aria_data.errors import DatasetCorrupt, DatasetError, UsageError
from aria_data.manifest.columns import BUCKET, DIGEST, arrow_schema, users_columns
from aria_data.manifest.digests import sorted_by_id
from aria_data.storage import printable
from aria_data.storage.delta_stores import of_the_store
from aria_data.storage.delta_tables import data_files, lean
from aria_data.stores.object_paths import ObjectPath

FEW = 2_000  # up to so many rows are read page by page; deltalake's engine needs some 350 bytes of stack for each
QUERY_S = 60.0  # time limit: a condition may never end
GRACE_S = 2.0  # how long to wait for an interrupted query
MEMORY = "1GB"  # limit of the database; it does not limit single values
ERROR_CHARS = 300  # an error may quote megabytes

# The names of functions and columns in the JSON of a syntax tree. Inside a string, each quote has a backslash.
_TEXT = r'"(?:[^"\\]|\\.)*"'
_NAMED = re.compile(rf'"function_name":({_TEXT})|"column_names":\[((?:{_TEXT},?)*)\]')
# Names whose value changes and that are not in DuckDB's list of functions: written without brackets, or macros.
_CHANGING = frozenset("current_timestamp current_time localtime localtimestamp current_user user age ago".split())


def damaged(path: Path, error: BaseException) -> DatasetError:
    """Make an error that states in one line that a data file cannot be read, and what to do."""
    if isinstance(path, ObjectPath) and (of_store := of_the_store(path, error)):
        return of_store
    return DatasetCorrupt(
        f"{path}: a data file is missing or damaged ({' '.join(str(error).split())[:160]}). "
        "Restore the folder from a backup, or delete it and build again: finished work is not repeated."
    )


class Content:
    """The rows of one opened version. Every method raises `DatasetCorrupt` for a damaged file."""

    def __init__(self, path: Path, delta: Any):
        self.path, self._delta = path, delta
        stored = pa.schema(delta.schema().to_arrow())
        names = stored.names
        self.schema = arrow_schema(sorted(users_columns(stored)))
        self.has_digests = DIGEST in names
        self._stored = set(names) - {BUCKET}
        try:
            self.files = data_files(path, delta, self.schema)
        except (OSError, pa.ArrowException) as error:
            raise damaged(path, error) from error

    def read(self, names: Sequence[str], where: pads.Expression | None = None) -> pa.Table:
        """Read columns of all rows, or of those that an Arrow expression chooses, in no particular order."""
        try:
            found = self.files.to_table(columns=list(names), filter=where, **lean())
            pa.default_memory_pool().release_unused()  # threads that read keep what they had
            return found
        except (OSError, pa.ArrowException) as error:
            raise damaged(self.path, error) from error

    def buckets(self) -> dict[str, pads.Dataset]:
        """The data files of each bucket that has rows, for `read_bucket`."""
        actions = pa.table(self._delta.get_add_actions(flatten=True))
        names = sorted(set(actions[f"partition.{BUCKET}"].to_pylist()))
        newer = self.schema.append(pa.field(DIGEST, pa.string()))
        return {name: data_files(self.path, self._delta, newer, {BUCKET: name}) for name in names}

    def num_bytes_of(self, buckets: Collection[str]) -> int:
        """The bytes of the data files of some buckets."""
        actions = pa.table(self._delta.get_add_actions(flatten=True))
        chosen = actions.filter(
            pc.is_in(actions[f"partition.{BUCKET}"], value_set=pa.array(list(buckets), pa.string()))
        )
        return pc.sum(chosen["size_bytes"]).as_py() or 0

    def read_bucket(self, rows: pads.Dataset) -> pa.Table:
        """Read the rows of one of `buckets`, sorted by segment_id, with their digests (null where none is stored)."""
        try:
            found = sorted_by_id(rows.to_table(columns=[*self.schema.names, DIGEST], **lean()))
            pa.default_memory_pool().release_unused()
            return found
        except (OSError, pa.ArrowException) as error:
            raise damaged(self.path, error) from error

    def rows(self, segment_ids: pa.ChunkedArray, names: Sequence[str]) -> pa.Table:
        """Read columns of the rows with these ids, sorted by segment_id."""
        if not len(segment_ids):
            return self.schema.empty_table().select(names)
        wanted = list(dict.fromkeys(["segment_id", *names]))
        if len(segment_ids) > FEW:
            chosen = pads.field("segment_id").isin(segment_ids.combine_chunks())
            return sorted_by_id(self.read(wanted, chosen)).select(names)
        return self._few_rows(segment_ids, wanted).sort_by("segment_id").select(names)

    def _few_rows(self, segment_ids: pa.ChunkedArray, names: Sequence[str]) -> pa.Table:
        """Read a few rows with deltalake's engine, which skips pages without any of them."""
        from deltalake import QueryBuilder

        there = [name for name in names if name in self._stored]
        columns = ", ".join(f'"{name}"' for name in there)
        ids = ", ".join("'{}'".format(one.replace("'", "''")) for one in segment_ids.to_pylist())
        try:
            engine = QueryBuilder().register("manifest", self._delta)
            found = pa.table(engine.execute(f"SELECT {columns} FROM manifest WHERE segment_id IN ({ids})"))
        except Exception as error:  # deltalake raises its own types
            raise damaged(self.path, error) from error
        schema = pa.schema([self.schema.field(name) for name in names])
        empty = {name: pa.nulls(found.num_rows, schema.field(name).type) for name in names if name not in there}
        return pa.table({name: empty.get(name, found[name] if name in there else None) for name in names}).cast(schema)

    def ids_where(self, where: str, limit: int | None = None) -> pa.ChunkedArray:
        """Find the ids of the rows for which an SQL condition holds; see the function `ids_where`."""
        return ids_where(self.files, where, limit, self.path)

    def present_where(self, where: str) -> pa.ChunkedArray:
        """Find the ids of the rows, not removed, for which a condition of a subset holds: over fixed columns only."""
        fixed = self.files.replace_schema(arrow_schema()).filter(pads.field("removed_in").is_null())
        return ids_where(fixed, where, path=self.path, must_repeat=True)


def ids_where(
    rows: pads.Dataset | pa.Table,
    where: str,
    limit: int | None = None,
    path: Path | None = None,
    must_repeat: bool = False,
) -> pa.ChunkedArray:
    """Find the ids of the rows for which an SQL condition holds; removed rows only if it names `removed_in`.

    The condition can only read: it runs in an empty in-memory database without access to files or network, within
    `MEMORY` and `QUERY_S`. With `must_repeat` it may not use chance or clocks. Raises `UsageError` in one line for a
    condition that is not allowed, does not parse or takes too long. `path` is where the files of `rows` are; then
    `DatasetCorrupt` is raised for a damaged one.
    """
    import duckdb

    settings: dict[str, Any] = {
        "enable_external_access": "false",
        "python_enable_replacements": "false",
        "threads": "2",
        "memory_limit": MEMORY,
    }
    where = where if where.strip() else "true"
    connection = duckdb.connect(":memory:", config=settings)
    try:
        found = _in_time(lambda: _search(connection, rows, where, limit, must_repeat), connection.interrupt)
    except (duckdb.Error, UnicodeError) as error:
        if path is not None and "registered as 'manifest' failed" in str(error):
            raise damaged(path, error) from error
        line = (str(error)[:ERROR_CHARS].splitlines() or [""])[0]
        raise UsageError(f"the query cannot be understood: {printable(line, ERROR_CHARS)}") from error
    return found


def _in_time(search: Callable[[], pa.ChunkedArray], interrupt: Callable[[], None]) -> pa.ChunkedArray:
    """Run a search in a thread of its own, so that a time limit and Ctrl-C can interrupt it.

    DuckDB does not react to an interrupt inside a single call on a huge value; such a thread ends with the process.
    """
    future: Future[pa.ChunkedArray] = Future()

    def work() -> None:
        try:
            future.set_result(search())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, name="query", daemon=True).start()
    is_done = False
    try:
        is_done = bool(wait([future], QUERY_S).done)
    finally:
        if not is_done:
            with suppress(Exception):  # it may have ended just now, and its connection with it
                interrupt()
            wait([future], GRACE_S)
    if not is_done:
        raise UsageError(f"the query was stopped after {QUERY_S:g} s. Ask for less, or in a simpler way.")
    return future.result()


def _search(
    connection: Any, rows: pads.Dataset | pa.Table, where: str, limit: int | None, must_repeat: bool
) -> pa.ChunkedArray:
    with connection:
        connection.register("manifest", rows)
        connection.execute("SET lock_configuration = true")
        tree = condition_tree(connection, where)
        parts = (function or columns for function, columns in _NAMED.findall(tree))
        named = {name.lower() for part in parts for name in json.loads(f"[{part}]")}
        if must_repeat:
            _require_repeatable(connection, tree, named)
        present = "" if "removed_in" in named else "removed_in IS NULL AND "
        sql = f"SELECT segment_id FROM manifest WHERE {present}(\n{where}\n)"
        if limit is not None:
            sql += f" ORDER BY segment_id LIMIT {int(limit)}"
        return connection.sql(sql).to_arrow_table()["segment_id"]


def condition_tree(connection: Any, where: str) -> str:
    """Give the condition's syntax tree as JSON. It must parse by itself, so that it cannot close our brackets."""
    alone = f"SELECT 1 WHERE\n{where.encode().decode()}\n"
    statements = connection.extract_statements(alone)
    tree = connection.execute("SELECT json_serialize_sql(?)", [alone]).fetchall()[0][0] if len(statements) == 1 else ""
    if not tree.startswith('{"error":false'):
        raise UsageError("the query must be one condition, for example: composer_id = 'chopin'")
    return tree


def _require_repeatable(connection: Any, tree: str, named: Collection[str]) -> None:
    """Raise `UsageError` for functions of chance, clock or session: the same rows must give the same subset."""
    changing = "SELECT lower(function_name) FROM duckdb_functions() WHERE stability IN ('VOLATILE', ?)"
    known = {name for (name,) in connection.execute(changing, ["CONSISTENT_WITHIN_QUERY"]).fetchall()}
    found = sorted((known | _CHANGING) & set(named)) + (["a sample"] if '"sample":{' in tree else [])
    if found:
        raise UsageError(
            f"the condition uses {printable(', '.join(found))}, so the same rows would give another subset each time. "
            "Use the manifest's columns only."
        )


def changed_columns(old: Content, new: Content, segment_ids: pa.ChunkedArray) -> dict[str, list[str]]:
    """Give the columns that differ, by segment_id, of rows that both versions have. Reads a few columns at a time."""
    names = list(dict.fromkeys([*new.schema.names, *old.schema.names]))
    ids = sorted(segment_ids.to_pylist())
    found: dict[str, list[str]] = {segment_id: [] for segment_id in ids}
    at_once = len(names) if len(ids) <= FEW else 8
    for start in range(0, len(names), at_once):
        group = names[start : start + at_once]
        was, now = (_rows_with(content, segment_ids, group) for content in (old, new))
        for name in group:
            is_other = differs(was[name], now[name])
            for place in pc.indices_nonzero(is_other).to_pylist():
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


def differs(was: pa.ChunkedArray, now: pa.ChunkedArray) -> pa.ChunkedArray:
    """For each place, whether the two values differ; null differs from every value."""
    is_one_empty = pc.xor(pc.is_null(was), pc.is_null(now))
    return pc.or_(pc.fill_null(pc.not_equal(was, now), False), is_one_empty)
