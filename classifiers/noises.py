"""Sounds that are no music: speech, applause, weather, machines, animals, tones and near-silence. Mono float32.

Speech comes from espeak-ng (many languages) and flite (voices made of recorded people) where they are installed,
otherwise, and always in part, from a source-filter synthesiser here.
Levels are left to the caller; only `near_silence` has a level of its own.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import tempfile
import wave
from functools import lru_cache

import numpy as np
from scipy import signal

from classifiers.instruments import VOWELS_HZ, resonate, tone_from_hz

ESPEAK_VARIANTS = ("", "+f1", "+f2", "+f3", "+f4", "+m1", "+m2", "+m3", "+m4", "+m5", "+m7", "+croak", "+whisper")
FLITE_VOICES = ("slt", "rms", "awb", "kal16")
COMMON_WORDS = (
    "the of and to in that it was for on are with as his they be at one have this from by hot but some what there we "
    "can out other were all your when up use word how said an each she which do their time if will way about many "
    "then them would write like so these her long make thing see him two has look more day could go come did my sound "
    "number people over water call first who may down side been now find any new work part take get place made live "
    "ladies gentlemen welcome evening tonight concert piece next composer played written thank you very much sonata"
).split()
SYLLABLES = ("ka", "to", "ri", "me", "su", "na", "lo", "vi", "pe", "du", "sha", "gro", "tin", "bal", "fre", "mon", "ol")


def coloured(rng: np.random.Generator, num_samples: int, slope: float) -> np.ndarray:
    """Noise whose power falls as frequency ** -slope (0 white, 1 pink, 2 brown), RMS 1."""
    spectrum = np.fft.rfft(rng.standard_normal(num_samples))
    spectrum *= np.maximum(np.arange(len(spectrum)), 20.0) ** (-slope / 2)
    noise = np.fft.irfft(spectrum, num_samples).astype(np.float32)
    return noise / (noise.std() + 1e-9)


def band_noise(rng, num_samples: int, sample_rate: int, low_hz: float, high_hz: float) -> np.ndarray:
    """White noise between two frequencies."""
    sections = signal.butter(2, [low_hz, min(high_hz, 0.49 * sample_rate)], "bandpass", fs=sample_rate, output="sos")
    return signal.sosfilt(sections, rng.standard_normal(num_samples)).astype(np.float32)


def curve(rng, num_samples: int, num_points: int, low: float, high: float) -> np.ndarray:
    """A smooth random curve between two values."""
    return np.interp(np.linspace(0, 1, num_samples), np.linspace(0, 1, num_points), rng.uniform(low, high, num_points))


@lru_cache(maxsize=1)
def espeak_languages() -> tuple[str, ...]:
    """Language names espeak-ng offers here; empty where it is not installed."""
    if shutil.which("espeak-ng") is None:
        return ()
    listing = subprocess.run(["espeak-ng", "--voices"], capture_output=True, text=True, check=False).stdout
    return tuple(sorted({line.split()[1] for line in listing.splitlines()[1:]}))


def speech(rng: np.random.Generator, num_samples: int, sample_rate: int) -> np.ndarray:
    """Someone talking; by a speech program three times of four if there is one, from formulas otherwise."""
    kind = rng.random()
    if kind < 0.35 and shutil.which("flite"):
        return flite_speech(rng, num_samples, sample_rate)
    if kind < 0.75 and espeak_languages():
        return espeak_speech(rng, num_samples, sample_rate)
    return formant_speech(rng, num_samples, sample_rate)


def espeak_speech(rng: np.random.Generator, num_samples: int, sample_rate: int) -> np.ndarray:
    """Invented words and numbers read by a random espeak-ng voice."""
    words = []
    for _ in range(int(4 * num_samples / sample_rate) + 4):
        is_number = rng.random() < 0.3
        word = str(rng.integers(0, 2000)) if is_number else "".join(rng.choice(SYLLABLES, int(rng.integers(1, 4))))
        words.append(word + ("." if rng.random() < 0.1 else ""))
    common = [language for language in espeak_languages() if language.split("-")[0] in ("en", "de", "fr", "es", "ru")]
    language = rng.choice(common if rng.random() < 0.5 and common else espeak_languages())
    voice = f"{language}{rng.choice(ESPEAK_VARIANTS)}"
    rate, pitch = str(rng.integers(110, 230)), str(rng.integers(10, 95))
    command = ["espeak-ng", "-v", voice, "-s", rate, "-p", pitch, "--stdout", " ".join(words)]
    raw = subprocess.run(command, capture_output=True, check=False).stdout
    spoken = _spoken(raw, sample_rate)
    return formant_speech(rng, num_samples, sample_rate) if spoken is None else np.resize(spoken, num_samples)


def flite_speech(rng: np.random.Generator, num_samples: int, sample_rate: int) -> np.ndarray:
    """Common words and numbers read by one of flite's voices, at a random rate and pitch."""
    words = [
        str(rng.integers(0, 2000)) if rng.random() < 0.2 else str(rng.choice(COMMON_WORDS))
        for _ in range(int(3.5 * num_samples / sample_rate) + 4)
    ]
    text = "".join(f"{word}{rng.choice(['. ', ', ', ' '], p=[0.08, 0.08, 0.84])}" for word in words)
    stretch, pitch_hz = (
        f"duration_stretch={rng.uniform(0.8, 1.3):.2f}",
        f"int_f0_target_mean={rng.uniform(80, 230):.0f}",
    )
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        voice = str(rng.choice(FLITE_VOICES))
        command = ["flite", "-voice", voice, "--setf", stretch, "--setf", pitch_hz, "-t", text, "-o", file.name]
        subprocess.run(command, capture_output=True, check=False)
        spoken = _spoken(file.read(), sample_rate)
    return formant_speech(rng, num_samples, sample_rate) if spoken is None else np.resize(spoken, num_samples)


def _spoken(wav: bytes, sample_rate: int) -> np.ndarray | None:
    """A speech program's WAV, whose length field may be wrong, as mono float32; None if it said nothing."""
    if len(wav) < 1000:
        return None
    with wave.open(io.BytesIO(wav)) as file:
        source_rate = file.getframerate()
    waveform = np.frombuffer(wav[44:], dtype="<i2", count=(len(wav) - 44) // 2).astype(np.float32) / 32768.0
    return signal.resample_poly(waveform, sample_rate, source_rate).astype(np.float32)


def formant_speech(rng: np.random.Generator, num_samples: int, sample_rate: int) -> np.ndarray:
    """Syllables of voiced vowels and hissed consonants with a falling and rising voice."""
    duration_s, base_hz = num_samples / sample_rate, float(np.exp(rng.uniform(np.log(75), np.log(330))))
    hz = base_hz * curve(rng, num_samples, int(3 * duration_s) + 2, 0.75, 1.35)
    hz *= 1 + 0.01 * curve(rng, num_samples, int(60 * duration_s) + 2, -1, 1)
    voiced, hissed = np.zeros(num_samples, np.float32), np.zeros(num_samples, np.float32)
    position = 0.0
    while position < duration_s:
        length = rng.uniform(0.08, 0.3)
        start, end = int(position * sample_rate), int((position + length) * sample_rate)
        voiced[start:end] = rng.uniform(0.4, 1.0)
        if rng.random() < 0.5:
            hissed[end : end + int(rng.uniform(0.02, 0.12) * sample_rate)] = rng.uniform(0.02, 0.3)
        position += length + (rng.uniform(0.02, 0.1) if rng.random() < 0.85 else rng.uniform(0.2, 0.9))
    smooth = int(0.012 * sample_rate)
    voiced, hissed = (signal.lfilter([1 / smooth], [1, -(1 - 1 / smooth)], gate) for gate in (voiced, hissed))
    source = (
        tone_from_hz(hz, sample_rate, rng.uniform(0.8, 1.4)) * voiced + 0.05 * rng.standard_normal(num_samples) * voiced
    )
    vowels = np.array([VOWELS_HZ[int(rng.integers(len(VOWELS_HZ)))] for _ in range(int(5 * duration_s) + 2)])
    spoken = resonate(source.astype(np.float32), vowels * rng.uniform(0.85, 1.3), sample_rate, 0.08)
    spoken /= np.abs(spoken).max() + 1e-9
    hiss = band_noise(rng, num_samples, sample_rate, rng.uniform(1500, 3500), rng.uniform(5000, 7800))
    return (spoken + hissed * hiss).astype(np.float32)


def bursts(rng, num_samples: int, sample_rate: int, onsets_s: np.ndarray, decay_s: tuple[float, float]) -> np.ndarray:
    """A short noise of random colour and length at every onset: claps, drops, ticks, crackles, steps."""
    shapes = []
    for _ in range(12):
        length = int(6 * rng.uniform(*decay_s) * sample_rate) + 16
        low_hz = np.exp(rng.uniform(np.log(150), np.log(3000)))
        noise = band_noise(rng, length, sample_rate, low_hz, low_hz * rng.uniform(1.3, 6))
        shapes.append(noise * np.exp(-np.arange(length) / (length / 6)))
    out = np.zeros(num_samples, np.float32)
    for onset_s in onsets_s:
        start = int(onset_s * sample_rate)
        shape = shapes[int(rng.integers(len(shapes)))][: max(0, num_samples - start)]
        out[start : start + len(shape)] += shape * np.float32(np.exp(rng.normal(0, 0.6)))
    return out


def applause(rng: np.random.Generator, num_samples: int, sample_rate: int) -> np.ndarray:
    """From a few people to a hall, sometimes with cheers and whistles, swelling and dying."""
    duration_s = num_samples / sample_rate
    people = int(np.exp(rng.uniform(np.log(3), np.log(300))))
    onsets_s = rng.uniform(0, duration_s, int(people * 4 * duration_s))
    out = bursts(rng, num_samples, sample_rate, onsets_s, (0.002, 0.012))
    out /= out.std() + 1e-9
    out += rng.uniform(0, 0.7) * band_noise(rng, num_samples, sample_rate, 400, rng.uniform(3000, 7500)) * 2
    if rng.random() < 0.4:
        out += rng.uniform(0.2, 1.5) * crowd(rng, num_samples, sample_rate)
    return (out * curve(rng, num_samples, 6, 0.2, 1.0)).astype(np.float32)


def crowd(rng: np.random.Generator, num_samples: int, sample_rate: int) -> np.ndarray:
    """Several people talking, cheering or crying out at once, RMS 1."""
    out = np.zeros(num_samples, np.float32)
    for _ in range(int(rng.integers(2, 6))):
        voice = formant_speech(rng, num_samples, sample_rate)
        out += np.roll(voice, int(rng.integers(num_samples))) * rng.uniform(0.3, 1)
    return out / (out.std() + 1e-9)


def weather(rng: np.random.Generator, num_samples: int, sample_rate: int) -> np.ndarray:
    """Wind, rain, sea, fire, running water, hiss."""
    duration_s = num_samples / sample_rate
    swell = curve(rng, num_samples, int(rng.integers(2, 3 + 2 * int(duration_s))), rng.uniform(0.05, 1.0), 1.0)
    out = coloured(rng, num_samples, rng.uniform(0, 2.2)) * swell
    if rng.random() < 0.5:
        low_hz = np.exp(rng.uniform(np.log(60), np.log(2500)))
        out += band_noise(rng, num_samples, sample_rate, low_hz, low_hz * rng.uniform(1.3, 6)) * swell * 2
    if rng.random() < 0.25:  # wind that howls around a house
        howl = np.exp(np.log(rng.uniform(150, 1500)) + rng.uniform(-0.5, 0.5, (int(duration_s) + 2, 1)))
        out = resonate(out, howl, sample_rate, rng.uniform(0.03, 0.2))
        out /= out.std() + 1e-9
    if rng.random() < 0.5:
        num_drops = int(np.exp(rng.uniform(np.log(1), np.log(400))) * duration_s)
        drops = bursts(rng, num_samples, sample_rate, rng.uniform(0, duration_s, num_drops), (0.0005, 0.01))
        out = rng.uniform(0, 1) * out + drops / (drops.std() + 1e-9)
    return out.astype(np.float32)


def machine(rng: np.random.Generator, num_samples: int, sample_rate: int) -> np.ndarray:
    """Engines, rotors, saws, hums, clocks."""
    duration_s = num_samples / sample_rate
    if rng.random() < 0.35:
        period_s = float(np.exp(rng.uniform(np.log(0.04), np.log(1.2))))
        onsets_s = np.arange(0, duration_s, period_s) + rng.normal(
            0, 0.03 * period_s, int(np.ceil(duration_s / period_s))
        )
        decay_s = (0.001, 0.01) if period_s > 0.2 else (0.005, 0.05)
        out = bursts(rng, num_samples, sample_rate, np.clip(onsets_s, 0, duration_s - 0.01), decay_s)
        return out + 0.02 * rng.random() * coloured(rng, num_samples, 1.0)
    hz = np.exp(rng.uniform(np.log(18), np.log(250))) * curve(rng, num_samples, int(rng.integers(2, 12)), 0.8, 1.3)
    if rng.random() < 0.4:
        hz = np.full(num_samples, rng.choice([50.0, 60.0, 100.0, 120.0]))
    tone = tone_from_hz(hz, sample_rate, rng.uniform(0.2, 1.8))
    noise = coloured(rng, num_samples, rng.uniform(0.3, 1.5)) * (
        1 + 0.7 * np.sin(np.cumsum(2 * np.pi * hz / sample_rate))
    )
    return (tone / (tone.std() + 1e-9) + rng.uniform(0, 1.5) * noise).astype(np.float32)


def animal(rng: np.random.Generator, num_samples: int, sample_rate: int) -> np.ndarray:
    """Calls whose pitch arcs: barks, birds, hens, crying, sirens, squeaks."""
    out = np.zeros(num_samples, np.float32)
    base_hz = float(np.exp(rng.uniform(np.log(150), np.log(4500))))
    length_s, roughness, tilt = np.exp(rng.uniform(np.log(0.04), np.log(1.5))), rng.uniform(0, 0.5), rng.uniform(0.3, 2)
    position = rng.uniform(0, 0.5)
    while position < num_samples / sample_rate - length_s:
        length = int(length_s * rng.uniform(0.7, 1.3) * sample_rate)
        arc = base_hz * curve(rng, length, int(rng.integers(2, 6)), 0.7, 1.4)
        call = tone_from_hz(arc, sample_rate, tilt) + roughness * rng.standard_normal(length)
        call *= np.sin(np.linspace(0, np.pi, length)) ** rng.uniform(0.3, 2)
        start = int(position * sample_rate)
        out[start : start + length] += call[: num_samples - start].astype(np.float32)
        position += length_s * rng.uniform(1, 2) + (rng.exponential(0.8) if rng.random() < 0.5 else 0.05)
    return out + (0.003 + 0.05 * rng.random()) * coloured(rng, num_samples, 1.0)


def tones(rng: np.random.Generator, num_samples: int, sample_rate: int) -> np.ndarray:
    """Pure tones, beeps, sweeps."""
    hz = np.exp(curve(rng, num_samples, 2, np.log(40), np.log(7000)))
    if rng.random() < 0.7:
        step = int(rng.uniform(0.05, 2.0) * sample_rate)
        hz = np.repeat(np.exp(rng.uniform(np.log(60), np.log(6000), num_samples // step + 1)), step)[:num_samples]
    gate = (
        signal.square(np.arange(num_samples) / sample_rate * rng.uniform(1, 20)) > -0.5 if rng.random() < 0.5 else 1.0
    )
    return (np.sin(np.cumsum(2 * np.pi * hz / sample_rate)) * gate).astype(np.float32)


def near_silence(rng: np.random.Generator, num_samples: int, sample_rate: int) -> np.ndarray:
    """Digital zero, dither, room tone, hum or hiss, from -110 to -45 dB."""
    kind = int(rng.integers(5))
    level = 10 ** (rng.uniform(-110, -45) / 20)
    if kind == 0:
        return np.zeros(num_samples, np.float32)
    if kind == 1:
        return (np.round(rng.triangular(-1, 0, 1, num_samples)) / 32768.0).astype(np.float32)
    if kind == 2:
        return (level * coloured(rng, num_samples, rng.uniform(0.5, 2.2))).astype(np.float32)
    if kind == 3:
        hz = np.full(num_samples, rng.choice([50.0, 60.0, 100.0, 120.0]))
        hum = tone_from_hz(hz, sample_rate, rng.uniform(0.8, 2.5)) + rng.uniform(0, 0.5) * coloured(
            rng, num_samples, 1.0
        )
        return (level * hum).astype(np.float32)
    return (level * coloured(rng, num_samples, rng.uniform(0, 0.5))).astype(np.float32)
