"""Catalogue numbers as titles write them: Op. 27 No. 2, BWV 847, KV 331 (300i), Hob. XVI:52, S.244/2, соч. 9.

An abbreviation of one letter is ambiguous (L. is Debussy's and Scarlatti's), so it counts only where it is one of
the composer's own catalogues, or, no composer being known, where it is unmistakably written as one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from aria_data.forms import NUMBER_SIGN, arabic, find_form, find_key
from aria_data.text import fold

# Abbreviations of two letters and more name their catalogue; one letter alone may be anything.
_LONG_NAMES = {
    "opus": "op", "op": "op", "соч": "op", "ор": "op", "作品": "op", "작품": "op", "kv": "k", "kk": "kk", "bwv": "bwv",
    "bmv": "bwv", "hob": "hob", "hoboken": "hob", "hwv": "hwv", "rv": "rv", "woo": "woo", "wq": "wq", "sz": "sz",
    "bb": "bb", "th": "th", "twv": "twv", "buxwv": "buxwv", "rct": "rct", "wwv": "wwv", "fwv": "fwv", "trv": "trv",
    "mwv": "mwv", "hess": "hess", "bi": "bi", "eg": "eg", "cd": "cd", "fp": "fp", "js": "js", "jw": "jw", "bv": "bv",
    "lw": "lw", "ct": "ct", "fs": "fs", "hu": "hu", "cff": "cff", "warb": "warb", "fk": "fk",
    "koechel": "k", "kochel": "k", "deutsch": "d", "longo": "l", "kirkpatrick": "k", "searle": "s", "анх": "anh",
}  # fmt: skip
_ALWAYS = frozenset(
    {"op", "bwv", "hob", "hwv", "woo", "wq", "twv", "buxwv", "rct", "wwv", "kv", "rv", "sz", "fwv", "koechel"}
)
_RANGED = frozenset({"bwv", "hwv", "buxwv"})  # "BWV 846-869" is a book; "K. 355/576b" is two numbers of one piece
_COMPOSER_OF = {"bwv": "bach", "hob": "haydn", "hwv": "handel", "kv": "mozart", "koechel": "mozart", "kochel": "mozart",
                "wq": "bach_cpe", "rv": "vivaldi", "sz": "bartok", "buxwv": "buxtehude", "twv": "telemann",
                "rct": "rameau", "wwv": "wagner"}  # fmt: skip
_MOZART_SONATAS = frozenset({*range(279, 285), *range(309, 312), *range(330, 334), 457, 533, 545, 570, 576})
_UNMISTAKABLE_LETTER = {"s": "liszt", "d": "schubert"}  # "S. 139", "D. 960" beside a form, a key or No.

_NAMES = "|".join(sorted(map(re.escape, _LONG_NAMES), key=len, reverse=True))
_ANH = r"anh(?:ang)?\.? ?"
_NUMBER = rf"(?P<anh>{_ANH}(?:[ivx]{{1,4}} ?[/. ] ?)?)?(?P<number>[0-9]{{1,4}})(?P<letter>[a-h](?![a-z0-9]))?"
_SUB = r"(?:(?:\s?/\s?|,(?=[0-9])|-(?=[0-9]{1,2}\b))(?P<slash>[0-9]{1,2})(?![0-9]))?"
_PIECE = (
    rf"(?:[\s,;.:()\-–/]{{0,4}}(?:posth?\w*\.?[\s,]{{0,2}})?{NUMBER_SIGN}\s?(?P<piece>[0-9]{{1,3}}|[ivx]{{1,5}}\b))?"
)
_CATALOGUE = re.compile(
    rf"(?<![a-z0-9])(?P<name>{_NAMES}|[a-z])(?P<dot>\.?)[ :]{{0,2}}(?:{NUMBER_SIGN}\s?)?{_NUMBER}(?![0-9])"
    rf"(?:(?P<range>\s?[-–/]\s?(?P<to>[0-9]{{3,4}}))|{_SUB}){_PIECE}"
)
_HOBOKEN = re.compile(
    r"(?<![a-z0-9])(?:hob(?:oken)?|h)(?:\.|\s|:){0,2}(?P<group>[ivx]{1,6})(?:a|bis)?[\s.:/,\-–]{0,3}"
    r"(?:no?\.?\s?)?(?P<number>[a-z]{0,2}[0-9]{1,3})"
)
_POSTHUMOUS = re.compile(r"\bop(?:us)?\.? ?posth?(?:\.|umous|um)?")


@dataclass(frozen=True, slots=True)
class CatalogueNumber:
    """One catalogue number, where it stands, and the piece of the opus named right after it."""

    catalogue: str
    number: str
    piece: str
    start: int
    end: int
    text: str
    composer_id: str = ""  # where the abbreviation alone tells


def catalogue_numbers(cleaned: str, catalogues: tuple[str, ...] = ()) -> list[CatalogueNumber]:
    """Every catalogue number in the text, in order.

    `catalogues` are the composer's own. A one-letter abbreviation counts if it is one of them, or, with no
    composer known, where it is written as one ("K. 331") beside a form, a key or a No.
    """
    folded = fold(cleaned)
    found = [*_hoboken_numbers(cleaned, folded, catalogues)]
    taken = [(number.start, number.end) for number in found]
    for match in _CATALOGUE.finditer(folded):
        if any(match.start() < end and start < match.end() for start, end in taken):
            continue
        catalogue = _LONG_NAMES.get(match["name"], match["name"])
        catalogue = "k" if catalogue == "kk" and "k" in catalogues else catalogue
        if _is_catalogue(match, catalogue, cleaned, folded, catalogues):
            found.append(_to_number(match, catalogue, cleaned, folded))
    if not found and (posth := _POSTHUMOUS.search(folded)):
        start, end = posth.span()
        found.append(CatalogueNumber("op", "posth", "", start, end, cleaned[start:end]))
    return sorted(found, key=lambda number: number.start)


def _hoboken_numbers(cleaned: str, folded: str, catalogues: tuple[str, ...]) -> Iterator[CatalogueNumber]:
    for match in _HOBOKEN.finditer(folded):
        if match.group().startswith("hob") or "hob" in catalogues:
            start, end = match.span()
            number = f"{match['group']}:{match['number']}"
            yield CatalogueNumber("hob", number, "", start, end, cleaned[start:end], "haydn")


def _is_catalogue(match: re.Match[str], catalogue: str, cleaned: str, folded: str, catalogues: tuple[str, ...]) -> bool:
    name = match["name"]
    if name in _ALWAYS or catalogue in catalogues:
        # lower-case "k 5" or "d 4" in running text is no catalogue
        return len(name) > 1 or bool(match["dot"]) or cleaned[match.start()].isupper()
    if len(name) > 1:
        return not catalogues and name not in ("cd", "th", "fs", "ct", "bi", "hu", "js")
    if catalogues or name not in "kdsl" or not cleaned[match.start()].isupper():
        return False
    has_dot, is_long = bool(match["dot"]), len(match["number"]) == 3
    return (has_dot and is_long) or ((has_dot or is_long) and bool(find_form(folded) or find_key(cleaned)))


def _to_number(match: re.Match[str], catalogue: str, cleaned: str, folded: str) -> CatalogueNumber:
    number, piece, end = match["number"].lstrip("0") or "0", match["piece"] or match["slash"] or "", match.end()
    if match["range"] and catalogue in _RANGED and int(match["to"]) > int(number):
        place = arabic(match["piece"]) if match["piece"] else 0
        number, piece = (str(int(number) + place - 1), "") if place else (f"{number}-{match['to']}", "")
    elif match["range"]:
        end = match.start("range")
    piece = str(arabic(piece)) if piece and arabic(piece) else ""
    anh = re.sub(r"[\s.]", "", match["anh"] or "")
    composer_id = _COMPOSER_OF.get(match["name"], "")
    if len(match["name"]) == 1 and match["dot"]:
        composer_id = _UNMISTAKABLE_LETTER.get(match["name"], "")
    if catalogue == "k" and not composer_id and int(match["number"]) > 555:
        composer_id = "mozart"  # Kirkpatrick's list of Scarlatti ends at 555
    if catalogue == "k" and int(match["number"]) in _MOZART_SONATAS and "piano sonata" in folded:
        composer_id = "mozart"
    text = cleaned[match.start() : end].strip(" ,.;:-–")
    return CatalogueNumber(
        catalogue, anh + number + (match["letter"] or ""), piece, match.start(), end, text, composer_id
    )
