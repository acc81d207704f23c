"""Plain .mid files, at most 10,000 a folder, and `manifest.csv`, in which `file_name` gives each row's file.

Of what was aligned with a score, `beats/` and `alignments/` have files of the same names.
"""

from __future__ import annotations

from pathlib import Path

from aria_data.exports.writing import MAX_FILES, CsvFile, Exported, Names, Progress, exported, new_export
from aria_data.manifest import Dataset

CSV = "manifest.csv"


def export(dataset: Dataset, out: Path | str, where: str = "", progress: Progress | None = None) -> Exported:
    """Write `midi/<number>/<segment_id>.mid` and `manifest.csv`, in the order of segment ids. See `exports.export`."""
    with (
        new_export(dataset, out, where, "folder", progress) as writer,
        writer.large_file(CSV, len(writer.selection)) as path,
        open(path, "w", encoding="utf-8", newline="") as file,
    ):
        table = CsvFile(file, writer.selection.table)
        for position, (row, midi) in enumerate(writer.pairs()):
            if position % MAX_FILES == 0:
                names = Names()
            place = f"{position // MAX_FILES:04d}/{names.name(row['segment_id'])}"
            writer.write(f"midi/{place}.mid", midi)
            table.add(f"midi/{place}.mid", row, writer.write_aligned(row, place))
    return exported(writer, dataset, out, "folder")
