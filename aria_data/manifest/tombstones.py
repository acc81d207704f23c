"""Carry out removals: which rows they name, what a tombstone keeps of a row, which files are deleted.

A removal that was killed is completed by the next build or removal, which make tombstones and sweep as well.
"""

from __future__ import annotations

import hashlib
import shutil
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from aria_data.download.partial_files import forget, partial_path
from aria_data.manifest.columns import columns
from aria_data.manifest.manifest import Manifest, Row
from aria_data.manifest.removals import Removal, Removals
from aria_data.records import Candidate, Download, Recording
from aria_data.storage.tables import StageTable
from aria_data.web import OptOuts

NAMES = ("segment_id", "recording_id", "source_url")  # columns by which a removal may name a row
CLUSTERS = {"recording_cluster": "recording", "notes_cluster": "notes"}  # column -> `Copy.sameness`, the closest first


@dataclass(frozen=True)
class Known:
    """All candidates and recordings that a dataset ever had, in any version or in none."""

    candidates: list[Candidate]  # every observation of each
    owners: Mapping[str, set[str]]  # recording_id -> candidate_ids; several if their files have the same bytes

    @classmethod
    def read(cls, root: Path) -> Known:
        """Read the tables of the dataset at `root`. Raises `DatasetCorrupt`."""
        owners: dict[str, set[str]] = defaultdict(set)
        for outcome in StageTable(root, "ingest", Recording).all():
            if outcome.record is not None:
                owners[outcome.record.recording_id].add(outcome.record.candidate_id)
        return cls([outcome.record for outcome in StageTable(root, "collect", Candidate).all()], dict(owners))

    def is_row_of(self, row: Row, candidate: Candidate) -> bool:
        """Whether a row was made from a candidate's file. A tombstone is of all candidates with the same bytes."""
        if row["recording_id"] == candidate.candidate_id:
            return True
        owners = self.owners.get(row["recording_id"])
        if owners is None:  # the table of recordings is lost
            return row["source_url"] == candidate.source_url
        return candidate.candidate_id in owners and row["source_url"] in (None, candidate.source_url)


@dataclass(frozen=True, slots=True)
class Copy:
    """A row that stays in the manifest although it is a copy of something that was removed."""

    segment_id: str
    source_url: str
    sameness: str  # "file", "recording" or "notes": what the copy has in common
    original: str  # what was removed: a segment_id, or the source_url of a file rejected as `same_bytes`


def remove_rows(rows: Iterable[Row], item_ids: set[str], version: int, reason: str) -> tuple[list[Row], list[Row]]:
    """Turn the present rows that `item_ids` name into tombstones. Gives (all rows, the rows that were removed now).

    A tombstone keeps a row's identity and history, and nothing that comes from its text or audio.
    """
    kept: list[Row] = []
    gone: list[Row] = []
    for row in rows:
        if row["removed_in"] is None and {row[name] for name in NAMES} & item_ids:
            gone.append(row)
            row = tombstone(row, version, reason)
        kept.append(row)
    return kept, gone


def tombstone(row: Row, version: int, reason: str) -> Row:
    """Give the tombstone of a row: its ids, number, source and first version, and when and why it was removed."""
    kept = ("segment_id", "recording_id", "number", "source", "first_version")
    blank = {column["name"]: None for column in columns()}
    return blank | {name: row[name] for name in kept} | {"removed_in": version, "removal_reason": reason}


def named_segments(known: Known, rows: Iterable[Row], removals: Iterable[Removal]) -> dict[str, str]:
    """Give `{segment_id: reason}` for the present rows that removals name, by the row's own ids or its candidate's."""
    opt_outs = _opt_outs(removals)
    of_url: dict[str, list[tuple[Candidate, str | None]]] = defaultdict(list)
    for one in known.candidates:
        of_url[one.source_url].append((one, opt_outs.reason_for(one)))
    named: dict[str, str] = {}
    for row in rows:
        if row["removed_in"] is not None:
            continue
        reasons = [opt_outs.ids.get(row[name]) for name in NAMES]
        if row["source_url"] in of_url:
            reasons += [reason for one, reason in of_url[row["source_url"]] if known.is_row_of(row, one)]
        else:
            reasons.append(opt_outs.reason_for(_candidate_of(row)))
        if reason := next(filter(None, reasons), None):
            named[row["segment_id"]] = reason
    return named


def sweep(root: Path, known: Known | None = None) -> int:
    """Delete the files of everything removed: MIDI files of all versions, downloaded audio, indexes of notes.

    Gives the number of MIDI files deleted. Files of rows present in the newest version stay, so make tombstones first.
    """
    manifest, removals, keys = Manifest(root), Removals(root).by_id(), ["segment_id", "recording_id"]
    is_released = manifest.version() > 0
    stones = manifest.query("removed_in IS NOT NULL", columns=keys).to_pylist() if is_released else []
    if not removals and not stones:
        return 0
    present = manifest.query(columns=keys).to_pydict() if is_released else dict.fromkeys(keys, ())
    known = known or Known.read(root)
    opt_outs = _opt_outs(removals.values())
    candidate_ids = {one.candidate_id for one in known.candidates if opt_outs.reason_for(one) is not None}
    owned = {recording_id for recording_id, owners in known.owners.items() if owners & candidate_ids}
    segment_ids = ({row["segment_id"] for row in stones} | removals.keys()) - set(present["segment_id"])
    recording_ids = (removals.keys() | candidate_ids | owned) - set(present["recording_id"])
    _forget_audio(root, candidate_ids)
    files = list(midi_files(root, segment_ids, recording_ids))
    if files:
        shutil.rmtree(root / "index", ignore_errors=True)  # it holds their notes; the next build makes it again
    for file in files:
        file.unlink(missing_ok=True)
    return len(files)


def midi_files(root: Path, segment_ids: set[str], recording_ids: set[str]) -> Iterator[Path]:
    """Yield the MIDI files of these segments and of these whole recordings, of all versions."""
    of_segments = {segment_id.rpartition("_")[0] for segment_id in segment_ids}
    shelves = {hashlib.sha256(name.encode()).hexdigest()[:2] for name in of_segments | recording_ids}
    for shelf in sorted(shelves):
        for file in sorted((root / "midi" / shelf).glob("*.mid")):
            segment_id = file.name.rsplit(".", 2)[0]
            if segment_id in segment_ids or segment_id.rpartition("_")[0] in recording_ids:
                yield file


def copies_left(known: Known, entries: Iterable[str], rows: Iterable[Row], gone: Iterable[Row]) -> Iterator[Copy]:
    """Yield the rows that stay although they are copies: of a removed file with the same bytes, or of a removed row.

    `entries` are the ids and addresses that were removed, `gone` the rows as they were before.
    """
    opt_outs = OptOuts()
    opt_outs.add((entry, entry) for entry in entries)
    named = {one.candidate_id: one.source_url for one in known.candidates if opt_outs.reason_for(one) is not None}
    originals: dict[tuple[str, str], str] = {}
    for row in gone:
        for name in CLUSTERS:
            if row[name]:
                originals.setdefault((name, row[name]), row["segment_id"])
    for row in rows:
        if row["removed_in"] is not None:
            continue
        same_file = sorted(named[key] for key in known.owners.get(row["recording_id"], set()) & named.keys())
        found = [("file", url) for url in same_file]
        found += [(word, originals[key]) for name, word in CLUSTERS.items() if (key := (name, row[name])) in originals]
        if found:
            yield Copy(row["segment_id"], row["source_url"], *found[0])


def _opt_outs(removals: Iterable[Removal]) -> OptOuts:
    opt_outs = OptOuts()
    opt_outs.add((removal.item_id, removal.reason) for removal in removals)
    return opt_outs


def _candidate_of(row: Row) -> Candidate:
    """Make a candidate from a row, with what the manifest knows of it."""
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


def _forget_audio(root: Path, candidate_ids: Collection[str]) -> None:
    """Delete the downloaded audio of these candidates. A user's own recordings are never touched."""
    for outcome in StageTable(root, "download", Download).all() if candidate_ids else ():
        if outcome.item_id in candidate_ids and outcome.record is not None:
            (root / outcome.record.audio_path).unlink(missing_ok=True)
    for candidate_id in candidate_ids:
        partial = partial_path(root, candidate_id)
        if partial.parent.is_dir():
            forget(partial)
