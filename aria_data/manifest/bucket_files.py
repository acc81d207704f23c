"""New data files for some buckets of the manifest, written one after another and committed together.

deltalake's own writer has a row group of each bucket in memory until it ends; here a bucket is out of memory as soon as
it is written, and may be written while others are still read.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aria_data.errors import DatasetError
from aria_data.manifest.columns import BUCKET
from aria_data.storage import is_remote, require_space, writing_whole
from aria_data.storage.delta_tables import FileAdded, newest_version, open_delta, put_files

ROW_GROUP = 16 << 10  # rows
# As `row_queries.LAYOUT`: pages of few rows, found by an index, so that reading one row reads little else
LAYOUT: dict[str, Any] = {
    "compression": "snappy",
    "write_batch_size": 512,
    "max_rows_per_page": 512,
    "dictionary_pagesize_limit": 16 << 10,
    "write_page_index": True,
}


class BucketFiles:
    """Files that replace all that some buckets hold. A block that ends without `commit` leaves nothing.

    Where it is not known whether a commit is there, as with a store that was cut off, files stay; they are collected by
    `remove_orphans` if no commit names them. Several threads may `write`. Raises `DatasetNotWritable`, and of a store
    `StoreUnreachable`.
    """

    def __init__(self, path: Path):
        self._path = path
        self._begun: list[Path] = []
        self._added: dict[str, FileAdded | None] = {}  # by bucket; None: it shall be empty

    def __enter__(self) -> BucketFiles:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._begun:
            file.unlink(missing_ok=True)

    def write(self, bucket: str, rows: pa.Table) -> None:
        """Write all rows that a bucket shall have, sorted by segment_id, with their digests, without their bucket."""
        if not len(rows):
            self._added[bucket] = None
            return
        require_space(self._path, rows.nbytes)
        name = f"{BUCKET}={bucket}/part-{secrets.token_hex(16)}.parquet"
        file = self._path / name
        self._begun.append(file)
        with writing_whole(file) as opened:
            pq.write_table(rows, opened, row_group_size=ROW_GROUP, **LAYOUT)
            size = _size(opened)
        self._added[bucket] = FileAdded(name, size, {BUCKET: bucket}, int(time.time() * 1000), _statistics(rows))

    def commit(self, schema: pa.Schema, metadata: Mapping[str, str]) -> None:
        """Put these files in place of all others of their buckets, as one commit. `schema` has every column."""
        table = open_delta(self._path)
        stored = pa.schema(table.schema().to_arrow())
        for column in schema:
            stored = stored if column.name in stored.names else stored.append(column.with_nullable(True))
        buckets = sorted(self._added)
        added = [file for bucket in buckets if (file := self._added[bucket]) is not None]
        written, self._begun = self._begun, []  # from here on a commit may name them, also where an error is raised
        try:
            put_files(self._path, table, added, stored, (BUCKET, buckets), metadata)
        except DatasetError:
            if not is_remote(self._path) and newest_version(self._path) == table.version():
                self._begun = written
            raise


def _size(opened: BinaryIO) -> int:
    opened.flush()
    return opened.seek(0, 2)


def _statistics(rows: pa.Table) -> str:
    """What Delta says of a file: its number of rows, between which ids they are."""
    ids = pc.min_max(rows["segment_id"])
    first, last = (cast(str, ids[end].as_py()) for end in ("min", "max"))
    return json.dumps(
        {
            "numRecords": rows.num_rows,
            "minValues": {"segment_id": first},
            "maxValues": {"segment_id": last},
            "nullCount": {"segment_id": 0},
        }
    )
