"""From partitura's score to ours: notes of all parts, bars, beats, repeat signs. Reads no file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

MAX_NOTES = 60_000  # the longest piano works have 30,000
MAX_BARS = 10_000
MAX_BEATS = 100_000
QUARTERS_TOLERANCE = 1e-3  # MIDI files of 480 ticks a quarter are exact to 2e-3


@dataclass(slots=True)
class _Bars:
    """Bars and their beats, as they are collected."""

    start: list[float] = field(default_factory=list)
    number: list[int] = field(default_factory=list)
    beat: list[float] = field(default_factory=list)
    is_downbeat: list[bool] = field(default_factory=list)
    signature: list[str] = field(default_factory=list)


def read_notation(found: Any) -> dict[str, Any]:
    """Give the musical fields of a `Score` from a `partitura.score.Score`.

    Raises `ValueError`, in words that fit after a file's name, for one without notes or bars, and for one too large.
    """
    parts = [part for part in found.parts if len(part.notes_tied)]
    if not parts:
        raise ValueError("it holds no notes")
    leading = max(parts, key=lambda part: len(part.measures))
    notes = _notes(parts)
    if len(notes) > MAX_NOTES or len(leading.measures) > MAX_BARS:
        raise ValueError(f"it has more than {MAX_NOTES} notes or {MAX_BARS} bars")
    bars = _bars(leading)
    leave_at, enter_at = _repeat_signs(leading)
    notes.sort(key=lambda note: note[:2])
    onset, pitch, duration, is_grace, ids = zip(*notes, strict=True)
    return {
        "onset": np.array(onset),
        "duration": np.array(duration),
        "pitch": np.array(pitch, np.uint8),
        "is_grace": np.array(is_grace, bool),
        "note_ids": ids,
        "bar_start": np.array(bars.start),
        "bar_number": np.array(bars.number, np.int64),
        "beat": np.array(bars.beat),
        "is_downbeat": np.array(bars.is_downbeat, bool),
        "signature": tuple(bars.signature),
        "leave_at": np.array(leave_at),
        "enter_at": np.array(enter_at),
    }


def _quarters(part: Any, positions: Any) -> np.ndarray:
    """Quarter notes from the part's beginning; partitura's own maps count from the first full bar."""
    return np.asarray(part.quarter_map(positions)) - float(part.quarter_map(part.first_point.t))


def _notes(parts: list[Any]) -> list[tuple[float, int, float, bool, str]]:
    notes = []
    for number, part in enumerate(parts):
        prefix = f"{part.id or number}-" if len(parts) > 1 else ""
        tied = part.notes_tied
        spans = _quarters(part, [(note.start.t, note.end_tied.t) for note in tied])
        for index, (note, (start, end)) in enumerate(zip(tied, spans, strict=True)):
            is_grace = not note.duration_tied
            name = f"{prefix}{note.id or index}"
            if 21 <= note.midi_pitch <= 108 and np.isfinite(start) and np.isfinite(end):
                notes.append((round(float(start), 6), int(note.midi_pitch), float(end - start), is_grace, name))
    if not notes:
        raise ValueError("it holds no notes that a piano has")
    return notes


def _bars(part: Any) -> _Bars:
    """Bars, their numbers and beats. An incomplete first bar, and the rest of a split one, have no downbeat."""
    measures = sorted(part.measures, key=lambda each: each.start.t)
    if not measures:
        raise ValueError("it has no bars")
    edges = _quarters(part, [each.start.t for each in measures] + [measures[-1].end.t])
    signatures = [_signature_at(part, each.start.t) for each in measures]
    if len(measures) > 1 and _full(signatures[0]) < _full(signatures[1]):
        signatures[0] = signatures[1]  # of a MIDI file, where an upbeat is a bar of its own length
    bars, missing = _Bars(), 0.0
    for index, measure in enumerate(measures):
        start, end = float(edges[index]), float(edges[index + 1])
        length, full = end - start, _full(signatures[index])
        if length <= QUARTERS_TOLERANCE:
            continue
        is_rest = not bars.start or (missing > 0 and length <= missing + QUARTERS_TOLERANCE)
        is_short = length < full - QUARTERS_TOLERANCE
        has_downbeat = not (is_short and is_rest)
        missing = full - length if is_short and has_downbeat else 0.0
        bars.start.append(start)
        bars.number.append(_number(measure, bars.number))
        _add_beats(bars, start, end, signatures[index], has_downbeat)
    if not bars.start:
        raise ValueError("it has no bar that lasts")  # of grace notes alone
    bars.start.append(float(edges[-1]))
    return bars


def _number(measure: Any, before: list[int]) -> int:
    number = measure.number
    return number if isinstance(number, int) else (before[-1] + 1 if before else 1)


def _signature_at(part: Any, time: int) -> tuple[int, int, int]:
    numerator, denominator = (int(value) for value in part.time_signature_map(time)[:2])
    try:
        fifths = int(part.key_signature_map(time)[0])
    except (TypeError, ValueError, IndexError):  # partitura cannot say where there is no key signature
        fifths = 0
    if not (1 <= numerator <= 255 and denominator in (1, 2, 4, 8, 16, 32, 64, 128)):
        raise ValueError(f"it has a time signature of {numerator}/{denominator}")
    return numerator, denominator, fifths


def beat_length(numerator: int, denominator: int) -> Fraction:
    """Quarter notes from beat to beat, as ASAP and pretty_midi count: three denominators in a compound metre."""
    is_compound = numerator % 3 == 0 and numerator > 3
    return Fraction(12 if is_compound else 4, denominator)


def _full(signature: tuple[int, int, int]) -> float:
    return signature[0] * 4 / signature[1]


def _add_beats(bars: _Bars, start: float, end: float, signature: tuple[int, int, int], has_downbeat: bool) -> None:
    """Add a bar's beats. Those of a bar without downbeat are counted back from its end."""
    length = float(beat_length(*signature[:2]))
    number = max(1, int(np.ceil((end - start) / length - QUARTERS_TOLERANCE)))
    if len(bars.beat) + number > MAX_BEATS:
        raise ValueError(f"it has more than {MAX_BEATS} beats")
    places = start + length * np.arange(number)
    if not has_downbeat:
        places = end - length * np.arange(number, 0, -1)
        places = places[places >= start - QUARTERS_TOLERANCE]
    name = f"{signature[0]}/{signature[1]},{signature[2]}"
    for index, place in enumerate(places):
        bars.beat.append(float(place))
        bars.is_downbeat.append(has_downbeat and index == 0)
        bars.signature.append(name)


def _repeat_signs(part: Any) -> tuple[list[float], list[float]]:
    """Where a player may leave the order of the bars, and where he may go on; both sorted."""
    leave, enter = set(), set()
    for times, into in _jumps(part):
        into_leave, into_enter = into
        leave |= set(times) if into_leave else set()
        enter |= set(times) if into_enter else set()
    enter.add(part.first_point.t)
    quarters = [sorted(_quarters(part, sorted(times)).tolist()) if times else [] for times in (leave, enter)]
    return quarters[0], quarters[1]


def _jumps(part: Any) -> Iterator[tuple[list[int], tuple[bool, bool]]]:
    """Yield (times, (may be left, may be entered)) for each kind of sign."""
    from partitura import score

    def starts(kind: type) -> list[int]:
        return [each.start.t for each in part.iter_all(kind) if each.start is not None]

    def ends(kind: type) -> list[int]:
        return [each.end.t for each in part.iter_all(kind) if each.end is not None]

    yield starts(score.Repeat), (False, True)
    yield ends(score.Repeat), (True, True)
    yield starts(score.Ending), (True, True)
    yield ends(score.Ending), (True, True)
    for kind in (score.DaCapo, score.DalSegno, score.ToCoda, score.Fine):
        yield starts(kind), (True, False)
    for kind in (score.Segno, score.Coda):
        yield starts(kind), (False, True)
