"""Find composer and performer in title, tags and description, also by catalogue numbers and titles of works."""

from __future__ import annotations

import re
from collections.abc import Mapping

from aria_data.annotate.performers import SPLIT, find_performer, is_name, is_somebody
from aria_data.annotate.readings import Reading, says_work
from aria_data.repertoire import (
    CatalogueNumber,
    Composer,
    ComposerMatch,
    catalogue_numbers,
    find_composer,
    find_composers,
    find_form,
    find_forms,
    find_key,
    find_pianist,
    known_work,
)
from aria_data.repertoire.composers import composers
from aria_data.repertoire.forms import count_of, word_list
from aria_data.repertoire.movements import find_marker, head_and_tail
from aria_data.repertoire.opuses import composer_of_opus
from aria_data.repertoire.work_names import composer_of_name, composer_of_work
from aria_data.text import fold

MAX_DESCRIPTION_NAMES_IN = 400  # characters; only the first lines of a description name this music
_COMPOSER_LABEL = re.compile(
    r"\b(?:composers?|composed by|komponist|compositeur|compositor|compositore|композитор|music by)[: ]{1,2}"
    r"(?P<name>.{3,60})",
    re.I,
)


def read_composer(reading: Reading, title: str, description: str, tags: Mapping[str, str]) -> None:
    """Put the composer whom a tag, the title or the description names, in this order of trust."""
    in_title = _not_a_part(find_composer(title), title)
    tag = tags.get("composer", "")
    in_tag = find_composer(tag, is_name=True)
    if tag and not in_tag and len(tag) > 2 and not in_title:
        reading.put("composer", tag, f"tag composer: {tag}", "composer tag")
    elif in_tag:
        reading.has_conflict = bool(in_title and in_title.composer_id != in_tag.composer_id)
        reading.put_composer(in_tag.composer_id, f"tag composer: {tag}", "composer tag")
    elif in_title:
        reading.put_composer(in_title.composer_id, in_title.text, f"composer {in_title.matched_by}")
    else:
        _read_composer_elsewhere(reading, title, description, tags)


def _not_a_part(match: ComposerMatch | None, title: str) -> ComposerMatch | None:
    """The match, or None if the name is the title of a piece in another's work: "Carnaval, Op. 9: 12. Chopin"."""
    head, colon, _ = title.partition(":")
    if not match or not colon or match.start < len(head):
        return match
    of_work = composer_of_work(head) or composer_of_name(head)
    return None if of_work and of_work[0] != match.composer_id else match


def _read_composer_elsewhere(reading: Reading, title: str, description: str, tags: Mapping[str, str]) -> None:
    for name in ("artist", "album_artist", "albumartist", "album"):
        match = find_composer(tags.get(name, ""), is_name=name != "album")
        if match and (name == "album" or _is_whole(match, tags[name])):
            return reading.put_composer(match.composer_id, f"tag {name}: {match.text}", "composer in description")
    label = _COMPOSER_LABEL.search(description)
    if label and (match := find_composer(label["name"], is_name=True)):
        return reading.put_composer(match.composer_id, label.group(), "composer in description")
    named = [m for m in find_composers(description[:MAX_DESCRIPTION_NAMES_IN]) if m.role == "composer"]
    if len({m.composer_id for m in named}) == 1 and says_work(title):
        reading.put_composer(named[0].composer_id, named[0].text, "composer in description")
    return None


def _is_whole(match: ComposerMatch, text: str) -> bool:
    return match.end - match.start >= 0.6 * len(text)


def read_catalogue(reading: Reading, title: str) -> list[CatalogueNumber]:
    """The catalogue numbers in the title, the composer's preferred catalogue first.

    They are also used to find the composer: one who is not known yet, or instead of one who is only named in the title.
    """
    composer = composers().get(reading.get("composer_id"))
    numbers = catalogue_numbers(title, (*composer.catalogues, "op") if composer else ())
    if composer is None and not reading.get("composer"):
        composer = _composer_by_work(reading, title, numbers)
        numbers = catalogue_numbers(title, (*composer.catalogues, "op")) if composer else numbers
    elif composer and not any(n.catalogue in composer.catalogues for n in numbers):
        # "12 Lieder von Schubert, S. 558" is a work of Liszt's
        others = [n for n in catalogue_numbers(title) if n.composer_id not in ("", composer.composer_id)]
        others = [n for n in others if not n.number.startswith("anh")]  # an appendix lists works by others
        if others and reading.evidence["composer"].startswith("tag"):
            reading.has_conflict = True
        elif others:
            reading.drop("composer", "composer_id")
            composer = _composer_by_work(reading, title, others)
            numbers = others
    order = _catalogue_order(composer)
    return sorted(numbers, key=lambda n: (order(n.catalogue), "-" in n.number, n.start))


def _composer_by_work(reading: Reading, title: str, numbers: list[CatalogueNumber]) -> Composer | None:
    """Put the composer of the catalogue, else of a work with number and name, else of a name, else of an opus."""
    if number := next((n for n in numbers if n.composer_id), None):
        reading.put_composer(number.composer_id, number.text, "composer by catalogue")
    elif known := composer_of_work(title):
        reading.put_composer(*known, "composer by catalogue")
    elif not _is_somebody_elses(title):
        if by_name := composer_of_name(title):
            reading.put_composer(*by_name, "composer by title")
        elif by_form := _composer_by_form(title, numbers):
            reading.put_composer(*by_form, "composer by catalogue")
    return composers().get(reading.get("composer_id"))


def _composer_by_form(title: str, numbers: list[CatalogueNumber]) -> tuple[str, str] | None:
    folded = fold(title)
    forms = [form for form, *_ in find_forms(folded)]
    key, marker = find_key(title), find_marker(head_and_tail(title)[1])
    if not forms or not numbers:
        return None
    return composer_of_opus(numbers, forms, key[0] if key else "", marker[0] if marker else "", count_of(folded))


def _is_somebody_elses(title: str) -> bool:
    """Whether an unknown name stands before the colon, where titles have the composer."""
    head, colon, _ = title.partition(":")
    words = head.split()
    if not colon or not 1 <= len(words) <= 4 or find_pianist(head, is_name=True) or composer_of_name(head):
        return False
    folded = fold(head)
    is_music = find_form(folded) or find_key(head) or word_list("not_names")[0].search(folded)
    return not is_music and not re.search(r"[0-9]", head) and all(word[0].isupper() for word in words)


def _catalogue_order(composer: Composer | None):
    """A sort key of catalogues: opus first, unless the composer's row has `op` after another catalogue."""
    own = composer.catalogues if composer else ()
    ranked = own if "op" in own else ("op", *own)
    return lambda catalogue: ranked.index(catalogue) if catalogue in ranked else len(ranked)


def read_performer(reading: Reading, title: str, tags: Mapping[str, str], description: str, uploader: str) -> None:
    """Put the performer: from a tag, from words such as "plays", or from the name of a pianist of the list."""
    composer = composers().get(reading.get("composer_id"))
    for name in ("performer", "artist", "album_artist", "albumartist"):
        artist = tags.get(name, "")
        is_composer = name != "performer" and _is_the_composer(artist, composer)
        if is_somebody(artist) and not is_composer:
            return put_performer(reading, artist, f"tag {name}: {artist}")
    if found := find_performer(title) or find_performer(description):
        return put_performer(reading, *found)
    for text in (title, description[:MAX_DESCRIPTION_NAMES_IN], uploader):
        match = find_pianist(text)
        if match and says_work(title) and not _is_the_composer(match.text, composer):
            return put_performer(reading, match.text, match.text)
    return None


def put_performer(reading: Reading, name: str, words: str) -> None:
    """Put the performer's name as written, and the id if the list of pianists has the name."""
    reading.put("performer", name, words, "performer")
    if match := find_pianist(name, is_name=True):
        reading.put("performer_id", match.pianist_id, words)


def _is_the_composer(text: str, composer: Composer | None) -> bool:
    """Whether the text is little more than the composer's name."""
    match = find_composer(text, is_name=True) if composer else None
    return bool(match and composer and match.composer_id == composer.composer_id and _is_whole(match, text))


def without_people(reading: Reading, title: str) -> str:
    """The title without composer and performer. Puts a performer if a segment of the title is only a name."""
    composer = composers().get(reading.get("composer_id"))
    segments = [segment.strip(" ,") for segment in SPLIT.split(title) if segment.strip(" ,")]
    kept = []
    for segment in segments:
        if _is_the_composer(segment, composer):
            continue
        if not reading.get("performer") and is_name(segment) and _others_name_music(segments, segment):
            put_performer(reading, segment, segment)
        if fold(segment) != fold(reading.get("performer")):
            kept.append(segment)
    body, shorter = "", " - ".join(kept) if kept else title
    while body != shorter:
        body, shorter = shorter, _after_composer(shorter, composer)
    return body


def _others_name_music(segments: list[str], segment: str) -> bool:
    """Whether another segment names music, and not only a composer; in "River Flows - Yiruma" none does."""
    others = [other for other in segments if other != segment and says_work(other)]
    return any(not (match := find_composer(other, is_name=True)) or not _is_whole(match, other) for other in others)


def _after_composer(body: str, composer: Composer | None) -> str:
    """The title without "Chopin: " or "Bach, J.S.: " at its start."""
    head, colon, rest = body.partition(":")
    match = find_composer(head, is_name=True) if colon and composer else None
    if not match or not composer or match.composer_id != composer.composer_id:
        return body.strip()
    named = head[: match.start] + head[match.end :]
    is_work = find_form(fold(head)) or re.search(r"[0-9]", head) or known_work(composer.composer_id, fold(named))
    return body.strip() if is_work else rest.strip()
