"""Random music as note lists: many textures, played with human timing, dynamics and pedal. No sound is made here.

Composed from chance alone, so nothing of it belongs to anyone. Times in a texture are beats until `perform` turns
them into seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Note = tuple[float, float, int, int]  # onset_s, offset_s, pitch, velocity
Pedal = tuple[float, float, int]  # onset_s, offset_s, controller
Beats = list[tuple[float, float, int, float]]  # onset and length in beats, pitch, loudness about 1.0

MODES = (
    (0, 2, 4, 5, 7, 9, 11),
    (0, 2, 3, 5, 7, 8, 10),
    (0, 2, 3, 5, 7, 8, 11),
    (0, 2, 3, 5, 7, 9, 10),
    (0, 2, 4, 7, 9),
)
PROGRESSIONS = ((0, 3, 4, 0), (0, 5, 3, 4), (0, 4, 5, 3), (1, 4, 0, 0), (0, 2, 3, 4), (0, 6, 5, 4), (0, 0, 4, 0))


@dataclass(frozen=True)
class Key:
    """A scale on a tonic, read by degree: `key.pitch(7)` is one octave above `key.pitch(0)` in seven-note modes."""

    tonic: int
    mode: tuple[int, ...]

    def pitch(self, degree: int) -> int:
        octave, step = divmod(degree, len(self.mode))
        return self.tonic + 12 * octave + self.mode[step]

    def chord(self, degree: int, size: int = 3) -> list[int]:
        return [self.pitch(degree + 2 * step) for step in range(size)]


def random_key(rng: np.random.Generator) -> Key:
    """Tonic between C3 and B3."""
    return Key(48 + int(rng.integers(12)), MODES[int(rng.integers(len(MODES)))])


def _harmony(rng: np.random.Generator, num_beats: float) -> list[tuple[float, float, int]]:
    """(start beat, length, degree) of chords that fill `num_beats`."""
    chords: list[tuple[float, float, int]] = []
    beat = 0.0
    progression = PROGRESSIONS[int(rng.integers(len(PROGRESSIONS)))]
    length = float(rng.choice([1, 2, 4]))
    while beat < num_beats:
        degree = progression[len(chords) % 4] if rng.random() < 0.8 else int(rng.integers(7))
        chords.append((beat, length, degree))
        beat += length
    return chords


def _walk(rng, key, start, num_beats, lengths, low, high, leap=2, rests=0.1) -> Beats:
    """One voice that wanders through the key."""
    notes: Beats = []
    beat, degree = 0.0, start
    while beat < num_beats:
        length = float(rng.choice(lengths))
        if rng.random() > rests:
            notes.append((beat, length * rng.uniform(0.6, 1.05), key.pitch(degree), rng.uniform(0.8, 1.2)))
        step = int(rng.integers(-leap, leap + 1)) if rng.random() < 0.85 else int(rng.integers(-7, 8))
        degree = degree + step if low <= key.pitch(degree + step) <= high else start
        beat += length
    return notes


def scales(rng, key, num_beats) -> Beats:
    """Runs up and down in one or both hands, sometimes in thirds or chromatic."""
    step = float(rng.choice([0.125, 0.25, 1 / 3, 0.5]))
    chromatic, interval = rng.random() < 0.25, int(rng.choice([0, 2, 5, 7]))
    degree, direction = int(rng.integers(-7, 7)), 1
    notes: Beats = []
    for index in range(int(num_beats / step)):
        base = key.tonic + degree if chromatic else key.pitch(degree)
        notes.append((index * step, step, base, rng.uniform(0.85, 1.15)))
        if interval:
            notes.append((index * step, step, key.pitch(degree + interval) if not chromatic else base + 12, 0.9))
        degree += direction
        if abs(degree) > 16 or rng.random() < 0.06:
            direction = -1 if degree > 0 else 1
    return notes


def arpeggios(rng, key, num_beats) -> Beats:
    """Broken chords over several octaves."""
    step, size, span = float(rng.choice([0.125, 1 / 6, 0.25, 0.5])), int(rng.choice([3, 4])), int(rng.integers(1, 4))
    notes: Beats = []
    for start, length, degree in _harmony(rng, num_beats):
        tones = [pitch + 12 * octave for octave in range(span) for pitch in key.chord(degree, size)]
        order = tones + tones[-2:0:-1] if rng.random() < 0.6 else list(rng.permutation(tones))
        for index in range(int(length / step)):
            notes.append((start + index * step, step * rng.uniform(0.9, 2), int(order[index % len(order)]), 0.95))
        if rng.random() < 0.7:
            notes.append((start, length, key.pitch(degree) - 12, 1.1))
    return notes


def melody_and_chords(rng, key, num_beats) -> Beats:
    """A tune above block chords."""
    notes = _walk(rng, key, 9, num_beats, [0.5, 1, 1, 2], key.tonic + 9, key.tonic + 36)
    notes = [(onset, length, pitch, loudness * 1.25) for onset, length, pitch, loudness in notes]
    for start, length, degree in _harmony(rng, num_beats):
        for pitch in key.chord(degree, int(rng.choice([3, 3, 4]))):
            notes.append((start, length * 0.95, pitch - 12 * int(rng.random() < 0.3), rng.uniform(0.65, 0.85)))
    return notes


def alberti(rng, key, num_beats) -> Beats:
    """Classical left hand under a tune with some ornaments."""
    notes = _walk(rng, key, 12, num_beats, [0.25, 0.5, 0.5, 1], key.tonic + 10, key.tonic + 34)
    for start, length, degree in _harmony(rng, num_beats):
        low, middle, high = key.chord(degree)
        for index in range(int(length * 4)):
            notes.append((start + index * 0.25, 0.24, (low, high, middle, high)[index % 4], 0.7))
    return notes


def counterpoint(rng, key, num_beats) -> Beats:
    """Two to four independent voices."""
    notes: Beats = []
    for voice in range(int(rng.integers(2, 5))):
        lengths = ([0.25, 0.5, 1], [0.5, 1], [0.25, 0.25, 0.5], [1, 2])[int(rng.integers(4))]
        centre = -10 + 7 * voice
        low, high = key.pitch(centre) - 10, key.pitch(centre) + 10
        notes += _walk(rng, key, centre, num_beats, lengths, low, high, rests=0.15)
    return notes


def chorale(rng, key, num_beats) -> Beats:
    """Held chords in slow time."""
    notes: Beats = []
    for start, length, degree in _harmony(rng, num_beats):
        shift = 12 * int(rng.integers(-1, 2))
        for pitch in [*key.chord(degree, int(rng.choice([3, 4, 5]))), key.pitch(degree) - 12]:
            notes.append((start, length * rng.uniform(0.8, 1.0), pitch + shift, rng.uniform(0.8, 1.1)))
    return notes


def ragtime(rng, key, num_beats) -> Beats:
    """Leaping bass and chords under a syncopated right hand, often in octaves."""
    notes: Beats = []
    for start, length, degree in _harmony(rng, num_beats):
        for index in range(int(length * 2)):
            if index % 2 == 0:
                notes.append((start + index / 2, 0.4, key.pitch(degree) - 24 + 7 * int(rng.random() < 0.3), 1.0))
                notes.append((start + index / 2, 0.4, key.pitch(degree) - 12, 0.9))
            else:
                notes += [(start + index / 2, 0.3, pitch, 0.75) for pitch in key.chord(degree)]
    for onset, length, pitch, loudness in _walk(rng, key, 12, num_beats, [0.25, 0.25, 0.5, 0.75], 62, 92):
        notes.append((onset, length, pitch, loudness))
        if rng.random() < 0.5:
            notes.append((onset, length, pitch + 12, loudness))
    return notes


def impressionist(rng, key, num_beats) -> Beats:
    """Slow parallel chords over a wide range, soft."""
    notes: Beats = []
    beat = 0.0
    while beat < num_beats:
        length, degree = float(rng.choice([1, 2, 3, 4])), int(rng.integers(-7, 14))
        for pitch in key.chord(degree, int(rng.integers(3, 6))):
            notes.append((beat + rng.uniform(0, 0.15), length, pitch, rng.uniform(0.5, 0.8)))
        if rng.random() < 0.5:
            notes.append((beat, length, key.pitch(degree) - 24, 0.7))
        beat += length
    return notes


def virtuoso(rng, key, num_beats) -> Beats:
    """Dense: octaves, tremolos, runs and full chords in both hands."""
    notes = scales(rng, key, num_beats) if rng.random() < 0.5 else arpeggios(rng, key, num_beats)
    for start, length, degree in _harmony(rng, num_beats):
        for index in range(int(length * 2)):
            for pitch in key.chord(degree, 3):
                notes.append((start + index / 2, 0.45, pitch - 12, rng.uniform(0.8, 1.2)))
            notes.append((start + index / 2, 0.45, key.pitch(degree) - 24, 1.2))
            if rng.random() < 0.4:
                notes.append((start + index / 2, 0.45, key.pitch(degree) + 36, 1.2))
    return notes


def sparse(rng, key, num_beats) -> Beats:
    """Single notes and pairs far apart, in any register."""
    notes: Beats = []
    beat = rng.uniform(0, 1)
    while beat < num_beats:
        for _ in range(int(rng.integers(1, 3))):
            notes.append((beat, rng.uniform(0.3, 4), key.pitch(int(rng.integers(-14, 24))), rng.uniform(0.5, 1.2)))
        beat += float(rng.choice([1, 2, 3]))
    return notes


def repeated(rng, key, num_beats) -> Beats:
    """One note or chord struck again and again, with a slow bass."""
    step, notes = float(rng.choice([0.25, 1 / 3, 0.5, 1])), []
    for start, length, degree in _harmony(rng, num_beats):
        tones = key.chord(degree, int(rng.integers(1, 4)))
        for index in range(int(length / step)):
            notes += [(start + index * step, step * 0.9, pitch + 12, rng.uniform(0.7, 1.0)) for pitch in tones]
        notes.append((start, length, key.pitch(degree) - 12, 1.0))
    return notes


def melody(rng, key, num_beats) -> Beats:
    """One voice alone."""
    lengths = ([0.25, 0.5], [0.5, 1, 1.5], [1, 2, 3])[int(rng.integers(3))]
    return _walk(rng, key, 7, num_beats, lengths, key.tonic - 5, key.tonic + 30, leap=3)


def atonal(rng, key, num_beats) -> Beats:
    """Any pitch at any time."""
    onsets = np.sort(rng.uniform(0, num_beats, int(num_beats * rng.uniform(1, 6))))
    return [(float(t), rng.uniform(0.1, 2), int(rng.integers(30, 100)), rng.uniform(0.4, 1.3)) for t in onsets]


JAZZ_CHORDS = ((0, 4, 7, 11), (0, 4, 7, 10), (0, 3, 7, 10), (0, 3, 6, 10), (0, 4, 10, 14), (0, 5, 7, 10), (0, 4, 9, 14))


def _changes(rng: np.random.Generator, num_beats: float) -> list[tuple[int, tuple[int, ...]]]:
    """A root (0 to 11) and a chord for every four beats, moving by fifths, steps or leaps."""
    changes: list[tuple[int, tuple[int, ...]]] = []
    root = int(rng.integers(12))
    for _ in range(int(num_beats / 4) + 1):
        changes.append((root, JAZZ_CHORDS[int(rng.integers(len(JAZZ_CHORDS)))]))
        root = (root + int(rng.choice([5, 5, 5, 11, 2, 3, 6]))) % 12
    return changes


def walking_bass(rng, key, num_beats) -> Beats:
    """A low line in even beats through chords and chromatic steps."""
    notes: Beats = []
    for bar, (root, chord) in enumerate(_changes(rng, num_beats)):
        for beat, step in enumerate((0, chord[1], chord[2], int(rng.choice([-1, 1, 11, 6])))):
            notes.append((bar * 4 + beat, rng.uniform(0.7, 1.0), 28 + root + step, rng.uniform(0.8, 1.0)))
    return notes


def jazz(rng, key, num_beats) -> Beats:
    """Rootless sevenths and ninths off the beat, a swinging chromatic line, often a walking or held bass."""
    notes: Beats = []
    bass = int(rng.integers(3))
    for bar, (root, chord) in enumerate(_changes(rng, num_beats)):
        if bass == 0:
            steps = enumerate((0, chord[1], chord[2], -1))
            notes += [(bar * 4 + beat, 0.9, 33 + root + step, 0.85) for beat, step in steps]
        elif bass == 1:
            notes += [(bar * 4, 3.5, 33 + root, 0.9), (bar * 4 + 0.1, 3.5, 45 + root - 5, 0.7)]
        for beat in rng.choice([0, 0.66, 1, 1.66, 2, 2.66, 3, 3.66], int(rng.integers(1, 5)), replace=False):
            length = float(rng.choice([0.3, 0.6, 2.0]))
            notes += [(bar * 4 + float(beat), length, 52 + root + step, rng.uniform(0.6, 0.9)) for step in chord]
        degree = int(rng.integers(60, 84))
        for beat in range(8):
            if rng.random() < 0.7:
                onset = bar * 4 + beat // 2 + (0.66 if beat % 2 else 0.0)
                notes.append((onset, 0.4, degree, rng.uniform(0.8, 1.2)))
                degree += int(rng.choice([-3, -2, -1, 1, 2, 3, 4]))
    return notes


def ballad(rng, key, num_beats) -> Beats:
    """Pop: a bass in octaves, broken or pulsing chords in the middle, a tune in octaves or thirds."""
    notes: Beats = []
    step, pulsing = float(rng.choice([0.25, 0.5])), rng.random() < 0.5
    for start, length, degree in _harmony(rng, num_beats):
        root, tones = key.pitch(degree) - 24, [*key.chord(degree, 4), key.pitch(degree) + 12]
        notes += [(start, length, root, 1.0), (start, length, root + 12, 0.9)]
        for index in range(int(length / step)):
            chosen = tones[:3] if pulsing else [tones[int(rng.integers(5))]]
            notes += [(start + index * step, step, pitch, rng.uniform(0.6, 0.8)) for pitch in chosen]
    for onset, length, pitch, loudness in _walk(rng, key, 12, num_beats, [0.5, 1, 1.5], key.tonic + 10, key.tonic + 34):
        notes.append((onset, length, pitch, 1.2 * loudness))
        if rng.random() < 0.4:
            notes.append((onset, length, pitch + int(rng.choice([12, -4, -3])), loudness))
    return notes


def boogie(rng, key, num_beats) -> Beats:
    """An eighth-note bass figure under hammered chords and blue notes."""
    notes: Beats = []
    figure = (0, 4, 7, 9, 10, 9, 7, 4) if rng.random() < 0.5 else (0, 7, 9, 7, 0, 7, 10, 7)
    for bar, shift in enumerate(rng.choice([0, 0, 0, 5, 7], int(num_beats / 4) + 1)):
        notes += [(bar * 4 + i / 2, 0.4, key.tonic - 12 + int(shift) + s, 0.85) for i, s in enumerate(figure)]
        for beat in rng.choice(np.arange(0, 4, 0.5), int(rng.integers(2, 7)), replace=False):
            chord = (4, 7, 10) if rng.random() < 0.6 else (10, 15)
            notes += [(bar * 4 + float(beat), 0.3, key.tonic + 12 + int(shift) + s, 1.0) for s in chord]
    return notes


Texture = Callable[[np.random.Generator, Key, float], Beats]
TEXTURES: tuple[Texture, ...] = (
    scales,
    arpeggios,
    melody_and_chords,
    melody_and_chords,
    alberti,
    counterpoint,
    counterpoint,
    chorale,
    ragtime,
    impressionist,
    virtuoso,
    sparse,
    repeated,
    melody,
    atonal,
    jazz,
    jazz,
    ballad,
    ballad,
    boogie,
)
CHORDAL: tuple[Texture, ...] = (chorale, repeated, melody_and_chords, counterpoint, arpeggios)


def perform(
    rng: np.random.Generator, notes: Beats, beats_per_s: float, duration_s: float, low: int = 21, high: int = 108
) -> list[Note]:
    """Play beats as a person would: rubato, uneven timing and touch, rolled chords. Pitches are folded into range."""
    rubato, phase = rng.uniform(0, 0.12), rng.uniform(0, 6.3)
    period, base, depth = rng.uniform(3, 12), rng.uniform(40, 95), rng.uniform(0, 25)
    jitter_s, legato = rng.uniform(0, 0.02), articulation(rng)
    played = []
    for onset, length, pitch, loudness in notes:
        bend = rubato * np.sin(2 * np.pi * onset / period + phase)
        onset_s = max(0.0, (onset + bend) / beats_per_s + rng.normal(0, jitter_s))
        if onset_s >= duration_s:
            continue
        swell = depth * np.sin(2 * np.pi * onset / (2 * period) + phase)
        velocity = int(np.clip(base * loudness + swell + rng.normal(0, 6), 12, 124))
        while pitch < low:
            pitch += 12
        while pitch > high:
            pitch -= 12
        played.append((float(onset_s), float(onset_s + max(0.04, length * legato / beats_per_s)), int(pitch), velocity))
    return sorted(played)


def articulation(rng: np.random.Generator) -> float:
    """How much of its length a note is held: legato mostly, staccato one time of five, rarely overheld."""
    return float(
        rng.choice([rng.uniform(0.75, 1.15), rng.uniform(0.15, 0.7), rng.uniform(1.2, 3.0)], p=[0.7, 0.2, 0.1])
    )


def pedalling(rng: np.random.Generator, beats_per_s: float, duration_s: float) -> list[Pedal]:
    """Sustain pedal changed every one to four beats, held all the time, or not used at all."""
    kind = rng.random()
    if kind < 0.33:
        return []
    if kind < 0.40:
        return [(0.0, duration_s + 1.0, 64)]
    length_s = float(rng.choice([1, 2, 4])) / beats_per_s
    starts = np.arange(0.0, duration_s, length_s)
    return [(float(s + 0.05), float(s + length_s * rng.uniform(0.8, 1.02)), 64) for s in starts if rng.random() < 0.9]


def compose(
    rng: np.random.Generator,
    duration_s: float,
    textures: tuple[Texture, ...] = TEXTURES,
    low: int = 21,
    high: int = 108,
    key: Key | None = None,
    beats_per_s: float | None = None,
) -> tuple[list[Note], list[Pedal]]:
    """Random music of about `duration_s` in one of the textures, and its sustain pedal.

    Give the same `key` and `beats_per_s` to parts that play together.
    """
    texture = textures[int(rng.integers(len(textures)))]
    if beats_per_s is None:
        slow = texture in (impressionist, sparse, chorale)
        beats_per_s = float(rng.uniform(0.5, 1.6) if slow else rng.uniform(0.9, 3.0))
    if key is None:
        key = random_key(rng)
        key = Key(key.tonic + int(rng.choice([-12, 0, 0, 12])), key.mode)
    notes = texture(rng, key, duration_s * beats_per_s)
    return perform(rng, notes, beats_per_s, duration_s, low, high), pedalling(rng, beats_per_s, duration_s)
