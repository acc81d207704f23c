"""Find the form and the key in a title, in eleven languages: "2 Valses oubliées" is a waltz, "cis-moll" is "c# minor".

Functions with a parameter `folded` take `text.fold` of a cleaned text (`text.clean`); the others take the cleaned text.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from functools import cache, lru_cache
from importlib import resources
from itertools import zip_longest

from aria_data.text import clean, fold

_TOKEN = re.compile(r"[^\W_]+")
EAST_ASIAN = re.compile(r"[぀-ヿ㐀-鿿가-힣]")
NUMBER_SIGN = (
    r"(?:n\.o|no?s?|nr|num|numero|numer|n\.?[°º]|#|ном|番|第|№|מס'?|מספר|رقم)[.°º:]?"  # No. 2, Nr. 2, n° 2, n.º 2, 第2
)

_MAJOR = "major|maj|dur|majeur|maggiore|mayor|maior|мажор|groot|grote terts"
_MINOR = "minor|min|moll|mineur|minore|menor|минор|klein"
_KEY_LETTER = re.compile(
    r"(?<![a-z0-9'])(?P<note>[a-h])(?P<sign>[ -]?(?:sharp|flat)|is|es|s|[#♯♭]|b(?=[ -]))?[\s-]{0,2}"
    rf"(?P<mode>{_MAJOR}|{_MINOR})(?![a-z])"
)
_KEY_SYLLABLE = re.compile(
    r"(?<!\w)(?P<note>ut|do|re|mi|fa|sol|la|si|до|ре|ми|фа|соль|ля|си)[\s-]{0,2}"
    r"(?P<sign>diese?z?|dieze|bemolle|bemol|diesis|sostenido|sustenido|диез|бемоль|[#♯♭])?[\s-]{0,2}"
    rf"(?P<mode>{_MAJOR}|{_MINOR})(?!\w)"
)
_KEY_IMPLIED = re.compile(
    r"\b[Ii]n (?P<note>[A-G])(?P<sign>[ -]?[Ss]harp|[ -]?[Ff]lat|[#♯♭]|b)?"
    r"(?= ?(?:[,.;:()\"\-–]|$|op\b|Op\b|K|BWV|Hob|D\b))"
)
_KEY_EAST = re.compile(
    r"(?P<sign>嬰|変|升|降|올림|내림)?(?P<note>[ハニホヘトイロ다라마바사가나]|[A-G])(?P<after>[#♯♭])?\s?"
    r"(?P<mode>長調|短調|大调|小调|大調|小調|장조|단조)"
)
_SYLLABLES = {"ut": "c", "do": "c", "re": "d", "mi": "e", "fa": "f", "sol": "g", "la": "a", "si": "b", "до": "c",
              "ре": "d", "ми": "e", "фа": "f", "соль": "g", "ля": "a", "си": "b"}  # fmt: skip
_EAST_NOTES = dict(zip("ハニホヘトイロ", "cdefgab", strict=True)) | dict(zip("다라마바사가나", "cdefgab", strict=True))
_ENHARMONIC = {"e#": "f", "b#": "c", "fb": "e"}
_ROMAN = {"i": 1, "v": 5, "x": 10, "l": 50}
_FORM_NUMBER = re.compile(
    rf"(?P<gap>[^:0-9]{{0,40}}?){NUMBER_SIGN}\s?(?P<n>[0-9]{{1,3}}|[ivx]{{1,5}}\b)|\s(?P<m>[0-9]{{1,2}})\b(?!\s?[.:)])"
    r"|[^:0-9]{0,10}?(?P<k>[0-9]{1,3})\s?[번番号號]|[^:0-9]{0,10}? c\. ?(?P<c>[0-9]{1,2})\b"  # 14번, Czech: č. 7
)
ORDINALS = {
    word: number
    for number, words in enumerate(
        (
            "first erster erste ersten premier premiere primer primera primero primeiro primeira primo prima "
            "pierwszy pierwsza eerste первыи первая 一",
            "second zweiter zweite zweiten deuxieme seconde segundo segunda secondo seconda drugi druga tweede "
            "вторая второи 二",
            "third dritter dritte dritten troisieme tercer tercera tercero terceiro terceira terzo terza trzeci "
            "trzecia derde третья третии 三",
            "fourth vierter vierte vierten quatrieme cuarto cuarta quarto quarta czwarty czwarta vierde четвертая "
            "четвертыи 四",
            "fifth funfte cinquieme quinto quinta пятая пятыи 五",
        ),
        1,
    )
    for word in words.split()
}
ORDINAL_END = r"(?:st|nd|rd|th|ere?|re|(?:i?e)?me|e|o|a|º|ª|-?[иы]?я|-и)"  # 1st, 2ème, 3e, 1º, 2-я
_NUMBER_BEFORE = re.compile(
    rf"(?<!\w)(?:(?P<n>[0-9]{{1,2}}){ORDINAL_END}|(?P<w>{'|'.join(ORDINALS)})) "
    r"(?!mov|mvt|mvmt|satz|part|част|teil|book|livre|cahier|heft|year|annee|jahr)(?:[^\W\d_]+ )?$"
)
_COUNT = re.compile(r"\W{0,2}([0-9]{1,2}) (?=[a-z])")
_OTHER_NUMBER = re.compile(r"\b(?:op|opus|bwv|hob|k|kv|d|s|l|m)\b")  # a No. after it is that of a piece


def arabic(number: str) -> int:
    """The value of an Arabic or lower-case Roman number (up to 39); 0 if it is neither."""
    if re.fullmatch("[0-9]{1,9}", number):
        return int(number)
    if not number or not re.fullmatch(r"x{0,3}(?:ix|iv|v?i{0,4})", number):
        return 0
    values = [_ROMAN[letter] for letter in number]
    return sum(-v if v < after else v for v, after in zip(values, [*values[1:], 0], strict=True))


@cache
def _tables() -> dict[str, dict[str, list[str]]]:
    source = resources.files("aria_data.repertoire").joinpath("title_words.toml").read_text(encoding="utf-8")
    return tomllib.loads(source)


@cache
def _beginnings_of_forms() -> frozenset[str]:
    """The first word of every form, or its stem."""
    words = (fold(clean(word, 100)) for of_one in _tables()["forms"].values() for word in of_one)
    return frozenset(match.group() for match in map(_TOKEN.match, words) if match)


@cache
def word_list(table: str) -> tuple[re.Pattern[str], dict[str, str]]:
    """One pattern over a table of `title_words.toml`, with a group for each entry, and the entries by group."""
    table_of_words = _tables()[table]
    names, groups = {}, []
    for place, (name, words) in enumerate(table_of_words.items()):
        names[f"g{place}"] = name
        groups.append(f"(?P<g{place}>{'|'.join(map(word_pattern, sorted(words, key=len, reverse=True)))})")
    first = _first_letters([word for words in table_of_words.values() for word in words])
    return re.compile(f"{first}(?:{'|'.join(groups)})"), names


def _first_letters(words: list[str]) -> str:
    """A regular expression that holds where one of the words may begin: most places are passed over by it at once."""
    begins: dict[bool, set[str]] = {True: set(), False: set()}  # by whether it may stand inside a word
    for word in words:
        begins[bool(EAST_ASIAN.search(word))].add(fold(clean(word, 100))[0])
    inside, outside = ("".join(map(re.escape, sorted(letters))) or "\0" for letters in begins.values())
    return rf"(?:(?<![^\W_])(?=[{outside}])|(?=[{inside}]))"


def word_pattern(words: str) -> str:
    """A regular expression for words of a list: `*` matches any ending, a space any short gap."""
    plain = re.escape(fold(clean(words, 100))).replace(r"\*", r"\w{0,12}").replace(r"\ ", r"[\W_]{1,3}")
    return plain if EAST_ASIAN.search(words) else rf"(?<![^\W_]){plain}(?![^\W_])"


def find_form(folded: str) -> tuple[str, str] | None:
    """The first form in the text, in English, and the word for it; None if there is none."""
    found = next(iter(find_forms(folded)), None)
    return (found[0], found[1]) if found else None


@lru_cache(maxsize=256)
def find_forms(folded: str) -> tuple[tuple[str, str, int, int], ...]:
    """Every form in the text: `(form, word, start, end)`, in order."""
    pattern, forms = word_list("forms")
    matches = pattern.finditer(folded) if EAST_ASIAN.search(folded) else _beginning_at_words(pattern, folded)
    found = [(forms[match.lastgroup or ""], match.group(), match.start(), match.end()) for match in matches]
    return tuple(f for f, after in zip_longest(found, found[1:]) if not _is_only_an_adjective(f, after))


def _beginning_at_words(pattern: re.Pattern[str], folded: str) -> Iterator[re.Match[str]]:
    """What `finditer` gives, tried only at words with which a form may begin: the pattern is long."""
    end = 0
    for word in _TOKEN.finditer(folded):
        if word.start() >= end and _may_begin_a_form(word.group()):
            match = pattern.match(folded, word.start())
            if match:
                end = match.end()
                yield match


@lru_cache(maxsize=1 << 16)
def _may_begin_a_form(token: str) -> bool:
    return any(map(token.startswith, _beginnings_of_forms()))


def _is_only_an_adjective(found: tuple, after: tuple | None) -> bool:
    """Fantaisie-Impromptu is an impromptu, Polonaise-Fantaisie a polonaise, "symphonic etude" an etude."""
    if re.fullmatch(r"(?:sym|sin)(?:ph|f)oni(?:c|ques?|sche?|schen)", found[1]):
        return True
    if after is None or after[2] - found[3] > 1:
        return False
    return (found[0], after[0]) in {("fantasia", "impromptu"), ("rag", "rag")}


def form_numbers(folded: str) -> Iterator[tuple[str, int]]:
    """The number written after each form, or before: "French Suite No. 5", "5ème Suite" give ("suite", 5)."""
    for form, _, start, end in find_forms(folded):
        match = _FORM_NUMBER.match(folded, end)
        number = arabic(match["n"] or match["m"] or match["k"] or match["c"]) if match else 0
        if match and _OTHER_NUMBER.search(match["gap"] or ""):
            number = 0
        if number := number or number_before(folded[:start]):
            yield form, number


def number_before(folded: str) -> int:
    """The ordinal with which a text ends: 2 for "2nd ", "deuxième "; 0 if it has none. One word may come after it."""
    match = _NUMBER_BEFORE.search(folded[-40:])
    return ORDINALS[match["w"]] if match and match["w"] else int(match["n"]) if match else 0


def count_of(folded: str) -> int:
    """The number of pieces that a title begins with: 24 in "24 Préludes"; 0 if it has none."""
    match = _COUNT.match(folded)
    return int(match[1]) if match else 0


def find_key(cleaned: str) -> tuple[str, str] | None:
    """The key in English spelling ("c# minor", "eb major"), and the words it was read from; None if there is none."""
    folded = fold(cleaned)
    for pattern, read in ((_KEY_LETTER, _letter_key), (_KEY_SYLLABLE, _syllable_key)):
        for match in pattern.finditer(folded):
            if key := read(match):
                return key, cleaned[match.start() : match.end()]
    if east := _KEY_EAST.search(cleaned):
        return _east_key(east), east.group()
    if implied := _KEY_IMPLIED.search(cleaned):
        sign = fold(implied["sign"] or "")
        return _key(implied["note"].lower(), _accidental(sign), False), implied.group()[3:]
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
    return _key(_SYLLABLES[match["note"]], _accidental(match["sign"] or ""), _is_minor(match["mode"]))


def _east_key(match: re.Match[str]) -> str:
    note = _EAST_NOTES.get(match["note"], match["note"].lower())
    return _key(note, _accidental(match["sign"] or match["after"] or ""), _is_minor(match["mode"]))
