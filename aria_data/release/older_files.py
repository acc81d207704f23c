"""MIDI files of older versions that hold music which was removed, under whatever number it had there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from aria_data.manifest.manifest import Manifest
from aria_data.manifest.rows import is_in
from aria_data.segment.identity import NUMBERS, NumberedSpan, overlaps
from aria_data.storage.stage_tables import StageTable

SPAN = ("recording_id", "number", "start_s", "end_s")


def files_with_removed(
    root: Path, removed_ids: Collection[str], files_of: Iterable[Path], present: pa.Table
) -> Iterator[Path]:
    """Yield those of `files_of` some recordings that no row of `present` has and that hold a removed segment's span.

    `removed_ids` are segment_ids. Where other settings cut a recording otherwise, what was removed lies in files of
    other numbers as well. A file that no version names is one, if its number ever stood for some of that music.
    """
    spans = _spans(root, {segment_id.rpartition("_")[0] for segment_id in removed_ids})
    removed = {segment_id: spans[segment_id][-1] for segment_id in removed_ids if spans.get(segment_id)}
    by_recording: dict[str, list[NumberedSpan]] = defaultdict(list)
    for span in removed.values():
        by_recording[span.recording_id].append(span)
    in_use = set(present.filter(is_in(present["recording_id"], by_recording))["midi_path"].to_pylist())
    suspects = {}
    for file in files_of:
        name, segment_id = file.relative_to(root).as_posix(), file.name.rsplit(".", 2)[0]
        gone = by_recording.get(segment_id.rpartition("_")[0], ())
        if name not in in_use and any(overlaps(span, one) for span in spans.get(segment_id, ()) for one in gone):
            suspects[name] = file
    released = _released(root, suspects) if suspects else {}
    for name, file in suspects.items():
        known = released.get(name, [])
        if not known or any(overlaps(span, one) for span in known for one in by_recording[span.recording_id]):
            yield file


def numbers_with_removed(root: Path, removed_ids: Collection[str]) -> set[str]:
    """The segment_ids whose number ever stood for music of a removed segment, under any settings."""
    spans = _spans(root, {segment_id.rpartition("_")[0] for segment_id in removed_ids})
    by_recording: dict[str, list[NumberedSpan]] = defaultdict(list)
    for segment_id in removed_ids:
        for span in spans.get(segment_id, ())[-1:]:
            by_recording[span.recording_id].append(span)
    return {
        segment_id
        for segment_id, known in spans.items()
        if any(overlaps(span, one) for span in known for one in by_recording.get(span.recording_id, ()))
    }


def _spans(root: Path, recording_ids: Collection[str]) -> dict[str, list[NumberedSpan]]:
    """The spans that each number of these recordings stood for, the latest last."""
    recorded = StageTable(root, NUMBERS, NumberedSpan).of_recordings(recording_ids)
    spans: dict[str, list[NumberedSpan]] = defaultdict(list)
    for outcome in sorted(recorded, key=lambda one: one.measured or 0.0):
        spans[outcome.item_id].append(outcome.record)
    return spans


def _released(root: Path, midi_paths: Collection[str]) -> dict[str, list[NumberedSpan]]:
    """The spans that files stood for in any version."""
    manifest, found = Manifest(root), defaultdict(list)
    for version in range(1, manifest.version() + 1):
        table = manifest.query("removed_in IS NULL", version, columns=["midi_path", *SPAN])
        for row in table.filter(is_in(table["midi_path"], midi_paths)).to_pylist():
            found[row.pop("midi_path")].append(NumberedSpan(**row))
    return found
