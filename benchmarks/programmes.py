"""Programmes with known truth: pieces of solo piano between speech, applause, silence and other music.

Pieces are performances (.mid) played by soundfonts and sampled pianos, and labelled recordings. What makes a segmenter
lose their beginning or end is put into them: openings of 6 to 10 s as soft as a piano can play, rests, last chords
that ring. Two halves of everything, and a third set made of what neither half has: later parts of the performances, and
other instruments played from samples of their own, alone or over a piano. Nothing is measured here.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from aria_data.midi import Note, Performance, read_midi
from classifiers.effects import encode_and_decode, equalise, rms, room
from classifiers.features import read_blocks
from classifiers.noises import coloured
from classifiers.samples import SampledBank, find_sampled_pianos
from classifiers.soundfont import find_soundfonts, render

SAMPLE_RATE = 16_000
KINDS = ("plain", "quiet opening", "rest", "ringing end")
BETWEEN = ("speech", "noise", "other_instrument", "piano_plus_other", "silence")
CROSSFADE_S = 0.25
MIN_RECORDING_S = 60.0  # of one that stands for a piece
NOT_PIANOS = ("opl",)  # FM synthesis
THIRD = 2  # the part that is made of what neither half has
LATER_S = 90.0  # halves have the first 40 to 80 s of a performance, the third set what comes after this
FADED_DB = (6.0, -10.0)  # of a dying chord over the floor: between these two moments, any end is right


@dataclass(frozen=True)
class Piece:
    """One piece: mono float32 at `SAMPLE_RATE` that begins with its first attack, and how it is to be described."""

    waveform: np.ndarray
    kind: str  # one of `KINDS`, "recording", or the label of what is no piece
    name: str


@dataclass(frozen=True)
class Programme:
    """The sound, the true spans in seconds (of the end the earliest and the latest moment), and what is around them."""

    name: str
    waveform: np.ndarray
    true: list[tuple[float, float, float]]
    kinds: list[str]
    between: list[tuple[float, float, str]]  # what is around the pieces, with its label


@dataclass(frozen=True)
class Sources:
    """What programmes are made of: performances and from where on they are played, labelled recordings, and folders of
    samples of other instruments (`sounds_folder()/piano` has the layout); without these, other sounds are recordings.
    """

    performances: list[Path]
    labelled: dict[str, list[Path]]
    instruments: list[Path]
    from_s: float = 0.0

    @classmethod
    def of(cls, audio: Path, midi: Path, part: int, instruments: Path | None = None) -> Sources:
        """`part` 0 or 1: that half of the performances and recordings. `THIRD`: with `instruments`, and no recording
        of an instrument."""
        if part != THIRD:
            return cls(_performances(midi, part), _labelled(audio, part), [])
        if instruments is None:
            raise SystemExit(
                "The third set needs --instruments: a folder with a folder of samples for each instrument."
            )
        labelled: dict[str, list[Path]] = {}
        for half in (0, 1):
            for label, paths in _labelled(audio, half).items():
                labelled.setdefault(label, []).extend(paths)
        banks = sorted(path for path in instruments.iterdir() if path.is_dir())
        return cls(
            [*_performances(midi, 0), *_performances(midi, 1)],
            {kind: labelled[kind] for kind in ("speech", "noise")},
            banks,
            LATER_S,
        )


def make_programmes(sources: Sources, seed: int, count: int, part: int) -> Iterator[Programme]:
    for number in range(count):
        rng = np.random.default_rng([seed, part, number])
        yield _programme(rng, f"p{part}-{number}", sources)


def make_pieces(sources: Sources, seed: int, count: int, part: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield pairs of waveforms: a whole piece from silence to silence, and the same cut at both ends in the music."""
    for number in range(count):
        rng = np.random.default_rng([seed, part, number, 77])
        piece = _played(rng, sources, KINDS[int(rng.integers(len(KINDS)))])
        noise_db = float(rng.uniform(-80, -50))
        end = _sounding(piece.waveform, noise_db)
        before, after = (np.zeros(int(seconds * SAMPLE_RATE), np.float32) for seconds in rng.uniform(0, (0.6, 1.0)))
        whole = np.concatenate([before, piece.waveform[: end + SAMPLE_RATE // 4], after])
        first, last = rng.uniform(3 * SAMPLE_RATE, end // 4), rng.uniform(end * 3 // 4, end - 4 * SAMPLE_RATE)
        floor = coloured(rng, len(whole), 1.0).astype(np.float32)
        floor *= np.float32((rng.random() < 0.7) * 10 ** (noise_db / 20) / rms(floor))  # else digital silence
        cut = piece.waveform[int(first) : int(last)]
        yield whole + floor, cut + floor[: len(cut)]


def _performances(midi: Path, part: int) -> list[Path]:
    found = (path for path in sorted(midi.rglob("*.mid")) if path.stem != "midi_score")
    return [path for path in found if _part(path.parent.name) == part]


def _part(name: str) -> int:
    return sum(name.encode()) % 2


def _labelled(audio: Path, part: int) -> dict[str, list[Path]]:
    """Label -> recordings of that half. `audio` has tables file,label and the files they name."""
    found: dict[str, list[Path]] = {}
    for table in ("labels.csv", "full_tracks.csv"):
        if (audio / table).is_file():
            with open(audio / table, newline="", encoding="utf-8") as file:
                for row in csv.DictReader(file):
                    is_long_enough = row["label"] != "piano" or float(row["seconds"]) >= MIN_RECORDING_S
                    if is_long_enough and _part(Path(row["file"]).stem) == part:
                        found.setdefault(row["label"], []).append(audio / row["file"])
    return found


def _programme(rng: np.random.Generator, name: str, sources: Sources) -> Programme:
    """Between, piece, between, piece, ...: joined by short crossfades, on one floor of noise."""
    items = [_between(rng, sources)]
    for _ in range(int(rng.integers(1, 4))):
        if sources.labelled.get("piano") and rng.random() < 0.15:
            items.append(_recorded(rng, sources.labelled["piano"]))
        else:
            items.append(_played(rng, sources, KINDS[int(rng.integers(len(KINDS)))]))
        items.append(_between(rng, sources))
    return _joined(rng, name, items)


def _joined(rng: np.random.Generator, name: str, items: Sequence[Piece]) -> Programme:
    fade = int(CROSSFADE_S * SAMPLE_RATE)
    noise_db = float(rng.uniform(-75, -48))  # below full scale; pieces are at about -23 dB
    out = np.zeros(0, np.float32)
    true, kinds, between = [], [], []
    for item in items:
        sound, is_piece = item.waveform, item.kind not in BETWEEN
        at = max(0, len(out) - fade)
        ramp = np.linspace(0, 1, len(out) - at, dtype=np.float32)
        head = out[at:] * (1 - ramp) + sound[: len(ramp)] * (1 if is_piece else ramp)
        out = np.concatenate([out[:at], head, sound[len(ramp) :]])
        if is_piece:
            ends = [(at + _sounding(sound, noise_db + over_db)) / SAMPLE_RATE for over_db in FADED_DB]
            true.append((at / SAMPLE_RATE, *ends))
            kinds.append(item.kind)
        else:
            between.append((at / SAMPLE_RATE, (at + len(sound)) / SAMPLE_RATE, item.kind))
    floor = coloured(rng, len(out), float(rng.uniform(0, 1.5))).astype(np.float32)
    out = out + floor * np.float32(10 ** (noise_db / 20) / rms(floor))
    if rng.random() < 0.3:
        out = encode_and_decode(out, SAMPLE_RATE, "libmp3lame", "mp3", 44100, 64_000)
    return Programme(name, out.astype(np.float32), true, kinds, between)


def _sounding(waveform: np.ndarray, level_db: float) -> int:
    """Where the last chord falls below this level, or the end of what there is."""
    size = SAMPLE_RATE // 10
    levels = 20 * np.log10(
        np.sqrt(np.square(waveform[: len(waveform) // size * size].reshape(-1, size)).mean(axis=1)) + 1e-9
    )
    loud = np.flatnonzero(levels > level_db)
    return min(len(waveform), int(loud[-1] + 1) * size) if len(loud) else len(waveform)


def _played(rng: np.random.Generator, sources: Sources, kind: str) -> Piece:
    name, performance = _drawn(rng, sources)
    waveform = play(rng, _changed(rng, performance, kind), rng_piano(rng))
    if rng.random() < 0.7:
        waveform = room(rng, waveform, SAMPLE_RATE)
    if rng.random() < 0.6:
        waveform = equalise(rng, waveform, SAMPLE_RATE)
    level = 10 ** (rng.uniform(-28, -18) / 20)
    return Piece(waveform * np.float32(level / rms(waveform)), kind, name)


def _drawn(rng: np.random.Generator, sources: Sources) -> tuple[str, Performance]:
    while True:
        path = sources.performances[int(rng.integers(len(sources.performances)))]
        performance = _excerpt(rng, read_midi(path), sources.from_s)
        if len(performance.notes) >= 40:
            return path.stem, performance


def _excerpt(rng: np.random.Generator, whole: Performance, from_s: float) -> Performance:
    """The first 40 to 80 s, to the longest wait for a note in there: it ends at the end of a phrase.

    With `from_s`, after the longest wait in the 30 s from there on: it begins with a phrase, too.
    """
    onsets = np.array([note.onset_s for note in whole.notes])
    first = onsets[0]
    if from_s:
        after = np.flatnonzero((onsets[1:] >= from_s) & (onsets[1:] < from_s + 30)) + 1
        if not len(after):
            return Performance()
        first = onsets[after[int(np.argmax(onsets[after] - onsets[after - 1]))]]
    until = first + rng.uniform(40, 80)
    inside = np.flatnonzero((onsets > first + 35) & (onsets < until))
    if len(inside) < 2:
        return Performance()
    end = onsets[inside[int(np.argmax(np.diff(onsets[inside])))]]
    notes = [
        replace(n, onset_s=n.onset_s - first, offset_s=min(n.offset_s, end + 3) - first)
        for n in whole.notes
        if first <= n.onset_s <= end
    ]
    pedals = [
        replace(p, onset_s=max(p.onset_s, first) - first, offset_s=min(p.offset_s, end + 3) - first)
        for p in whole.pedals
        if p.onset_s <= end and p.offset_s > first
    ]
    return Performance(notes, [p for p in pedals if p.offset_s > max(p.onset_s, 0.0)])


def _changed(rng: np.random.Generator, performance: Performance, kind: str) -> Performance:
    notes, pedals = performance.notes, performance.pedals
    if kind == "quiet opening":
        until_s, softer = rng.uniform(6, 10), rng.uniform(0.25, 0.5)
        notes = [replace(n, velocity=max(6, round(n.velocity * softer))) if n.onset_s < until_s else n for n in notes]
    elif kind == "rest":
        at_s, rest_s = _shortest_wait(notes), rng.uniform(1.0, 2.0)
        shift = lambda s: s + rest_s if s >= at_s else s  # noqa: E731
        notes = [
            replace(
                n, onset_s=shift(n.onset_s), offset_s=shift(n.offset_s) if n.onset_s >= at_s else min(n.offset_s, at_s)
            )
            for n in notes
        ]
        pedals = [
            replace(
                p, onset_s=shift(p.onset_s), offset_s=shift(p.offset_s) if p.onset_s >= at_s else min(p.offset_s, at_s)
            )
            for p in pedals
        ]
    elif kind == "ringing end":
        last_s, ring_s = notes[-1].onset_s - 0.2, rng.uniform(4, 8)
        notes = [replace(n, offset_s=n.onset_s + ring_s) if n.onset_s >= last_s else n for n in notes]
    return Performance(
        sorted(n for n in notes if n.offset_s > n.onset_s), sorted(p for p in pedals if p.offset_s > p.onset_s)
    )


def _shortest_wait(notes: Sequence[Note]) -> float:
    """A moment from 12 to 25 s, between two onsets that follow each other at once."""
    onsets = [note.onset_s for note in notes]
    waits = [
        (after - before, after)
        for before, after in zip(onsets, onsets[1:], strict=False)
        if 12 < after < 25 and after - before > 0.05
    ]
    return min(waits)[1] if waits else onsets[len(onsets) // 2]


def rng_piano(rng: np.random.Generator) -> Path:
    """A sampled piano or a soundfont of those that are installed."""
    fonts = [path for path in find_soundfonts() if not path.stem.lower().startswith(NOT_PIANOS)]
    pianos = [*find_sampled_pianos(), *fonts]
    return pianos[int(rng.integers(len(pianos)))]


def play(rng: np.random.Generator, performance: Performance, piano: Path) -> np.ndarray:
    """Mono float32 at `SAMPLE_RATE`, from 0 s to 3 s after the last release."""
    notes = [(n.onset_s, n.offset_s, n.pitch, n.velocity) for n in performance.notes]
    pedals = [(p.onset_s, p.offset_s, p.controller) for p in performance.pedals]
    if piano.is_dir():
        return _bank(piano).play(notes, pedals, performance.end_s + 3.0)
    return render(notes, pedals, soundfont=piano, sample_rate=SAMPLE_RATE, tail_s=3.0).mean(axis=1)


@lru_cache(maxsize=8)
def _bank(folder: Path) -> SampledBank:
    return SampledBank(np.random.default_rng(0), folder, SAMPLE_RATE)


def _recorded(rng: np.random.Generator, paths: Sequence[Path]) -> Piece:
    """A recording from its first sound on, at most 75 s of it."""
    path = paths[int(rng.integers(len(paths)))]
    waveform = read(path)
    loud = np.flatnonzero(np.abs(waveform) > 0.02 * np.abs(waveform).max())
    waveform = waveform[max(0, int(loud[0]) - SAMPLE_RATE // 20) :][: 75 * SAMPLE_RATE]
    return Piece(waveform * np.float32(10 ** (-23 / 20) / rms(waveform)), "recording", path.stem)


def _between(rng: np.random.Generator, sources: Sources) -> Piece:
    kind = BETWEEN[int(rng.choice(len(BETWEEN), p=(0.2, 0.3, 0.15, 0.1, 0.25)))]
    seconds = rng.uniform(4, 14)
    if kind == "silence" or not (sources.instruments or sources.labelled.get(kind)):
        return Piece(np.zeros(int(seconds * SAMPLE_RATE), np.float32), "silence", "")
    if sources.instruments:
        name, waveform = _made(rng, sources, kind, seconds)
    else:
        path = sources.labelled[kind][int(rng.integers(len(sources.labelled[kind])))]
        name, waveform = path.stem, read(path)[: int(seconds * SAMPLE_RATE)]
    return Piece(waveform * np.float32(10 ** (rng.uniform(-30, -18) / 20) / rms(waveform)), kind, name)


def _made(rng: np.random.Generator, sources: Sources, kind: str, seconds: float) -> tuple[str, np.ndarray]:
    """Other sound of the third set: recorded speech or two noises backwards, an instrument, or a piano under one."""
    length = int(seconds * SAMPLE_RATE)
    if kind in ("speech", "noise"):
        paths = sources.labelled[kind]
        found = [read(paths[int(rng.integers(len(paths)))])[::-1][:length] for _ in range(1 if kind == "speech" else 2)]
        shorter = min(map(len, found))
        return f"backwards {kind}", np.sum([one[:shorter] / rms(one) for one in found], axis=0)
    bank = sources.instruments[int(rng.integers(len(sources.instruments)))]
    waveform = _sounding_part(rng, sources, bank, length)
    if kind == "piano_plus_other":
        piano = _sounding_part(rng, sources, rng_piano(rng), length)
        waveform = waveform + piano * np.float32(10 ** (rng.uniform(-6, 6) / 20))
    return bank.name, room(rng, waveform, SAMPLE_RATE) if rng.random() < 0.7 else waveform


def _sounding_part(rng: np.random.Generator, sources: Sources, instrument: Path, length: int) -> np.ndarray:
    _, performance = _drawn(rng, sources)
    start_s = float(rng.uniform(0, 20))
    notes = [replace(n, onset_s=n.onset_s - start_s, offset_s=n.offset_s - start_s) for n in performance.notes]
    part = Performance([n for n in notes if 0 <= n.onset_s < length / SAMPLE_RATE], [])
    waveform = play(rng, part, instrument)[:length]
    waveform = np.pad(waveform, (0, length - len(waveform)))
    return waveform / np.float32(rms(waveform) + 1e-9)


@lru_cache(maxsize=64)
def read(path: Path) -> np.ndarray:
    return np.concatenate(list(read_blocks(path, SAMPLE_RATE)))
