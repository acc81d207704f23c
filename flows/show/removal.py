"""What a person sees of a removal."""

from __future__ import annotations

from dataclasses import dataclass

from aria_data.manifest.tombstones import Copy
from aria_data.storage import printable

MAX_LINES = 20  # of copies that stay


@dataclass(frozen=True, slots=True)
class Removed:
    """What a removal did."""

    version: int  # the newest one; 0: nothing was ever released
    num_removed: int  # rows of the manifest, a MIDI file each
    copies: tuple[Copy, ...]


def show_removal(removed: Removed) -> None:
    """Say what was removed, and which rows stay although they hold the same."""
    if removed.num_removed:
        said = f"version {removed.version} is without them, and later builds leave them out."
        print(f"Removed {removed.num_removed} MIDI files; {said}")
    else:
        print("No MIDI file was there to remove; it is on record, and later builds and crawls leave it out.")
    for copy in removed.copies[:MAX_LINES]:
        where = printable(f"{copy.segment_id} ({copy.source_url})", 200)
        print(f"{where} stays: it has the same {copy.sameness} as {printable(copy.original, 120)}.")
    if len(removed.copies) > MAX_LINES:
        print(f"... and {len(removed.copies) - MAX_LINES:,} more stay")
    if removed.copies:
        print("Remove those by their own ids, should they go too.")
