"""How a work is written in a title: catalogue number, piece, movement, form, key. Reads; decides nothing about people.

Every function takes text already through `text.clean` (and, where it says so, `text.fold` of it) and answers
None where the text shows nothing. Numbers come back in one spelling: "op 27 no 2", "hob xvi:52", "3".
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from itertools import zip_longest

from aria_data.text import clean, fold

EAST_ASIAN = re.compile(r"[぀-ヿ㐀-鿿가-힣]")
ROMAN = {"i": 1, "v": 5, "x": 10, "l": 50}

# Abbreviations of two letters and more name their catalogue; one letter alone may be anything.
_LONG_NAMES = {
    "opus": "op", "op": "op", "соч": "op", "ор": "op", "作品": "op", "작품": "op", "kv": "k", "kk": "kk", "bwv": "bwv",
    "bmv": "bwv", "hob": "hob", "hoboken": "hob", "hwv": "hwv", "rv": "rv", "woo": "woo", "wq": "wq", "sz": "sz",
    "bb": "bb", "th": "th", "twv": "twv", "buxwv": "buxwv", "rct": "rct", "wwv": "wwv", "fwv": "fwv", "trv": "trv",
    "mwv": "mwv", "hess": "hess", "bi": "bi", "eg": "eg", "cd": "cd", "fp": "fp", "js": "js", "jw": "jw", "bv": "bv",
    "lw": "lw", "ct": "ct", "fs": "fs", "hu": "hu", "cff": "cff", "warb": "warb", "fk": "fk", "koechel": "k", "kochel": "k",
    "deutsch": "d", "longo": "l", "kirkpatrick": "k", "searle": "s", "анх": "anh",
}  # fmt: skip
_ALWAYS = frozenset(
    {"op", "bwv", "hob", "hwv", "woo", "wq", "twv", "buxwv", "rct", "wwv", "kv", "rv", "sz", "fwv", "koechel"}
)
_RANGED = frozenset({"bwv", "hwv", "buxwv"})  # "BWV 846-869" is a book; "K. 355/576b" is two numbers of one piece
_COMPOSER_OF = {"bwv": "bach", "hob": "haydn", "hwv": "handel", "kv": "mozart", "koechel": "mozart", "kochel": "mozart",
                "wq": "bach_cpe", "rv": "vivaldi", "sz": "bartok", "buxwv": "buxtehude", "twv": "telemann", "rct": "rameau",
                "wwv": "wagner"}  # fmt: skip
_ANY_CATALOGUE = ("op", "bwv", "k", "d", "s", "l", "m", "hob", "woo", "fwv")
_UNMISTAKABLE_LETTER = {"s": "liszt", "d": "schubert"}  # "S. 139", "D. 960" beside a form, a key or No.

_NAMES = "|".join(sorted(map(re.escape, _LONG_NAMES), key=len, reverse=True))
_ANH = r"anh(?:ang)?\.? ?"
_NUMBER = rf"(?P<anh>{_ANH}(?:[ivx]{{1,4}} ?[/. ] ?)?)?(?P<number>[0-9]{{1,4}})(?P<letter>[a-h](?![a-z0-9]))?"
_SUB = r"(?:(?:\s?/\s?|,(?=[0-9])|-(?=[0-9]{1,2}\b))(?P<slash>[0-9]{1,2})(?![0-9]))?"
_PIECE_SIGN = r"(?:no?s?|nr|num|numero|numer|n[°º]|#|ном|番|第|№)[.°º:]?"
_PIECE = (
    rf"(?:[\s,;.:()\-–/]{{0,4}}(?:posth?\w*\.?[\s,]{{0,2}})?{_PIECE_SIGN}\s?(?P<piece>[0-9]{{1,3}}|[ivx]{{1,5}}\b))?"
)
_CATALOGUE = re.compile(
    rf"(?<![a-z0-9])(?P<name>{_NAMES}|[a-z])(?P<dot>\.?)[ :]{{0,2}}(?:{_PIECE_SIGN}\s?)?{_NUMBER}(?![0-9])"
    rf"(?:(?P<range>\s?[-–/]\s?(?P<to>[0-9]{{3,4}}))|{_SUB}){_PIECE}"
)
_HOBOKEN = re.compile(
    r"(?<![a-z0-9])(?:hob(?:oken)?|h)(?:\.|\s|:){0,2}(?P<group>[ivx]{1,6})(?:a|bis)?[\s.:/,\-–]{0,3}"
    r"(?:no?\.?\s?)?(?P<number>[a-z]{0,2}[0-9]{1,3})"
)
_POSTHUMOUS = re.compile(r"\bop(?:us)?\.? ?posth?(?:\.|umous|um)?")

_MAJOR = "major|maj|dur|majeur|maggiore|mayor|maior|мажор|groot|grote terts"
_MINOR = "minor|min|moll|mineur|minore|menor|минор|klein"
_KEY_LETTER = re.compile(
    rf"(?<![a-z0-9'])(?P<note>[a-h])(?P<sign>[ -]?(?:sharp|flat)|is|es|s|[#♯♭]|b(?=[ -]))?[\s-]{{0,2}}(?P<mode>{_MAJOR}|{_MINOR})(?![a-z])"
)
_KEY_SYLLABLE = re.compile(
    r"(?<!\w)(?P<note>ut|do|re|mi|fa|sol|la|si|до|ре|ми|фа|соль|ля|си)[\s-]{0,2}"
    r"(?P<sign>diese?z?|dieze|bemolle|bemol|diesis|sostenido|sustenido|диез|бемоль|[#♯♭])?[\s-]{0,2}"
    rf"(?P<mode>{_MAJOR}|{_MINOR})(?!\w)"
)
_KEY_IMPLIED = re.compile(
    r"\b[Ii]n (?P<note>[A-G])(?P<sign>[ -]?[Ss]harp|[ -]?[Ff]lat|[#♯♭]|b)?(?= ?(?:[,.;:()\"\-–]|$|op\b|Op\b|K|BWV|Hob|D\b))"
)
_KEY_EAST = re.compile(
    r"(?P<sign>嬰|変|升|降|올림|내림)?(?P<note>[ハニホヘトイロ다라마바사가나]|[A-G])(?P<after>[#♯♭])?\s?(?P<mode>長調|短調|大调|小调|大調|小調|장조|단조)"
)
_SYLLABLES = {"ut": "c", "do": "c", "re": "d", "mi": "e", "fa": "f", "sol": "g", "la": "a", "si": "b", "до": "c", "ре": "d",
              "ми": "e", "фа": "f", "соль": "g", "ля": "a", "си": "b"}  # fmt: skip
_EAST_NOTES = dict(zip("ハニホヘトイロ", "cdefgab", strict=True)) | dict(zip("다라마바사가나", "cdefgab", strict=True))
_ENHARMONIC = {"e#": "f", "b#": "c", "fb": "e"}

_ORDINALS = {"first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "erster": 1, "zweiter": 2, "dritter": 3,
             "premier": 1, "deuxieme": 2, "troisieme": 3, "primer": 1, "segundo": 2, "tercer": 3, "primo": 1, "secondo": 2,
             "terzo": 3, "一": 1, "二": 2, "三": 3, "四": 4, "五": 5}  # fmt: skip
_MOVEMENT_WORD = (
    r"(?:mov(?:ement|imiento|imento|t)?s?|mvmt|mvt|mouvement|satz|deel|czesc|часть|ч\.|楽章|乐章|樂章|악장)"
)
_MOVEMENT_NAMED = re.compile(
    rf"(?<![\w])(?:(?P<a>[0-9]{{1,2}}|[ivx]{{1,4}}|{'|'.join(_ORDINALS)})(?:st|nd|rd|th|er|re|eme|e|o|a|º|ª|-я|\.)?[ .]{{0,2}}{_MOVEMENT_WORD}"
    rf"|{_MOVEMENT_WORD}\.? ?(?P<b>[0-9]{{1,2}}|[ivx]{{1,4}})(?!\w)|第(?P<c>[0-9一二三四五])(?:楽章|乐章|樂章))"
)
_MARKER = re.compile(r"\s*(?P<number>[0-9]{1,2}|[ivx]{1,5})(?P<letter>[a-d]?)(?:[.):]|\s?[-–](?=\s)|$)(?!\s?[0-9])")
_MARKER_INSIDE = re.compile(
    r"(?:\s[-–]\s?|, |\) |\" |\. |/ ?|(?<=[0-9]) )(?P<number>[IVX]{1,4}|[0-9]{1,2}(?=[.)]\s?[A-Z]))(?P<letter>[a-d]?)(?:[.):]|$| [-–])"
)
_TAIL_NUMBER = re.compile(rf"\s*(?:[a-z]{{4,}} ){{0,3}}{_PIECE_SIGN}\s?(?P<number>[0-9]{{1,3}}|[ivx]{{1,5}}\b)")
_VARIATION = re.compile(
    r"\bvar(?:iation|iatio|iazione|iace|iacion)?\.?\s?(?:no?\.?\s?|nr\.?\s?)?(?P<number>[0-9]{1,2}|[ivx]{1,6})\b"
)
_FORM_NUMBER = re.compile(
    rf"(?P<gap>[^:0-9]{{0,40}}?){_PIECE_SIGN}\s?(?P<n>[0-9]{{1,3}}|[ivx]{{1,5}}\b)|\s(?P<m>[0-9]{{1,2}})\b(?!\s?[.:)])"
)
_OTHER_NUMBER = re.compile(r"\b(?:op|opus|bwv|hob|k|kv|d|s|l|m)\b")  # the No. after it is a piece's
_FIRST_NUMBER = re.compile(rf"(?<![a-z]){_PIECE_SIGN}\s?([0-9]{{1,2}})\b")
_BOOK = re.compile(
    r"\b(?:book|buch|livre|heft|band|teil|vol|volume|cahier|libro|книга|тетрадь)\.? ?(?P<a>[0-9]{1,2}|[ivx]{1,4})\b"
    r"|(?<=clavier)[ ,]{1,2}(?P<d>[12]|i{1,2})\b"
    r"|\b(?P<b>[12])(?:er|re|e|eme|nd|st)? (?:livre|cahier|book)|\b(?P<c>premier|deuxieme|first|second) (?:livre|book|cahier)"
)


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


def arabic(number: str) -> int:
    """Value of an Arabic or lower-case Roman number; 0 if it is neither."""
    if number.isdigit():
        return int(number)
    if not re.fullmatch(r"x{0,3}(?:ix|iv|v?i{0,4})", number):
        return 0
    values = [ROMAN[letter] for letter in number]
    return sum(-v if v < after else v for v, after in zip(values, [*values[1:], 0], strict=True))


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
        if _is_catalogue(match, catalogue, cleaned, folded, catalogues):
            found.append(_to_number(match, catalogue, cleaned, folded))
    if not found and (match := _POSTHUMOUS.search(folded)):
        found.append(CatalogueNumber("op", "posth", "", match.start(), match.end(), match.group()))
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
    text = cleaned[match.start() : end].strip(" ,.;:-–")
    return CatalogueNumber(
        catalogue, anh + number + (match["letter"] or ""), piece, match.start(), end, text, composer_id
    )


def find_key(cleaned: str) -> tuple[str, str] | None:
    """The key in English spelling ("c# minor", "eb major") and the words it was read from."""
    folded = fold(cleaned)
    for pattern, read in ((_KEY_LETTER, _letter_key), (_KEY_SYLLABLE, _syllable_key)):
        for match in pattern.finditer(folded):
            if key := read(match):
                return key, cleaned[match.start() : match.end()]
    if match := _KEY_EAST.search(cleaned):
        return _east_key(match), match.group()
    if match := _KEY_IMPLIED.search(cleaned):
        sign = fold(match["sign"] or "")
        return _key(match["note"].lower(), _accidental(sign), False), match.group()[3:]
    return None


def _key(note: str, accidental: str, is_minor: bool) -> str:
    name = note + accidental
    return f"{_ENHARMONIC.get(name, name)} {'minor' if is_minor else 'major'}"


def _accidental(sign: str) -> str:
    sign = sign.strip(" -")
    if sign in ("sharp", "is", "#", "♯", "嬰", "升", "올림") or sign.startswith(("dies", "diez", "sos", "sus", "диез")):
        return "#"
    return "b" if sign else ""


def _is_minor(mode: str) -> bool:
    return mode in _MINOR.split("|") or mode[0] in "短小단"


def _letter_key(match: re.Match[str]) -> str:
    note, sign, mode = match["note"], match["sign"] or "", match["mode"]
    is_german = mode in ("dur", "moll")
    if sign in ("is", "es", "s") and not is_german:
        return ""
    if sign == "s" and note not in "ae":
        return ""
    if is_german and not sign and note in "bh":
        return _key("b", "b" if note == "b" else "", _is_minor(mode))
    return _key("b" if note == "h" else note, _accidental(sign), _is_minor(mode))


def _syllable_key(match: re.Match[str]) -> str:
    return _key(
        _SYLLABLES[match["note"].replace("соль", "соль")], _accidental(match["sign"] or ""), _is_minor(match["mode"])
    )


def _east_key(match: re.Match[str]) -> str:
    note = _EAST_NOTES.get(match["note"], match["note"].lower())
    return _key(note, _accidental(match["sign"] or match["after"] or ""), _is_minor(match["mode"]))


def find_form(folded: str) -> tuple[str, str] | None:
    """The first form the folded text names, in English, and the word for it."""
    found = next(iter(find_forms(folded)), None)
    return (found[0], found[1]) if found else None


@lru_cache(maxsize=256)
def find_forms(folded: str) -> tuple[tuple[str, str, int, int], ...]:
    """Every form the folded text names: `(form, word, start, end)` in order."""
    pattern, forms = word_list("forms")
    found = [
        (forms[match.lastgroup or ""], match.group(), match.start(), match.end()) for match in pattern.finditer(folded)
    ]
    return tuple(f for f, after in zip_longest(found, found[1:]) if not _is_only_an_adjective(f, after))


def _is_only_an_adjective(found: tuple, after: tuple | None) -> bool:
    """Fantaisie-Impromptu is an impromptu, Polonaise-Fantaisie a polonaise, "symphonic etude" an etude."""
    is_joined = after is not None and after[2] - found[3] <= 1
    return is_joined and (found[0], after[0]) in {("fantasia", "impromptu"), ("symphony", "etude"), ("rag", "rag")}


@cache
def word_list(table: str) -> tuple[re.Pattern[str], dict[str, str]]:
    """One pattern over a table of `annotate_words.toml`, a group for each entry, and the entries by group."""
    source = resources.files("aria_data.data").joinpath("annotate_words.toml").read_text(encoding="utf-8")
    names, groups = {}, []
    for place, (name, words) in enumerate(tomllib.loads(source)[table].items()):
        names[f"g{place}"] = name
        groups.append(f"(?P<g{place}>{'|'.join(map(word_pattern, sorted(words, key=len, reverse=True)))})")
    return re.compile("|".join(groups)), names


def word_pattern(words: str) -> str:
    """A regular expression for words of a list: `*` ends a word anyhow, spaces match any short gap."""
    plain = re.escape(fold(clean(words, 100))).replace(r"\*", r"\w{0,12}").replace(r"\ ", r"[\W_]{1,3}")
    return plain if EAST_ASIAN.search(words) else rf"(?<![^\W_]){plain}(?![^\W_])"


def find_movement_words(folded: str) -> tuple[str, str] | None:
    """A movement said in words: "3rd movement", "2. Satz", "mvt 1", 第1楽章."""
    match = _MOVEMENT_NAMED.search(folded)
    if not match:
        return None
    written = match["a"] or match["b"] or match["c"]
    number = _ORDINALS.get(written) or arabic(written)
    return (str(number), match.group()) if number else None


def find_marker(tail: str) -> tuple[str, str] | None:
    """The number a part of a work starts with: "III. Presto", "2. Largo", "IIIa. Adagio"."""
    folded = fold(tail)
    match = _MARKER.match(folded)
    if match and arabic(match["number"]):
        return str(arabic(match["number"])) + match["letter"], tail[: match.end()].strip(" .:-–")
    return None


def find_marker_inside(text: str) -> tuple[str, str] | None:
    """The same after a dash, comma or bracket instead of a colon: "Op. 13 - III. Rondo", "K. 331, I"."""
    match = _MARKER_INSIDE.search(text)
    if match and arabic(match["number"].lower()):
        return str(arabic(match["number"].lower())) + match["letter"], match.group().strip(' .:-–,/)"')
    return None


def find_tail_number(tail: str) -> tuple[str, str] | None:
    """A part numbered with a No.: "No. 4 in D", "Valse oubliée No. 2"."""
    match = _TAIL_NUMBER.match(fold(tail))
    if match and arabic(match["number"]):
        return str(arabic(match["number"])), tail[: match.end()].strip()
    return None


def find_variation(folded: str) -> str:
    """Number of a variation of a set, or ""."""
    match = _VARIATION.search(folded)
    return str(arabic(match["number"])) if match and arabic(match["number"]) else ""


def form_numbers(folded: str) -> Iterator[tuple[str, int]]:
    """The number written after each form: "French Suite No. 5" gives ("suite", 5)."""
    for form, _, _, end in find_forms(folded):
        match = _FORM_NUMBER.match(folded, end)
        number = arabic(match["n"] or match["m"]) if match else 0
        if match and number and not _OTHER_NUMBER.search(match["gap"] or ""):
            yield form, number


_CLAVIER = re.compile(
    r"\bw\.?t\.?[ck]\b|wohltemperierte\w* (?:klavier|clavier)|(?:clavier|clave|clavecin) bien tempera?[ed]\w*|"
    r"clavicembalo ben temperato|well-tempered clavier|\bхтк\b|хорошо темперированныи клавир"
)


@dataclass(frozen=True, slots=True)
class _Words:
    """A text prepared for asking whether it names a known work."""

    marked: str
    words: frozenset[str]
    form_numbers: tuple[tuple[str, int], ...]
    number: int  # of the first No.


@lru_cache(maxsize=64)
def _words_of(folded: str) -> _Words:
    marked = _BOOK.sub(_book_mark, _CLAVIER.sub("well tempered clavier", folded))
    sign = _FIRST_NUMBER.search(marked)
    words = frozenset(re.findall(r"[^\W_]+", marked))
    return _Words(marked, words, tuple(form_numbers(marked)), int(sign[1]) if sign else 0)


def known_work(composer_id: str, folded: str) -> tuple[str, str] | None:
    """Code of a composer's work that the folded text names by its usual name or number, and that name.

    A piece of a work outranks the work, then more words outrank fewer, then a name outranks a number.
    """
    works = _works().get(composer_id)
    if not works:
        return None
    text = _words_of(folded)
    named = [
        (bool(re.search(r"[-:]", code)), len(name), code, name)
        for code, names in works["names"].items()
        for name in names
        if _has_all(name, text)
    ]
    if named:
        _, _, code, name = max(named)
        return code, " ".join(name)
    return _numbered_work(works["numbered"], text)


def _numbered_work(numbered: dict[str, list[str]], text: _Words) -> tuple[str, str] | None:
    for name, codes in numbered.items():
        *others, last = name.split()
        if last in word_list("forms")[1].values():
            number = next((n for form, n in text.form_numbers if form == last), 0)
        else:
            others, number = [*others, last], text.number or next((n for _, n in text.form_numbers), 0)
        if text.words.issuperset(others) and 0 < number <= len(codes) and codes[number - 1]:
            return codes[number - 1], f"{name} {number}"
    return None


def numbered_work(composer_id: str, form: str, number: int) -> str:
    """Code of the composer's work of that form and number, or ""."""
    codes = _works().get(composer_id, {"numbered": {}})["numbered"].get(form, [])
    return codes[number - 1] if 0 < number <= len(codes) else ""


def _has_all(name: tuple[str, ...], text: _Words) -> bool:
    return all(
        part in text.words
        or (part.endswith("*") and any(word.startswith(part[:-1]) for word in text.words))
        or (EAST_ASIAN.search(part) is not None and part in text.marked)
        for part in name
    )


def _book_mark(match: re.Match[str]) -> str:
    number = {"premier": 1, "first": 1, "deuxieme": 2, "second": 2}.get(match["c"] or "") or arabic(
        match["a"] or match["b"] or match["d"] or ""
    )
    return f" book{number} "


def composer_of_work(cleaned: str) -> tuple[str, str] | None:
    """The one composer whose known work has both the name and the catalogue number of the text, and the words."""
    folded = fold(cleaned)
    codes = {n.catalogue + n.number: n.text for n in catalogue_numbers(cleaned, _ANY_CATALOGUE)}
    if not codes:
        return None
    found = {}
    for composer_id in _works():
        known = known_work(composer_id, folded)
        work = re.split("[-:]", known[0])[0] if known else ""
        if known and work in codes:
            found[composer_id] = f"{known[1]}, {codes[work]}"
    return next(iter(found.items())) if len(found) == 1 else None


def is_title_first(composer_id: str) -> bool:
    """Whether a known title outranks a catalogue number, because two lists use one abbreviation."""
    return bool(_works().get(composer_id, {}).get("title_first"))


@cache
def _works() -> dict[str, dict]:
    source = resources.files("aria_data.data").joinpath("works.toml").read_text(encoding="utf-8")
    works = {}
    for composer_id, table in tomllib.loads(source).items():
        numbered, title_first = table.pop("numbered", {}), table.pop("title_first", False)
        names = {code: [tuple(fold(clean(name, 200)).split()) for name in names] for code, names in table.items()}
        works[composer_id] = {"names": names, "numbered": numbered, "title_first": title_first}
    return works
