"""Find the performer by the words around a name: "X plays Y", "performed by X", "Pianist: X"; and what a name is."""

from __future__ import annotations

import re

from aria_data.repertoire import find_composer, find_form, find_key
from aria_data.repertoire.forms import word_list
from aria_data.text import fold

SPLIT = re.compile(r"\s+[-–—|~]\s+|\s*[|｜]\s*|\s+//?\s+")  # between a title's segments
_NAME = r"[^\W\d_][\w.'’\-]{0,30}(?: [^\W\d_][\w.'’\-]{0,30}){0,4}"
_PLAYS = "plays|performs|spielt|joue|interpreta|toca|suona|speelt|играет|исполняет"
_BY = "[Pp]erformed|[Pp]layed|[Ii]nterpreted|[Gg]espielt|[Ii]nterprété|[Ii]nterpretado|[Ee]seguito"
_ROLE = "[Pp]ianist(?:e|a|in)?|[Pp]iano|[Pp]erformer|[Kk]lavier|[Pp]ianoforte|[Ии]сполнитель|[Пп]ианист"
_PHRASES = (
    re.compile(rf"(?P<name>{_NAME})(?:,? piano)? (?:{_PLAYS}) "),
    re.compile(rf"(?:{_BY}) (?:by|von|par|por|da):? (?P<name>{_NAME})"),
    re.compile(rf"(?:^|[\s(|,;/])(?:{_ROLE}): ?(?P<name>{_NAME})"),
    re.compile(rf"(?P<name>{_NAME}) ?[,(] ?(?:[Pp]iano|[Kk]lavier|[Pp]ianoforte|[Pp]ianist)\)?(?: *$|[).,;|])"),
)
_PARTICLES = frozenset({"de", "van", "von", "da", "di", "del", "la", "le", "den", "der", "ten"})
_NOBODY = frozenset({"unknown", "unknown artist", "various artists", "various", "n/a", "none"})


def find_performer(text: str) -> tuple[str, str] | None:
    """The performer whom such a phrase names, and the phrase; None if there is none."""
    for pattern in _PHRASES:
        for match in pattern.finditer(text):
            if name := _trimmed(match["name"]):
                return name, match.group().strip()
    return None


def is_somebody(artist: str) -> bool:
    """Whether an artist tag names anybody: not "unknown artist" and the like."""
    return bool(artist) and fold(artist) not in _NOBODY


def is_name(segment: str) -> bool:
    """Whether a text could be a person's name: two to four words with capitals, no figures, no words of music."""
    words = segment.split()
    if re.match(r"[IVX]+\.", segment):  # a movement: "III. Alla Turca"
        return False
    if not 2 <= len(words) <= 4 or re.search(r"[0-9:()\"#&+!?]", segment):
        return False
    if not all(word[0].isupper() or word in _PARTICLES for word in words):
        return False
    folded = fold(segment)
    return not word_list("not_names")[0].search(folded) and not find_form(folded) and not find_key(segment)


def _trimmed(words: str) -> str:
    """The longest span that is a name: "Encore Martha Argerich" -> "Martha Argerich"; or a composer who plays."""
    parts = words.strip(" .,").split()
    spans = ((start, end) for end in range(len(parts), 0, -1) for start in range(end))
    names = [name for start, end in spans if is_name(name := " ".join(parts[start:end]))]
    if names:
        return max(names, key=len)
    match = find_composer(words, is_name=True)
    return match.text if match else ""
