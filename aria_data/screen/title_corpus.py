"""What the title model is trained on: works with their instruments, written the way titles on the web are. No model.

The tables are facts (composer, work, instrumentation); nothing of them is shipped but the weights that are learned.
"""

from __future__ import annotations

import csv
import random
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from aria_data.errors import UsageError
from aria_data.text import fold

NUM_FOLDS = 5  # composers are held out by surname, a fifth at a time
# How sure a row of unknown or doubtful instrument is, as (probability of solo piano, weight): shares measured on the
# tables (works/README.md: of pages without instruments 10 % are piano; harpsichord music is often played on a piano).
_HARPSICHORD, _UNKNOWN = (0.3, 0.5), (0.1, 0.3)
_NOT_PIANO = frozenset({"organ", "organ?", "harmonium", "piano duet", "two pianos"})
_CATALOGUED = re.compile(r"\b(Op|No|BWV|KV?|S|D|Hob|WoO|Sz|RV|HWV)\.(?=[0-9IVX])")
_A_NUMBER = re.compile(r",? \(?\b(?:Op|BWV|KV?|S|D|WoO|HWV|RV)\.? ?[0-9]+[a-z]?\)?")

_PIANO_AROUND = (
    "{} (piano)", "{} - piano solo", "{} (live)", "{} - piano", "{} | piano", "Piano: {}", "{} (solo piano)", "{} HD",
    "{} - recital", "{} (sheet music)", "{} (1987)", "{} - encore", "{} Klavier", "{} [score]", "{} (pianoforte)",
)  # fmt: skip
_ARRANGED = (
    "{} (piano transcription)", "{} - arr. for piano solo", "{} (piano cover)", "{} - solo piano version",
    "{} piano solo", "{} (Piano arrangement)", "{} für Klavier solo bearbeitet", "{} (transcription pour piano)",
)  # fmt: skip
_OTHERWISE_PLAYED = (
    "{} on {instrument}", "{} for {instrument}", "{} - {instrument} cover", "{} ({instrument} version)",
    "{} for {instrument} and piano", "{} arranged for {instrument}", "{} - {instrument} & piano",
    "{} but on {instrument}",
    "{} (piano four hands)", "{} for two pianos", "{} with rain sounds", "{} (lofi remix)", "{} orchestral version",
)  # fmt: skip
_INSTRUMENTS = (
    "guitar", "violin", "cello", "flute", "clarinet", "harp", "saxophone", "trumpet", "viola", "string quartet", "oboe",
    "organ", "harpsichord", "orchestra", "accordion", "marimba", "two cellos", "electric guitar", "bassoon", "soprano",
    "choir", "ukulele", "brass quintet", "mandolin", "recorder", "double bass", "trombone", "horn", "wind quintet",
)  # fmt: skip
_TALKED_ABOUT = (
    "How to play {}", "{} tutorial", "{} - masterclass", "{} explained", "Why {} is so hard", "5 tips for {}",
    "{} analysis", "{} (Synthesia)", "{} piano lesson", "Pianist reacts to {}", "{} - accompaniment",
    "3 mistakes in {}",
    "Lecture on {}", "Ranking {}", "{} karaoke", "{} documentary", "What makes {} special?", "{} review", "{} podcast",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Work:
    """One work: how likely a recording of it is solo piano (0 to 1), and how much the row counts."""

    composer: str
    title: str
    piano: float
    weight: float


def read_works(folder: Path) -> list[Work]:
    """The works of every table in a folder, each once; the surest row of several counts.

    A table has the columns composer, title, is_solo_keyboard (1, 0, empty) and, where known, catalogue, keyboard_kind,
    alt_titles. Raises `UsageError` for a folder without tables.
    """
    found: dict[tuple[str, str], Work] = {}
    for path in sorted(folder.glob("*.csv")):
        with open(path, encoding="utf-8-sig", newline="") as file:
            for work in (work for row in csv.DictReader(file) for work in _works_of(row)):
                key = fold(work.composer), re.sub(r"[\W_]+", " ", fold(work.title)).strip()
                if key not in found or found[key].weight < work.weight:
                    found[key] = work
    if not found:
        raise UsageError(f"{folder}: holds no table of works (.csv with composer, title, is_solo_keyboard).")
    return list(found.values())


def _works_of(row: dict[str, str]) -> Iterator[Work]:
    said, kind = row["is_solo_keyboard"], row.get("keyboard_kind") or ""
    if said == "1":
        piano, weight = _HARPSICHORD if kind == "harpsichord" else (float(kind not in _NOT_PIANO), 1.0)
    else:
        piano, weight = (0.0, 1.0) if said == "0" else _UNKNOWN
    if "audio judged" in row.get("instrumentation", "") and said != "1":
        return  # a detector heard a piano in some recording: says little of the work
    work = Work(row["composer"].strip() or "?", row["title"].strip(), piano, weight)
    if work.title:
        yield work
    for other in (row.get("alt_titles") or "").split(" | "):
        if len(other) > 3:
            number = row["catalogue"] if row["catalogue"] not in other else ""
            yield replace(work, title=f"{other}, {number}" if number else other, weight=0.99 * weight)


def fold_of(composer: str) -> int:
    """The fold, 0 to `NUM_FOLDS` - 1, in which all composers of this surname are held out."""
    return zlib.crc32(fold(composer.split()[-1]).encode("utf-8", "replace")) % NUM_FOLDS


def written(work: Work, chance: random.Random) -> str:
    """The work as a title: its composer before, behind or missing, with or without catalogue numbers."""
    title = work.title
    if chance.random() < 0.5:
        title = _CATALOGUED.sub(lambda match: f"{match[1]}. ", title)
    if chance.random() < 0.2:
        title = _A_NUMBER.sub("", title)
    if chance.random() < 0.3:
        title = title.replace(",", "")
    first, last = work.composer.split()[0], work.composer.split()[-1]
    name = chance.choice([work.composer, work.composer, last, last, f"{first[0]}. {last}", f"{last}, {first}"])
    forms = ("{0} - {1}", "{0}: {1}", "{1} - {0}", "{0} {1}", "{0} – {1}", "{1} by {0}", "{1}")
    return chance.choice(forms).format(name, title)


def as_found(work: Work, chance: random.Random) -> tuple[str, float]:
    """A title of the work as people name recordings, and how likely that recording is solo piano."""
    title, kind = written(work, chance).replace("{", "(").replace("}", ")"), chance.random()
    if kind < 0.6:
        return title, work.piano
    if kind < 0.72:
        return chance.choice(_PIANO_AROUND if work.piano > 0.5 else ("{} HD", "{} (live)", "{}")).format(
            title
        ), work.piano
    if kind < 0.8:
        return chance.choice(_ARRANGED).format(title), 0.95
    if kind < 0.91:
        return chance.choice(_OTHERWISE_PLAYED).format(title, instrument=chance.choice(_INSTRUMENTS)), 0.02
    return chance.choice(_TALKED_ABOUT).format(title), 0.02
