"""The two files of an alignment: beats as ASAP writes them, and every beat and note with its place in the score.

`<name>.tsv`: a line a beat, `time, time, label` with tabs between, seconds of the MIDI file; the label is `b` or `db`,
and where they change `,3/4,-2`: time signature and number of sharps. `<name>.parquet`: a row a beat or note, see
`DETAILS`.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from aria_data.align.alignment import Alignment
from aria_data.align.beats import Beat
from aria_data.midi import Note
from aria_data.storage import local_copy, write_whole

DETAILS = pa.schema(
    [
        pa.field("kind", pa.string(), nullable=False),  # beat, matched, extra (played, not written), missing
        pa.field("time_s", pa.float64()),  # null of missing notes
        pa.field("score_quarters", pa.float64()),  # place in the score as written; null of extra notes
        pa.field("bar", pa.int32()),  # as the score counts
        pa.field("stretch", pa.int32()),  # counts up where the performance jumps
        pa.field("pitch", pa.int32()),  # null of beats
        pa.field("score_note_id", pa.string()),  # as in the score, or partitura's n0, n1, ... of a MIDI file
        pa.field("note", pa.int32()),  # the place among the MIDI file's notes, sorted by onset, release, pitch
        pa.field("is_downbeat", pa.bool_()),
        pa.field("signature", pa.string()),
        pa.field("support", pa.float64()),  # of a beat: share of the written notes around it that were matched
    ]
)


def write_alignment(folder: Path, name: str, notes: Sequence[Note], found: Alignment) -> tuple[Path, Path]:
    """Write both files, each whole or not at all; gives their paths. Raises `DatasetNotWritable`."""
    beats, details = folder / f"{name}.tsv", folder / f"{name}.parquet"
    sink = io.BytesIO()
    described = DETAILS.with_metadata({"score_id": found.score.score_id, "score_sha256": found.score.sha256})
    pq.write_table(pa.Table.from_pylist(_rows(notes, found), schema=described), sink)
    write_whole(details, sink.getvalue())
    write_whole(beats, beat_lines(found.beats).encode())
    return beats, details


def beat_lines(beats: Sequence[Beat]) -> str:
    """Beats in ASAP's layout."""
    lines, last = [], ""
    for beat in beats:
        label = "db" if beat.is_downbeat else "b"
        changed = f",{beat.signature}" if beat.signature != last else ""
        last = beat.signature
        lines.append(f"{beat.time_s:.6f}\t{beat.time_s:.6f}\t{label}{changed}\n")
    return "".join(lines)


def read_downbeats(details: Path) -> list[tuple[float, int]]:
    """Give the seconds of every downbeat with its bar's number in the score; none where the file is away or damaged."""
    try:
        beats = pq.read_table(local_copy(details), columns=["kind", "time_s", "bar", "is_downbeat"])
    except (OSError, pa.ArrowException):
        return []
    downbeats = [row for row in beats.to_pylist() if row["kind"] == "beat" and row["is_downbeat"]]
    return [(row["time_s"], row["bar"]) for row in downbeats if row["time_s"] is not None]


def _rows(notes: Sequence[Note], found: Alignment) -> list[dict[str, Any]]:
    """A row a beat, then a row a written note of the path, then a row a note that was played besides."""
    played, score, matches = sorted(notes), found.score, found.matches
    rows: list[dict[str, Any]] = [
        {
            "kind": "beat", "time_s": beat.time_s, "score_quarters": beat.score_quarters, "bar": beat.bar,
            "stretch": beat.stretch, "is_downbeat": beat.is_downbeat, "signature": beat.signature,
            "support": beat.support,
        }
        for beat in found.beats
    ]  # fmt: skip
    bars = score.bar_number[score.bar_of(score.onset)]
    for written, stretch, note in zip(matches.score_note, matches.stretch, matches.played_note, strict=True):
        is_matched = note >= 0
        rows.append(
            {
                "kind": "matched" if is_matched else "missing",
                "time_s": played[note].onset_s if is_matched else None,
                "score_quarters": float(score.onset[written]), "bar": int(bars[written]), "stretch": int(stretch),
                "pitch": int(score.pitch[written]), "score_note_id": score.note_ids[written],
                "note": int(note) if is_matched else None,
            }
        )  # fmt: skip
    used = set(matches.played_note.tolist())
    others = [(index, note) for index, note in enumerate(played) if index not in used]
    rows += [{"kind": "extra", "time_s": note.onset_s, "pitch": note.pitch, "note": index} for index, note in others]
    return rows
