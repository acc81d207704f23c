"""Sampled pianos: folders of one recorded note a file, as packages of sampled instruments carry them.

    build/classifier_sounds/salamander/C4v8.ogg, .../steinway/Piano.ff.Eb4.flac, .../mypiano/a#0.wav

`make classifier-sounds` fetches them by name. A folder of your own works as well: what counts is the note in the
file's name, and, if there is one, a velocity layer (`v1`, `v2`, ... from soft to loud).
"""

from __future__ import annotations

import re
from collections import defaultdict
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy import signal

from classifiers.features import read_blocks
from classifiers.instruments import Bank
from classifiers.soundfont import sounds_folder

NOTE_NAME = re.compile(r"(?:^|[._-])([a-g])(#|s|b)?(\d)(?:v(\d+))?$", re.IGNORECASE)
STEPS = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}
MAX_NOTE_S = 8.0
MIN_NUM_NOTES = 20  # fewer are no instrument


def find_sampled_pianos() -> list[Path]:
    """Folders below `sounds_folder()` whose files are named by notes, in order of their names."""
    found = []
    for folder in sorted(path for path in sounds_folder().glob("*") if path.is_dir()):
        if len({pitch for path in folder.iterdir() if (pitch := pitch_of(path)) is not None}) >= MIN_NUM_NOTES:
            found.append(folder)
    return found


def pitch_of(path: Path) -> int | None:
    """MIDI pitch of a file's name (C4 is 60); None if it names no note."""
    match = NOTE_NAME.search(path.stem)
    if match is None:
        return None
    letter, accidental, octave = match[1].lower(), (match[2] or "").lower(), int(match[3])
    return 12 * (octave + 1) + STEPS[letter] + {"#": 1, "s": 1, "b": -1, "": 0}[accidental]


def layer_of(path: Path) -> int:
    """The velocity layer in a file's name, 0 if there is none."""
    match = NOTE_NAME.search(path.stem)
    return int(match[4]) if match and match[4] else 0


class SampledBank(Bank):
    """A sampled piano, with the touch and the tuning of one session.

    A loud layer and a soft one are drawn from those there are. Where there is only one, the soft layer is the
    loud one through a low pass: a hammer that strikes softly excites fewer high partials.
    """

    def __init__(self, rng: np.random.Generator, folder: Path, sample_rate: int):
        notes = _notes(folder, sample_rate)
        super().__init__(sorted(notes), sample_rate, has_dynamics=True, release_s=float(rng.uniform(0.05, 0.2)))
        numbers = sorted({layer for layers in notes.values() for layer in layers})
        soft_number = numbers[int(rng.integers(max(1, len(numbers) // 2)))]
        hard_number = numbers[int(rng.integers(len(numbers) // 2, len(numbers)))]
        cut_hz = float(np.exp(rng.uniform(np.log(600), np.log(2500))))
        softening = signal.butter(1, cut_hz, fs=sample_rate, output="sos")
        self._layers = []
        for pitch in self.pitches:
            layers = notes[int(pitch)]
            hard = layers[min(layers, key=lambda number: abs(number - hard_number))]
            soft = layers[min(layers, key=lambda number: abs(number - soft_number))]
            if soft is hard:
                soft = signal.sosfilt(softening, hard).astype(np.float32)
            self._layers.append((_levelled(soft), _levelled(hard)))


def _levelled(waveform: np.ndarray) -> np.ndarray:
    return waveform / np.float32(np.abs(waveform).max() + 1e-9)


@lru_cache(maxsize=8)
def _notes(folder: Path, sample_rate: int) -> dict[int, dict[int, np.ndarray]]:
    """Every note of a folder by pitch and layer: mono float32 from its attack on, at most 8 s."""
    notes: dict[int, dict[int, np.ndarray]] = defaultdict(dict)
    for path in sorted(folder.iterdir()):
        pitch = pitch_of(path)
        if pitch is None:
            continue
        waveform = _from_attack(np.concatenate(list(read_blocks(path, sample_rate))), sample_rate)
        notes[pitch][layer_of(path)] = waveform[: int(MAX_NOTE_S * sample_rate)]
    return dict(notes)


def _from_attack(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """Without the silence before the hammer strikes; 5 ms of it stay."""
    loud = np.flatnonzero(np.abs(waveform) > 0.02 * np.abs(waveform).max(initial=0.0))
    return waveform[max(0, int(loud[0]) - sample_rate // 200) :] if len(loud) else waveform
