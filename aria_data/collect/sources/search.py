"""A search at a site that yt-dlp can search: `search:chopin nocturne piano`, or `search:scsearch:chopin nocturne`.

The second form names the site by yt-dlp's prefix; without one the search is made at YouTube.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from aria_data.collect.sources.base import Lead, LeftOut
from aria_data.collect.sources.media import entries_of
from aria_data.records import Candidate
from aria_data.web import Web

DEFAULT_SITE = "ytsearch"


def follow(lead: Lead, web: Web, limit: int) -> Iterator[Candidate | Lead]:
    """Yield the first `limit` results. Raises as `Web.get` does."""
    named = re.fullmatch(r"([a-z]{2,12}search):(.+)", lead.target, re.DOTALL)
    site, words = (named[1], named[2]) if named else (DEFAULT_SITE, lead.target)
    found = entries_of(f"{site}{limit}:{' '.join(words.split())[:200]}", web, lead, limit)
    yield from (one for one in found if not isinstance(one, LeftOut))
