"""The rows of a version in a file that is mapped into memory, so that any of a million is found at once.

The file has no name any more when it is read: it goes with the process. What a filter needs of each row lies in arrays;
other columns are read from the file where they are needed, and `release` gives back the memory that this took. A row's
number is its place in the file.
"""

from __future__ import annotations

import itertools
import mmap
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from aria_data.errors import UsageError
from aria_data.storage.delta_tables import lean
from flows.browse.filters import FACETS, MEASURES, Range

NUM_BINS = 40  # of a histogram
NOWHERE = NUM_BINS  # the bin of a row without a value
NUMBER, SEARCHED = "row of this view", "text of this view"  # columns of ours; no column of a manifest has a space
SEARCHED_COLUMNS = ("segment_id", "title", "composer", "performer", "source_url", "composition_id")
MAX_VALUES = 200  # of a facet, in its list


class Held:
    """The rows of `files` that are not removed, with the columns `names`."""

    def __init__(self, files: pads.Dataset, names: Sequence[str]):
        self._map = _mapped(_batches(files, names))
        self.table = pa.ipc.open_file(pa.py_buffer(self._map)).read_all()
        self._batches = self.table.to_batches()
        self._starts = np.cumsum([0, *map(len, self._batches)])
        self.values = {name: _floats(self.table[name]) for name in MEASURES}
        self.bounds = {name: _bounds(values) for name, values in self.values.items()}
        self.bins = {name: _bins(values, *self.bounds[name]) for name, values in self.values.items()}
        self.facets = {name: _commonest(self.table[name]) for name in FACETS}
        self.release()

    def release(self) -> None:
        """Give back the memory that the file's pages take in this process. The system keeps those that it has room for.

        A million rows are 0.8 GB on disk, and a question reads some columns of them. Reading them again costs little.
        """
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)

    def __len__(self) -> int:
        return self.table.num_rows

    def matching(self, text: str, facets: Mapping[str, str]) -> np.ndarray:
        """Whether each row has the text in its searched columns, in any case, and the values of the facets."""
        found = np.ones(len(self), bool)
        if text:
            found &= _booleans(pc.match_substring(self.table[SEARCHED], pc.utf8_lower(pa.scalar(text)).as_py()))
        for name, value in facets.items():
            found &= _booleans(pc.equal(self.table[name], pa.scalar(value, pa.string())))
        return found

    def within(self, ranges: Mapping[str, Range]) -> np.ndarray:
        """Whether each row's measures are in these ranges; a row without a value is in none."""
        found = np.ones(len(self), bool)
        for name, (least, most) in ranges.items():
            values = self.values[name]
            found &= (values >= (-np.inf if least is None else least)) & (values <= (np.inf if most is None else most))
        return found

    def histogram(self, name: str, chosen: np.ndarray) -> list[tuple[float, float, int]]:
        """How many of the chosen rows are in each bin: from, to, count."""
        counts = np.bincount(self.bins[name][chosen], minlength=NUM_BINS + 1)
        low, high = self.bounds[name]
        step = (high - low) / NUM_BINS
        return [(low + place * step, low + (place + 1) * step, int(counts[place])) for place in range(NUM_BINS)]

    def hours(self, chosen: np.ndarray) -> float:
        return float(np.nansum(self.values["duration_s"][chosen])) / 3600

    def rows(self, numbers: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
        """Columns of the rows with these numbers, in their order. Only their batches of the file are read."""
        found: dict[int, dict[str, Any]] = {}
        places = np.searchsorted(self._starts, numbers, side="right") - 1
        for place in np.unique(places):
            here = numbers[places == place]
            taken = self._batches[place].select(list(names)).take(pa.array(here - self._starts[place], pa.int64()))
            found |= zip(here.tolist(), taken.to_pylist(), strict=True)
        return [found[number] for number in numbers.tolist()]

    def equal(self, name: str, value: str) -> np.ndarray:
        """The numbers of the rows that have this text in a column."""
        return np.flatnonzero(_booleans(pc.equal(self.table[name], pa.scalar(value, pa.string()))))

    def numbers_of(self, segment_ids: Sequence[str]) -> np.ndarray:
        """The numbers of the rows with these ids, as far as they are here, in no particular order."""
        wanted = pa.array(segment_ids, pa.string())
        return np.flatnonzero(_booleans(pc.is_in(self.table["segment_id"], value_set=wanted)))


def _batches(files: pads.Dataset, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    start = 0
    for batch in files.to_batches(columns=names, filter=pads.field("removed_in").is_null(), **lean()):
        if not len(batch):
            continue
        numbers = pa.array(np.arange(start, start + len(batch), dtype=np.int32))
        texts = [pc.utf8_lower(batch.column(name)) for name in SEARCHED_COLUMNS]
        searched = pc.binary_join_element_wise(*texts, "\n", null_handling="replace")
        yield batch.append_column(NUMBER, numbers).append_column(SEARCHED, searched)
        start += len(batch)
        pa.default_memory_pool().release_unused()
    if not start:
        schema = pa.schema([files.schema.field(name) for name in names])
        empty = schema.append(pa.field(NUMBER, pa.int32())).append(pa.field(SEARCHED, pa.string()))
        yield pa.RecordBatch.from_pylist([], empty)


def _mapped(batches: Iterator[pa.RecordBatch]) -> mmap.mmap:
    """Write the batches into a file of the system's folder for such, map it, and take its name away."""
    path = Path(tempfile.gettempdir())
    try:
        with tempfile.NamedTemporaryFile(prefix="aria-data-browse-", suffix=".arrow") as file:
            path = Path(file.name)
            first = next(batches)
            with pa.ipc.new_file(file, first.schema) as out:
                for batch in itertools.chain([first], batches):
                    out.write_batch(batch)
            file.flush()
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error}). Name a folder with room: TMPDIR=/a/folder.") from error


def _floats(column: pa.ChunkedArray) -> np.ndarray:
    return column.cast(pa.float64()).to_numpy(zero_copy_only=False)


def _booleans(column: pa.ChunkedArray) -> np.ndarray:
    return pc.fill_null(column, False).to_numpy(zero_copy_only=False)


def _bounds(values: np.ndarray) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    if not len(known):
        return 0.0, 1.0
    low, high = float(known.min()), float(known.max())
    return low, high if high > low else low + 1.0


def _bins(values: np.ndarray, low: float, high: float) -> np.ndarray:
    places = np.full(len(values), NOWHERE, np.uint8)
    known = np.isfinite(values)
    places[known] = np.clip((values[known] - low) / (high - low) * NUM_BINS, 0, NUM_BINS - 1)
    return places


def _commonest(column: pa.ChunkedArray) -> list[str]:
    counts = [(each["counts"], each["values"]) for each in pc.value_counts(column).to_pylist() if each["values"]]
    return [value for _, value in sorted(counts, key=lambda each: (-each[0], each[1]))[:MAX_VALUES]]
