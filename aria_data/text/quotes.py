"""Check that a language model's quote is in the text it was asked about."""

from __future__ import annotations

import re
from collections.abc import Iterable

from aria_data.text.cleaning import clean, fold

_EAST_ASIAN = re.compile(r"[぀-ヿ㐀-鿿가-힣]")


def trim_quote(quote: object, max_chars: int) -> str:
    """Give a quote on one line, without surrounding quotation marks, at most `max_chars` long."""
    return clean(quote, 4 * max_chars).strip("\"'“”„«» .…")[:max_chars]


def is_quoted(quote: str, texts: Iterable[str]) -> bool:
    """Whether one of the texts has these words in this order, ignoring case, accents and punctuation.

    Words must match whole, except in a quote with Japanese, Chinese or Korean letters. An empty quote never matches.
    """
    words = _plain(quote)
    return bool(words.strip()) and any(words in f" {_plain(text)} " for text in texts)


def _plain(text: str) -> str:
    """The folded words, with a space before and after so that only whole words match (not in East Asian scripts)."""
    words = re.sub(r"[\W_]+", " ", fold(text)).strip()
    return words if _EAST_ASIAN.search(words) else f" {words} "
