"""Measure how far a recording's A4 lies from 440 Hz. Nothing is resampled here."""

from __future__ import annotations

import math

import numpy as np

SAMPLE_RATE = 16_000
FRAME, HOP = 4096, 512  # 256 ms, which resolves neighbouring semitones above G2; every 32 ms
TUNING_BAND_HZ = (100.0, 4000.0)
MIN_TUNING_CLARITY = 0.25  # pianos measured 0.65 to 0.92, in noise of -5 dB 0.30 to 0.59; 0: peaks lie anywhere


def tuning_of(waveform: np.ndarray, sample_rate: int) -> float:
    """Give how far a recording's A4 is from 440 Hz, in semitones from -0.5 to 0.5; 0 where that is not clear.

    `waveform` has the shape (num_samples, channels). Whole semitones are not measured: they cannot be distinguished
    from music in another key.
    """
    import librosa
    import soxr

    mono = soxr.resample(waveform.mean(axis=1), sample_rate, SAMPLE_RATE).astype(np.float32)
    if len(mono) < FRAME or not np.isfinite(mono).all() or not np.abs(mono).max() > 1e-6:
        return 0.0
    return tuning_of_spectrum(np.abs(librosa.stft(mono, n_fft=FRAME, hop_length=4 * HOP)))


def tuning_of_spectrum(magnitude: np.ndarray) -> float:
    """See `tuning_of`: the mean angle of all spectral peaks on the circle of one semitone, weighted by magnitude.

    `magnitude` is a spectrogram of shape (FRAME / 2 + 1, frames) of audio at `SAMPLE_RATE`.
    """
    import librosa

    hertz, strength = librosa.piptrack(
        S=magnitude, sr=SAMPLE_RATE, n_fft=FRAME, fmin=TUNING_BAND_HZ[0], fmax=TUNING_BAND_HZ[1]
    )
    is_peak = hertz > 0
    hertz, strength = hertz[is_peak], strength[is_peak]
    if not len(hertz) or not strength.sum() > 0:
        return 0.0
    mean = complex((np.exp(2j * np.pi * 12 * np.log2(hertz / 440)) * strength).sum() / strength.sum())
    return math.atan2(mean.imag, mean.real) / (2 * math.pi) if abs(mean) >= MIN_TUNING_CLARITY else 0.0
