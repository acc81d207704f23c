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
from collections.abc import Iterator
from itertools import pairwise

from aria_data.text.deobfuscation import MAX_CHARS, Span, View, hidden_in, other_views, plain_view
from aria_data.text.injection_lists import ORDERS, is_surely_harmless, marks, may_hold_marks, words

MAX_GAP_CHARS = 24  # between two words of one order
MAX_LEFT_CHARS = 150  # between two removed spans: removed with them
MAX_BESIDE_CHARS = 80  # from an order to other words that address a model: those are removed too
MAX_REST_WORDS = 6  # left of a sentence on one side of an order: removed with it

_BREAK = re.compile(r"[\n.!?。！？]\s*")

_TO_A_MODEL = frozenset(("instruction", "reply", "model", "secret", "correct", "persona"))


def without_instructions(text: str) -> tuple[str, list[str]]:
    """Give the text without prompt injections, and the parts removed. A text without any is returned unchanged.

    Only the first `deobfuscation.MAX_CHARS` are examined; where something is removed, the rest is cut off.
    """
    if not text or is_surely_harmless(text):
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
    if not may_hold_marks(view.text):
        return []
    return [_ordered(view, *match.span()) for match in marks().finditer(view.text) if match.end() > match.start()]


def _orders_in(view: View) -> list[Span]:
    """Find the spans in which words of several kinds stand so close together that they make an order."""
    if not words().may_hold_orders(view.text):
        return []
    return [_ordered(view, start, end) for start, end in _clusters(words().find(view.text), view.text)]


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
            is_order = any(order <= kinds for order in ORDERS) or _is_verdict(telling, text)
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
