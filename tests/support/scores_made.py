"""Small scores as MusicXML text, and performances of them: tempo curve, wrong notes, omissions, repeats, cuts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aria_data.midi import Note

NAMES = ("C", "C", "D", "D", "E", "F", "F", "G", "G", "A", "A", "B")
SHARPS = (1, 3, 6, 8, 10)
SCALE = (0, 2, 4, 5, 7, 9, 11)


@dataclass(frozen=True)
class Written:
    """A made score: bars of eighths (melody) over quarters (bass); pitches. `upbeat` bars have one eighth."""

    melody: list[list[int]]
    bass: list[list[int]]
    title: str = "Sonata in C major, K. 545"
    composer: str = "Wolfgang Amadeus Mozart"
    beats: int = 3
    denominator: int = 4
    upbeat: bool = False
    repeat: tuple[int, int] | None = None  # first and last bar of a repeated part, counted from 0

    @property
    def num_bars(self) -> int:
        return len(self.melody)


def made_score(seed: int, num_bars: int = 24, **values) -> Written:
    """A melody that wanders through a scale over broken chords, another one for each seed."""
    rng = np.random.default_rng(seed)
    key, place = int(rng.integers(0, 12)), 14
    melody, bass = [], []
    eighths = values.get("beats", 3) * 8 // values.get("denominator", 4)
    for _ in range(num_bars):
        bar = []
        for _ in range(eighths):
            place = int(np.clip(place + rng.integers(-3, 4), 7, 24))
            bar.append(48 + key + 12 * (place // 7) + SCALE[place % 7])
        melody.append([min(pitch, 100) for pitch in bar])
        root = int(rng.integers(0, 7))
        bass.append([36 + key + SCALE[(root + 2 * step) % 7] for step in range(eighths // 2)])
    return Written(melody, bass, **values)


def musicxml(score: Written) -> str:
    """The score as MusicXML, a part with two voices."""
    bars = []
    if score.upbeat:
        bars.append(_bar(0, _attributes(score) + _note(score.melody[0][0], 1, 1), 'implicit="yes"'))
    for number, (melody, bass) in enumerate(zip(score.melody, score.bass, strict=True), 1):
        inside = _attributes(score) if number == 1 and not score.upbeat else ""
        if score.repeat and number == score.repeat[0] + 1:
            inside += '<barline location="left"><repeat direction="forward"/></barline>'
        inside += "".join(_note(pitch, 1, 1) for pitch in melody)
        inside += f"<backup><duration>{len(melody)}</duration></backup>"
        inside += "".join(_note(pitch, 2, 2) for pitch in bass)
        if score.repeat and number == score.repeat[1] + 1:
            inside += '<barline location="right"><repeat direction="backward"/></barline>'
        bars.append(_bar(number, inside))
    return (
        '<?xml version="1.0" encoding="UTF-8"?><score-partwise version="3.1">'
        f"<work><work-title>{score.title}</work-title></work>"
        f'<identification><creator type="composer">{score.composer}</creator></identification>'
        '<part-list><score-part id="P1"><part-name>Piano</part-name></score-part></part-list>'
        f'<part id="P1">{"".join(bars)}</part></score-partwise>'
    )


def _attributes(score: Written) -> str:
    time = f"<time><beats>{score.beats}</beats><beat-type>{score.denominator}</beat-type></time>"
    return f"<attributes><divisions>2</divisions><key><fifths>0</fifths></key>{time}</attributes>"


def _bar(number: int, inside: str, more: str = "") -> str:
    return f'<measure number="{number}" {more}>{inside}</measure>'


def _note(pitch: int, duration: int, voice: int) -> str:
    step, octave = NAMES[pitch % 12], pitch // 12 - 1
    alter = "<alter>1</alter>" if pitch % 12 in SHARPS else ""
    kind = "eighth" if duration == 1 else "quarter"
    return (
        f"<note><pitch><step>{step}</step>{alter}<octave>{octave}</octave></pitch><duration>{duration}</duration>"
        f"<voice>{voice}</voice><type>{kind}</type></note>"
    )


@dataclass(frozen=True)
class Played:
    """A performance with the true times of its beats (quarters) and bars."""

    notes: list[Note]
    beats: np.ndarray
    downbeats: np.ndarray


def perform(
    score: Written,
    order: list[int] | None = None,
    seed: int = 0,
    missed: float = 0.0,
    wrong: float = 0.0,
    trills: float = 0.0,
    tempo_range: float = 0.25,
) -> Played:
    """Play the bars in `order` (all of them) with a tempo that swings around 96 quarters a minute.

    `missed` and `wrong` are shares of notes, `trills` of melody notes that are played as four with their neighbour.
    """
    rng = np.random.default_rng(seed)
    now, notes, beats, downbeats = 0.5, [], [], []
    for place, bar in enumerate(order if order is not None else range(score.num_bars)):
        eighth = 60 / 96 / 2 * (1 + tempo_range * np.sin(place * 0.7))
        downbeats.append(now)
        for index, pitch in enumerate(score.melody[bar]):
            at = now + index * eighth
            if index % 2 == 0:
                beats.append(at)
                notes.append((at, score.bass[bar][index // 2], eighth * 1.8))
            if rng.random() < trills:
                notes += [(at + step * eighth / 4, pitch + 2 * (step % 2), eighth / 5) for step in range(4)]
            else:
                notes.append((at, pitch, eighth * 0.9))
        now += eighth * len(score.melody[bar])
    played = []
    for at, pitch, length in notes:
        if rng.random() < missed:
            continue
        sounding = pitch + int(rng.choice([-2, -1, 1, 2])) if rng.random() < wrong else pitch
        onset = max(0.0, at + rng.normal(0, 0.008))
        played.append(Note(float(onset), float(onset + length), int(sounding), 64))
    return Played(sorted(played), np.array(beats), np.array(downbeats))
