"""Write rows into the manifest's table: added to what is there, or in place of all that some buckets hold."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import pyarrow as pa

from aria_data.manifest.bucket_files import BucketFiles, in_buckets
from aria_data.manifest.columns import BUCKET
from aria_data.manifest.delta_commits import Version, metadata_of
from aria_data.storage import require_space
from aria_data.storage.delta_tables import KEEP_HISTORY, create_delta, newest_version, table_error


def write_rows(
    path: Path,
    newest: int,
    batches: Iterator[pa.RecordBatch],
    schema: pa.Schema,
    num_bytes: int,
    buckets: Collection[str] | None,
    version: Version,
) -> None:
    """Add rows, or replace everything in `buckets` by them, as one commit that is a version.

    The table is at the version `newest`, 0 where there is none yet. Rows have their bucket and digest; `num_bytes` is
    what they take in memory. Raises what reading them raises,
    `DatasetNotWritable`, `DatasetCorrupt`.
    """
    try:
        require_space(path, num_bytes)
        if newest_version(path) is None:
            create_delta(path, schema=schema, partition_by=[BUCKET], configuration=KEEP_HISTORY)
        with BucketFiles(path, newest) as files:
            for batch in batches:
                for bucket, rows in in_buckets(pa.Table.from_batches([batch])).items():
                    files.add(bucket, rows)
            files.commit(schema, metadata_of(version), buckets or ())
    except Exception as error:  # of Arrow, deltalake and the disk; errors of our own go on as they are
        raise table_error(path, error, writing=True) from error
