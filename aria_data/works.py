"""Works and their parts: what is known by name or number ("Moonlight", "Ballade No. 1"), and which movement is meant.

The known works are `data/works.toml`.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources

from aria_data.catalogues import catalogue_numbers
from aria_data.forms import EAST_ASIAN, NUMBER_SIGN, arabic, find_form, find_forms, form_numbers, word_list
from aria_data.text import clean, fold

_ANY_CATALOGUE = ("op", "bwv", "k", "d", "s", "l", "m", "hob", "woo", "fwv")
_MULTI_MOVEMENT = frozenset({"sonata", "sonatina", "suite", "partita", "concerto", "symphony", "serenade", "overture"})
_COUNTED_THROUGH = _MULTI_MOVEMENT | {"rhapsody", "ballade", "scherzo", "barcarolle", "impromptu", "invention"}
_GENERIC = frozenset(
    {"major", "minor", "flat", "sharp", "dur", "moll", "for", "and", "the", "from", "posth", "opus", "book", "arr"}
)
NOISE = re.compile(
    r"[(\[][^()\[\]]{0,80}[)\]]|\b(?:live|remaster\w*|(?:19|20)[0-9]{2}|recording|version|edit|mono|stereo|hd|hq|piano|"
    r"solo|official|video|audio|klavier|pianoforte|digital|complete|full|score|sheet music)\b|[\"“”„*]"
)
_PAIRS = re.compile(
    r"\b(?:preludes?|praeludi\w*|praludi\w*|fantasias?|fantasies?|toccatas?|chromatic fantasia)(?:, (?:chorale?|aria))?"
    r"(?:,? (?:and|und|et|e|y)|\s?&|,) (?:[0-9]{1,2} )?(?:fugues?|fugen?|fugas?)\b(?: no\.? ?[0-9]{1,2})?"
)
_PAIR_NUMBER = re.compile(r"\bno\.? ?([0-9]{1,2})\b")
_HOBOKEN_COLON = re.compile(r"\b[Hh](?:ob)?[.\s]{0,2}[IVXivx]{1,6}:")
_THEME = re.compile(r"\b(?:aria|thema|theme|tema)\b")
_ORDINALS = {"first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "erster": 1, "zweiter": 2, "dritter": 3,
             "premier": 1, "deuxieme": 2, "troisieme": 3, "primer": 1, "segundo": 2, "tercer": 3, "primo": 1,
             "secondo": 2, "terzo": 3, "一": 1, "二": 2, "三": 3, "四": 4, "五": 5}  # fmt: skip
_MOVEMENT_WORD = (
    r"(?:mov(?:ement|imiento|imento|t)?s?|mvmt|mvt|mouvement|satz|deel|czesc|часть|ч\.|楽章|乐章|樂章|악장)"
)
_MOVEMENT_AFTER = re.compile(rf"{_MOVEMENT_WORD}\.? ?(?P<written>[0-9]{{1,2}}|[ivx]{{1,4}})(?!\w)")
_MOVEMENT_BEFORE = re.compile(
    rf"(?<!\w)第?(?P<written>[0-9]{{1,2}}|[ivx]{{1,4}}|{'|'.join(_ORDINALS)})"
    rf"(?:st|nd|rd|th|er|re|eme|e|o|a|º|ª|-я|\.)?[ .]{{0,2}}{_MOVEMENT_WORD}"
)
_MARKER = re.compile(r"\s*(?P<number>[0-9]{1,2}|[ivx]{1,5})(?P<letter>[a-d]?)(?:[.):]|\s?[-–](?=\s)|$)(?!\s?[0-9])")
_MARKER_INSIDE = re.compile(
    r"(?:\s[-–]\s?|, |\) |\" |\. |/ ?|(?<=[0-9]) )(?P<number>[IVX]{1,4}|[0-9]{1,2}(?=[.)]\s?[A-Z]))"
    r"(?P<letter>[a-d]?)(?:[.):]|$| [-–])"
)
_TAIL_NUMBER = re.compile(rf"\s*(?:[a-z]{{4,}} ){{0,3}}{NUMBER_SIGN}\s?(?P<number>[0-9]{{1,3}}|[ivx]{{1,5}}\b)")
_VARIATION = re.compile(
    r"\bvar(?:iation|iatio|iazione|iace|iacion)?\.?\s?(?:no?\.?\s?|nr\.?\s?)?(?P<number>[0-9]{1,2}|[ivx]{1,6})\b"
)
_FIRST_NUMBER = re.compile(rf"(?<![a-z]){NUMBER_SIGN}\s?([0-9]{{1,2}})\b")
_BOOK = re.compile(
    r"\b(?:book|buch|livre|heft|band|teil|vol|volume|cahier|libro|книга|тетрадь)\.? ?(?P<a>[0-9]{1,2}|[ivx]{1,4})\b"
    r"|(?<=clavier)[ ,]{1,2}(?P<d>[12]|i{1,2})\b"
    r"|\b(?P<b>[12])(?:er|re|e|eme|nd|st)? (?:livre|cahier|book)"
    r"|\b(?P<c>premier|deuxieme|first|second) (?:livre|book|cahier)"
)
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
        if _has_all(tuple(others), text) and 0 < number <= len(codes) and codes[number - 1]:
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


def find_movement_words(folded: str) -> tuple[str, str] | None:
    """A movement said in words: "3rd movement", "2. Satz", "mvt 1", 第1楽章."""
    match = _MOVEMENT_AFTER.search(folded) or _MOVEMENT_BEFORE.search(folded)
    number = (_ORDINALS.get(match["written"]) or arabic(match["written"])) if match else 0
    return (str(number), match.group()) if match and number else None


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


def head_and_tail(body: str) -> tuple[str, str]:
    """A work and what of it is played, split at the first colon that is not inside "Hob. XVI:52"."""
    masked = _HOBOKEN_COLON.sub(lambda match: match.group().replace(":", "/"), body)
    place = masked.find(":")
    head, tail = (body[:place].strip(), body[place + 1 :].strip()) if place >= 0 else (body, "")
    return (head, "") if head == tail else (head, tail)


def is_multi_movement(head: str) -> bool:
    """Whether "III." behind this is a movement, not a piece of a set. "Sonatas" are a set."""
    return any(
        form in _MULTI_MOVEMENT and word not in ("sonatas", "sonaten", "sonates")
        for form, word, _, _ in find_forms(fold(head))
    )


def theme_of(head: str, tail: str) -> str:
    """The words for the theme, where the theme of a set of variations is meant; else ""."""
    form = find_form(fold(head))
    match = _THEME.search(fold(tail)) if form and form[0] == "variations" else None
    return match.group() if match else ""


def prelude_or_fugue(body: str, is_clavier: bool) -> str:
    """Which half of a prelude and fugue is played; "" for both or for other music."""
    folded = fold(body)
    alone = _PAIRS.sub(" ", folded)
    if alone == folded and not is_clavier:
        return ""
    halves = {form for form, *_ in find_forms(alone)} & {"prelude", "fugue", "fantasia", "toccata"}
    return halves.pop() if len(halves) == 1 else ""


def number_in_pair(text: str) -> tuple[str, str] | None:
    """Number of a prelude and fugue in a book of them, and its words."""
    match = _PAIR_NUMBER.search(fold(text))
    return (match[1], match.group()) if match else None


def dance(folded_tail: str) -> str:
    """The dance of a suite: "minuet", or "minuet2" where one of a pair is meant."""
    for form, _, _, end in find_forms(folded_tail):
        one = re.match(r" (i{1,2}|[12])\b", folded_tail[end:])
        is_pair = one and re.search(r"\b(?:ii|2)\b", folded_tail[end + one.end() :])
        return form if not one or is_pair else f"{form}{arabic(one[1])}"
    return ""


def part_in_words(tail: str) -> str:
    """The first two words of a part without a number, tempo words only if there are no others."""
    words = [word for word in re.findall(r"[^\W\d_]+", NOISE.sub(" ", fold(tail))) if len(word) > 2]
    names = [word for word in words if not word_list("not_names")[0].fullmatch(word)]
    return "-".join(names[:2] or words[:1])


def title_in_words(head: str, key: str, without: list[str]) -> str:
    """A title of its own, folded and hyphenated; "" if it is only forms, keys and numbers ("Prelude in C").

    A form that is usually counted through a composer's life stands with its number: "suite5".
    """
    folded = fold(head)
    for form, number in form_numbers(folded):
        if form in _COUNTED_THROUGH:
            return f"{form}{number}"
        return f"{form}{number}-{key.replace(' ', '-')}" if key else ""
    spans = [(start, end) for _, _, start, end in find_forms(folded)]
    plain = "".join(" " if any(start <= i < end for start, end in spans) else c for i, c in enumerate(folded))
    plain = NOISE.sub(" ", plain)
    skipped = {word for name in without for word in re.findall(r"[^\W_]+", fold(name))}
    own = {w for w in re.findall(r"[^\W\d_]+", plain) if len(w) > 2 or EAST_ASIAN.match(w)} - _GENERIC - skipped
    if not own:
        return ""
    marked = _words_of(NOISE.sub(" ", folded)).marked
    words = [word for word in re.findall(r"[^\W_]+", marked) if word not in skipped]
    return "-".join(words[bool(words[0].isdigit() and len(words) > 1) :][:8])
