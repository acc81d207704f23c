"""Find the whole work that a composition is part of, so that a work and its movements stay together.

A composition id is `composer:work`, `composer:work-piece` or either with `:movement` (made by
`annotate/composition_id.py`).
What counts as one work:

- a movement, variation, prelude or fugue belongs to its work: `beethoven:op27-2:3` to `beethoven:op27-2`;
- the pieces of a suite, of variations or of a cycle (`cycles.toml`) belong to it: `schumann:op15-7` to `schumann:op15`;
- the pieces of any other opus are works of their own: `chopin:op9-2`. Only if the whole opus, or a set that has it, is
  among the compositions too, they belong together, because the recording of the whole has the music of each.
"""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from collections.abc import Collection, Iterator
from functools import cache
from importlib import resources

_HOBOKEN = re.compile(r"hob[a-z]+:")  # the only catalogue whose numbers contain a colon
_PIECE = re.compile(r"(?P<work>[a-z]+[0-9]+[a-z]*|[a-z][a-z-]*)-[0-9]+[a-z]*")
_RANGE = re.compile(r"(?P<catalogue>[a-z]+?)(?P<first>[0-9]{2,4})-(?P<last>[0-9]{3,4})")
_NUMBER = re.compile(r"(?P<catalogue>[a-z]+?)(?P<number>[0-9]+)")


def work_of(composition_id: str) -> str:
    """Give the id of the whole work that a composition belongs to; its own id if it is a whole work.

    The pieces of an opus of independent pieces are whole works: `chopin:op9-2` stays. "" stays "".
    """
    composer_id, colon, code = composition_id.partition(":")
    work = _without_movement(code)
    whole = _set_of(work)
    return f"{composer_id}{colon}{whole if whole in _cycles(composer_id) else work}"


def work_labels(composition_ids: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Give each composition the labels by which compositions of one work are joined: one in common joins two.

    The first label is the work. Others are the opuses, sets and ranges of a catalogue that contain it and are
    themselves among `composition_ids`. Ids that are empty have no labels.
    """
    works = {composition_id: work_of(composition_id) for composition_id in composition_ids if composition_id}
    present = set(works.values())
    ranges = _ranges_in(present)
    return {
        composition_id: (work, *sorted({*(present & set(_containing(work))), *_ranges_with(work, ranges)} - {work}))
        for composition_id, work in works.items()
    }


def is_in_range(composition_id: str, whole_id: str) -> bool:
    """Whether a composition is in a range of its catalogue: `bach:bwv847:fugue` is in `bach:bwv846-869`."""
    return whole_id in _ranges_with(work_of(composition_id), _ranges_in([whole_id]))


def is_range(code: str) -> bool:
    """Whether a code is a range of one catalogue, such as `bwv846-869`, and not a piece of an opus."""
    return _RANGE.fullmatch(code) is not None


def piece_of_range(code: str, place: int) -> str:
    """The code of a piece of a range by its place: `bwv847` is the second of `bwv846-869`; "" if it has none."""
    found = _RANGE.fullmatch(code)
    number = int(found["first"]) + place - 1 if found else 0
    return f"{found['catalogue']}{number}" if found and place > 0 and number <= int(found["last"]) else ""


def _without_movement(code: str) -> str:
    catalogue = match[0] if (match := _HOBOKEN.match(code)) else ""
    return catalogue + code.removeprefix(catalogue).partition(":")[0]


def _set_of(work: str) -> str:
    """The code of the set that a piece is numbered in: `op15` for `op15-7`; "" if it is none, or a range."""
    piece = None if is_range(work) else _PIECE.fullmatch(work)
    return piece["work"] if piece else ""


def _containing(work: str) -> Iterator[str]:
    """The ids of all sets that contain the work: its opus, and what has a name together with others."""
    composer_id, _, code = work.partition(":")
    codes = {code, _set_of(code)} - {""}
    yield from (f"{composer_id}:{each}" for each in codes)
    for name, members in _tables().get(composer_id, ({}, {}))[1].items():
        if codes & set(members):
            yield f"{composer_id}:{name}"


def _ranges_in(works: Collection[str]) -> dict[tuple[str, str], list[tuple[int, int, str]]]:
    """The works that are ranges of a catalogue, such as `bach:bwv846-869`, by composer and catalogue."""
    ranges = defaultdict(list)
    for work in works:
        composer_id, _, code = work.partition(":")
        if found := _RANGE.fullmatch(code):
            ranges[composer_id, found["catalogue"]].append((int(found["first"]), int(found["last"]), work))
    return ranges


def _ranges_with(work: str, ranges: dict[tuple[str, str], list[tuple[int, int, str]]]) -> Iterator[str]:
    composer_id, _, code = work.partition(":")
    if found := _NUMBER.match(code):
        for first, last, whole in ranges.get((composer_id, found["catalogue"]), ()):
            if first <= int(found["number"]) <= last:
                yield whole


def _cycles(composer_id: str) -> frozenset[str]:
    return _tables().get(composer_id, (frozenset(), {}))[0]


@cache
def _tables() -> dict[str, tuple[frozenset[str], dict[str, list[str]]]]:
    """For each composer the cycles, and the codes that a name stands for."""
    source = resources.files("aria_data.repertoire").joinpath("cycles.toml").read_text(encoding="utf-8")
    return {
        composer_id: (frozenset(table.get("cycles", ())), table.get("together", {}))
        for composer_id, table in tomllib.loads(source).items()
    }
