"""Instruments made from formulas, so that training does not depend on the taste of a few soundfonts.

Two families: `StruckBank` (strings and bars that are hit or plucked and die away: pianos, harpsichords, guitars,
bars, bells) and `sing_notes` (a source through resonances with vibrato and glides: bowed, blown and sung).
Every call draws a new instrument from its generator. Mono float32, pitch in MIDI numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import signal

from classifiers.music import Note, Pedal

BANK_STEP = 4  # semitones between synthesised strings; those between are played faster or slower
BANK_SECONDS = 5.0


@dataclass(frozen=True)
class Struck:
    """The physics of one struck or plucked instrument. Ranges: Fletcher and Rossing, Physics of Musical Instruments."""

    inharmonicity: float  # of A2 (45); doubles every `inharmonicity_step` semitones above
    inharmonicity_step: float
    ratios: tuple[float, ...] | None  # of bars and bells; None for strings
    strike_point: float  # fraction of the length, cancels every 1/strike_point-th partial
    soft_hz: float  # spectrum falls by e every soft_hz (quiet notes)
    hard_hz: float  # the same for loud notes
    tilt: float  # amplitude of partial n falls as n ** -tilt
    decay_s: float  # 60 dB decay of A2
    decay_step: float  # semitones over which the decay halves
    damping: float  # how much faster high partials die
    detune_cents: float  # between the strings of one note
    knock: float  # level of the mechanical noise
    attack_s: float
    release_s: float
    has_dynamics: bool  # a harpsichord has none
    octave_stop: float  # level of a second string one octave up


def random_piano(rng: np.random.Generator) -> Struck:
    """An upright, a grand, an old or a bright one."""
    soft_hz = float(np.exp(rng.uniform(np.log(250), np.log(900))))
    return Struck(
        inharmonicity=float(np.exp(rng.uniform(np.log(5e-5), np.log(3e-4)))),
        inharmonicity_step=float(rng.uniform(6, 10)),
        ratios=None,
        strike_point=float(rng.uniform(1 / 9, 1 / 7)),
        soft_hz=soft_hz,
        hard_hz=soft_hz * float(rng.uniform(2, 4.5)),
        tilt=float(rng.uniform(0.0, 0.7)),
        decay_s=float(rng.uniform(6, 18)),
        decay_step=float(rng.uniform(11, 18)),
        damping=float(rng.uniform(0.02, 0.2)),
        detune_cents=float(rng.choice([0.4, 1.0, 2.5, 9.0], p=[0.4, 0.35, 0.2, 0.05])),
        knock=float(rng.uniform(0.005, 0.12)),
        attack_s=float(rng.uniform(0.001, 0.006)),
        release_s=float(rng.uniform(0.04, 0.2)),
        has_dynamics=True,
        octave_stop=0.0,
    )


def random_harpsichord(rng: np.random.Generator) -> Struck:
    """Plucked near the end, bright, with jacks that click, without dynamics, often with a four-foot stop."""
    return Struck(
        inharmonicity=float(rng.uniform(5e-6, 5e-5)),
        inharmonicity_step=12.0,
        ratios=None,
        strike_point=float(rng.uniform(0.05, 0.3)),
        soft_hz=(hard_hz := float(rng.uniform(2500, 12000))),
        hard_hz=hard_hz,
        tilt=float(rng.uniform(0.0, 0.7)),
        decay_s=float(rng.uniform(3, 10)),
        decay_step=float(rng.uniform(12, 20)),
        damping=float(rng.uniform(0.0, 0.06)),
        detune_cents=float(rng.uniform(0.3, 4)),
        knock=float(rng.uniform(0.01, 0.15)),
        attack_s=0.0005,
        release_s=float(rng.uniform(0.03, 0.12)),
        has_dynamics=False,
        octave_stop=float(rng.choice([0.0, 0.5, 0.8])),
    )


def random_plucked(rng: np.random.Generator) -> Struck:
    """Guitars, lutes, harps, zithers."""
    soft_hz = float(np.exp(rng.uniform(np.log(500), np.log(4000))))
    return Struck(
        inharmonicity=float(rng.uniform(0, 6e-5)),
        inharmonicity_step=14.0,
        ratios=None,
        strike_point=float(rng.uniform(0.08, 0.45)),
        soft_hz=soft_hz,
        hard_hz=soft_hz * float(rng.uniform(1, 1.6)),
        tilt=float(rng.uniform(0.3, 1.2)),
        decay_s=float(rng.uniform(1.5, 7)),
        decay_step=float(rng.uniform(14, 30)),
        damping=float(rng.uniform(0.02, 0.4)),
        detune_cents=float(rng.choice([0.0, 0.0, 3.0, 8.0])),
        knock=float(rng.uniform(0.0, 0.05)),
        attack_s=float(rng.uniform(0.0005, 0.003)),
        release_s=float(rng.uniform(0.05, 0.4)),
        has_dynamics=True,
        octave_stop=float(rng.choice([0.0, 0.0, 0.0, 0.6])),
    )


BAR_RATIOS = (
    (1.0, 4.0, 10.0),  # marimba
    (1.0, 3.0, 6.0),  # xylophone
    (1.0, 2.76, 5.4, 8.93),  # free bar: celesta, glockenspiel
    (0.5, 1.0, 1.2, 1.5, 2.0, 2.5, 2.67, 3.0, 4.0),  # bell
    (1.0, 4.0),  # vibraphone
    (1.0, 6.27, 17.5),  # music box comb, tine piano
    (1.0, 2.0, 3.0, 4.0, 14.0),  # electric piano: near-sine with a tine
)


def random_bars(rng: np.random.Generator) -> Struck:
    """Marimba, celesta, vibraphone, bells, music box, electric piano."""
    hz = float(rng.uniform(1500, 8000))
    ratios = BAR_RATIOS[int(rng.integers(len(BAR_RATIOS)))]
    return Struck(
        inharmonicity=0.0,
        inharmonicity_step=12.0,
        ratios=tuple(ratio * (1 + 0.01 * float(rng.normal())) if ratio != 1.0 else 1.0 for ratio in ratios),
        strike_point=0.0,
        soft_hz=hz,
        hard_hz=hz * float(rng.uniform(1, 2)),
        tilt=float(rng.uniform(0.5, 1.8)),
        decay_s=float(rng.uniform(0.4, 8)),
        decay_step=float(rng.uniform(15, 40)),
        damping=float(rng.uniform(0.05, 0.6)),
        detune_cents=0.0,
        knock=float(rng.uniform(0, 0.2)),
        attack_s=float(rng.uniform(0.0005, 0.003)),
        release_s=float(rng.uniform(0.05, 1.5)),
        has_dynamics=True,
        octave_stop=0.0,
    )


class Bank:
    """Some notes of an instrument, each once soft and once hard; `play` cuts, bends and mixes them."""

    def __init__(self, pitches: Sequence[int], sample_rate: int, has_dynamics: bool, release_s: float):
        self.pitches, self.sample_rate = np.asarray(pitches), sample_rate
        self.has_dynamics, self.release_s = has_dynamics, release_s
        self._layers: list[tuple[np.ndarray, np.ndarray]] = []  # (soft, hard) of each pitch, peak 1

    def play(self, notes: Sequence[Note], pedals: Sequence[Pedal], duration_s: float) -> np.ndarray:
        """Mono float32 of `duration_s`. The pedal holds every note that is released while it is down."""
        out = np.zeros(int(duration_s * self.sample_rate), np.float32)
        for onset_s, offset_s, pitch, velocity in notes:
            for down_s, up_s, controller in pedals:
                if controller == 64 and down_s <= offset_s < up_s:
                    offset_s = up_s
            self._add(out, onset_s, offset_s, pitch, velocity)
        return out

    def _add(self, out: np.ndarray, onset_s: float, offset_s: float, pitch: int, velocity: int) -> None:
        index = int(np.argmin(np.abs(self.pitches - pitch)))
        hardness = (velocity / 127.0) ** 2 if self.has_dynamics else 1.0
        level = 10 ** ((velocity - 127) * 0.3 / 20) if self.has_dynamics else 1.0
        soft, hard = self._layers[index]
        start = int(onset_s * self.sample_rate)
        length = min(int((offset_s - onset_s + 3 * self.release_s) * self.sample_rate), len(out) - start)
        if length <= 0:
            return
        speed = 2.0 ** ((pitch - int(self.pitches[index])) / 12.0)
        needed = min(len(soft), len(hard), int(length * speed) + 2)
        tone = (1 - hardness) * soft[:needed] + hardness * hard[:needed]
        if speed != 1.0:
            tone = np.interp(np.arange(0, needed - 1, speed), np.arange(needed), tone).astype(np.float32)
        tone = tone[:length] * np.float32(level)
        key_up = int((offset_s - onset_s) * self.sample_rate)
        if key_up < len(tone):
            after = np.arange(len(tone) - key_up, dtype=np.float32) / np.float32(self.sample_rate)
            tone[key_up:] *= np.exp(-after * np.float32(3.0 / self.release_s))
        out[start : start + len(tone)] += tone


class StruckBank(Bank):
    """Every fourth string of one instrument made from a formula."""

    def __init__(self, rng: np.random.Generator, struck: Struck, sample_rate: int, low: int = 21, high: int = 108):
        super().__init__(range(low, high + 1, BANK_STEP), sample_rate, struck.has_dynamics, struck.release_s)
        self.struck = struck
        self._layers = [self._string(rng, int(pitch)) for pitch in self.pitches]

    def _string(self, rng: np.random.Generator, pitch: int) -> tuple[np.ndarray, np.ndarray]:
        struck = self.struck
        frequency_hz = 440.0 * 2.0 ** ((pitch - 69 + rng.normal(0, 0.03)) / 12.0)
        decay_s = max(0.25, struck.decay_s * 2.0 ** (-(pitch - 45) / struck.decay_step))
        length = int(min(BANK_SECONDS, 1.2 * decay_s) * self.sample_rate)
        times = np.arange(length, dtype=np.float32) / np.float32(self.sample_rate)
        soft, hard = np.zeros(length, np.float32), np.zeros(length, np.float32)
        voices = [(0.0, 1.0)] + [(struck.detune_cents * rng.normal(), 0.5)] * (struck.detune_cents > 0 and pitch > 40)
        voices += [(1200.0, struck.octave_stop)] * (struck.octave_stop > 0)
        for cents, level in voices:
            for ratio, number in self._partials(pitch, frequency_hz * 2 ** (cents / 1200.0)):
                hz = frequency_hz * 2 ** (cents / 1200.0) * ratio
                comb = abs(np.sin(np.pi * number * struck.strike_point)) + 0.05 if struck.strike_point else 1.0
                amplitude = level * comb * number**-struck.tilt * np.exp(rng.normal(0, 0.4))
                rate = 6.9 / decay_s * (1 + struck.damping * (number - 1)) * np.exp(rng.normal(0, 0.2))
                fade = 0.75 * np.exp(-2.5 * rate * times) + 0.25 * np.exp(-0.7 * rate * times)
                wave = fade * np.sin(np.float32(2 * np.pi * hz) * times + np.float32(rng.uniform(0, 6.3)))
                soft += np.float32(amplitude * np.exp(-hz / struck.soft_hz)) * wave
                hard += np.float32(amplitude * np.exp(-hz / struck.hard_hz)) * wave
        rise = np.clip(times / max(struck.attack_s, 1e-4), 0, 1)
        soft, hard = (layer * rise / (np.abs(layer).max() + 1e-9) for layer in (soft, hard))
        knock = _knock(rng, length, self.sample_rate) * struck.knock
        return (soft + 0.3 * knock).astype(np.float32), (hard + knock).astype(np.float32)

    def _partials(self, pitch: int, frequency_hz: float) -> list[tuple[float, int]]:
        limit = min(0.47 * self.sample_rate, 7600.0)
        if self.struck.ratios is not None:
            return [(r, i + 1) for i, r in enumerate(self.struck.ratios) if r * frequency_hz < limit]
        stretch = self.struck.inharmonicity * 2.0 ** (max(0, pitch - 45) / self.struck.inharmonicity_step)
        partials = [(n * np.sqrt(1 + stretch * n * n), n) for n in range(1, 41)]
        return [(ratio, n) for ratio, n in partials if ratio * frequency_hz < limit]


def _knock(rng: np.random.Generator, length: int, sample_rate: int) -> np.ndarray:
    """Key, hammer or plectrum: a short burst of low-passed noise."""
    burst = rng.standard_normal(length).astype(np.float32)
    burst *= np.exp(-np.arange(length, dtype=np.float32) / np.float32(sample_rate * rng.uniform(0.008, 0.04)))
    sections = signal.butter(2, rng.uniform(300, 3000), fs=sample_rate, output="sos")
    burst = signal.sosfilt(sections, burst).astype(np.float32)
    return burst / (np.abs(burst).max() + 1e-9)


@dataclass(frozen=True)
class Sung:
    """A sustained voice: how its pitch moves and which resonances colour it."""

    vibrato_hz: float
    vibrato_cents: float
    glide_s: float  # from one note to the next
    tilt: float  # spectrum of the source falls as n ** -tilt
    breath: float  # noise beside the tone
    attack_s: float
    odd_only: float  # 1: clarinet-like, 0: all partials
    num_players: int
    resonances_hz: tuple[float, ...]  # of a fixed body (violin, horn); empty: a mouth, whose vowels change


def random_sung(rng: np.random.Generator) -> Sung:
    """A bowed, blown or sung instrument."""
    is_mouth = rng.random() < 0.4
    return Sung(
        vibrato_hz=float(rng.uniform(4, 7.5)),
        vibrato_cents=float(rng.choice([0, 8, 20, 45], p=[0.25, 0.25, 0.3, 0.2])),
        glide_s=float(rng.choice([0.005, 0.03, 0.1])),
        tilt=float(rng.uniform(0.6, 2.0)),
        breath=float(rng.choice([0.003, 0.03, 0.15])),
        attack_s=float(rng.uniform(0.01, 0.15)),
        odd_only=float(rng.choice([0.0, 0.0, 0.0, 0.9])),
        num_players=int(rng.choice([1, 1, 1, 4])),
        resonances_hz=() if is_mouth else tuple(float(hz) for hz in np.exp(rng.uniform(np.log(200), np.log(5000), 5))),
    )


VOWELS_HZ = (
    (800, 1200, 2500),
    (400, 2000, 2600),
    (300, 2300, 3000),
    (450, 800, 2600),
    (320, 700, 2500),
    (600, 1700, 2400),
)


def sing_notes(rng, sung: Sung, notes: Sequence[Note], duration_s: float, sample_rate: int) -> np.ndarray:
    """Play notes with one line a player at a time (the last struck note sounds). Mono float32 of `duration_s`."""
    length = int(duration_s * sample_rate)
    pitch, level = _lines(notes, length, sample_rate)
    smooth = max(1, int(sung.glide_s * sample_rate))
    pitch = signal.lfilter([1 / smooth], [1, -(1 - 1 / smooth)], pitch - pitch[0]) + pitch[0]
    smooth = max(1, int(sung.attack_s * sample_rate))
    level = signal.lfilter([1 / smooth], [1, -(1 - 1 / smooth)], level).astype(np.float32)
    times = np.arange(length) / sample_rate
    out = np.zeros(length, np.float32)
    for _ in range(sung.num_players):
        sway = sung.vibrato_cents * np.sin(2 * np.pi * sung.vibrato_hz * times + rng.uniform(0, 6.3))
        drift = np.interp(times, np.linspace(0, duration_s, 20), rng.normal(0, 6 if sung.num_players == 1 else 15, 20))
        hz = 440.0 * 2.0 ** ((pitch - 69 + (sway + drift) / 100.0) / 12.0)
        out += tone_from_hz(hz, sample_rate, sung.tilt, sung.odd_only) * level
    out += sung.breath * level * rng.standard_normal(length).astype(np.float32)
    if sung.resonances_hz:
        return resonate(out, np.tile(sung.resonances_hz, (2, 1)), sample_rate, float(rng.uniform(0.08, 0.4)))
    vowels = np.array([VOWELS_HZ[int(rng.integers(len(VOWELS_HZ)))] for _ in range(max(2, int(2 * duration_s)))])
    return resonate(out, vowels * rng.uniform(0.9, 1.25), sample_rate, 0.1)


def _lines(notes: Sequence[Note], length: int, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    pitch, level = np.full(length, float(notes[0][2]) if notes else 60.0), np.zeros(length, np.float32)
    for onset_s, offset_s, number, velocity in sorted(notes):
        start, end = int(onset_s * sample_rate), int(offset_s * sample_rate)
        pitch[start:] = number
        level[start:] = 0.0
        level[start:end] = 10 ** ((velocity - 127) * 0.25 / 20)
    return pitch, level


def tone_from_hz(hz: np.ndarray, sample_rate: int, tilt: float, odd_only: float = 0.0) -> np.ndarray:
    """A tone of up to 40 partials that follows `hz` (one value a sample). Mono float32, not normalised."""
    phase = np.cumsum(2 * np.pi * hz / sample_rate)
    cosine, before, now = 2 * np.cos(phase), np.zeros_like(phase), np.sin(phase)
    out = np.zeros_like(phase)
    num_partials = max(1, min(40, int(0.47 * sample_rate / max(float(np.median(hz)), 30.0))))
    for number in range(1, num_partials + 1):
        weight = number**-tilt * ((1 - odd_only) if number % 2 == 0 else 1.0)
        out += np.where(hz * number < 0.48 * sample_rate, weight, 0.0) * now
        before, now = now, cosine * now - before
    return out.astype(np.float32)


def resonate(source: np.ndarray, resonances_hz: np.ndarray, sample_rate: int, width: float) -> np.ndarray:
    """Colour a sound with resonances that move through the rows of `resonances_hz` (steps, resonances)."""
    frequencies, frame_times, spectrum = signal.stft(source, sample_rate, nperseg=512, noverlap=384)
    steps = np.linspace(0, frame_times[-1], len(resonances_hz))
    gain = np.full(spectrum.shape, 0.02, np.float32)
    for column in range(resonances_hz.shape[1]):
        centre = np.interp(frame_times, steps, resonances_hz[:, column])[None, :]
        distance = (frequencies[:, None] - centre) / (width * centre + 50.0)
        gain += (0.8**column / (1.0 + distance**2)).astype(np.float32)
    _, coloured = signal.istft(spectrum * gain, sample_rate, nperseg=512, noverlap=384)
    out = np.zeros(len(source), np.float32)
    length = min(len(source), len(coloured))
    out[:length] = coloured[:length]
    return out
