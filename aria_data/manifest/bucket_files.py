"""New data files of the manifest, written bucket by bucket and committed together.

deltalake's own writer has, of every bucket, a row group and the whole compressed file in memory until it ends; here a
row group goes to the disk as soon as it is full.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Collection, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aria_data.errors import AriaDataError
from aria_data.manifest.columns import BUCKET
from aria_data.manifest.other_columns import OtherColumns, with_others
from aria_data.storage import is_remote, require_space, writing_whole
from aria_data.storage.delta_tables import FileAdded, open_delta, put_files

ROW_GROUP = 4 << 10  # rows: those of every bucket are in memory, about 1 kB each
# Pages of few rows, found by an index, and small dictionaries, so that reading one row reads little else
LAYOUT: dict[str, Any] = {
    "compression": "snappy",
    "write_batch_size": 512,
    "max_rows_per_page": 512,
    "dictionary_pagesize_limit": 16 << 10,
    "write_page_index": True,
}


@dataclass
class _Open:
    """A file that is being written."""

    name: str
    file: BinaryIO
    writer: pq.ParquetWriter
    closing: ExitStack
    others: pa.Table | None  # columns of other programs, of the rows that were in this bucket
    waiting: list[pa.Table] = field(default_factory=list)  # less than a row group
    num_waiting: int = 0
    num_rows: int = 0

    def write(self, is_last: bool) -> None:
        """Write what waits: full row groups, or all."""
        whole = pa.concat_tables(self.waiting)
        num_rows = len(whole) if is_last else len(whole) // ROW_GROUP * ROW_GROUP
        if num_rows:
            self.writer.write_table(whole.slice(0, num_rows), row_group_size=ROW_GROUP)
        self.num_rows += num_rows
        self.num_waiting = len(whole) - num_rows
        rest = whole.slice(num_rows)
        self.waiting = [rest.take(pa.array(range(len(rest))))] if len(rest) else []  # a slice would keep the whole


class BucketFiles:
    """Files for a table at `path` as it is at `version`, which `commit` adds or puts in place of what buckets hold.

    A block that ends with an error before `commit` leaves nothing. Where it is not known whether a commit is there, as
    with a store that was cut off, files stay; `remove_orphans` collects them if no commit names them. Several threads
    may write, each other buckets. Columns of other programs stay with their rows. Raises `DatasetNotWritable`, and of
    a store `StoreUnreachable`.
    """

    def __init__(self, path: Path, version: int):
        self._path, self._version = path, version
        self._others = OtherColumns(path, version)
        self._begun: list[Path] = []
        self._open: dict[str, _Open] = {}  # by bucket
        self._added: list[FileAdded] = []

    def __enter__(self) -> BucketFiles:
        return self

    def __exit__(self, *error: Any) -> None:
        for one in self._open.values():
            with suppress(Exception):  # what is under way says more
                one.writer.close()
                one.closing.__exit__(*error)
        for file in self._begun:
            try:
                file.unlink(missing_ok=True)
            except (OSError, AriaDataError):  # the error that is under way says more; `remove_orphans` collects them
                return

    def write(self, bucket: str, rows: pa.Table) -> None:
        """Write rows of a bucket as a file: with their digests, without their bucket, sorted by segment_id."""
        if len(rows):
            require_space(self._path, rows.nbytes)
            self.add(bucket, rows)
            self._close(bucket)

    def add(self, bucket: str, rows: pa.Table) -> None:
        """Add rows to the file of a bucket. Every call brings the same columns."""
        one = self._open.get(bucket) or self._opened(bucket, rows.schema)
        one.waiting.append(rows if one.others is None else with_others(rows, one.others))
        one.num_waiting += len(rows)
        if one.num_waiting >= ROW_GROUP:
            one.write(is_last=False)

    def _opened(self, bucket: str, schema: pa.Schema) -> _Open:
        name = f"{BUCKET}={bucket}/part-{secrets.token_hex(16)}.parquet"
        self._others.require_beside(schema)
        others = self._others.of_bucket(bucket) if self._others.names else None
        for column in () if others is None else others.drop_columns(["segment_id"]).schema:
            schema = schema.append(column)
        self._begun.append(self._path / name)
        with ExitStack() as stack:
            file = stack.enter_context(writing_whole(self._path / name))
            writer = pq.ParquetWriter(file, schema, **LAYOUT)
            self._open[bucket] = _Open(name, file, writer, stack.pop_all(), others)
        return self._open[bucket]

    def _close(self, bucket: str) -> None:
        one = self._open[bucket]
        one.write(is_last=True)
        one.writer.close()
        one.file.flush()
        size = one.file.seek(0, 2)
        del self._open[bucket]
        one.closing.close()
        # Delta's lowest and highest values are of all columns or of none: readers take those that are missing for null
        statistics = json.dumps({"numRecords": one.num_rows})
        self._added.append(FileAdded(one.name, size, {BUCKET: bucket}, int(time.time() * 1000), statistics))

    def commit(self, schema: pa.Schema, metadata: Mapping[str, str], replaced: Collection[str] = ()) -> None:
        """Add the files as one commit, or put them in place of all others of the buckets `replaced`.

        `schema` has every column. Raises `DatasetNotWritable`, too, where the table is at another version by now.
        """
        for bucket in sorted(self._open):
            self._close(bucket)
        stored = pa.schema(open_delta(self._path, self._version).schema().to_arrow())
        for column in schema:
            stored = stored if column.name in stored.names else stored.append(column.with_nullable(True))
        written, self._begun = self._begun, []  # from here on a commit may name them, also where an error is raised
        added = sorted(self._added, key=lambda one: one.name)
        try:
            put_files(self._path, self._version, added, stored, (BUCKET, sorted(replaced)), metadata)
        except AriaDataError:
            if not is_remote(self._path) and not self._is_committed():
                self._begun = written
            raise

    def _is_committed(self) -> bool:
        """Whether the next commit, if there is one, is of these files."""
        commit = self._path / "_delta_log" / f"{self._version + 1:020}.json"
        return commit.is_file() and all(one.name in commit.read_text() for one in self._added)


def in_buckets(rows: pa.Table) -> dict[str, pa.Table]:
    """The rows of each bucket, in their order, without the column that names it."""
    others = rows.drop_columns([BUCKET])
    return {name: others.filter(pc.equal(rows[BUCKET], name)) for name in pc.unique(rows[BUCKET]).to_pylist()}
