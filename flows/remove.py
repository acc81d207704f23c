"""Take things out of a dataset for good: a tombstone now, and no way back in later, by any build or crawl."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from aria_data.errors import DatasetNotFound, UsageError
from aria_data.files import exclusive_lock
from aria_data.manifest import Manifest, Row
from aria_data.opt_outs import OptOuts, kind_of_entry
from aria_data.partials import forget, partial_path
from aria_data.records import Candidate, Download
from aria_data.release import remove_rows
from aria_data.removals import Removals
from aria_data.tables import StageTable
from flows.publish import publish


def remove_items(root: Path, entries: list[str], reason: str) -> tuple[int, int]:
    """Record the removals, release a version without what they name, delete its MIDI files and fetched audio.

    An entry is a segment's, recording's or candidate's id, an address, `domain:HOST` or `uploader:NAME` (`opt_outs`).
    Gives (version, how many MIDI files were removed). Ids that name nothing here are refused in one line, before
    anything is changed; addresses, domains and uploaders may be unknown yet. The order matters: the removal is on
    record before anything disappears.
    """
    if not reason.strip():
        raise UsageError("--reason is empty; say why, for whoever reads the history.")
    manifest = Manifest(root)
    if manifest.version() == 0 and not (root / "tables" / "collect").is_dir():
        raise DatasetNotFound(f"{root}: holds no released dataset.")
    with exclusive_lock(root / ".lock"):
        rows = manifest.rows() if manifest.version() else []
        candidates = _candidates(root)
        _require_known(root, entries, rows, candidates)
        Removals(root).add(entries, reason)
        opt_outs = OptOuts()
        opt_outs.add((entry, reason) for entry in entries)
        named = _segments_named(rows, entries, opt_outs)
        _forget_audio(root, [one.candidate_id for one in candidates if opt_outs.reason_for(one) is not None])
        rows, gone = remove_rows(rows, named, manifest.version() + 1, reason)
        if not gone:
            return manifest.version(), 0
        version, _ = publish(root, rows, f"removed: {reason}")
        for row in gone:
            (root / row["midi_path"]).unlink(missing_ok=True)
        shutil.rmtree(root / "index", ignore_errors=True)  # it holds their notes; the next build makes it again
    return version, len(gone)


def _candidates(root: Path) -> list[Candidate]:
    return [outcome.record for outcome in StageTable(root, "collect", Candidate).all()]


def _require_known(root: Path, entries: Iterable[str], rows: list[Row], candidates: list[Candidate]) -> None:
    known = {row[name] for row in rows for name in ("segment_id", "recording_id", "source_url")}
    known |= {name for candidate in candidates for name in (candidate.candidate_id, candidate.source_url)}
    for entry in entries:
        kind, name = kind_of_entry(entry)
        if not name:
            raise UsageError(f"{entry!r} names nothing. Write an id, an address, domain:HOST or uploader:NAME.")
        if kind == "id" and entry not in known:
            raise UsageError(f"{root}: has no segment, recording or source_url {entry!r}; nothing was removed.")


def _segments_named(rows: Iterable[Row], entries: list[str], opt_outs: OptOuts) -> set[str]:
    named = set()
    for row in rows:
        is_named = {row["segment_id"], row["recording_id"], row["source_url"]} & set(entries)
        if row["removed_in"] is None and (is_named or opt_outs.reason_for(_candidate_of(row)) is not None):
            named.add(row["segment_id"])
    return named


def _candidate_of(row: Row) -> Candidate:
    """As much of a row's candidate as the manifest knows."""
    url = row["source_url"] or ""
    is_address = urlsplit(url).scheme in ("http", "https")
    return Candidate(
        candidate_id=row["recording_id"],
        source=row["source"],
        location=url if is_address else "",
        source_url=url,
        title="",
        uploader=row["uploader"] or "",
    )


def _forget_audio(root: Path, candidate_ids: list[str]) -> None:
    """Delete what was fetched of these candidates. A person's own recordings are never touched."""
    wanted = set(candidate_ids)
    for outcome in StageTable(root, "download", Download).all():
        if outcome.item_id in wanted and outcome.record is not None:
            (root / outcome.record.audio_path).unlink(missing_ok=True)
    for candidate_id in wanted:
        partial = partial_path(root, candidate_id)
        if partial.parent.is_dir():
            forget(partial)
