"""Whether a catalogue number is that of a work for piano alone: catalogues such as BWV are ordered by instruments."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources

from aria_data.repertoire import CatalogueNumber
from aria_data.text import fold

_GROUP = re.compile(r"(?<![a-z0-9])(?P<catalogue>lw|mwv|jw|hob)\b\.? ?(?P<group>[a-z]|[ivx]{1,6})(?=[ .:/]?[0-9])")
_LEADING = re.compile(r"[0-9]+")
Parts = Mapping[str, Mapping[str, str]]


def is_for_piano_alone(cleaned: str, composer_id: str, numbers: Iterable[CatalogueNumber]) -> bool | None:
    """Whether the catalogue numbers of a cleaned title stand in a part for piano or harpsichord alone.

    `composer_id` may be "": some numbers tell their composer. None where they do not tell.
    """
    for number in numbers:
        parts = _catalogues().get(composer_id or number.composer_id, {}).get(number.catalogue)
        leading = _LEADING.match(number.number)
        if parts and leading:
            for part in ("solo", "other"):
                if _holds(parts.get(part, ""), int(leading.group())):
                    return part == "solo"
    for match in _GROUP.finditer(fold(cleaned)):
        parts = _with_groups().get(match["catalogue"])
        if parts:
            return match["group"] in parts["solo_groups"].split()
    return None


def _holds(ranges: str, number: int) -> bool:
    return any(
        int(first) <= number <= int(last or first)
        for first, _, last in (each.partition("-") for each in ranges.split())
    )


@cache
def _catalogues() -> dict[str, Parts]:
    """The parts of each composer's catalogues (`catalogue_parts.toml`)."""
    source = resources.files("aria_data.screen").joinpath("catalogue_parts.toml").read_text(encoding="utf-8")
    return tomllib.loads(source)


@cache
def _with_groups() -> Parts:
    """The catalogues with groups, by name: only one composer has each."""
    of_all = (parts for catalogues in _catalogues().values() for parts in catalogues.items())
    return {name: parts for name, parts in of_all if "solo_groups" in parts}
