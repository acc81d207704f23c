"""Keep the tables of a dataset few in files: small ones are joined, and what was replaced is deleted later.

Every append is a file, and what it costs to open a table, and to append to it, grows with the number of its files.
Only tables whose versions nobody reads again are treated so, those in `tables/`: the manifest's versions are released.
A table is compacted in one commit, so a kill leaves it as it was. A reader that opened it before reads on: files that
were replaced stay for `KEPT_H` hours.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from aria_data.storage.delta_tables import open_delta, table_error
from aria_data.storage.files import require_space

MAX_SMALL_FILES = 200  # ours: an append to a table of 800 files takes twice as long as to one of 200
TARGET_BYTES = 64 << 20  # of a joined file; what was appended in turn stays together, so one shard's rows lie in few
SMALL_BYTES = TARGET_BYTES // 2
KEPT_H = 24  # hours: longer than any command reads one version of a table
ROW_GROUP_ROWS = 8192  # so that few rows are decoded where few are wanted


def compact_tables(root: Path, max_small_files: int = MAX_SMALL_FILES, kept_h: int = KEPT_H) -> dict[str, int]:
    """Compact the tables of the dataset at `root`, and delete what was replaced long ago. Gives files gone, by table.

    Call it only while holding the dataset's lock. Raises `DatasetCorrupt`, `DatasetNotWritable`.
    """
    gone: dict[str, int] = {}
    for path in sorted(each for each in (root / "tables").glob("*") if each.is_dir()):
        delta = open_delta(path)
        if delta is not None:
            compact(path, delta, max_small_files)
            if num_gone := vacuum(path, delta, kept_h):
                gone[path.name] = num_gone
    return gone


def compact(path: Path, delta: Any, max_small_files: int = MAX_SMALL_FILES) -> bool:
    """Join the small files of the table that is open as `delta` where there are more than that. Says if it did."""
    from deltalake import WriterProperties

    small = [size for size in sizes_of(delta) if size < SMALL_BYTES]
    if len(small) <= max_small_files:
        return False
    try:
        require_space(path, sum(small))
        properties = WriterProperties(max_row_group_size=ROW_GROUP_ROWS, compression="SNAPPY")
        delta.optimize.compact(target_size=TARGET_BYTES, max_concurrent_tasks=1, writer_properties=properties)
    except Exception as error:  # deltalake raises its own types and OSError; either means that nothing changed
        raise table_error(path, error, writing=True) from error
    return True


def sizes_of(delta: Any) -> list[int]:
    """The bytes of each data file of an opened table."""
    return pa.table(delta.get_add_actions())["size_bytes"].to_pylist()


def vacuum(path: Path, delta: Any, kept_h: int = KEPT_H) -> int:
    """Delete the files that the newest version of a table does not have since `kept_h` hours. Gives their number."""
    options: Mapping[str, Any] = {"retention_hours": kept_h, "enforce_retention_duration": False}
    try:
        if not delta.vacuum(dry_run=True, **options):
            return 0
        return len(delta.vacuum(dry_run=False, **options))
    except Exception as error:  # deltalake raises its own types and OSError
        raise table_error(path, error, writing=True) from error
