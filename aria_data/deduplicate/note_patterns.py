"""Patterns of a performance, by which near-identical performances are looked up.

A pattern is a chain of four notes in time: their pitches, the proportions of the time between them, and roughly its
length. The next note of a chain is chosen by a hash of the pitches, not by order, so that a chord whose notes come in
another order, or a note more or less, changes few patterns. Only patterns with a low hash are kept. They are the same
ones in every file, wherever the file begins.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aria_data.deduplicate.compiled import compiled

NUM_STEPS = 3  # from note to note in a pattern
MAX_STEP_NOTES = 96  # notes searched for a step: 2 s of the densest passages of real performances


@dataclass(frozen=True)
class NoteIndexConfig:
    """What counts as the same performance, and how finely to search. Measured by `benchmarks/near_duplicates.py`."""

    min_step_s: float = 0.25  # closer notes change places in another transcription, and their ratio is noise
    max_step_s: float = 2.0
    ratio_bins: int = 16  # 10 ms of error in 3 s cross a bin's edge once in ten times; rubato does so every second time
    bins_per_octave: int = 2  # of a pattern's length: a tempo change of 3 % crosses an edge once in ten times
    keep_one_in: int = 4  # patterns; of excerpts of 20 s, 2 finds 97.5 %, 4 finds 97.5 %, 8 finds 96.3 %
    max_transposition: int = 0  # semitones; above 0, patterns hold intervals and are found in any key
    max_bucket: int = 16  # neighbours visited on either side among files with the same pattern: bounds the work
    min_shared: int = 3  # patterns that candidates share; two determine a line, a third tests it
    min_shared_share: float = (
        0.06  # of the patterns of the one with fewer; a bad transcriber's copies share 0.07 to 0.5
    )
    max_tempo_change: float = 0.06  # copies sold at another speed differ by 4 to 6 % (PAL film), tape by less
    onset_tolerance_s: float = 0.05  # MIREX note tracking
    min_agreement: float = 0.6  # 15 % of notes missed, 15 % added and 3 % wrong leave 0.78
    max_drift_s: float = 0.009  # copies up to 0.0080 (quantised to 50 ms, bad transcriber); others from 0.0096
    min_matched: int = 30  # notes; fewer may agree by chance
    min_coverage: float = 0.5  # share of notes in the overlap, of the performance where it is larger


@dataclass(frozen=True, slots=True, eq=False)
class Notes:
    """The notes of a performance as an index keeps them: sorted by onset, then pitch."""

    onset_ms: np.ndarray  # uint32
    pitch: np.ndarray  # uint8

    def __len__(self) -> int:
        return len(self.onset_ms)

    @classmethod
    def of(cls, onsets_s: Sequence[float] | np.ndarray, pitches: Sequence[int] | np.ndarray) -> Notes:
        """Take notes in any order, the earliest at any time. Onsets are rounded to milliseconds."""
        onsets = np.round(np.asarray(onsets_s, float) * 1000)
        pitch = np.asarray(pitches, np.uint8)
        onset_ms = np.clip(onsets, 0, 2**32 - 1).astype(np.uint32)
        order = np.lexsort((pitch, onset_ms))
        return cls(onset_ms[order], pitch[order])


@dataclass(frozen=True, slots=True)
class Patterns:
    """The patterns kept of one performance, in order of time."""

    hash: np.ndarray  # uint64
    time_ms: np.ndarray  # uint32, of the pattern's first note
    fine: np.ndarray  # uint16: the first step's share of the pattern's length, finer than in the hash


def _mix(values: np.ndarray) -> np.ndarray:
    """Scatter integers over 64 bits: the finaliser of SplitMix64 (Steele, Lea and Flood 2014)."""
    mixed = values.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def find_patterns(performances: list[Notes], config: NoteIndexConfig) -> list[Patterns]:
    """Find the patterns of each performance that are kept. Pass many at once: NumPy's calls cost more than notes."""
    if not performances:
        return []
    lengths = np.array([len(each) for each in performances])
    file = np.repeat(np.arange(len(performances)), lengths)
    onset = np.concatenate([each.onset_ms for each in performances]).astype(np.int64)
    pitch = np.concatenate([each.pitch for each in performances]).astype(np.int64)
    time = onset + (file << 33)  # files are far apart, so that no pattern reaches into the next
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
    """For each note of `start`, find the note `min_step_s` to `max_step_s` later whose hash is lowest; -1 for none."""
    low, high = round(config.min_step_s * 1000), round(config.max_step_s * 1000)
    rank = _ranks(step, config.max_transposition == 0)
    return _search(time, pitch, start, rank, low, high, MAX_STEP_NOTES)


@compiled
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
