"""The manifest: one row a MIDI file, in versions that never change. Query it, compare versions, commit a new one.

It is a Delta table at `<dataset>/manifest`, partitioned by a bucket of the segment's id. Version 0 is the
empty table; every later Delta version is one release, so both numbers are the same.

    columns.py        the fixed columns, and the subsets and weights that users add
    rows.py           rows to be committed: batches, index, differences
    digests.py        the hash of a row's content, and of a version's
    revising.py       the newest version with some rows changed
    writing.py        rows into the table, by deltalake's writer
    bucket_files.py   new files for some buckets, committed together
    other_columns.py  columns that another program added to the table
    kept_rows.py      rows of the newest version that the next one has as they are
    removed.py        whether a segment was removed meanwhile, read without Delta
    delta_commits.py  number, counts, name and facts of a release
    row_queries.py    conditions, and how the rows that they choose are read
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from aria_data.errors import DatasetNotFound, UsageError
from aria_data.manifest.bucket_files import BucketFiles
from aria_data.manifest.columns import (
    BUCKET,
    DIGEST,
    SCHEMA_VERSION,
    arrow_schema,
    columns,
    subset_column,
    weight_column,
)
from aria_data.manifest.delta_commits import Version, facts_text, metadata_of, released, require_free
from aria_data.manifest.digests import BATCH_ROWS, content_sha256, digest_of, hash_of
from aria_data.manifest.kept_rows import KeptRows
from aria_data.manifest.revising import COUNTED, Change, hours_of, index_of, revise
from aria_data.manifest.row_queries import Content, changed_columns
from aria_data.manifest.rows import (
    Incoming,
    Row,
    Rows,
    bucket_of,
    buckets_of,
    compare,
    is_in,
    read_once,
)
from aria_data.manifest.stored_rows import StoredColumns
from aria_data.manifest.writing import write_rows
from aria_data.storage import printable
from aria_data.storage.delta_tables import lean, newest_version, open_delta, remove_orphans

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
        return newest_version(self.path) or 0

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

    def files(self, version: int | str | None = None) -> pads.Dataset:
        """Open a version's rows, including removed ones, for another engine to read: DuckDB, Arrow, Polars."""
        return self._content(version).files

    def reader(self, names: Sequence[str], version: int | None = None) -> pa.RecordBatchReader:
        """Read fixed columns of all rows a batch at a time, in no order; no rows where there is no version."""
        schema = pa.schema([arrow_schema().field(name) for name in names])
        if version is None and self.version() == 0:
            return pa.RecordBatchReader.from_batches(schema, iter(()))
        return self._content(version).files.scanner(columns=list(names), **lean()).to_reader()

    def stored_columns(self) -> StoredColumns:
        """The newest version's columns, read one at a time, in one order."""
        content = self._content(None)
        return StoredColumns(content.read, content.schema.names, content.files.count_rows())

    def table(self, version: int | str | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """Read all rows of a version, including removed ones, sorted by segment_id; only `columns`, by default all."""
        content = self._content(version)
        names = content.schema.names if columns is None else list(columns)
        return content.read(list(dict.fromkeys(["segment_id", *names]))).sort_by("segment_id").select(names)

    def rows(self, version: int | str | None = None) -> list[Row]:
        """Read all rows of a version as plain values."""
        return self.table(version).to_pylist()

    def rows_of(
        self, segment_ids: Sequence[str], version: int | str | None = None, columns: Sequence[str] | None = None
    ) -> pa.Table:
        """Read the rows with these ids, sorted by segment_id; only `columns`, by default all."""
        content = self._content(version)
        names = content.schema.names if columns is None else columns
        return content.rows(pa.chunked_array([pa.array(segment_ids, pa.string())]), names)

    def query(
        self,
        where: str = "",
        version: int | str | None = None,
        limit: int | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        """Select the rows for which the SQL condition `where` holds, sorted by segment_id.

        Removed rows are left out unless the condition names `removed_in`. Only `columns` are read, by default all. The
        condition is not trusted: see `row_queries.ids_where`. Raises `UsageError` in one line for one that cannot be
        used.
        """
        content = self._content(version)
        names = [name for name in content.schema.names if columns is None or name in set(columns)]
        if where.strip() or limit is not None:
            return content.rows(content.ids_where(where, limit), names)
        present = content.read(list(dict.fromkeys([*names, "segment_id"])), pads.field("removed_in").is_null())
        return present.sort_by("segment_id").select(names)

    def present_where(self, where: str) -> pa.ChunkedArray:
        """Find the ids of the newest version's rows, not removed, for which the condition of a subset holds.

        It may use the fixed columns only, and no chance or clock. Raises `UsageError` in one line.
        """
        return self._content(None).present_where(where)

    def diff(self, old: int | str, new: int | str) -> Difference:
        """Compare two versions row by row. Rows with a `removed_in` count as removed."""
        before, after = self._content(old), self._content(new)
        changes = compare(
            *(index_of(content, chosen=pads.field("removed_in").is_null()) for content in (before, after))
        )
        changed = changed_columns(before, after, changes.changed)
        return Difference(sorted(changes.added.to_pylist()), sorted(changes.gone.to_pylist()), changed)

    def content_sha256(self, version: int | str | None = None) -> str:
        """The hash of a version's rows; it is the same for the same rows in any dataset."""
        return hash_of(index_of(self._content(version)))

    # ------------------------------------------------------------ writing

    def kept_rows(self, segment_ids: pa.ChunkedArray) -> KeptRows:
        """The rows of the newest version with these ids, which stay as they are in the next."""
        return KeptRows(self._content(None), segment_ids)

    def commit(
        self,
        rows: Rows,
        note: str = "",
        facts: Mapping[str, Any] | None = None,
        digests: pa.ChunkedArray | None = None,
        kept: KeptRows | None = None,
    ) -> int:
        """Release `rows` as the next version in one atomic commit, and give its number. `digests`: see `read_once`.

        Rows that are `kept` of the newest version are in the next as well; they are none of `rows`.

        For more rows than the memory holds, pass a function that gives tables or record batches, and the same ones when
        it is called again. `facts` (JSON values) are kept with the version; `facts["name"]` names it.

        If all changes are new rows, they are appended; otherwise the buckets that differ are rewritten. Raises
        `UsageError` for rows that do not fit the columns or a name that is taken, and `DatasetNotWritable`.
        """
        facts_json = facts_text(facts, released(self.path))
        incoming = read_once(rows, digests)
        incoming = incoming if kept is None else kept.with_their_columns(incoming)
        whole = incoming.index if kept is None else kept.with_index(incoming.index)
        version = _version(incoming, whole, note, facts_json, *(() if kept is None else (kept.sums(),)))
        is_chosen, buckets = None, None
        if newest := self.version():
            was = index_of(self._content(newest)) if kept is None else kept.others
            changes = compare(was, incoming.index)
            if len(changes.gone) or len(changes.changed):
                buckets = buckets_of(changes.all())
                is_chosen = is_in(incoming.index[BUCKET], buckets)
            else:
                is_chosen = is_in(incoming.index["segment_id"], changes.added)
        return self._write_chosen(newest, incoming, is_chosen, buckets, version, kept)

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
        sums = (before.num_files, before.hours, before.num_removed)
        index = index_of(self._content(newest), () if before.content_sha256 else COUNTED)
        if not before.content_sha256:  # another program wrote the newest version, so it says nothing of its rows
            num_present, hours = hours_of(index)
            sums = num_present, hours, index.num_rows - num_present
        known = incoming.index.filter(is_in(incoming.index["segment_id"], index["segment_id"]))
        if known.num_rows:
            raise UsageError(f"{self.root}: has {known['segment_id'][0].as_py()} already; append only new rows.")
        keys = ["segment_id", DIGEST]
        whole = pa.concat_tables([index.select(keys), incoming.index.select(keys)])
        version = _version(incoming, whole, note, facts_json, sums)
        return self._write_chosen(newest, incoming, None, None, version)

    def revise(
        self,
        change: Change,
        note: str = "",
        facts: Mapping[str, Any] | None = None,
        segment_ids: Collection[str] | None = None,
        always: bool = False,
    ) -> int:
        """Release the newest version with some of its rows changed, and give its number; its own if none changes.

        `change` gets the rows of one bucket after another, as a table, and gives those of them that change, as they
        shall be; threads call it. Only buckets of `segment_ids` are given to it (None: all). With `always` a version is
        released even if no row changes. Raises as `commit` does.
        """
        newest = self.number_of()
        facts_json = facts_text(facts, released(self.path))
        remove_orphans(self.path)  # of one that was killed: it may be as large as the whole version
        with BucketFiles(self.path, newest) as files:
            revision = revise(self._content(newest), change, files, segment_ids)
            if not revision.buckets and not always:
                return newest
            sums = revision.num_present, revision.hours, revision.num_removed, revision.content_sha256
            version = Version(0, "", *sums, note=note, facts_json=facts_json)
            files.commit(revision.schema, metadata_of(version), revision.buckets)
        return self.version()

    def _write_chosen(
        self,
        newest: int,
        incoming: Incoming,
        is_chosen: pa.ChunkedArray | None,
        buckets: set[str] | None,
        version: Version,
        kept: KeptRows | None = None,
    ) -> int:
        """Add the chosen rows (None: all), or replace everything in `buckets` by them and by the `kept` rows there."""
        num_rows = incoming.index.num_rows
        share = 1.0 if is_chosen is None or not num_rows else pc.sum(is_chosen).as_py() / num_rows
        num_bytes, batches = int(incoming.num_bytes * share), incoming.batches(is_chosen)
        if kept is None or not buckets:
            write_rows(self.path, newest, batches, incoming.schema, num_bytes, buckets, version)
            return self.version()
        others = pa.Table.from_batches(batches, incoming.schema)  # few, beside those that are kept
        with BucketFiles(self.path, newest) as files:
            for name, rows in kept.buckets_with(others, buckets):
                files.write(name, rows)
            files.commit(incoming.schema, metadata_of(version), buckets)
        return self.version()


def _version(
    incoming: Incoming, index: pa.Table, note: str, facts_json: str, beside: tuple[int, float, int] = (0, 0.0, 0)
) -> Version:
    """Describe a version with these rows; `index` is of all rows.

    `beside` tells of those that it has beside them: how many are not removed, their hours, and how many are removed.
    """
    num_files, hours, num_before = beside
    num_removed = incoming.index.num_rows - incoming.num_present
    return Version(
        number=0,
        released_at="",
        num_files=incoming.num_present + num_files,
        hours=incoming.seconds / 3600 + hours,
        num_removed=num_removed + num_before,
        content_sha256=hash_of(index),
        note=note,
        facts_json=facts_json,
    )
