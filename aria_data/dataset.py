"""A released dataset as trainers read it: rows, MIDI bytes, figures, samples, a torch `Dataset`. It only reads.

    dataset = aria_data.Dataset("dataset/")                       # the newest version; version=3 for another
    for row, midi in dataset.iterate("in_pruned and split = 'train'"):
        ...

A `where` is an SQL condition over the manifest's columns. Rows without a MIDI file are never paired with one: what
was removed in this version, and in an older version also what was removed since.
"""

from __future__ import annotations

import hashlib
import heapq
import operator
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from aria_data.errors import DatasetCorrupt, DatasetNotFound, UsageError
from aria_data.files import printable
from aria_data.manifest import Manifest, Row, Version, arrow_schema

if TYPE_CHECKING:
    import pandas

BATCH_ROWS = 1000  # rows held as Python values at a time
GROUPS = {  # what `stats` counts by: the name shown -> the column
    "composer": "composer",
    "period": "period",
    "genre": "genre",
    "licence": "licence",
    "source": "source",
    "split": "split",
}
SUBSETS = ("in_pruned", "in_deduplicated", "in_unique")
MEASURES = (
    "duration_s",
    "num_notes",
    "note_density",
    "pitch_entropy",
    "longest_silence_s",
    "audio_score",
    "transcription_confidence",
    "chroma_agreement",
    "onset_agreement",
    "score_likeness",
)
QUANTILES = {"min": 0.0, "p5": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95, "max": 1.0}


class Dataset:
    """One version of the dataset at `path`; the newest without a number. Raises `DatasetNotFound`."""

    def __init__(self, path: Path | str, version: int | None = None):
        self.root = Path(path)
        self._manifest = Manifest(self.root)
        if version is not None and not isinstance(version, int):
            raise UsageError(f"version: {version!r} is not a number; the versions are 1, 2, 3, ...")
        self._manifest.query("false", version, limit=0)  # says what is missing, if anything is
        self.version = self._manifest.version() if version is None else version

    def __repr__(self) -> str:
        return f"Dataset({str(self.root)!r}, version={self.version})"

    def versions(self) -> list[Version]:
        """Every release, oldest first."""
        return self._manifest.versions()

    def table(self, where: str = "", columns: Sequence[str] | None = None) -> pa.Table:
        """Select rows as an Arrow table, sorted by segment_id; removed ones only if `where` names `removed_in`.

        Raises `UsageError` for a condition that cannot be understood and for an unknown column.
        """
        names = arrow_schema().names if columns is None else list(columns)
        for name in names:
            if name not in arrow_schema().names:
                raise UsageError(f"unknown column {name!r}. Known: {', '.join(arrow_schema().names)}.")
        return self._manifest.query(where, self.version, columns=names).select(names)

    def rows(self, where: str = "", columns: Sequence[str] | None = None) -> Iterator[Row]:
        """Give rows one after the other as plain values."""
        return _rows_of(self.table(where, columns))

    def to_pandas(self, where: str = "", columns: Sequence[str] | None = None) -> pandas.DataFrame:
        """Give rows as a pandas DataFrame."""
        return self.table(where, columns).to_pandas()

    def select(self, where: str = "") -> Selection:
        """Choose rows that have a MIDI file: nothing that was removed in this version or since."""
        table = self.table(where)
        ids = table["segment_id"]
        if len(ids) > 1 and pc.any(pc.equal(ids.slice(1), ids.slice(0, len(ids) - 1))).as_py():
            raise UsageError("the query names some rows twice; it must be one condition: composer_id = 'chopin'")
        table = table.filter(pc.is_null(table["removed_in"]))
        if self._removed_since:
            gone = pa.array(sorted(self._removed_since), pa.string())
            table = table.filter(pc.invert(pc.is_in(table["segment_id"], value_set=gone)))
        return Selection(self.root, table)

    @property
    def _removed_since(self) -> dict[str, str]:
        """{segment_id: why} of all that a later version has removed; its MIDI files are deleted."""
        newest = self._manifest.version()
        if newest == self.version:
            return {}
        stones = self._manifest.query("removed_in IS NOT NULL", newest)
        return {
            row["segment_id"]: f"removed in version {row['removed_in']} ({printable(row['removal_reason'] or '')})"
            for row in _rows_of(stones.select(["segment_id", "removed_in", "removal_reason"]))
        }

    def iterate(self, where: str = "") -> Iterator[tuple[Row, bytes]]:
        """Give (row, bytes of its MIDI file), sorted by segment_id. Raises `DatasetCorrupt` for a missing file."""
        return iter(self.select(where))

    def __iter__(self) -> Iterator[tuple[Row, bytes]]:
        return self.iterate()

    def midi(self, segment_id: str) -> bytes:
        """Read one segment's MIDI file. Raises `DatasetNotFound` for an id that is not there or was removed."""
        ids = self._index["segment_id"]
        place = bisect_left(range(len(ids)), segment_id, key=lambda index: ids[index].as_py())
        if place == len(ids) or ids[place].as_py() != segment_id:
            raise DatasetNotFound(f"{self.root}: version {self.version} has no segment {printable(segment_id)!r}.")
        row = self._index.slice(place, 1).to_pylist()[0]
        reason = self._removed_since.get(segment_id)
        if row["removed_in"] is not None:
            reason = f"removed in version {row['removed_in']} ({printable(row['removal_reason'] or '')})"
        if reason is not None:
            raise DatasetNotFound(f"{self.root}: segment {segment_id} was {reason}.")
        return read_midi_of(self.root, row)

    @cached_property
    def _index(self) -> pa.Table:
        names = ["segment_id", "midi_path", "midi_sha256", "removed_in", "removal_reason"]
        return self.table("removed_in IS NULL OR true", names).combine_chunks()

    def stats(self, where: str = "") -> dict[str, Any]:
        """Count files, hours and notes, by composer, licence and so on, with distributions of the main measures."""
        table = self.table(where)
        return statistics(table.filter(pc.is_null(table["removed_in"])))

    def sample(self, n: int, seed: int = 0, where: str = "") -> list[Row]:
        """Draw `n` rows, or all where there are fewer. A larger `n` with the same seed holds the smaller sample."""
        if n < 0:
            raise UsageError(f"a sample of {n} rows cannot be drawn; ask for 0 or more.")
        table = self.select(where).table
        ids = table["segment_id"].to_pylist()
        places = heapq.nsmallest(n, range(len(ids)), key=lambda place: _lot(seed, ids[place]))
        return list(_rows_of(table.take(pa.array(places, pa.int64()))))

    def torch(self, where: str = "", load: Callable[[Row, bytes], Any] | None = None) -> Any:
        """Give a map-style `torch.utils.data.Dataset` of `load(row, midi)`; of (row, midi) without `load`.

        It can be handed to a `DataLoader` with workers of any kind, as long as `load` can.
        """
        return _torch_dataset(self.select(where), load)


class Selection:
    """Rows that were chosen, each with its MIDI file: `len`, by position, one after the other."""

    def __init__(self, root: Path, table: pa.Table):
        self.root, self.table = root, table

    def __len__(self) -> int:
        return self.table.num_rows

    def __getitem__(self, position: int) -> tuple[Row, bytes]:
        place = operator.index(position)
        place += len(self) if place < 0 else 0
        if not 0 <= place < len(self):
            raise IndexError(f"position {position} is outside of {len(self)} rows")
        row = self.table.slice(place, 1).to_pylist()[0]
        return row, read_midi_of(self.root, row)

    def __iter__(self) -> Iterator[tuple[Row, bytes]]:
        for row in _rows_of(self.table):
            yield row, read_midi_of(self.root, row)


def read_midi_of(root: Path, row: Row) -> bytes:
    """Read a row's MIDI file and compare its hash. Raises `DatasetCorrupt` in one line that names file and segment."""
    segment_id, name = printable(row["segment_id"]), row["midi_path"]
    if not _is_below(name):
        raise DatasetCorrupt(f"{root}: segment {segment_id} names {printable(str(name))!r}, no path below the dataset.")
    path = root / name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DatasetCorrupt(
            f"{path}: the MIDI file of segment {segment_id} cannot be read ({error.strerror}). "
            "Restore it from a backup, or take the segment out with `aria-data remove`."
        ) from error
    if hashlib.sha256(content).hexdigest() != row["midi_sha256"]:
        raise DatasetCorrupt(
            f"{path}: is not the MIDI file that the manifest means for segment {segment_id}: its sha256 differs. "
            "Restore it from a backup."
        )
    return content


def _is_below(name: str | None) -> bool:
    """Whether a path from a manifest stays below the dataset: a manifest may come from someone else."""
    if not name or "\0" in name:
        return False
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def _rows_of(table: pa.Table) -> Iterator[Row]:
    for batch in table.to_batches(max_chunksize=BATCH_ROWS):
        yield from batch.to_pylist()


def _lot(seed: int, segment_id: str) -> bytes:
    return hashlib.sha256(f"{seed} {segment_id}".encode()).digest()


def statistics(table: pa.Table) -> dict[str, Any]:
    """Count what manifest rows hold; plain values, ready for JSON. Groups are sorted by files, the largest first."""
    counts = _counts(table)
    counts["num_recordings"] = pc.count_distinct(table["recording_id"]).as_py()
    named = table.filter(pc.not_equal(pc.fill_null(table["composition_id"], ""), ""))
    counts["num_compositions"] = pc.count_distinct(named["composition_id"]).as_py()
    by = {name: _grouped(table, column) for name, column in GROUPS.items()}
    subsets = {name: _counts(table.filter(pc.fill_null(table[name], False))) for name in SUBSETS}
    measures = {name: _distribution(table[name]) for name in MEASURES}
    return {**counts, "by": {**by, "subset": subsets}, "measures": measures}


def _counts(table: pa.Table) -> dict[str, Any]:
    return {
        "num_files": table.num_rows,
        "hours": round((pc.sum(table["duration_s"]).as_py() or 0.0) / 3600, 6),
        "num_notes": pc.sum(table["num_notes"]).as_py() or 0,
    }


def _grouped(table: pa.Table, column: str) -> dict[str, dict[str, Any]]:
    keyed = pa.table({"key": pc.fill_null(table[column], ""), "s": table["duration_s"], "notes": table["num_notes"]})
    groups = keyed.group_by("key").aggregate([("key", "count"), ("s", "sum"), ("notes", "sum")]).to_pylist()
    return {
        group["key"]: {
            "num_files": group["key_count"],
            "hours": round((group["s_sum"] or 0.0) / 3600, 6),
            "num_notes": group["notes_sum"] or 0,
        }
        for group in sorted(groups, key=lambda group: (-group["key_count"], group["key"]))
    }


def _distribution(values: pa.ChunkedArray) -> dict[str, float | None]:
    known = values.drop_null()
    if not len(known):
        return {"num_known": 0, "mean": None, **dict.fromkeys(QUANTILES)}
    found = pc.quantile(known, q=list(QUANTILES.values())).to_pylist()
    rounded = {name: round(value, 6) for name, value in zip(QUANTILES, found, strict=True)}
    return {"num_known": len(known), "mean": round(pc.mean(known).as_py(), 6), **rounded}


def _torch_dataset(selection: Selection, load: Callable[[Row, bytes], Any] | None) -> Any:
    import torch.utils.data

    class TorchDataset(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(selection)

        def __getitem__(self, position: int) -> Any:
            row, midi = selection[position]
            return (row, midi) if load is None else load(row, midi)

        def __reduce__(self) -> Any:  # a worker that does not fork gets what it takes to make it again
            return _torch_dataset, (selection, load)

    return TorchDataset()
