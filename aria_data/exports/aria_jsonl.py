"""JSON lines as EleutherAI's aria reads them: `<split>.jsonl`, a line a MIDI file, its messages as dictionaries.

Times are the file's own ticks, but those of beats are seconds. The format has no pedal but the sustain pedal, so the
soft pedal is left out.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mido
import pyarrow.compute as pc

from aria_data.errors import DatasetCorrupt, MidiUnreadable
from aria_data.exports.aria import TAGGED, tags
from aria_data.exports.writing import Exported, Progress, Writer, exported, new_export, splits_of
from aria_data.manifest import Dataset, Row
from aria_data.manifest.columns import is_added
from aria_data.midi import SUSTAIN
from aria_data.storage import printable

ALIGNED = (
    "score_id score_match alignment_confidence num_bars first_bar last_bar is_complete_piece tempo_bpm_median".split()
)
JUDGED = ("composition_agrees", "proposed_composition")
KEPT = ("segment_id", "recording_id", "audio_score", "source_url", "licence")  # besides tags, subsets and weights


def export(dataset: Dataset, out: Path | str, where: str = "", progress: Progress | None = None) -> Exported:
    """Write one file a split, in the order of segment ids. See `exports.export`; also raises `MidiUnreadable`."""
    with new_export(dataset, out, where, "aria-jsonl", progress, (*KEPT, *TAGGED, *ALIGNED, *JUDGED)) as writer:
        table = writer.selection.table
        added = list(filter(is_added, table.column_names))
        for split in splits_of(table):
            rows = table.filter(pc.equal(table["split"], split))
            with (
                writer.large_file(f"{split}.jsonl", rows.num_rows) as path,
                open(path, "w", encoding="ascii", newline="\n") as file,
            ):
                for row, midi in writer.pairs(rows):
                    metadata = {**tags(row), **{name: row[name] for name in (*KEPT, *added)}, **aligned(writer, row)}
                    messages = messages_of(midi, row["segment_id"])
                    file.write(json.dumps({**messages, "metadata": metadata}, separators=(",", ":")) + "\n")
    return exported(writer, dataset, out, "aria-jsonl")


def aligned(writer: Writer, row: Row) -> dict[str, Any]:
    """What an alignment with a score says: those of its columns that are not empty, and `beats`, [seconds, b or db]."""
    found = {name: row[name] for name in (*ALIGNED, *JUDGED) if row[name] is not None}
    lines = writer.aligned(row, ("beats_path",)).get("beats_path", b"").decode("ascii", "replace").splitlines()
    fields = [line.split("\t") for line in lines]
    try:
        beats = [[float(time), label.split(",")[0]] for time, _, label in fields]
    except ValueError as error:
        raise DatasetCorrupt(f"{printable(row['beats_path'])}: has no beats. Run `aria-data align` again.") from error
    return found | ({"beats": beats} if beats else {})


def messages_of(midi: bytes, segment_id: str) -> dict[str, Any]:
    """Give a MIDI file's messages as aria's dictionary. Raises `MidiUnreadable`.

    A note that is struck again while it sounds ends there; a note that is never released ends with the file.
    """
    try:
        file = mido.MidiFile(file=io.BytesIO(midi))
    except (ValueError, EOFError, LookupError, TypeError) as error:
        raise MidiUnreadable(f"segment {printable(segment_id)}: is not a valid MIDI file ({error!r}).") from error
    found: dict[str, Any] = {f"{name}_msgs": [] for name in ("meta", "tempo", "pedal", "instrument", "note")}
    struck: dict[tuple[int, int], tuple[int, int]] = {}
    tick = 0
    for tick, message in sorted(_timed(file), key=lambda event: event[0]):
        if message.type == "set_tempo":
            found["tempo_msgs"].append({"type": "tempo", "data": message.tempo, "tick": tick})
        elif message.type == "program_change":
            found["instrument_msgs"].append(_message("instrument", message.program, tick, message.channel))
        elif message.type == "control_change" and message.control == SUSTAIN:
            found["pedal_msgs"].append(_message("pedal", int(message.value >= 64), tick, message.channel))
        elif message.type in ("note_on", "note_off"):
            key = (message.channel, message.note)
            if key in struck:
                found["note_msgs"].append(_note(key, struck.pop(key), tick))
            if message.type == "note_on" and message.velocity > 0:
                struck[key] = (tick, message.velocity)
    found["note_msgs"] += [_note(key, begun, tick) for key, begun in struck.items()]
    found["note_msgs"].sort(key=lambda note: (note["tick"], note["data"]["pitch"]))
    return {**found, "ticks_per_beat": file.ticks_per_beat}


def _timed(file: mido.MidiFile) -> Iterator[tuple[int, Any]]:
    """Yield every message with its tick, track after track. mido's own merging copies each message: 4 times slower."""
    for track in file.tracks:
        tick = 0
        for message in track:
            tick += message.time
            yield tick, message


def _message(kind: str, data: Any, tick: int, channel: int) -> dict[str, Any]:
    return {"type": kind, "data": data, "tick": tick, "channel": channel}


def _note(key: tuple[int, int], begun: tuple[int, int], end: int) -> dict[str, Any]:
    (channel, pitch), (start, velocity) = key, begun
    data = {"pitch": pitch, "start": start, "end": end, "velocity": velocity}
    return _message("note", data, start, channel)
