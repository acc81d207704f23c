"""Words of a title that name no work: a track's number, a take, a date, "untitled", in many languages.

Two files "Chopin - Track 01" are two recordings of which nothing is known, not one work called "Track 01".
"""

from __future__ import annotations

import re
from functools import lru_cache

from aria_data.repertoire.forms import EAST_ASIAN, word_list

_NUMBERS = re.compile(r"[0-9]{1,4}\s?[年月日년월일]|第[一二三四五六七八九十]{1,3}|[0-9_]+")


@lru_cache(maxsize=256)
def words_of_works(folded: str) -> frozenset[str]:
    """Give the words of a folded text that may name a work: none for "track 01 (take 2)", "3 мая", "recital in paris".

    Words of one or two letters name none, but for East Asian ones.
    """
    plain = _NUMBERS.sub(" ", folded).replace("œ", "oe")
    if word_list("occasions")[0].search(plain):
        return frozenset()
    left = word_list("leftovers")[0].sub(" ", plain)
    return frozenset(word for word in re.findall(r"[^\W\d_]+", left) if len(word) > 2 or EAST_ASIAN.match(word))
