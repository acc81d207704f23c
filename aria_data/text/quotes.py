"""Whether a language model's quote stands in the text it was asked about."""

from __future__ import annotations

import re
from collections.abc import Iterable

from aria_data.text.cleaning import clean, fold

_EAST_ASIAN = re.compile(r"[぀-ヿ㐀-鿿가-힣]")


def trim_quote(quote: object, max_chars: int) -> str:
    """A quote on one line, without the quotation marks that a model puts around it."""
    return clean(quote, 4 * max_chars).strip("\"'“”„«» .…")[:max_chars]


def is_quoted(quote: str, texts: Iterable[str]) -> bool:
    """Whether one of the texts has these words, whole and in this order, however they are written."""
    words = _plain(quote)
    return bool(words.strip()) and any(words in f" {_plain(text)} " for text in texts)


def _plain(text: str) -> str:
    """The words alone, with a space before and behind, so that only whole words are found."""
    words = re.sub(r"[\W_]+", " ", fold(text)).strip()
    return words if _EAST_ASIAN.search(words) else f" {words} "
