"""What a window sounds like, in histograms of its notes. No models: numbers to compare sets of files by.

Of each window: pitch classes, octaves, intervals from one note to the next, times between onsets, durations,
velocities. Each histogram sums to 1, or is 0 throughout where there is nothing to count.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from aria_data.surrogate.tokens import BEATS_PER_S, KINDS, TokenConfig, vocabulary
from aria_data.surrogate.windows import Windows

MAX_INTERVAL = 12  # semitones, up or down; wider ones count as that
TIME_EDGES_S = (0.02, 0.05, 0.08, 0.125, 0.2, 0.35, 0.6, 1.0, 2.0)  # about doubling; a grid's first step is 0.0208 s
NUM_OCTAVES = 8
NAMES = ("pitch_class", "octave", "interval", "time", "duration", "velocity")
AT_ONCE = 4096  # windows


def sizes_of(config: TokenConfig) -> dict[str, int]:
    """Give the number of bins of each histogram, in their order."""
    num_times = len(TIME_EDGES_S) + 1
    sizes = (12, NUM_OCTAVES, 2 * MAX_INTERVAL + 1, num_times, num_times, config.num_velocities)
    return dict(zip(NAMES, sizes, strict=True))


def histograms_of(windows: Windows) -> np.ndarray:
    """Give the histograms of every window, side by side: (windows, bins), float64."""
    parts = [
        _of_rows(np.asarray(windows.tokens[first : first + AT_ONCE]), windows.config)
        for first in range(0, len(windows.tokens), AT_ONCE)
    ]
    return np.concatenate(parts)


def _of_rows(tokens: np.ndarray, config: TokenConfig) -> np.ndarray:
    kinds, values = _meanings(config)
    kind, value = kinds[tokens], values[tokens]
    notes = np.nonzero(kind == KINDS.index("pitch"))  # row by row, in order
    pitches = value[notes].astype(int)
    onsets_s = np.cumsum(np.where(kind == KINDS.index("time"), value, 0.0), axis=1)[notes]
    is_same_row = notes[0][1:] == notes[0][:-1]
    later = notes[0][1:][is_same_row]
    intervals = np.diff(pitches)[is_same_row].clip(-MAX_INTERVAL, MAX_INTERVAL) + MAX_INTERVAL
    lasting, loud = (np.nonzero(kind == KINDS.index(name)) for name in ("duration", "velocity"))
    counted = {
        "pitch_class": (notes[0], pitches % 12),
        "octave": (notes[0], (pitches // 12 - 1).clip(0, NUM_OCTAVES - 1)),
        "interval": (later, intervals),
        "time": (later, np.digitize(np.diff(onsets_s)[is_same_row], TIME_EDGES_S)),
        "duration": (lasting[0], np.digitize(value[lasting], TIME_EDGES_S)),
        "velocity": (loud[0], value[loud].astype(int)),
    }
    sizes = sizes_of(config)
    return np.hstack([_shares(*counted[name], len(tokens), sizes[name]) for name in NAMES])


def _shares(rows: np.ndarray, bins: np.ndarray, num_rows: int, num_bins: int) -> np.ndarray:
    counts = np.bincount(rows * num_bins + bins, minlength=num_rows * num_bins).reshape(num_rows, num_bins)
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


@lru_cache(maxsize=4)
def _meanings(config: TokenConfig) -> tuple[np.ndarray, np.ndarray]:
    """The kind of each token id, and its value: a pitch, seconds, or which of the velocities."""
    words = vocabulary(config)
    values = np.zeros(len(words))
    velocities = [at for at, kind in enumerate(words.kinds) if kind == KINDS.index("velocity")]
    for number, name in enumerate(words.names):
        match name.split("_"):
            case "Pitch", pitch:
                values[number] = int(pitch)
            case "TimeShift" | "Duration", length:
                beats, steps, resolution = map(int, length.split("."))
                values[number] = (beats + steps / resolution) / BEATS_PER_S
            case "Velocity", _:
                values[number] = velocities.index(number)
    return words.kinds, values
