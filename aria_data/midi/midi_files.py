"""Notes and pedals as records; reading and writing .mid files. All times are seconds from the file's start."""

from __future__ import annotations

import heapq
import io
import itertools
import math
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import mido

from aria_data.errors import MidiUnreadable
from aria_data.midi.midi_events import CONTROL, DEFAULT_TEMPO_US, NOTE_ON, TEMPO, Event, MidiFile, Track, parse
from aria_data.storage import printable
from aria_data.stores.object_paths import ObjectPath

LOWEST_PITCH, HIGHEST_PITCH = 21, 108  # A0 to C8, the 88 keys
SUSTAIN, SOSTENUTO, SOFT = 64, 66, 67  # controller numbers of the MIDI 1.0 specification

PERCUSSION = 9  # the channel of General MIDI, counted from 0
MAX_FILE_BYTES = 16 << 20  # eight hours of a very busy piano are 8 MB

TICKS_PER_BEAT = (1000, 500, 250, 100, 50, 25, 10, 5, 1)  # the finest that fits: 0.5 ms, after 83 minutes 1 ms, ...
MAX_TICKS = 9_900_000  # pretty_midi takes a file of 10,000,000 ticks for a damaged one


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


def midi_bytes(performance: Performance, text: str = "") -> bytes:
    """Write the performance as a type-1 MIDI file: one tempo, one piano track, 0.5 ms resolution up to 82 minutes.

    A longer one has coarser ticks, 1 ms up to 165 minutes and so on, since libraries refuse files of 10,000,000 ticks.
    The same performance gives the same bytes. At the same tick, releases come before strikes, so that the release of a
    note never ends the next note of its pitch. A note lasts at least one tick. `text` (ASCII) goes into a text event.
    """
    ticks_per_beat = next((each for each in TICKS_PER_BEAT if performance.end_s * _per_s(each) <= MAX_TICKS), 1)
    meta = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=DEFAULT_TEMPO_US)])
    meta += [mido.MetaMessage("text", text=text)] if text else []
    meta.append(mido.MetaMessage("end_of_track"))
    piano = mido.MidiTrack([mido.Message("program_change", program=0)])
    now = 0
    timed = _timed_messages(performance, _per_s(ticks_per_beat))
    for tick, _, message in sorted(timed, key=lambda event: event[:2]):
        piano.append(message.copy(time=tick - now))
        now = tick
    piano.append(mido.MetaMessage("end_of_track"))
    out = io.BytesIO()
    mido.MidiFile(type=1, ticks_per_beat=ticks_per_beat, tracks=[meta, piano]).save(file=out)
    return out.getvalue()


def _per_s(ticks_per_beat: int) -> float:
    return ticks_per_beat * 1_000_000 / DEFAULT_TEMPO_US


def _timed_messages(
    performance: Performance, ticks_per_s: float
) -> Iterator[tuple[int, tuple[int, int], mido.Message]]:
    """Yield `(tick, rank, message)`; the rank orders messages of one tick: releases, pedals, strikes."""
    for note in performance.notes:
        start, end = _tick_span(note.onset_s, note.offset_s, ticks_per_s)
        yield start, (3, note.pitch), mido.Message("note_on", note=note.pitch, velocity=note.velocity)
        yield end, (0, note.pitch), mido.Message("note_off", note=note.pitch, velocity=0)
    for pedal in performance.pedals:
        start, end = _tick_span(pedal.onset_s, pedal.offset_s, ticks_per_s)
        yield start, (2, pedal.controller), mido.Message("control_change", control=pedal.controller, value=127)
        yield end, (1, pedal.controller), mido.Message("control_change", control=pedal.controller, value=0)


def _tick_span(onset_s: float, offset_s: float, ticks_per_s: float) -> tuple[int, int]:
    start = max(0, round(onset_s * ticks_per_s))
    return start, max(start + 1, round(offset_s * ticks_per_s))


def read_midi(path: str | Path) -> Performance:
    """Read notes and pedals of every channel but percussion. What players read is read; see `midi_events.parse`.

    Raises `MidiUnreadable` for a file that is no MIDI, cut, damaged or over 16 MB. A note struck again before its
    release ends where the next begins; a note that is never released ends with the file.
    """
    name = printable(str(path), 1000)
    try:
        return performance_of(_read_bytes(path))
    except OSError as error:
        cause = error.strerror or error
        raise MidiUnreadable(f"{name}: cannot be read ({cause}). Check that it is there.") from error
    except ValueError as error:
        raise MidiUnreadable(f"{name}: is not a valid MIDI file: {error}. Remove or replace it.") from error


def _read_bytes(path: str | Path) -> bytes:
    if isinstance(path, ObjectPath):
        return path.read_bytes()
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError("it is no file")  # a pipe would be waited for
    with open(path, "rb") as file:
        return file.read(MAX_FILE_BYTES + 1)


def performance_of(content: bytes) -> Performance:
    """Read notes and pedals from a MIDI file's content. Raises `ValueError`; see `read_midi`."""
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"it has more than the {MAX_FILE_BYTES >> 20} MB of any piano music")
    file = parse(content)
    if not file.is_sequence:
        return _Player(file).play(list(enumerate(file.tracks)), 0.0)
    player, played = _Player(file), Performance()
    for number, track in enumerate(file.tracks):
        one = player.play([(number, track)], player.now)
        played = Performance(played.notes + one.notes, played.pedals + one.pedals)
    return played


class _Player:
    """Plays tracks together. `now` and the tempo go on from one call to the next."""

    def __init__(self, file: MidiFile):
        self._file = file
        self._tempo_us = DEFAULT_TEMPO_US
        self.now = 0.0

    def play(self, tracks: list[tuple[int, Track]], start_s: float) -> Performance:
        heard = _Heard()
        now, before, seconds_per_tick = start_s, 0, self._seconds_per_tick()
        for number, event in _in_order(tracks):
            tick, kind, channel, _, _ = event
            now += (tick - before) * seconds_per_tick
            before = tick
            if kind == TEMPO:
                self._tempo_us = event[3]
                seconds_per_tick = self._seconds_per_tick()
            elif channel != PERCUSSION:
                heard.take(event, number, now)
        self.now = now + (max(track.end for _, track in tracks) - before) * seconds_per_tick
        return heard.performance(self.now)

    def _seconds_per_tick(self) -> float:
        if self._file.ticks_per_s is not None:
            return 1.0 / self._file.ticks_per_s
        return self._tempo_us * 1e-6 / self._file.ticks_per_beat


def _in_order(tracks: list[tuple[int, Track]]) -> Iterable[tuple[int, Event]]:
    """Give (track number, event) by time; of one time, in the order of the tracks. Each track's are in order."""
    each = (zip(itertools.repeat(number), track.events) for number, track in tracks)
    return heapq.merge(*each, key=lambda one: one[1][0])


class _Heard:
    """Notes and pedal presses as they begin and end. A key belongs to its track and channel, a pedal to its channel."""

    def __init__(self) -> None:
        self._notes: list[tuple[float, float, int, int]] = []  # the fields of a `Note`: sorted much faster
        self._pedals: list[Pedal] = []
        self._sounding: dict[tuple[int, int, int], tuple[float, int]] = {}
        self._pressed: dict[tuple[int, int], float] = {}
        self._restruck: dict[tuple[int, int, int], int] = {}  # the tick of the newest strike of a key that was down

    def take(self, event: Event, number: int, now: float) -> None:
        tick, kind, channel, first, second = event
        if kind == CONTROL:
            self._move_pedal((channel, first), second >= 64, now)
            return
        key = (number, channel, first)
        is_strike = kind == NOTE_ON and second > 0
        if key in self._sounding:
            if not is_strike and self._restruck.pop(key, -1) == tick:
                return  # the release of the note before, written after the strike of this one
            self._release(key, now)
            if is_strike:
                self._restruck[key] = tick
        if is_strike:
            self._sounding[key] = (now, second)

    def _release(self, key: tuple[int, int, int], now: float) -> None:
        onset_s, velocity = self._sounding.pop(key)
        offset_s = now if now > onset_s else math.nextafter(onset_s, math.inf)
        self._notes.append((onset_s, offset_s, key[2], velocity))

    def _move_pedal(self, key: tuple[int, int], is_down: bool, now: float) -> None:
        if key[1] not in (SUSTAIN, SOSTENUTO, SOFT):
            return
        if is_down:
            self._pressed.setdefault(key, now)
        elif key in self._pressed:
            self._pedals.append(Pedal(self._pressed.pop(key), now, key[1]))

    def performance(self, end_s: float) -> Performance:
        """End what still sounds, and give everything."""
        for key in list(self._sounding):
            self._release(key, end_s)
        self._pedals.extend(Pedal(onset_s, end_s, key[1]) for key, onset_s in self._pressed.items())
        return Performance([Note(*fields) for fields in sorted(self._notes)], sorted(self._pedals))
