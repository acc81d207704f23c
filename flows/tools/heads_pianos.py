"""Pianos that performances are played on to train the heads of transkun: sampled ones, soundfonts, formulas.

The sustain pedal is played as it moves, half-way positions too, with strings that ring along and the noise of the
pedal; then rooms, microphones, noise and codecs. Velocities follow another curve in every recording. What is true of
it is in `heads_windows`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy import signal

from aria_data.midi import Note
from classifiers import effects
from classifiers.instruments import Bank, StruckBank, random_piano
from classifiers.samples import SampledBank, find_sampled_pianos
from classifiers.soundfont import find_soundfonts, render, sounds_folder

SAMPLE_RATE = 44_100
TRAIN, CHECK, TEST = "train", "check", "test"  # parts: to learn from, to choose by, to judge by
SAMPLED = {  # the beginnings of names of pianos. Others are left out, so that everyone trains on the same
    TRAIN: ("salamander", "tonejs", "timgm6mb", "a320u", "sf_gmbank"),
    CHECK: ("generaluser", "merlin", "sonivox"),
    TEST: (
        "mypiano",
        "steinway",
        "fluidr3_gm",
        "musescore_general_lite",
    ),  # those of the development set's renders, too
}
FORMULAS_OF_CHECK = (10, 11)
GRID_HZ = 200  # at which the pedal's position is read
DOWN = 64  # a controller's value from which a pedal is down (MIDI 1.0)
NUM_FORMULAS = 24  # pianos of formulas: making one takes seconds
FORMULA_RATE = 22_050
LAST_DAMPED_PITCH = 88  # E6; strings above have no dampers on most pianos (Fletcher and Rossing)


@dataclass(frozen=True)
class Played:
    """What is played: notes by their key presses, and the sustain pedal's position, 0 to 127, from each time on."""

    notes: Sequence[Note]
    times_s: np.ndarray
    positions: np.ndarray
    duration_s: float

    def position(self, rate_hz: float = GRID_HZ) -> np.ndarray:
        """The pedal's position at every 1 / `rate_hz` s."""
        times = np.arange(int(self.duration_s * rate_hz) + 1) / rate_hz
        index = np.searchsorted(self.times_s, times, side="right") - 1
        return np.where(index >= 0, self.positions[np.maximum(index, 0)], 0) if len(self.positions) else times * 0


def pianos(part: str) -> list[str]:
    """Names of the pianos of a part that are here: `sampled:` or `font:` and a path, or `formula:` and a seed."""
    found, formulas = _sampled_pianos(), [f"formula:{seed}" for seed in range(NUM_FORMULAS)]
    sampled = [found[own] for own in SAMPLED[part] if own in found]
    return sampled + [name for name in formulas if part_of_piano(name) == part]


def missing(part: str) -> list[str]:
    """The beginnings of names of sampled pianos of a part that are not here."""
    return [own for own in SAMPLED[part] if own not in _sampled_pianos()]


def _sampled_pianos() -> dict[str, str]:
    fonts = [*find_soundfonts(), *sorted((sounds_folder() / "heads").glob("*.sf[23]"))]
    names = [f"sampled:{path}" for path in find_sampled_pianos()] + [f"font:{path}" for path in fonts]
    return {_own(name): name for name in names}


def part_of_piano(name: str) -> str:
    """The part that a piano belongs to, by its name; "" if to none."""
    kind, where = name.split(":", 1)
    if kind == "formula":
        return CHECK if int(where) in FORMULAS_OF_CHECK else TRAIN
    return next((part for part, names in SAMPLED.items() if _own(name) in names), "")


def _own(name: str) -> str:
    """The beginning of a sampled piano's name, as in `SAMPLED`; "" if it is not there."""
    own = Path(name.split(":", 1)[1]).name.lower()
    return next((known for names in SAMPLED.values() for known in names if own.startswith(known)), "")


def play(rng: np.random.Generator, piano: str, played: Played) -> np.ndarray:
    """Mono float32 at 44.1 kHz of `played.duration_s`, before rooms and microphones. Peak 1."""
    kind, name = piano.split(":", 1)
    if kind == "font":
        sound = _by_soundfont(rng, name, played)
    else:
        bank = _sampled(name, int(rng.integers(4))) if kind == "sampled" else _formula(int(name))
        sound = _with_resonance(rng, _by_bank(rng, bank, played), played, bank.sample_rate)
        if bank.sample_rate != SAMPLE_RATE:
            sound = signal.resample_poly(sound, SAMPLE_RATE // FORMULA_RATE, 1).astype(np.float32)
    return sound / np.float32(np.abs(sound).max(initial=1e-6))


def record(rng: np.random.Generator, sound: np.ndarray) -> np.ndarray:
    """A recording of it: dry, or with a room, a microphone, noise, a codec. Its level is drawn at random."""
    if not sound.any():
        return sound
    if rng.random() < 0.65:
        sound = effects.room(rng, sound, SAMPLE_RATE)
    if rng.random() < 0.5:
        sound = effects.equalise(rng, sound, SAMPLE_RATE)
    if rng.random() < 0.06:
        sound = effects.compress(rng, sound, SAMPLE_RATE)
    if rng.random() < 0.05:
        sound = effects.old_record(rng, sound, SAMPLE_RATE)
    elif rng.random() < 0.6:
        sound = effects.noise_floor(rng, sound, SAMPLE_RATE)
    sound = sound * np.float32(rng.uniform(0.03, 0.99) / (np.abs(sound).max() + 1e-9))
    if rng.random() < 0.15:
        codec, container, codec_rate, bit_rates = effects.CODECS[int(rng.integers(len(effects.CODECS)))]
        bit_rate = int(rng.choice(bit_rates))
        sound = effects.encode_and_decode(sound, SAMPLE_RATE, codec, container, codec_rate, bit_rate)
    return sound.astype(np.float32)


@lru_cache(maxsize=8)
def _sampled(folder: str, session: int) -> Bank:
    """A sampled piano in one of four sessions, each with other velocity layers."""
    return SampledBank(np.random.default_rng(session), Path(folder), SAMPLE_RATE)


@lru_cache(maxsize=NUM_FORMULAS)
def _formula(seed: int) -> Bank:
    rng = np.random.default_rng(seed)
    return StruckBank(rng, random_piano(rng), FORMULA_RATE)


def _by_bank(rng: np.random.Generator, bank: Bank, played: Played) -> np.ndarray:
    """Each note until its damper has silenced it. How fast that is depends on the pedal's position."""
    rate = bank.sample_rate
    out = np.zeros(int(played.duration_s * rate), np.float32)
    damping = _damping(rng, played) * (3.0 / bank.release_s)
    fallen = np.concatenate([[0.0], np.cumsum(damping) / GRID_HZ])  # nepers that a damped string has lost until then
    per_step_db, softest_hardness = rng.uniform(0.2, 0.45), rng.uniform(0.0, 0.35)
    has_top_dampers = rng.random() < 0.6
    faster_db = rng.uniform(0, 12) * (rng.random() < 0.5)  # a second: strings that die away sooner, as on other pianos
    following: dict[int, float] = {}
    for note in sorted(played.notes, reverse=True):
        struck_again_s, following[note.pitch] = following.get(note.pitch, np.inf), note.onset_s
        is_damped = note.pitch <= LAST_DAMPED_PITCH or has_top_dampers
        start, tone = int(note.onset_s * rate), _tone(bank, note.pitch, note.velocity, softest_hardness)
        tone = tone[: max(0, len(out) - start)] * np.float32(10 ** ((note.velocity - 127) * per_step_db / 20))
        if faster_db:
            tone = tone * _dying(len(tone), rate, faster_db * 2 ** ((note.pitch - 60) / 24))
        if is_damped:
            tone = _damped(tone, rate, note, fallen)
        again = int((struck_again_s - note.onset_s) * rate) if struck_again_s < np.inf else len(tone)
        if again < len(tone):
            fade = np.exp(-np.arange(len(tone) - again, dtype=np.float32) / np.float32(0.03 * rate))
            tone[again:] *= fade
            tone = tone[: again + int(0.25 * rate)]
        out[start : start + len(tone)] += tone
    return out


def _tone(bank: Bank, pitch: int, velocity: int, softest: float) -> np.ndarray:
    """The string of a key, soft and hard layers mixed by how hard it is struck, at its pitch."""
    index = int(np.argmin(np.abs(bank.pitches - pitch)))
    hardness = softest + (1 - softest) * (velocity / 127.0) ** 2
    soft, hard = bank._layers[index]
    length = min(len(soft), len(hard))
    tone = (1 - hardness) * soft[:length] + hardness * hard[:length]
    speed = 2.0 ** ((pitch - int(bank.pitches[index])) / 12.0)
    if speed != 1.0:
        tone = np.interp(np.arange(0, length - 1, speed), np.arange(length), tone)
    return tone.astype(np.float32)


def _dying(num_samples: int, rate: int, db_a_second: float) -> np.ndarray:
    return np.exp(np.arange(num_samples, dtype=np.float32) * np.float32(-db_a_second * np.log(10) / 20 / rate))


def _damped(tone: np.ndarray, rate: int, note: Note, fallen: np.ndarray) -> np.ndarray:
    """Cut what the damper has silenced: e^-7 of the tone, 60 dB."""
    place = np.arange(len(fallen)) / GRID_HZ
    at_release = np.interp(note.offset_s, place, fallen)
    end_s = place[min(len(place) - 1, int(np.searchsorted(fallen, at_release + 7.0)))]
    tone = tone[: max(1, int((max(end_s, note.offset_s) - note.onset_s) * rate))].copy()
    key_up = int((note.offset_s - note.onset_s) * rate)
    if key_up < len(tone):
        times = note.onset_s + np.arange(key_up, len(tone)) / rate
        tone[key_up:] *= np.exp(at_release - np.interp(times, place, fallen)).astype(np.float32)
    return tone


def _damping(rng: np.random.Generator, played: Played) -> np.ndarray:
    """How far the dampers touch, 0 to 1, on the grid: at once where the pedal is up, or over a range of positions."""
    position = played.position()
    if rng.random() < 0.5:
        return (position < DOWN).astype(float)
    lowest, highest = rng.uniform(40, DOWN - 4), rng.uniform(DOWN + 4, 95)
    return np.clip((highest - position) / (highest - lowest), 0, 1) ** 2


def _with_resonance(rng: np.random.Generator, sound: np.ndarray, played: Played, rate: int) -> np.ndarray:
    """Strings that ring along while the pedal is down, and the noise that it makes. In half of all recordings each."""
    position, times = played.position(), np.arange(len(sound)) / rate
    is_down = (position >= DOWN).astype(float)
    if rng.random() < 0.5:
        length = int(rng.uniform(0.8, 2.5) * rate)
        response = rng.standard_normal(length) * np.exp(-4.0 * np.arange(length) / length)
        response = signal.sosfilt(signal.butter(1, rng.uniform(400, 2500), fs=rate, output="sos"), response)
        response *= 10 ** (rng.uniform(-38, -22) / 20) / np.linalg.norm(response)
        along = np.interp(times, np.arange(len(is_down)) / GRID_HZ, signal.lfilter([0.15], [1, -0.85], is_down))
        sound = sound + (signal.fftconvolve(sound * along, response)[: len(sound)] * along).astype(np.float32)
    if rng.random() < 0.5:
        moved = np.flatnonzero(np.diff(is_down)) / GRID_HZ
        thump = effects.bursts(rng, len(sound), rate, moved[moved < played.duration_s - 0.5], (0.02, 0.08))
        thump = signal.sosfilt(signal.butter(2, rng.uniform(120, 600), fs=rate, output="sos"), thump)
        level = np.abs(sound).max(initial=0.0) * 10 ** (-rng.uniform(30, 55) / 20)
        sound = sound + (level * thump / (np.abs(thump).max(initial=0.0) + 1e-9)).astype(np.float32)
    return sound.astype(np.float32)


def _by_soundfont(rng: np.random.Generator, path: str, played: Played) -> np.ndarray:
    is_down = np.diff((played.position() >= DOWN).astype(int), prepend=0, append=0)
    downs, ups = np.flatnonzero(is_down == 1) / GRID_HZ, np.flatnonzero(is_down == -1) / GRID_HZ
    notes = [(note.onset_s, note.offset_s, note.pitch, note.velocity) for note in played.notes]
    pedals = [(float(down), float(up), 64) for down, up in zip(downs, ups, strict=True)]
    program = int(rng.choice([0, 0, 0, 1]))
    sound = render(notes, pedals, program=program, soundfont=path, sample_rate=SAMPLE_RATE, tail_s=0.0).mean(axis=1)
    num_samples = int(played.duration_s * SAMPLE_RATE)
    return np.pad(sound[:num_samples], (0, max(0, num_samples - len(sound)))).astype(np.float32)
