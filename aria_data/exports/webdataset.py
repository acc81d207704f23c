"""Tar shards of fewer than 10,000 files, `<key>.mid` beside `<key>.json`: `<split>-00000.tar`, `<split>-00001.tar`.

What was aligned with a score has `<key>.beats.tsv` and `<key>.alignment.parquet`, too.
`README.md` says how they are read, also by several workers and ranks.
"""

from __future__ import annotations

import io
import json
import tarfile
from importlib import resources
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from aria_data.exports.writing import (
    MIN_SHARDS,
    SPLITS,
    Exported,
    Names,
    Progress,
    Writer,
    aligned_columns,
    exported,
    exported_row,
    new_export,
    shards_of,
    splits_of,
)
from aria_data.manifest import Dataset
from aria_data.manifest.card import markdown_table

ROWS_PER_SHARD = 4_999  # two files each
ROWS_WITH_FOUR = 2_499  # of rows with alignments
ENDINGS = {"beats_path": "beats.tsv", "alignment_path": "alignment.parquet"}


def export(
    dataset: Dataset,
    out: Path | str,
    where: str = "",
    progress: Progress | None = None,
    shards: int = MIN_SHARDS,
) -> Exported:
    """Write the shards of each split, at least so many, in the order of segment ids. See `exports.export`.

    A key has no dot, because readers end the key at the first dot.
    """
    with new_export(dataset, out, where, "webdataset", progress) as writer:
        table, names = writer.selection.table, Names()
        counts = dict.fromkeys(SPLITS, (0, 0))
        most = ROWS_WITH_FOUR if aligned_columns(table) else ROWS_PER_SHARD
        for split in splits_of(table):
            parts = shards_of(table.filter(pc.equal(table["split"], split)), shards, most)
            counts[split] = len(parts), sum(part.num_rows for part in parts)
            for number, rows in enumerate(parts):
                _write_shard(writer, f"{split}-{number:05d}.tar", rows, names)
        writer.write("README.md", _readme(counts).encode())
    return exported(writer, dataset, out, "webdataset")


def _readme(counts: dict[str, tuple[int, int]]) -> str:
    """How the shards are read, and how many there are: `counts` are shards and MIDI files by split."""
    template = resources.files("aria_data.exports").joinpath("webdataset.md").read_text(encoding="utf-8")
    rows = [(split, f"{shards:,}", f"{files:,}") for split, (shards, files) in counts.items()]
    return template.format(
        split=next(split for split, (shards, _) in counts.items() if shards),
        counts=markdown_table(("split", "shards", "MIDI files"), rows),
    )


def _write_shard(writer: Writer, name: str, rows: pa.Table, names: Names) -> None:
    with (
        writer.large_file(name, rows.num_rows) as path,
        tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for row, midi in writer.pairs(rows):
            key = names.name(row["segment_id"])
            _add(tar, f"{key}.json", json.dumps(exported_row(row)).encode())
            _add(tar, f"{key}.mid", midi)
            for column, content in writer.aligned(row).items():
                _add(tar, f"{key}.{ENDINGS[column]}", content)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a file without owner and time, so that the same rows give the same bytes."""
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))
