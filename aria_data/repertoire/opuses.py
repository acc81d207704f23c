"""The contents of opuses (`opuses.toml`): the composer of an opus, the piece in a key, works with two codes.

Many titles name no composer: "Nocturne in E-Flat Major, Op. 9 No. 2". Form, number and key together identify one.
"""

from __future__ import annotations

import csv
import re
import tomllib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from aria_data.repertoire.catalogues import CatalogueNumber
from aria_data.repertoire.forms import word_list

_STEPS = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}
_NEED_A_KEY = frozenset(
    {"sonata", "sonatina", "variations", "rondo", "fantasia", "concerto", "dance", "march", "suite"}
)
_TOLD_BY_NUMBER = frozenset(
    {"toccata", "ballade", "scherzo", "barcarolle", "berceuse", "polonaise", "tarantella", "bolero"}
)
Key = tuple[int, bool]  # semitones above C, is it minor


@dataclass(frozen=True, slots=True)
class Opus:
    """The forms of an opus, and for each piece in order its keys (several where editions differ)."""

    forms: frozenset[str]
    keys: tuple[frozenset[Key], ...]


@cache
def _tables() -> dict[str, tuple[dict[str, Opus], dict[str, str]]]:
    source = resources.files("aria_data.repertoire").joinpath("opuses.toml").read_text(encoding="utf-8")
    tables = {}
    for composer_id, table in tomllib.loads(source).items():
        same = table.pop("same", {})
        tables[composer_id] = ({code: _to_opus(contents) for code, contents in table.items()}, same)
    return tables


def _to_opus(contents: str) -> Opus:
    forms, _, keys = contents.partition(":")
    names = [form for form in word_list("forms")[1].values() if re.search(rf"\b{form}\b", forms)]
    return Opus(
        frozenset(names),
        tuple(frozenset(found for each in key.split("/") if (found := _key(each))) for key in keys.split()),
    )


def _key(written: str) -> Key | None:
    """Parse "c#" (minor), "Eb" (major), "c# minor" or "eb major"; None for anything else."""
    match = re.fullmatch(r"([A-Ga-g])([#b]?)(?: (major|minor))?", written)
    if not match:
        return None
    step = _STEPS[match[1].lower()] + {"#": 1, "b": -1, "": 0}[match[2]]
    return step % 12, match[3] == "minor" if match[3] else match[1].islower()


def composer_of_opus(
    numbers: Sequence[CatalogueNumber], forms: Collection[str], key: str, piece: str, count: int
) -> tuple[str, str] | None:
    """The only composer whose opus has this form and key, and the words of the number; None if it is not certain.

    `piece` and `count` stand apart from the number: the 4 and the 12 in "12 Etudes, Op. 10: 4. Presto".
    """
    found = {
        composer_id: number.text
        for composer_id, (opuses, _) in _tables().items()
        for number in numbers
        if (opus := opuses.get(number.catalogue + number.number))
        and opus.forms & set(forms)
        and _fits(opus, opus.forms & set(forms), _key(key), number.piece or piece, count)
    }
    return next(iter(found.items())) if len(found) == 1 else None


def _fits(opus: Opus, forms: frozenset[str], key: Key | None, piece: str, count: int) -> bool:
    place = int(piece) if piece.isdigit() else 0
    is_set = len(opus.keys) > 1
    if is_set and place > len(opus.keys):
        return False
    if key:
        return any(key in keys for keys in (opus.keys[place - 1 : place] if is_set and place else opus.keys))
    if not is_set:
        return not piece and bool(_TOLD_BY_NUMBER & forms)
    return count == len(opus.keys) or (place > 0 and not _NEED_A_KEY & forms)


def piece_in_key(composer_id: str, code: str, key: str, numbers: Collection[int] = ()) -> str:
    """The number of the only piece of an opus in this key, or "": "Impromptu in G-flat, D. 899" is its No. 3.

    `numbers` are those in the title before the opus, which decide if two pieces share the key.
    """
    opus = _tables().get(composer_id, ({}, {}))[0].get(code)
    wanted = _key(key)
    places = [place for place, keys in enumerate(opus.keys, 1) if wanted in keys] if opus and wanted else []
    if len(places) > 1:
        places = [place for place in places if place in numbers]
    return str(places[0]) if opus and len(places) == 1 and len(opus.keys) > 1 else ""


def same_work(composer_id: str, code: str) -> str:
    """The one code that is used for a work with several: d899 for Schubert's op. 90. Other codes stay as they are.

    Scarlatti's sonatas are known by the numbers of Kirkpatrick (used here), Longo and Pestelli.
    """
    same = _scarlatti_numbers() if composer_id == "scarlatti" else _tables().get(composer_id, ({}, {}))[1]
    return same.get(code, code)


@cache
def _scarlatti_numbers() -> dict[str, str]:
    """Kirkpatrick's number by Longo's and Pestelli's: {"l422": "k141", "p271": "k141"}."""
    source = resources.files("aria_data.repertoire").joinpath("scarlatti_numbers.csv").read_text(encoding="utf-8")
    return {
        letter + row[name]: f"k{row['kirkpatrick']}"
        for row in csv.DictReader(source.splitlines())
        for letter, name in (("l", "longo"), ("p", "pestelli"))
        if row[name]
    }
