"""An index of performances by patterns of their notes. It finds near-identical ones among any number.

Performances that share several patterns (`note_patterns`) are candidates (`note_pairs`); only candidates are then
aligned note by note (`note_matching`). What becomes of a copy is decided elsewhere: `clusters` makes clusters.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa

from aria_data.deduplicate.note_matching import Match, compare, compare_patterns, is_same
from aria_data.deduplicate.note_pairs import Occurrences, find_pairs
from aria_data.deduplicate.note_patterns import NoteIndexConfig, Notes, Patterns, find_patterns
from aria_data.errors import DatasetCorrupt
from aria_data.storage import local_copy, write_whole

__all__ = ["Match", "NoteIndex", "NoteIndexConfig", "Notes", "compare", "find_patterns", "is_same"]

BATCH_NOTES = 200_000  # notes whose patterns are found at once: about 50 MB
NUM_SLICES = 16  # ranges of hashes, searched one after the other to bound memory; each passes over all patterns
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("onset_ms", pa.list_(pa.uint32()), nullable=False),
        pa.field("pitch", pa.list_(pa.uint8()), nullable=False),
        pa.field("hash", pa.list_(pa.uint64()), nullable=False),
        pa.field("time_ms", pa.list_(pa.uint32()), nullable=False),
        pa.field("fine", pa.list_(pa.uint16()), nullable=False),
    ]
)


class _Part:
    """Some performances in one Arrow table, a row each. Its columns are flat arrays over the table, without a copy."""

    def __init__(self, table: pa.Table):
        self.table = table
        self.ids: list[str] = table.column("id").to_pylist()
        self.note_starts, self.onset_ms = _flat(table, "onset_ms")
        self.pitch = _flat(table, "pitch")[1]
        self.pattern_starts, self.hash = _flat(table, "hash")
        self.time_ms, self.fine = _flat(table, "time_ms")[1], _flat(table, "fine")[1]

    def notes(self, row: int) -> Notes:
        span = slice(self.note_starts[row], self.note_starts[row + 1])
        return Notes(self.onset_ms[span], self.pitch[span])

    def patterns(self, row: int) -> Patterns:
        span = slice(self.pattern_starts[row], self.pattern_starts[row + 1])
        return Patterns(self.hash[span], self.time_ms[span], self.fine[span])


def _flat(table: pa.Table, name: str) -> tuple[np.ndarray, np.ndarray]:
    column = table.column(name)
    array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()  # which copies
    return array.offsets.to_numpy(), array.values.to_numpy()


def _lists(arrays: list[np.ndarray], name: str) -> pa.Array:
    starts = np.concatenate([[0], np.cumsum([len(each) for each in arrays])]).astype(np.int32)
    return pa.ListArray.from_arrays(starts, np.concatenate(arrays), type=SCHEMA.field(name).type)


class NoteIndex:
    """Performances by id, with their notes and patterns, in Arrow files that are memory-mapped.

    A note takes 5 bytes and a pattern 14; with one pattern in four kept, that is 8.5 bytes a note, 17 kB for 2,000.
    An id should change with the notes (a segment and its transcription): adding an id that is known changes nothing.
    """

    def __init__(self, config: NoteIndexConfig | None = None):
        self.config = config or NoteIndexConfig()
        self._parts: list[_Part] = []
        self._num_saved = 0  # parts
        self._place: dict[str, tuple[int, int]] = {}  # id -> part, row

    def __len__(self) -> int:
        return len(self._place)

    def __contains__(self, performance_id: object) -> bool:
        return performance_id in self._place

    @property
    def ids(self) -> list[str]:
        """The ids, in the order in which they were added."""
        return list(self._place)

    @property
    def num_bytes(self) -> int:
        return sum(part.table.nbytes for part in self._parts)

    def notes(self, performance_id: str) -> Notes:
        part, row = self._place[performance_id]
        return self._parts[part].notes(row)

    def add(self, performances: Iterable[tuple[str, Notes]]) -> int:
        """Add the performances whose ids are new; returns how many. Add many at once: each call becomes one file."""
        batch: dict[str, Notes] = {}
        tables, num_notes, num_added = [], 0, 0
        for performance_id, notes in performances:
            if performance_id in self or performance_id in batch:
                continue
            batch[performance_id] = notes
            num_notes += len(notes)
            if num_notes >= BATCH_NOTES:
                tables.append(self._table(batch))
                self._place |= dict.fromkeys(batch, (-1, -1))
                num_added += len(batch)
                batch, num_notes = {}, 0
        if batch:
            tables.append(self._table(batch))
            num_added += len(batch)
        if tables:
            self._take(pa.concat_tables(tables).combine_chunks())
        return num_added

    def _table(self, batch: Mapping[str, Notes]) -> pa.Table:
        notes = list(batch.values())
        found = find_patterns(notes, self.config)
        columns = {
            "onset_ms": [each.onset_ms for each in notes],
            "pitch": [each.pitch for each in notes],
            "hash": [each.hash for each in found],
            "time_ms": [each.time_ms for each in found],
            "fine": [each.fine for each in found],
        }
        return pa.table([pa.array(batch), *(_lists(each, name) for name, each in columns.items())], schema=SCHEMA)

    def _take(self, table: pa.Table) -> None:
        part = _Part(table)
        self._place |= {each: (len(self._parts), row) for row, each in enumerate(part.ids)}
        self._parts.append(part)

    def save(self, folder: Path) -> None:
        """Write what was added since the last save, a file for each `add`. Raises `DatasetNotWritable`."""
        described = {"config": json.dumps(asdict(self.config), sort_keys=True)}
        for number in range(self._num_saved, len(self._parts)):
            sink = pa.BufferOutputStream()
            table = self._parts[number].table.replace_schema_metadata(described)
            with pa.ipc.new_file(sink, table.schema) as writer:
                writer.write_table(table)
            write_whole(folder / f"part-{number:05}.arrow", sink.getvalue())
            self._num_saved = number + 1

    @classmethod
    def open(cls, folder: Path, config: NoteIndexConfig | None = None) -> NoteIndex:
        """Open a saved index; an empty folder, or none, gives an empty index.

        Raises `DatasetCorrupt` for a damaged file and for one made with another config.
        """
        index = cls(config)
        for path in sorted(folder.glob("part-*.arrow")):
            try:
                table = pa.ipc.open_file(pa.memory_map(str(local_copy(path)))).read_all()
                config_there = json.loads(table.schema.metadata[b"config"])
                index._take(table.cast(SCHEMA))
            except (OSError, ValueError, LookupError, TypeError, pa.ArrowException) as error:
                raise DatasetCorrupt(f"{path}: is damaged ({error!r}). Delete its folder: it is made again.") from error
            if config_there != asdict(index.config):
                raise DatasetCorrupt(f"{path}: was made with other settings. Delete its folder: it is made again.")
        index._num_saved = len(index._parts)
        return index

    def compare(self, one: str, other: str) -> Match:
        """Align two performances of the index. Raises `KeyError` for an id that is not in it."""
        (part, row), (other_part, other_row) = self._place[one], self._place[other]
        its, others = self._parts[part].patterns(row), self._parts[other_part].patterns(other_row)
        return compare_patterns(self.notes(one), self.notes(other), its, others, self.config)

    def matches(self, num_known: int = 0) -> Iterator[tuple[str, str, Match]]:
        """Yield the pairs that are the same performance, in order of ids. The first `num_known` ids are not paired.

        They are paired with later ids only. The result does not depend on the order of additions. When one performance
        has more than `max_bucket` copies, not every pair of them is given, but enough pairs to connect them all.
        """
        ids = self.ids
        by_id = self._by_id()
        for one, other in by_id[self._pairs(by_id, num_known)]:
            match = self.compare(ids[one], ids[other])
            if is_same(match, self.config):
                yield ids[one], ids[other], match

    def candidates(self, num_known: int = 0) -> np.ndarray:
        """Give the pairs that share patterns, as positions in `ids`: shape (num, 2), sorted.

        For n patterns, time grows as n log n and memory as n, about 25 bytes a pattern.
        """
        by_id = self._by_id()
        pairs = np.sort(by_id[self._pairs(by_id, num_known)], axis=1)
        return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]

    def _by_id(self) -> np.ndarray:
        """Give the positions in `ids` that sort them."""
        ids = self.ids
        return np.array(sorted(range(len(ids)), key=ids.__getitem__), np.int64)

    def _pairs(self, by_id: np.ndarray, num_known: int) -> np.ndarray:
        """Give the pairs that share patterns, as ranks in the order of ids, so that ties do not depend on positions."""
        number = np.empty(len(by_id), np.int32)
        number[by_id] = np.arange(len(by_id))
        return find_pairs(self._slices(number), by_id >= num_known, self.config)

    def _slices(self, number: np.ndarray) -> Iterator[Occurrences]:
        """Yield the patterns of all performances in ranges of hashes. `number[position]` is a performance's number."""
        width = -(-((2**64 - 1) // self.config.keep_one_in) // NUM_SLICES)  # rounded up
        for this in range(NUM_SLICES if self._parts else 0):
            taken, first = [], 0
            for part in self._parts:
                place = np.flatnonzero(part.hash // np.uint64(width) == this)
                row = np.searchsorted(part.pattern_starts, place, "right") - 1
                taken.append((part.hash[place], part.fine[place], number[first + row]))
                first += len(part.ids)
            yield Occurrences(*(np.concatenate(column) for column in zip(*taken, strict=True)))
