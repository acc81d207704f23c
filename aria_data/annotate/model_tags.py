"""The question to a language model about a title, and what is read of its answer.

The model gives values with quotes; a value counts only if its quote is in the text. Names then go through the lists of
composers and pianists, numbers and keys through the parsers of the rules, which read the quote itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from aria_data.annotate.composition_id import read_manner, read_work
from aria_data.annotate.credits import put_performer, without_people
from aria_data.annotate.readings import MAX_EVIDENCE_CHARS, Reading
from aria_data.llm import Answer, Question, Task
from aria_data.llm.questions import Payload, load_prompt
from aria_data.records import Annotation, Candidate
from aria_data.repertoire import (
    CatalogueNumber,
    catalogue_numbers,
    find_composer,
    find_form,
    find_key,
    find_pianist,
    known_work,
)
from aria_data.repertoire.composers import composers
from aria_data.repertoire.forms import arabic, word_list
from aria_data.repertoire.movements import find_marker, find_movement_words
from aria_data.storage import printable
from aria_data.text import clean, fold, is_quoted, trim_quote, without_instructions

PROMPT = "annotate-2"
FIELDS = ("composer", "performer", "title", "catalogue", "piece_number", "movement", "form", "genre", "period", "key")
MAX_SOURCE_CHARS = 200
_NO_PEOPLE = frozenset(
    "piano pianist pianoforte fortepiano keyboard klavier steinway yamaha bosendorfer violin viola cello guitar flute "
    "organ harpsichord orchestra quartet solo unknown anonymous various none n/a composer performer artist".split()
)
_PERIODS = ("renaissance", "baroque", "classical", "romantic", "impressionist", "modern", "contemporary")


@cache
def annotation_task() -> Task:
    """The task: a value and a quote for every field."""
    value_and_quote = {
        "type": "object",
        "properties": {"value": {"type": "string"}, "quote": {"type": "string"}},
        "required": ["value", "quote"],
        "additionalProperties": False,
    }
    fields: dict[str, Any] = dict.fromkeys(FIELDS, value_and_quote)
    prompt = load_prompt(__package__, PROMPT)
    return Task("annotate", PROMPT, prompt, fields, _checked, tokens_an_item=700)


def annotation_questions(
    candidates: Iterable[Candidate], max_title_chars: int, max_description_chars: int
) -> Iterator[Question]:
    """Yield a question a candidate; one whose text had a prompt injection is asked in a request of its own.

    A question's tag is (candidate, the candidate without prompt injections).
    """
    for candidate in candidates:
        cleared, is_flagged = honest_text(candidate)
        payload = {
            "title": clean(cleared.title, max_title_chars),
            "description": clean(cleared.description, max_description_chars),
            "uploader": clean(cleared.uploader, max_title_chars),
            "tags": clean(cleared.tags, max_title_chars),
        }
        yield Question((candidate, cleared), {name: text for name, text in payload.items() if text}, is_flagged)


def honest_text(candidate: Candidate) -> tuple[Candidate, bool]:
    """Give the candidate without prompt injections in its texts, and whether there were any."""
    texts = {name: str(getattr(candidate, name) or "") for name in ("title", "description", "uploader", "tags")}
    cleared = {name: without_instructions(text) for name, text in texts.items()}
    changed: dict[str, Any] = {name: left for name, (left, taken) in cleared.items() if taken}
    return (replace(candidate, **changed), True) if changed else (candidate, False)


def _checked(payload: Payload, fields: dict[str, Any], company: Sequence[Payload]) -> dict[str, Any]:
    """Empty every field whose quote is not in this text. Raises `ValueError` for a quote of another item's text."""
    checked: dict[str, Any] = {}
    for name in FIELDS:
        value = printable(clean(fields[name]["value"], MAX_EVIDENCE_CHARS), MAX_EVIDENCE_CHARS)
        quote = trim_quote(fields[name]["quote"], MAX_EVIDENCE_CHARS)
        if not is_quoted(quote, payload.values()):
            if quote and any(is_quoted(quote, other.values()) for other in company):
                raise ValueError("it quotes another item's text")
            value = quote = ""
        checked[name] = {"value": value, "quote": quote} if value else {"value": "", "quote": ""}
    return checked


def source_of(answer: Answer) -> str:
    """Who read, as it stands in `annotation_source`: the model's name."""
    return printable(answer.model, MAX_SOURCE_CHARS)


def read_answer(cleared: Candidate, answer: Answer, max_title_chars: int) -> Reading:
    """Read a checked answer: values in the spelling of the lists; what does not stand inside its quote is empty.

    `cleared` is the candidate without prompt injections.
    """
    fields = {name: (answer.fields[name]["value"], answer.fields[name]["quote"]) for name in FIELDS}
    title = clean(clean(cleared.title, max_title_chars).replace("_", " "), max_title_chars)
    reading = Reading()
    _put_people(reading, fields)
    numbers = _read_numbers(reading, *fields["catalogue"])
    _put_form_and_key(reading, fields)
    _put_part(reading, fields)
    reading.put("title", fields["title"][1], fields["title"][1], "title")
    _add_composition(reading, title, numbers)
    for name in ("genre", "period"):
        value, quote = fields[name]
        reading.put(name, _listed(name, quote) if _listed(name, value) == _listed(name, quote) else "", quote)
    read_manner(reading, "")
    return reading


_Fields = Mapping[str, tuple[str, str]]  # of each field the value and the quote


def _put_people(reading: Reading, fields: _Fields) -> None:
    value, quote = fields["composer"]
    named = find_composer(quote)
    match = find_composer(value, is_name=True)
    if match and (named is None or named.composer_id == match.composer_id) and _may_name(match.composer_id, quote):
        reading.put_composer(match.composer_id, quote, "composer surname")
    elif not match and is_quoted(value, [quote]) and _is_person(value):
        reading.put("composer", value, quote)
    value, quote = fields["performer"]
    player, quoted = find_pianist(value, is_name=True), find_pianist(quote)
    is_same = player is not None and quoted is not None and player.pianist_id == quoted.pianist_id
    if is_quoted(value, [quote]) and _is_person(value):
        put_performer(reading, value, quote)
    elif quoted and is_same:
        reading.put("performer", quoted.text, quote, "performer")
    if quoted and is_same:
        reading.put("performer_id", quoted.pianist_id, quote)


def _may_name(composer_id: str, quote: str) -> bool:
    """Whether a quote names the composer, or a work that is known to be theirs."""
    found = find_composer(quote)
    if found is not None:
        return found.composer_id == composer_id
    own = composers()[composer_id].catalogues
    return bool(known_work(composer_id, fold(quote))) or bool(own and catalogue_numbers(quote, own))


def _is_person(name: str) -> bool:
    """Whether a name can be a person's: not an instrument, a form, or a word of music."""
    folded = fold(name)
    words = set(folded.replace(".", " ").split())
    is_thing = bool(words & _NO_PEOPLE) or bool(word_list("instruments")[0].search(folded) or find_form(folded))
    return bool(words) and not is_thing and not name.strip().isdigit()


def _read_numbers(reading: Reading, value: str, quote: str) -> list[CatalogueNumber]:
    """Put the numbers in the quote. If it only names the work ("Moonlight"), the list of works must have that name."""
    composer = composers().get(reading.get("composer_id"))
    own = (*composer.catalogues, "op") if composer else ()
    numbers = catalogue_numbers(quote, own)
    if not numbers and composer and (known := known_work(composer.composer_id, fold(quote))):
        work, _, piece = known[0].partition(":")[0].partition("-")
        named = [n for n in catalogue_numbers(value, own) if n.catalogue + n.number == work]
        numbers = [replace(n, piece=piece, text=quote) for n in named[:1]]
    if numbers:
        reading.put("catalogue", numbers[0].catalogue, quote)
        reading.put("catalogue_number", numbers[0].number, quote, "catalogue number")
        reading.put("piece_number", numbers[0].piece, quote)
    return numbers


def _put_form_and_key(reading: Reading, fields: _Fields) -> None:
    for name, find in (("form", lambda text: find_form(fold(text))), ("key", _key_in)):
        quote = fields[name][1]
        if found := find(quote):
            reading.put(name, found[0], quote, name)


def _key_in(quote: str) -> tuple[str, str] | None:
    """The key in a quote, which may be the key alone: "E flat" stands for E flat major."""
    return find_key(quote) or find_key(f"in {quote}")


def _put_part(reading: Reading, fields: _Fields) -> None:
    """Put piece and movement, if the number is in the quote, in Arabic or Roman figures."""
    value, quote = fields["piece_number"]
    if arabic(fold(value)) and arabic(fold(value)) in _numbers_in(quote):
        reading.put("piece_number", str(arabic(fold(value))), quote)
    value, quote = fields["movement"]
    found = find_marker(quote, is_multi=True) or find_movement_words(fold(quote))
    if found and (arabic(fold(value)) or found[0] == fold(value)):
        reading.put("movement", found[0], quote)
        return
    is_half = fold(value) in ("prelude", "fugue", "aria") and find_form(fold(quote))
    is_variation = fold(value).startswith("var") and arabic(fold(value)[3:]) in _numbers_in(quote)
    if is_half or is_variation:
        reading.put("movement", fold(value), quote)


def _numbers_in(quote: str) -> set[int]:
    words = (
        fold(quote).replace(".", " ").replace("/", " ").replace(":", " ").replace("-", " ").replace(",", " ").split()
    )
    return {arabic(word.lstrip("#")) for word in words} - {0}


def _add_composition(reading: Reading, title: str, numbers: list[CatalogueNumber]) -> None:
    """Put the `composition_id`, from the other fields and from the whole title; it fills no other field."""
    whole = Reading(dict(reading.values), dict(reading.evidence))
    read_work(whole, title, without_people(whole, title), numbers)
    if reading.get("catalogue") or reading.get("title"):
        kind = "" if reading.get("catalogue") else "known title"
        reading.put("composition_id", whole.get("composition_id"), whole.evidence.get("composition_id", ""), kind)


def _listed(name: str, value: str) -> str:
    """The genre or period of the lists that the value names; else ""."""
    folded = fold(value)
    if name == "period" and folded in _PERIODS:
        return folded
    pattern, entries = word_list(f"{name}s")
    match = pattern.search(folded)
    return entries[match.lastgroup or ""] if match else ""


def held_by_rules(by_model: Annotation, by_rules: Annotation) -> Annotation:
    """For a text with a prompt injection: the model's annotation, or that of the rules if the two disagree.

    They disagree if the rules read a different composer, performer or work. The injection was removed before the model
    read the text, but a part of it may have been missed. The lower confidence counts.
    """
    names = ("composer_id", "performer", "catalogue", "catalogue_number", "piece_number", "movement", "composition_id")
    if all(getattr(by_rules, name) in ("", getattr(by_model, name)) for name in names):
        return by_model
    sureness = min(by_model.annotation_confidence, by_rules.annotation_confidence)
    return replace(by_rules, annotation_source=by_model.annotation_source, annotation_confidence=sureness)


def tags_of(candidate: Candidate) -> dict[str, str]:
    """The tags embedded in the candidate's file, by name; empty if there are none or they cannot be read."""
    try:
        tags = json.loads(candidate.tags or "{}")
    except (ValueError, RecursionError):
        return {}
    return {str(name): str(value) for name, value in tags.items()} if isinstance(tags, dict) else {}
