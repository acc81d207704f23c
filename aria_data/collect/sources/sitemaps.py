"""Sitemaps (https://www.sitemaps.org/protocol.html): leads to the pages, and to the sitemaps, that one lists."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from html import unescape

from aria_data.collect.sources.base import Lead, LeftOut, deeper
from aria_data.web import Page, canonical, join
from aria_data.web.charsets import decode
from aria_data.web.first_tag import first_tag

PACKED = ("application/gzip", "application/x-gzip")
MAX_BYTES = 50_000_000  # of the protocol
MAX_PAGES = 50_000  # of the protocol
_LOCATION = re.compile(
    r"<(?:\w{1,20}:)?loc\s*>\s*(?:<!\[CDATA\[)?\s*([^<\]]{1,3000}?)\s*(?:\]\]>)?\s*</", re.IGNORECASE
)
_ROOTS = ("urlset", "sitemapindex")


def is_sitemap(page: Page) -> bool:
    """Whether a page that was read is a sitemap or an index of sitemaps, packed or not."""
    return page.is_read and first_tag(_text(page, 4000)) in _ROOTS


def entries_of(page: Page, lead: Lead) -> Iterator[Lead | LeftOut]:
    """Yield a lead for each page, as parts of the sitemap. Never raises, whatever it holds."""
    content = _text(page, MAX_BYTES)
    is_index = first_tag(content[:4000]) == "sitemapindex"
    seen = {canonical(page.url), canonical(lead.target)}
    num_left_out = 0
    for found in _LOCATION.finditer(content):
        address = join(page.url, unescape(found[1]))
        if not address or canonical(address) in seen:
            continue
        if len(seen) > MAX_PAGES:
            num_left_out += 1
            continue
        seen.add(canonical(address))
        yield deeper(lead, "page", address, f"sitemap: {lead.target}", lead.priority * (1.0 if is_index else 0.9))
    if num_left_out:
        yield LeftOut(f"{num_left_out} pages beyond the first {MAX_PAGES}", is_by_limit=False)


def _text(page: Page, max_bytes: int) -> str:
    body = page.body
    if body.startswith(b"\x1f\x8b"):
        try:
            body = zlib.decompressobj(31).decompress(body, max_bytes)
        except zlib.error:
            return ""
    return decode(body[:max_bytes], page.headers.get("content-type", ""))
