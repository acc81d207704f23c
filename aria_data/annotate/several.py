"""Find titles that name several works, which have no single composition, and the part of a title that names an event.

"Bach Partita No. 2, Beethoven Op. 111" is two works; "Bach-Busoni Chaconne" and "Op. 90, D 899" are one each.
"""

from __future__ import annotations

import re
from itertools import combinations

from aria_data.repertoire import (
    CatalogueNumber,
    ComposerMatch,
    catalogue_numbers,
    find_composers,
    find_form,
    find_forms,
    known_work,
    work_labels,
)
from aria_data.repertoire.composers import composers
from aria_data.repertoire.forms import word_list
from aria_data.repertoire.movements import find_movement_words
from aria_data.repertoire.opuses import same_work
from aria_data.text import fold

_LISTED = re.compile(r"^[\s,;/&+|•·]*(?:and|und|et|y|e|i|и|with|&)?[\s]*$")
_ARRANGED = re.compile(
    r"\b(?:trans[ck]ri|trascri|arr(?:\.|ang)|bearb|paraphras|reminiscenc|"
    r"fantas\w+ (?:on|sur|uber)|variation\w* (?:on|sur|uber))"
)
_OF_SOMEBODY = re.compile(
    r"\b(?:de|d'|du|of|von|van|di|by|after|from|on|uber|sur|a|per|pour|for|to|in|nach|na|о|из)\s?$"
)
_AND = r"\s?(?:,|&|\+|\b(?:and|und|et|y|и)\b)\s?(?:(?:and|und|et|y|и|&)\s)?(?:no\.?\s?|nr\.?\s?)?"
_MORE_NUMBERS = re.compile(
    rf"\b(?:opp?|opus|bwv|kv?|d|s|hob)[.\s]{{0,2}}[0-9]{{1,3}}(?P<more>(?:{_AND}[0-9]{{2,3}})+)(?![0-9])(?!\s?[:.])"
)
_MORE_OF_FORM = re.compile(rf"\s?(?:nos?\.?|nr\.?|№)?\s?[0-9]{{1,2}}(?P<more>(?:{_AND}[0-9]{{1,2}})+)(?!\w|\s?[:.])")
_MORE_PIECES = re.compile(
    rf"\bop(?:us)?[.\s]{{0,2}}[0-9]{{1,3}}[\s,]{{1,2}}(?:nos?|nr)\.? ?[0-9]{{1,2}}"
    rf"(?P<more>(?:{_AND}[0-9]{{1,2}})+)(?!\w|\s?[:.])"
)
_NO = re.compile(r"\s?(?:no|nr|№)\.?\s?[0-9]{1,2}\b")
_SIGN_AND_NUMBER = re.compile(r"(?:no|nr)\.?\s?[0-9]")
_SET_APART = re.compile(r"(?:[/;|+]|\s[-–])\s*$")
_SEPARATORS = re.compile(r"\s[-–|]\s|[,;/&+]|\b(?:and|und|et)\b")
_BESIDE_NAME = re.compile(r"[0-9]|\bfrom\b|\baus\b|\bde\b")
_COMMA_AND_NUMBER = re.compile(r"\s?,\s?[0-9]+")


def people_of_works(title: str) -> list[str]:
    """The ids of the composers in whose own stretch of the title a work is named, or who are listed side by side.

    Fewer than two where the title names one work, also by a composer and an arranger.
    """
    people = [match for match in find_composers(title) if match.role == "composer"]
    if len({match.composer_id for match in people}) < 2 or _ARRANGED.search(fold(title)):
        return []
    own = [match for match in people if not _OF_SOMEBODY.search(fold(title[: match.start]))]
    stretches = _stretches(own, title)
    with_work = [match.composer_id for match, text in stretches if _has_work(match, fold(text), fold(title))]
    if len(set(with_work)) > 1:
        return list(dict.fromkeys(with_work))
    gaps = [title[left.end : right.start] for left, right in zip(people, people[1:], strict=False)]
    are_listed = len(people) > 2 and all(_LISTED.match(gap) for gap in gaps)
    return list(dict.fromkeys(match.composer_id for match in people)) if are_listed else []


def _has_work(match: ComposerMatch, stretch: str, title: str) -> bool:
    """Whether a composer's stretch names a work: by form or number, or by name where a stroke sets it apart."""
    if find_form(stretch) or catalogue_numbers(stretch):
        return True
    is_apart = _SET_APART.search(stretch) or _SET_APART.search(title[: match.start])
    return bool(is_apart and known_work(match.composer_id, stretch))


def _stretches(people: list[ComposerMatch], title: str) -> list[tuple[ComposerMatch, str]]:
    """Each composer with the text up to the next one."""
    ends = [match.start for match in people[1:]] + [len(title)]
    return [(match, title[match.end : end]) for match, end in zip(people, ends, strict=True)]


def has_several_works(title: str, composer_id: str) -> bool:
    """Whether a title names several works of one composer: "Op. 109, 110, 111", "Op. 27 No. 2 & Op. 31 No. 1"."""
    folded = fold(title)
    if _lists_numbers(folded) or _lists_of_a_form(folded) or _lists_forms(folded) or _lists_pieces(folded):
        return True
    if _lists_names(folded, composer_id):
        return True
    composer = composers().get(composer_id)
    numbers = catalogue_numbers(title, (*composer.catalogues, "op") if composer else ())
    firsts: dict[str, CatalogueNumber] = {}
    for number in numbers:
        first = firsts.setdefault(number.catalogue, number)
        if (
            first.number != number.number
            and _is_list(title[first.end : number.start])
            and not _is_one(first, number, composer_id)
        ):
            return True
    return False


def _lists_numbers(folded: str) -> bool:
    """Whether numbers follow that of a catalogue: "Op. 10 & 25"; the count in "Op. 28, 24 Preludes" is none."""
    for match in _MORE_NUMBERS.finditer(folded):
        is_count = _COMMA_AND_NUMBER.fullmatch(match["more"]) and re.match(r"\s?[^\W\d]", folded[match.end() :])
        if not is_count:
            return True
    return False


def _lists_of_a_form(folded: str) -> bool:
    """Whether the numbers of several pieces of one form are named, and none of a catalogue: "Ballades 1 & 4"."""
    if catalogue_numbers(folded):
        return False
    for *_, end in find_forms(folded):
        found = _MORE_OF_FORM.match(folded, end)
        if found and not _COMMA_AND_NUMBER.fullmatch(found["more"]) and not find_movement_words(folded[end:]):
            return True
    return False


def _lists_forms(folded: str) -> bool:
    """Whether several forms with a number each are listed: "Ballade No. 1 & Scherzo No. 2"."""
    numbered = [(start, match.end()) for *_, start, end in find_forms(folded) if (match := _NO.match(folded, end))]
    gaps = [folded[left[1] : right[0]] for left, right in zip(numbered, numbered[1:], strict=False)]
    return any(_LISTED.match(gap) for gap in gaps)


def _lists_pieces(folded: str) -> bool:
    """Whether several pieces of an opus are listed: "Op. 9 No. 1, No. 2 and No. 3"."""
    return any(
        _SIGN_AND_NUMBER.search(match["more"]) or not _COMMA_AND_NUMBER.fullmatch(match["more"])
        for match in _MORE_PIECES.finditer(folded)
    )


def _lists_names(folded: str, composer_id: str) -> bool:
    """Whether names of several works are listed: "Carnaval - Kreisleriana"; a piece of a set beside it is one work."""
    parts = _SEPARATORS.split(folded)
    known = [known_work(composer_id, part) for part in parts] if composer_id and len(parts) > 1 else []
    named = [found[0] for found, part in zip(known, parts, strict=False) if found and not _BESIDE_NAME.search(part)]
    labels = work_labels({f"{composer_id}:{code}" for code in named}).values()
    return any(not set(one) & set(other) for one, other in combinations(labels, 2))


def _is_list(between: str) -> bool:
    """Whether what stands between two numbers sets apart works: a comma, "and", a stroke, with words around."""
    return bool(re.search(r"[,;&+|/]|\b(?:and|und|et|y|e|и)\b", between)) and not re.search(
        r"\bfrom\b|[()\[\]]|\bor\b|=", between
    )


def _is_one(first: CatalogueNumber, second: CatalogueNumber, composer_id: str) -> bool:
    codes = {same_work(composer_id, each.catalogue + each.number) for each in (first, second)}
    return len(codes) == 1


def without_event(body: str) -> str:
    """The title without the event or place that stands before its work: "Cliburn semifinal: Prokofiev Sonata"."""
    for mark in (": ", " – ", " - ", " | "):
        head, found, rest = body.partition(mark)
        if found and _names_work(rest) and not _names_work(head) and word_list("events")[0].search(fold(head)):
            return rest.strip()
    return body


def _names_work(text: str) -> bool:
    return bool(find_form(fold(text)) or catalogue_numbers(text))


def first_work(description: str) -> str:
    """The first sentence of a description, if it names a composer and a piece of music; else ""."""
    line = next((line.strip() for line in description.splitlines() if line.strip()), "")
    sentence = re.split(r"(?<=[0-9)\]])\.\s+(?=[^\W\d_]{3})|(?<=[^\W\d_]{4})\.\s+(?=[^\W\d_])", line)[0].strip(" .")
    people = {match.composer_id for match in find_composers(sentence) if match.role == "composer"}
    return sentence if len(people) == 1 and _names_work(sentence) and len(sentence) <= 160 else ""
