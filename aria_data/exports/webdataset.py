"""Tar shards of fewer than 10,000 files, `<key>.mid` beside `<key>.json`: `<split>-00000.tar`, `<split>-00001.tar`."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from aria_data.exports.writing import Exported, Names, Progress, Writer, exported, exported_row, new_export, splits_of
from aria_data.manifest import Dataset

ROWS_PER_SHARD = 4_999  # two files each


def export(dataset: Dataset, out: Path | str, where: str = "", progress: Progress | None = None) -> Exported:
    """Write the shards of each split, in the order of segment ids. See `exports.export`.

    A key has no dot, because readers end the key at the first dot.
    """
    with new_export(dataset, out, where, "webdataset", progress) as writer:
        table = writer.selection.table
        for split in splits_of(table):
            rows = table.filter(pc.equal(table["split"], split))
            for number, start in enumerate(range(0, rows.num_rows, ROWS_PER_SHARD)):
                _write_shard(writer, f"{split}-{number:05d}.tar", rows.slice(start, ROWS_PER_SHARD))
    return exported(writer, dataset, out, "webdataset")


def _write_shard(writer: Writer, name: str, rows: pa.Table) -> None:
    names = Names()
    with (
        writer.large_file(name, rows.num_rows) as path,
        tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for row, midi in writer.pairs(rows):
            key = names.name(row["segment_id"])
            _add(tar, f"{key}.json", json.dumps(exported_row(row)).encode())
            _add(tar, f"{key}.mid", midi)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a file without owner and time, so that the same rows give the same bytes."""
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))
