"""Near-identical performances found by their notes: patterns, an index of them, and a precise comparison.

A pattern is four notes one after the other in time: their pitches, how the time between them is shared, roughly how
long they take. Which note follows which is chosen by a hash of the pitches, not by order, so that a chord whose notes
come in another order, or a note more or less, changes few patterns. Of all patterns the same small share is kept in
every file (those whose hash is low), wherever the file begins. Files that share several patterns are candidates; they
are then laid over each other, note on note. No pair of files is looked at otherwise.

Nothing here decides what becomes of a copy; `deduplicate` makes clusters.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from aria_data.errors import DatasetCorrupt
from aria_data.files import write_whole

NUM_STEPS = 3  # from note to note of a pattern
MAX_STEP_NOTES = 96  # notes looked through for a step: 2 s of the densest passages of real performances
FIRST_TOLERANCES_S = (0.2, 0.1)  # of the fit, before the last one
DRIFT_NOTES = 8  # of 1, 8 and 16 neighbours, 8 told copies from other performances best
PITCHES_APART_MS = 1e11  # more than any time, so that notes of two pitches are never near
MIN_BASELINE_S = 4.0  # two anchors closer than this say too little about tempo: 20 ms of error would be 0.5 %
MAX_ANCHORS, MAX_GUESSES = 64, 160  # of the first, robust fit: at most 15,000 residuals
PATTERN_BYTES, NOTE_BYTES = 14, 5  # in the index
BATCH_NOTES = 200_000  # whose patterns are found at once: about 50 MB
SLICE_PATTERNS = 20_000_000  # looked at together by `candidates`: about 1 GB
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


@dataclass(frozen=True)
class NoteIndexConfig:
    """What counts as the same performance, and how finely it is looked for. See `benchmarks/near_duplicates.py`."""

    min_step_s: float = 0.25  # closer notes change places in another transcription, and their ratio is noise
    max_step_s: float = 2.0
    ratio_bins: int = 16  # 10 ms of error in 3 s cross a bin's edge once in ten; rubato does so every second time
    bins_per_octave: int = 2  # of a pattern's length: 3 % of tempo cross an edge once in ten
    keep_one_in: int = 4  # patterns kept; of excerpts of 20 s 2 finds 97.5 %, 4 97.5 %, 8 96.3 %
    max_transposition: int = 0  # semitones; above 0 patterns are of intervals, and so found in any key
    max_bucket: int = 16  # neighbours looked at among files with the same pattern: bounds the work per pattern
    min_shared: int = 3  # patterns that candidates share; two of them make a line, a third tests it
    min_shared_share: float = 0.06  # of the one with fewer patterns; a bad transcriber's copies share 0.07 to 0.5
    max_tempo_change: float = 0.06  # copies sold at another speed differ by 4 to 6 % (PAL film), tape by less
    onset_tolerance_s: float = 0.05  # MIREX note tracking
    min_agreement: float = 0.6  # 15 % of notes missed, 15 % added and 3 % wrong leave 0.78
    max_drift_s: float = 0.009  # copies up to 0.0080 (quantised to 50 ms, bad transcriber); others from 0.0096
    min_matched: int = 30  # notes; fewer may agree by chance
    min_coverage: float = 0.5  # of the shorter one


@dataclass(frozen=True, slots=True, eq=False)
class Notes:
    """What is kept of a performance: sorted by onset, then pitch."""

    onset_ms: np.ndarray  # uint32
    pitch: np.ndarray  # uint8

    def __len__(self) -> int:
        return len(self.onset_ms)

    @classmethod
    def of(cls, onsets_s: Sequence[float] | np.ndarray, pitches: Sequence[int] | np.ndarray) -> Notes:
        """Take notes in any order; the earliest need not be at 0. Times are kept to the millisecond."""
        onsets = np.round(np.asarray(onsets_s, float) * 1000)
        pitch = np.asarray(pitches, np.uint8)
        onset_ms = np.clip(onsets, 0, 2**32 - 1).astype(np.uint32)
        order = np.lexsort((pitch, onset_ms))
        return cls(onset_ms[order], pitch[order])


@dataclass(frozen=True, slots=True)
class Patterns:
    """The patterns of one performance that are kept, in order of time."""

    hash: np.ndarray  # uint64
    time_ms: np.ndarray  # uint32, of the pattern's first note
    fine: np.ndarray  # uint16: how its time is shared, finer than the hash says it


@dataclass(frozen=True, slots=True)
class Match:
    """How two performances lie over each other: `other's time = tempo * one's time + offset_s`."""

    offset_s: float
    tempo: float
    agreement: float  # matched notes, of those of both where they overlap, 0 to 1
    num_matched: int
    drift_s: (
        float  # how early or late stretches of `DRIFT_NOTES` notes are, root mean square: rubato adds up, jitter not
    )
    coverage: float  # the overlap's share of the notes of the one that it covers more of


NO_MATCH = Match(0.0, 1.0, 0.0, 0, 0.0, 0.0)


def is_same(match: Match, config: NoteIndexConfig) -> bool:
    """Say whether two performances that match like this are one."""
    return (
        match.agreement >= config.min_agreement
        and match.num_matched >= config.min_matched
        and match.drift_s <= config.max_drift_s
        and match.coverage >= config.min_coverage
    )


def _mix(values: np.ndarray) -> np.ndarray:
    """Scatter integers over 64 bits: the finaliser of SplitMix64 (Steele, Lea and Flood 2014)."""
    mixed = values.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def find_patterns(performances: list[Notes], config: NoteIndexConfig) -> list[Patterns]:
    """Find the patterns that are kept of each performance. All at once, because NumPy's calls cost more than notes."""
    if not performances:
        return []
    lengths = np.array([len(each) for each in performances])
    file = np.repeat(np.arange(len(performances)), lengths)
    onset = np.concatenate([each.onset_ms for each in performances]).astype(np.int64)
    pitch = np.concatenate([each.pitch for each in performances]).astype(np.int64)
    time = onset + (file << 33)  # far apart, so that no pattern reaches into the next file
    chain = [np.arange(len(time))]
    for step in range(NUM_STEPS):
        following = _next_notes(time, pitch, chain[-1], step, config)
        chain = [each[following >= 0] for each in chain]
        chain.append(following[following >= 0])
    start = chain[0]
    spans = [time[each] - time[start] for each in chain[1:]]
    hashes = _hashes([pitch[each] for each in chain], spans, config)
    is_kept = hashes < np.uint64((2**64 - 1) // config.keep_one_in)
    fine = (spans[0] / np.maximum(spans[-1], 1) * 65535).astype(np.uint16)
    start, hashes, fine = start[is_kept], hashes[is_kept], fine[is_kept]
    edges = np.searchsorted(file[start], np.arange(len(performances) + 1))
    kept = zip(edges[:-1], edges[1:], strict=True)
    time_ms = onset[start].astype(np.uint32)
    return [Patterns(hashes[low:high], time_ms[low:high], fine[low:high]) for low, high in kept]


def _next_notes(
    time: np.ndarray, pitch: np.ndarray, start: np.ndarray, step: int, config: NoteIndexConfig
) -> np.ndarray:
    """Give for each note of `start` the one, min to max step later, whose pitch hashes lowest with it; -1 for none."""
    low, high = round(config.min_step_s * 1000), round(config.max_step_s * 1000)
    return _compiled_search()(
        time, pitch, start, _ranks(step, config.max_transposition == 0), low, high, MAX_STEP_NOTES
    )


@functools.cache
def _compiled_search() -> Any:
    import numba

    try:
        return numba.njit(cache=True, nogil=True)(_search)
    except RuntimeError:  # no folder where compiled code may be kept: compile again in every process
        return numba.njit(nogil=True)(_search)


def _search(time, pitch, start, rank, low, high, max_notes):
    found = np.full(len(start), -1)
    for index in range(len(start)):
        first = start[index]
        best = np.iinfo(np.int64).max
        for later in range(first + 1, min(first + max_notes, len(time))):
            waited = time[later] - time[first]
            if waited > high:
                break
            if waited >= low and rank[pitch[first], pitch[later]] < best:
                best = rank[pitch[first], pitch[later]]
                found[index] = later
    return found


@functools.cache
def _ranks(step: int, is_pitch_absolute: bool) -> np.ndarray:
    one, other = np.meshgrid(np.arange(256), np.arange(256), indexing="ij")
    pair = one * 256 + other if is_pitch_absolute else other - one + 256
    return (_mix(pair + (step << 20)) >> np.uint64(2)).astype(np.int64)


def _hashes(pitches: list[np.ndarray], spans: list[np.ndarray], config: NoteIndexConfig) -> np.ndarray:
    whole = np.maximum(spans[-1], 1)
    length_bin = np.floor(np.log2(whole) * config.bins_per_octave).astype(np.int64)
    code = length_bin
    for span in spans[:-1]:
        code = code * config.ratio_bins + (span * config.ratio_bins) // (whole + 1)
    for pitch in pitches if config.max_transposition == 0 else [each - pitches[0] + 128 for each in pitches[1:]]:
        code = code * 256 + pitch
    return _mix(code)


def compare(one: Notes, other: Notes, config: NoteIndexConfig) -> Match:
    """Lay two performances over each other, without an index. Costs some milliseconds."""
    whole = replace(config, keep_one_in=1)
    its, others = find_patterns([one, other], whole)
    return _compare(one, other, its, others, config)


def _compare(one: Notes, other: Notes, its: Patterns, others: Patterns, config: NoteIndexConfig) -> Match:
    anchors = _anchors(its, others)
    if len(anchors) < config.min_shared:
        return NO_MATCH
    tempo, offset_ms, num_near = _guess(anchors, config)
    if num_near < config.min_shared:  # their patterns lie anywhere
        return NO_MATCH
    keys = sorted(range(-config.max_transposition, config.max_transposition + 1), key=abs)
    found = [_lay(one, Notes(other.onset_ms, other.pitch + np.int16(by)), tempo, offset_ms, config) for by in keys]
    return max(found, key=lambda match: match.num_matched)  # of several the first: in the same key


def _lay(one: Notes, other: Notes, tempo: float, offset_ms: float, config: NoteIndexConfig) -> Match:
    """Lay note on note, starting from a rough line."""
    left, right = one.onset_ms.astype(float), other.onset_ms.astype(float)
    for tolerance_s in (*FIRST_TOLERANCES_S, config.onset_tolerance_s):
        pairs = _nearest(left * tempo + offset_ms, one.pitch, right, other.pitch, tolerance_s * 1000)
        if len(pairs[0]) < 2:
            return NO_MATCH
        tempo, offset_ms = _line(left[pairs[0]], right[pairs[1]], config.max_tempo_change)
    moved = left * tempo + offset_ms
    tolerance_ms = config.onset_tolerance_s * 1000
    pairs = _nearest(moved, one.pitch, right, other.pitch, tolerance_ms)
    if not len(pairs[0]):
        return NO_MATCH
    drift_s = _drift_ms(right[pairs[1]] - moved[pairs[0]]) / 1000
    low = max(moved[0], right[0]) - tolerance_ms
    high = min(moved[-1], right[-1]) + tolerance_ms
    num_one = int(((moved >= low) & (moved <= high)).sum())
    num_other = int(((right >= low) & (right <= high)).sum())
    agreement = 2 * len(pairs[0]) / (num_one + num_other)
    coverage = max(num_one / len(one), num_other / len(other))
    return Match(offset_ms / 1000, tempo, agreement, len(pairs[0]), drift_s, coverage)


def _drift_ms(late: np.ndarray) -> float:
    """Give how early or late stretches are: two performances may stay within the tolerance, but not by chance."""
    width = min(DRIFT_NOTES, len(late))
    means = np.convolve(late, np.ones(width) / width, "valid")
    return float(np.sqrt((means**2).mean()))


def _anchors(one: Patterns, other: Patterns) -> np.ndarray:
    """Give (time here, time there) of the patterns that both have, shape (num, 2); at most `MAX_ANCHORS`, spread out.

    A pattern that occurs often says little about where; those that occur least come first.
    """
    left, right = np.argsort(one.hash, kind="stable"), np.argsort(other.hash, kind="stable")
    low = np.searchsorted(other.hash[right], one.hash[left], "left")
    high = np.searchsorted(other.hash[right], one.hash[left], "right")
    num = np.minimum(high - low, 8)
    here = np.repeat(left, num)
    step = np.arange(num.sum()) - np.repeat(np.cumsum(num) - num, num)
    there = right[np.repeat(low, num) + step] if len(right) else here
    rarest = np.argsort(np.repeat(num, num), kind="stable")[: 4 * MAX_ANCHORS]
    found = np.stack([one.time_ms[here[rarest]], other.time_ms[there[rarest]]], axis=1).astype(float)
    found = found[np.lexsort((found[:, 1], found[:, 0]))]
    return found[np.unique(np.linspace(0, len(found) - 1, MAX_ANCHORS).astype(int))] if len(found) else found


def _guess(anchors: np.ndarray, config: NoteIndexConfig) -> tuple[float, float, int]:
    """Find the line, through one or two anchors, that most of them lie near: slope, offset, how many are near."""
    here, there = anchors.T
    first, second = np.triu_indices(len(anchors), 1)
    run, rise = here[second] - here[first], there[second] - there[first]
    is_far = np.abs(run) >= MIN_BASELINE_S * 1000
    slope = rise[is_far] / run[is_far]
    is_near_1 = np.abs(slope - 1) <= config.max_tempo_change
    first, slope = first[is_far][is_near_1], slope[is_near_1]
    chosen = np.unique(np.linspace(0, len(slope) - 1, MAX_GUESSES).astype(int)) if len(slope) else np.zeros(0, int)
    slopes = np.concatenate([np.ones(len(anchors)), slope[chosen]])
    offsets = np.concatenate([there - here, there[first[chosen]] - slope[chosen] * here[first[chosen]]])
    distance = np.abs(slopes[:, None] * here + offsets[:, None] - there)
    nearness = np.maximum(0, 1 - distance / (FIRST_TOLERANCES_S[1] * 1000))  # near counts more: a repeat is near too
    best = int(nearness.sum(axis=1).argmax())
    return float(slopes[best]), float(offsets[best]), int((nearness[best] > 0).sum())


def _line(here: np.ndarray, there: np.ndarray, max_tempo_change: float) -> tuple[float, float]:
    """Fit a line by least squares, its slope kept near 1."""
    centre_here, centre_there = here.mean(), there.mean()
    spread = ((here - centre_here) ** 2).sum()
    slope = ((here - centre_here) * (there - centre_there)).sum() / spread if spread > 0 else 1.0
    slope = float(np.clip(slope, 1 - max_tempo_change, 1 + max_tempo_change))
    return slope, float(centre_there - slope * centre_here)


def _nearest(
    one: np.ndarray, its_pitch: np.ndarray, other: np.ndarray, other_pitch: np.ndarray, tolerance_ms: float
) -> tuple[np.ndarray, np.ndarray]:
    """Pair notes of one pitch that are each other's nearest, and near. Pairs of indices, as two arrays.

    Faster than `matching.match_notes`, which finds the most pairs; here a few less than the most do no harm.
    """
    here, there = one + its_pitch * PITCHES_APART_MS, other + other_pitch * PITCHES_APART_MS
    order_here, order_there = np.argsort(here), np.argsort(there)
    to_there = _nearest_in(here, there[order_there])
    to_here = _nearest_in(there, here[order_here])
    found = order_there[to_there]
    is_mutual = order_here[to_here[found]] == np.arange(len(one))
    is_near = np.abs(here - there[found]) <= tolerance_ms
    return np.flatnonzero(is_mutual & is_near), found[is_mutual & is_near]


def _nearest_in(values: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    after = np.clip(np.searchsorted(ordered, values), 1, max(1, len(ordered) - 1))
    after = np.minimum(after, len(ordered) - 1)
    before = np.maximum(after - 1, 0)
    return np.where(np.abs(ordered[before] - values) <= np.abs(ordered[after] - values), before, after)


class _Part:
    """Some performances as they lie in one Arrow table: a row each, columns as flat arrays, nothing copied."""

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
    column = table.column(name).combine_chunks()
    array = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
    return array.offsets.to_numpy(), array.values.to_numpy()


def _lists(arrays: list[np.ndarray], name: str) -> pa.Array:
    starts = np.concatenate([[0], np.cumsum([len(each) for each in arrays])]).astype(np.int32)
    return pa.ListArray.from_arrays(starts, np.concatenate(arrays), type=SCHEMA.field(name).type)


class NoteIndex:
    """Performances by id, their notes and patterns; kept in Arrow files that are mapped, not read.

    About `NOTE_BYTES` a note and `PATTERN_BYTES` for one in `keep_one_in`: 8.5 bytes a note, 17 kB for 2,000 notes.
    An id should name what it stands for (a segment and its transcription), because an id that is here stays as it is.
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
        """In the order in which they were added."""
        return list(self._place)

    @property
    def num_bytes(self) -> int:
        return sum(part.table.nbytes for part in self._parts)

    def notes(self, performance_id: str) -> Notes:
        part, row = self._place[performance_id]
        return self._parts[part].notes(row)

    def add(self, performances: Iterable[tuple[str, Notes]]) -> int:
        """Add what is not here yet; returns how many. Add many at once: each call makes a part, a file later."""
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
        """Write what is not in the folder yet, one more file for each `add`. Raises `DatasetNotWritable`."""
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
        """Map what was saved in a folder; none is an empty index. Raises `DatasetCorrupt`, also for another config."""
        index = cls(config)
        for path in sorted(folder.glob("part-*.arrow")):
            try:
                table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
                config_there = json.loads(table.schema.metadata[b"config"])
                index._take(table.cast(SCHEMA))
            except (OSError, ValueError, LookupError, TypeError, pa.ArrowException) as error:
                raise DatasetCorrupt(f"{path}: is damaged ({error!r}). Delete its folder: it is made again.") from error
            if config_there != asdict(index.config):
                raise DatasetCorrupt(f"{path}: was made with other settings. Delete its folder: it is made again.")
        index._num_saved = len(index._parts)
        return index

    def compare(self, one: str, other: str) -> Match:
        """Lay two of its performances over each other."""
        (part, row), (other_part, other_row) = self._place[one], self._place[other]
        its, others = self._parts[part].patterns(row), self._parts[other_part].patterns(other_row)
        return _compare(self.notes(one), self.notes(other), its, others, self.config)

    def matches(self, num_known: int = 0) -> Iterator[tuple[str, str, Match]]:
        """Yield the pairs that are the same performance; the first `num_known` ids are not compared among themselves.

        Where more than `max_bucket` copies of one performance are here, not every pair of them is given, but enough
        to reach each from each.
        """
        ids = self.ids
        for places in self.candidates(num_known):
            one, other = sorted(ids[place] for place in places)
            match = self.compare(one, other)
            if is_same(match, self.config):
                yield one, other, match

    def candidates(self, num_known: int = 0) -> np.ndarray:
        """Give the pairs of positions in `ids` that share patterns, shape (num, 2), sorted.

        Work grows as the number of patterns times its logarithm. Memory grows with the pairs that share any pattern,
        at most `max_bucket` for each: 6.7 GB for 100,000 files of 500 notes.
        """
        num_files = len(self)
        keys, shared, num_patterns = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], np.zeros(num_files, np.int64)
        for hashes, file, fine in self._slices():
            hashes, file = _distinct(hashes, file, fine)
            num_patterns += np.bincount(file, minlength=num_files)
            found, times = np.unique(self._neighbours(hashes, file, num_known), return_counts=True)
            keys.append(found)
            shared.append(times)
        key, place = np.unique(np.concatenate(keys), return_inverse=True)
        times = np.bincount(place, np.concatenate(shared), minlength=len(key))
        one, other = key // max(1, num_files), key % max(1, num_files)
        needed = self.config.min_shared_share * np.minimum(num_patterns[one], num_patterns[other])
        return np.stack([one, other], axis=1)[times >= np.maximum(needed, self.config.min_shared)]

    def _neighbours(self, hashes: np.ndarray, file: np.ndarray, num_known: int) -> np.ndarray:
        """Give as numbers the pairs of files that have one pattern, and lie near each other among those that do."""
        pairs = [np.zeros(0, np.int64)]
        for ahead in range(1, self.config.max_bucket + 1):
            is_shared = hashes[ahead:] == hashes[:-ahead]
            if not is_shared.any():
                break
            one, other = file[:-ahead][is_shared], file[ahead:][is_shared]
            low, high = np.minimum(one, other), np.maximum(one, other)
            pairs.append((low * len(self) + high)[high >= num_known])
        return np.concatenate(pairs)

    def _slices(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield hash, file and fine of all patterns, about `SLICE_PATTERNS` at a time, those of one hash together."""
        num_slices = 1 + sum(len(part.hash) for part in self._parts) // SLICE_PATTERNS
        width = (2**64 - 1) // self.config.keep_one_in // num_slices + (num_slices > 1)
        for number in range(num_slices if self._parts else 0):
            taken, first = [], 0
            for part in self._parts:
                place = np.flatnonzero(part.hash // np.uint64(width) == number)
                row = np.searchsorted(part.pattern_starts, place, "right") - 1
                taken.append((part.hash[place], first + row, part.fine[place]))
                first += len(part.ids)
            hashes, file, fine = (np.concatenate(column) for column in zip(*taken, strict=True))
            yield hashes, file, fine


def _distinct(hashes: np.ndarray, file: np.ndarray, fine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give hash and file sorted by hash, then fine; of equal ones in one file the first."""
    order = np.lexsort((file, hashes))
    hashes, file, fine = hashes[order], file[order], fine[order]
    is_first = np.ones(len(order), bool)
    is_first[1:] = (hashes[1:] != hashes[:-1]) | (file[1:] != file[:-1])
    hashes, file, fine = hashes[is_first], file[is_first], fine[is_first]
    order = np.lexsort((file, fine, hashes))
    return hashes[order], file[order]
