"""Notes and pedals as records; reading and writing .mid files. All times are seconds from the file's start."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, field
from pathlib import Path

import mido
from mido.midifiles.meta import KeySignatureError

from aria_data.errors import MidiUnreadable

LOWEST_PITCH, HIGHEST_PITCH = 21, 108  # A0 to C8, the 88 keys
SUSTAIN, SOSTENUTO, SOFT = 64, 66, 67  # controller numbers of the MIDI 1.0 specification

TICKS_PER_BEAT = 1000
TEMPO_US = 500_000  # 120 beats a minute, the MIDI default: with 1000 ticks a beat, one tick lasts 0.5 ms
TICKS_PER_S = TICKS_PER_BEAT * 1_000_000 / TEMPO_US


@dataclass(frozen=True, slots=True, order=True)
class Note:
    """One key strike. `offset_s` is when the key goes up; with the pedal down it may sound longer."""

    onset_s: float
    offset_s: float
    pitch: int  # 21 to 108
    velocity: int  # 1 to 127


@dataclass(frozen=True, slots=True, order=True)
class Pedal:
    """One press of a pedal, from down to up."""

    onset_s: float
    offset_s: float
    controller: int = SUSTAIN


@dataclass(frozen=True, slots=True)
class Performance:
    """The notes and pedal presses of a piece of music, each sorted by onset."""

    notes: list[Note] = field(default_factory=list)
    pedals: list[Pedal] = field(default_factory=list)

    @property
    def end_s(self) -> float:
        ends = [note.offset_s for note in self.notes] + [pedal.offset_s for pedal in self.pedals]
        return max(ends, default=0.0)


def midi_bytes(performance: Performance) -> bytes:
    """Write the performance as a type-1 MIDI file: one tempo, one piano track, 0.5 ms resolution.

    The same performance gives the same bytes. At the same tick, releases come before strikes, so that the release of a
    note never ends the next note of its pitch. A note lasts at least one tick.
    """
    meta = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=TEMPO_US), mido.MetaMessage("end_of_track")])
    piano = mido.MidiTrack([mido.Message("program_change", program=0)])
    now = 0
    for tick, _, message in sorted(_timed_messages(performance), key=lambda event: event[:2]):
        piano.append(message.copy(time=tick - now))
        now = tick
    piano.append(mido.MetaMessage("end_of_track"))
    out = io.BytesIO()
    mido.MidiFile(type=1, ticks_per_beat=TICKS_PER_BEAT, tracks=[meta, piano]).save(file=out)
    return out.getvalue()


def _timed_messages(performance: Performance):
    """Yield `(tick, rank, message)`; the rank orders messages of one tick: releases, pedals, strikes."""
    for note in performance.notes:
        start, end = _tick_span(note.onset_s, note.offset_s)
        yield start, (3, note.pitch), mido.Message("note_on", note=note.pitch, velocity=note.velocity)
        yield end, (0, note.pitch), mido.Message("note_off", note=note.pitch, velocity=0)
    for pedal in performance.pedals:
        start, end = _tick_span(pedal.onset_s, pedal.offset_s)
        yield start, (2, pedal.controller), mido.Message("control_change", control=pedal.controller, value=127)
        yield end, (1, pedal.controller), mido.Message("control_change", control=pedal.controller, value=0)


def _tick_span(onset_s: float, offset_s: float) -> tuple[int, int]:
    start = max(0, round(onset_s * TICKS_PER_S))
    return start, max(start + 1, round(offset_s * TICKS_PER_S))


def read_midi(path: str | Path) -> Performance:
    """Read notes and pedals of every channel but percussion.

    Raises `MidiUnreadable` for a file that mido cannot read or parse. A note struck again before its release ends where
    the next begins; a note that is never released ends with the file.
    """
    try:
        file = mido.MidiFile(str(path))
        return _performance_of(file)
    except OSError as error:
        raise MidiUnreadable(f"{path}: cannot be read as MIDI ({error}). Check that the file is complete.") from error
    except (ValueError, EOFError, LookupError, TypeError, ArithmeticError, KeySignatureError) as error:
        raise MidiUnreadable(f"{path}: is not a valid MIDI file ({error!r}). Remove or replace it.") from error


def _performance_of(file: mido.MidiFile) -> Performance:
    notes: list[Note] = []
    pedals: list[Pedal] = []
    sounding: dict[tuple[int, int], tuple[float, int]] = {}
    pressed: dict[tuple[int, int], float] = {}
    now = 0.0

    def release(key: tuple[int, int]) -> None:
        onset_s, velocity = sounding.pop(key)
        notes.append(Note(onset_s, max(now, math.nextafter(onset_s, math.inf)), key[1], velocity))

    for message in file:  # mido yields delta times in seconds, tempo changes applied
        now += message.time
        if message.is_meta or getattr(message, "channel", 9) == 9:
            continue
        if message.type in ("note_on", "note_off"):
            key = (message.channel, message.note)
            if key in sounding:
                release(key)
            if message.type == "note_on" and message.velocity > 0:
                sounding[key] = (now, message.velocity)
        elif message.type == "control_change" and message.control in (SUSTAIN, SOSTENUTO, SOFT):
            key = (message.channel, message.control)
            if message.value >= 64:
                pressed.setdefault(key, now)
            elif key in pressed:
                pedals.append(Pedal(pressed.pop(key), now, message.control))
    for key in list(sounding):
        release(key)
    pedals.extend(Pedal(onset_s, now, key[1]) for key, onset_s in pressed.items())
    return Performance(sorted(notes), sorted(pedals))
