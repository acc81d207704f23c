"""Two transcriptions side by side on one clock: which notes of one have a counterpart in the other."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from aria_data.deduplicate.note_matching import NO_MATCH, compare
from aria_data.deduplicate.note_patterns import NoteIndexConfig, Notes
from aria_data.midi import Note, Performance
from aria_data.midi.matching import match_notes


def aligned(one: Performance, other: Performance) -> dict[str, Any]:
    """Give both performances' notes and how they align, `other's time = tempo * one's time + offset_s`.

    A note is [onset_s, offset_s, pitch, velocity, whether it has a counterpart], on its own performance's clock.
    Where the two share too little to be aligned, `num_matched` is 0 and no note has a counterpart.
    """
    match = compare(_notes(one), _notes(other), NoteIndexConfig()) if one.notes and other.notes else NO_MATCH
    pairs: list[tuple[int, int]] = []
    if match.num_matched:
        moved = [_moved(note, match.tempo, match.offset_s) for note in one.notes]
        pairs = match_notes(moved, other.notes)
    lists = []
    for performance, side in ((one, 0), (other, 1)):
        has_counterpart = {pair[side] for pair in pairs}
        lists.append(
            [
                [round(note.onset_s, 4), round(note.offset_s, 4), note.pitch, note.velocity, place in has_counterpart]
                for place, note in enumerate(performance.notes)
            ]
        )
    return {"one": lists[0], "other": lists[1], "num_pairs": len(pairs), **asdict(match)}


def _notes(performance: Performance) -> Notes:
    return Notes.of([note.onset_s for note in performance.notes], [note.pitch for note in performance.notes])


def _moved(note: Note, tempo: float, offset_s: float) -> Note:
    onset_s = tempo * note.onset_s + offset_s
    return Note(onset_s, onset_s + max(tempo * (note.offset_s - note.onset_s), 1e-3), note.pitch, note.velocity)
