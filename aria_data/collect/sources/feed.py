"""RSS, Atom and JSON feeds, podcasts: an entry with audio is a candidate, any other entry is a lead to its page."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from aria_data.collect.sources import json_feed
from aria_data.collect.sources.base import Lead, LeftOut, deeper, make_candidate, next_page
from aria_data.collect.sources.players import is_audio_address, says_no_type
from aria_data.records import Candidate
from aria_data.storage import printable
from aria_data.web import Page, Web, canonical, fetch_error, join, require_unreserved, robots_of
from aria_data.web.first_tag import first_tag
from aria_data.web.trial_reading import TRIAL, parse_feed

TRIED_CHARS = 300_000  # feedparser's patterns take 2 s for so long a feed, whatever it holds, and then ever longer
XML_TYPES = ("application/rss+xml", "application/atom+xml", "application/rdf+xml")


def follow(lead: Lead, web: Web, limit: int) -> Iterator[Candidate | Lead | LeftOut]:
    """Yield the entries of the feed at an address. Raises as `Web.get` does, also for a page that is no feed."""
    robots_of(web).require(lead.target)
    page = web.get(lead.target)
    require_unreserved(page)
    if not is_feed(page):
        raise fetch_error("unsupported", f"{printable(lead.target, 160)}: is no RSS, Atom or JSON feed.")
    yield from entries_of(page, lead, limit)


def is_feed(page: Page) -> bool:
    """Whether a page that was read is a feed, by its type or its first tag."""
    if not page.is_read:
        return False
    if page.content_type in XML_TYPES or json_feed.is_json_feed(page):
        return True
    return first_tag(page.head_text()) in ("rss", "feed", "rdf")


def entries_of(page: Page, lead: Lead, limit: int) -> Iterator[Candidate | Lead | LeftOut]:
    """Read a fetched feed; anything that is no entry is skipped. Raises only `FetchFailed`, for one without an end."""
    if json_feed.is_json_feed(page):
        yield from json_feed.entries_of(page, lead, limit)
        return
    content = page.text()
    if len(content) > TRIED_CHARS:
        TRIAL.require_readable(page.url, content, "feed")
    parsed = parse_feed(content)
    about, entries = parsed.get("feed", {}), parsed.get("entries", [])
    if len(entries) > limit:
        yield LeftOut(f"{len(entries) - limit} of {len(entries)} entries")
    following = next(
        (_string(one.get("href")) for one in about.get("links", []) if one.get("rel") == "next"), ""
    )  # RFC 5005
    if address := join(page.url, following):
        yield next_page(lead, "feed", address)
    links = Counter(_string(entry.get("link")) for entry in entries)
    shared = {link for link, count in links.items() if count > 1} | {_string(about.get("link"))}
    for entry in entries[:limit]:
        enclosure = _audio_of(entry)
        link = join(page.url, _string(entry.get("link")))
        if enclosure:
            is_own = _string(entry.get("link")) not in shared  # many podcasts link every entry to their home page
            yield _candidate(page, entry, about, enclosure, link if is_own else "", lead)
        elif file := join(page.url, _file_of(entry)):  # its first bytes will tell what it is
            yield deeper(lead, "page", file, str(lead), lead.priority, _string(entry.get("title")))
        elif link:
            yield deeper(lead, "page", link, str(lead), lead.priority, _string(entry.get("title")))


def _audio_of(entry: Any) -> dict[str, Any]:
    for enclosure in [*entry.get("enclosures", []), *entry.get("media_content", [])]:
        address = _string(enclosure.get("href") or enclosure.get("url"))
        kind = _string(enclosure.get("type"))
        if address and (kind.startswith(("audio/", "video/")) or is_audio_address(address)):
            return {"address": address, "length": enclosure.get("length") or enclosure.get("filesize")}
    return {}


def _file_of(entry: Any) -> str:
    """Give the address of an enclosure whose type and ending say nothing, "" without one."""
    for enclosure in entry.get("enclosures", []):
        address, kind = _string(enclosure.get("href") or enclosure.get("url")), _string(enclosure.get("type"))
        if address and says_no_type(kind, address):
            return address
    return ""


def _candidate(page: Page, entry: Any, about: Any, enclosure: dict[str, Any], link: str, lead: Lead) -> Candidate:
    address = join(page.url, enclosure["address"])
    size = _string(enclosure["length"])
    licence = next((_string(one.get("href")) for one in entry.get("links", []) if one.get("rel") == "license"), "")
    description = _plain(_string(entry.get("summary")) or _string(entry.get("subtitle")))
    return make_candidate(
        "web",
        canonical(link) if link else canonical(address or enclosure["address"]),
        location=address or enclosure["address"],
        page_url=link,
        title=entry.get("title"),
        description=description,
        uploader=entry.get("author") or about.get("author") or about.get("title"),
        licence=licence or entry.get("rights") or entry.get("license") or about.get("rights") or about.get("license"),
        duration_s=entry.get("itunes_duration"),
        num_bytes=int(size) if size.isdigit() and len(size) < 16 else 0,
        tags={"album": about.get("title"), "keywords": [tag.get("term") for tag in entry.get("tags", [])[:20]]},
        lead=lead,
    )


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _plain(content: str) -> str:
    return " ".join(re.sub(r"<[^>]{0,500}>", " ", content).split())
