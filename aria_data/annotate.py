"""Stage 6: text -> composer, performer, title, catalogue, number, form, genre, period, key; by rules.

A field is filled only from words of the text, a tag or the description, and `evidence` quotes them. Genre and
period may come from the composer, and then the evidence says so. How works are written is in `works`, who
composers are in `composers`; here is what follows from both.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from aria_data.composers import Composer, ComposerMatch, composers, find_composer, find_composers
from aria_data.records import Annotation
from aria_data.text import clean, fold
from aria_data.works import (
    CatalogueNumber,
    arabic,
    catalogue_numbers,
    composer_of_work,
    find_form,
    find_forms,
    find_key,
    find_marker,
    find_marker_inside,
    find_movement_words,
    find_tail_number,
    find_variation,
    form_numbers,
    is_title_first,
    known_work,
    numbered_work,
    word_list,
)

SOURCE = "rules"
MAX_EVIDENCE_CHARS = 120  # per field

# How much each kind of evidence alone is believed. The figures are ours; the confidence of an annotation is
# 1 - product(1 - belief) over the kinds present, halved where two kinds contradict each other.
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

_MULTI_MOVEMENT = frozenset({"sonata", "sonatina", "suite", "partita", "concerto", "symphony", "serenade", "overture"})
_DANCES_IN = frozenset({"suite", "partita"})  # their labels disagree on numbers, not on names
_NUMBERED_WORKS = _MULTI_MOVEMENT | {"rhapsody", "ballade", "scherzo", "barcarolle", "impromptu", "invention"}
_PAIRS = re.compile(
    r"\b(?:preludes?|praeludi\w*|praludi\w*|fantasias?|fantasies?|toccatas?|chromatic fantasia)(?:, (?:chorale?|aria))?(?:,? (?:and|und|et|e|y)|\s?&|,) "
    r"(?:\d+ )?(?:fugues?|fugen?|fugas?)\b(?: no\.? ?[0-9]+)?"
)
_PAIR_NUMBER = re.compile(r"\bno\.? ?([0-9]{1,2})\b")
_THEME = re.compile(r"\b(?:aria|thema|theme|tema)\b")
_HOBOKEN_COLON = re.compile(r"\b[Hh](?:ob)?[.\s]{0,2}[IVXivx]{1,6}:")
_NOISE = re.compile(
    r"[(\[][^()\[\]]{0,80}[)\]]|\b(?:live|remaster\w*|(?:19|20)[0-9]{2}|recording|version|edit|mono|stereo|hd|hq|piano|solo|"
    r"official|video|audio|klavier|pianoforte|digital|complete|full|score|sheet music)\b|[\"“”„*]"
)
_SPLIT = re.compile(r"\s+[-–—|~]\s+|\s*[|｜]\s*|\s+//?\s+")
_NAME = r"[^\W\d_][\w.'’\-]{0,30}(?: (?:[^\W\d_][\w.'’\-]{0,30})){0,4}"
_PERFORMERS = (
    re.compile(
        rf"(?P<name>{_NAME})(?:,? piano)? (?:plays|performs|spielt|joue|interpreta|toca|suona|speelt|играет|исполняет) "
    ),
    re.compile(
        rf"(?:[Pp]erformed|[Pp]layed|[Ii]nterpreted|[Gg]espielt|[Ii]nterprété|[Ii]nterpretado|[Ee]seguito) "
        rf"(?:by|von|par|por|da):? (?P<name>{_NAME})"
    ),
    re.compile(
        rf"(?:^|[\s(|,;/])(?:[Pp]ianist(?:e|a|in)?|[Pp]iano|[Pp]erformer|[Kk]lavier|[Pp]ianoforte|исполнитель): ?(?P<name>{_NAME})"
    ),
    re.compile(rf"(?P<name>{_NAME}) ?[,(] ?(?:[Pp]iano|[Kk]lavier|[Pp]ianoforte|[Pp]ianist)\)?(?: *$|[).,;|])"),
)
_COMPOSER_LABEL = re.compile(
    r"\b(?:composers?|composed by|komponist|compositeur|compositor|compositore|композитор|music by)[: ]{1,2}(?P<name>.{3,60})",
    re.I,
)
_MAX_DESCRIPTION_NAMES_IN = 400


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
    """Read everything the text says about what is played. Never raises, whatever the text is."""
    config = config or AnnotateConfig()
    title = clean(title, config.max_title_chars)
    description = clean(description, config.max_description_chars)
    read_tags = {str(k).lower(): clean(v, config.max_tag_chars) for k, v in (tags or {}).items()}
    if len(read_tags.get("title", "")) > 2:
        title = read_tags["title"] if not _says_work(title) or _says_work(read_tags["title"]) else title
    reading = _Reading()
    _read_composer(reading, title, description, read_tags)
    numbers = _read_catalogue(reading, title)
    composer = composers().get(reading.values.get("composer_id", ""))
    body = _without_people(reading, title, composer, read_tags, description)
    _read_work(reading, title, body, composer, numbers)
    _read_manner(reading, " ".join([title, read_tags.get("genre", "")]), composer)
    return Annotation(
        **reading.values,
        annotation_source=SOURCE,
        annotation_confidence=confidence(reading.kinds, reading.has_conflict),
        evidence=json.dumps(reading.evidence, ensure_ascii=False, sort_keys=True) if reading.evidence else "",
    )


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
    if label := _COMPOSER_LABEL.search(description):
        if match := find_composer(label["name"], is_name=True):
            return _put_composer(reading, match.composer_id, label.group(), "composer in description")
    named = [m for m in find_composers(description[:_MAX_DESCRIPTION_NAMES_IN]) if m.role == "composer"]
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


def _without_people(
    reading: _Reading, title: str, composer: Composer | None, tags: Mapping[str, str], description: str
) -> str:
    """The title without composer and performer; the performer is noted on the way."""
    _read_performer(reading, title, tags, description, composer)
    segments = [segment.strip(" ,") for segment in _SPLIT.split(title) if segment.strip(" ,")]
    kept = []
    for segment in segments:
        match = find_composer(segment, is_name=True)
        if match and composer and match.composer_id == composer.composer_id and _is_whole(match, clean(segment, 1000)):
            continue
        if (
            not reading.values.get("performer")
            and len(segments) > 1
            and _is_name(segment)
            and _others_say(segments, segment)
        ):
            reading.put("performer", segment, segment, "performer")
        if fold(segment) != fold(reading.values.get("performer", "")):
            kept.append(segment)
    body, shorter = "", " - ".join(kept) if kept else title
    while body != shorter:
        body, shorter = shorter, _after_composer(shorter, composer)
    return body


def _others_say(segments: list[str], segment: str) -> bool:
    return any(_says_work(other) and not _is_only_composer(other) for other in segments if other != segment)


def _is_only_composer(text: str) -> bool:
    match = find_composer(text, is_name=True)
    return bool(match and _is_whole(match, text))


def _is_name(segment: str) -> bool:
    """Two to four words that could be a person's name: capitals, no figures, no word of music."""
    words = segment.split()
    particles = {"de", "van", "von", "da", "di", "del", "la", "le", "den", "der", "ten"}
    if not 2 <= len(words) <= 4 or re.search(r"[0-9:()\"#&+!?]", segment):
        return False
    if not all(word[0].isupper() or word in particles for word in words):
        return False
    folded = fold(segment)
    return not word_list("not_names")[0].search(folded) and not find_form(folded) and not find_key(segment)


def _read_performer(
    reading: _Reading, title: str, tags: Mapping[str, str], description: str, composer: Composer | None
) -> None:
    for name in ("performer", "artist", "album_artist", "albumartist"):
        artist = tags.get(name, "")
        match = find_composer(artist, is_name=True)
        is_composer = bool(match and composer and match.composer_id == composer.composer_id and name != "performer")
        if (
            artist
            and not is_composer
            and fold(artist) not in ("unknown", "unknown artist", "various artists", "various")
        ):
            return reading.put("performer", artist, f"tag {name}: {artist}", "performer")
    for text in (title, description):
        for pattern in _PERFORMERS:
            for match in pattern.finditer(text):
                name = _trimmed_name(match["name"])
                if name:
                    return reading.put("performer", name, match.group().strip(), "performer")
    return None


def _trimmed_name(words: str) -> str:
    """The longest end of the words that is a name: "Encore Martha Argerich" -> "Martha Argerich"."""
    parts = words.strip(" .,").split()
    candidates = [
        " ".join(parts[start:end])
        for end in range(len(parts), 0, -1)
        for start in range(len(parts))
        if end - start >= 1
    ]
    names = [name for name in candidates if _is_name(name)]
    if names:
        return max(names, key=len)
    match = find_composer(words, is_name=True)
    return match.text if match else ""


def _after_composer(body: str, composer: Composer | None) -> str:
    """Cut "Chopin: " or "Bach, J.S.: " from the front."""
    head, colon, rest = body.partition(":")
    match = find_composer(head, is_name=True) if colon and composer else None
    if match and composer and match.composer_id == composer.composer_id and not find_form(fold(head[: match.start])):
        if not find_form(fold(head)) and not re.search(r"[0-9]", head):
            return rest.strip()
    return body.strip()


def _read_work(
    reading: _Reading, title: str, body: str, composer: Composer | None, numbers: list[CatalogueNumber]
) -> None:
    composer_id = composer.composer_id if composer else ""
    head, tail = _head_and_tail(body)
    if form := find_form(fold(head)) or find_form(fold(tail)):
        reading.put("form", *form, "form")
    if key := find_key(title):
        reading.put("key", *key, "key")
    known = known_work(composer_id, fold(body))
    if numbers:
        _put_numbers(reading, _with_known_piece(numbers, known, composer_id, form[0] if form else ""))
    elif known:
        _put_known(reading, *known)
    _read_part(reading, head, tail, body)
    shown = body.strip(" ,-:") or title
    reading.put("title", shown, shown)
    code = _composition_code(reading, head, tail, known, composer_id, bool(numbers))
    if composer_id and code:
        reading.put("composition_id", f"{composer_id}:{code}", reading.evidence.get("catalogue", "") or shown, "title")


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
    if work == first.catalogue + first.number:
        if piece and not any(n.piece for n in numbers):
            return [replace(first, piece=piece), *numbers[1:]]
    if first.piece and numbered_work(composer_id, form, int(first.piece)) == first.catalogue + first.number:
        return [replace(first, piece=""), *numbers[1:]]
    return numbers


def _put_known(reading: _Reading, code: str, name: str) -> None:
    work, _, movement = code.partition(":")
    number, _, piece = work.partition("-")
    if match := re.fullmatch(r"([a-z]+)([0-9].*)", number):
        reading.put("catalogue", match[1], name, "known title")
        reading.put("catalogue_number", match[2], name)
    if piece.isdigit():
        reading.put("piece_number", piece, name)
    if movement:
        reading.put("movement", movement, name)


def _head_and_tail(body: str) -> tuple[str, str]:
    """A work and what of it is played, split at the first colon that is not inside "Hob. XVI:52"."""
    masked = _HOBOKEN_COLON.sub(lambda match: match.group().replace(":", "/"), body)
    place = masked.find(":")
    head, tail = (body[:place].strip(), body[place + 1 :].strip()) if place >= 0 else (body, "")
    return (head, "") if head == tail else (head, tail)


def _read_part(reading: _Reading, head: str, tail: str, body: str) -> None:
    """Movement of a work, or piece of a set, from what stands behind the work."""
    is_multi, has_piece = _is_multi_movement(head), "piece_number" in reading.values
    if variation := find_variation(fold(tail)):
        return reading.put("movement", f"var{variation}", tail)
    if _is_set_of_variations(head) and (theme := _THEME.search(fold(tail))):
        return reading.put("movement", "aria", theme.group())
    if half := _prelude_or_fugue(reading, body):
        if (
            not has_piece
            and reading.values.get("catalogue") != "bwv"
            and (number := _PAIR_NUMBER.search(fold(tail or body)))
        ):
            reading.put("piece_number", number[1], number.group())
        return reading.put("movement", half, tail or body)
    if said := find_movement_words(fold(body)):
        return reading.put("movement", *said)
    numbered = find_tail_number(tail) if tail else None
    last = tail.rsplit(":", 1)[-1].strip()
    marked = (find_marker(tail) or find_marker(last) if tail else None) or find_marker_inside(body)
    if numbered and not is_multi and _stands_before_number(reading, numbered[1], body):
        return None  # "4 Duettos: No. 1 in E minor, BWV 802": the number is the piece's own
    if numbered and not is_multi:
        reading.put("piece_number", *numbered)
    elif is_multi and (marked or numbered):
        reading.put("movement", *(marked or numbered))
    elif marked and not has_piece:
        reading.put("piece_number", *marked)
    return None


def _stands_before_number(reading: _Reading, words: str, body: str) -> bool:
    number = reading.evidence.get("catalogue_number", "")
    return reading.values.get("catalogue") in ("bwv", "k", "d", "hwv") and body.find(number) > body.find(words)


def _is_set_of_variations(head: str) -> bool:
    form = find_form(fold(head))
    return form is not None and form[0] == "variations"


def _is_multi_movement(head: str) -> bool:
    forms = find_forms(fold(head))
    return any(
        form in _MULTI_MOVEMENT and not (form == "sonata" and word in ("sonatas", "sonaten", "sonates"))
        for form, word, _, _ in forms
    )


def _prelude_or_fugue(reading: _Reading, body: str) -> str:
    """Which half of a prelude and fugue is played; "" for both or for other music."""
    folded = fold(body)
    alone = _PAIRS.sub(" ", folded)
    number = reading.values.get("catalogue_number", "")
    is_clavier = reading.values.get("catalogue") == "bwv" and number.isdigit() and 846 <= int(number) <= 893
    if alone == folded and not is_clavier:
        return ""
    halves = {form for form, *_ in find_forms(alone)} & {"prelude", "fugue", "fantasia", "toccata"}
    return halves.pop() if len(halves) == 1 else ""


def _composition_code(
    reading: _Reading, head: str, tail: str, known: tuple[str, str] | None, composer_id: str, has_number: bool
) -> str:
    """`op27-2:3`, `bwv847:fugue`, `maple-leaf-rag`; empty where neither number nor title is distinct."""
    values = reading.values
    piece, movement = values.get("piece_number", ""), values.get("movement", "")
    if known and (not has_number or is_title_first(composer_id)):
        work, _, known_movement = known[0].partition(":")
        movement = known_movement or movement
        piece = "" if "-" in work else piece
    elif has_number and values["catalogue_number"] != "posth":
        number = values["catalogue_number"]
        work = values["catalogue"] + (number.rstrip("abc") if values["catalogue"] == "bwv" else number)
    else:
        work = _distinct_title(head, values)
    if tail and not movement and (_is_multi_movement(head) or not (piece or "-" in work)):
        movement = _part_in_words(tail)
    if _is_multi_movement(head) and values.get("form") in _DANCES_IN:
        movement = _dance(fold(tail)) or movement
    work += f"-{piece}" if work and piece else ""
    return f"{work}:{movement}" if work and movement else work


def _dance(folded_tail: str) -> str:
    """ "minuet", or "minuet2" where one of a pair is meant."""
    for form, _, _, end in find_forms(folded_tail):
        one = re.match(r" (i{1,2}|[12])\b", folded_tail[end:])
        is_pair = one and re.search(r"\b(?:ii|2)\b", folded_tail[end + one.end() :])
        return form if not one or is_pair else f"{form}{arabic(one[1])}"
    return ""


def _part_in_words(tail: str) -> str:
    """The first two words of a part without a number, tempo words last: "Spanish Dance", "Andante"."""
    words = [word for word in re.findall(r"[^\W\d_]+", _NOISE.sub(" ", fold(tail))) if len(word) > 2]
    names = [word for word in words if not word_list("not_names")[0].fullmatch(word)]
    return "-".join(names[:2] or words[:1])


def _distinct_title(head: str, values: Mapping[str, str]) -> str:
    """The head's own words joined by hyphens, if there are any beside forms, keys and numbers; else form and number."""
    folded = fold(head)
    for form, number in form_numbers(folded):
        if form in _NUMBERED_WORKS:
            return f"{form}{number}"
        return f"{form}{number}-{values['key'].replace(' ', '-')}" if values.get("key") else ""
    spans = [(start, end) for _, _, start, end in find_forms(folded)]
    plain = "".join(" " if any(s <= i < e for s, e in spans) else c for i, c in enumerate(folded))
    plain = _NOISE.sub(" ", plain)
    if values.get("key"):
        plain = plain.replace(fold(json.loads(json.dumps(values["key"]))), " ")
    own = [m.text for m in find_composers(head)]
    for name in own:
        plain = plain.replace(fold(name), " ")
    generic = {
        "major",
        "minor",
        "flat",
        "sharp",
        "dur",
        "moll",
        "for",
        "and",
        "the",
        "from",
        "posth",
        "opus",
        "book",
        "arr",
    }
    words = [word for word in re.findall(r"[^\W\d_]+", plain) if len(word) > 2 and word not in generic]
    if not words and not re.search(r"[぀-ヿ㐀-鿿가-힣]", plain):
        return ""
    kept = [word for word in re.findall(r"[^\W\d_]+", _NOISE.sub(" ", folded)) if word not in {fold(n) for n in own}]
    return "-".join(kept[:8])


def _read_manner(reading: _Reading, text: str, composer: Composer | None) -> None:
    """Genre and period: what the text says, else what the composer is known for."""
    folded = fold(text)
    for name in ("genre", "period"):
        pattern, entries = word_list(f"{name}s")
        if match := pattern.search(folded):
            reading.put(name, entries[match.lastgroup or ""], match.group())
    if composer:
        years = f"composer {composer.name} ({composer.birth or '?'}-{composer.death or ''})"
        reading.put("genre", composer.genre, years)
        reading.put("period", composer.period, years)
