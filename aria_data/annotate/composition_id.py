"""Find the work and the part of it that a title names, and make the `composition_id`; also genre and period."""

from __future__ import annotations

import re
from dataclasses import replace

from aria_data.annotate.readings import Reading
from aria_data.repertoire import CatalogueNumber, find_composers, find_forms, find_key, known_work
from aria_data.repertoire.catalogues import owner_of
from aria_data.repertoire.composers import composers
from aria_data.repertoire.forms import form_numbers, word_list
from aria_data.repertoire.movements import (
    dance,
    find_form_number,
    find_marker,
    find_marker_inside,
    find_movement_words,
    find_tail_number,
    find_variation,
    head_and_tail,
    is_multi_movement,
    names_several_movements,
    number_in_pair,
    part_in_words,
    prelude_or_fugue,
    theme_of,
)
from aria_data.repertoire.opuses import piece_in_key, same_work
from aria_data.repertoire.wholes import is_range, piece_of_range
from aria_data.repertoire.work_names import is_sonata, is_title_first, numbered_work, quoted, title_in_words
from aria_data.text import fold

_IN_BRACKETS = re.compile(r"\((?:no|nr)\.? ?(?P<number>[0-9]{1,2})\)")  # "Carnaval: Chopin (No. 12)"
_DANCES_IN = frozenset({"suite", "partita"})  # labels disagree on the numbers of their movements, not on the names
_NO_PIECES = frozenset({"bwv", "hwv"})  # a number of these catalogues is never a set
_ONE_MOVEMENT = frozenset({"scarlatti", "cimarosa", "seixas"})  # composers whose sonatas have one movement
_OWN_NUMBERS = frozenset({"bwv", "k", "d", "hwv"})  # each piece has a number, so "No. 1" before it adds nothing


def read_work(reading: Reading, title: str, body: str, numbers: list[CatalogueNumber]) -> None:
    """Put form, key, number, piece, movement, title and `composition_id`.

    `body` is the title without people (`credits.without_people`), `numbers` are from `credits.read_catalogue`.
    """
    composer_id = reading.get("composer_id")
    head, tail = head_and_tail(body)
    form = _form_and_words(head) or _form_and_words(tail)
    if form:
        reading.put("form", *form, "form")
    if key := find_key(title):
        reading.put("key", *key, "key")
    known = known_work(composer_id, fold(body))
    if numbers:
        _put_numbers(reading, _with_known_piece(numbers, known, composer_id, form[0] if form else ""))
    elif known:
        _put_known(reading, known[0], quoted(known[1], body))
    _read_part(reading, head, tail, body)
    if numbers:
        _read_piece_by_key(reading, head)
    if known and ((not numbers and not is_multi_movement(head)) or _is_a_part(known[0], composer_id, body)):
        reading.put("movement", known[0].partition(":")[2], quoted(known[1], body))
    shown = body.strip(" ,-:") or title
    reading.put("title", shown, shown)
    code = _composition_code(reading, head, tail, known, bool(numbers) and numbers[0].number != "posth")
    if composer_id and code:
        owner = owner_of(numbers[0].catalogue) if numbers else owner_of(reading.get("catalogue"))
        reading.put(
            "composition_id", f"{owner or composer_id}:{code}", reading.evidence.get("catalogue", "") or shown, "title"
        )
    if numbers and (placed := _IN_BRACKETS.search(fold(tail))):
        reading.put("piece_number", placed["number"], placed.group())


def _is_a_part(code: str, composer_id: str, body: str) -> bool:
    """Whether the last part of a title names the movement alone: "Sonata, K. 331 - Rondo alla turca"."""
    *others, last = re.split(r":| - ", body)
    known = known_work(composer_id, fold(last)) if others and ":" in code else None
    return known is not None and known[0] == code


def _form_and_words(text: str) -> tuple[str, str] | None:
    found = find_forms(fold(text))
    return (found[0][0], text[found[0][2] : found[0][3]]) if found else None


def _put_numbers(reading: Reading, numbers: list[CatalogueNumber]) -> None:
    reading.put("catalogue", numbers[0].catalogue, numbers[0].text, "catalogue number")
    reading.put("catalogue_number", numbers[0].number, numbers[0].text)
    if piece := next((n for n in numbers if n.piece), None):
        reading.put("piece_number", piece.piece, piece.text)


def _with_known_piece(
    numbers: list[CatalogueNumber], known: tuple[str, str] | None, composer_id: str, form: str
) -> list[CatalogueNumber]:
    """Correct the piece by the list of works: "Sonata No. 3, Op. 2" is its No. 3, "Op. 109 No. 30" has no piece."""
    first = numbers[0]
    is_one = known is not None and not is_range(known[0])
    work, _, piece = known[0].partition(":")[0].partition("-") if known and is_one else ("", "", "")
    if piece.isdigit() and work == first.catalogue + first.number and not any(n.piece for n in numbers):
        return [replace(first, piece=piece), *numbers[1:]]
    if first.piece and numbered_work(composer_id, form, int(first.piece)) == first.catalogue + first.number:
        return [replace(first, piece=""), *numbers[1:]]
    return numbers


def _put_known(reading: Reading, code: str, words: str) -> None:
    number, _, piece = ("", "", "") if is_range(code) else code.partition(":")[0].partition("-")
    if match := re.fullmatch(r"([a-z]+?)((?:anh)?[0-9].*)", number):
        reading.put("catalogue", match[1], words, "known title")
        reading.put("catalogue_number", match[2], words)
    if piece.isdigit():
        reading.put("piece_number", piece, words)


def _read_piece_by_key(reading: Reading, head: str) -> None:
    """Put the piece of an opus by its key, if the title gives no number of it: "Nocturne in E-flat, Op. 9"."""
    code = reading.get("catalogue") + reading.get("catalogue_number")
    if reading.get("piece_number") or not reading.get("key") or not find_key(head):
        return
    numbers = {number for _, number in form_numbers(fold(head))}
    piece = piece_in_key(reading.get("composer_id"), code, reading.get("key"), numbers)
    reading.put("piece_number", piece, reading.evidence["key"])


def _read_part(reading: Reading, head: str, tail: str, body: str) -> None:
    """Put the movement of a work, or the piece of a set, from what follows the work in the title."""
    is_multi, has_piece = _has_movements(reading, head), bool(reading.get("piece_number"))
    catalogue, number = reading.get("catalogue"), reading.get("catalogue_number")
    if is_multi and names_several_movements(body):
        return None
    marked = find_marker(tail, is_multi) if is_multi and tail else None
    if not marked and (variation := find_variation(head, tail)):
        return reading.put("movement", variation, tail)
    if theme := theme_of(head, tail):
        return reading.put("movement", "aria", theme)
    is_clavier = catalogue == "bwv" and number.isdigit() and 846 <= int(number) <= 893
    if half := prelude_or_fugue(body, is_clavier):
        if not has_piece and catalogue != "bwv" and (found := number_in_pair(tail or body)):
            reading.put("piece_number", *found)
        return reading.put("movement", half, tail or body)
    if in_words := find_movement_words(fold(body)):
        return reading.put("movement", *in_words)
    _put_numbered_part(reading, tail, body, is_multi, has_piece)
    return None


def _put_numbered_part(reading: Reading, tail: str, body: str, is_multi: bool, has_piece: bool) -> None:
    numbered = (find_tail_number(tail) or find_form_number(tail, reading.get("form"))) if tail else None
    last = tail.rsplit(":", 1)[-1].strip()
    marked = find_marker(tail, is_multi) or find_marker(last, is_multi) if tail else None
    marked = marked or find_marker_inside(body)
    if marked and _is_inside_number(reading, marked[1], body):
        marked = None
    if numbered and _stands_before_number(reading, numbered[1], body):
        return
    if (is_multi or reading.get("catalogue") in _NO_PIECES) and (found := marked or numbered):
        reading.put("movement", *found)
    elif numbered:
        reading.put("piece_number", *numbered)
    elif marked and not numbered and not has_piece:
        reading.put("piece_number", *marked)


def _is_inside_number(reading: Reading, words: str, body: str) -> bool:
    """Whether the words of a marker are letters of the catalogue: the V of "K. V. 310" is no fifth movement."""
    number = reading.evidence.get("catalogue_number", "")
    return bool(number) and words.strip() in number and words.strip() not in body.replace(number, "", 1)


def _has_movements(reading: Reading, head: str) -> bool:
    composer_id, piece = reading.get("composer_id"), reading.get("piece_number")
    code = reading.get("catalogue") + reading.get("catalogue_number") + (f"-{piece}" if piece else "")
    return composer_id not in _ONE_MOVEMENT and (is_multi_movement(head) or is_sonata(composer_id, code))


def _stands_before_number(reading: Reading, words: str, body: str) -> bool:
    """Whether the catalogue number is the piece's own, as in "4 Duettos: No. 1 in E minor, BWV 802"."""
    number = reading.evidence.get("catalogue_number", "")
    return reading.get("catalogue") in _OWN_NUMBERS and body.find(number) > body.find(words)


def _is_numbered_in(reading: Reading, tail: str) -> bool:
    """Whether the number in the tail is that of a whole work: "Anonymous: Musette in D, BWV Anh. 126"."""
    number = reading.evidence.get("catalogue_number", "")
    return reading.get("catalogue") in _OWN_NUMBERS and bool(number) and number in tail


def _composition_code(reading: Reading, head: str, tail: str, known: tuple[str, str] | None, has_number: bool) -> str:
    """The code of the composition: `op27-2:3`, `bwv847:fugue`, `maple-leaf-rag`; "" if nothing identifies it."""
    composer_id = reading.get("composer_id")
    piece, movement, is_known_piece = reading.get("piece_number"), reading.get("movement"), False
    if known and (not has_number or is_title_first(composer_id)):
        work = known[0].partition(":")[0]
        is_known_piece = "-" in work or known[1].split()[0] in fold(tail)
        if "-" in work:
            piece, movement = "", "" if work.endswith(f"-{movement}") else movement
    elif has_number:
        number = reading.get("catalogue_number")
        work = reading.get("catalogue") + (number.rstrip("abc") if reading.get("catalogue") == "bwv" else number)
    else:
        work = title_in_words(head, reading.get("key"), [match.text for match in find_composers(head)])
    is_multi = _has_movements(reading, head)
    is_whole = is_multi and names_several_movements(f"{head}: {tail}")
    is_whole = is_whole or _is_numbered_in(reading, tail)
    if tail and not movement and not is_known_piece and not is_whole and (is_multi or not piece):
        movement = part_in_words(tail, is_multi)
    if reading.get("form") in _DANCES_IN and is_multi:
        movement = dance(fold(tail)) or movement
    if is_range(work):
        piece = piece or piece_in_key(composer_id, work, reading.get("key"))
        work, piece = piece_of_range(work, int(piece) if piece.isdigit() else 0) or work, ""
    work = same_work(composer_id, work)
    work = same_work(composer_id, f"{work}-{piece}") if work and piece else work
    return same_work(composer_id, f"{work}:{movement}") if work and movement else work


def read_manner(reading: Reading, text: str) -> None:
    """Put genre and period: those that the text names, else those of the composer."""
    folded = fold(text)
    for name in ("genre", "period"):
        pattern, entries = word_list(f"{name}s")
        if match := pattern.search(folded):
            reading.put(name, entries[match.lastgroup or ""], text[match.start() : match.end()])
    if composer := composers().get(reading.get("composer_id")):
        years = f"composer {composer.name} ({composer.birth or '?'}-{composer.death or ''})"
        reading.put("genre", composer.genre, years)
        reading.put("period", composer.period, years)
