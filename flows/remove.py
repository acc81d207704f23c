"""Take segments or recordings out of a dataset for good: a tombstone now, and no way back in later."""

from __future__ import annotations

from pathlib import Path

from aria_data.errors import DatasetNotFound, UsageError
from aria_data.files import exclusive_lock
from aria_data.manifest import Manifest
from aria_data.release import remove_rows
from aria_data.removals import Removals


def remove_items(root: Path, item_ids: list[str], reason: str) -> tuple[int, int]:
    """Record the removals, release a version without the items, delete their MIDI files.

    Gives (version, how many MIDI files were removed). Ids that name nothing here are refused in one line,
    before anything is changed. The order matters: the removal is on record before anything disappears.
    """
    if not reason.strip():
        raise UsageError("--reason is empty; say why, for whoever reads the history.")
    manifest = Manifest(root)
    if manifest.version() == 0:
        raise DatasetNotFound(f"{root}: holds no released dataset.")
    with exclusive_lock(root / ".lock"):
        rows = manifest.rows()
        known = {row[name] for row in rows for name in ("segment_id", "recording_id", "source_url")}
        unknown = [item_id for item_id in item_ids if item_id not in known]
        if unknown:
            raise UsageError(f"{root}: has no segment, recording or source_url {unknown[0]!r}; nothing was removed.")
        Removals(root).add(item_ids, reason)
        version = manifest.version() + 1
        rows, gone = remove_rows(rows, set(item_ids), version, reason)
        if not gone:
            return manifest.version(), 0
        version = manifest.commit(rows, note=f"removed: {reason}")
        for row in gone:
            (root / row["midi_path"]).unlink(missing_ok=True)
    return version, len(gone)
