"""Make an expressive performance of a demo score: tempo, dynamics, voicing, touch and pedals. No sound is made here.

Everything is drawn from one generator seeded with the seed and the title, so a score and a seed give one performance.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from dataclasses import dataclass, replace

import numpy as np

from aria_data.midi import SOFT, SUSTAIN, Note, Pedal, Performance
from flows.demo.scores import Score, ScoreNote

MIN_VELOCITY, MAX_VELOCITY = 20, 110
PP_DYNAMIC = 0.2  # at or below this the soft pedal is down
GRID_PER_BEAT = 48  # steps in which the tempo curve is integrated


@dataclass(frozen=True)
class Playing:
    """How freely a score is played. The times are round numbers near those of measured performances."""

    lead_in_s: float = 0.6  # before the first note
    final_ritardando: float = 0.5  # how much slower the last beat is, as a part of the tempo
    ritardando_bars: int = 2
    tempo_wander: float = 0.015  # standard deviation of a slow drift, as a part of the tempo
    onset_jitter_s: float = 0.004  # standard deviation
    min_chord_spread_s: float = 0.005
    max_chord_spread_s: float = 0.03
    velocity_jitter: float = 2.5  # standard deviation
    melody_above: float = 7.0  # velocity of the melody over the dynamic
    others_below: float = 7.0
    legato_overlap_s: float = 0.02
    detached_part: float = 0.82  # of the written duration
    staccato_part: float = 0.45
    pedal_down_lag_s: tuple[float, float] = (0.06, 0.12)  # after the harmony: pressed once the old sound is damped
    pedal_up_lag_s: tuple[float, float] = (0.0, 0.03)
    min_note_s: float = 0.04
    min_gap_s: float = 0.03  # a key needs this long to come up before it is struck again


def perform(score: Score, seed: int, playing: Playing | None = None) -> Performance:
    """Perform a score. Times are seconds from the start of the recording, which begins with a short silence."""
    playing = playing or Playing()
    rng = np.random.default_rng([seed, zlib.crc32(score.title.encode())])
    clock = _Clock(score, playing, rng)
    notes = []
    for chord in _chords(score):
        notes.extend(_strike(chord, score, clock, playing, rng))
    pedals = [_press(onset, offset, clock, playing, rng) for onset, offset in score.pedals]
    pedals.extend(_soft_presses(score, clock))
    return Performance(_separated(notes, playing), sorted(pedals))


class _Clock:
    """Turns quarter beats into seconds along a tempo curve: arcs over phrases, a drift, a final ritardando."""

    def __init__(self, score: Score, playing: Playing, rng: np.random.Generator):
        self._beats = np.arange(0, float(score.end_beats) + 1, 1 / GRID_PER_BEAT)
        slowness = 1 + score.rubato * self._arcs(score) + self._wander(score, playing, rng)
        start = float(score.bars[-1 - min(playing.ritardando_bars, len(score.bars) - 1)])
        part = np.clip((self._beats - start) / (float(score.end_beats) - start), 0, 1)
        slowness = slowness + playing.final_ritardando * part**2
        steps = slowness * 60 / score.tempo / GRID_PER_BEAT
        self._times = playing.lead_in_s + np.concatenate([[0.0], np.cumsum(steps[:-1])])

    def _arcs(self, score: Score) -> np.ndarray:
        """Slower at both ends of a phrase, faster in its middle, 0 on average."""
        edges = [float(beat) for beat in score.bars[:: score.phrase_bars]]
        if edges[-1] < score.end_beats:
            edges.append(float(score.end_beats))
        index = np.clip(np.searchsorted(edges, self._beats, side="right") - 1, 0, len(edges) - 2)
        starts, ends = np.array(edges)[index], np.array(edges)[index + 1]
        along = np.clip((self._beats - starts) / (ends - starts), 0, 1)
        return (2 * along - 1) ** 2 - 1 / 3

    def _wander(self, score: Score, playing: Playing, rng: np.random.Generator) -> np.ndarray:
        return np.interp(
            self._beats,
            [float(beat) for beat in score.bars],
            rng.normal(0, playing.tempo_wander, len(score.bars)),
        )

    def seconds(self, beat) -> float:
        return float(np.interp(float(beat), self._beats, self._times))


def _chords(score: Score) -> list[list[ScoreNote]]:
    """Notes that are written at the same beat, low to high."""
    groups: dict = defaultdict(list)
    for note in score.notes:
        groups[note.onset_beats].append(note)
    return [sorted(group, key=lambda note: note.pitch) for _, group in sorted(groups.items())]


def _strike(chord: list[ScoreNote], score: Score, clock: _Clock, playing: Playing, rng) -> list[Note]:
    """One chord: its notes a little apart, the melody first and louder."""
    start_s = clock.seconds(chord[0].onset_beats)
    spread_s = rng.uniform(playing.min_chord_spread_s, playing.max_chord_spread_s) if len(chord) > 1 else 0.0
    accent = _accent(chord[0], score)
    melody = next((note for note in reversed(chord) if note.voice == score.melody), None)
    notes = []
    for note in chord:
        delay_s = 0.0 if note is melody else spread_s * rng.uniform(0.2, 1.0)
        onset_s = max(0.0, start_s + delay_s + rng.normal(0, playing.onset_jitter_s))
        voicing = playing.melody_above if note is melody else -playing.others_below
        velocity = 28 + 75 * note.dynamic + accent + voicing + rng.normal(0, playing.velocity_jitter)
        notes.append(
            Note(
                onset_s,
                max(onset_s + playing.min_note_s, _release_s(note, onset_s, score, clock, playing)),
                note.pitch,
                int(np.clip(round(velocity), MIN_VELOCITY, MAX_VELOCITY)),
            )
        )
    return notes


def _accent(note: ScoreNote, score: Score) -> float:
    """Velocity that the meter and the phrase add: the first beat of a bar most, what is between beats least."""
    bar = max(index for index, beat in enumerate(score.bars) if beat <= note.onset_beats)
    within = note.onset_beats - score.bars[bar]
    metric = 5.0 if within == 0 else 1.5 if within.denominator == 1 else -2.0
    along = (bar % score.phrase_bars + 0.5) / score.phrase_bars
    return metric + 5.0 * float(np.sin(np.pi * along)) - 2.5


def _release_s(note: ScoreNote, onset_s: float, score: Score, clock: _Clock, playing: Playing) -> float:
    written_s = clock.seconds(note.onset_beats + note.duration_beats) - clock.seconds(note.onset_beats)
    if note.is_staccato:
        return onset_s + playing.staccato_part * written_s
    if score.touch == "detached":
        return onset_s + playing.detached_part * written_s
    return onset_s + written_s + playing.legato_overlap_s


def _press(onset, offset, clock: _Clock, playing: Playing, rng: np.random.Generator) -> Pedal:
    """A pedal change as taught: up with the new harmony, down again just after it."""
    down_s = clock.seconds(onset) + rng.uniform(*playing.pedal_down_lag_s)
    up_s = clock.seconds(offset) + rng.uniform(*playing.pedal_up_lag_s)
    return Pedal(down_s, max(up_s, down_s + playing.min_note_s), SUSTAIN)


def _soft_presses(score: Score, clock: _Clock) -> list[Pedal]:
    """The soft pedal is down from the first note at pp until the first that is louder."""
    presses, down = [], None
    for note in score.notes:
        if note.dynamic <= PP_DYNAMIC and down is None:
            down = note.onset_beats
        elif note.dynamic > PP_DYNAMIC and down is not None:
            presses.append((down, note.onset_beats))
            down = None
    if down is not None:
        presses.append((down, score.end_beats))
    return [Pedal(max(0.0, clock.seconds(on) - 0.15), clock.seconds(off) - 0.05, SOFT) for on, off in presses]


def _separated(notes: list[Note], playing: Playing) -> list[Note]:
    """Let no pitch overlap itself: a key comes up before it is struck again; two voices on one key are one strike."""
    by_pitch: dict[int, list[Note]] = defaultdict(list)
    for note in sorted(notes):
        before = by_pitch[note.pitch][-1] if by_pitch[note.pitch] else None
        if before is not None and note.onset_s - before.onset_s < playing.min_note_s + playing.min_gap_s:
            louder = max(before.velocity, note.velocity)
            by_pitch[note.pitch][-1] = replace(before, offset_s=max(before.offset_s, note.offset_s), velocity=louder)
            continue
        if before is not None and before.offset_s > note.onset_s - playing.min_gap_s:
            by_pitch[note.pitch][-1] = replace(before, offset_s=note.onset_s - playing.min_gap_s)
        by_pitch[note.pitch].append(note)
    return sorted(note for group in by_pitch.values() for note in group)
