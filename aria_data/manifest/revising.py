"""Change some rows of a version: only those are digested, and only their buckets are read and written.

Rows are held a bucket at a time, so that memory does not grow with the dataset.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from aria_data.errors import UsageError
from aria_data.manifest.bucket_files import BucketFiles
from aria_data.manifest.columns import DIGEST, added_columns, arrow_schema
from aria_data.manifest.digests import BATCH_ROWS, digests_of, hash_of, sorted_by_id
from aria_data.manifest.row_queries import Content
from aria_data.manifest.rows import batches_of, buckets_of, conformed, is_in, where, with_index
from aria_data.storage.relations import give_memory_back

Change = Callable[[pa.Table], pa.Table]  # rows of one bucket -> those of them that change, as they shall be
AT_ONCE = 2  # buckets that are compared at a time; each is held in memory
COUNTED = ("removed_in", "duration_s")  # what a version's counts are made of


@dataclass(frozen=True, slots=True)
class Revision:
    """The next version: the newest with some rows changed."""

    num_present: int  # rows that are not removed
    num_removed: int
    hours: float  # of the rows that are not removed
    content_sha256: str
    schema: pa.Schema  # with bucket and digest
    is_other: bool  # than the newest version


@dataclass(frozen=True, slots=True)
class _Bucket:
    """The rows of a bucket that change: `segment_id`, digest and `COUNTED`; and the columns it has then."""

    rows: pa.Table
    names: list[str]


def revise(
    content: Content, change: Change, files: BucketFiles, segment_ids: Collection[str] | None = None
) -> Revision:
    """Write into `files` what `change` changes in a version, of which only rows with these ids may change (None: any).

    `change` is called once with each bucket, by several threads. Raises `UsageError` for rows that do not fit the
    columns, or that were not among those given.
    """
    may_change = None if segment_ids is None else buckets_of(pa.chunked_array([pa.array(sorted(segment_ids))]))
    buckets = {name: rows for name, rows in content.buckets().items() if may_change is None or name in may_change}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        revised = list(pool.map(lambda name: _revised(content, change, files, name, buckets[name]), buckets))
    give_memory_back()  # all ids need it
    added = set(content.schema.names).union(*(one.names for one in revised if one.rows.num_rows))
    whole = _index_of_next(content, [one.rows for one in revised])
    num_present, hours = hours_of(whole)
    sums = num_present, whole.num_rows - num_present, hours, hash_of(whole)
    return Revision(*sums, with_index(arrow_schema(added_columns(added))), any(one.rows.num_rows for one in revised))


def _index_of_next(content: Content, changed: list[pa.Table]) -> pa.Table:
    """`segment_id`, digest and `COUNTED` of all rows of the next version, sorted by segment_id."""
    index = index_of(content, COUNTED)
    replaced = pa.concat_tables([index.slice(0, 0), *changed])
    kept = index.filter(pc.invert(is_in(index["segment_id"], replaced["segment_id"])))
    return pa.concat_tables([kept, replaced]).sort_by("segment_id")


def _revised(content: Content, change: Change, files: BucketFiles, name: str, rows: pads.Dataset) -> _Bucket:
    """Find what a change makes other in a bucket, and write the bucket if there is anything."""
    was = content.read_bucket(rows)
    now = _changed(change, was)
    summary = _summary(now)
    is_other = pc.fill_null(pc.not_equal(summary[DIGEST], was[DIGEST].take(_places(now, was))), True)
    summary, now = where(summary, is_other), where(now, is_other)  # it may also give rows that it leaves as they are
    if summary.num_rows:
        files.write(name, _whole(was, now.append_column(DIGEST, summary[DIGEST]), content.schema))
    return _Bucket(summary, now.column_names)


def _whole(was: pa.Table, now: pa.Table, schema: pa.Schema) -> pa.Table:
    """All rows of a bucket as they shall be, sorted by segment_id."""
    kept = digested(was.filter(pc.invert(is_in(was["segment_id"], now["segment_id"]))), schema)
    names = added_columns({*was.column_names, *now.column_names})
    stored = arrow_schema(names).append(pa.field(DIGEST, pa.string()))
    return sorted_by_id(pa.concat_tables(with_columns_of(each, stored) for each in (kept, now) if len(each)))


def _changed(change: Change, rows: pa.Table) -> pa.Table:
    """What a change gives of a bucket's rows, checked."""
    given = change(rows.drop_columns([DIGEST]))
    ids = given["segment_id"]
    is_known = pc.all(is_in(ids, rows["segment_id"]), min_count=0).as_py()
    if not is_known or pc.count_distinct(ids).as_py() != len(ids):
        raise UsageError("a change gives rows that it was not given, or one row twice; no version was written.")
    return given


def _places(rows: pa.Table, among: pa.Table) -> pa.ChunkedArray:
    """For each row, the place of its segment_id in another table; null where it is not there."""
    return pc.index_in(rows["segment_id"], value_set=among["segment_id"])


def digested(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """The rows with digests, also of those that were released before digests were stored."""
    if not rows[DIGEST].null_count:
        return rows
    digests = [digests_of(batch) for batch in rows.select(schema.names).to_batches()]
    return rows.set_column(rows.schema.get_field_index(DIGEST), DIGEST, pa.chunked_array(digests, pa.string()))


def with_columns_of(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """The rows with exactly the schema's columns; those they do not have are null. Raises `UsageError`."""
    return pa.Table.from_batches([conformed(batch, schema) for batch in rows.to_batches()], schema)


def _summary(rows: pa.Table) -> pa.Table:
    """`segment_id`, digest and `COUNTED` of rows."""
    names = ["segment_id", *COUNTED]
    schema = pa.schema([*(arrow_schema().field(name) for name in names), pa.field(DIGEST, pa.string())])
    parts = [
        pa.RecordBatch.from_arrays([*(batch.column(name) for name in names), digests_of(batch)], schema=schema)
        for batch in batches_of([rows])
    ]
    return pa.Table.from_batches(parts, schema).select(["segment_id", DIGEST, *COUNTED])


def index_of(content: Content, also: Collection[str] = (), chosen: pads.Expression | None = None) -> pa.Table:
    """`segment_id` and digest of a version's rows, by which versions are compared, and the columns `also`.

    Rows that were released before digests were stored are read whole and digested now.
    """
    names = ["segment_id", DIGEST, *also]
    if content.has_digests:
        index = content.read(names, chosen)
        if index[DIGEST].null_count == 0:
            return index
    rows = content.read(content.schema.names, chosen)
    batches = rows.to_batches(max_chunksize=BATCH_ROWS)
    digests = pa.chunked_array([digests_of(batch) for batch in batches], pa.string())
    return rows.select(["segment_id", *also]).append_column(DIGEST, digests).select(names)


def hours_of(index: pa.Table) -> tuple[int, float]:
    """Give (number of rows that are not removed, their hours). Summed in the order in which a commit sums them."""
    num_present, seconds = 0, 0.0
    for start in range(0, index.num_rows, BATCH_ROWS):
        part = index.slice(start, BATCH_ROWS).combine_chunks()
        present = part.filter(pc.is_null(part["removed_in"]))
        num_present += present.num_rows
        seconds += pc.sum(present["duration_s"]).as_py() or 0.0
    return num_present, seconds / 3600
