"""The manifest: one row a MIDI file, in versions that never change. Ask it, compare two of its versions.

It is a Delta table at `<dataset>/manifest`, partitioned by a bucket of the segment's id. Version 0 is the
empty table; every later Delta version is one release, so both numbers are the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from aria_data.errors import DatasetCorrupt, DatasetNotFound, UsageError
from aria_data.files import require_space
from aria_data.tables import KEEP_HISTORY, address_of, data_files, open_delta, table_error

SCHEMA_VERSION = 1
BUCKET = "bucket"  # partition column, first hex digit of the id's sha256; not part of a row as people see it
DIGEST = "row_digest"  # hidden as well: 128 bits of the row's content, for comparing without reading the row
BATCH_ROWS = 10_000
_ARROW = {"string": pa.string(), "int64": pa.int64(), "float64": pa.float64(), "bool": pa.bool_()}

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Version:
    """One release of the manifest."""

    number: int
    released_at: str  # UTC, ISO 8601
    num_files: int
    hours: float
    num_removed: int
    content_sha256: str
    note: str


@dataclass(frozen=True, slots=True)
class Difference:
    """What lies between two versions, by segment_id."""

    added: list[str]
    removed: list[str]
    changed: dict[str, list[str]]  # segment_id -> names of the columns that differ


@cache
def columns() -> list[dict[str, Any]]:
    """The schema's columns with type, unit, description and example, in order."""
    text = resources.files("manifests").joinpath(f"schema/manifest-{SCHEMA_VERSION}.json").read_text(encoding="utf-8")
    return json.loads(text)["columns"]


def arrow_schema() -> pa.Schema:
    """The manifest's Arrow schema, from `manifests/schema/`."""
    return pa.schema([pa.field(column["name"], _ARROW[column["type"]]) for column in columns()])


class Manifest:
    """The manifest of the dataset at `root`."""

    def __init__(self, root: Path):
        self.root, self.path = root, root / "manifest"

    def version(self) -> int:
        """Number of the newest release; 0 when there is none."""
        table = open_delta(self.path)
        return 0 if table is None else table.version()

    def table(self, version: int | None = None) -> pa.Table:
        """Read all rows of a version, the removed ones too, sorted by segment_id. Raises `DatasetNotFound`."""
        try:
            return self._dataset(version).to_table(columns=arrow_schema().names).sort_by("segment_id")
        except (OSError, pa.ArrowException) as error:
            raise self._damaged(error) from error

    def _damaged(self, error: BaseException) -> DatasetCorrupt:
        return DatasetCorrupt(
            f"{self.path}: a data file is missing or damaged ({' '.join(str(error).split())[:160]}). "
            "Restore the folder from a backup, or delete it and build again: finished work is not repeated."
        )

    def rows(self, version: int | None = None) -> list[Row]:
        """Read all rows of a version as plain values."""
        return self.table(version).to_pylist()

    def _dataset(self, version: int | None):
        newest = self.version()
        wanted = newest if version is None else version
        if newest == 0:
            raise DatasetNotFound(
                f"{self.root}: holds no released dataset. Run `aria-data build SOURCE --out` with it first."
            )
        if not 1 <= wanted <= newest:
            raise DatasetNotFound(f"{self.root}: has no version {wanted}; its versions are 1 to {newest}.")
        try:
            return data_files(self.path, open_delta(self.path, wanted), arrow_schema())
        except (OSError, pa.ArrowException) as error:
            raise self._damaged(error) from error

    def query(
        self,
        where: str = "",
        version: int | None = None,
        limit: int | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        """Select the rows for which the SQL expression `where` holds, removed ones left out unless it names them.

        Only `columns` are read and held, all without them.

        The expression can only read: it runs in an empty in-memory database without access to files or network.
        Raises `UsageError` in one line for an expression that does not parse.
        """
        import duckdb

        present = "" if "removed_in" in where else "removed_in IS NULL AND "
        chosen = arrow_schema().names if columns is None else [n for n in arrow_schema().names if n in set(columns)]
        names = ", ".join(f'"{name}"' for name in chosen)
        sql = f"SELECT {names} FROM manifest WHERE {present}(\n{where or 'true'}\n) ORDER BY segment_id"
        if limit is not None:
            sql += f" LIMIT {int(limit)}"
        settings: dict[str, Any] = {
            "enable_external_access": "false",
            "python_enable_replacements": "false",
            "threads": "2",
        }
        dataset = self._dataset(version)
        with duckdb.connect(":memory:", config=settings) as connection:
            connection.register("manifest", dataset)
            connection.execute("SET lock_configuration = true")
            try:
                statements = connection.extract_statements(sql.encode().decode())
                if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
                    raise UsageError("the query must be one condition, for example: composer_id = 'chopin'")
                return connection.sql(sql).to_arrow_table()
            except (duckdb.Error, UnicodeError) as error:
                if "registered as 'manifest' failed" in str(error):
                    raise self._damaged(error) from error
                raise UsageError(f"the query cannot be understood: {str(error).splitlines()[0]}") from error

    def versions(self) -> list[Version]:
        """Every release, oldest first. Raises `DatasetNotFound` when there is none."""
        if self.version() == 0:
            raise DatasetNotFound(f"{self.root}: holds no released dataset.")
        history = sorted(open_delta(self.path).history(), key=lambda entry: entry["version"])
        return [_version_of(entry) for entry in history if entry["version"] > 0]

    def diff(self, old: int, new: int) -> Difference:
        """Compare two versions row by row. What carries a `removed_in` counts as removed."""
        before, after = (self._index(version, only_present=True) for version in (old, new))
        changes = _compare(before, after)
        was, now = (self._rows_of(version, changes.changed) for version in (old, new))
        changed = {
            key: [name for name, value in now[key].items() if was[key].get(name) != value]
            for key in sorted(changes.changed)
        }
        return Difference(sorted(changes.added), sorted(changes.gone), changed)

    def _rows_of(self, version: int, segment_ids: Collection[str]) -> dict[str, Row]:
        if not segment_ids:
            return {}
        wanted = pads.field("segment_id").isin(pa.array(sorted(segment_ids), pa.string()))
        table = self._dataset(version).to_table(columns=arrow_schema().names, filter=wanted)
        return {row["segment_id"]: row for row in table.to_pylist()}

    def _index(self, version: int, only_present: bool = False) -> pa.Table:
        """`segment_id` and `row_digest` of a version's rows: all that comparing takes."""
        dataset = self._dataset(version)
        filter_ = pads.field("removed_in").is_null() if only_present else None
        try:
            if DIGEST in dataset.schema.names:
                index = dataset.to_table(columns=["segment_id", DIGEST], filter=filter_)
                if index[DIGEST].null_count == 0:
                    return index
            return _indexed(dataset.to_table(columns=arrow_schema().names, filter=filter_)).select(
                ["segment_id", DIGEST]
            )
        except (OSError, pa.ArrowException) as error:
            raise self._damaged(error) from error

    def content_sha256(self, version: int | None = None) -> str:
        """The hash of a version's content; two versions of any two datasets with the same rows have the same."""
        return _hash_of(self._index(self.version() if version is None else version))

    def commit(self, rows: Sequence[Row] | pa.Table, note: str = "") -> int:
        """Release `rows` as the next version in one atomic commit and give its number.

        Rows that are only new are appended; otherwise the buckets that differ are written anew. Raises
        `DatasetNotWritable`.
        """
        given = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(list(rows), schema=arrow_schema())
        table = _indexed(_sorted(given.select(arrow_schema().names)))
        newest = self.version()
        old = self._index(newest) if newest else table.select(["segment_id", DIGEST]).slice(0, 0)
        changes = _compare(old, table)
        if not newest:
            chosen, buckets = table, None
        elif not changes.gone and not changes.changed:
            chosen, buckets = table.filter(_is_in(table["segment_id"], changes.added)), None
        else:
            touched = {_bucket(segment_id) for segment_id in changes.added | changes.gone | changes.changed}
            chosen = table.filter(_is_in(table[BUCKET], touched))
            buckets = touched
        return self._write(chosen, buckets, _facts(table, _hash_of(table), note))

    def append(self, rows: Sequence[Row], note: str = "") -> int:
        """Release a version with these rows more, without reading the others but for their ids. Gives its number.

        Raises `UsageError` when one of the ids is there already.
        """
        newest = self.version()
        if newest == 0:
            return self.commit(rows, note)
        added = _indexed(pa.Table.from_pylist(list(rows), schema=arrow_schema()).sort_by("segment_id"))
        index = self._index(newest)
        known = added.filter(_is_in(added["segment_id"], index["segment_id"]))
        if known.num_rows:
            raise UsageError(f"{self.root}: has {known['segment_id'][0].as_py()} already; append only new rows.")
        whole = pa.concat_tables([index, added.select(["segment_id", DIGEST])])
        before = self.versions()[-1]
        facts = _facts(added, _hash_of(whole), note)
        facts["aria_num_files"] = str(int(facts["aria_num_files"]) + before.num_files)
        facts["aria_hours"] = f"{float(facts['aria_hours']) + before.hours:.6f}"
        facts["aria_num_removed"] = str(int(facts["aria_num_removed"]) + before.num_removed)
        return self._write(added, None, facts)

    def _write(self, table: pa.Table, buckets: set[str] | None, facts: dict[str, str]) -> int:
        """Add the rows, or put them in the place of all that these buckets hold."""
        from deltalake import CommitProperties, DeltaTable, write_deltalake

        try:
            require_space(self.path, table.nbytes)
            if open_delta(self.path) is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                address, configuration = address_of(self.path), KEEP_HISTORY
                DeltaTable.create(address, schema=table.schema, partition_by=[BUCKET], configuration=configuration)
            way: dict[str, Any] = {"mode": "append"}
            if buckets is not None:
                named = ", ".join(map(repr, sorted(buckets)))
                way = {"mode": "overwrite", "predicate": f"{BUCKET} IN ({named})"}
            properties = CommitProperties(custom_metadata=facts)
            write_deltalake(address_of(self.path), table, schema_mode="merge", commit_properties=properties, **way)
        except Exception as error:  # deltalake raises its own and OSError; both mean: not written
            raise table_error(self.path, error, writing=True) from error
        return self.version()


@dataclass(frozen=True, slots=True)
class _Changes:
    """Segment ids by what became of them."""

    added: set[str]
    gone: set[str]
    changed: set[str]


def _compare(old: pa.Table, new: pa.Table) -> _Changes:
    keys = ["segment_id", DIGEST]
    both = old.select(keys).join(new.select(keys), "segment_id", join_type="full outer", right_suffix="_new")
    was, now = both[DIGEST], both[f"{DIGEST}_new"]
    is_changed = pc.fill_null(pc.not_equal(was, now), False)
    chosen = [both.filter(which)["segment_id"].to_pylist() for which in (pc.is_null(was), pc.is_null(now), is_changed)]
    return _Changes(*map(set, chosen))


def _sorted(table: pa.Table) -> pa.Table:
    """By segment_id, without a copy where it is sorted already."""
    ids = table["segment_id"]
    is_sorted = len(ids) < 2 or pc.all(pc.less(ids.slice(0, len(ids) - 1), ids.slice(1))).as_py()
    return table if is_sorted else table.sort_by("segment_id")


def _is_in(values: pa.ChunkedArray, wanted: Collection[str] | pa.ChunkedArray) -> pa.ChunkedArray:
    found = wanted if isinstance(wanted, pa.ChunkedArray) else pa.array(sorted(wanted), pa.string())
    return pc.is_in(values, value_set=found)


def _indexed(table: pa.Table) -> pa.Table:
    """The rows with their bucket and digest, a batch at a time, so that a million rows need no million dictionaries."""
    buckets: list[str] = []
    digests: list[str] = []
    for batch in table.to_batches(max_chunksize=BATCH_ROWS):
        for row in batch.to_pylist():
            buckets.append(_bucket(row["segment_id"]))
            digests.append(digest_of(row))
    with_bucket = table.append_column(pa.field(BUCKET, pa.string()), pa.array(buckets, pa.string()))
    return with_bucket.append_column(pa.field(DIGEST, pa.string()), pa.array(digests, pa.string()))


def digest_of(row: Mapping[str, Any]) -> str:
    """128 bits of a row's content. A column that is empty counts as not there, so a new column changes no old row."""
    said = {name: value for name, value in row.items() if value is not None}
    return hashlib.sha256(json.dumps(said, sort_keys=True, ensure_ascii=True).encode()).hexdigest()[:32]


def content_sha256(rows: Sequence[Row]) -> str:
    """Hash rows independently of their order: the same content gives the same hash anywhere."""
    schema = pa.schema([("segment_id", pa.string()), (DIGEST, pa.string())])
    return _hash_of(pa.Table.from_pylist([{"segment_id": r["segment_id"], DIGEST: digest_of(r)} for r in rows], schema))


def _hash_of(index: pa.Table) -> str:
    digest = hashlib.sha256()
    for batch in index.select(["segment_id", DIGEST]).sort_by("segment_id").to_batches(max_chunksize=BATCH_ROWS):
        lines = pc.binary_join_element_wise(batch.column(0), batch.column(1), " ")
        digest.update("".join(f"{line}\n" for line in lines.to_pylist()).encode())
    return digest.hexdigest()


def bucket_of(row: Mapping[str, Any]) -> str:
    """The partition a row belongs to, one of 16, for ever."""
    return _bucket(row["segment_id"])


def _bucket(segment_id: str) -> str:
    return hashlib.sha256(segment_id.encode()).hexdigest()[0]


def _facts(table: pa.Table, content: str, note: str) -> dict[str, str]:
    present = table.filter(pc.is_null(table["removed_in"]))
    seconds = pc.sum(present["duration_s"]).as_py() or 0.0
    return {
        "aria_num_files": str(present.num_rows),
        "aria_hours": f"{seconds / 3600:.6f}",
        "aria_num_removed": str(table.num_rows - present.num_rows),
        "aria_content_sha256": content,
        "aria_note": note,
    }


def _version_of(entry: Mapping[str, Any]) -> Version:
    return Version(
        number=entry["version"],
        released_at=datetime.fromtimestamp(entry["timestamp"] / 1000, UTC).isoformat(timespec="seconds"),
        num_files=int(entry.get("aria_num_files", 0)),
        hours=float(entry.get("aria_hours", 0.0)),
        num_removed=int(entry.get("aria_num_removed", 0)),
        content_sha256=entry.get("aria_content_sha256", ""),
        note=entry.get("aria_note", ""),
    )
