"""The words and marks of prompt injections, as indexes, and a quick look by which most texts surely hold none.

Texts of words that could never make an order, without rare signs, are nearly all titles: for them the quick look is all
that is done. Whatever passes it is searched in full (`prompt_injection.py`); it decides nothing else.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Sequence
from functools import cache, lru_cache, reduce
from importlib import resources
from operator import or_
from typing import Any

from aria_data.text.cleaning import fold
from aria_data.text.deobfuscation import MAX_CHARS, ROT13, UNSPACED, may_be_disguised, plain_view

_FIGURE = re.compile(
    r"(?<![\d.,№#])(?<!no )(?<!no\. )(?<!op )(?<!op\. )(?:[0-5]|10|100)(?:\.0)?(?:\s?/\s?(?:5|10|100))?(?![\d.,]?\d)"
)
_WORD = re.compile(r"\w+")
_CLAUDES = frozenset(  # names after "Claude" that mean a person, not the model
    "achille debussy debussys balbastre bolling frank helffer goudimel gervaise kahn pascal bénigne benigne".split()
)

# Which kinds of words (tables of `injection_words.toml`) make an order when they stand close together.
ORDERS: tuple[frozenset[str], ...] = tuple(
    frozenset(kinds.split())
    for kinds in (
        "ignore instruction",
        "ignore reply",
        "ignore rating",
        "ignore model",
        "rating number order",
        "rating number model",
        "rating number reply",
        "rating instruction order",
        "rating instruction number",
        "rating reply order",
        "model order number",
        "model order reply",
        "model order instruction",
        "model rating",
        "model instruction",
        "order reply number",
        "order reply instruction",
        "instruction order number",
        "persona number",
        "persona rating",
        "persona model",
        "correct number",
        "correct rating",
        "secret order",
        "secret ignore",
        "secret rating",
        "field order",
    )
)

# The words of a text as they are read forwards, backwards and in rot13.
_READINGS: tuple[Callable[[Sequence[str]], Sequence[str]], ...] = (
    lambda words: words,
    lambda words: [word[::-1] for word in reversed(words)],
    lambda words: [word.translate(ROT13) for word in words],
)


def is_surely_harmless(text: str) -> bool:
    """Whether a text of Latin letters holds no mark, no order and no disguise, read forwards, backwards or in rot13.

    False says nothing: the text is to be searched.
    """
    if len(text) > MAX_CHARS:
        return False
    plain = plain_view(text).text
    if not (plain.isascii() and plain.isprintable()):
        return False
    if may_hold_marks(plain) or may_hold_marks(plain[::-1]) or may_be_disguised(text, plain):
        return False
    return not words().may_hold_orders_in_a_reading(plain)


class Words:
    """The word lists of `injection_words.toml`, indexed so that one pass over a text's words finds all of them."""

    def __init__(self, by_kind: dict[str, dict[str, list[str]]]):
        self.phrases: dict[str, list[tuple[str, list[str]]]] = {}  # by first word, or by its stem with a star
        anywhere: dict[str, str] = {}
        for kind, by_language in by_kind.items():
            for phrase in (fold(phrase) for phrases in by_language.values() for phrase in phrases):
                if UNSPACED.search(phrase):
                    anywhere.setdefault(phrase, kind)
                else:
                    first, *rest = re.findall(r"[\w]+\*?", phrase)
                    self.phrases.setdefault(first, []).append((kind, rest))
        self.stem_lengths: dict[str, tuple[int, ...]] = {}  # of the stems that begin with two letters
        for stem in (first for first in self.phrases if first.endswith("*")):
            lengths = {*self.stem_lengths.get(stem[:2], ()), len(stem) - 1}
            self.stem_lengths[stem[:2]] = tuple(sorted(lengths))
        self.anywhere = anywhere
        longest_first = sorted(anywhere, key=lambda phrase: (-len(phrase), phrase))
        self.pattern = re.compile("|".join(re.escape(phrase) for phrase in longest_first))
        self.bit_of_kind = {kind: 1 << place for place, kind in enumerate(sorted({*by_kind, "number"}))}
        self.all_kinds = (1 << len(self.bit_of_kind)) - 1
        self.beginning = lru_cache(maxsize=1 << 16)(self._beginning)
        self.kinds = lru_cache(maxsize=1 << 16)(self._kinds)
        self.kinds_in_readings = lru_cache(maxsize=1 << 16)(self._kinds_in_readings)
        self.make_an_order = lru_cache(maxsize=1 << 16)(self._make_an_order)

    def may_hold_orders(self, text: str) -> bool:
        """Whether the words of a text are of enough kinds for an order, wherever they stand. Most texts' are not."""
        if not text.isascii() and UNSPACED.search(text):
            return True
        words = _WORD.findall(text)
        return self._suffice(reduce(or_, map(self.kinds, words), 0), text) and self._suffice(self._found(words), text)

    def may_hold_orders_in_a_reading(self, text: str) -> bool:
        """`may_hold_orders` of a text of ASCII, of the text backwards, or of the text in rot13."""
        words = _WORD.findall(text)
        kinds = reduce(or_, map(self.kinds_in_readings, words), 0)
        return any(
            self._suffice(kinds >> place * len(self.bit_of_kind) & self.all_kinds, text)
            and self._suffice(self._found(reading(words)), text)
            for place, reading in enumerate(_READINGS)
        )

    def _found(self, words: Sequence[str]) -> int:
        """The kinds of the phrases that stand among some words."""
        return reduce(or_, (self.bit_of_kind[kind] for _, _, kind in self._phrases_in(words)), 0)

    def _suffice(self, kinds: int, text: str) -> bool:
        if kinds & self.bit_of_kind["rating"] and (":" in text or "=" in text):
            return True  # perhaps "score: 5"
        return self.make_an_order(kinds) or (
            self.make_an_order(kinds | self.bit_of_kind["number"]) and any(map(str.isdigit, text))
        )

    def _make_an_order(self, kinds: int) -> bool:
        orders = (sum(self.bit_of_kind[kind] for kind in order) for order in ORDERS)
        return any(order & kinds == order for order in orders)

    def _kinds(self, word: str) -> int:
        """The kinds of the phrases that a word may begin, as bits."""
        return reduce(or_, (self.bit_of_kind[kind] for kind, _ in self.beginning(word)), 0)

    def _kinds_in_readings(self, word: str) -> int:
        """The kinds of a word, of the word backwards, and of the word in rot13, each in bits of its own."""
        readings = (reading([word])[0] for reading in _READINGS)
        return sum(self.kinds(each) << place * len(self.bit_of_kind) for place, each in enumerate(readings))

    def _beginning(self, word: str) -> tuple[tuple[str, list[str]], ...]:
        """The phrases, each with its kind, that a word may begin: (kind, the words that follow)."""
        lengths = self.stem_lengths.get(word[:2], ())
        stems = [word, *(word[:length] + "*" for length in lengths if length <= len(word))]
        return tuple(phrase for stem in stems if stem in self.phrases for phrase in self.phrases[stem])

    def find(self, text: str) -> list[tuple[int, int, str]]:
        """Give (start, end, kind) of every word or phrase of the lists in the text, and of every figure, sorted."""
        found = [(*match.span(), "number") for match in _FIGURE.finditer(text)]
        places = [match.span() for match in _WORD.finditer(text)]
        words = [text[start:end] for start, end in places]
        found += [(places[first][0], places[last][1], kind) for first, last, kind in self._phrases_in(words)]
        if UNSPACED.search(text):
            found += [(*match.span(), self.anywhere[match.group()]) for match in self.pattern.finditer(text)]
        return sorted(found)

    def _phrases_in(self, words: Sequence[str]) -> Iterator[tuple[int, int, str]]:
        """Yield the place of the first and of the last word of every phrase, and its kind."""
        for place, word in enumerate(words):
            if word == "claude" and place + 1 < len(words) and words[place + 1] in _CLAUDES:
                continue
            for kind, rest in self.beginning(word):
                following = words[place + 1 : place + 1 + len(rest)]
                if len(following) == len(rest) and all(map(_is_word, following, rest)):
                    yield place, place + len(rest), kind


def _is_word(found: str, wanted: str) -> bool:
    return found.startswith(wanted[:-1]) if wanted.endswith("*") else found == wanted


@cache
def marks() -> re.Pattern[str]:
    table = _table_of_marks()
    patterns = "|".join(table["marks"].values()).replace("ROLES", table["roles"])
    return re.compile(patterns, re.IGNORECASE | re.DOTALL)


def may_hold_marks(text: str) -> bool:
    """Whether a text holds what every mark has: a rare sign, a word of SQL, or a colon behind certain words.

    Most titles hold none of them, and the pattern of all marks is long.
    """
    if _signs_of_marks().search(text):
        return True
    if ":" not in text:
        return False
    if not text.isascii():
        return True
    colons = (match.start() for match in re.finditer(":", text))
    return any(text[max(0, at - 40) : at].rstrip().endswith(_before_colons()) for at in colons)


@cache
def _signs_of_marks() -> re.Pattern[str]:
    return re.compile(_table_of_marks()["signs"])


@cache
def _before_colons() -> tuple[str, ...]:
    return tuple(_table_of_marks()["before_colons"].split())


@cache
def _table_of_marks() -> dict[str, Any]:
    source = resources.files("aria_data.text").joinpath("injection_marks.toml").read_text(encoding="utf-8")
    return tomllib.loads(source)


@cache
def words() -> Words:
    source = resources.files("aria_data.text").joinpath("injection_words.toml").read_text(encoding="utf-8")
    return Words(tomllib.loads(source))
