"""What a removal takes out: the rows it names, what a tombstone keeps of them, and the files that go.

Killed in between, a removal is completed by the next build or removal: a build makes the tombstones too, and sweeps.
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

NAMES = ("segment_id", "recording_id", "source_url")  # what a removal may call a row
CLUSTERS = {"recording_cluster": "recording", "notes_cluster": "notes"}  # the closest sameness first


@dataclass(frozen=True)
class Known:
    """All that a dataset ever met, in whichever version, or in none."""

    candidates: list[Candidate]  # every observation of each
    owners: Mapping[str, set[str]]  # recording_id -> candidate_ids: of files with the same bytes there are several

    @classmethod
    def read(cls, root: Path) -> Known:
        owners: dict[str, set[str]] = defaultdict(set)
        for outcome in StageTable(root, "ingest", Recording).all():
            if outcome.record is not None:
                owners[outcome.record.recording_id].add(outcome.record.candidate_id)
        return cls([outcome.record for outcome in StageTable(root, "collect", Candidate).all()], dict(owners))

    def is_row_of(self, row: Row, candidate: Candidate) -> bool:
        """Whether a row was made from a candidate's file. A tombstone is of all that had the same bytes."""
        if row["recording_id"] == candidate.candidate_id:
            return True
        owners = self.owners.get(row["recording_id"])
        if owners is None:  # the table of recordings was lost
            return row["source_url"] == candidate.source_url
        return candidate.candidate_id in owners and row["source_url"] in (None, candidate.source_url)


@dataclass(frozen=True, slots=True)
class Copy:
    """A row that stays although it holds what was removed."""

    segment_id: str
    source_url: str
    sameness: str  # "file", "recording" or "notes"
    original: str  # what was removed: a segment_id, or the source_url of a file that was set aside


def remove_rows(rows: Iterable[Row], item_ids: set[str], version: int, reason: str) -> tuple[list[Row], list[Row]]:
    """Turn the rows of removed segments or recordings into tombstones. Gives (all rows, the rows removed now).

    A tombstone keeps identity and history, and forgets what the text and the audio said.
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
    """Give what stays of a removed row."""
    stays = ("segment_id", "recording_id", "number", "source", "first_version")
    blank = {column["name"]: None for column in columns()}
    return blank | {name: row[name] for name in stays} | {"removed_in": version, "removal_reason": reason}


def named_segments(known: Known, rows: Iterable[Row], removals: Iterable[Removal]) -> dict[str, str]:
    """Give `{segment_id: reason}` for the present rows that removals name, by their own ids or their candidate's."""
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
        if said := next(filter(None, reasons), None):
            named[row["segment_id"]] = said
    return named


def sweep(root: Path, known: Known | None = None) -> int:
    """Delete what is still there of what was removed: MIDI files of all versions, fetched audio, the indexes.

    Gives how many MIDI files. Those of the newest version's rows stay: a row becomes a tombstone first.
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
    """The MIDI files of segments and of whole recordings, of whichever version."""
    of_segments = {segment_id.rpartition("_")[0] for segment_id in segment_ids}
    shelves = {hashlib.sha256(name.encode()).hexdigest()[:2] for name in of_segments | recording_ids}
    for shelf in sorted(shelves):
        for file in sorted((root / "midi" / shelf).glob("*.mid")):
            segment_id = file.name.rsplit(".", 2)[0]
            if segment_id in segment_ids or segment_id.rpartition("_")[0] in recording_ids:
                yield file


def copies_left(known: Known, entries: Iterable[str], rows: Iterable[Row], gone: Iterable[Row]) -> Iterator[Copy]:
    """The rows that stay beside the removed ones: the keeper of a file that was set aside, then other copies."""
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


def _forget_audio(root: Path, candidate_ids: Collection[str]) -> None:
    """Delete what was fetched of these candidates. A person's own recordings are never touched."""
    for outcome in StageTable(root, "download", Download).all() if candidate_ids else ():
        if outcome.item_id in candidate_ids and outcome.record is not None:
            (root / outcome.record.audio_path).unlink(missing_ok=True)
    for candidate_id in candidate_ids:
        partial = partial_path(root, candidate_id)
        if partial.parent.is_dir():
            forget(partial)
