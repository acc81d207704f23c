"""Words of forms, genres and events are found as words, wherever they stand."""

from __future__ import annotations

import tomllib
from importlib import resources

import pytest

from aria_data.repertoire.forms import word_list
from aria_data.text import clean, fold


@pytest.mark.parametrize("table", ["forms", "genres", "events"])
def test_every_word_of_a_list_is_found_at_either_end_of_a_text(table):
    source = resources.files("aria_data.repertoire").joinpath("title_words.toml").read_text(encoding="utf-8")
    for word in (word for words in tomllib.loads(source)[table].values() for word in words):
        folded = fold(clean(word.replace("*", ""), 100))
        for text in (folded, f"xx {folded} yy", f"({folded})"):
            assert word_list(table)[0].search(text), (word, text)
