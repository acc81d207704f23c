"""Notes to sound with a General MIDI soundfont, offline and faster than real time. No files are written here.

The synthesiser is TinySoundFont (`pip install --no-deps tinysoundfont`): its `pyaudio` dependency is only for
loudspeakers and is never imported here. A soundfont comes with pretty_midi; Debian's packages add better ones.
"""

from __future__ import annotations

import math
import os
import threading
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

Note = tuple[float, float, int, int]  # onset_s, offset_s, pitch, velocity
Pedal = tuple[float, float, int]  # onset_s, offset_s, controller (64 sustain, 67 soft)

SYSTEM_FOLDERS = (Path("/usr/share/sounds/sf2"), Path("/usr/share/sounds/sf3"))
NOT_GENERAL_MIDI = ("fluidr3_gs",)  # holds only the GS variation banks: no program 0 in bank 0
SUSTAIN, SOFT = 64, 67
SOFT_PEDAL_VELOCITY = 0.75  # TinySoundFont 0.3.7 plays neither pedal: soft is played as a lower velocity, see _events
MAX_PEAK = 0.99
DRUM_CHANNEL = 9
MAX_VOICES = 512
SETTLE_SAMPLES = 4096  # rendered and thrown away after "all sounds off", so that nothing rings from the last call

_render_lock = threading.Lock()  # one cached synthesiser is shared by all callers of a process


@dataclass(frozen=True)
class Part:
    """One instrument of an ensemble: its notes, program (or drum kit), and place in the mix."""

    notes: tuple[Note, ...]
    pedals: tuple[Pedal, ...] = ()
    program: int = 0
    is_drums: bool = False
    gain_db: float = 0.0
    pan: float = 0.0  # -1 left, 0 middle, 1 right
    soundfont: Path | None = None  # None: default_soundfont()


def default_soundfont() -> Path:
    """The small General MIDI soundfont that pretty_midi carries (TimGM6mb.sf2, 6 MB)."""
    spec = find_spec("pretty_midi")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("no soundfont: pretty_midi is not installed. Run `pip install pretty_midi`.")
    return Path(spec.origin).parent / "TimGM6mb.sf2"


def sounds_folder() -> Path:
    """Where `make classifier-sounds` puts soundfonts and sampled pianos: $CLASSIFIER_SOUNDS, else below build/."""
    return Path(os.environ.get("CLASSIFIER_SOUNDS", "build/classifier_sounds"))


def find_soundfonts() -> list[Path]:
    """The default soundfont, then every other .sf2 and .sf3 the system has; links and copies are left out."""
    found = {"timgm6mb": default_soundfont()}
    for folder in (*SYSTEM_FOLDERS, sounds_folder() / "fonts"):
        for path in sorted(folder.glob("*.sf[23]")):
            real = path.resolve()
            if real.is_file() and real.stem.lower() not in NOT_GENERAL_MIDI:
                found.setdefault(real.stem.lower(), real)
    return list(found.values())


def has_program(program: int, soundfont: Path | None = None, is_drums: bool = False) -> bool:
    """Whether a soundfont has an instrument of its own for this General MIDI program."""
    synth, font_id = _synth(str(soundfont or default_soundfont()), 44100)
    return synth.sfpreset_name(font_id, 128 if is_drums else 0, program) is not None


def render(
    notes: Iterable[Note],
    pedals: Iterable[Pedal] = (),
    *,
    program: int = 0,
    soundfont: Path | str | None = None,
    sample_rate: int = 44100,
    tail_s: float = 2.0,
    gain_db: float = 0.0,
    is_drums: bool = False,
) -> np.ndarray:
    """Play notes and pedals on one General MIDI program (0 to 127).

    Returns float32 stereo of shape (num_samples, 2): from 0 s to the last key release or pedal lift plus `tail_s`.
    Every event falls on its exact sample. The result is scaled down only where its peak would pass 0.99.
    """
    waveform = _play(list(notes), list(pedals), program, is_drums, soundfont, sample_rate, tail_s)
    waveform *= 10.0 ** (gain_db / 20.0)
    return _without_clipping(waveform)


def render_blocks(
    notes: Iterable[Note],
    pedals: Iterable[Pedal] = (),
    *,
    sample_rate: int = 44100,
    tail_s: float = 2.0,
    max_s: float = math.inf,
    block_samples: int = 1 << 18,
) -> Iterator[np.ndarray]:
    """Play as `render` does, on a piano, and yield float32 blocks of shape (num_samples, 2), at most `max_s` in all.

    Their level is as the soundfont gives it and may pass 1: what is played is not known to its end. Memory does not
    grow with the length. While blocks are asked for, nothing else is rendered in this process.
    """
    played, pressed = [note for note in notes if note[0] < max_s], list(pedals)
    ends_s = [each[1] for each in (*played, *pressed)]
    num_samples = math.ceil(min(max(ends_s, default=0.0) + tail_s, max_s) * sample_rate)
    events = iter([*_events(played, pressed, sample_rate), (num_samples, 0, 0)])
    with _ready(0, False, None, sample_rate) as synth:
        waiting: tuple[int, int, int] | None = next(events)
        for start in range(0, num_samples, block_samples):
            buffer, position = np.zeros((min(block_samples, num_samples - start), 2), np.float32), 0
            while waiting is not None and waiting[0] < start + len(buffer):
                position = _advance(synth, buffer, position, waiting[0] - start)
                _strike(synth, 0, waiting)
                waiting = next(events, None)
            _advance(synth, buffer, position, len(buffer))
            yield buffer


def render_ensemble(parts: Iterable[Part], *, sample_rate: int = 44100, tail_s: float = 2.0) -> np.ndarray:
    """Play several parts together. Returns float32 stereo of shape (num_samples, 2) without clipping."""
    layers = []
    for part in parts:
        layer = _play(
            list(part.notes), list(part.pedals), part.program, part.is_drums, part.soundfont, sample_rate, tail_s
        )
        angle = (part.pan + 1.0) * math.pi / 4.0
        gains = math.sqrt(2.0) * np.array([math.cos(angle), math.sin(angle)]) * 10.0 ** (part.gain_db / 20.0)
        layers.append(layer * gains.astype(np.float32))
    mix = np.zeros((max((len(layer) for layer in layers), default=0), 2), dtype=np.float32)
    for layer in layers:
        mix[: len(layer)] += layer
    return _without_clipping(mix)


def _without_clipping(waveform: np.ndarray) -> np.ndarray:
    peak = float(np.abs(waveform).max(initial=0.0))
    return waveform * np.float32(MAX_PEAK / peak) if peak > MAX_PEAK else waveform


@lru_cache(maxsize=16)
def _synth(soundfont: str, sample_rate: int):
    """A synthesiser with one soundfont loaded (a 150 MB file takes a second, so they are kept)."""
    import tinysoundfont

    if not Path(soundfont).is_file():
        raise FileNotFoundError(f"no soundfont at {soundfont}. `find_soundfonts()` lists those this machine has.")
    synth = tinysoundfont.Synth(samplerate=sample_rate)
    return synth, synth.sfload(soundfont, max_voices=MAX_VOICES)


def _lift(presses: list[tuple[float, float]], time_s: float) -> float | None:
    """When the pedal that is down at `time_s` is lifted; None if it is up. `presses` are sorted, not overlapping."""
    index = bisect_right(presses, (time_s, math.inf)) - 1
    return presses[index][1] if index >= 0 and time_s < presses[index][1] else None


def _sounding_ends(notes: list[Note], pedals: list[Pedal]) -> list[float]:
    """When each note falls silent: at key release, at pedal lift if the pedal is down then, or at the next strike."""
    sustain = sorted((onset_s, offset_s) for onset_s, offset_s, controller in pedals if controller == SUSTAIN)
    next_strike: dict[int, float] = {}
    ends = [0.0] * len(notes)
    for index in sorted(range(len(notes)), key=lambda index: notes[index][0], reverse=True):
        onset_s, end_s, pitch, _ = notes[index]
        end_s = _lift(sustain, end_s) or end_s
        ends[index] = max(onset_s, min(end_s, next_strike.get(pitch, math.inf)))
        next_strike[pitch] = onset_s
    return ends


def _events(notes: list[Note], pedals: list[Pedal], sample_rate: int) -> list[tuple[int, int, int]]:
    """(sample, velocity, pitch) in time order, velocity 0 for an end; at one sample, ends come before strikes."""
    soft = sorted((onset_s, offset_s) for onset_s, offset_s, controller in pedals if controller == SOFT)
    events = []
    for (onset_s, _, pitch, velocity), end_s in zip(notes, _sounding_ends(notes, pedals), strict=True):
        softness = 1.0 if _lift(soft, onset_s) is None else SOFT_PEDAL_VELOCITY
        velocity = max(1, min(127, round(velocity * softness)))
        start = max(0, round(onset_s * sample_rate))
        end = max(start, round(end_s * sample_rate))
        if end > start:
            events.append((start, velocity, int(pitch)))
            events.append((end, 0, int(pitch)))
    return sorted(events)


def _play(notes, pedals, program, is_drums, soundfont, sample_rate, tail_s) -> np.ndarray:
    ends_s = [note[1] for note in notes] + [pedal[1] for pedal in pedals]
    buffer = np.zeros((math.ceil((max(ends_s, default=0.0) + tail_s) * sample_rate), 2), dtype=np.float32)
    with _ready(program, is_drums, soundfont, sample_rate) as synth:
        position = 0
        for event in _events(notes, pedals, sample_rate):
            position = _advance(synth, buffer, position, event[0])
            _strike(synth, DRUM_CHANNEL if is_drums else 0, event)
        _advance(synth, buffer, position, len(buffer))
    return buffer


@contextmanager
def _ready(program: int, is_drums: bool, soundfont: Path | str | None, sample_rate: int) -> Iterator[Any]:
    """The shared synthesiser, silent and with this program chosen; nobody else uses it meanwhile."""
    with _render_lock:
        synth, font_id = _synth(str(soundfont or default_soundfont()), sample_rate)
        if synth.sfpreset_name(font_id, 128 if is_drums else 0, program) is None:
            kind = "drum kit" if is_drums else "program"
            raise ValueError(f"{soundfont or default_soundfont()} has no {kind} {program}.")
        synth.sounds_off()
        synth.generate_simple(SETTLE_SAMPLES)
        synth.program_select(DRUM_CHANNEL if is_drums else 0, font_id, 0, program, is_drums)
        try:
            yield synth
        finally:
            synth.sounds_off()


def _strike(synth: Any, channel: int, event: tuple[int, int, int]) -> None:
    _, velocity, pitch = event
    if velocity:
        synth.noteon(channel, pitch, velocity)
    else:
        synth.noteoff(channel, pitch)


def _advance(synth, buffer: np.ndarray, position: int, until: int) -> int:
    until = min(until, len(buffer))
    if until > position:
        view = memoryview(buffer[position:until].reshape(-1).view(np.uint8))  # type: ignore[arg-type]
        synth.generate_simple(until - position, buffer=view)
    return max(position, until)
