"""Write rows into the manifest's table by deltalake's writer: added to what is there, or in place of some buckets."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from aria_data.errors import AriaDataError
from aria_data.manifest.columns import BUCKET
from aria_data.manifest.delta_commits import Version, metadata_of
from aria_data.manifest.row_queries import FILE_BYTES, LAYOUT
from aria_data.storage import require_space
from aria_data.storage.delta_tables import KEEP_HISTORY, create_delta, open_delta, table_error, write_delta


def write_rows(
    path: Path,
    batches: Iterator[pa.RecordBatch],
    schema: pa.Schema,
    num_bytes: int,
    buckets: Collection[str] | None,
    version: Version,
) -> None:
    """Add rows, or replace everything in `buckets` by them, as one commit that is a version.

    Rows have their bucket and digest; `num_bytes` is what they take in memory. Raises what reading them raises,
    `DatasetNotWritable`, `DatasetCorrupt`.
    """
    from deltalake import WriterProperties

    source = _Source(batches)
    try:
        require_space(path, num_bytes)
        if open_delta(path) is None:
            create_delta(path, schema=schema, partition_by=[BUCKET], configuration=KEEP_HISTORY)
        mode: dict[str, Any] = {"mode": "append"}
        if buckets is not None:
            named = ", ".join(map(repr, sorted(buckets)))
            mode = {"mode": "overwrite", "predicate": f"{BUCKET} IN ({named})"}
        write_delta(
            path,
            None,
            pa.RecordBatchReader.from_batches(schema, source),
            metadata_of(version),
            schema_mode="merge",
            target_file_size=FILE_BYTES,
            writer_properties=WriterProperties(**LAYOUT),
            **mode,
        )
    except Exception as error:  # deltalake raises its own types and OSError; either means that nothing was written
        raise source.error or table_error(path, error, writing=True) from error


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
