"""Columns that another program added to the manifest's table. Their values stay with their rows. None of ours.

They are in no digest and in no hash of a version: what a row says of the music is what this project's columns say.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from aria_data.errors import UsageError
from aria_data.manifest.columns import BUCKET, DIGEST, arrow_schema, users_columns
from aria_data.storage import printable
from aria_data.storage.delta_tables import data_files, lean, open_delta


class OtherColumns:
    """The other programs' columns of the table at `path`, as it is at `version`. Raises `DatasetCorrupt`."""

    def __init__(self, path: Path, version: int):
        self._path, self._table = path, open_delta(path, version)
        stored = pa.schema([] if self._table is None else self._table.schema().to_arrow())
        ours = {*arrow_schema().names, *users_columns(stored), BUCKET, DIGEST}
        self.names = [name for name in stored.names if name not in ours]

    def require_beside(self, written: pa.Schema) -> None:
        """Raise `UsageError` where rows to be written have one of these columns: a subset that is no bool there."""
        if both := sorted({*self.names} & {*written.names}):
            raise UsageError(
                f"{self._path}: another program has added a column {printable(both[0])!r} of another type. "
                "Choose another name for the subset or weight."
            )

    def of_bucket(self, bucket: str) -> pa.Table:
        """`segment_id` and these columns of the rows of a bucket."""
        files = data_files(self._path, self._table, partition={BUCKET: bucket})
        return files.to_table(columns=["segment_id", *self.names], **lean())


def with_others(rows: pa.Table, others: pa.Table) -> pa.Table:
    """Rows of a bucket with the values that `others` has for their ids: null for new rows, and for removed ones."""
    places = pc.index_in(rows["segment_id"], value_set=others["segment_id"])
    places = pc.if_else(pc.is_null(rows["removed_in"]), places, pa.scalar(None, places.type))
    beside = others.drop_columns(["segment_id"]).take(places)
    for field in beside.schema:
        rows = rows.append_column(field, beside[field.name])
    return rows
