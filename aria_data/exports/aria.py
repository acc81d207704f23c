"""Aria-MIDI's own layout: `metadata.json`, and `data/<2 letters>/<id>_<segment>.mid` three folders below it.

Ids are numbers, padded to six digits in file names but not in the JSON. They are assigned anew in each export;
`segments.csv`, an addition of ours, gives the segment of each file; so are `beats/` and `alignments/`, which have files
of the same names for what was aligned with a score.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from string import ascii_lowercase

import pyarrow as pa

from aria_data.exports.writing import CsvFile, Exported, Progress, exported, new_export
from aria_data.manifest import Dataset, Row

METADATA, CSV = "metadata.json", "segments.csv"
FOLDERS = [first + second for first in ascii_lowercase for second in ascii_lowercase]
ROWS_PER_FOLDER = 1_000  # more only if there are not enough folders

# All columns that `tags` reads.
TAGGED = "composer_id composer performer genre form period key catalogue catalogue_number piece_number".split()


@dataclass(frozen=True, slots=True)
class _Place:
    """A row and where it is written."""

    number: int  # the recording's id in this export
    folder: str
    row: Row

    @property
    def file_name(self) -> str:
        return f"data/{self.name}.mid"

    @property
    def name(self) -> str:
        return f"{self.folder}/{self.number:06d}_{self.row['number']}"


def export(dataset: Dataset, out: Path | str, where: str = "", progress: Progress | None = None) -> Exported:
    """Write `metadata.json`, MIDI files and `segments.csv`, ordered by recording and segment. See `exports.export`."""
    with new_export(dataset, out, where, "aria", progress) as writer:
        ordered = writer.selection.table.sort_by([("recording_id", "ascending"), ("number", "ascending")])
        num_recordings = len(ordered["recording_id"].unique())
        with (
            writer.large_file(METADATA, ordered.num_rows) as path,
            open(path, "w", encoding="ascii", newline="\n") as metadata,
        ):
            for text in _metadata(ordered, num_recordings):
                metadata.write(text)
        with writer.large_file(CSV, ordered.num_rows) as path, open(path, "w", encoding="utf-8", newline="") as file:
            table = CsvFile(file, ordered)
            places = _places(ordered)
            for (row, midi), place in zip(writer.pairs(ordered), places, strict=True):
                writer.write(place.file_name, midi)
                table.add(place.file_name, row, writer.write_aligned(row, place.name))
    return exported(writer, dataset, out, "aria")


def tags(row: Row) -> dict[str, str]:
    """A row's annotation under Aria-MIDI's names: lower case, people by surname, without what is not known."""
    found = {
        "composer": (row["composer_id"] or "").partition("_")[0] or _surname(row["composer"]),
        "performer": _surname(row["performer"]),
        "genre": row["genre"],
        "form": row["form"],
        "music_period": row["period"],
        "key_signature": row["key"],
        "opus": row["catalogue_number"] if row["catalogue"] == "op" else "",
        "piece_number": row["piece_number"],
    }
    return {name: value.lower() for name, value in found.items() if value}


def _surname(name: str | None) -> str:
    words = (name or "").split()
    return words[-1] if words else ""


def _places(ordered: pa.Table) -> Iterator[_Place]:
    """Number the recordings from 1, and fill one folder after the other; a recording's segments are in one folder."""
    capacity = max(ROWS_PER_FOLDER, -(-ordered.num_rows // (len(FOLDERS) - 1)))
    folder = used = 0
    rows = (row for batch in ordered.to_batches(max_chunksize=1000) for row in batch.to_pylist())
    for number, (_, segments) in enumerate(groupby(rows, key=lambda row: row["recording_id"]), start=1):
        if used >= capacity:
            folder, used = folder + 1, 0
        for row in segments:
            used += 1
            yield _Place(number, FOLDERS[folder], row)


def _metadata(ordered: pa.Table, num_recordings: int) -> Iterator[str]:
    """Yield one JSON object in pieces, a line a recording, so that it never has to be in memory."""
    for number, places in groupby(_places(ordered), key=lambda place: place.number):
        rows = [place.row for place in places]
        scores = {str(row["number"]): row["audio_score"] for row in rows}
        entry = json.dumps({"metadata": tags(rows[0]), "audio_scores": scores})
        yield f'{"{" if number == 1 else ""}"{number}": {entry}{"}" if number == num_recordings else ","}\n'
