"""Read the demo's scores: the text in `manifests/demo/scores`, described in that folder's README.md.

Text becomes score notes, in quarter beats. How they are played: `flows.demo.performance`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from importlib import resources
from pathlib import Path

from aria_data.errors import UsageError
from aria_data.midi import HIGHEST_PITCH, LOWEST_PITCH

SCORES_FOLDER = Path(str(resources.files("manifests"))) / "demo" / "scores"

DYNAMICS = {"pp": 0.15, "p": 0.32, "mp": 0.46, "mf": 0.6, "f": 0.78, "ff": 0.95}
STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
NEEDED = ("title", "composer", "dates", "key", "style", "public_domain", "meter", "tempo", "form")
DEFAULTS = {"catalogue": "", "edition": "", "rubato": "0.04", "phrase": "4", "touch": "legato", "pedal": ""}
PEDAL_VOICE = "pedal"

_PITCH = re.compile(r"([A-G])([#b]?)(-?\d)")
_EVENT = re.compile(r"(\[[^\]]*\]|[^/\[\]'~]+)(?:/(\d+\.*))?('?)(~?)")
_TOKENS = re.compile(r"\[[^\]]*\]\S*|\S+")
_MACRO_CALL = re.compile(r"(\w+)\(([^()]*)\)")


class ScoreInvalid(UsageError):
    """A score file does not follow the format, or its bars do not add up."""

    reason = "score_invalid"


@dataclass(frozen=True, slots=True, order=True)
class ScoreNote:
    """One note as written, ties joined. Times are quarter beats from the start, repeats played out."""

    onset_beats: Fraction
    duration_beats: Fraction
    pitch: int
    voice: str
    dynamic: float  # 0 (silent) to 1 (as loud as can be)
    is_staccato: bool = False


@dataclass(frozen=True, slots=True)
class Score:
    """A piece: the values of its header, and its notes and pedals in the order of their onsets."""

    title: str
    composer: str
    dates: str
    catalogue: str
    key: str
    style: str  # "classical" or "ragtime"
    edition: str
    tempo: float  # quarter notes a minute
    rubato: float  # how much a phrase slows at its ends, as a part of the tempo
    phrase_bars: int
    touch: str  # "legato" or "detached"
    melody: str  # name of the voice that is brought out
    notes: list[ScoreNote]
    pedals: list[tuple[Fraction, Fraction]]  # onset and offset, quarter beats
    bars: list[Fraction]  # where each bar starts, and last where the piece ends, quarter beats

    @property
    def end_beats(self) -> Fraction:
        return self.bars[-1]


@dataclass(frozen=True, slots=True)
class _Bar:
    """One bar of one voice; onsets count from the start of the bar."""

    length: Fraction
    events: list[tuple[ScoreNote, bool]]  # the note, and whether it is tied to the next
    marks: list[tuple[Fraction, str]]  # dynamics
    place: str  # "file:line" for messages


def load_scores(folder: Path = SCORES_FOLDER) -> dict[str, Score]:
    """All scores of a folder by the stem of their file name, sorted."""
    return {path.stem: load_score(path) for path in sorted(folder.glob("*.score"))}


def load_score(path: Path) -> Score:
    """Read one score. Raises `ScoreInvalid`, with file and line, where it does not follow the format."""
    return parse_score(path.read_text(encoding="utf-8"), path.name)


def parse_score(text: str, name: str) -> Score:
    """Read a score from its text; `name` is what messages call the file."""
    header, patterns = dict(DEFAULTS), {}
    sections: dict[str, dict[str, list[_Bar]]] = {}
    voices: dict[str, list[_Bar]] | None = None
    meter = Fraction(0)
    for number, line in enumerate(text.splitlines(), start=1):
        line, place = line.strip(), f"{name}:{number}"
        if not line or line.startswith(";"):
            continue
        if line.startswith("=="):
            meter = _meter(header, place)
            voices = sections.setdefault(line.strip("= "), {})
        elif ":" not in line:
            raise ScoreInvalid(f"{place}: {line[:40]!r} has no ':'. Write `name: value` or `voice: | bars`.")
        elif line.startswith("pattern "):
            key, value = line.removeprefix("pattern ").split(":", 1)
            patterns[key.strip()] = value.strip()
        elif voices is None:
            key, value = line.split(":", 1)
            header[key.strip()] = value.strip()
        else:
            voice, bars = line.split(":", 1)
            _read_bars(voices.setdefault(voice, []), voice, _expand(bars, patterns, place), meter, place)
    missing = [key for key in NEEDED if not header.get(key)]
    if missing:
        raise ScoreInvalid(f"{name}:1: the header lacks {', '.join(missing)}. Add a line `{missing[0]}: ...`.")
    return _unfold(header, sections, meter, name)


def _meter(header: dict[str, str], place: str) -> Fraction:
    """Length of a full bar in quarter beats."""
    try:
        return Fraction(header.get("meter", "")) * 4
    except (ValueError, ZeroDivisionError):
        raise ScoreInvalid(f"{place}: a section begins before a line `meter: 3/4` was read.") from None


def _expand(bars: str, patterns: dict[str, str], place: str) -> str:
    def figure(call: re.Match) -> str:
        if call[1] not in patterns:
            raise ScoreInvalid(f"{place}: no pattern {call[1]!r}. Patterns here: {', '.join(patterns) or 'none'}.")
        played, arguments = patterns[call[1]], _TOKENS.findall(call[2])
        wanted = len(set(re.findall(r"\$\d", played)))
        if wanted != len(arguments):
            raise ScoreInvalid(f"{place}: pattern {call[1]!r} takes {wanted} pitches, but {len(arguments)} are given.")
        for index, argument in enumerate(arguments, start=1):
            played = played.replace(f"${index}", argument)
        return played

    return _MACRO_CALL.sub(figure, bars)


def _read_bars(bars: list[_Bar], voice: str, text: str, meter: Fraction, place: str) -> None:
    """Append the bars of one line to `bars`."""
    for cell in text.strip().strip("|").split("|"):
        tokens = _TOKENS.findall(cell)
        if tokens == ["%"]:
            if not bars:
                raise ScoreInvalid(f"{place}: '%' repeats the bar before, but voice {voice!r} has none.")
            bars.append(replace(bars[-1], place=place))
        else:
            bars.append(_read_bar(tokens, voice, meter, f"{place}: bar {len(bars) + 1} of {voice!r} in its section"))


def _read_bar(tokens: list[str], voice: str, meter: Fraction, place: str) -> _Bar:
    length, at, duration = meter, Fraction(0), None
    events, marks = [], []
    for token in tokens:
        if token.startswith("<"):
            length = _fraction(token.strip("<>"), place) * 4
        elif token.startswith("!"):
            if token[1:] != "<" and token[1:] not in DYNAMICS:
                raise ScoreInvalid(f"{place}: no dynamic {token!r}. Use one of: {', '.join(DYNAMICS)}, <.")
            marks.append((at, token[1:]))
        elif token == "R":
            at += length
        else:
            what, written, staccato, tie = _split(token, place)
            duration = _duration(written, place) if written else duration
            if duration is None:
                raise ScoreInvalid(f"{place}: {token!r} is the first in its bar and has no duration. Write `C4/4`.")
            for pitch in _pitches(what, voice, place):
                events.append((ScoreNote(at, duration, pitch, voice, 0.0, bool(staccato)), bool(tie)))
            at += duration
    if at != length:
        raise ScoreInvalid(f"{place}: lasts {_beats(at)}, but should last {_beats(length)} quarter beats.")
    return _Bar(length, events, marks, place)


def _split(token: str, place: str) -> tuple[str, str | None, str, str]:
    match = _EVENT.fullmatch(token)
    if match is None:
        raise ScoreInvalid(f"{place}: cannot read {token!r}. Write a note as `F#4/8.`, a chord as `[C4 E4]/2`.")
    what, written, staccato, tie = match.groups()
    return what, written, staccato, tie


def _fraction(text: str, place: str) -> Fraction:
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise ScoreInvalid(f"{place}: {text!r} is no length. Write a part of a whole note, as in `<1/8>`.") from None


def _duration(written: str, place: str) -> Fraction:
    """Quarter beats of "8" (an eighth) or "8." (a dotted eighth)."""
    number, dots = written.rstrip("."), written.count(".")
    if int(number) == 0:
        raise ScoreInvalid(f"{place}: a duration of 0. Write 4 for a quarter note, 8 for an eighth.")
    return Fraction(4, int(number)) * (2 - Fraction(1, 2**dots))


def _pitches(what: str, voice: str, place: str) -> list[int]:
    """MIDI pitches of a note, a chord or a rest; `P` is the pedal, in its own voice only."""
    if what == "r":
        return []
    if voice == PEDAL_VOICE and what == "P":
        return [0]
    return [_pitch(name, place) for name in what.strip("[]").split()]


def _pitch(name: str, place: str) -> int:
    match = _PITCH.fullmatch(name)
    if match is None:
        raise ScoreInvalid(f"{place}: {name!r} is no pitch. Write a letter, # or b, and an octave: F#4.")
    step, accidental, octave = match.groups()
    pitch = 12 * (int(octave) + 1) + STEPS[step] + {"#": 1, "b": -1, "": 0}[accidental]
    if not LOWEST_PITCH <= pitch <= HIGHEST_PITCH:
        raise ScoreInvalid(f"{place}: {name} is not on a piano, which has A0 to C8.")
    return pitch


def _beats(value: Fraction) -> str:
    return f"{float(value):g}"


def _unfold(header: dict[str, str], sections: dict[str, dict[str, list[_Bar]]], meter: Fraction, name: str) -> Score:
    """Play the sections in the order of the form."""
    usual_pedal: list[_Bar] = []
    if header["pedal"]:
        _read_bars(usual_pedal, PEDAL_VOICE, header["pedal"], meter, f"{name}: header")
    notes: list[ScoreNote] = []
    pedals: list[tuple[Fraction, Fraction]] = []
    marks: list[tuple[Fraction, str]] = []
    bars, now = [Fraction(0)], Fraction(0)
    melody = next(iter(next(iter(sections.values()), {})), "")
    for section in header["form"].split():
        if section not in sections:
            raise ScoreInvalid(f"{name}: the form names section {section!r}. Sections here: {', '.join(sections)}.")
        voices = sections[section]
        lengths = _bar_lengths(voices, section, name)
        if usual_pedal:
            empty = _Bar(meter, [], [], name)
            filled = [usual_pedal[0] if length == meter else replace(empty, length=length) for length in lengths]
            voices = {PEDAL_VOICE: filled, **voices}
        for voice, played in voices.items():
            joined = _join_ties(played, now)
            marks.extend(_marks_of(played, now))
            if voice == PEDAL_VOICE:
                pedals.extend((note.onset_beats, note.onset_beats + note.duration_beats) for note in joined)
            else:
                notes.extend(joined)
        for length in lengths:
            now += length
            bars.append(now)
    marks.sort(key=lambda mark: mark[0])
    notes = sorted(replace(note, dynamic=_dynamic(marks, note.onset_beats)) for note in notes)
    return Score(
        title=header["title"],
        composer=header["composer"],
        dates=header["dates"],
        catalogue=header["catalogue"],
        key=header["key"],
        style=header["style"],
        edition=header["edition"],
        tempo=_number(header, "tempo", name),
        rubato=_number(header, "rubato", name),
        phrase_bars=round(_number(header, "phrase", name)),
        touch=header["touch"],
        melody=melody,
        notes=notes,
        pedals=sorted(pedals),
        bars=bars,
    )


def _number(header: dict[str, str], key: str, name: str) -> float:
    try:
        return float(header[key])
    except ValueError:
        raise ScoreInvalid(f"{name}: header `{key}: {header[key]}` is no number.") from None


def _bar_lengths(voices: dict[str, list[_Bar]], section: str, name: str) -> list[Fraction]:
    """The bars of a section, which all its voices must share; a voice may end early and rest."""
    longest = max(voices.values(), key=len, default=[])
    if not longest:
        raise ScoreInvalid(f"{name}: section {section!r} has no bars.")
    for voice, bars in voices.items():
        if voice != PEDAL_VOICE and len(bars) != len(longest):
            raise ScoreInvalid(f"{bars[-1].place}: voice has {len(bars)} bars, but another has {len(longest)}.")
        for bar, other in zip(bars, longest, strict=False):
            if bar.length != other.length:
                raise ScoreInvalid(f"{bar.place}: lasts {_beats(bar.length)}, in another voice {_beats(other.length)}.")
    return [bar.length for bar in longest]


def _join_ties(bars: list[_Bar], start: Fraction) -> list[ScoreNote]:
    """Notes of one voice of one section, in beats of the piece, tied notes made one."""
    notes: list[ScoreNote] = []
    open_ties: dict[int, ScoreNote] = {}
    for bar in bars:
        for note, is_tied in bar.events:
            note = replace(note, onset_beats=start + note.onset_beats)
            before = open_ties.pop(note.pitch, None)
            if before is not None:
                if before.onset_beats + before.duration_beats != note.onset_beats:
                    raise ScoreInvalid(f"{bar.place}: a tie to pitch {note.pitch} leads to no note right after it.")
                note = replace(before, duration_beats=before.duration_beats + note.duration_beats)
            if is_tied:
                open_ties[note.pitch] = note
            else:
                notes.append(note)
        start += bar.length
    if open_ties:
        raise ScoreInvalid(f"{bars[-1].place}: a tie from pitch {min(open_ties)} is open when its section ends.")
    return notes


def _marks_of(bars: list[_Bar], start: Fraction) -> list[tuple[Fraction, str]]:
    marks: list[tuple[Fraction, str]] = []
    for bar in bars:
        marks.extend((start + at, mark) for at, mark in bar.marks)
        start += bar.length
    return marks


def _dynamic(marks: list[tuple[Fraction, str]], beat: Fraction) -> float:
    """The dynamic at a beat: that of the last mark, or on the way to the next one after `<`."""
    level, ramp_start = DYNAMICS["mf"], None
    for at, mark in marks:
        if at > beat:
            if ramp_start is not None and mark in DYNAMICS:
                return level + (DYNAMICS[mark] - level) * float((beat - ramp_start) / (at - ramp_start))
            if mark in DYNAMICS:
                break
        elif mark == "<":
            ramp_start = at
        else:
            level, ramp_start = DYNAMICS[mark], None
    return level
