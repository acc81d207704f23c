"""Notes and pedals of a span from transkun's windows: paths are followed and events joined, as its authors do it.

Where the model has heads, the sustain pedal and velocities are theirs; onsets and confidences never are.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np

from aria_data.midi import HIGHEST_PITCH, LOWEST_PITCH, SUSTAIN, Note, Pedal, Performance
from aria_data.transcribe.backends.intervals import Lattice
from aria_data.transcribe.backends.pedal_presses import presses
from aria_data.transcribe.base import TranscriptionResult

NEAR_FRAMES = 2  # an onset detected up to 46 ms beside the note's counts for it, as it does for the F1
SILENT_LOGIT = -8.0  # of the pedal where nothing sounds


@dataclass(frozen=True, slots=True)
class WindowOutput:
    """The network's output for one window, decoded as far as that is possible without the window before."""

    lattice: Lattice
    tokens: Any  # tensor (90, steps, 256), for the attributes of the notes; None where there are none
    level_db: float = 0.0  # of the window's samples; the network, which scales them, does not know it


@dataclass(slots=True)
class _Event:
    """A note or a pedal press, or the part of it in one window. A pedal's pitch is minus its controller number."""

    start_s: float
    end_s: float
    pitch: int
    velocity: int
    has_onset: bool
    has_offset: bool
    confidence: float
    heard: float = math.nan  # the velocity by the heads, before the level of the window counts
    level_db: float = 0.0


class SpanDecoder:
    """Follows the lattice of each window from where that of the window before ended, and joins the events."""

    def __init__(self, model: Any):
        self._model = model
        self._events: dict[int, list[_Event]] = defaultdict(list)
        self._overlap = (model.window - model.hop) // model.frame
        self._starts = [self._overlap] * len(model.targets)
        self._num_windows = 0
        self._num_expected = 0.0  # onsets, by the model's own probabilities
        self._tail_expected = 0.0  # onsets in the last half overlap, which the next window counts if there is one
        self._num_frames = round(model.window / model.frame) + 1
        self._pedal: list[np.ndarray] = []  # logits of the heads, of frames that follow each other
        self._last_of_pedal = np.zeros((0, 3), np.float32)  # of the newest window, beyond what the next one repeats

    def add(self, output: WindowOutput) -> None:
        model, lattice = self._model, output.lattice
        paths = [lattice.path(track, start) for track, start in enumerate(self._starts)]
        where = [(track, begin, end) for track, path in enumerate(paths) for begin, end in path]
        attributes = model.network.attributes(output.tokens, where)
        read = self._read(output.tokens, where, [each[0] for each in attributes])
        begin_s = (self._num_windows * model.hop - model.lead) / model.sample_rate
        reached = [0.0] * len(paths)
        last_frame = self._num_frames - 1
        last_ends = [0] * len(paths)
        for (track, begin, end), attribute, heard in zip(where, attributes, read, strict=True):
            velocity, onset_shift, offset_shift, is_onset, is_offset = attribute
            start = max((begin + onset_shift) * model.frame / model.sample_rate, reached[track])
            reached[track] = max((end + offset_shift) * model.frame / model.sample_rate, start + 1e-8)
            has_offset = end < last_frame or is_offset > 0
            if has_offset:
                last_ends[track] = end
            near = lattice.onset_probability[track, max(0, begin - NEAR_FRAMES) : begin + NEAR_FRAMES + 1]
            event = _Event(
                max(start + begin_s, 0.0),
                max(reached[track] + begin_s, 0.0),
                model.targets[track],
                int(velocity),
                begin > 0 or is_onset > 0,
                has_offset,
                min(1.0, float(near.sum())),
                heard,
                output.level_db,
            )
            self._join(event)
        self._starts = [max(last - model.hop // model.frame, 0) for last in last_ends]
        self._count_expected(lattice)
        self._num_windows += 1

    def _read(self, tokens: Any, where: list[tuple[int, int, int]], velocities: list[float]) -> list[float]:
        """Give the velocity of each event by the heads, NaN where they say nothing; and hear the pedal."""
        if self._model.heads is None:
            return [math.nan] * len(where)
        from aria_data.transcribe.backends.transkun_heads import read_window

        if tokens is None:
            self._hear_pedal(np.full((self._num_frames, 3), SILENT_LOGIT, np.float32))
            return [math.nan] * len(where)
        read = read_window(self._model.heads, tokens, where, velocities)
        logits = np.full((self._num_frames, 3), SILENT_LOGIT, np.float32)  # silence at the end may have no tokens
        logits[: len(read.pedal)] = read.pedal[: self._num_frames]
        self._hear_pedal(logits)
        return read.velocities.tolist()

    def _hear_pedal(self, logits: np.ndarray) -> None:
        """Keep the frames of a window up to the middle of its overlap with the next, which goes on from there."""
        half = self._overlap // 2
        border = self._model.hop // self._model.frame + half
        self._pedal.append(logits[half if self._num_windows else 0 : border])
        self._last_of_pedal = logits[border:]

    def _join(self, event: _Event) -> None:
        known = self._events[event.pitch]
        if known and event.start_s < known[-1].end_s:
            if event.has_onset:
                known[-1] = event
            else:
                known[-1].has_offset = event.has_offset
                known[-1].end_s = max(event.end_s, known[-1].end_s)
        elif event.has_onset:
            known.append(event)

    def _count_expected(self, lattice: Lattice) -> None:
        """Add up the onset probabilities of notes, each frame once: each of two windows counts half of the overlap."""
        of_frames = lattice.onset_probability[self._first_key :].sum(axis=0, dtype=float)
        half = self._overlap // 2
        first = half if self._num_windows else 0
        self._num_expected += float(of_frames[first : -half or None].sum())
        self._tail_expected = float(of_frames[-half:].sum()) if half else 0.0

    @property
    def _first_key(self) -> int:
        return next(track for track, pitch in enumerate(self._model.targets) if pitch > 0)

    def finish(self) -> TranscriptionResult:
        """Give the notes and pedals that have an end; one still held at the end of the audio ends there."""
        notes: list[tuple[Note, float, float]] = []
        pedals = self._sustained()
        usual = self._usual()
        for pitch, events in self._events.items():
            if events:
                events[-1].has_offset = True
            whole = [event for event in events if event.has_offset]
            for event, following in zip_longest(whole, whole[1:]):
                end_s = event.end_s if following is None else min(event.end_s, following.start_s)
                if end_s <= event.start_s:
                    continue
                if pitch < 0 and not (self._pedal and -pitch == SUSTAIN):
                    pedals.append(Pedal(event.start_s, end_s, -pitch))
                elif LOWEST_PITCH <= pitch <= HIGHEST_PITCH:
                    published = min(127, max(1, event.velocity))
                    velocity = published if math.isnan(event.heard) else self._velocity(event, *usual)
                    note = Note(event.start_s, end_s, pitch, velocity)
                    notes.append((note, event.confidence, published))
        notes.sort()
        confidences = np.array([confidence for _, confidence, _ in notes])
        expected = self._num_expected + self._tail_expected
        total = len(notes) + expected
        confidence = min(1.0, 2 * float(confidences.sum()) / total) if total > 0 and len(notes) else 0.0
        performance = Performance([note for note, _, _ in notes], sorted(pedals))
        published = np.array([each for _, _, each in notes], np.uint8) if self._model.heads else None
        return TranscriptionResult(performance, confidence, confidences, published_velocities=published)

    def _velocity(self, event: _Event, heard: float, level_db: float) -> int:
        """The velocity by the heads, beside what they usually hear and the level that windows usually have here.

        The network sees each window at the same level, so a soft passage seems as loud as a loud one. It hears how much
        harder one key was struck than another better than how hard all were.
        """
        times, plus, per_db, usual_times = self._model.heads.scale.tolist()
        velocity = times * (event.heard - heard) + usual_times * heard + plus + per_db * (event.level_db - level_db)
        return min(127, max(1, round(velocity)))

    def _usual(self) -> tuple[float, float]:
        """What the heads hear on average, and the mean level of the windows that notes are in."""
        notes = [event for pitch, events in self._events.items() if pitch > 0 for event in events]
        if not notes:
            return 0.0, 0.0
        heard, level_db = np.mean([(event.heard, event.level_db) for event in notes], axis=0).tolist()
        return heard, level_db

    def strikes(self) -> list[tuple[float, int, float, float, float]]:
        """Give of each note, to fit the scale: onset, pitch, the velocity by the head beside the usual one, the usual
        one, and dB beside the usual level."""
        heard, level_db = self._usual()
        return [
            (event.start_s, pitch, event.heard - heard, heard, event.level_db - level_db)
            for pitch, events in self._events.items()
            for event in events
            if pitch > 0
        ]

    def _sustained(self) -> list[Pedal]:
        """The presses of the sustain pedal by the heads."""
        if not self._pedal:
            return []
        model = self._model
        frames = presses(np.concatenate([*self._pedal, self._last_of_pedal]))
        seconds = ((np.array(frames).reshape(-1, 2) * model.frame - model.lead) / model.sample_rate).clip(min=0)
        return [Pedal(down, up, SUSTAIN) for down, up in seconds.tolist() if up > down]
