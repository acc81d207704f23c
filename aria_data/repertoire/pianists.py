"""The authority list of pianists (`pianists.csv`), and how a pianist is recognised in a text.

A name or an alias with `?` may mean somebody else, usually a composer. It counts only if the text is known to be a
performer's name. Performers that the words around a name reveal are found by `aria_data.annotate.performers`.
"""

from __future__ import annotations

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources

from aria_data.text import clean, fold

MAX_CHARS = 1000  # of a text that are searched; the rest is ignored
_WORD = re.compile(r"[^\W_]+")
_EAST_ASIAN = re.compile(r"[぀-ヿ㐀-鿿가-힣]")
_NOT_BETWEEN = re.compile(r"[:;/|()\[\]\"+&0-9]|\s-\s|.{4}")


@dataclass(frozen=True, slots=True)
class Pianist:
    """One entry of the authority list."""

    pianist_id: str
    name: str
    birth: int | None
    death: int | None
    aliases: tuple[str, ...]
    is_doubtful: bool  # the name alone may mean somebody else


@dataclass(frozen=True, slots=True)
class PianistMatch:
    """A pianist in a text. `start` and `end` count characters of `text.clean(...)` of it."""

    pianist_id: str
    name: str
    start: int
    end: int
    text: str
    matched_by: str  # "full name", "surname, initials", "surname" or "alias"


@cache
def pianists() -> dict[str, Pianist]:
    """The authority list by `pianist_id`."""
    text = resources.files("aria_data.repertoire").joinpath("pianists.csv").read_text(encoding="utf-8")
    return {row["pianist_id"]: _to_pianist(row) for row in csv.DictReader(text.splitlines())}


def _to_pianist(row: dict[str, str]) -> Pianist:
    return Pianist(
        row["pianist_id"],
        row["name"].rstrip("?"),
        int(row["birth"]) if row["birth"] else None,
        int(row["death"]) if row["death"] else None,
        tuple(filter(None, row["aliases"].split(";"))),
        row["name"].endswith("?"),
    )


def find_pianist(text: str, is_name: bool = False) -> PianistMatch | None:
    """Find the first pianist of the list that the text names. `is_name`: the text is known to be a performer's name.

    Only then does a surname alone count, if one pianist has it: "Richter" in an artist tag, not in "Richter: Etude".
    """
    cleaned = clean(text, MAX_CHARS)
    folded = fold(cleaned)
    found = next(_latin(folded, is_name), None) or _east_asian(folded, is_name)
    if not found:
        return None
    pianist_id, start, end, matched_by = found
    return PianistMatch(pianist_id, pianists()[pianist_id].name, start, end, cleaned[start:end], matched_by)


def _latin(folded: str, is_name: bool) -> Iterator[tuple[str, int, int, str]]:
    words = [(word.group(), word.start(), word.end()) for word in _WORD.finditer(folded)]
    for place, (first, start, _) in enumerate(words):
        for spelling, (pianist_id, matched_by, is_sure) in _spellings().get(first, ()):
            found = words[place : place + len(spelling)]
            if (is_sure or is_name) and tuple(word for word, _, _ in found) == spelling and _is_one(found, folded):
                yield pianist_id, start, found[-1][2], matched_by


def _is_one(found: list[tuple[str, int, int]], folded: str) -> bool:
    """Whether the words are one name: no punctuation or long gap separates them."""
    gaps = (folded[left[2] : right[1]] for left, right in zip(found, found[1:], strict=False))
    return not any(_NOT_BETWEEN.search(gap) for gap in gaps)


def _east_asian(folded: str, is_name: bool) -> tuple[str, int, int, str] | None:
    if not _EAST_ASIAN.search(folded):
        return None
    pattern, names = _east_asian_spellings()
    for found in pattern.finditer(folded):
        pianist_id, is_sure = names[found.group()]
        if is_sure or is_name:
            return pianist_id, found.start(), found.end(), "alias"
    return None


Spelling = tuple[tuple[str, ...], tuple[str, str, bool]]


@cache
def _spellings() -> dict[str, tuple[Spelling, ...]]:
    """Spellings by their first word, longest first; a spelling of two pianists is left out."""
    found: dict[tuple[str, ...], dict[str, tuple[str, str, bool]]] = defaultdict(dict)
    for pianist in pianists().values():
        for words, matched_by, is_sure in _spellings_of(pianist):
            found[words].setdefault(pianist.pianist_id, (pianist.pianist_id, matched_by, is_sure))
    by_first: dict[str, list[Spelling]] = defaultdict(list)
    for words, bearers in found.items():
        if len(bearers) == 1:
            by_first[words[0]].append((words, next(iter(bearers.values()))))
    return {first: tuple(sorted(spellings, key=lambda each: -len(each[0]))) for first, spellings in by_first.items()}


def _spellings_of(pianist: Pianist) -> Iterator[tuple[tuple[str, ...], str, bool]]:
    name, is_sure = _words(pianist.name), not pianist.is_doubtful
    yield name, "full name", is_sure
    if len(name) > 1:
        yield name[-1:] + name[:-1], "full name", is_sure
        initials = tuple(word[0] for word in name[:-1])
        yield initials + name[-1:], "surname, initials", False
        yield name[-1:] + initials, "surname, initials", False
        if _bearers()[name[-1]] == 1:
            yield name[-1:], "surname", False
    for alias in pianist.aliases:
        if not _EAST_ASIAN.search(alias):
            yield _words(alias), "alias", not alias.endswith("?")


@cache
def _bearers() -> Counter[str]:
    """The number of pianists on the list with each surname."""
    return Counter(_words(pianist.name)[-1] for pianist in pianists().values())


@cache
def _east_asian_spellings() -> tuple[re.Pattern[str], dict[str, tuple[str, bool]]]:
    names = {
        fold(clean(alias.rstrip("?"), MAX_CHARS)): (pianist.pianist_id, not alias.endswith("?"))
        for pianist in pianists().values()
        for alias in pianist.aliases
        if _EAST_ASIAN.search(alias)
    }
    longest_first = sorted(names, key=lambda name: (-len(name), name))
    patterns = (
        rf"(?<![ァ-ヺー]){re.escape(name)}(?![ァ-ヺー])" if re.match("[ァ-ヺ]", name) else re.escape(name)
        for name in longest_first
    )
    return re.compile("|".join(patterns)), names


def _words(name: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(fold(clean(name.rstrip("?"), MAX_CHARS))))
