"""The result of a removal, and how it is printed."""

from __future__ import annotations

from dataclasses import dataclass

from aria_data.release.tombstones import Copy
from aria_data.storage import printable

MAX_LINES = 20  # at most so many remaining copies are listed


@dataclass(frozen=True, slots=True)
class Removed:
    """What a removal did."""

    version: int  # the newest one; 0: nothing was ever released
    num_removed: int  # rows of the manifest, a MIDI file each
    copies: tuple[Copy, ...]  # rows that stay, although they have the same audio, recording or notes


def show_removal(removed: Removed) -> None:
    """Print what was removed, and which copies of it stay."""
    if removed.num_removed:
        effect = f"version {removed.version} is without them, and later builds leave them out."
        print(f"Removed {removed.num_removed} MIDI files; {effect}")
    else:
        print("No MIDI file had to be removed; the removal is recorded, and later builds and crawls leave it out.")
    for copy in removed.copies[:MAX_LINES]:
        where = printable(f"{copy.segment_id} ({copy.source_url})", 200)
        print(f"{where} stays: it has the same {copy.sameness} as {printable(copy.original, 120)}.")
    if len(removed.copies) > MAX_LINES:
        print(f"... and {len(removed.copies) - MAX_LINES:,} more stay")
    if removed.copies:
        print("To remove those as well, name their ids.")
