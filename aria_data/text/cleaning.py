"""Make text from outside readable for rules: bounded, normalised, and folded without moving a character."""

from __future__ import annotations

import unicodedata

_OTHER_LETTERS = str.maketrans("łŁøØđĐıßæœ’‘ʼ`´–—−‐‑", "llooddisao'''''-----")
_MARKED_SCRIPTS = ("LATIN", "GREEK", "CYRILLIC")  # elsewhere a mark is part of the letter: が, 한


def clean(text: object, max_chars: int) -> str:
    """Give the text in NFKC, on one line, without control or invisible characters, at most `max_chars` long.

    A value that is not a string becomes one, None the empty string. NFKC also turns `№` into `No`, `Ⅲ` into `III`, `：`
    into `:`.
    """
    bounded = str(text if text is not None else "")[:max_chars]
    if bounded.isascii() and bounded.isprintable():
        return " ".join(bounded.split())  # nothing to normalise
    visible = unicodedata.normalize("NFKC", bounded).translate(_VISIBLE)
    return " ".join(visible.split())[:max_chars]


class _Visible(dict[int, str]):
    """What is shown of each code point, computed when it is first looked up."""

    def __missing__(self, code: int) -> str:
        category = unicodedata.category(chr(code))
        is_space, is_hidden = category in ("Cc", "Zl", "Zp"), category in ("Cf", "Cs", "Co", "Cn")
        self[code] = " " if is_space else "" if is_hidden else chr(code)
        return self[code]


_VISIBLE = _Visible()


class _Folding(dict[int, str]):
    """Each code point's lower-case base letter, computed when it is first looked up."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        lower = character.translate(_OTHER_LETTERS).lower()[:1]
        if lower and unicodedata.name(lower, "").startswith(_MARKED_SCRIPTS):
            lower = unicodedata.normalize("NFD", lower)[0]
        self[code] = lower or character
        return self[code]


_FOLDING = _Folding()


def fold(text: str) -> str:
    """Give the text in lower case without accents, of the same length, so that positions are those of the text."""
    return text.translate(_FOLDING)
