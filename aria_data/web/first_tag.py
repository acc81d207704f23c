"""Tell what a text of XML or HTML is by its first tag, in time that grows as the text does. Nothing is parsed."""

from __future__ import annotations

import re

_BLANK = re.compile(r"[\s\ufeff\x00]*")
_NAME = re.compile(r"<(?:[A-Za-z_][\w.-]{0,40}:)?([A-Za-z_][\w.-]{0,40})")
_ASIDES = (("<!--", "-->"), ("<?", "?>"))


def first_tag(text: str) -> str:
    """Give the name of the first tag in lower case, without its prefix: `rss`, `urlset`, `html`.

    It is `!doctype` for a page that names its type as HTML, and "" where anything but declarations, comments and a tag
    comes first.
    """
    place = _after_blanks(text, 0)
    while text.startswith(("<!", "<?"), place):
        if text[place : place + 9].lower() == "<!doctype":
            if re.match(r"\s*html\b", text[place + 9 : place + 60], re.IGNORECASE):
                return "!doctype"
            end = _end_of_doctype(text, place)
        else:
            end = _end_of_aside(text, place)
        if end < 0:
            return ""
        place = _after_blanks(text, end)
    found = _NAME.match(text, place)
    return found[1].lower() if found else ""


def _after_blanks(text: str, place: int) -> int:
    found = _BLANK.match(text, place)
    return found.end() if found else place


def _end_of_aside(text: str, place: int) -> int:
    """Give the place behind a comment or an instruction, -1 where it has no end or is something else."""
    for begin, close in _ASIDES:
        if text.startswith(begin, place):
            end = text.find(close, place + len(begin))
            return end + len(close) if end >= 0 else -1
    return -1


def _end_of_doctype(text: str, place: int) -> int:
    """Give the place behind a declaration of the type, which may hold declarations of its own in brackets."""
    end, bracket = text.find(">", place), text.find("[", place, place + 1000)
    if 0 <= bracket < end:
        closed = text.find("]", bracket)
        end = text.find(">", closed) if closed >= 0 else -1
    return end + 1 if end >= 0 else -1
