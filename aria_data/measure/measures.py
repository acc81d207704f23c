"""Numbers that describe one transcription. A measure never decides; `prune` does.

All times are seconds from the segment's start. Where a measure is not defined for a segment
(repetitiveness of a short one) it is NaN, and no limit applies to it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from aria_data.midi import SUSTAIN, Note, Pedal

DENSE_WINDOWS_S = (3, 5, 10, 45)  # Aria's published filter looks at these
PITCH_WINDOWS_S = (30, 60, 120)
NOTE_LENGTH_GRID_S = 0.01  # Aria's time grid
MAX_NOTE_LENGTH_S = 5.0  # Aria shortens longer notes to this, so its published limit on the entropy assumes it
MAX_SOUNDING_S = 15.0  # ours: a strike counts as sound for no longer, so that a pedal left down does not hide silence
REPETITIVE_FROM_S = 1200.0
NUM_CHUNKS = 5
NUM_PITCHES = 128
MAX_GRID_STEPS = 100_000

NOTE_MEASURES = (
    "num_notes",
    "duration_s",
    "note_density",
    *(f"densest_{seconds}_s" for seconds in DENSE_WINDOWS_S),
    *(f"densest_{seconds}_s_per_pitch" for seconds in DENSE_WINDOWS_S),
    "note_length_entropy",
    "pitch_entropy",
    "num_unique_pitches",
    *(f"num_unique_pitches_in_{seconds}_s" for seconds in PITCH_WINDOWS_S),
    "longest_silence_s",
    "longest_note_s",
    "mean_velocity",
    "chunk_divergence",
    "num_pedal_events",
)
FIT_MEASURES = (  # from `quality`, which compares notes and sound, and from the transcribers
    "transcription_confidence",
    "chroma_agreement",
    "onset_agreement",
    "missed_passage_s",
    "missed_passage_start_s",
    "num_endless_notes",
    "start_level_db",
    "end_level_db",
    "score_likeness",
    "backend_agreement",
)
AGREEMENT_MEASURES = ("lowest_agreement", "lowest_agreement_start_s")  # from `agreement`
CUT_MEASURES = ("cut_at_start", "cut_at_end", "start_edge_db", "end_edge_db", "softest_db")  # from `cuts`
MEASURES = NOTE_MEASURES + FIT_MEASURES + AGREEMENT_MEASURES + CUT_MEASURES


def measure(notes: Sequence[Note], pedals: Sequence[Pedal], duration_s: float) -> dict[str, float]:
    """Give every measure of one segment's notes, keyed and ordered as `NOTE_MEASURES`.

    Without notes, counts and rates are 0 and the longest silence is the whole segment.
    """
    onsets, offsets, pitches, velocities = _columns(notes)
    sounding = sounding_offsets(notes, pedals)
    values: dict[str, float] = {
        "num_notes": len(notes),
        "duration_s": duration_s,
        "note_density": len(notes) / duration_s if duration_s > 0 else 0.0,
        "note_length_entropy": note_length_entropy(onsets, sounding),
        "pitch_entropy": entropy_bits(pitches),
        "num_unique_pitches": len(np.unique(pitches)),
        "longest_silence_s": longest_silence_s(onsets, sounding, duration_s),
        "longest_note_s": float((offsets - onsets).max(initial=0.0)),
        "mean_velocity": float(velocities.mean()) if len(notes) else 0.0,
        "chunk_divergence": chunk_divergence(onsets, pitches, duration_s),
        "num_pedal_events": len(pedals),
    }
    for seconds in DENSE_WINDOWS_S:
        values[f"densest_{seconds}_s"] = densest_window(onsets, seconds)
        values[f"densest_{seconds}_s_per_pitch"] = densest_window_per_pitch(onsets, pitches, seconds)
    for seconds in PITCH_WINDOWS_S:
        values[f"num_unique_pitches_in_{seconds}_s"] = fewest_pitches_in_window(onsets, pitches, seconds, duration_s)
    return {name: values[name] for name in NOTE_MEASURES}


def _columns(notes: Sequence[Note]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    table = np.array([(n.onset_s, n.offset_s, n.pitch, n.velocity) for n in notes], dtype=float).reshape(-1, 4)
    table = table[np.lexsort(table.T[::-1])]  # by onset, then by the rest: the order given never matters
    return table[:, 0], table[:, 1], table[:, 2].astype(int), table[:, 3]


def sounding_offsets(notes: Sequence[Note], pedals: Sequence[Pedal]) -> np.ndarray:
    """Give the second in which each note stops sounding, in order of the sorted notes: its release or, if the
    sustain pedal is down then, the moment when the pedal goes up or the same pitch is struck again."""
    onsets, offsets, pitches, _ = _columns(notes)
    downs, ups = _merged_sustain(pedals)
    sounding = offsets.copy()
    if len(downs):
        index = np.searchsorted(downs, offsets, side="right") - 1
        is_held = (index >= 0) & (offsets < ups[index])
        sounding[is_held] = ups[index[is_held]]
    order = np.lexsort((onsets, pitches))
    is_same_pitch = pitches[order][1:] == pitches[order][:-1]
    next_strike = np.full(len(onsets), np.inf)
    next_strike[order[:-1][is_same_pitch]] = onsets[order[1:][is_same_pitch]]
    return np.minimum(sounding, next_strike)


def _merged_sustain(pedals: Sequence[Pedal]) -> tuple[np.ndarray, np.ndarray]:
    """Give starts and ends of the spans with the sustain pedal down, sorted and without overlaps."""
    spans = np.array(sorted((p.onset_s, p.offset_s) for p in pedals if p.controller == SUSTAIN)).reshape(-1, 2)
    if not len(spans):
        return spans[:, 0], spans[:, 1]
    reached = np.maximum.accumulate(spans[:, 1])
    is_start = np.concatenate([[True], spans[1:, 0] > reached[:-1]])
    ends = np.append(np.flatnonzero(is_start)[1:] - 1, len(spans) - 1)
    return spans[is_start, 0], reached[ends]


def entropy_bits(values: np.ndarray) -> float:
    """Shannon entropy, base 2, of how often each value occurs. For pitches: MIDI pitches, not pitch classes."""
    if not len(values):
        return 0.0
    share = np.unique(values, return_counts=True)[1] / len(values)
    return max(0.0, float(-(share * np.log2(share)).sum()))


def note_length_entropy(onsets: np.ndarray, sounding: np.ndarray) -> float:
    """Entropy in bits of the sounding lengths, rounded to 10 ms and cut at 5 s as Aria's notes are."""
    lengths = np.clip(sounding - onsets, 0.0, MAX_NOTE_LENGTH_S)
    return entropy_bits(np.round(lengths / NOTE_LENGTH_GRID_S).astype(int))


def densest_window(onsets: np.ndarray, window_s: float) -> float:
    """Strikes per second in the fullest window of this length, wherever it starts. `onsets` are sorted."""
    if not len(onsets):
        return 0.0
    ends = np.searchsorted(onsets, onsets + window_s, side="left")
    return float((ends - np.arange(len(onsets))).max()) / window_s


def densest_window_per_pitch(onsets: np.ndarray, pitches: np.ndarray, window_s: float) -> float:
    """Strikes per second of one pitch in its fullest window; the busiest pitch counts."""
    return max((densest_window(onsets[pitches == pitch], window_s) for pitch in np.unique(pitches)), default=0.0)


def fewest_pitches_in_window(onsets: np.ndarray, pitches: np.ndarray, window_s: float, duration_s: float) -> float:
    """Count the unique pitches struck in the window with the fewest, inside the segment; windows move by 1 s.

    A segment shorter than the window counts as one window.
    """
    step_s = max(1.0, duration_s / MAX_GRID_STEPS)
    num_steps, width = math.floor(duration_s / step_s), round(window_s / step_s)
    if num_steps <= width or width == 0:
        return float(len(np.unique(pitches)))
    struck = np.zeros((NUM_PITCHES, num_steps + 1), dtype=np.int32)
    step = np.clip((onsets / step_s).astype(int), 0, num_steps - 1)
    np.add.at(struck, (np.clip(pitches, 0, NUM_PITCHES - 1), step + 1), 1)
    total = struck.cumsum(axis=1)
    return float(((total[:, width:] - total[:, :-width]) > 0).sum(axis=0).min())


def longest_silence_s(onsets: np.ndarray, sounding: np.ndarray, duration_s: float) -> float:
    """Give the length of the longest span in which nothing sounds, the segment's edges included.

    A note sounds until its sounding offset, pedal considered, but never longer than `MAX_SOUNDING_S`.
    """
    if not len(onsets):
        return max(0.0, duration_s)
    reached = np.maximum.accumulate(np.minimum(sounding, onsets + MAX_SOUNDING_S))
    gaps = np.concatenate([[onsets[0]], onsets[1:] - reached[:-1], [duration_s - reached[-1]]])
    return max(0.0, float(gaps.max()))


def chunk_divergence(onsets: np.ndarray, pitches: np.ndarray, duration_s: float) -> float:
    """Measure how different the fifths of a long segment are: the largest Kullback-Leibler divergence, in nats,
    between the pitch histograms of any two of 5 equal spans, each pitch counted once more than struck.

    It is near 0 for music that repeats, NaN below 20 minutes.
    """
    if duration_s < REPETITIVE_FROM_S:
        return math.nan
    chunk = np.clip((onsets / duration_s * NUM_CHUNKS).astype(int), 0, NUM_CHUNKS - 1)
    counts = np.ones((NUM_CHUNKS, NUM_PITCHES))
    np.add.at(counts, (chunk, np.clip(pitches, 0, NUM_PITCHES - 1)), 1)
    log_share = np.log(counts / counts.sum(axis=1, keepdims=True))
    divergence = (np.exp(log_share)[:, None, :] * (log_share[:, None, :] - log_share[None, :, :])).sum(axis=2)
    return max(0.0, float(divergence.max()))
