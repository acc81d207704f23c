"""What alignments with scores say of a segment, as columns of the manifest; and that a removal takes them away.

`tables/alignments` has a row a segment (`records.SegmentAlignment`), of the notes with its `midi_sha256`. The columns
here are those of its fields that a version keeps. They are null where the notes were not aligned, or are others by now.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Set
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from aria_data.manifest.rows import is_in
from aria_data.records import SegmentAlignment
from aria_data.release.older_files import numbers_with_removed
from aria_data.storage.relations import Relations
from aria_data.storage.stage_tables import RecordTable

TABLE, FOLDER = "alignments", "alignments"
OF_ALIGNED = {  # column -> the record's field, of segments that were aligned
    "score_id": "score_id", "score_match": "score_match", "alignment_confidence": "alignment_confidence",
    "num_bars": "num_bars", "first_bar": "first_bar", "last_bar": "last_bar", "is_complete_piece": "is_complete_piece",
    "tempo_bpm_median": "tempo_bpm_median", "beats_path": "beats_path", "alignment_path": "details_path",
}  # fmt: skip
OF_ALL = {  # what is said of the tag, also of segments that were not: their tag may be contradicted
    "composition_agrees": "composition_agrees",
    "proposed_composition": "nullif(proposed_composition, '')",
    "composition_evidence": "nullif(evidence, '')",
}
OF_AGREEMENT = {  # of two transcribers in the bars of the score; of those disagreements that were counted
    "agreement_per_bar": "agreement_per_bar",
    "lowest_agreement_bar": "lowest_agreement_bar",
}
COLUMNS = (*OF_ALIGNED, *OF_ALL, *OF_AGREEMENT)
KEY = ("segment_id", "midi_sha256")
JUDGED_DISAGREEMENTS = "judged_disagreements"  # the sha256 of the column `disagreements` that they were counted from
JUDGED_TAG = "judged_composition"  # the composition_id that `OF_ALL` were judged against; they say nothing of another


def put_alignments(relations: Relations, root: Path) -> None:
    """Make the relation `alignments`: `KEY`, what was judged, and `COLUMNS` of every segment that was tried."""
    aligned = [f"CASE WHEN reason = '' THEN {field} END AS {name}" for name, field in OF_ALIGNED.items()]
    others = [f"{field} AS {name}" for name, field in (OF_ALL | OF_AGREEMENT).items()]
    names = [*KEY, JUDGED_TAG, JUDGED_DISAGREEMENTS, *aligned, *others]
    relations.put("alignments", _table(root).reader(), ", ".join(names))


def alignments_of(root: Path) -> pa.Table:
    """The same as a table."""
    with Relations.open(None) as relations:
        put_alignments(relations, root)
        return relations.table("SELECT * FROM alignments ORDER BY segment_id")


def with_alignments(rows: pa.Table, alignments: pa.Table) -> pa.Table:
    """Set `COLUMNS` of a version's rows to what `alignments` say of their notes; null where they say nothing.

    Those of `OF_ALL` are null, too, where the row's tag is another than the one that was judged, those of
    `OF_AGREEMENT` where two transcribers disagree on something else by now.
    """
    places = pc.index_in(rows["segment_id"], value_set=alignments["segment_id"])
    is_same = pc.equal(alignments["midi_sha256"].take(places), rows["midi_sha256"])
    tags, judged = pc.fill_null(rows["composition_id"], ""), alignments[JUDGED_TAG].take(places)
    is_judged = pc.and_(is_same, pc.equal(pc.coalesce(judged, tags), tags))
    is_counted = pc.and_(is_same, pc.equal(_hashes(rows), alignments[JUDGED_DISAGREEMENTS].take(places)))
    holds = dict.fromkeys(OF_ALIGNED, is_same) | dict.fromkeys(OF_ALL, is_judged)
    for name in COLUMNS:
        values = pc.if_else(
            holds.get(name, is_counted), alignments[name].take(places), pa.scalar(None, alignments[name].type)
        )
        rows = rows.set_column(rows.schema.get_field_index(name), name, values)
    return rows


def hash_of(disagreements: str) -> str:
    """What `JUDGED_DISAGREEMENTS` has of a value of the column `disagreements`."""
    return hashlib.sha256(disagreements.encode()).hexdigest()


def _hashes(rows: pa.Table) -> pa.Array:
    """The hash of each row's disagreements; null where there are none."""
    if "disagreements" not in rows.column_names or rows["disagreements"].null_count == len(rows):
        return pa.nulls(len(rows), pa.string())
    return pa.array(
        [None if each is None else hash_of(each) for each in rows["disagreements"].to_pylist()], pa.string()
    )


def forget_alignments(root: Path, segment_ids: Set[str], recording_ids: Set[str], present: pa.Table) -> None:
    """Take out the rows and files of removed segments and of wholly removed recordings.

    A file that no present row names goes as well where its number ever stood for removed music. `present` has
    segment_id, midi_sha256, beats_path and alignment_path of the newest version.
    """
    if not (root / FOLDER).is_dir() and not (root / "tables" / TABLE).is_dir():
        return
    table = _table(root)
    rows = table.reader().read_all()
    is_gone = [name in segment_ids or recording_of(name) in recording_ids for name in rows["segment_id"].to_pylist()]
    left = rows.filter(pa.array([not each for each in is_gone], pa.bool_()))
    suspects = numbers_with_removed(root, segment_ids)
    files = {path.relative_to(root).as_posix(): path for path in _files_of(root, segment_ids | suspects, recording_ids)}
    kept = _in_use(left, present, files) if files else set()
    for name in sorted(files.keys() - kept):
        files[name].unlink(missing_ok=True)
    lost = files.keys() - kept
    is_lost = pc.or_(is_in(left["beats_path"], lost), is_in(left["details_path"], lost))
    table.replace_rows(left.filter(pc.invert(is_lost)))


def _in_use(rows: pa.Table, present: pa.Table, files: Collection[str]) -> set[str]:
    """Those of the files that present rows name, or rows of the table that are of the notes of present ones."""
    ids = present.filter(is_in(present["segment_id"], set(rows["segment_id"].to_pylist())))
    notes = dict(zip(ids["segment_id"].to_pylist(), ids["midi_sha256"].to_pylist(), strict=True))
    pairs = zip(rows["segment_id"].to_pylist(), rows["midi_sha256"].to_pylist(), strict=True)
    now = rows.filter(pa.array([notes.get(name) == sha256 for name, sha256 in pairs], pa.bool_()))
    named = [present["beats_path"], present["alignment_path"], now["beats_path"], now["details_path"]]
    return {name for column in named for name in column.filter(is_in(column, files)).to_pylist()}


def recording_of(segment_id: str) -> str:
    """The recording that a segment's id names, "" where it is no segment's: `a-b_c_0` is of `a-b_c`."""
    recording_id, _, number = segment_id.rpartition("_")
    return recording_id if number.isdecimal() else ""


def folder_of(recording_id: str) -> str:
    """The folder of the files of a recording's segments, below the dataset; named as that of its MIDI files."""
    return f"{FOLDER}/{hashlib.sha256(recording_id.encode()).hexdigest()[:2]}"


def _table(root: Path) -> RecordTable:
    return RecordTable(root, TABLE, SegmentAlignment)


def _files_of(root: Path, segment_ids: Collection[str], recording_ids: Collection[str]) -> Iterator[Path]:
    """The files of these segments and of these whole recordings."""
    of_segments = {recording_of(name) for name in segment_ids} - {""}
    for folder in sorted({folder_of(name) for name in (*of_segments, *recording_ids)}):
        for path in sorted((root / folder).glob("*.*")):
            segment_id = path.name.rsplit(".", 2)[0]
            if segment_id in segment_ids or recording_of(segment_id) in recording_ids:
                yield path
