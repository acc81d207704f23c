"""The manifest: one row a MIDI file, in versions that never change. Ask it, compare two of its versions.

It is a Delta table at `<dataset>/manifest`, partitioned by a bucket of the segment's id. Version 0 is the
empty table; every later Delta version is one release, so both numbers are the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import pyarrow as pa

from aria_data.errors import DatasetCorrupt, DatasetNotFound, UsageError
from aria_data.files import require_space
from aria_data.tables import KEEP_HISTORY, address_of, data_files, open_delta, table_error

SCHEMA_VERSION = 1
BUCKET = "bucket"  # partition column, first hex digit of the id's sha256; not part of a row as people see it
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

    def query(self, where: str = "", version: int | None = None, limit: int | None = None) -> pa.Table:
        """Select the rows for which the SQL expression `where` holds, removed ones left out unless it names them.

        The expression can only read: it runs in an empty in-memory database without access to files or network.
        Raises `UsageError` in one line for an expression that does not parse.
        """
        import duckdb

        present = "" if "removed_in" in where else "removed_in IS NULL AND "
        names = ", ".join(f'"{name}"' for name in arrow_schema().names)
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
        before, after = (self._present(version) for version in (old, new))
        changed = {
            key: [name for name, value in after[key].items() if before[key].get(name) != value]
            for key in sorted(before.keys() & after.keys())
            if before[key] != after[key]
        }
        return Difference(sorted(after.keys() - before.keys()), sorted(before.keys() - after.keys()), changed)

    def _present(self, version: int) -> dict[str, Row]:
        return {row["segment_id"]: row for row in self.rows(version) if row["removed_in"] is None}

    def commit(self, rows: Sequence[Row], note: str = "") -> int:
        """Release `rows` as the next version in one atomic commit and give its number.

        Only buckets that differ from the newest version are written. Raises `DatasetNotWritable`.
        """
        from deltalake import CommitProperties, DeltaTable, write_deltalake

        schema = arrow_schema().append(pa.field(BUCKET, pa.string()))
        try:
            require_space(self.path, sum(len(str(row)) for row in rows))
            if open_delta(self.path) is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                DeltaTable.create(
                    address_of(self.path), schema=schema, partition_by=[BUCKET], configuration=KEEP_HISTORY
                )
            newest = self.version()
            old_rows = self.rows(newest) if newest else []
            buckets = _differing_buckets(old_rows, rows)
            chosen = [{**row, BUCKET: bucket_of(row)} for row in _sorted(rows) if bucket_of(row) in buckets]
            write_deltalake(
                address_of(self.path),
                pa.Table.from_pylist(chosen, schema=schema),
                mode="overwrite",
                schema_mode="merge",
                predicate=f"{BUCKET} IN ({', '.join(repr(bucket) for bucket in sorted(buckets))})" if newest else None,
                commit_properties=CommitProperties(custom_metadata=_facts(rows, note)),
            )
        except Exception as error:  # deltalake raises its own and OSError; both mean: not written
            raise table_error(self.path, error, writing=True) from error
        return self.version()


def content_sha256(rows: Sequence[Row]) -> str:
    """Hash rows independently of their order: the same content gives the same hash anywhere."""
    digest = hashlib.sha256()
    for row in _sorted(rows):
        digest.update(json.dumps(row, sort_keys=True, ensure_ascii=True).encode() + b"\n")
    return digest.hexdigest()


def bucket_of(row: Mapping[str, Any]) -> str:
    """The partition a row belongs to, one of 16, for ever."""
    return hashlib.sha256(row["segment_id"].encode()).hexdigest()[0]


def _sorted(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: row["segment_id"])


def _differing_buckets(old: Sequence[Row], new: Sequence[Row]) -> set[str]:
    def by_bucket(rows: Sequence[Row]) -> dict[str, list[Row]]:
        groups: dict[str, list[Row]] = {}
        for row in _sorted(rows):
            groups.setdefault(bucket_of(row), []).append(row)
        return groups

    before, after = by_bucket(old), by_bucket(new)
    return {bucket for bucket in before.keys() | after.keys() if before.get(bucket) != after.get(bucket)}


def _facts(rows: Sequence[Row], note: str) -> dict[str, str]:
    present = [row for row in rows if row["removed_in"] is None]
    return {
        "aria_num_files": str(len(present)),
        "aria_hours": f"{sum(row['duration_s'] for row in present) / 3600:.6f}",
        "aria_num_removed": str(len(rows) - len(present)),
        "aria_content_sha256": content_sha256(rows),
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
