"""Stage 6: text -> composer, performer, title, catalogue, number, form, genre, period, key; by rules.

A field is filled only from words of the title, a tag or the description, and `evidence` quotes them. Genre and
period may come from the composer, and then the evidence says so. How titles are written is in `forms`, `catalogues`
and `works`; who people are is in `composers` and `performers`. Here is what follows from all of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from aria_data.catalogues import CatalogueNumber, catalogue_numbers
from aria_data.composers import Composer, ComposerMatch, composers, find_composer, find_composers
from aria_data.forms import find_form, find_forms, find_key, word_list
from aria_data.performers import SPLIT, find_performer, is_name, is_somebody
from aria_data.records import Annotation
from aria_data.text import clean, fold
from aria_data.works import (
    composer_of_work,
    dance,
    find_marker,
    find_marker_inside,
    find_movement_words,
    find_tail_number,
    find_variation,
    head_and_tail,
    is_multi_movement,
    is_title_first,
    known_work,
    number_in_pair,
    numbered_work,
    part_in_words,
    prelude_or_fugue,
    theme_of,
    title_in_words,
)

SOURCE = "rules"
MAX_EVIDENCE_CHARS = 120  # per field
MAX_DESCRIPTION_NAMES_IN = 400  # a description's first lines name the music, the rest names everything

# How much each kind of evidence alone is believed. The figures are ours; the confidence of an annotation is
# 1 - product(1 - belief) over the kinds present, halved where two of them contradict each other.
BELIEF = {
    "composer tag": 0.9,
    "composer full name": 0.85,
    "composer surname, initials": 0.8,
    "composer alias": 0.75,
    "composer surname": 0.7,
    "composer by catalogue": 0.7,
    "composer in description": 0.5,
    "catalogue number": 0.6,
    "known title": 0.5,
    "title": 0.2,
    "form": 0.1,
    "key": 0.1,
    "performer": 0.1,
}

_DANCES_IN = frozenset({"suite", "partita"})  # labels disagree on the numbers of these, not on the names
_NO_PIECES = frozenset({"bwv", "hwv"})  # a number of these is never a set
_OWN_NUMBERS = frozenset({"bwv", "k", "d", "hwv"})  # one number a piece, so "No. 1" before it adds nothing
_COMPOSER_LABEL = re.compile(
    r"\b(?:composers?|composed by|komponist|compositeur|compositor|compositore|композитор|music by)[: ]{1,2}"
    r"(?P<name>.{3,60})",
    re.I,
)


@dataclass(frozen=True)
class AnnotateConfig:
    """How much of hostile text is read at all."""

    max_title_chars: int = 500
    max_description_chars: int = 3000
    max_tag_chars: int = 300


@dataclass
class _Reading:
    """What has been read so far: values, the words they came from, and the kinds of evidence met."""

    values: dict[str, str] = field(default_factory=dict)
    evidence: dict[str, str] = field(default_factory=dict)
    kinds: set[str] = field(default_factory=set)
    has_conflict: bool = False

    def put(self, name: str, value: str, words: str, kind: str = "") -> None:
        if value and name not in self.values:
            self.values[name] = value
            self.evidence[name] = words[:MAX_EVIDENCE_CHARS]
            self.kinds |= {kind} - {""}


def annotate(
    title: str,
    description: str = "",
    uploader: str = "",
    tags: Mapping[str, str] | None = None,
    config: AnnotateConfig | None = None,
) -> Annotation:
    """Read everything the text says about what is played. Never raises, whatever the text is.

    `tags` are those embedded in the file (title, artist, composer, ...). The uploader's name proves nothing by
    itself, so these rules do not use it.
    """
    config = config or AnnotateConfig()
    title = clean(clean(title, config.max_title_chars).replace("_", " "), config.max_title_chars)
    description = clean(description, config.max_description_chars)
    read_tags = {str(k).lower(): clean(v, config.max_tag_chars) for k, v in _items(tags)}
    if len(read_tags.get("title", "")) > 2:
        title = read_tags["title"] if not _says_work(title) or _says_work(read_tags["title"]) else title
    reading = _Reading()
    _read_composer(reading, title, description, read_tags)
    numbers = _read_catalogue(reading, title)
    composer = composers().get(reading.values.get("composer_id", ""))
    _read_performer(reading, title, read_tags, description, composer)
    body = _without_people(reading, title, composer)
    _read_work(reading, title, body, composer, numbers)
    _read_manner(reading, " ".join([title, read_tags.get("genre", "")]), composer)
    return Annotation(
        **reading.values,
        annotation_source=SOURCE,
        annotation_confidence=confidence(reading.kinds, reading.has_conflict),
        evidence=json.dumps(reading.evidence, ensure_ascii=False, sort_keys=True) if reading.evidence else "",
    )


def _items(tags: object) -> list[tuple[object, object]]:
    return list(tags.items()) if isinstance(tags, Mapping) else []


def confidence(kinds: set[str], has_conflict: bool = False) -> float:
    """0 to 1 from the kinds of evidence met; see `BELIEF`."""
    doubt = 1.0
    for kind in kinds:
        doubt *= 1.0 - BELIEF[kind]
    return round((1.0 - doubt) * (0.5 if has_conflict else 1.0), 3)


def _says_work(text: str) -> bool:
    return bool(find_form(fold(text)) or catalogue_numbers(text) or find_composer(text))


def _read_composer(reading: _Reading, title: str, description: str, tags: Mapping[str, str]) -> None:
    in_title = find_composer(title)
    tag = tags.get("composer", "")
    in_tag = find_composer(tag, is_name=True)
    if tag and not in_tag and len(tag) > 2 and not in_title:
        reading.put("composer", tag, f"tag composer: {tag}", "composer tag")
    elif in_tag:
        reading.has_conflict = bool(in_title and in_title.composer_id != in_tag.composer_id)
        _put_composer(reading, in_tag.composer_id, f"tag composer: {tag}", "composer tag")
    elif in_title:
        _put_composer(reading, in_title.composer_id, in_title.text, f"composer {in_title.matched_by}")
    else:
        _read_composer_elsewhere(reading, title, description, tags)


def _read_composer_elsewhere(reading: _Reading, title: str, description: str, tags: Mapping[str, str]) -> None:
    for name in ("artist", "album_artist", "albumartist", "album"):
        match = find_composer(tags.get(name, ""), is_name=name != "album")
        if match and (name == "album" or _is_whole(match, tags[name])):
            return _put_composer(reading, match.composer_id, f"tag {name}: {match.text}", "composer in description")
    label = _COMPOSER_LABEL.search(description)
    if label and (match := find_composer(label["name"], is_name=True)):
        return _put_composer(reading, match.composer_id, label.group(), "composer in description")
    named = [m for m in find_composers(description[:MAX_DESCRIPTION_NAMES_IN]) if m.role == "composer"]
    if len({m.composer_id for m in named}) == 1 and _says_work(title):
        _put_composer(reading, named[0].composer_id, f"description: {named[0].text}", "composer in description")
    return None


def _is_whole(match: ComposerMatch, text: str) -> bool:
    return match.end - match.start >= 0.6 * len(text)


def _put_composer(reading: _Reading, composer_id: str, words: str, kind: str) -> None:
    reading.put("composer", composers()[composer_id].name, words, kind)
    reading.put("composer_id", composer_id, words)


def _read_catalogue(reading: _Reading, title: str) -> list[CatalogueNumber]:
    """The catalogue numbers in the title, the composer's own list first. They may tell the composer."""
    composer = composers().get(reading.values.get("composer_id", ""))
    numbers = catalogue_numbers(title, (*composer.catalogues, "op") if composer else ())
    if composer is None and "composer" not in reading.values:
        composer = _composer_by_number(reading, title, numbers)
        numbers = catalogue_numbers(title, (*composer.catalogues, "op")) if composer else numbers
    elif composer and not any(n.catalogue in composer.catalogues for n in numbers):
        # "12 Lieder von Schubert, S. 558" are Liszt's
        others = [n for n in catalogue_numbers(title) if n.composer_id not in ("", composer.composer_id)]
        if others and reading.evidence["composer"].startswith("tag"):
            reading.has_conflict = True
        elif others:
            del reading.values["composer"], reading.values["composer_id"]
            composer = _composer_by_number(reading, title, others)
            numbers = others
    order = _catalogue_order(composer)
    return sorted(numbers, key=lambda n: (order(n.catalogue), "-" in n.number, n.start))


def _composer_by_number(reading: _Reading, title: str, numbers: list[CatalogueNumber]) -> Composer | None:
    """Whose catalogue it is; or whose work has both this number and this name: "Sonata No. 23, Op. 57"."""
    if told := next((n for n in numbers if n.composer_id), None):
        _put_composer(reading, told.composer_id, told.text, "composer by catalogue")
    elif known := composer_of_work(title):
        _put_composer(reading, *known, "composer by catalogue")
    return composers().get(reading.values.get("composer_id", ""))


def _catalogue_order(composer: Composer | None):
    """Opus first, unless the composer's row puts `op` behind another catalogue."""
    own = composer.catalogues if composer else ()
    ranked = own if "op" in own else ("op", *own)
    return lambda catalogue: ranked.index(catalogue) if catalogue in ranked else len(ranked)


def _read_performer(
    reading: _Reading, title: str, tags: Mapping[str, str], description: str, composer: Composer | None
) -> None:
    for name in ("performer", "artist", "album_artist", "albumartist"):
        artist = tags.get(name, "")
        is_composer = name != "performer" and _is_the_composer(artist, composer)
        if is_somebody(artist) and not is_composer:
            return reading.put("performer", artist, f"tag {name}: {artist}", "performer")
    if found := find_performer(title) or find_performer(description):
        reading.put("performer", *found, "performer")
    return None


def _is_the_composer(text: str, composer: Composer | None) -> bool:
    """Whether the text is hardly more than the composer's name."""
    match = find_composer(text, is_name=True) if composer else None
    return bool(match and composer and match.composer_id == composer.composer_id and _is_whole(match, text))


def _without_people(reading: _Reading, title: str, composer: Composer | None) -> str:
    """The title without composer and performer; a segment that is nothing but a name is the performer's."""
    segments = [segment.strip(" ,") for segment in SPLIT.split(title) if segment.strip(" ,")]
    kept = []
    for segment in segments:
        if _is_the_composer(segment, composer):
            continue
        if "performer" not in reading.values and is_name(segment) and _others_say_more(segments, segment):
            reading.put("performer", segment, segment, "performer")
        if fold(segment) != fold(reading.values.get("performer", "")):
            kept.append(segment)
    body, shorter = "", " - ".join(kept) if kept else title
    while body != shorter:
        body, shorter = shorter, _after_composer(shorter, composer)
    return body


def _others_say_more(segments: list[str], segment: str) -> bool:
    """Whether another segment names music, so that this one need not: in "River Flows - Yiruma" none does."""
    others = [other for other in segments if other != segment and _says_work(other)]
    return any(not (match := find_composer(other, is_name=True)) or not _is_whole(match, other) for other in others)


def _after_composer(body: str, composer: Composer | None) -> str:
    """Cut "Chopin: " or "Bach, J.S.: " from the front."""
    head, colon, rest = body.partition(":")
    match = find_composer(head, is_name=True) if colon and composer else None
    is_own = bool(match and composer and match.composer_id == composer.composer_id)
    return rest.strip() if is_own and not find_form(fold(head)) and not re.search(r"[0-9]", head) else body.strip()


def _read_work(
    reading: _Reading, title: str, body: str, composer: Composer | None, numbers: list[CatalogueNumber]
) -> None:
    composer_id = composer.composer_id if composer else ""
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
        _put_known(reading, *known)
    _read_part(reading, head, tail, body)
    if known and not numbers and not is_multi_movement(head):
        reading.put("movement", known[0].partition(":")[2], known[1])
    shown = body.strip(" ,-:") or title
    reading.put("title", shown, shown)
    code = _composition_code(reading, head, tail, known, composer_id, bool(numbers) and numbers[0].number != "posth")
    if composer_id and code:
        reading.put("composition_id", f"{composer_id}:{code}", reading.evidence.get("catalogue", "") or shown, "title")


def _form_and_words(text: str) -> tuple[str, str] | None:
    found = find_forms(fold(text))
    return (found[0][0], text[found[0][2] : found[0][3]]) if found else None


def _put_numbers(reading: _Reading, numbers: list[CatalogueNumber]) -> None:
    reading.put("catalogue", numbers[0].catalogue, numbers[0].text, "catalogue number")
    reading.put("catalogue_number", numbers[0].number, numbers[0].text)
    if piece := next((n for n in numbers if n.piece), None):
        reading.put("piece_number", piece.piece, piece.text)


def _with_known_piece(
    numbers: list[CatalogueNumber], known: tuple[str, str] | None, composer_id: str, form: str
) -> list[CatalogueNumber]:
    """Mend the piece by what is known of the work: "Sonata No. 3, Op. 2" is its No. 3, "Op. 109 No. 30" has none."""
    first = numbers[0]
    work, _, piece = known[0].partition(":")[0].partition("-") if known else ("", "", "")
    if piece and work == first.catalogue + first.number and not any(n.piece for n in numbers):
        return [replace(first, piece=piece), *numbers[1:]]
    if first.piece and numbered_work(composer_id, form, int(first.piece)) == first.catalogue + first.number:
        return [replace(first, piece=""), *numbers[1:]]
    return numbers


def _put_known(reading: _Reading, code: str, name: str) -> None:
    number, _, piece = code.partition(":")[0].partition("-")
    if match := re.fullmatch(r"([a-z]+)([0-9].*)", number):
        reading.put("catalogue", match[1], name, "known title")
        reading.put("catalogue_number", match[2], name)
    if piece.isdigit():
        reading.put("piece_number", piece, name)


def _read_part(reading: _Reading, head: str, tail: str, body: str) -> None:
    """Movement of a work, or piece of a set, from what stands behind the work."""
    is_multi, has_piece = is_multi_movement(head), "piece_number" in reading.values
    catalogue, number = reading.values.get("catalogue", ""), reading.values.get("catalogue_number", "")
    if variation := find_variation(fold(tail)):
        return reading.put("movement", f"var{variation}", tail)
    if theme := theme_of(head, tail):
        return reading.put("movement", "aria", theme)
    is_clavier = catalogue == "bwv" and number.isdigit() and 846 <= int(number) <= 893
    if half := prelude_or_fugue(body, is_clavier):
        if not has_piece and catalogue != "bwv" and (found := number_in_pair(tail or body)):
            reading.put("piece_number", *found)
        return reading.put("movement", half, tail or body)
    if said := find_movement_words(fold(body)):
        return reading.put("movement", *said)
    _put_numbered_part(reading, tail, body, is_multi, has_piece)
    return None


def _put_numbered_part(reading: _Reading, tail: str, body: str, is_multi: bool, has_piece: bool) -> None:
    numbered = find_tail_number(tail) if tail else None
    last = tail.rsplit(":", 1)[-1].strip()
    marked = (find_marker(tail) or find_marker(last) if tail else None) or find_marker_inside(body)
    if numbered and _stands_before_number(reading, numbered[1], body):
        return
    if (is_multi or reading.values.get("catalogue") in _NO_PIECES) and (found := marked or numbered):
        reading.put("movement", *found)
    elif numbered:
        reading.put("piece_number", *numbered)
    elif marked and not numbered and not has_piece:
        reading.put("piece_number", *marked)


def _stands_before_number(reading: _Reading, words: str, body: str) -> bool:
    """ "4 Duettos: No. 1 in E minor, BWV 802": the catalogue number is the piece's own."""
    number = reading.evidence.get("catalogue_number", "")
    return reading.values.get("catalogue") in _OWN_NUMBERS and body.find(number) > body.find(words)


def _composition_code(
    reading: _Reading, head: str, tail: str, known: tuple[str, str] | None, composer_id: str, has_number: bool
) -> str:
    """`op27-2:3`, `bwv847:fugue`, `maple-leaf-rag`; empty where neither number nor title is distinct."""
    values = reading.values
    piece, movement, is_known_piece = values.get("piece_number", ""), values.get("movement", ""), False
    if known and (not has_number or is_title_first(composer_id)):
        work = known[0].partition(":")[0]
        is_known_piece = "-" in work or known[1].split()[0] in fold(tail)
        if "-" in work:
            piece, movement = "", "" if work.endswith(f"-{movement}") else movement
    elif has_number:
        number = values["catalogue_number"]
        work = values["catalogue"] + (number.rstrip("abc") if values["catalogue"] == "bwv" else number)
    else:
        work = title_in_words(head, values.get("key", ""), [match.text for match in find_composers(head)])
    if tail and not movement and not is_known_piece and (is_multi_movement(head) or not piece):
        movement = part_in_words(tail)
    if values.get("form") in _DANCES_IN and is_multi_movement(head):
        movement = dance(fold(tail)) or movement
    work += f"-{piece}" if work and piece else ""
    return f"{work}:{movement}" if work and movement else work


def _read_manner(reading: _Reading, text: str, composer: Composer | None) -> None:
    """Genre and period: what the text says, else what the composer is known for."""
    folded = fold(text)
    for name in ("genre", "period"):
        pattern, entries = word_list(f"{name}s")
        if match := pattern.search(folded):
            reading.put(name, entries[match.lastgroup or ""], text[match.start() : match.end()])
    if composer:
        years = f"composer {composer.name} ({composer.birth or '?'}-{composer.death or ''})"
        reading.put("genre", composer.genre, years)
        reading.put("period", composer.period, years)
