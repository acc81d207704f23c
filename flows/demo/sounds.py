"""Sounds of the demo other than the piano, the room of its recordings, and the encoding of audio files.

Waveforms are float32 of shape (num_samples, 2) at `SAMPLE_RATE`. Which recordings are made is in `recordings.py`.
"""

from __future__ import annotations

import io
from fractions import Fraction
from typing import Any

import numpy as np
from scipy import signal

from classifiers.soundfont import Part, render_ensemble
from flows.demo.scores import Score

SAMPLE_RATE = 44100
TARGET_RMS_DB, MAX_PEAK = -20.0, 0.95
NOISE_FLOOR_DB = -68.0

# First three formants in Hz of five vowels (means for a man's voice, Peterson and Barney 1952, rounded).
VOWELS = {
    "a": (730, 1090, 2440),
    "e": (530, 1840, 2480),
    "i": (270, 2290, 3010),
    "o": (570, 840, 2410),
    "u": (300, 870, 2240),
}
FORMANT_WIDTHS_HZ = (80, 100, 140)

# suffix -> container of FFmpeg, codec, bits per second (None: lossless), sample rate
FORMATS = {
    ".flac": ("flac", "flac", None, 44100),
    ".wav": ("wav", "pcm_s16le", None, 44100),
    ".mp3": ("mp3", "libmp3lame", 192_000, 44100),
    ".m4a": ("ipod", "aac", 192_000, 44100),
    ".ogg": ("ogg", "vorbis", 256_000, 44100),
    ".opus": ("ogg", "libopus", 128_000, 48000),
}


def talk(duration_s: float, rng: np.random.Generator) -> np.ndarray:
    """Somebody speaks, in no language: syllables of noise and of a buzzing voice through three formants."""
    out = np.zeros((round(duration_s * SAMPLE_RATE), 2), np.float32)
    at_s = 0.3
    while at_s < duration_s - 1.0:
        num_syllables = int(rng.integers(5, 12))
        for index in range(num_syllables):
            pitch_hz = 128 * (1.12 - 0.3 * index / num_syllables) * rng.normal(1, 0.04)
            sound = _syllable(rng.choice(list(VOWELS)), pitch_hz, rng)
            _add(out, sound[:, None] * np.float32(rng.uniform(0.7, 1.0)), at_s)
            at_s += len(sound) / SAMPLE_RATE - 0.02 + (0.08 if rng.random() < 0.25 else 0.0)
        at_s += rng.uniform(0.3, 0.6)
    return out


def _syllable(vowel: str, pitch_hz: float, rng: np.random.Generator) -> np.ndarray:
    """A consonant (hiss, or a stop's silence and burst), then a vowel; mono."""
    hiss_s = rng.uniform(0.03, 0.09)
    hiss = rng.normal(0, 0.12, round(hiss_s * SAMPLE_RATE)) * np.hanning(round(hiss_s * SAMPLE_RATE))
    centre_hz = rng.uniform(2500, 6000)
    hiss = signal.sosfilt(
        signal.butter(2, [0.7 * centre_hz, 1.3 * centre_hz], "band", fs=SAMPLE_RATE, output="sos"), hiss
    )
    length = round(rng.uniform(0.1, 0.22) * SAMPLE_RATE)
    glide = (
        pitch_hz
        * np.linspace(1.03, 0.95, length)
        * (1 + 0.01 * np.sin(np.arange(length) * 2 * np.pi * 5 / SAMPLE_RATE))
    )
    phase = np.cumsum(glide / SAMPLE_RATE)
    voice = np.diff(np.floor(phase), prepend=0.0) + rng.normal(0, 0.004, length)  # one pulse a period, and breath
    voice = signal.lfilter([1.0], [1.0, -0.96], voice)  # a voice falls by about 6 dB an octave at the lips
    for formant_hz, width_hz in zip(VOWELS[vowel], FORMANT_WIDTHS_HZ, strict=True):
        radius = np.exp(-np.pi * width_hz / SAMPLE_RATE)
        angle = 2 * np.pi * formant_hz * rng.normal(1, 0.03) / SAMPLE_RATE
        poles = [1.0, -2 * radius * np.cos(angle), radius**2]
        voice = signal.lfilter([sum(poles)], poles, voice)
    voice *= signal.windows.tukey(length, 0.3) * 0.3 / max(1e-9, np.abs(voice).max())
    return np.concatenate([hiss, voice]).astype(np.float32)


def applause(duration_s: float, rng: np.random.Generator, num_people: int = 80) -> np.ndarray:
    """An audience claps: thousands of short bursts of noise, swelling and dying away."""
    num_samples = round(duration_s * SAMPLE_RATE)
    out = np.zeros((num_samples, 2))
    num_hands = 10  # kinds of clap; people share them
    for _ in range(num_hands):
        num_claps = rng.poisson(duration_s * 4 * num_people / num_hands)
        strikes = np.zeros((num_samples, 2))
        where = rng.integers(0, num_samples, num_claps)
        np.add.at(strikes, where, rng.uniform(0.2, 1.0, (num_claps, 1)) * rng.uniform(0.4, 1.0, (num_claps, 2)))
        length = round(0.05 * SAMPLE_RATE)
        burst = rng.normal(0, 1, length) * np.exp(-np.arange(length) / (rng.uniform(0.003, 0.01) * SAMPLE_RATE))
        low_hz = rng.uniform(600, 1500)
        band = signal.butter(2, [low_hz, 2.5 * low_hz], "band", fs=SAMPLE_RATE, output="sos")
        out += signal.oaconvolve(strikes, signal.sosfilt(band, burst)[:, None], axes=0)[:num_samples]
    swell = np.minimum(1.0, np.arange(num_samples) / (0.8 * SAMPLE_RATE))
    fade = np.minimum(1.0, np.arange(num_samples)[::-1] / (0.5 * num_samples)) ** 1.5
    out *= (swell * fade)[:, None]
    return (0.3 * out / np.abs(out).max()).astype(np.float32)


def orchestra(score: Score, rng: np.random.Generator, end_s: float | None = None) -> np.ndarray:
    """The score for strings, winds, brass and timpani, without expression but with each player's own timing."""
    s_per_beat = 60 / score.tempo
    voices: dict[str, list[tuple[float, float, int, int]]] = {}
    for note in score.notes:
        onset_s = 0.3 + float(note.onset_beats) * s_per_beat
        offset_s = onset_s + 0.95 * float(note.duration_beats) * s_per_beat
        if end_s is None or offset_s < end_s:
            voices.setdefault(note.voice, []).append((onset_s, offset_s, note.pitch, int(55 + 50 * note.dynamic)))
    upper = [notes for voice, notes in sorted(voices.items()) if notes != _lowest(voices)]
    lower = _lowest(voices)
    strokes = [(onset_s, onset_s + 0.8, 38 + (pitch - 38) % 12, velocity) for onset_s, _, pitch, velocity in lower[::4]]
    parts = [
        *(Part(_spread(notes, rng), program=48, pan=-0.5 + 0.4 * index) for index, notes in enumerate(upper)),
        Part(_spread(lower, rng), program=48, pan=0.5),
        *(
            Part(_spread(notes, rng), program=program, gain_db=-3)
            for notes, program in zip(upper, (73, 60), strict=False)
        ),
        Part(_spread(lower[::2], rng), program=61, gain_db=-8, pan=0.3),
        Part(_spread(lower, rng), program=43, gain_db=-2, pan=0.6),
        Part(_spread(strokes, rng), program=47, gain_db=-6),
    ]
    return render_ensemble(parts, sample_rate=SAMPLE_RATE)


def _lowest(voices: dict[str, list]) -> list:
    return min(voices.values(), key=lambda notes: np.mean([note[2] for note in notes]))


def _spread(notes: list, rng: np.random.Generator) -> tuple:
    late_s = rng.uniform(0, 0.02, len(notes))
    return tuple((on + late, off + late, pitch, vel) for (on, off, pitch, vel), late in zip(notes, late_s, strict=True))


def _add(out: np.ndarray, sound: np.ndarray, at_s: float) -> None:
    start = round(at_s * SAMPLE_RATE)
    room_left = max(0, len(out) - start)
    out[start : start + len(sound)] += sound[:room_left]


def at_level(waveform: np.ndarray, rms_db: float = TARGET_RMS_DB) -> np.ndarray:
    """Scale to a root mean square in dB below full scale, or less where the peak would pass 0.95."""
    rms = float(np.sqrt(np.mean(waveform.astype(np.float64) ** 2)))
    gain = 10 ** (rms_db / 20) / max(rms, 1e-9)
    return waveform * np.float32(min(gain, MAX_PEAK / max(1e-9, float(np.abs(waveform).max()))))


def in_a_room(
    waveform: np.ndarray, rng: np.random.Generator, decay_s: float = 0.9, wet_db: float = -14.0
) -> np.ndarray:
    """Add the room: 12 ms after the direct sound, noise that dies away by 60 dB in `decay_s`, and a quiet hiss."""
    length = round(decay_s * SAMPLE_RATE)
    tail = rng.normal(0, 1, (length, 2)) * 10 ** (-3 * np.arange(length) / length)[:, None]
    tail = signal.sosfilt(signal.butter(1, 3500, fs=SAMPLE_RATE, output="sos"), tail, axis=0)
    tail *= 10 ** (wet_db / 20) / np.sqrt((tail**2).sum(axis=0))
    response = np.concatenate([np.zeros((round(0.012 * SAMPLE_RATE), 2)), tail])
    wet = signal.oaconvolve(waveform.astype(np.float64), response, axes=0)[: len(waveform)]
    hiss = rng.normal(0, 10 ** (NOISE_FLOOR_DB / 20), waveform.shape)
    return at_level((waveform + wet).astype(np.float32)) + hiss.astype(np.float32)


def encode(waveform: np.ndarray, suffix: str, tags: dict[str, str]) -> bytes:
    """Give the bytes of an audio file. The same samples and tags give the same bytes with the same FFmpeg."""
    import av

    container_name, codec, bit_rate, rate = FORMATS[suffix]
    out = io.BytesIO()
    with av.open(out, "w", format=container_name, options={"fflags": "+bitexact"}) as container:
        container.metadata.update(tags)
        stream: Any = container.add_stream(codec, rate=rate, layout="stereo", options={"strict": "experimental"})
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        if bit_rate is not None:
            stream.codec_context.bit_rate = bit_rate
        resampler = av.AudioResampler(format=stream.codec_context.format, layout="stereo", rate=rate)
        for frame in [*_frames(to_16_bit(waveform)), None]:
            for resampled in resampler.resample(frame):
                container.mux(stream.encode(resampled))
        container.mux(stream.encode(None))
    return out.getvalue()


def to_16_bit(waveform: np.ndarray) -> np.ndarray:
    """Round to what a compact disc holds."""
    return np.round(np.clip(waveform, -1, 1) * 32767).astype(np.int16)


def _frames(samples: np.ndarray, block: int = 4096):
    import av

    for start in range(0, len(samples), block):
        chunk = np.ascontiguousarray(samples[start : start + block]).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(chunk, format="s16", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, start, Fraction(1, SAMPLE_RATE)
        yield frame
