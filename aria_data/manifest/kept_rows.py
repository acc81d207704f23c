"""Rows of the newest version that stay as they are in the next one: they are neither digested nor compared again."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from aria_data.manifest.columns import BUCKET, DIGEST, added_columns, arrow_schema
from aria_data.manifest.digests import sorted_by_id
from aria_data.manifest.revising import COUNTED, digested, hours_of, index_of, with_columns_of
from aria_data.manifest.row_queries import Content
from aria_data.manifest.rows import Incoming, is_in, with_index
from aria_data.manifest.stored_rows import StoredColumns

INDEX = ("segment_id", DIGEST)


class KeptRows:
    """The rows with these ids of a version that was opened. Raises `DatasetCorrupt` for a damaged file."""

    def __init__(self, content: Content, segment_ids: pa.ChunkedArray):
        self._content, self._ids = content, segment_ids
        self._index = index_of(content, COUNTED)  # of every row of the version, in the order of its files
        self._is_kept = is_in(self._index["segment_id"], segment_ids)
        self.index = self._index.filter(self._is_kept)  # segment_id, digest and `COUNTED`

    def __len__(self) -> int:
        return self.index.num_rows

    def with_their_columns(self, incoming: Incoming) -> Incoming:
        """The same rows with users' columns that only these rows have, which are null in those."""
        names = {*added_columns(incoming.schema.names), *added_columns(self._content.schema.names)}
        return replace(incoming, schema=with_index(arrow_schema(sorted(names))))

    def with_index(self, index: pa.Table) -> pa.Table:
        """The ids and digests of these rows, and of others."""
        return pa.concat_tables([self.index.select(list(INDEX)), index.select(list(INDEX))])

    def with_columns(self, others: StoredColumns) -> StoredColumns:
        """The columns of these rows and of others, in one order."""

        def read(names: list[str]) -> pa.Table:
            stored = [name for name in names if name in self._content.schema.names]
            kept = self._content.read(stored or ["segment_id"]).filter(self._is_kept)
            missing = {name: pa.nulls(len(kept), others.type_of(name)) for name in names if name not in stored}
            whole = pa.table({name: missing[name] if name in missing else kept[name] for name in names})
            beside = others.select(names)
            return pa.concat_tables([whole.cast(beside.schema), beside])

        return StoredColumns(read, others.column_names, len(self) + len(others))

    def buckets_with(self, others: pa.Table, buckets: Collection[str]) -> Iterator[tuple[str, pa.Table]]:
        """Yield some buckets, each with these rows and `others` of it: with digests, without bucket, sorted by id."""
        stored = self._content.buckets()
        for name in sorted(buckets):
            parts = [others.filter(pc.equal(others[BUCKET], name)).drop_columns([BUCKET])]
            if name in stored:
                whole = self._content.read_bucket(stored[name])
                kept = digested(whole.filter(is_in(whole["segment_id"], self._ids)), self._content.schema)
                parts.append(with_columns_of(kept, parts[0].schema))
            yield name, sorted_by_id(pa.concat_tables(parts))

    @property
    def others(self) -> pa.Table:
        """The ids and digests of the rows of that version that are not kept."""
        return self._index.filter(pc.invert(self._is_kept)).select(list(INDEX))

    def sums(self) -> tuple[int, float, int]:
        """How many of the rows are not removed, the hours of those, and how many are removed."""
        num_present, hours = hours_of(self.index)
        return num_present, hours, len(self) - num_present
