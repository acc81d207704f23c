"""Copies of a dataset in layouts that other programs read. Each format is a module with `export(dataset, out, where)`.

    huggingface.py   parquet shards with the MIDI bytes in them; `datasets.load_dataset(out)`
    webdataset.py    tar shards of `<key>.mid` and `<key>.json`, and how they are read
    aria.py          Aria-MIDI's own layout: `metadata.json` and `data/<2 letters>/<id>_<segment>.mid`
    aria_jsonl.py    JSON lines of messages, as EleutherAI's aria reads them
    folder.py        .mid files, at most 10,000 a folder, and one CSV

    writing.py       shared by all: whole or not at all, checksums, counts, names
    checking.py      `verify(out)`: whether an export is complete and unchanged

In: a released version. Out: a folder. An export holds no row that was removed, in its version or since. The same rows
give the same bytes.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from aria_data.errors import UsageError
from aria_data.exports.checking import verify
from aria_data.exports.writing import Exported, Progress
from aria_data.manifest import Dataset

FORMATS = ("aria", "aria-jsonl", "folder", "huggingface", "webdataset")
SHARDED = ("huggingface", "webdataset")

__all__ = ["FORMATS", "SHARDED", "Exported", "export", "verify"]


def export(
    dataset: Dataset,
    out: Path | str,
    format_: str,
    where: str = "",
    progress: Progress | None = None,
    shards: int | None = None,
) -> Exported:
    """Write the rows for which `where` holds into the new or empty folder `out`, in one of `FORMATS`.

    `progress` gets rows written and rows in all. `shards` is the least number of files of a split in the formats in
    `SHARDED`, by default 8; a split with fewer rows has as many as rows. Raises `UsageError` for an unknown format, a
    folder that is not empty, a condition that chooses no row, and `shards` below 1 or for another format;
    `DatasetCorrupt` for a missing MIDI file, `DatasetNotFound` for one that was removed meanwhile, and
    `DatasetNotWritable`.
    """
    if format_ not in FORMATS:
        raise UsageError(f"{format_!r} is no format of export. Known: {', '.join(FORMATS)}.")
    if shards is not None and (format_ not in SHARDED or shards < 1):
        raise UsageError(f"{shards} shards: give 1 or more, for the formats {' and '.join(SHARDED)} only.")
    module = import_module(f"aria_data.exports.{format_.replace('-', '_')}")
    if shards is not None:
        return module.export(dataset, out, where, progress, shards)
    return module.export(dataset, out, where, progress)
