"""Whether a segment was removed since a dataset was opened, for a message. It reads Delta's log without deltalake.

deltalake cannot be used in a forked process that already used it, such as a worker of torch's `DataLoader`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.dataset as pads

from aria_data.manifest.columns import BUCKET
from aria_data.manifest.rows import bucket_of
from aria_data.storage import local_copy, printable


def removal_of(root: Path, segment_id: str) -> str:
    """Give "removed in version 3 (the reason)" as the newest version has it, or "" for a segment that is not removed.

    Also "" where that cannot be read: whoever asks has an error to report already.
    """
    try:
        files = _files_of(root / "manifest", bucket_of({"segment_id": segment_id}))
        schema = pa.schema(
            [("segment_id", pa.string()), ("removed_in", pa.int64()), ("removal_reason", pa.string())],
        )
        table = pads.dataset([str(local_copy(file)) for file in files], schema=schema, format="parquet").to_table(
            filter=(pads.field("segment_id") == segment_id) & pads.field("removed_in").is_valid()
        )
    except (OSError, ValueError, LookupError, TypeError, pa.ArrowException):
        return ""
    if not table.num_rows:
        return ""
    row = table.to_pylist()[0]
    return f"removed in version {row['removed_in']} ({printable(row['removal_reason'] or '')})"


def _files_of(path: Path, bucket: str) -> list[Path]:
    """The data files of one bucket in the newest version of the table at `path`."""
    there: dict[str, dict[str, Any]] = {}
    for commit in sorted((path / "_delta_log").glob("*.json")):
        for entry in map(json.loads, commit.read_text().splitlines()):
            if "add" in entry:
                there[entry["add"]["path"]] = entry["add"]["partitionValues"]
            elif "remove" in entry:
                there.pop(entry["remove"]["path"], None)
    return [path / unquote(name) for name, values in there.items() if values[BUCKET] == bucket]
