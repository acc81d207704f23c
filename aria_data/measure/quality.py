"""Measure how well notes fit the recording they were transcribed from, without the true notes. `prune` decides.

The recording is analysed again, in blocks: pitch classes (chroma), onsets (spectral flux) and level, 31 times a second.
They are compared with the notes' pitch classes and onsets, independently of the transcriber and its confidence.
`benchmarks/quality.py` shows which damage each measure finds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from aria_data.audio.tuning import FRAME, HOP, SAMPLE_RATE, tuning_of_spectrum
from aria_data.measure.measures import FIT_MEASURES
from aria_data.midi import Note, Performance

FRAMES_PER_S = SAMPLE_RATE / HOP
CHUNK_FRAMES = 2000  # about a minute at a time
SUPPORT_FRAMES = 5  # a struck pitch class must sound within 160 ms
MIN_SUPPORT = 0.05  # of the strongest class then; 0.02 to 0.1 tried, see LOG.md
MIN_OVER_NEIGHBOUR = 0.2  # of the next semitone's class, which leaks in; 0 to 0.5 tried
NEAR_S = 0.07  # between an onset of the sound and one of the notes
MIN_MISSED = 3  # onsets in a row without a note make a missed passage
EDGE_S = 0.2
EDGE_RMS_S, RISE_S = 0.03, 0.3
FIRST_S = 0.005
RMS_TO_LEVEL_DB = (
    -16.2
)  # what `level_db` has less than the RMS level of the same noise: the window, and one side of FFT
GRID_S = tuple(np.arange(0.06, 0.5, 0.0025))  # spacings of the grids tried for deadpan timing
GRID_WINDOW_S, GRID_MIN_ONSETS = 15.0, 16


@dataclass(frozen=True, slots=True)
class Trace:
    """The features of a recording's sound. Frame i is centred on sample i * HOP."""

    chroma: np.ndarray  # float32 (12, frames), energy of each pitch class
    onset_strength: np.ndarray  # float32 (frames,): rise of the log mel spectrum
    level_db: np.ndarray  # float32 (frames,)
    tuning: float  # of A4 against 440 Hz, in semitones, -0.5 to 0.5
    start_rms_db: float = math.nan  # of the first `EDGE_RMS_S`, on the scale of `level_db`
    end_rms_db: float = math.nan  # of the last
    start_rise_db: float = math.nan  # how much louder it gets within `RISE_S`, in hundredths of a second
    first_rms_db: float = math.nan  # of the first `FIRST_S` or the next ones, whichever are softer
    early_rms_db: float = math.nan  # of twice as long after these


def analyse_sound(blocks: Iterable[np.ndarray]) -> Trace:
    """Analyse a recording given as float32 blocks of shape (num_samples, 1) at 16 kHz.

    Memory grows by 2 kB per second of audio.
    """
    analysis = SoundAnalysis()
    for block in blocks:
        analysis.add(block)
    return analysis.finish()


class SoundAnalysis:
    """Analyses sound as it is read, a block after the other. See `analyse_sound`."""

    sample_rate = SAMPLE_RATE

    def __init__(self) -> None:
        self._chroma: list[np.ndarray] = []
        self._strength: list[np.ndarray] = []
        self._level: list[np.ndarray] = []
        self._tuning: float | None = None
        self._last_mel: np.ndarray | None = None
        self._first = self._last = np.zeros(0, np.float32)
        self._held, self._num_held = [np.zeros(FRAME // 2, np.float32)], FRAME // 2  # half a frame of silence

    def add(self, block: np.ndarray) -> None:
        """Take the next block."""
        size = round(RISE_S * SAMPLE_RATE)
        self._first = np.concatenate([self._first, block[: size - len(self._first), 0]])
        self._last = np.concatenate([self._last, block[-size:, 0]])[-size:]
        self._hold(block[:, 0])

    def finish(self) -> Trace:
        """Give the features; the sound ends with half a frame of silence."""
        self._hold(np.zeros(FRAME // 2, np.float32))
        if self._num_held >= FRAME:
            self._analyse(np.concatenate(self._held))
        tuning = self._tuning or 0.0
        if not self._chroma:
            return Trace(np.zeros((12, 0), np.float32), np.zeros(0, np.float32), np.zeros(0, np.float32), 0.0)
        strength, level = np.concatenate(self._strength), np.concatenate(self._level)
        edge, step = round(EDGE_RMS_S * SAMPLE_RATE), SAMPLE_RATE // 100
        first_db = _level_of(self._first[:edge])
        after = (self._first[at : at + step] for at in range(edge, len(self._first) - step + 1, step))
        rise_db = max((_level_of(piece) for piece in after), default=first_db) - first_db
        first = round(FIRST_S * SAMPLE_RATE)
        softer_db = min(_level_of(self._first[:first]), _level_of(self._first[first : 2 * first]))
        early_db = _level_of(self._first[2 * first : 4 * first])
        edges = first_db, _level_of(self._last[-edge:]), rise_db, softer_db, early_db
        return Trace(np.concatenate(self._chroma, 1), strength, level, tuning, *edges)

    def _hold(self, samples: np.ndarray) -> None:
        """Analyse the sound in overlapping pieces of whole frames, as soon as one is there."""
        step, length = CHUNK_FRAMES * HOP, CHUNK_FRAMES * HOP + FRAME - HOP
        self._held.append(samples)
        self._num_held += len(samples)
        if self._num_held < length:
            return
        buffer = np.concatenate(self._held)
        while len(buffer) >= length:
            self._analyse(buffer[:length])
            buffer = buffer[step:]
        self._held, self._num_held = [buffer], len(buffer)

    def _analyse(self, chunk: np.ndarray) -> None:
        import librosa

        spectrum = np.abs(librosa.stft(chunk, n_fft=FRAME, hop_length=HOP, center=False)) ** 2
        if self._tuning is None and spectrum.max() > 1e-6:
            self._tuning = tuning_of_spectrum(np.sqrt(spectrum[:, ::4]))
        chroma = librosa.feature.chroma_stft(
            S=spectrum, sr=SAMPLE_RATE, n_fft=FRAME, hop_length=HOP, tuning=self._tuning or 0.0, norm=None
        )
        self._chroma.append(chroma.astype(np.float32))
        level = 10 * np.log10(spectrum.sum(axis=0) / (FRAME * SAMPLE_RATE) + 1e-12)
        self._level.append(level.astype(np.float32))
        mel = _log_mel(chunk)
        before = mel[:, :1] if self._last_mel is None else self._last_mel
        joined = np.concatenate([before, mel], axis=1)
        rise = librosa.onset.onset_strength(S=joined, sr=SAMPLE_RATE, center=False)[1:]
        self._strength.append(rise.astype(np.float32))
        self._last_mel = mel[:, -1:]


def _level_of(samples: np.ndarray) -> float:
    mean = float(np.square(samples, dtype=np.float64).mean()) if len(samples) else 0.0
    return 10 * math.log10(mean + 1e-12) + RMS_TO_LEVEL_DB


def _log_mel(chunk: np.ndarray) -> np.ndarray:
    import librosa

    middle = chunk[FRAME // 4 : -FRAME // 4]
    short = np.abs(librosa.stft(middle, n_fft=FRAME // 2, hop_length=HOP, center=False)) ** 2
    mel = librosa.feature.melspectrogram(
        S=short, sr=SAMPLE_RATE, n_fft=FRAME // 2, hop_length=HOP, n_mels=96, fmax=8000
    )
    return np.asarray(librosa.power_to_db(mel, ref=1.0, top_db=None, amin=1e-6))


def fit(trace: Trace, performance: Performance) -> dict[str, float]:
    """Give the measures of `FIT_MEASURES` that need the sound or the timing; NaN where one is not defined.

    `performance` and `trace` count from the same moment.
    """
    onsets = np.array(sorted(note.onset_s for note in performance.notes))
    peaks, strengths = onset_peaks(trace)
    is_explained = _is_near(peaks, onsets)
    start_s, length_s = missed_passage(peaks, strengths, is_explained)
    start_db, end_db = edge_levels(trace)
    values = {
        "chroma_agreement": chroma_agreement(trace, performance.notes),
        "onset_agreement": float((strengths * is_explained).sum() / strengths.sum()) if len(peaks) else math.nan,
        "missed_passage_s": length_s,
        "missed_passage_start_s": start_s,
        "start_level_db": start_db,
        "end_level_db": end_db,
        "score_likeness": score_likeness(onsets),
    }
    return {name: values[name] for name in FIT_MEASURES if name in values}


def chroma_agreement(trace: Trace, notes: Iterable[Note]) -> float:
    """Give the share of notes whose pitch class sounds when they are struck; NaN without notes inside the sound."""
    table = np.array([(note.onset_s * FRAMES_PER_S, note.pitch % 12) for note in notes]).reshape(-1, 2)
    frame, pitch_class = np.round(table[:, 0]).astype(int), table[:, 1].astype(int)
    is_inside = (frame >= 0) & (frame + SUPPORT_FRAMES < trace.chroma.shape[1])
    frame, pitch_class = frame[is_inside], pitch_class[is_inside]
    if not len(frame):
        return math.nan
    after = trace.chroma[:, frame[:, None] + np.arange(1, SUPPORT_FRAMES + 1)]  # (12, notes, frames)
    number = np.arange(len(frame))
    own, above, below = (after[(pitch_class + step) % 12, number].max(axis=1) for step in (0, 1, -1))
    is_sounding = own >= MIN_SUPPORT * after.max(axis=(0, 2))
    return float((is_sounding & (own >= MIN_OVER_NEIGHBOUR * np.maximum(above, below))).mean())


def onset_peaks(trace: Trace) -> tuple[np.ndarray, np.ndarray]:
    """Give times in seconds and strengths of the recording's onsets, by librosa's peak picking."""
    import librosa

    if len(trace.onset_strength) < 3:
        return np.zeros(0), np.zeros(0)
    strength = np.maximum(trace.onset_strength - np.median(trace.onset_strength), 0)
    delta = 0.3 * float(np.quantile(strength, 0.9))
    if delta <= 0:
        return np.zeros(0), np.zeros(0)
    peaks = librosa.util.peak_pick(strength, pre_max=2, post_max=3, pre_avg=6, post_avg=7, delta=delta, wait=2)
    return peaks / FRAMES_PER_S, strength[peaks]


def _is_near(times: np.ndarray, onsets: np.ndarray) -> np.ndarray:
    if not len(onsets):
        return np.zeros(len(times), bool)
    right = np.clip(np.searchsorted(onsets, times), 0, len(onsets) - 1)
    left = np.clip(right - 1, 0, None)
    return np.minimum(np.abs(onsets[right] - times), np.abs(onsets[left] - times)) <= NEAR_S


def missed_passage(peaks: np.ndarray, strengths: np.ndarray, is_explained: np.ndarray) -> tuple[float, float]:
    """Give start and length in seconds of the longest run of onsets without a note; (NaN, 0) when there is none.

    Onsets below half the median strength do not count; a run has at least `MIN_MISSED` onsets.
    """
    is_strong = strengths >= 0.5 * np.median(strengths) if len(strengths) else np.zeros(0, bool)
    peaks, missed = peaks[is_strong], ~is_explained[is_strong]
    edges = np.flatnonzero(np.diff(np.concatenate([[False], missed, [False]]).astype(int)))
    runs = [
        (peaks[a], peaks[b - 1] - peaks[a]) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a >= MIN_MISSED
    ]
    return max(
        ((float(start), float(length)) for start, length in runs), key=lambda run: run[1], default=(math.nan, 0.0)
    )


def edge_levels(trace: Trace) -> tuple[float, float]:
    """Give the level of the first and the last 0.2 s against the loud parts (95th percentile), in dB.

    Music that was cut off is near 0; a beginning from silence or an ending that died away is far below.
    """
    num = max(1, round(EDGE_S * FRAMES_PER_S))
    if len(trace.level_db) < 2 * num:
        return math.nan, math.nan
    loud = float(np.quantile(trace.level_db, 0.95))
    return float(trace.level_db[:num].mean()) - loud, float(trace.level_db[-num:].mean()) - loud


def score_likeness(onsets: np.ndarray) -> float:
    """Measure how well onsets lie on an even grid: 0 (played freely) to 1 (a score played by a machine).

    In each span of 15 s the best grid counts: the length of the mean of the onsets' phases, corrected for the length
    that as many random onsets would reach. The result is the median over spans, NaN without a span of 16 onsets. Onsets
    closer than 30 ms count as one.
    """
    if not len(onsets):
        return math.nan
    onsets = onsets[np.concatenate([[True], np.diff(onsets) > 0.03])]
    values = []
    for start in np.arange(onsets[0], onsets[-1], GRID_WINDOW_S):
        times = onsets[(onsets >= start) & (onsets < start + GRID_WINDOW_S)]
        if len(times) >= GRID_MIN_ONSETS:
            phases = np.exp(2j * np.pi * times[None] / np.array(GRID_S)[:, None])
            best = float(np.abs(phases.mean(axis=1)).max())
            by_chance = math.sqrt(math.log(len(GRID_S)) / len(times))
            values.append(max(0.0, (best - by_chance) / (1 - by_chance)) if by_chance < 1 else 0.0)
    return float(np.median(values)) if values else math.nan
