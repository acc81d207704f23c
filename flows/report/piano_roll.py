"""One segment in a terminal: its facts and its notes as a piano roll of braille characters, or all of it as JSON."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from aria_data.errors import UsageError
from aria_data.manifest import Manifest, Row
from aria_data.midi import HIGHEST_PITCH, LOWEST_PITCH, SUSTAIN, Performance, read_midi
from aria_data.storage import printable

DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # of a braille character: 4 rows of 2
SHOWN = (
    "title", "composer", "performer", "composition_id", "source_url", "licence", "split", "start_s", "end_s",
    "num_notes", "note_density", "num_pedal_events", "audio_score", "transcription_confidence", "onset_agreement",
    "chroma_agreement", "in_pruned", "in_deduplicated", "in_unique", "midi_path",
)  # fmt: skip


def segment(root: Path, segment_id: str, version: int | str | None = None) -> tuple[Row, Performance]:
    """Give a segment's row and its notes. Raises `UsageError` for one that the version does not have."""
    from aria_data.manifest.dataset import read_midi_of

    rows = Manifest(root).rows_of([segment_id], version).to_pylist()
    if not rows:
        raise UsageError(
            f"{root}: has no segment {printable(segment_id, 80)}. "
            f"`aria-data query {root} --columns segment_id` lists them; `aria-data explain` knows rejected ones."
        )
    if rows[0]["removed_in"] is not None:
        raise UsageError(f"{segment_id}: was removed in version {rows[0]['removed_in']}.")
    read_midi_of(root, rows[0])  # the file is there and is the row's
    return rows[0], read_midi(root / rows[0]["midi_path"])


def as_json(row: Row, played: Performance) -> dict[str, Any]:
    """Give a row with its notes and pedal presses: times in seconds from the segment's start."""
    return {**row, "notes": [asdict(note) for note in played.notes], "pedals": [asdict(each) for each in played.pedals]}


def facts(row: Row) -> list[str]:
    """Lines that say what the manifest holds of a segment, without empty values."""
    known = {name: row[name] for name in SHOWN if row[name] not in (None, "")}
    return [
        f"{name:24s} {printable(f'{value:.6g}' if isinstance(value, float) else str(value))}"
        for name, value in known.items()
    ]


def roll(played: Performance, width: int = 100) -> list[str]:
    """Draw notes as lines of at most `width` characters: time to the right, pitch upwards, the pedal at the bottom.

    A character is two steps of time wide and four semitones high. An octave's C is named at the left.
    """
    columns = max(20, width - 6)
    step_s = max(played.end_s, 1e-6) / (2 * columns)
    lowest = min((note.pitch for note in played.notes), default=LOWEST_PITCH)
    highest = max((note.pitch for note in played.notes), default=HIGHEST_PITCH)
    top = lowest + 4 * ((highest - lowest) // 4 + 1) - 1
    lines = [[0] * columns for _ in range((top - lowest + 1) // 4)]
    for note in played.notes:
        line, dot = divmod(top - note.pitch, 4)
        _draw(lines[line], DOTS[dot], note.onset_s, note.offset_s, step_s)
    pedal = [0] * columns
    for press in played.pedals:
        if press.controller == SUSTAIN:
            _draw(pedal, (0x40, 0x80), press.onset_s, press.offset_s, step_s)
    drawn = [f"{_octave_in(top - 4 * number - 3):>4s} {_text(line)}" for number, line in enumerate(lines)]
    seconds = f"{played.end_s:.1f} s"
    return [*drawn, f" ped {_text(pedal)}", f"     0{seconds:>{columns - 1}s}"]


def _draw(line: list[int], dots: tuple[int, int], onset_s: float, offset_s: float, step_s: float) -> None:
    first, last = int(onset_s / step_s), max(int(onset_s / step_s), int(offset_s / step_s) - 1)
    for step in range(first, min(last + 1, 2 * len(line))):
        line[step // 2] |= dots[step % 2]


def _text(line: list[int]) -> str:
    return "".join(chr(0x2800 + dots) if dots else " " for dots in line).rstrip()


def _octave_in(lowest: int) -> str:
    """The name of the C among four pitches from `lowest` up, or nothing."""
    return next((f"C{pitch // 12 - 1}" for pitch in range(lowest, lowest + 4) if pitch % 12 == 0), "")
