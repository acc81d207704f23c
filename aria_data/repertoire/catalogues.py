"""Find catalogue numbers in titles: Op. 27 No. 2, BWV 847, KV 331 (300i), Hob. XVI:52, S.244/2, соч. 9.

An abbreviation of one letter is ambiguous (L. is Debussy's and Scarlatti's). It counts only if it is one of the
composer's own catalogues or, without a known composer, if it is unmistakably written as a catalogue number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from aria_data.repertoire.forms import NUMBER_SIGN, arabic, find_form, find_forms, find_key
from aria_data.text import fold

# Abbreviations of two letters and more, and the catalogue that each names.
_LONG_NAMES = {
    "opus": "op", "op": "op", "соч": "op", "ор": "op", "作品": "op", "작품": "op", "kv": "k", "kk": "kk", "bwv": "bwv",
    "bmv": "bwv", "hob": "hob", "hoboken": "hob", "hwv": "hwv", "rv": "rv", "woo": "woo", "wq": "wq", "sz": "sz",
    "bb": "bb", "th": "th", "twv": "twv", "buxwv": "buxwv", "rct": "rct", "wwv": "wwv", "fwv": "fwv", "trv": "trv",
    "mwv": "mwv", "hess": "hess", "bi": "bi", "eg": "eg", "cd": "cd", "fp": "fp", "js": "js", "jw": "jw", "bv": "bv",
    "lw": "lw", "kp": "k", "ct": "ct", "fs": "fs", "hu": "hu", "cff": "cff", "warb": "warb", "fk": "fk",
    "koechel": "k", "kochel": "k", "deutsch": "d", "longo": "l", "kirkpatrick": "k", "searle": "s", "анх": "anh",
    "k.v": "k", "k. v": "k", "k v": "k", "b.w.v": "bwv", "h.w.v": "hwv",
    "אופ": "op", "אופוס": "op", "مصنف": "op", "أوبوس": "op", "اوبوس": "op",
}  # fmt: skip
_ALWAYS = frozenset(
    {
        "op",
        "bwv",
        "hob",
        "hwv",
        "woo",
        "wq",
        "twv",
        "buxwv",
        "rct",
        "wwv",
        "kv",
        "k.v",
        "k. v",
        "b.w.v",
        "h.w.v",
        "rv",
        "sz",
        "bb",
        "fwv",
        "mwv",
        "koechel",
    }
)
_RANGED = frozenset({"bwv", "hwv", "buxwv"})  # "BWV 846-869" is a book; "K. 355/576b" is two numbers of one piece
_COMPOSER_OF = {"bwv": "bach", "hob": "haydn", "hwv": "handel", "kv": "mozart", "k.v": "mozart", "k. v": "mozart",
                "b.w.v": "bach", "h.w.v": "handel", "koechel": "mozart", "kochel": "mozart",
                "wq": "bach_cpe", "rv": "vivaldi", "sz": "bartok", "buxwv": "buxtehude", "twv": "telemann",
                "rct": "rameau", "wwv": "wagner", "bb": "bartok", "fwv": "franck", "mwv": "mendelssohn",
                "trv": "strauss_richard", "longo": "scarlatti", "kirkpatrick": "scarlatti", "deutsch": "schubert",
                "searle": "liszt"}  # fmt: skip
_OWNERS = {"bwv": "bach", "hob": "haydn", "hwv": "handel", "buxwv": "buxtehude", "twv": "telemann", "sz": "bartok"}
_MOZART_SONATAS = {279: "c", 280: "f", 281: "bb", 282: "eb", 283: "g", 284: "d", 309: "c", 310: "a", 311: "d", 330: "c",
                   331: "a", 332: "f", 333: "bb", 457: "c", 533: "f", 545: "c", 570: "bb", 576: "d"}  # fmt: skip
_NOT_SCARLATTIS = frozenset({"rondo", "fantasia", "variations", "concerto", "symphony", "suite", "serenade", "romance",
                             "overture", "march"})  # fmt: skip
_UNMISTAKABLE_LETTER = {"s": "liszt", "d": "schubert"}  # "S. 139", "D. 960" beside a form, a key or No.

_NAMES = "|".join(sorted(map(re.escape, _LONG_NAMES), key=len, reverse=True))
_ANH = r"anh(?:ang)?\.? ?"
_NUMBER = rf"(?P<anh>{_ANH}(?:[ivx]{{1,4}} ?[/. ] ?)?)?(?P<number>[0-9]{{1,4}})(?P<letter>[a-m](?![a-z0-9]))?"
_SUB = (
    r"(?:(?:\s?/\s?|,(?=[0-9])|,\s(?=[0-9]{1,2}\s?(?:$|[:,;(\"“]))|-(?=[0-9]{1,2}\b))(?P<slash>[0-9]{1,2})(?![0-9]))?"
)
_PIECE = (
    rf"(?:[\s,;.:()\-–/]{{0,4}}(?:posth?\w*\.?[\s,]{{0,2}})?{NUMBER_SIGN}\s?(?P<piece>[0-9]{{1,3}}|[ivx]{{1,5}}\b)"
    r"(?P<more>\s?(?:[-–]|to|bis|à|a|&|and|und|et|y|e)\s?(?:no\.?\s?|nr\.?\s?)?[0-9]{1,2}(?![0-9.)]|\s?(?:st|nd|rd|th)))?)?"
)
_CATALOGUE = re.compile(
    rf"(?<![a-z0-9])(?P<name>{_NAMES}|[a-z])(?P<dot>\.?)[ :]{{0,2}}(?:posth?\w*\.? ?)?(?:{NUMBER_SIGN}\s?)?"
    rf"{_NUMBER}(?![0-9])"
    rf"(?:(?P<range>\s?[-–/]\s?(?P<to>[0-9]{{3,4}}))|{_SUB}){_PIECE}"
)
_HOBOKEN = re.compile(
    r"(?<![a-z0-9])(?:hob(?:oken)?|h)(?:\.|\s|:){0,2}(?P<group>[ivx]{1,6})(?:a|bis)?[\s.:/,\-–]{0,3}"
    r"(?:no?\.?\s?)?(?P<number>[a-z]{0,2}[0-9]{1,3})"
)
_KOBYLANSKA = re.compile(
    r"(?<![a-z0-9])kk\.? ?(?P<group>[ivx]{1,4}[a-c]?)[ /.,:-]{1,3}(?:no?\.? ?|nr\.? ?)?(?P<number>[0-9]{1,2})"
)
_LONGO_TOO = re.compile(r"\bl\.? ?[0-9]{1,3}\b")  # Mozart's works have no number in Longo's list
_OTHER_PLAYERS = re.compile(r"violin|viola|cello|flute|organ|church|kirchen|four hands|4 hands|two pianos|duo|bassoon")
_POSTHUMOUS = re.compile(r"\bop(?:us)?\.? ?posth?(?:\.|umous|um)?")


@dataclass(frozen=True, slots=True)
class CatalogueNumber:
    """One catalogue number in a text, and the piece of the opus that is named right after it.

    `start` and `end` count characters of the cleaned text.
    """

    catalogue: str
    number: str
    piece: str
    start: int
    end: int
    text: str
    composer_id: str = ""  # if the number alone tells the composer


def catalogue_numbers(cleaned: str, catalogues: tuple[str, ...] = ()) -> list[CatalogueNumber]:
    """Find every catalogue number in a cleaned text, in order.

    `catalogues` are the composer's own. A one-letter abbreviation counts if it is one of them or, without a known
    composer, if it is written like one: a dot and three digits ("K. 331"), or one of these beside a form or a key.
    """
    folded = fold(cleaned)
    found = [*_hoboken_numbers(cleaned, folded, catalogues), *_kobylanska_numbers(cleaned, folded)]
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
        is_plain = not match.group().startswith("hob")
        is_roman = cleaned[match.start()] == "H" and len(match["group"]) > 1 and bool(find_form(folded))
        if not is_plain or "hob" in catalogues or (is_roman and not catalogues):
            start, end = match.span()
            number = f"{match['group']}:{match['number']}"
            yield CatalogueNumber("hob", number, "", start, end, cleaned[start:end], "haydn")


def _kobylanska_numbers(cleaned: str, folded: str) -> Iterator[CatalogueNumber]:
    """Numbers in Kobylańska's list of Chopin's works, "KK IVa/16"; KK. with a plain number is Kirkpatrick's."""
    for match in _KOBYLANSKA.finditer(folded):
        start, end = match.span()
        yield CatalogueNumber("kk", f"{match['group']}/{match['number']}", "", start, end, cleaned[start:end], "chopin")


def owner_of(catalogue: str) -> str:
    """The composer whose works a catalogue lists, also those by others in it: "bach" for BWV Anh. 114; else ""."""
    return _OWNERS.get(catalogue, "")


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


def _composer_of_k(number: int, name: str, cleaned: str, folded: str) -> str:
    """Whether K. is Köchel's (Mozart) or Kirkpatrick's (Scarlatti), from number, form and key; "" if unclear."""
    forms = {form for form, *_ in find_forms(folded)}
    key = find_key(cleaned)
    if number > 555:
        return "mozart"  # Kirkpatrick's list of Scarlatti ends there
    if name == "kk" or "keyboard sonata" in folded or _LONGO_TOO.search(folded):
        return "scarlatti" if "sonata" in forms else ""
    if "sonata" in forms and number in _MOZART_SONATAS:
        is_his_key = key is not None and key[0].split()[0] == _MOZART_SONATAS[number]
        return "mozart" if is_his_key or "piano sonata" in folded or "klaviersonate" in folded else ""
    if "sonata" in forms:
        return "scarlatti" if key and not _OTHER_PLAYERS.search(folded) and "piano sonata" not in folded else ""
    return "mozart" if forms & _NOT_SCARLATTIS or (key and number > 30) else ""


def _to_number(match: re.Match[str], catalogue: str, cleaned: str, folded: str) -> CatalogueNumber:
    number, piece, end = match["number"].lstrip("0") or "0", match["piece"] or match["slash"] or "", match.end()
    if match["range"] and catalogue in _RANGED and int(match["to"]) > int(number):
        place = arabic(match["piece"]) if match["piece"] else 0
        number, piece = (str(int(number) + place - 1), "") if place else (f"{number}-{match['to']}", "")
    elif match["range"]:
        end = match.start("range")
    piece = str(arabic(piece)) if piece and arabic(piece) else ""
    anh = "anh" if match["anh"] else ""  # BWV Anh. II 114 and BWV Anhang 114 are BWV Anh. 114
    composer_id = _COMPOSER_OF.get(match["name"], "")
    if len(match["name"]) == 1 and (match["dot"] or len(match["number"]) == 3):
        composer_id = _UNMISTAKABLE_LETTER.get(match["name"], "")
    if match["name"] in ("k", "kk"):
        composer_id = (
            "mozart" if match["letter"] else _composer_of_k(int(match["number"]), match["name"], cleaned, folded)
        )
    if match["more"]:
        piece = ""  # "Nos. 1-4" is not one piece
    text = cleaned[match.start() : end].strip(" ,.;:-–")
    return CatalogueNumber(
        catalogue, anh + number + (match["letter"] or ""), piece, match.start(), end, text, composer_id
    )
