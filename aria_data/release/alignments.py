"""What alignments with scores say of a segment, as columns of the manifest; and that a removal takes them away.

`tables/alignments` has a row a segment (`records.SegmentAlignment`), of the notes with its `midi_sha256`. The columns
here are those of its fields that a version keeps. They are null where the notes were not aligned, or are others by now.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from aria_data.manifest.rows import is_in
from aria_data.records import SegmentAlignment
from aria_data.storage.relations import Relations
from aria_data.storage.stage_tables import RecordTable

TABLE, FOLDER = "alignments", "alignments"
OF_ALIGNED = {  # column -> the record's field, of segments that were aligned
    "score_id": "score_id", "score_match": "score_match", "alignment_confidence": "alignment_confidence",
    "num_bars": "num_bars", "first_bar": "first_bar", "last_bar": "last_bar", "is_complete_piece": "is_complete_piece",
    "tempo_bpm_median": "tempo_bpm_median", "beats_path": "beats_path", "alignment_path": "details_path",
}  # fmt: skip
OF_ALL = {  # also of those that were not: their tag may be contradicted
    "composition_agrees": "composition_agrees",
    "proposed_composition": "nullif(proposed_composition, '')",
    "composition_evidence": "nullif(evidence, '')",
}
COLUMNS = (*OF_ALIGNED, *OF_ALL)
KEY = ("segment_id", "midi_sha256")


def put_alignments(relations: Relations, root: Path) -> None:
    """Make the relation `alignments`: `KEY` and `COLUMNS` of every segment that somebody tried to align."""
    aligned = [f"CASE WHEN reason = '' THEN {field} END AS {name}" for name, field in OF_ALIGNED.items()]
    of_all = [f"{field} AS {name}" for name, field in OF_ALL.items()]
    relations.put("alignments", _table(root).reader(), ", ".join([*KEY, *aligned, *of_all]))


def alignments_of(root: Path) -> pa.Table:
    """The same as a table."""
    with Relations.open(None) as relations:
        put_alignments(relations, root)
        return relations.table("SELECT * FROM alignments ORDER BY segment_id")


def with_alignments(rows: pa.Table, alignments: pa.Table) -> pa.Table:
    """Set `COLUMNS` of a version's rows to what `alignments` say of their notes; null where they say nothing."""
    places = pc.index_in(rows["segment_id"], value_set=alignments["segment_id"])
    is_same = pc.equal(alignments["midi_sha256"].take(places), rows["midi_sha256"])
    for name in COLUMNS:
        values = pc.if_else(is_same, alignments[name].take(places), pa.scalar(None, alignments[name].type))
        rows = rows.set_column(rows.schema.get_field_index(name), name, values)
    return rows


def forget_alignments(root: Path, gone: Collection[str], recordings: Collection[str], present: pa.Table) -> None:
    """Take out the rows of removed segments, and of these recordings all files but those that present rows name.

    `present` has beats_path and alignment_path. Other numbers of a recording may hold removed music.
    """
    if not (root / FOLDER).is_dir() and not (root / "tables" / TABLE).is_dir():
        return
    table = _table(root)
    rows = table.reader().read_all()
    if pc.any(is_in(rows["segment_id"], gone), min_count=0).as_py():
        table.replace_rows(rows.filter(pc.invert(is_in(rows["segment_id"], gone))))
    files = {path.relative_to(root).as_posix(): path for path in _files_of(root, recordings)}
    named = [present[name] for name in ("beats_path", "alignment_path")]
    kept = {name for column in named for name in column.filter(is_in(column, files)).to_pylist()} if files else set()
    for name in sorted(files.keys() - kept):
        files[name].unlink(missing_ok=True)


def folder_of(recording_id: str) -> str:
    """The folder of the files of a recording's segments, below the dataset; named as that of its MIDI files."""
    return f"{FOLDER}/{hashlib.sha256(recording_id.encode()).hexdigest()[:2]}"


def _table(root: Path) -> RecordTable:
    return RecordTable(root, TABLE, SegmentAlignment)


def _files_of(root: Path, recording_ids: Collection[str]) -> Iterator[Path]:
    for folder in sorted({folder_of(name) for name in recording_ids}):
        for path in sorted((root / folder).glob("*.*")):
            if path.name.rsplit(".", 2)[0].rpartition("_")[0] in recording_ids:
                yield path
