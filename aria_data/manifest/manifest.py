"""The manifest: one row a MIDI file, in versions that never change. Query it, compare versions, commit a new one.

It is a Delta table at `<dataset>/manifest`, partitioned by a bucket of the segment's id. Version 0 is the
empty table; every later Delta version is one release, so both numbers are the same.

    columns.py   the fixed columns, and the subsets and weights that users add
    rows.py      rows to be committed: batches, digests, differences
    versions.py  number, counts, name and facts of a release
    reading.py   conditions, and how the rows that they choose are read
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from aria_data.errors import AriaDataError, DatasetNotFound, UsageError
from aria_data.manifest.columns import (
    BUCKET,
    DIGEST,
    SCHEMA_VERSION,
    arrow_schema,
    columns,
    subset_column,
    weight_column,
)
from aria_data.manifest.reading import LAYOUT, Content, changed_columns
from aria_data.manifest.rows import (
    BATCH_ROWS,
    Incoming,
    Row,
    Rows,
    bucket_of,
    buckets_of,
    compare,
    content_sha256,
    digest_of,
    hash_of,
    indexed,
    is_in,
    read_once,
)
from aria_data.manifest.versions import Version, facts_text, metadata_of, released, require_free
from aria_data.storage import printable, require_space
from aria_data.storage.tables import KEEP_HISTORY, address_of, open_delta, table_error

__all__ = [
    "BATCH_ROWS",
    "BUCKET",
    "DIGEST",
    "SCHEMA_VERSION",
    "Difference",
    "Manifest",
    "Row",
    "Rows",
    "Version",
    "arrow_schema",
    "bucket_of",
    "columns",
    "content_sha256",
    "digest_of",
    "subset_column",
    "weight_column",
]


@dataclass(frozen=True, slots=True)
class Difference:
    """The difference between two versions, by segment_id."""

    added: list[str]
    removed: list[str]
    changed: dict[str, list[str]]  # segment_id -> names of the columns that differ


class Manifest:
    """The manifest of the dataset at `root`. `version` is a number or a name everywhere; None means the newest.

    Every method that takes a version raises `DatasetNotFound` for one that does not exist, and `DatasetCorrupt`.
    """

    def __init__(self, root: Path):
        self.root, self.path = root, root / "manifest"

    # ------------------------------------------------------------ versions

    def version(self) -> int:
        """The number of the newest release; 0 when there is none."""
        table = open_delta(self.path)
        return 0 if table is None else table.version()

    def versions(self) -> list[Version]:
        """Every release, oldest first. Raises `DatasetNotFound` when there is none."""
        if self.version() == 0:
            raise DatasetNotFound(f"{self.root}: holds no released dataset.")
        return released(self.path)

    def number_of(self, version: int | str | None = None) -> int:
        """Give a version's number. Raises `DatasetNotFound`, whose message lists the versions that exist."""
        newest = self.version()
        if newest == 0:
            raise DatasetNotFound(
                f"{self.root}: holds no released dataset. Run `aria-data build SOURCE --out` with it first."
            )
        if isinstance(version, str) and not version.isdecimal():
            return self._number_named(version)
        number = newest if version is None else int(version)
        if not 1 <= number <= newest:
            raise DatasetNotFound(f"{self.root}: has no version {number}; its versions are 1 to {newest}.")
        return number

    def require_free(self, name: str) -> None:
        """Raise `UsageError` when the name is not allowed or another version has it. The empty name is always free."""
        require_free(name, released(self.path))

    def _number_named(self, name: str) -> int:
        versions = released(self.path)
        for version in versions:
            if version.name and version.name == name:
                return version.number
        named = ", ".join(f"{one.name} ({one.number})" for one in versions if one.name)
        known = f"named are {named}" if named else "none has a name"
        raise DatasetNotFound(
            f"{self.root}: has no version '{printable(name)}'; its versions are 1 to {len(versions)}, {known}."
        )

    # ------------------------------------------------------------ reading

    def schema(self, version: int | str | None = None) -> pa.Schema:
        """The schema of a version's rows: the fixed columns, then users' subsets and weights added up to it."""
        return self._content(version).schema

    def column_names(self, version: int | str | None = None) -> list[str]:
        """The names of a version's columns."""
        return self.schema(version).names

    def _content(self, version: int | str | None) -> Content:
        return Content(self.path, open_delta(self.path, self.number_of(version)))

    def table(self, version: int | str | None = None) -> pa.Table:
        """Read all rows of a version, including removed ones, sorted by segment_id."""
        content = self._content(version)
        return content.read(content.schema.names).sort_by("segment_id")

    def rows(self, version: int | str | None = None) -> list[Row]:
        """Read all rows of a version as plain values."""
        return self.table(version).to_pylist()

    def rows_of(self, segment_ids: Sequence[str], version: int | str | None = None) -> pa.Table:
        """Read the rows with these ids, sorted by segment_id."""
        content = self._content(version)
        return content.rows(pa.chunked_array([pa.array(segment_ids, pa.string())]), content.schema.names)

    def query(
        self,
        where: str = "",
        version: int | str | None = None,
        limit: int | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        """Select the rows for which the SQL condition `where` holds, sorted by segment_id.

        Removed rows are left out unless the condition names `removed_in`. Only `columns` are read, by default all. The
        condition is not trusted: see `reading.ids_where`. Raises `UsageError` in one line for one that cannot be used.
        """
        content = self._content(version)
        names = [name for name in content.schema.names if columns is None or name in set(columns)]
        if where.strip() or limit is not None:
            return content.rows(content.ids_where(where, limit), names)
        present = content.read(list(dict.fromkeys([*names, "segment_id"])), pads.field("removed_in").is_null())
        return present.sort_by("segment_id").select(names)

    def diff(self, old: int | str, new: int | str) -> Difference:
        """Compare two versions row by row. Rows with a `removed_in` count as removed."""
        before, after = self._content(old), self._content(new)
        changes = compare(*(_index(content, only_present=True) for content in (before, after)))
        changed = changed_columns(before, after, changes.changed)
        return Difference(sorted(changes.added.to_pylist()), sorted(changes.gone.to_pylist()), changed)

    def content_sha256(self, version: int | str | None = None) -> str:
        """The hash of a version's rows; it is the same for the same rows in any dataset."""
        return hash_of(_index(self._content(version)))

    # ------------------------------------------------------------ writing

    def commit(self, rows: Rows, note: str = "", facts: Mapping[str, Any] | None = None) -> int:
        """Release `rows` as the next version in one atomic commit, and give its number.

        For more rows than the memory holds, pass a function that gives tables or record batches, and the same ones when
        it is called again. `facts` (JSON values) are kept with the version; `facts["name"]` names it.

        If all changes are new rows, they are appended; otherwise the buckets that differ are rewritten. Raises
        `UsageError` for rows that do not fit the columns or a name that is taken, and `DatasetNotWritable`.
        """
        facts_json = facts_text(facts, released(self.path))
        incoming = read_once(rows)
        ids = incoming.index["segment_id"]
        is_chosen, buckets = None, None
        if newest := self.version():
            changes = compare(_index(self._content(newest)), incoming.index)
            if len(changes.gone) or len(changes.changed):
                buckets = buckets_of(changes.all())
                is_chosen = is_in(incoming.index[BUCKET], buckets)
            else:
                is_chosen = is_in(ids, changes.added)
        return self._write(incoming, is_chosen, buckets, _version(incoming, incoming.index, note, facts_json))

    def append(self, rows: Rows, note: str = "", facts: Mapping[str, Any] | None = None) -> int:
        """Release a version with additional rows, and give its number. Of the other rows only ids and digests are read.

        Raises as `commit` does, and `UsageError` when one of the ids exists already.
        """
        newest = self.version()
        if newest == 0:
            return self.commit(rows, note, facts)
        history = self.versions()
        facts_json, before = facts_text(facts, history), history[-1]
        incoming = read_once(rows)
        index = _index(self._content(newest))
        known = incoming.index.filter(is_in(incoming.index["segment_id"], index["segment_id"]))
        if known.num_rows:
            raise UsageError(f"{self.root}: has {known['segment_id'][0].as_py()} already; append only new rows.")
        keys = ["segment_id", DIGEST]
        whole = pa.concat_tables([index.select(keys), incoming.index.select(keys)])
        return self._write(incoming, None, None, _version(incoming, whole, note, facts_json, before))

    def _write(
        self, incoming: Incoming, is_chosen: pa.ChunkedArray | None, buckets: set[str] | None, version: Version
    ) -> int:
        """Add the chosen rows (None: all), or replace everything in `buckets` by them."""
        from deltalake import CommitProperties, DeltaTable, WriterProperties, write_deltalake

        num_rows = incoming.index.num_rows
        share = 1.0 if is_chosen is None or not num_rows else pc.sum(is_chosen).as_py() / num_rows
        source = _Source(incoming.batches(is_chosen))
        try:
            require_space(self.path, int(incoming.num_bytes * share))
            if open_delta(self.path) is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                address, configuration = address_of(self.path), KEEP_HISTORY
                DeltaTable.create(address, schema=incoming.schema, partition_by=[BUCKET], configuration=configuration)
            mode: dict[str, Any] = {"mode": "append"}
            if buckets is not None:
                named = ", ".join(map(repr, sorted(buckets)))
                mode = {"mode": "overwrite", "predicate": f"{BUCKET} IN ({named})"}
            write_deltalake(
                address_of(self.path),
                pa.RecordBatchReader.from_batches(incoming.schema, source),
                schema_mode="merge",
                commit_properties=CommitProperties(custom_metadata=metadata_of(version)),
                writer_properties=WriterProperties(**LAYOUT),
                **mode,
            )
        except Exception as error:  # deltalake raises its own types and OSError; either means that nothing was written
            raise source.error or table_error(self.path, error, writing=True) from error
        return self.version()


class _Source:
    """Batches for deltalake. It keeps an error of ours that reading them raises, which deltalake wraps in its own."""

    def __init__(self, batches: Iterator[pa.RecordBatch]):
        self._batches = batches
        self.error: AriaDataError | None = None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            yield from self._batches
        except AriaDataError as error:
            self.error = error
            raise


def _index(content: Content, only_present: bool = False) -> pa.Table:
    """`segment_id` and digest of a version's rows, by which versions are compared."""
    where = pads.field("removed_in").is_null() if only_present else None
    if content.has_digests:
        index = content.read(["segment_id", DIGEST], where)
        if index[DIGEST].null_count == 0:
            return index
    return indexed(content.read(content.schema.names, where).to_batches(max_chunksize=BATCH_ROWS))


def _version(incoming: Incoming, index: pa.Table, note: str, facts_json: str, before: Version | None = None) -> Version:
    """Describe a version with these rows. `before` is the version that they are added to; `index` is of all rows."""
    num_removed = incoming.index.num_rows - incoming.num_present
    return Version(
        number=0,
        released_at="",
        num_files=incoming.num_present + (before.num_files if before else 0),
        hours=incoming.seconds / 3600 + (before.hours if before else 0.0),
        num_removed=num_removed + (before.num_removed if before else 0),
        content_sha256=hash_of(index),
        note=note,
        facts_json=facts_json,
    )
