"""Undo what software did to a text on its way: HTML entities, UTF-8 read as Latin-1, letters of another script.

Only what is surely damage is changed: a word of Latin letters with a Cyrillic look-alike inside, not a Russian word.
"""

from __future__ import annotations

import html
import re

_MOJIBAKE = re.compile("[ÂÃÐÑâ][\u0080-\u00bf\u0152-\u0192\u02c6-\u02dc\u2013-\u203a\u20ac\u2122]")
_WORD = re.compile(r"[^\W\d_]+")
_LATIN, _CYRILLIC, _GREEK = "[A-Za-zÀ-ɏ]", "[Ѐ-ӿ]", "[Ͱ-Ͽ]"
_TO_LATIN = str.maketrans(
    "АВЕЅІЈКМНОРСТХУаеорсухіјѕԁһԛԝΑΒΕΖΗΙΚΜΝΟΡΤΥΧαονρι", "ABESIJKMHOPCTXYaeopcyxijsdhqwABEZHIKMNOPTYXaovpi"
)
_TO_CYRILLIC = str.maketrans("ABEKMHOPCTXYaeopcyxi", "АВЕКМНОРСТХУаеорсухі")
_MAX_ROUNDS = 2  # some entities are written twice: &amp;amp;


def repaired(text: str) -> str:
    """Give the text without entities, mojibake and look-alikes. A text without such damage comes back as it is."""
    for _ in range(_MAX_ROUNDS):
        if "&" not in text:
            break
        text = html.unescape(text)
    if text.isascii():
        return text
    if _MOJIBAKE.search(text):
        text = _read_again(text)
    return _WORD.sub(_in_one_script, text)


def _read_again(text: str) -> str:
    """The text as UTF-8, if all of it was UTF-8 that was read as Windows-1252 or Latin-1."""
    try:
        return b"".join(_byte(character) for character in text).decode("utf-8")
    except ValueError:
        return text


def _byte(character: str) -> bytes:
    if ord(character) < 256:
        return character.encode("latin-1")
    return character.encode("cp1252")


def _in_one_script(match: re.Match[str]) -> str:
    word = match.group()
    if word.isascii():
        return word
    num_latin, num_others = len(re.findall(_LATIN, word)), len(re.findall(f"{_CYRILLIC}|{_GREEK}", word))
    if num_latin and num_others:
        is_latin = num_latin >= num_others or word.translate(_TO_LATIN).isascii()
        return word.translate(_TO_LATIN if is_latin else _TO_CYRILLIC)
    return word
