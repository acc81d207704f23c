"""The lists of words in `screen_words.toml`, and which of their words a text holds.

Texts are compared word by word, so the cost does not grow with the lists; `screening` says what the lists mean.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from importlib import resources
from itertools import zip_longest

from aria_data.text import clean, fold
from aria_data.text.deobfuscation import UNSPACED

_BEGIN = "^"  # stands before the first word: "^ why" is a title that begins with it
_MAX_ENDING = 20  # letters that `*` stands for
_PREFIX = 2  # letters by which words with `*` are looked up
_Named = tuple[tuple[str, tuple[str, ...]], ...]  # phrases, each with the name of its list


@dataclass
class WordList:
    """Phrases by their first word; those in scripts whose words are not set apart, as one pattern."""

    by_word: dict[str, list[tuple[str, ...]]] = field(default_factory=dict)
    by_prefix: dict[str, list[tuple[str, ...]]] = field(default_factory=dict)
    unspaced: re.Pattern[str] | None = None

    def find(self, folded: str, words: Sequence[str]) -> list[str]:
        """The list's phrases in a text, in order, each once. `words` are those of `folded`, which are separated by one
        space."""
        found = [" ".join(words[start:end]).strip("^ ") for start, end in self.places(words)]
        if self.unspaced and not folded.isascii() and UNSPACED.search(folded):
            found += self.unspaced.findall(folded)
        return list(dict.fromkeys(found))

    def places(self, words: Sequence[str]) -> list[tuple[int, int]]:
        """Where phrases stand, from word to word, without overlap; the longest one of those that begin at a word."""
        places, after = [], 0
        for position, phrases in enumerate(map(self.beginning, words)):
            if phrases and position >= after:
                length = max((len(phrase) for phrase in phrases if _stands_at(phrase, words, position)), default=0)
                if length:
                    after = position + length
                    places.append((position, after))
        return places

    @cached_property
    def beginning(self) -> Callable[[str], tuple[tuple[str, ...], ...]]:
        """Give the list's phrases that may begin with a word; most words begin none. What was asked is remembered."""
        return lru_cache(maxsize=1 << 16)(self._beginning)

    def _beginning(self, word: str) -> tuple[tuple[str, ...], ...]:
        near = (*self.by_word.get(word, ()), *self.by_prefix.get(word[:_PREFIX], ()))
        return tuple(phrase for phrase in near if _is_word(phrase[0], word))


def _stands_at(phrase: tuple[str, ...], words: Sequence[str], position: int) -> bool:
    if position + len(phrase) > len(words):
        return False
    for pattern in phrase:
        if not _is_word(pattern, words[position]):
            return False
        position += 1
    return True


def _is_word(pattern: str, word: str) -> bool:
    if word == pattern:
        return True
    if pattern[-1] != "*":
        return False
    return word.startswith(pattern[:-1]) and len(word) - len(pattern) < _MAX_ENDING


@cache
def word_lists() -> dict[str, WordList]:
    """Every list by its name."""
    return {
        name: _to_list([phrase for phrases in by_language.values() for phrase in phrases])
        for name, by_language in _source().items()
        if name != "transcribers"
    }


@cache
def transcriber_pattern() -> re.Pattern[str]:
    """What follows a composer's name in a folded title where somebody of `[transcribers]` wrote it for the piano."""
    return re.compile(rf"\s?[-/]\s?(?:[a-z]\. ?)*(?:{_transcribers()})\b(?! (?:op|no)\b)")


@cache
def joined_transcriber() -> re.Pattern[str]:
    """Any name with that of a transcriber right behind it in a folded title: "Strauss-Godowsky"."""
    return re.compile(rf"(?<![-/\w])[^\W\d_]{{3,20}}[-/](?:{_transcribers()})\b")


@cache
def piano_names() -> dict[str, tuple[str, ...]]:
    """Names of piano works that hold words of the lists, by composer, the longest first (`work_names.toml`)."""
    source = resources.files("aria_data.screen").joinpath("work_names.toml").read_text(encoding="utf-8")
    names = tomllib.loads(source)["names"]
    return {composer_id: tuple(sorted(of_one, key=len, reverse=True)) for composer_id, of_one in names.items()}


def _transcribers() -> str:
    return "|".join(map(re.escape, sorted(_source()["transcribers"]["names"], key=len, reverse=True)))


def _source() -> dict[str, dict[str, list[str]]]:
    source = resources.files("aria_data.screen").joinpath("screen_words.toml").read_text(encoding="utf-8")
    return tomllib.loads(source)


def _to_list(phrases: list[str]) -> WordList:
    made, unspaced = WordList(), []
    for phrase in sorted({re.sub(r"[^\w*^]+", " ", fold(phrase)).strip() for phrase in phrases}):
        words = tuple(phrase.split(" "))
        if UNSPACED.search(phrase):
            unspaced.append(phrase)
        elif words[0].endswith("*"):
            made.by_prefix.setdefault(words[0][:_PREFIX], []).append(words)
        else:
            made.by_word.setdefault(words[0], []).append(words)
    if unspaced:
        longest_first = sorted(unspaced, key=lambda phrase: (-len(phrase), phrase))
        made.unspaced = re.compile("|".join(map(re.escape, longest_first)))
    return made


def words_in(text: object, max_chars: int) -> dict[str, list[str]]:
    """Give the phrases of each list that a text holds, in order, each once. Exceptions are read over first."""
    folded = re.sub(r"[\W_]+", " ", fold(clean(text, max_chars))).strip()
    if not folded:
        return {name: [] for name in word_lists()}
    exceptions = word_lists()["exception"]
    if exceptions.unspaced:
        folded = exceptions.unspaced.sub(" ", folded)
    words = [_BEGIN, *folded.split()]
    alone = word_lists()["solo"].find(folded, words)  # "Concerto for solo piano" is an exception that says it, too
    for start, end in exceptions.places(words):
        words[start:end] = [""] * (end - start)
    found = _find_all(words)
    if not folded.isascii() and UNSPACED.search(folded):
        for name, each in word_lists().items():
            found[name] += each.unspaced.findall(folded) if each.unspaced else []
    return {name: alone if name == "solo" else list(dict.fromkeys(phrases)) for name, phrases in found.items()}


def _find_all(words: Sequence[str]) -> dict[str, list[str]]:
    """What `WordList.find` gives for the words of every list, in one pass over them."""
    found: dict[str, list[str]] = {name: [] for name in word_lists()}
    after = dict.fromkeys(found, 0)
    for position, (word, following) in enumerate(zip_longest(words, words[1:], fillvalue="")):
        longest: dict[str, int] = {}
        for name, phrase in _beginning(word) and _beginning_with(word, following):
            is_longer = len(phrase) > longest.get(name, 0) and position >= after[name]
            if is_longer and (len(phrase) <= 2 or _stands_at(phrase, words, position)):
                longest[name] = len(phrase)
        for name, length in longest.items():
            after[name] = position + length
            found[name].append(" ".join(words[position : after[name]]).strip("^ "))
    return found


@lru_cache(maxsize=1 << 16)
def _beginning_with(word: str, following: str) -> _Named:
    """The phrases of every list that may begin with two words, or are the first of them."""
    return tuple(
        (name, phrase)
        for name, phrase in _beginning(word)
        if len(phrase) == 1 or (following and _is_word(phrase[1], following))
    )


@lru_cache(maxsize=1 << 16)
def _beginning(word: str) -> _Named:
    """The phrases of every list that may begin with a word, with the list's name. Most words begin none."""
    return tuple((name, phrase) for name, each in word_lists().items() for phrase in each.beginning(word))
