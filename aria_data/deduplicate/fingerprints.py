"""A recording's acoustic fingerprint: its strongest onsets, as notes, so that `note_index` can find and compare them.

An onset is a steep rise of the energy at one semitone. Only the strongest of the second before and after are kept,
about three a second. They are not a transcription, but the same few are found again in another codec, at another
level, after a cut at either end, a little faster, in noise. Times are rounded to 8 ms; an onset takes 2 bytes.

A recording that plays 1 % faster is 17 cents sharper. Therefore pitches are counted from the recording's own tuning,
and two fingerprints are also compared a semitone up and down. A copy that is transposed further counts as another
recording.
"""

from __future__ import annotations

import base64
import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from aria_data.deduplicate.note_patterns import NoteIndexConfig, Notes

SAMPLE_RATE = 16_000
FRAME, HOP = 4096, 512  # samples: 256 ms, which separates semitones above G2; every 32 ms
LOWEST_HZ, HIGHEST_HZ = 146.83, 2637.0  # D3 to E7: below, the frame is too short to separate semitones
BANDS_PER_SEMITONE = 3
RISE_FRAMES = 3  # a rise is the energy minus that 96 ms before
NEAR_FRAMES, NEAR_BANDS = 4, 4  # an onset is the highest rise within 128 ms and a semitone and a third
RANK_FRAMES = 31  # within 1 s before and after an onset ...
MAX_RANK = 6  # ... at most this many onsets are kept: about three a second
MIN_RISE = 0.01  # of the recording's strongest rise: silence has no onsets
CHUNK_FRAMES = 1000  # 32 s at a time
UNIT_MS = 8
LONGEST_GAP = 255  # units that one byte holds; a longer gap is written in several steps

CONFIG = NoteIndexConfig(
    keep_one_in=1,  # all: onsets are few
    max_transposition=1,  # a recording tuned between two semitones may be rounded to either
    onset_tolerance_s=0.06,  # two frames
    min_agreement=0.6,  # copies measured 0.84 and more, other performances up to 0.52
    max_drift_s=0.008,  # copies measured up to 0.0026, other performances from 0.015
    max_tempo_change=0.02,
)


@dataclass(frozen=True, slots=True)
class _Onsets:
    frame: np.ndarray  # float: interpolated between frames
    pitch: np.ndarray  # float: MIDI pitch, not yet corrected for the recording's tuning
    rise: np.ndarray


def fingerprint(blocks: Iterable[np.ndarray]) -> Notes:
    """Make the fingerprint of a recording, given as mono float32 blocks at 16 kHz.

    Onsets are multiples of `UNIT_MS`; pitches are relative to the recording's tuning. Only the onsets stay in memory.
    """
    found = [_strongest(*piece) for piece in _rises(blocks)]
    frame = np.concatenate([np.zeros(0), *(each.frame for each in found)])
    pitch = np.concatenate([np.zeros(0), *(each.pitch for each in found)])
    rise = np.concatenate([np.zeros(0), *(each.rise for each in found)])
    is_loud = rise > MIN_RISE * rise.max(initial=1e-9)
    frame, pitch, rise = frame[is_loud], pitch[is_loud], rise[is_loud]
    tuned = np.clip(np.round(pitch - _tuning(pitch, rise)), 0, 127)
    units = np.round(frame * HOP / SAMPLE_RATE * 1000 / UNIT_MS) * UNIT_MS
    return Notes.of(units / 1000, tuned)


def to_bytes(found: Notes) -> bytes:
    """Write a fingerprint as pairs of bytes: steps of 8 ms since the pair before, and pitch (0: a gap, no onset)."""
    steps = np.diff(found.onset_ms.astype(np.int64) // UNIT_MS, prepend=0)
    num_gaps = steps // LONGEST_GAP
    pairs = np.zeros((len(steps) + num_gaps.sum(), 2), np.uint8)
    pairs[:, 0] = LONGEST_GAP
    place = np.arange(len(steps)) + np.cumsum(num_gaps)
    pairs[place, 0], pairs[place, 1] = steps % LONGEST_GAP, found.pitch
    return pairs.tobytes()


def fingerprint_text(blocks: Iterable[np.ndarray]) -> str:
    """Make a fingerprint as the table has it: base64 of `to_bytes`."""
    return base64.b64encode(to_bytes(fingerprint(blocks))).decode()


def from_bytes(content: bytes) -> Notes:
    """Read a fingerprint that `to_bytes` wrote."""
    pairs = np.frombuffer(content, np.uint8).reshape(-1, 2)
    onset_ms = (np.cumsum(pairs[:, 0].astype(np.int64)) * UNIT_MS).astype(np.uint32)
    is_onset = pairs[:, 1] > 0
    return Notes(onset_ms[is_onset], pairs[is_onset, 1])


def _tuning(pitch: np.ndarray, rise: np.ndarray) -> float:
    """Give the circular mean of the onsets' distances from whole semitones, weighted by rise: -0.5 to 0.5 semitones."""
    mean = (rise * np.exp(2j * np.pi * pitch)).sum()
    return float(np.angle(mean) / (2 * np.pi)) if len(pitch) else 0.0


def _rises(blocks: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, int, int, int]]:
    """Yield pieces of the recording: (rises, first frame, first frame whose onsets count, frame after the last).

    `rises` has the shape (bands, frames). Neighbouring pieces overlap, so that each onset is ranked among all its
    neighbours.
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
    """Make a triangular filter every third of a semitone, a semitone wide at half its height, each of sum 1.

    The shape is (bands, FFT bins); bins above the highest filter are left out.
    """
    pitches = np.arange(_pitch(LOWEST_HZ), _pitch(HIGHEST_HZ), 1 / BANDS_PER_SEMITONE)
    bins = _pitch(np.maximum(np.fft.rfftfreq(FRAME, 1 / SAMPLE_RATE), 1.0))
    height = np.maximum(0, 1 - np.abs(bins[None] - pitches[:, None])).astype(np.float32)
    height = height[:, : int(np.flatnonzero(height.any(axis=0))[-1]) + 1]
    return height / height.sum(axis=1, keepdims=True)


def _pitch(hertz):
    return 69 + 12 * np.log2(np.asarray(hertz) / 440)


def _strongest(rise: np.ndarray, first: int, counted: int, until: int) -> _Onsets:
    """Find the onsets of a piece: local maxima of the rise that are among the strongest of the second around them."""
    from scipy.ndimage import maximum_filter

    highest = maximum_filter(rise, (2 * NEAR_BANDS + 1, 2 * NEAR_FRAMES + 1), mode="constant")
    band, frame = np.nonzero((rise == highest) & (rise > 0))
    strength = rise[band, frame]
    order = np.argsort(frame, kind="stable")
    band, frame, strength = band[order], frame[order], strength[order]
    low, high = (np.searchsorted(frame, frame + by) for by in (-RANK_FRAMES, RANK_FRAMES + 1))
    spans = zip(low, high, strength, strict=True)
    rank = np.array([(strength[start:end] > mine).sum() for start, end, mine in spans], dtype=int)
    is_kept = (rank < MAX_RANK) & (frame + first >= counted) & (frame + first < until)
    band, frame, strength = band[is_kept], frame[is_kept], strength[is_kept]
    at = frame + first + _between(rise, (band, frame), (0, 1))
    pitch = _pitch(LOWEST_HZ) + (band + _between(rise, (band, frame), (1, 0))) / BANDS_PER_SEMITONE
    return _Onsets(at, pitch, strength)


def _between(rise: np.ndarray, peak: tuple[np.ndarray, np.ndarray], step: tuple[int, int]) -> np.ndarray:
    """Interpolate peaks: give offsets of -0.5 to 0.5 along `step`, by a parabola through a peak and its neighbours."""
    padded = np.pad(rise, 1, mode="edge")
    before, here, after = (padded[peak[0] + 1 + by * step[0], peak[1] + 1 + by * step[1]] for by in (-1, 0, 1))
    bend = before - 2 * here + after
    return np.where(bend < 0, np.clip((before - after) / (2 * np.minimum(bend, -1e-9)), -0.5, 0.5), 0.0)
