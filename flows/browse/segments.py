"""What a page plays and draws of a span of a recording, but for its spectrogram: sound, notes, scores, bars."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from aria_data.audio.decode import AudioReader
from aria_data.manifest.dataset import is_below
from aria_data.midi import Performance
from aria_data.storage import local_audio
from aria_data.storage.delta_tables import data_files, open_delta
from aria_data.storage.files import from_location

SOUND_RATE = 22_050  # of what a browser plays: enough for a piano
MAX_SOUND_S = 3600.0  # of one answer: 150 MB
TIMES_A_S = 10_000  # of notes that are drawn; the same number is in roll.js
NOTES_GAIN = 0.6  # of what is rendered: thirty loud notes at once then stay below full scale


def recording_wav(root: Path, location: str, start_s: float, end_s: float) -> BinaryIO:
    """The sound of a span as a mono 16-bit WAV file without a name, at most `MAX_SOUND_S` of it.

    Raises `AudioUnreadable` or `AudioUnreachable`.
    """
    with AudioReader(local_audio(from_location(location, root)), SOUND_RATE, 1) as reader:
        return _wav(block[:, 0] for block in reader.blocks(start_s, min(end_s, start_s + MAX_SOUND_S)))


def notes_wav(played: Performance) -> BinaryIO:
    """Notes and pedals as a piano plays them (a small soundfont), as a mono 16-bit WAV file without a name.

    At most `MAX_SOUND_S` of it.
    """
    from classifiers.soundfont import render_blocks

    notes = [(note.onset_s, note.offset_s, note.pitch, note.velocity) for note in played.notes]
    pedals = [(each.onset_s, each.offset_s, each.controller) for each in played.pedals]
    blocks = render_blocks(notes, pedals, sample_rate=SOUND_RATE, max_s=MAX_SOUND_S)
    return _wav(block.mean(axis=1) * NOTES_GAIN for block in blocks)


def _wav(blocks: Iterable[np.ndarray]) -> BinaryIO:
    import soundfile

    out = tempfile.TemporaryFile(prefix="aria-data-browse-")  # noqa: SIM115  (the caller closes it)
    try:
        with soundfile.SoundFile(out, "w", SOUND_RATE, 1, format="WAV", subtype="PCM_16") as file:
            for block in blocks:
                file.write(np.clip(block, -1.0, 1.0))
    except BaseException:
        out.close()
        raise
    return out


def scores_of(root: Path, recording_id: str) -> dict[str, Any]:
    """The classifier's local scores along a recording: `step_s` and `values`; empty where it has none."""
    import pyarrow.dataset as pads

    opened = open_delta(root / "tables" / "classify")
    if opened is None:
        return {}
    files = data_files(root / "tables" / "classify", opened)
    found = files.to_table(columns=["record"], filter=pads.field("item_id") == recording_id).to_pylist()
    records = [row["record"] for row in found if row["record"]]
    if not records:
        return {}
    last = records[-1]
    return {"step_s": last["step_s"], "values": [round(value, 3) for value in last["local_scores"]]}


def drawn(played: Performance) -> dict[str, Any]:
    """Notes and pedals for the script that draws them: a list a field, times in ten-thousandths of a second.

    Long lists of whole numbers are written and read several times faster than a list a note.
    """
    notes, pedals = played.notes, played.pedals
    return {
        "notes": {
            "onsets": [round(note.onset_s * TIMES_A_S) for note in notes],
            "offsets": [round(note.offset_s * TIMES_A_S) for note in notes],
            "pitches": [note.pitch for note in notes],
            "velocities": [note.velocity for note in notes],
        },
        "pedals": [[round(p.onset_s, 4), round(p.offset_s, 4), p.controller] for p in pedals],
    }


def bars_of(root: Path, alignment: Mapping[str, Any]) -> list[list[float]]:
    """Where bars begin: [seconds from the segment's start, the bar's number in the score]. Empty without an alignment.

    `alignment` has the fields of `SegmentAlignment`. Where its file is away or damaged, nothing is known of bars.
    """
    from aria_data.align.alignment_files import read_downbeats

    if not is_below(alignment.get("details_path")):
        return []
    return [[round(time_s, 3), bar] for time_s, bar in read_downbeats(root / alignment["details_path"])]


def lowest_bar_of(row: Mapping[str, Any], bars: Sequence[Sequence[float]]) -> float | None:
    """When the bar begins in which two transcribers agree least, in seconds; None where that is not known.

    `bars` are those of `bars_of`. A bar that is repeated is taken where the two agree least.
    """
    try:
        values = json.loads(row.get("agreement_per_bar") or "[]")
        found = [
            (value, time_s)
            for value, (time_s, number) in zip(values, bars, strict=True)
            if value is not None and number == row.get("lowest_agreement_bar")
        ]
    except (ValueError, TypeError):  # of other notes, or of somebody else's making
        return None
    return min(found)[1] if found else None
