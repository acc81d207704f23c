"""Remove prompt injections: the parts of a text that address a language model instead of describing music.

A title is data, and nobody who writes for people puts "ignore all previous instructions" into one. Removed are:

    marks of a conversation    <|im_start|>, [INST], "### System:", "assistant:"
    answers in advance         {"score": 5}, <score>5</score>, relevance_score=5
    orders                     words of several kinds close together: ignore + instructions, give + score + 5
    encoded text               base64, hex, escapes, tag characters, runs of zero-width characters, when they hold text

Words are searched in views of the text (`deobfuscation.py`): without invisible characters, and with look-alikes of
other scripts, full-width letters, l33t, letters spaced out, reversed text and rot13 undone. Nothing else is removed; a
text without injections is returned unchanged, to the character. The words are in `injection_words.toml`, the marks in
`injection_marks.toml`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import resources
from itertools import pairwise

from aria_data.text.cleaning import fold
from aria_data.text.deobfuscation import MAX_CHARS, UNSPACED, Span, View, hidden_in, other_views, plain_view

MAX_GAP_CHARS = 24  # between two words of one order
MAX_LEFT_CHARS = 150  # between two removed spans: removed with them
MAX_BESIDE_CHARS = 80  # from an order to other words that address a model: those are removed too
MAX_REST_WORDS = 6  # left of a sentence on one side of an order: removed with it

_FIGURE = re.compile(
    r"(?<![\d.,№#])(?<!no )(?<!no\. )(?<!op )(?<!op\. )(?:[0-5]|10|100)(?:\.0)?(?:\s?/\s?(?:5|10|100))?(?![\d.,]?\d)"
)
_WORD = re.compile(r"\w+")
_CLAUDES = frozenset(  # names after "Claude" that mean a person, not the model
    "achille debussy debussys balbastre bolling frank helffer goudimel gervaise kahn pascal bénigne benigne".split()
)
_BREAK = re.compile(r"[\n.!?。！？]\s*")

# Which kinds of words (tables of `injection_words.toml`) make an order when they stand close together.
_ORDERS: tuple[frozenset[str], ...] = tuple(
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
_TO_A_MODEL = frozenset(("instruction", "reply", "model", "secret", "correct", "persona"))


def without_instructions(text: str) -> tuple[str, list[str]]:
    """Give the text without prompt injections, and the parts removed. A text without any is returned unchanged.

    Only the first `deobfuscation.MAX_CHARS` are examined; where something is removed, the rest is cut off.
    """
    if not text:
        return text, []
    whole, text = text, text[:MAX_CHARS]
    plain = plain_view(text)
    spans = [*hidden_in(text, _is_writing), *_marks_in(plain), *_orders_in(plain)]
    for view, has_marks in other_views(plain):
        spans += _orders_in(view)
        spans += _marks_in(view) if has_marks else []
    merged = _merge(sorted(spans), text)
    if not merged:
        return whole, []
    kept, place = [], 0
    for start, end in merged:
        kept.append(text[place:start])
        place = end
    kept.append(text[place:])
    return " ".join(" ".join(kept).split()).strip(" -|,;:–—·•/\"'"), [text[start:end] for start, end in merged]


def _merge(spans: list[Span], text: str) -> list[Span]:
    """Merge sorted spans that overlap or are at most `MAX_LEFT_CHARS` apart; drop those that hold only spaces."""
    merged: list[Span] = []
    for start, end in spans:
        if merged and start - merged[-1][1] <= MAX_LEFT_CHARS:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return [(start, end) for start, end in merged if text[start:end].strip()]


def _marks_in(view: View) -> list[Span]:
    return [_ordered(view, *match.span()) for match in _marks().finditer(view.text) if match.end() > match.start()]


def _orders_in(view: View) -> list[Span]:
    """Find the spans in which words of several kinds stand so close together that they make an order."""
    return [_ordered(view, start, end) for start, end in _clusters(_words().find(view.text), view.text)]


def _ordered(view: View, start: int, end: int) -> Span:
    """Give the span of the text, start first, also for a view that runs backwards."""
    first, last = view.origin[start], view.origin[end - 1]
    return min(first, last), max(first, last) + 1


def _clusters(found: list[tuple[int, int, str]], text: str) -> list[Span]:
    """Find runs of words without a wide gap that hold an order, and runs near them that address a model as well."""
    orders: list[Span] = []
    beside: list[Span] = []
    for run in _runs(found, text):
        telling = [each for each in run if each[2] != "filler"]
        kinds = {kind for _, _, kind in telling}
        if telling:
            span = _to_the_sentence(text, telling[0][0], max(end for _, end, _ in telling))
            is_order = any(order <= kinds for order in _ORDERS) or _is_verdict(telling, text)
            (orders if is_order else beside if kinds & _TO_A_MODEL else []).append(span)
    return orders + [
        (start, end)
        for start, end in beside
        if any(start - MAX_BESIDE_CHARS <= last and first <= end + MAX_BESIDE_CHARS for first, last in orders)
    ]


def _is_verdict(run: list[tuple[int, int, str]], text: str) -> bool:
    """Whether the run has "score: 5", in any language, with nothing after it in its sentence or line."""
    return any(
        first[2] == "rating"
        and second[2] == "number"
        and re.fullmatch(r"\s*[:=]\s*", text[first[1] : second[0]])
        and re.match(r"\s*(?:[.,;)\]\n]|$)", text[second[1] :])
        for first, second in pairwise(run)
    )


def _runs(found: list[tuple[int, int, str]], text: str) -> Iterator[list[tuple[int, int, str]]]:
    run: list[tuple[int, int, str]] = []
    run_end = 0
    for word in found:
        if run and (word[0] - run_end > MAX_GAP_CHARS or _BREAK.search(text, run_end, word[0])):
            yield run
            run, run_end = [], 0
        run.append(word)
        run_end = max(run_end, word[1])
    if run:
        yield run


def _to_the_sentence(text: str, start: int, end: int) -> Span:
    """Extend a span to its sentence on either side where at most `MAX_REST_WORDS` would be left of it."""
    before = [match.end() for match in _BREAK.finditer(text, 0, start)]
    opening = text[before[-1] if before else 0 : start]
    closing = _BREAK.split(text[end : end + 200], maxsplit=1)[0]
    if before and len(opening.split()) <= MAX_REST_WORDS:
        start -= len(opening)
    if end + len(closing) < len(text) and len(closing.split()) <= MAX_REST_WORDS:
        end += len(closing) + 1
    return start, end


def _is_writing(decoded: str) -> bool:
    if not decoded.isprintable():
        return False
    view = plain_view(decoded)
    if decoded and (_marks_in(view) or _orders_in(view)):
        return True
    letters = sum(character.isalpha() or character in " .,:5" for character in decoded)
    return len(decoded) >= 12 and letters >= 0.85 * len(decoded)


class _Words:
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

    def find(self, text: str) -> list[tuple[int, int, str]]:
        """Give (start, end, kind) of every word or phrase of the lists in the text, and of every figure, sorted."""
        found = [(*match.span(), "number") for match in _FIGURE.finditer(text)]
        words = [(match.start(), match.end(), match.group()) for match in _WORD.finditer(text)]
        for place, (start, _, word) in enumerate(words):
            if word == "claude" and place + 1 < len(words) and words[place + 1][2] in _CLAUDES:
                continue
            lengths = self.stem_lengths.get(word[:2], ())
            stems = [word, *(word[:length] + "*" for length in lengths if length <= len(word))]
            for kind, rest in (phrase for stem in stems if stem in self.phrases for phrase in self.phrases[stem]):
                following = words[place + 1 : place + 1 + len(rest)]
                if len(following) == len(rest) and all(map(_is_word, following, rest)):
                    found.append((start, words[place + len(rest)][1], kind))
        if UNSPACED.search(text):
            found += [(*match.span(), self.anywhere[match.group()]) for match in self.pattern.finditer(text)]
        return sorted(found)


def _is_word(found: tuple[int, int, str], wanted: str) -> bool:
    return found[2].startswith(wanted[:-1]) if wanted.endswith("*") else found[2] == wanted


@cache
def _marks() -> re.Pattern[str]:
    source = resources.files("aria_data.text").joinpath("injection_marks.toml").read_text(encoding="utf-8")
    table = tomllib.loads(source)
    patterns = "|".join(table["marks"].values()).replace("ROLES", table["roles"])
    return re.compile(patterns, re.IGNORECASE | re.DOTALL)


@cache
def _words() -> _Words:
    source = resources.files("aria_data.text").joinpath("injection_words.toml").read_text(encoding="utf-8")
    return _Words(tomllib.loads(source))
