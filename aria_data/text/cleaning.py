"""Text from outside, made safe to read by rules: bounded, normalised, and folded without moving a character."""

from __future__ import annotations

import unicodedata

_OTHER_LETTERS = str.maketrans("łŁøØđĐıßæœ’‘ʼ`´–—−‐‑", "llooddisao'''''-----")
_MARKED_SCRIPTS = ("LATIN", "GREEK", "CYRILLIC")  # elsewhere a mark is part of the letter: が, 한


def clean(text: object, max_chars: int) -> str:
    """The text in NFKC, one line, without control or invisible characters, at most `max_chars` long.

    Anything that is no string becomes one. NFKC also turns `№` into `No`, `Ⅲ` into `III`, `：` into `:`.
    """
    bounded = str(text if text is not None else "")[:max_chars]
    visible = "".join(_visible(c) for c in unicodedata.normalize("NFKC", bounded))
    return " ".join(visible.split())[:max_chars]


def _visible(character: str) -> str:
    category = unicodedata.category(character)
    if category in ("Cc", "Zl", "Zp"):
        return " "
    return "" if category in ("Cf", "Cs", "Co", "Cn") else character


class _Folding(dict[int, str]):
    """Each code point's lower-case base letter, worked out when first met."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        lower = character.translate(_OTHER_LETTERS).lower()[:1]
        if lower and unicodedata.name(lower, "").startswith(_MARKED_SCRIPTS):
            lower = unicodedata.normalize("NFD", lower)[0]
        self[code] = lower or character
        return self[code]


_FOLDING = _Folding()


def fold(text: str) -> str:
    """Lower case without accents, as long as the text itself, so positions in one are positions in the other."""
    return text.translate(_FOLDING)
