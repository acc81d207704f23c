"""A recording's acoustic fingerprint: its most marked onsets, as notes, so that `note_index` can find and compare them.

Where the energy of a semitone rises more than anything within a second around it, there is an onset. About three a
second are kept: not what a transcriber hears, but the same few in the same recording after another codec, at another
level, cut at its ends, a little faster, in noise. Times are kept to 8 ms: `to_bytes` needs 2 bytes an onset.

A recording that plays 1 % faster is 17 cents sharper; pitches are therefore counted from the recording's own tuning,
and compared a semitone up and down as well. What is copied in a key further away is another recording.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from aria_data.deduplicate.note_patterns import NoteIndexConfig, Notes

SAMPLE_RATE = 16_000
FRAME, HOP = 4096, 512  # 256 ms, so that semitones above G2 fall apart; every 32 ms
LOWEST_HZ, HIGHEST_HZ = 146.83, 2637.0  # D3 to E7: below, semitones are narrower than the frame can tell
BANDS_PER_SEMITONE = 3
RISE_FRAMES = 3  # an onset's energy is compared with that 96 ms before
NEAR_FRAMES, NEAR_BANDS = 4, 4  # an onset is the highest within 128 ms and a third more than a semitone
RANK_FRAMES = 31  # 1 s to both sides, in which ...
MAX_RANK = 6  # ... so many onsets may be: about three a second
MIN_RISE = 0.01  # of the recording's strongest: silence has no onsets
CHUNK_FRAMES = 1000  # 32 s at a time
UNIT_MS = 8
LONGEST_GAP = 255  # units; a longer one is written in several steps

CONFIG = NoteIndexConfig(
    keep_one_in=1,  # onsets are few
    max_transposition=1,  # a recording between two keys may be counted to either
    onset_tolerance_s=0.06,  # two frames
    min_agreement=0.6,  # copies measured 0.84 and more, other performances up to 0.52
    max_drift_s=0.008,  # copies measured up to 0.0026, other performances from 0.015
    max_tempo_change=0.02,
)


@dataclass(frozen=True, slots=True)
class _Onsets:
    frame: np.ndarray  # float: between two frames
    pitch: np.ndarray  # float: MIDI pitch, not yet brought to the recording's tuning
    rise: np.ndarray


def fingerprint(blocks: Iterable[np.ndarray]) -> Notes:
    """Hear a recording given as mono float32 blocks at 16 kHz. Memory does not grow but by its onsets."""
    found = [_strongest(*piece) for piece in _rises(blocks)]
    frame = np.concatenate([np.zeros(0), *(each.frame for each in found)])
    pitch = np.concatenate([np.zeros(0), *(each.pitch for each in found)])
    rise = np.concatenate([np.zeros(0), *(each.rise for each in found)])
    is_heard = rise > MIN_RISE * rise.max(initial=1e-9)
    frame, pitch, rise = frame[is_heard], pitch[is_heard], rise[is_heard]
    tuned = np.clip(np.round(pitch - _tuning(pitch, rise)), 0, 127)
    units = np.round(frame * HOP / SAMPLE_RATE * 1000 / UNIT_MS) * UNIT_MS
    return Notes.of(units / 1000, tuned)


def to_bytes(found: Notes) -> bytes:
    """Write a fingerprint as pairs of bytes: 8 ms steps since the onset before, pitch (0: only time passes)."""
    steps = np.diff(found.onset_ms.astype(np.int64) // UNIT_MS, prepend=0)
    num_gaps = steps // LONGEST_GAP
    pairs = np.zeros((len(steps) + num_gaps.sum(), 2), np.uint8)
    pairs[:, 0] = LONGEST_GAP
    place = np.arange(len(steps)) + np.cumsum(num_gaps)
    pairs[place, 0], pairs[place, 1] = steps % LONGEST_GAP, found.pitch
    return pairs.tobytes()


def from_bytes(content: bytes) -> Notes:
    """Read what `to_bytes` wrote."""
    pairs = np.frombuffer(content, np.uint8).reshape(-1, 2)
    onset_ms = (np.cumsum(pairs[:, 0].astype(np.int64)) * UNIT_MS).astype(np.uint32)
    is_onset = pairs[:, 1] > 0
    return Notes(onset_ms[is_onset], pairs[is_onset, 1])


def _tuning(pitch: np.ndarray, rise: np.ndarray) -> float:
    """Give how far the onsets lie from whole semitones, in the mean on the circle of one, -0.5 to 0.5."""
    mean = (rise * np.exp(2j * np.pi * pitch)).sum()
    return float(np.angle(mean) / (2 * np.pi)) if len(pitch) else 0.0


def _rises(blocks: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, int, int, int]]:
    """Yield (rise of each band and frame, number of its first frame, the frames in it whose onsets count).

    Neighbouring pieces overlap, so that each onset is judged with all that is around it.
    """
    margin = RANK_FRAMES + NEAR_FRAMES + RISE_FRAMES
    held, first, counted = np.zeros((len(_filters()), 0), np.float32), 0, 0
    for bands in _bands(blocks):
        held = np.concatenate([held, bands], axis=1)
        until = first + held.shape[1] - margin
        if until - counted < CHUNK_FRAMES:
            continue
        yield _rise(held), first, counted, until
        drop = max(0, until - margin - first)
        held, first, counted = held[:, drop:], first + drop, until
    if held.shape[1]:
        yield _rise(held), first, counted, first + held.shape[1]


def _rise(bands: np.ndarray) -> np.ndarray:
    rise = np.zeros_like(bands)
    rise[:, RISE_FRAMES:] = bands[:, RISE_FRAMES:] - bands[:, :-RISE_FRAMES]
    return np.maximum(rise, 0)


def _bands(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield the square root of the magnitude in each band, shape (bands, frames), some seconds at a time."""
    window = np.hanning(FRAME).astype(np.float32)
    held = np.zeros(0, np.float32)
    for block in blocks:
        held = np.concatenate([held, block])
        if len(held) < FRAME + 256 * HOP:
            continue
        frames = np.lib.stride_tricks.sliding_window_view(held, FRAME)[::HOP]
        held = held[len(frames) * HOP :]
        yield _in_bands(frames, window)
    if len(held) >= FRAME:
        yield _in_bands(np.lib.stride_tricks.sliding_window_view(held, FRAME)[::HOP], window)


def _in_bands(frames: np.ndarray, window: np.ndarray) -> np.ndarray:
    spectrum = np.fft.rfft(np.nan_to_num(frames) * window, axis=1)[:, : _filters().shape[1]]
    return np.sqrt(_filters() @ np.abs(spectrum).astype(np.float32).T)


@functools.cache
def _filters() -> np.ndarray:
    """Triangles around every third of a semitone, a semitone wide at half their height, of sum 1; no bin above them."""
    pitches = np.arange(_pitch(LOWEST_HZ), _pitch(HIGHEST_HZ), 1 / BANDS_PER_SEMITONE)
    bins = _pitch(np.maximum(np.fft.rfftfreq(FRAME, 1 / SAMPLE_RATE), 1.0))
    height = np.maximum(0, 1 - np.abs(bins[None] - pitches[:, None])).astype(np.float32)
    height = height[:, : int(np.flatnonzero(height.any(axis=0))[-1]) + 1]
    return height / height.sum(axis=1, keepdims=True)


def _pitch(hertz):
    return 69 + 12 * np.log2(np.asarray(hertz) / 440)


def _strongest(rise: np.ndarray, first: int, counted: int, until: int) -> _Onsets:
    """Find the onsets of a piece: highest among their neighbours, and among the strongest of a second."""
    from scipy.ndimage import maximum_filter

    highest = maximum_filter(rise, (2 * NEAR_BANDS + 1, 2 * NEAR_FRAMES + 1), mode="constant")
    band, frame = np.nonzero((rise == highest) & (rise > 0))
    strength = rise[band, frame]
    order = np.argsort(frame, kind="stable")
    band, frame, strength = band[order], frame[order], strength[order]
    low, high = (np.searchsorted(frame, frame + by) for by in (-RANK_FRAMES, RANK_FRAMES + 1))
    spans = zip(low, high, strength, strict=True)
    rank = np.array([(strength[start:end] > mine).sum() for start, end, mine in spans], dtype=int)
    is_marked = (rank < MAX_RANK) & (frame + first >= counted) & (frame + first < until)
    band, frame, strength = band[is_marked], frame[is_marked], strength[is_marked]
    at = frame + first + _between(rise, (band, frame), (0, 1))
    pitch = _pitch(LOWEST_HZ) + (band + _between(rise, (band, frame), (1, 0))) / BANDS_PER_SEMITONE
    return _Onsets(at, pitch, strength)


def _between(rise: np.ndarray, peak: tuple[np.ndarray, np.ndarray], step: tuple[int, int]) -> np.ndarray:
    """Give where between its neighbours a peak lies, -0.5 to 0.5: the vertex of the parabola through the three."""
    padded = np.pad(rise, 1, mode="edge")
    before, here, after = (padded[peak[0] + 1 + by * step[0], peak[1] + 1 + by * step[1]] for by in (-1, 0, 1))
    bend = before - 2 * here + after
    return np.where(bend < 0, np.clip((before - after) / (2 * np.minimum(bend, -1e-9)), -0.5, 0.5), 0.0)
