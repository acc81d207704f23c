"""Find works by name or number (`works.toml`): "Moonlight" is op. 27 no. 2, "Ballade No. 1" is op. 23.

A code is a catalogue and a number, with a piece or a movement: `op27-2`, `op27-2:3`; or an id such as a title in words.
"""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources

from aria_data.repertoire.catalogues import catalogue_numbers
from aria_data.repertoire.forms import (
    EAST_ASIAN,
    NUMBER_SIGN,
    arabic,
    find_forms,
    find_key,
    form_numbers,
    number_before,
    word_list,
)
from aria_data.repertoire.leftovers import words_of_works
from aria_data.repertoire.movements import COUNTED_THROUGH, GENERIC, MULTI_MOVEMENT, NOISE
from aria_data.text import clean, fold

_ANY_CATALOGUE = ("op", "bwv", "k", "d", "s", "l", "m", "hob", "woo", "fwv", "sz", "b")
_FIRST_NUMBER = re.compile(rf"(?<![a-z]){NUMBER_SIGN}\s?([0-9]{{1,2}})(?![0-9a-z])|([0-9]{{1,2}})\s?[번番号號]")
_NUMBER_AFTER = re.compile(rf",? ?(?:{NUMBER_SIGN}\s?)?([0-9]{{1,2}}|[ivx]{{1,4}})(?![^\W_])")
_PART = re.compile(r": ?([0-9]{1,2}|[ivx]{1,5})[.:]")
_BOOK = re.compile(
    r"\b(?:book|buch|livre|heft|band|teil|vol|volume|cahier|libro|series?|книга|тетрадь|том)\.? ?"
    r"(?P<a>[0-9]{1,2}|[ivx]{1,4})\b"
    r"|(?<=clavier)[ ,]{1,2}(?P<d>[12]|i{1,2})\b"
    r"|\b(?P<b>[12])(?:ere?|re|e|eme|nd|st)? (?:livre|cahier|book|serie|series)"
    r"|\b(?P<c>premiere?|deuxieme|first|second) (?:livre|book|cahier|serie|series)"
)
_CLAVIER = re.compile(
    r"\bw\.?t\.?[ck]\b|wohltemperierte\w* (?:klavier|clavier)|(?:clavier|clave|clavecin) bien tempera?[ed]\w*|"
    r"clavicembalo ben temperato|well-tempered clavier|\bхтк\b|хорошо темперированныи клавир"
)


@dataclass(frozen=True, slots=True)
class _Words:
    """A text prepared for the search of known works."""

    marked: str  # the folded text, in which books have become words: "book1"
    words: frozenset[str]
    form_numbers: tuple[tuple[str, int], ...]
    number: int  # of the first No.; 0 if there is none
    part: int  # with which the part after a colon starts; 0 if there is none


@lru_cache(maxsize=64)
def _words_of(folded: str) -> _Words:
    marked = _BOOK.sub(_book_mark, _CLAVIER.sub("well tempered clavier", folded))
    sign, part = _FIRST_NUMBER.search(marked), _PART.search(marked)
    words = frozenset([*re.findall(r"[^\W_]+", marked), *_words_of_any_language(marked)])
    return _Words(
        marked,
        words,
        tuple(form_numbers(marked)),
        int(sign[1] or sign[2]) if sign else 0,
        arabic(part[1]) if part else 0,
    )


def _words_of_any_language(marked: str) -> Iterator[str]:
    """Forms and the key in English, so that names with them are found in any language; the key also as one word."""
    yield from (form for form, *_ in find_forms(marked))
    if key := find_key(marked):
        note, mode = key[0].split()
        yield from (note[0], *{"#": ["sharp"], "b": ["flat"]}.get(note[1:], []), mode, note + mode)


def known_work(composer_id: str, folded: str) -> tuple[str, str] | None:
    """The code of the composer's work that the folded text names, and the name by which it does; None if there is none.

    A name is preferred to a number, a piece of a work to the work, and a name of more words to one of fewer.
    """
    works = _works().get(composer_id)
    if not works:
        return None
    text = _words_of(folded)
    named = _named(works, text)
    if named:
        _, _, code, name = max(named)
        return code, " ".join(name)
    return _numbered_work(works["numbered"], text) or _set_of_works(works["sets"], text)


def _set_of_works(sets: dict[str, list[tuple[str, ...]]], text: _Words) -> tuple[str, str] | None:
    """The set that a text names, if it names none of its pieces: "Two-Part Inventions" are BWV 772-786."""
    found = [(len(name), code, name) for code, names in sets.items() for name in names if _has_all(name, text)]
    return (max(found)[1], " ".join(max(found)[2])) if found else None


def _named(works: dict, text: _Words) -> list[tuple[bool, int, str, tuple[str, ...]]]:
    return [
        (bool(re.search(r"[-:]", code)), len(name), code, name)
        for code, names in works["names"].items()
        for name in names
        if _has_all(name, text)
    ]


def _numbered_work(numbered: dict[str, list[str]], text: _Words) -> tuple[str, str] | None:
    for name, codes in numbered.items():
        others, last = name.split(), _form_at_end(name)
        if last:
            others = name.removesuffix(last).split()
            number = next((n for form, n in text.form_numbers if form == last), 0)
        else:
            number = text.number or next((n for _, n in text.form_numbers), 0)
            number = number or (
                _number_beside(name, text.marked) or text.part if "*" in name or EAST_ASIAN.search(name) else 0
            )
        if 0 < number <= len(codes) and codes[number - 1] and _has_all(tuple(others), text):
            return codes[number - 1], f"{name} {number}"
    return None


def numbered_work(composer_id: str, form: str, number: int) -> str:
    """The code of the composer's work of that form and number, or ""."""
    codes = _works().get(composer_id, {"numbered": {}})["numbered"].get(form, [])
    return codes[number - 1] if 0 < number <= len(codes) else ""


@cache
def _form_at_end(name: str) -> str:
    """The form that a numbered name ends with: "suite", "moment musical"; "" if it is only a name."""
    forms = [form for form in word_list("forms")[1].values() if f" {name}".endswith(f" {form}")]
    return max(forms, key=len, default="")


def is_sonata(composer_id: str, code: str) -> bool:
    """Whether a code is one of the composer's numbered sonatas or suites, which have movements."""
    numbered = _works().get(composer_id, {}).get("numbered", {})
    return any(code in codes for name, codes in numbered.items() if _form_at_end(name) in MULTI_MOVEMENT)


def _number_beside(name: str, marked: str) -> int:
    """The number next to a name: "Gnossienne III", "Gymnopédies, 1.", "1ère Gymnopédie", "3. Gnossienne"; else 0."""
    words = r"\W{1,3}(?:\w+\W)?".join(re.escape(part).replace(r"\*", r"\w*") for part in name.split())
    for match in re.finditer(rf"(?<![^\W_]){words}", marked):
        if after := _NUMBER_AFTER.match(marked, match.end()):
            return arabic(after[1])
        if before := number_before(marked[: match.start()]):
            return before
        if dotted := re.search(r"(?<!\w)([0-9]{1,2})\. ?$", marked[: match.start()]):
            return int(dotted[1])
    return 0


def _has_all(name: tuple[str, ...], text: _Words) -> bool:
    plain, others = _kinds_of_parts(name)
    return plain <= text.words and all(
        (part.endswith("*") and any(word.startswith(part[:-1]) for word in text.words))
        or (EAST_ASIAN.search(part) is not None and part in text.marked)
        for part in others
    )


@lru_cache(maxsize=1 << 16)
def _kinds_of_parts(name: tuple[str, ...]) -> tuple[frozenset[str], tuple[str, ...]]:
    """The parts of a name that are whole words, and the others: stems, and words of scripts without spaces."""
    others = tuple(part for part in name if part.endswith("*") or EAST_ASIAN.search(part))
    return frozenset(name) - frozenset(others), others


def _book_mark(match: re.Match[str]) -> str:
    number = {"premier": 1, "premiere": 1, "first": 1, "deuxieme": 2, "second": 2}.get(match["c"] or "") or arabic(
        match["a"] or match["b"] or match["d"] or ""
    )
    return f" book{number} "


def composer_of_work(cleaned: str) -> tuple[str, str] | None:
    """The only composer with a work of both the name and the catalogue number in the text, and the number's words."""
    folded = fold(cleaned)
    codes = {n.catalogue + n.number: n.text for n in catalogue_numbers(cleaned, _ANY_CATALOGUE)}
    if not codes:
        return None
    found = {}
    for composer_id in _maybe_by(_words_of(folded)):
        known = known_work(composer_id, folded)
        work = re.split("[-:]", known[0])[0] if known else ""
        if known and work in codes:
            found[composer_id] = codes[work]
    return next(iter(found.items())) if len(found) == 1 else None


def composer_of_name(cleaned: str) -> tuple[str, str] | None:
    """The only composer with a work of a name in the text, and its words: "Gaspard de la nuit", "Kreisleriana"."""
    text = _words_of(fold(cleaned))
    found = {}
    for composer_id in _maybe_by(text):
        works = _works()[composer_id]
        names = [" ".join(name) for _, _, code, name in _named(works, text) if code in works["alone"]]
        names += [name for name in works["alone"] if name in works["numbered"] and _has_all(_form_free(name), text)]
        if names:
            found[composer_id] = quoted(max(names, key=len), cleaned)
    return next(iter(found.items())) if len(found) == 1 else None


@cache
def _form_free(name: str) -> tuple[str, ...]:
    """The words of a numbered name, with any ending of its form: "hungarian rhapsody" for "Hungarian Rhapsodies"."""
    return tuple(f"{word[:7]}*" if word in word_list("forms")[1].values() else word for word in name.split())


def _maybe_by(text: _Words) -> list[str]:
    """The composers with a work of which at least one word is in the text: a quick filter before the full search."""
    by_word, stems, numbered = _index()
    found = {composer_id for word in text.words for composer_id in by_word.get(word, ())}
    found |= {composer_id for form, _ in text.form_numbers for composer_id in numbered.get(form, ())}
    for stem, composer_ids in stems.items():
        if stem in text.marked:
            found |= composer_ids
    return sorted(found)


@cache
def _index() -> tuple[dict[str, set[str]], dict[str, set[str]], dict[str, set[str]]]:
    """Composers by the longest word of a work's name, by its stem if all words have stars, and by a numbered form."""
    by_word: dict[str, set[str]] = defaultdict(set)
    stems: dict[str, set[str]] = defaultdict(set)
    numbered: dict[str, set[str]] = defaultdict(set)
    for composer_id, works in _works().items():
        names = [name for names in works["names"].values() for name in names]
        for name in [*names, *(tuple(name.split()) for name in works["numbered"])]:
            whole = [word for word in name if not word.endswith("*") and not EAST_ASIAN.search(word)]
            if whole:
                by_word[max(whole, key=len)].add(composer_id)
            else:
                stems[max(name, key=len).rstrip("*")].add(composer_id)
        for name in works["numbered"]:
            numbered[name.split()[-1]].add(composer_id)
            stems[name.split()[-1].rstrip("*")[:7]].add(composer_id)
    return by_word, stems, numbered


def quoted(name: str, cleaned: str) -> str:
    """The words of the text in which a work's name was found, as they are written there."""
    folded, spans = fold(cleaned), []
    for part in name.split():
        is_open = part.endswith("*") or EAST_ASIAN.search(part)
        sought = re.escape(part.rstrip("*")) + (r"\w*" if is_open else r"(?!\w)")
        if found := re.search(sought if EAST_ASIAN.search(part) else rf"(?<!\w){sought}", folded):
            spans.append(found.span())
    return cleaned[min(start for start, _ in spans) : max(end for _, end in spans)] if spans else cleaned


def is_title_first(composer_id: str) -> bool:
    """Whether a known title is preferred to a catalogue number, because two catalogues share an abbreviation."""
    return bool(_works().get(composer_id, {}).get("title_first"))


@cache
def _works() -> dict[str, dict]:
    source = resources.files("aria_data.repertoire").joinpath("works.toml").read_text(encoding="utf-8")
    works = {}
    for composer_id, table in tomllib.loads(source).items():
        numbered, title_first = table.pop("numbered", {}), table.pop("title_first", False)
        same = {alias: name for alias, name in numbered.items() if isinstance(name, str)}  # in other languages
        numbered |= {alias: numbered[name] for alias, name in same.items()}
        alone = frozenset(table.pop("alone", ()))
        alone |= {alias for alias, name in same.items() if name in alone}
        sets = _folded_names(table.pop("sets", {}))
        names = _folded_names(table)
        works[composer_id] = {"names": names, "numbered": numbered, "sets": sets, "title_first": title_first}
        works[composer_id]["alone"] = alone
    return works


def _folded_names(table: dict[str, list[str]]) -> dict[str, list[tuple[str, ...]]]:
    return {code: [tuple(fold(clean(name, 200)).split()) for name in names] for code, names in table.items()}


def title_in_words(head: str, key: str, without: list[str]) -> str:
    """Make a code of a title: its words, folded and hyphenated; "" for only forms, keys and numbers ("Prelude in C").

    Words that name no work make no code either ("Track 01").

    A form that is numbered through a composer's works gives its name and number: "suite5".
    """
    folded = fold(head)
    if not words_of_works(folded) and all(form == "book" for form, *_ in find_forms(folded)):
        return ""
    for form, number in form_numbers(folded):
        if form in COUNTED_THROUGH:
            return f"{form}{number}"
        return f"{form}{number}-{key.replace(' ', '-')}" if key else ""
    spans = [(start, end) for _, _, start, end in find_forms(folded)]
    plain = "".join(" " if any(start <= i < end for start, end in spans) else c for i, c in enumerate(folded))
    plain = NOISE.sub(" ", plain)
    skipped = {word for name in without for word in re.findall(r"[^\W_]+", fold(name))}
    if not words_of_works(plain) - GENERIC - skipped:
        return ""
    marked = _words_of(NOISE.sub(" ", folded)).marked
    words = [word for word in re.findall(r"[^\W_]+", marked) if word not in skipped]
    return "-".join(words[bool(words[0].isdigit() and len(words) > 1) :][:8])
