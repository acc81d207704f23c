"""Labelled training clips from nothing but a seed: which sound, at which level, through which recording chain.

`make_session(seed, number)` always gives the same clips on a machine with the same soundfonts and espeak-ng.
A session keeps the same few instruments for all of its clips, because drawing an instrument costs a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from classifiers import instruments, music, noises
from classifiers.effects import record, rms
from classifiers.music import Key, Note, Pedal
from classifiers.samples import SampledBank, find_sampled_pianos
from classifiers.soundfont import find_soundfonts, has_program, render

CAUSES = ("piano", "other_instrument", "piano_plus_other", "speech", "noise", "silence")
NO_REAL_PIANO = ("opl",)  # FM synthesis: its pianos are no pianos, the rest are fine as something else


@dataclass(frozen=True)
class SynthesisConfig:
    """How much of what. Shares follow what a crawl for piano music brings home, with hard cases far more often."""

    sample_rate: int = 16000
    clip_s: float = 10.0
    clips_per_session: int = 16
    # of piano, other_instrument, piano_plus_other, speech, noise, silence; `dataset` adds more mixes on the fly
    shares: tuple[float, ...] = (0.38, 0.32, 0.13, 0.05, 0.10, 0.02)
    min_other_db: float = -12.0  # quieter than this beside the piano, people still call it a solo
    max_other_db: float = 12.0
    min_noise_db: float = -3.0  # weather and machines: a noisy recording of a piano is still one, up to here


@dataclass(frozen=True)
class Clip:
    """Ten seconds and why they are, or are not, clean solo piano."""

    waveform: np.ndarray  # mono float32
    cause: str  # one of CAUSES
    detail: str  # the instrument or noise, for tables


# General MIDI programs that are no piano, with how often each is drawn
PLUCKED_AND_STRUCK = {
    **{6: 7, 7: 2, 15: 2, 46: 3, 24: 4, 25: 3, 26: 3, 27: 2, 28: 1, 104: 1, 105: 1, 106: 1, 107: 1},
    **{4: 3, 5: 3, 8: 2, 9: 2, 10: 2, 11: 3, 12: 2, 13: 2, 14: 1, 45: 1, 47: 1, 108: 1, 112: 1, 114: 1},
}
HELD_CHORDS = dict.fromkeys([16, 17, 18, 19, 19, 20, 21, 21, 22, 23, 29, 30, 44, 48, 48, 49, 50, 51, 52, 52, 53, 54], 2)
HELD_CHORDS.update(dict.fromkeys([61, 62, 63, *range(88, 96)], 1))
SINGLE_LINE = {**dict.fromkeys([40, 40, 41, 42, 43, 110], 3), **dict.fromkeys(range(56, 80), 1)}
SINGLE_LINE.update(dict.fromkeys([*range(32, 40), *range(80, 88), 109, 111], 1))


class Studio:
    """The instruments one session can use."""

    def __init__(self, rng: np.random.Generator, config: SynthesisConfig):
        self.rng, self.config = rng, config
        fonts = find_soundfonts()
        self.fonts: Sequence[Path] = fonts
        self.piano_fonts = [font for font in fonts if not font.stem.lower().startswith(NO_REAL_PIANO)]
        self.piano_bank = instruments.StruckBank(rng, instruments.random_piano(rng), config.sample_rate)
        sampled = find_sampled_pianos()
        self.sampled = sampled[int(rng.integers(len(sampled)))] if sampled else None
        self.sampled_bank = SampledBank(rng, self.sampled, config.sample_rate) if self.sampled else None
        draw = (instruments.random_harpsichord, instruments.random_plucked, instruments.random_bars)
        kind = int(rng.choice(3, p=[0.4, 0.35, 0.25]))
        self.other_bank = instruments.StruckBank(rng, draw[kind](rng), config.sample_rate, 28, 96)
        self.other_bank_name = ("formula harpsichord", "formula plucked", "formula bars")[kind]

    @property
    def num_samples(self) -> int:
        return int(self.config.clip_s * self.config.sample_rate)

    def piano(self, key: Key | None = None, beats_per_s: float | None = None) -> tuple[np.ndarray, str]:
        """Solo piano: from a formula 25 times of 100, from recorded notes 35 times, else from a soundfont."""
        rng = self.rng
        notes, pedals = music.compose(rng, self.config.clip_s, key=key, beats_per_s=beats_per_s)
        kind = rng.random()
        if kind < 0.25:
            return self.piano_bank.play(notes, pedals, self.config.clip_s), "formula piano"
        if kind < 0.60 and self.sampled and self.sampled_bank:
            return self.sampled_bank.play(notes, pedals, self.config.clip_s), f"{self.sampled.name} piano"
        font = self.piano_fonts[int(rng.integers(len(self.piano_fonts)))]
        program = int(rng.choice([0, 1, 2, 3], p=[0.55, 0.33, 0.06, 0.06]))
        return self.from_font(notes, pedals, program, font), f"{font.stem} {program}"

    def from_font(
        self, notes: list[Note], pedals: list[Pedal], program: int, font: Path, is_drums: bool = False
    ) -> np.ndarray:
        """Rendered, detuned by a few cents (sometimes semitones), one channel or the middle of two."""
        import soxr

        rng = self.rng
        if not has_program(program, font, is_drums):
            program, font = (0 if is_drums else program), self.fonts[0]
        stereo = render(notes, pedals, program=program, soundfont=font, is_drums=is_drums, tail_s=1.0)
        mono = stereo.mean(axis=1) if rng.random() < 0.7 else stereo[:, 0]
        cents = rng.normal(0, 15) if rng.random() < 0.8 else rng.uniform(-250, 250)
        waveform = soxr.resample(mono, 44100 * 2 ** (cents / 1200), self.config.sample_rate, quality="MQ")
        return np.pad(waveform, (0, max(0, self.num_samples - len(waveform))))[: self.num_samples].astype(np.float32)

    def other(self, key: Key | None = None, beats_per_s: float | None = None) -> tuple[np.ndarray, str]:
        """One or more instruments, none of them a piano."""
        kind = self.rng.random()
        if kind < 0.30:
            return self._struck(key, beats_per_s)
        if kind < 0.50:
            return self._sung(key, beats_per_s)
        if kind < 0.65:
            return self._program(HELD_CHORDS, (*music.CHORDAL, music.melody), key, beats_per_s)
        if kind < 0.80:
            return self._program(
                SINGLE_LINE, (music.melody, music.melody, music.scales, music.arpeggios), key, beats_per_s
            )
        if kind < 0.94:
            return self._ensemble(key, beats_per_s)
        return self._chiptune(key, beats_per_s)

    def _struck(self, key, beats_per_s) -> tuple[np.ndarray, str]:
        if self.rng.random() < 0.4:
            low = 40 if "harpsichord" not in self.other_bank_name else 29
            notes, pedals = music.compose(
                self.rng, self.config.clip_s, low=low, high=90, key=key, beats_per_s=beats_per_s
            )
            pedals = [] if "harpsichord" in self.other_bank_name else pedals
            return self.other_bank.play(notes, pedals, self.config.clip_s), self.other_bank_name
        return self._program(PLUCKED_AND_STRUCK, music.TEXTURES, key, beats_per_s)

    def _program(self, weights: dict[int, int], textures, key, beats_per_s) -> tuple[np.ndarray, str]:
        rng = self.rng
        shares = np.array(list(weights.values()), float)
        program = int(rng.choice(list(weights), p=shares / shares.sum()))
        low, high = (36, 92)
        if 32 <= program < 40:
            textures, low, high = (music.walking_bass, music.melody), 28, 60
        notes, pedals = music.compose(rng, self.config.clip_s, textures, low, high, key, beats_per_s)
        pedals = pedals if program in (11, 15, 46) else []
        font = self.fonts[int(rng.integers(len(self.fonts)))]
        return self.from_font(notes, pedals, program, font), f"program {program}"

    def _sung(self, key, beats_per_s) -> tuple[np.ndarray, str]:
        rng = self.rng
        out, sung = np.zeros(self.num_samples, np.float32), instruments.random_sung(rng)
        num_lines = int(rng.choice([1, 2, 4], p=[0.6, 0.2, 0.2]))
        key = key or music.random_key(rng)
        beats_per_s = beats_per_s or float(rng.uniform(0.5, 3))
        for line in range(num_lines):
            low = int(rng.integers(36, 66)) if num_lines == 1 else 40 + 8 * line
            notes, _ = music.compose(rng, self.config.clip_s, (music.melody,), low, low + 20, key, beats_per_s)
            out += instruments.sing_notes(rng, sung, notes, self.config.clip_s, self.config.sample_rate)
        return out, "formula mouth" if not sung.resonances_hz else "formula bowed or blown"

    def _ensemble(self, key, beats_per_s) -> tuple[np.ndarray, str]:
        rng = self.rng
        key, beats_per_s = key or music.random_key(rng), beats_per_s or float(rng.uniform(0.8, 2.8))
        mix = np.zeros(self.num_samples, np.float32)
        families = [HELD_CHORDS, SINGLE_LINE, SINGLE_LINE, PLUCKED_AND_STRUCK]
        for index in rng.permutation(4)[: int(rng.integers(2, 5))]:
            textures = music.CHORDAL if index in (0, 3) else (music.melody,)
            part, _ = self._program(families[index], textures, key, beats_per_s)
            mix += part / rms(part) * np.float32(10 ** (rng.uniform(-9, 3) / 20))
        if rng.random() < 0.4:
            part = self.drums(beats_per_s)
            mix += part / rms(part) * np.float32(10 ** (rng.uniform(-6, 6) / 20))
        return mix, "ensemble"

    def drums(self, beats_per_s: float) -> np.ndarray:
        """A drum pattern that repeats every four beats, with some chance in it."""
        rng = self.rng
        pattern = [
            (beat / 4, int(rng.choice([36, 38, 42, 42, 46, 45, 51, 37]))) for beat in range(16) if rng.random() < 0.6
        ]
        notes = []
        for bar in range(int(self.config.clip_s * beats_per_s / 4) + 1):
            for beat, pitch in pattern:
                onset_s = (bar * 4 + beat) / beats_per_s
                if onset_s < self.config.clip_s and rng.random() < 0.9:
                    notes.append((onset_s, onset_s + 0.2, pitch, int(rng.integers(60, 127))))
        return self.from_font(notes, [], 0, self.fonts[int(rng.integers(len(self.fonts)))], is_drums=True)

    def _chiptune(self, key, beats_per_s) -> tuple[np.ndarray, str]:
        rng, sample_rate = self.rng, self.config.sample_rate
        out = np.zeros(self.num_samples, np.float32)
        for _ in range(int(rng.integers(1, 4))):
            notes, _ = music.compose(rng, self.config.clip_s, (music.melody, music.arpeggios), 40, 96, key, beats_per_s)
            pitch, level = instruments._lines(notes, self.num_samples, sample_rate)
            hz = 440.0 * 2.0 ** ((pitch - 69) / 12.0)
            out += instruments.tone_from_hz(hz, sample_rate, 1.0, float(rng.choice([0.0, 1.0]))) * level
        if rng.random() < 0.5:
            out += 0.3 * self.drums(beats_per_s or 2.0)
        return out, "chiptune"

    def noise(self) -> tuple[np.ndarray, str]:
        """Applause, weather, machines, animals, tones."""
        makers = (noises.applause, noises.weather, noises.machine, noises.animal, noises.tones, noises.crowd)
        maker = makers[int(self.rng.choice(6, p=[0.28, 0.24, 0.18, 0.16, 0.08, 0.06]))]
        return maker(self.rng, self.num_samples, self.config.sample_rate), maker.__name__

    def speech(self) -> np.ndarray:
        return noises.speech(self.rng, self.num_samples, self.config.sample_rate)


def make_clip(studio: Studio, cause: str) -> Clip:
    """One clip of this cause through a random recording chain."""
    rng, sample_rate = studio.rng, studio.config.sample_rate
    if cause == "piano":
        waveform, detail = studio.piano()
    elif cause == "other_instrument":
        waveform, detail = studio.other()
    elif cause == "piano_plus_other":
        waveform, detail = _mixed(studio)
    elif cause == "speech":
        waveform, detail = studio.speech(), "speech"
    elif cause == "noise":
        waveform, detail = studio.noise()
    else:
        silence = noises.near_silence(rng, studio.num_samples, sample_rate)
        return Clip(silence, cause, "near_silence")
    return Clip(record(rng, waveform, sample_rate), cause, detail)


def _mixed(studio: Studio) -> tuple[np.ndarray, str]:
    """Piano with something beside it, loud enough to be heard."""
    rng, config = studio.rng, studio.config
    key, beats_per_s = music.random_key(rng), float(rng.uniform(0.8, 2.5))
    piano, _ = studio.piano(key, beats_per_s)
    other_db = float(rng.uniform(config.min_other_db, config.max_other_db))
    kind = rng.random()
    if kind < 0.62:
        other, detail = studio.other(key, beats_per_s)
    elif kind < 0.72:
        other, detail = studio.drums(beats_per_s), "drums"
    elif kind < 0.87:
        other, detail = studio.speech(), "speech"
    else:
        other, detail = studio.noise()
        other_db = max(other_db, config.min_noise_db) if detail != "applause" else other_db
    if rng.random() < 0.3:  # each in its own room, as when someone talks over a recording
        other = record(rng, other, config.sample_rate)
    other = other * np.float32(rms(piano) / rms(other) * 10 ** (other_db / 20))
    return piano + other, f"piano + {detail}"


def make_session(seed: int, number: int, config: SynthesisConfig | None = None) -> list[Clip]:
    """The clips of one session. The same seed and number give the same clips."""
    config = config or SynthesisConfig()
    rng = np.random.default_rng([seed, number])
    studio = Studio(rng, config)
    causes = rng.choice(len(CAUSES), size=config.clips_per_session, p=config.shares)
    return [make_clip(studio, CAUSES[int(cause)]) for cause in causes]
