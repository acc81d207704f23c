"""Remove segments, recordings or sources from a dataset for good. Later builds and crawls leave them out.

The order matters where a run is killed: the removal is recorded first, then a version with tombstones is released,
then `sweep` deletes the files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from aria_data.errors import DatasetNotFound, UsageError
from aria_data.manifest import Manifest
from aria_data.manifest.columns import arrow_schema
from aria_data.manifest.rows import is_in
from aria_data.release import Removal, Removals
from aria_data.release.older_files import SPAN
from aria_data.release.tombstones import NAMED, Known, copies_left, midi_files, named_segments, sweep, tombstones_of
from aria_data.storage import exclusive_lock
from aria_data.web.opt_outs import kind_of_entry
from flows.build.numbering import affirm
from flows.build.publish import publish_change
from flows.show.removal import Removed


def remove_items(root: Path, entries: list[str], reason: str) -> Removed:
    """Record the removals, release a version without what they name, and delete its MIDI files and fetched audio.

    An entry is the id of a segment, recording or candidate, an address, `domain:HOST` or `uploader:NAME`
    (`aria_data.web.opt_outs`). Addresses, domains and uploaders may be unknown to the dataset. An earlier removal that
    was killed is completed as well.

    Raises, before anything is changed, `UsageError` for an empty reason or an unknown id, `DatasetNotFound` where there
    is no dataset; `DatasetLocked` when a build or crawl works there.
    """
    if not reason.strip():
        raise UsageError("--reason is empty; say why, for whoever reads the history.")
    manifest = Manifest(root)
    version = manifest.version()
    if version == 0 and not (root / "tables" / "collect").is_dir():
        raise DatasetNotFound(f"{root}: holds no released dataset.")
    with exclusive_lock(root / ".lock"):
        rows = manifest.stored_columns().select([*NAMED, *SPAN[1:]]) if version else arrow_schema().empty_table()
        known = Known.read(root)
        _require_known(root, entries, rows, known)
        earlier = Removals(root).by_id()
        removals = ({entry: Removal(entry, reason, "") for entry in entries} | earlier).values()
        named = named_segments(known, rows, removals)
        gone = rows.select(NAMED).filter(is_in(rows["segment_id"], named.keys())).sort_by("segment_id").to_pylist()
        if gone:
            affirm(root, rows.select(SPAN).filter(is_in(rows["segment_id"], named.keys())).to_pylist())
        Removals(root).add(entries, reason)
        left = tuple(copies_left(known, entries, rows, gone, removals))
        del rows  # so that the rows of the next version take their place in memory
        if gone:
            version = _publish(root, named, version + 1, f"removed: {reason}")
        sweep(root, known)
    return Removed(version, len(gone), left)


def _publish(root: Path, named: Mapping[str, str], version: int, note: str) -> int:
    """Release a version in which the rows that `named` has reasons for are tombstones."""
    stored = Manifest(root).stored_columns()
    is_gone = is_in(stored["segment_id"], named.keys())
    removed_in = pc.if_else(is_gone, pa.scalar(version, pa.int64()), stored["removed_in"])
    described = stored.with_columns({"removed_in": removed_in})
    return publish_change(root, lambda rows: tombstones_of(rows, named, version), described, note, named.keys())


def _require_known(root: Path, entries: Iterable[str], rows: pa.Table, known: Known) -> None:
    names = ("segment_id", "recording_id", "source_url")
    for entry in entries:
        kind, name = kind_of_entry(entry)
        if not name:
            raise UsageError(f"{entry!r} names nothing. Write an id, an address, domain:HOST or uploader:NAME.")
        is_there = known.has(name) or any(pc.any(pc.equal(rows[each], name)).as_py() for each in names)
        if kind == "id" and not is_there and not any(midi_files(root, {name}, set())):
            raise UsageError(f"{root}: has no segment, recording or source_url {entry!r}; nothing was removed.")
