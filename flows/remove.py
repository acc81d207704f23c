"""Remove segments, recordings or sources from a dataset for good. Later builds and crawls leave them out.

The order matters where a run is killed: the removal is recorded first, then a version with tombstones is released,
then `sweep` deletes the files.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from aria_data.errors import DatasetNotFound, UsageError
from aria_data.manifest import Manifest, Removals, Row
from aria_data.manifest.tombstones import Known, copies_left, midi_files, named_segments, remove_rows, sweep
from aria_data.storage import exclusive_lock
from aria_data.web.opt_outs import kind_of_entry
from flows.build.publish import publish
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
        rows = manifest.rows() if version else []
        known = Known.read(root)
        _require_known(root, entries, rows, known)
        Removals(root).add(entries, reason)
        named = named_segments(known, rows, Removals(root).by_id().values())
        gone: list[Row] = []
        for why in sorted(set(named.values())):
            ids = {segment_id for segment_id, its_reason in named.items() if its_reason == why}
            rows, of_reason = remove_rows(rows, ids, version + 1, why)
            gone += of_reason
        if gone:
            version, _ = publish(root, rows, f"removed: {reason}")
        sweep(root, known)
    return Removed(version, len(gone), tuple(copies_left(known, entries, rows, gone)))


def _require_known(root: Path, entries: Iterable[str], rows: list[Row], known: Known) -> None:
    names = {row[name] for row in rows for name in ("segment_id", "recording_id", "source_url")}
    names |= {name for one in known.candidates for name in (one.candidate_id, one.source_url)} | known.owners.keys()
    for entry in entries:
        kind, name = kind_of_entry(entry)
        if not name:
            raise UsageError(f"{entry!r} names nothing. Write an id, an address, domain:HOST or uploader:NAME.")
        if kind == "id" and name not in names and not any(midi_files(root, {name}, set())):
            raise UsageError(f"{root}: has no segment, recording or source_url {entry!r}; nothing was removed.")
