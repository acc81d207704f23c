"""Carry out removals: which rows they name, what a tombstone keeps of a row, which files are deleted.

A removal that was killed is completed by the next build or removal, which make tombstones and sweep as well.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.compute as pc

from aria_data.download.partial_files import forget, partial_path
from aria_data.manifest.columns import columns
from aria_data.manifest.manifest import Manifest, Row
from aria_data.manifest.rows import is_in, rows_of, table_of
from aria_data.manifest.stored_rows import StoredColumns, is_present
from aria_data.records import Candidate, Download, Recording
from aria_data.release.alignments import forget_alignments
from aria_data.release.older_files import files_with_removed
from aria_data.release.removals import Removal, Removals
from aria_data.storage import local_folder, remove_folder
from aria_data.storage.stage_tables import StageTable
from aria_data.web import OptOuts
from aria_data.web.opt_outs import may_be_named

NAMES = ("segment_id", "recording_id", "source_url")  # columns by which a removal may name a row
CLUSTERS = {"recording_cluster": "recording", "notes_cluster": "notes"}  # column -> `Copy.sameness`, the closest first


NAMED = (*NAMES, *CLUSTERS, "source", "uploader", "removed_in")  # all columns that the functions here read of rows
KEPT = ("segment_id", "recording_id", "number", "source", "first_version")  # what a tombstone keeps of a row
SWEPT = ("segment_id", "recording_id", "midi_path", "midi_sha256", "beats_path", "alignment_path")  # files to keep
SAID = ("candidate_id", "source", "location", "source_url", "uploader", "uploader_url")  # what may name a candidate


class Known:
    """All candidates and recordings that a dataset ever had, in any version or in none."""

    def __init__(self, observed: pa.Table, owned: pa.Table):
        self.observed = observed  # what may name each candidate, in each observation of it
        self._owned = owned  # recording_id and candidate_id; several if their files have the same bytes
        self._named: dict[tuple[tuple[str, str], ...], list[tuple[Candidate, str]]] = {}

    @classmethod
    def read(cls, root: Path) -> Known:
        """Read the tables of the dataset at `root`. Raises `DatasetCorrupt`."""
        ingested = StageTable(root, "ingest", Recording).fields(["recording_id", "candidate_id"])
        owned = ingested.read_all().select(["recording_id", "candidate_id"])
        schema = pa.schema([(name, pa.string()) for name in SAID])
        observed = (batch.select(SAID) for batch in StageTable(root, "collect", Candidate).columns(SAID))
        return cls(pa.Table.from_batches(observed, schema), owned)

    def owners_of(self, recording_ids: Collection[str]) -> dict[str, set[str]]:
        """The candidates that each of these recordings was read from; without those that never were."""
        owners: dict[str, set[str]] = defaultdict(set)
        found = self._owned.filter(is_in(self._owned["recording_id"], recording_ids))
        for recording_id, candidate_id in zip(*(column.to_pylist() for column in found.columns), strict=True):
            owners[recording_id].add(candidate_id)
        return dict(owners)

    def owned_by(self, candidate_ids: Collection[str]) -> set[str]:
        """The recordings that were read from any of these candidates."""
        return set(self._owned.filter(is_in(self._owned["candidate_id"], candidate_ids))["recording_id"].to_pylist())

    def has(self, name: str) -> bool:
        """Whether a candidate or recording, or the place of one, has this name."""
        places = (self.observed[column] for column in ("candidate_id", "source_url"))
        is_owned = pc.any(pc.equal(self._owned["recording_id"], name)).as_py()
        return bool(is_owned) or any(pc.any(pc.equal(place, name)).as_py() for place in places)

    def named_by(self, removals: Iterable[Removal]) -> list[tuple[Candidate, str]]:
        """Give the observations of candidates that removals name, each with the reason.

        The candidates have only what may name one; their other fields are empty.
        """
        key = tuple((removal.item_id, removal.reason) for removal in removals)
        if key not in self._named:
            opt_outs = OptOuts()
            opt_outs.add(key)
            reasons = (
                (one, opt_outs.reason_for(one))
                for one in map(_candidate_named, rows_of(maybe_named(self.observed, opt_outs)))
            )
            self._named[key] = [(one, reason) for one, reason in reasons if reason is not None]
        return self._named[key]


def maybe_named(observed: pa.Table, opt_outs: OptOuts) -> pa.Table:
    """The observations, with the columns `SAID`, that opt-outs may name. A few of them too many:
    `OptOuts.reason_for` looks at each."""
    if opt_outs.uploaders:
        return observed
    places = [is_in(observed[name], opt_outs.ids.keys()) for name in ("candidate_id", "source_url", "location")]
    for name in ("source_url", "location") if opt_outs.has_more_than_ids else ():
        places.append(may_be_named(observed[name], opt_outs))
    return observed.filter(reduce(pc.or_, places))


def is_row_of(row: Row, candidate: Candidate, owners: Mapping[str, set[str]]) -> bool:
    """Whether a row was made from a candidate's file. A tombstone is of all candidates with the same bytes."""
    if row["recording_id"] == candidate.candidate_id:
        return True
    mine = owners.get(row["recording_id"])
    if mine is None:  # the table of recordings is lost
        return row["source_url"] == candidate.source_url
    return candidate.candidate_id in mine and row["source_url"] in (None, candidate.source_url)


def _candidate_named(row: Row) -> Candidate:
    return Candidate(title="", **{name: row[name] or "" for name in SAID})  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Copy:
    """A row that stays in the manifest although it is a copy of something that was removed."""

    segment_id: str
    source_url: str
    sameness: str  # "file", "recording" or "notes": what the copy has in common
    original: str  # what was removed: a segment_id, or the source_url of a file rejected as `same_bytes`


def tombstones_of(rows: pa.Table, reasons: Mapping[str, str], version: int) -> pa.Table:
    """Give the tombstones of those rows, not removed before, that `reasons` names by segment_id."""
    is_named = pc.and_(pc.is_null(rows["removed_in"]), is_in(rows["segment_id"], reasons.keys()))
    chosen = rows_of(rows.filter(is_named).select(KEPT))
    return table_of([tombstone(row, version, reasons[row["segment_id"]]) for row in chosen])


def tombstone(row: Row, version: int, reason: str) -> Row:
    """Give the tombstone of a row: its ids, number, source and first version, and when and why it was removed.

    Nothing stays that comes from its text or audio.
    """
    blank = {column["name"]: None for column in columns()}
    return blank | {name: row[name] for name in KEPT} | {"removed_in": version, "removal_reason": reason}


def named_segments(known: Known, rows: pa.Table, removals: Iterable[Removal]) -> dict[str, str]:
    """Give `{segment_id: reason}` for the present rows that removals name, by the row's own ids or its candidate's.

    `rows` have at least the columns `NAMED`.
    """
    removals = list(removals)
    opt_outs = _opt_outs(removals)
    of_url = defaultdict(list)
    for one, why in known.named_by(removals):
        of_url[one.source_url].append((one, why))
    is_observed = pc.is_in(rows["source_url"], value_set=known.observed["source_url"])
    is_chosen = pc.and_(pc.is_null(rows["removed_in"]), _may_be_named(rows, is_observed, opt_outs, of_url))
    rows = rows.select(NAMED).append_column("is_observed", is_observed).filter(is_chosen)
    owners = known.owners_of(set(rows["recording_id"].to_pylist()))
    named: dict[str, str] = {}
    for row in rows_of(rows):
        reasons: list[str | None] = [opt_outs.ids.get(row[name]) for name in NAMES]
        if row["is_observed"]:
            reasons += [reason for one, reason in of_url.get(row["source_url"], ()) if is_row_of(row, one, owners)]
        elif opt_outs.has_more_than_ids:
            reasons.append(opt_outs.reason_for(_candidate_of(row)))
        if reason := next(filter(None, reasons), None):
            named[row["segment_id"]] = reason
    return named


def _may_be_named(
    rows: pa.Table, is_observed: pa.ChunkedArray, opt_outs: OptOuts, urls: Collection[str]
) -> pa.ChunkedArray:
    """For each row, whether a removal may name it; a few too many."""
    found = reduce(pc.or_, [is_in(rows[name], opt_outs.ids.keys()) for name in NAMES])
    found = pc.or_(found, is_in(rows["source_url"], urls))
    if not opt_outs.has_more_than_ids:
        return found
    others = pc.invert(is_observed)
    if not opt_outs.uploaders:
        others = pc.and_(others, may_be_named(rows["source_url"], opt_outs))
    return pc.or_(found, pc.fill_null(others, True))


def sweep(root: Path, known: Known | None = None) -> int:
    """Delete the files of everything removed: MIDI files of all versions, alignments, audio, indexes of notes.

    Gives the number of MIDI files deleted. Files of rows present in the newest version stay, so make tombstones first.
    """
    manifest, removals, keys = Manifest(root), Removals(root).by_id(), ["segment_id", "recording_id"]
    is_released = manifest.version() > 0
    stones = manifest.query("removed_in IS NOT NULL", columns=keys).to_pylist() if is_released else []
    if not removals and not stones:
        return 0
    present = _present(manifest) if is_released else table_of([])
    known = known or Known.read(root)
    candidate_ids = {one.candidate_id for one, _ in known.named_by(removals.values())}
    owned = known.owned_by(candidate_ids)
    segment_ids = _absent({row["segment_id"] for row in stones} | removals.keys(), present["segment_id"])
    recording_ids = _absent(removals.keys() | candidate_ids | owned, present["recording_id"])
    _forget_audio(root, candidate_ids)
    concerned = recording_ids | {segment_id.rpartition("_")[0] for segment_id in segment_ids}
    chosen = present.filter(is_in(present["recording_id"], concerned))
    rows = pa.table({name: chosen[name] for name in SWEPT})  # read one at a time: of a million rows, few are chosen
    forget_alignments(root, segment_ids, recording_ids, rows)
    files = set(midi_files(root, segment_ids, recording_ids))
    beside = midi_files(root, set(), {segment_id.rpartition("_")[0] for segment_id in segment_ids})
    files |= set(files_with_removed(root, segment_ids, beside, rows))
    if files:
        for name in ("sound", "notes", "last_build.json"):  # it holds their notes; the next build makes it again
            _delete(root / "index" / name)
    for file in sorted(files):
        file.unlink(missing_ok=True)
    return len(files)


def _present(manifest: Manifest) -> StoredColumns:
    stored = manifest.stored_columns()
    return stored.filter(is_present(stored))


def _absent(names: set[str], present: pa.ChunkedArray) -> set[str]:
    return names - set(present.filter(is_in(present, names)).to_pylist())


def midi_files(root: Path, segment_ids: set[str], recording_ids: set[str]) -> Iterator[Path]:
    """Yield the MIDI files of these segments and of these whole recordings, of all versions."""
    of_segments = {segment_id.rpartition("_")[0] for segment_id in segment_ids}
    shelves = {hashlib.sha256(name.encode()).hexdigest()[:2] for name in of_segments | recording_ids}
    for shelf in sorted(shelves):
        for file in sorted((root / "midi" / shelf).glob("*.mid")):
            segment_id = file.name.rsplit(".", 2)[0]
            if segment_id in segment_ids or segment_id.rpartition("_")[0] in recording_ids:
                yield file


def copies_left(
    known: Known, entries: Collection[str], rows: pa.Table, gone: Sequence[Row], removals: Iterable[Removal]
) -> Iterator[Copy]:
    """Yield the rows that stay although they are copies: of a removed file with the same bytes, or of a removed row.

    `entries` are the ids and addresses that were removed now, `removals` all that there are; `gone` are those of the
    `rows` that go.
    """
    opt_outs = OptOuts()
    opt_outs.add((entry, entry) for entry in entries)
    removed = (one for one, _ in known.named_by(removals))
    named = {one.candidate_id: one.source_url for one in removed if opt_outs.reason_for(one) is not None}
    owned = known.owned_by(named.keys())
    originals: dict[tuple[str, str], str] = {}
    for row in gone:
        for name in CLUSTERS:
            if row[name]:
                originals.setdefault((name, row[name]), row["segment_id"])
    may_be = [is_in(rows[name], {key for column, key in originals if column == name}) for name in CLUSTERS]
    is_copy = reduce(pc.or_, [is_in(rows["recording_id"], owned), *may_be])
    stays = pc.and_not(pc.is_null(rows["removed_in"]), is_in(rows["segment_id"], {row["segment_id"] for row in gone}))
    copies = rows.filter(pc.and_(is_copy, stays)).sort_by("segment_id")
    owners = known.owners_of(set(copies["recording_id"].to_pylist()))
    for row in rows_of(copies):
        same_file = sorted(named[key] for key in owners.get(row["recording_id"], set()) & named.keys())
        found = [("file", url) for url in same_file]
        found += [(word, originals[key]) for name, word in CLUSTERS.items() if (key := (name, row[name])) in originals]
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


def _delete(path: Path) -> None:
    if path.is_dir():
        remove_folder(path)
    else:
        path.unlink(missing_ok=True)


def _forget_audio(root: Path, candidate_ids: Collection[str]) -> None:
    """Delete the downloaded audio of these candidates. A user's own recordings are never touched."""
    for batch in StageTable(root, "download", Download).columns(["audio_path"]) if candidate_ids else ():
        for path in batch.filter(is_in(batch.column("item_id"), candidate_ids)).column("audio_path").to_pylist():
            (root / path).unlink(missing_ok=True)
    for candidate_id in candidate_ids:
        partial = partial_path(local_folder(root), candidate_id)
        if partial.parent.is_dir():
            forget(partial)
