"""Rows to be committed: batches of one schema, their index, and how they differ from other rows. No Delta tables.

Rows are read twice, so that a million of them are never in memory at once: first for their digests, then to be written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from aria_data.errors import UsageError
from aria_data.manifest.columns import BUCKET, DIGEST, added_columns, arrow_schema, is_weight
from aria_data.manifest.digests import BATCH_ROWS, digests_of, sorted_by_id
from aria_data.storage import printable

PLAIN_ROWS = 1000  # held as Python values at a time

Row = dict[str, Any]
Batches: TypeAlias = "Iterable[pa.RecordBatch | pa.Table]"
Rows: TypeAlias = (
    "Sequence[Row] | pa.Table | Callable[[], Batches]"  # a function is called twice and must give the same rows twice
)


@dataclass(frozen=True, slots=True)
class Incoming:
    """Rows that were read once, with their index, schema and sums. `batches` reads them again."""

    read: Callable[[], Iterator[pa.RecordBatch]]
    index: pa.Table  # segment_id, bucket and digest, in the order of the rows
    schema: pa.Schema  # with bucket and digest
    num_present: int  # rows that are not removed
    seconds: float  # of music, in those
    num_bytes: int  # in memory

    def batches(self, is_chosen: pa.ChunkedArray | None = None) -> Iterator[pa.RecordBatch]:
        """Yield the rows with bucket and digest, a batch at a time: all, or those where `is_chosen` (a value a row).

        Raises `UsageError` when the rows are not those read before.
        """
        start = 0
        for batch in self.read():
            known = self.index.slice(start, batch.num_rows)
            if not pa.chunked_array([batch.column("segment_id")]).equals(known["segment_id"]):
                raise _not_the_same()
            full = conformed(batch, self.schema)
            for name in (BUCKET, DIGEST):
                full = full.set_column(full.schema.get_field_index(name), name, known[name].combine_chunks())
            if is_chosen is not None:
                full = full.filter(is_chosen.slice(start, batch.num_rows).combine_chunks())
            start += batch.num_rows
            if full.num_rows:
                yield full
        if start != self.index.num_rows:
            raise _not_the_same()


def _not_the_same() -> UsageError:
    return UsageError("the rows to commit are not the same when they are read again; no version was written.")


def read_once(rows: Rows, known: pa.ChunkedArray | None = None) -> Incoming:
    """Read rows once and index them. Raises `UsageError` for a missing or repeated id, a bad column or weight.

    `known` are the rows' digests, in order, where the caller has made them already.
    """
    read = _reader(rows)
    ids, buckets = [], []
    digests: list[pa.Array] = []
    added: set[str] = set()
    num_present, seconds, num_bytes = 0, 0.0, 0
    for batch in read():
        added |= set(added_columns(batch.schema.names))
        ids.append(batch.column("segment_id"))
        buckets.append(pa.array(map(_bucket, ids[-1].to_pylist()), pa.string()))
        start = sum(len(one) for one in digests)
        digests.append(digests_of(batch) if known is None else known.slice(start, len(batch)).combine_chunks())
        present = batch.filter(pc.is_null(batch.column("removed_in")))
        num_present += present.num_rows
        seconds += pc.sum(present.column("duration_s")).as_py() or 0.0
        num_bytes += batch.nbytes
    index_of_all = pa.table([pa.chunked_array(one, pa.string()) for one in (ids, buckets, digests)], _INDEX)
    _require_unique(index_of_all["segment_id"])
    schema = with_index(arrow_schema(sorted(added)))
    return Incoming(read, index_of_all, schema, num_present, seconds, num_bytes)


_INDEX = pa.schema([(name, pa.string()) for name in ("segment_id", BUCKET, DIGEST)])


def with_index(schema: pa.Schema) -> pa.Schema:
    """The schema with the hidden columns, bucket and digest."""
    return schema.append(_INDEX.field(BUCKET)).append(_INDEX.field(DIGEST))


def _require_unique(ids: pa.ChunkedArray) -> None:
    if pc.count_distinct(ids).as_py() == len(ids):
        return
    counted = ids.value_counts()
    twice = counted.field("values").filter(pc.greater(counted.field("counts"), 1))[0].as_py()
    raise UsageError(f"segment '{printable(twice)}' is there twice among the rows to commit.")


# ---------------------------------------------------------------- rows of any kind as batches


def _reader(rows: Rows) -> Callable[[], Iterator[pa.RecordBatch]]:
    """Give a function that reads the rows from the start, as batches of one schema. A list or table is sorted first."""
    if callable(rows):
        return lambda: batches_of(rows())
    table = rows if isinstance(rows, pa.Table) else table_of(rows)
    ordered = [sorted_by_id(table)] if table.num_rows else []
    return lambda: batches_of(ordered)


def table_of(rows: Sequence[Row]) -> pa.Table:
    """Give rows as a table with the fixed columns and users' subsets and weights among them. Raises `UsageError`."""
    schema = arrow_schema(added_columns({name for row in rows for name in row}))
    try:
        return pa.Table.from_pylist(list(rows), schema=schema)
    except (pa.ArrowException, TypeError) as error:
        raise _not_rows(error) from error


def rows_of(table: pa.Table) -> Iterator[Row]:
    """Yield a table's rows as plain values, of which few are in memory at once."""
    for batch in table.to_batches(max_chunksize=PLAIN_ROWS):
        yield from batch.to_pylist()


def batches_of(given: Batches) -> Iterator[pa.RecordBatch]:
    """Yield tables or batches as batches with the manifest's columns. Raises `UsageError` for rows that do not fit."""
    for one in given:
        table = one if isinstance(one, pa.Table) else pa.Table.from_batches([one])
        for start in range(0, table.num_rows, BATCH_ROWS):
            for batch in table.slice(start, BATCH_ROWS).combine_chunks().to_batches():
                found = conformed(batch, arrow_schema(added_columns(batch.schema.names)))
                _require_usable(found)
                yield found


def conformed(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch with exactly the schema's columns; those it does not have are null. Raises `UsageError`."""
    there = set(batch.schema.names)
    try:
        values = [
            batch.column(field.name).cast(field.type) if field.name in there else pa.nulls(batch.num_rows, field.type)
            for field in schema
        ]
    except (pa.ArrowException, TypeError) as error:
        raise _not_rows(error) from error
    return pa.RecordBatch.from_arrays(values, schema=schema)


def _not_rows(error: BaseException) -> UsageError:
    return UsageError(f"the rows do not fit the manifest's columns: {printable(str(error), 200)}")


def _require_usable(batch: pa.RecordBatch) -> None:
    if batch.column("segment_id").null_count:
        raise UsageError("a row to commit has no segment_id.")
    for name in filter(is_weight, batch.schema.names):
        known = batch.column(name).drop_null()
        is_fit = pc.and_(pc.is_finite(known), pc.greater_equal(known, 0.0))
        if not pc.all(is_fit, min_count=0).as_py():
            wrong = known.filter(pc.invert(is_fit))[0].as_py()
            raise UsageError(f"{name}: {wrong} is no weight; a weight is 0 or more, and finite.")


def bucket_of(row: Mapping[str, Any]) -> str:
    """The partition of a row, one of 16, which never changes: the first hex digit of its id's sha256."""
    return _bucket(row["segment_id"])


def _bucket(segment_id: str) -> str:
    return hashlib.sha256(segment_id.encode()).hexdigest()[0]


# ---------------------------------------------------------------- what differs


@dataclass(frozen=True, slots=True)
class Changes:
    """The segment ids that were added, are gone, or have changed."""

    added: pa.ChunkedArray
    gone: pa.ChunkedArray
    changed: pa.ChunkedArray

    def all(self) -> pa.ChunkedArray:
        return pa.chunked_array([*self.added.chunks, *self.gone.chunks, *self.changed.chunks], pa.string())


def compare(old: pa.Table, new: pa.Table) -> Changes:
    """Compare two indexes, tables with segment_id and digest."""
    keys = ["segment_id", DIGEST]
    both = old.select(keys).join(new.select(keys), "segment_id", join_type="full outer", right_suffix="_new")
    was, now = both[DIGEST], both[f"{DIGEST}_new"]
    is_changed = pc.fill_null(pc.not_equal(was, now), False)
    return Changes(*(both.filter(which)["segment_id"] for which in (pc.is_null(was), pc.is_null(now), is_changed)))


def buckets_of(segment_ids: pa.ChunkedArray) -> set[str]:
    """The partitions of the rows with these ids."""
    return {_bucket(segment_id) for chunk in segment_ids.chunks for segment_id in chunk.to_pylist()}


def by_bucket(rows: pa.Table) -> Callable[[pa.Table], pa.Table]:
    """Give a function from rows of one partition to those of `rows` that are in the same one."""
    ids = rows["segment_id"]
    names = pa.chunked_array([pa.array(map(_bucket, chunk.to_pylist()), pa.string()) for chunk in ids.chunks], ids.type)
    parts = {name: rows.filter(pc.equal(names, name)) for name in pc.unique(names).to_pylist()}
    none = rows.schema.empty_table()
    return lambda some: parts.get(_bucket(some["segment_id"][0].as_py()), none) if some.num_rows else none


def where(rows: pa.Table, is_chosen: pa.ChunkedArray) -> pa.Table:
    """The chosen rows; without a copy where these are all."""
    return rows if pc.all(is_chosen, min_count=0).as_py() else rows.filter(is_chosen)


def is_in(values: pa.ChunkedArray, wanted: Collection[str] | pa.ChunkedArray) -> pa.ChunkedArray:
    """For each value, whether it is among the wanted ones."""
    found = wanted if isinstance(wanted, pa.ChunkedArray) else pa.array(sorted(wanted), pa.string())
    return pc.is_in(values, value_set=found)
