"""JSON Feed, https://www.jsonfeed.org/version/1.1/: an item with audio is a candidate, another a lead to its page."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from aria_data.collect.sources.base import Lead, LeftOut, deeper, make_candidate, next_page
from aria_data.collect.sources.players import is_audio_address, says_no_type
from aria_data.records import Candidate
from aria_data.web import Page, canonical, join

MAX_ATTACHMENTS = 100


def is_json_feed(page: Page) -> bool:
    """Whether a page that was read is a JSON Feed, by its type or its `version`."""
    if not page.is_read:
        return False
    head = page.head_text().lstrip()
    return head.startswith("{") and (
        page.content_type == "application/feed+json"
        or bool(re.search(r'"version"\s*:\s*"https?:\\?/\\?/(?:www\.)?jsonfeed\.org', head))
    )


def entries_of(page: Page, lead: Lead, limit: int) -> Iterator[Candidate | Lead | LeftOut]:
    """Read a fetched feed. Never raises, whatever it holds; anything that is no item is skipped."""
    try:
        feed = json.loads(page.text())
    except (ValueError, RecursionError):
        yield LeftOut("all of it: the feed is no JSON that can be read", is_by_limit=False)
        return
    feed = feed if isinstance(feed, dict) else {}
    listed = feed.get("items")
    items = [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []
    if len(items) > limit:
        yield LeftOut(f"{len(items) - limit} of {len(items)} entries")
    if address := join(page.url, _string(feed.get("next_url"))):
        yield next_page(lead, "feed", address)
    links = Counter(_string(item.get("url")) for item in items)
    for item in items[:limit]:
        link = join(page.url, _string(item.get("url")))
        attachment = _audio_of(item)
        is_own = links[_string(item.get("url"))] == 1 and link != join(page.url, _string(feed.get("home_page_url")))
        if attachment:
            yield _candidate(page, item, feed, attachment, link if is_own else "", lead)
        elif file := join(page.url, _file_of(item)):  # its first bytes will tell what it is
            yield deeper(lead, "page", file, str(lead), lead.priority, _string(item.get("title")))
        elif link:
            yield deeper(lead, "page", link, str(lead), lead.priority, _string(item.get("title")))


def _audio_of(item: dict[str, Any]) -> dict[str, Any]:
    for one in _attachments(item):
        is_audio = _string(one.get("mime_type")).strip().lower().startswith(("audio/", "video/"))
        if is_audio or is_audio_address(one["url"]):
            return one
    return {}


def _file_of(item: dict[str, Any]) -> str:
    """Give the address of an attachment whose type and ending say nothing, "" without one."""
    for one in _attachments(item):
        if says_no_type(_string(one.get("mime_type")), one["url"]):
            return one["url"]
    return ""


def _attachments(item: dict[str, Any]) -> list[dict[str, Any]]:
    listed = item.get("attachments")
    every = listed[:MAX_ATTACHMENTS] if isinstance(listed, list) else []
    return [one for one in every if isinstance(one, dict) and _string(one.get("url"))]


def _candidate(page: Page, item: dict, feed: dict, attachment: dict, link: str, lead: Lead) -> Candidate:
    address = join(page.url, attachment["url"]) or attachment["url"]
    return make_candidate(
        "web",
        canonical(link or address),
        location=address,
        page_url=link,
        title=item.get("title") or attachment.get("title"),
        description=item.get("content_text") or item.get("content_html") or item.get("summary"),
        uploader=_author(item) or _author(feed) or feed.get("title"),
        duration_s=attachment.get("duration_in_seconds"),
        num_bytes=attachment.get("size_in_bytes"),
        tags={"album": feed.get("title"), "keywords": item.get("tags")},
        lead=lead,
    )


def _author(about: dict[str, Any]) -> str:
    listed = about.get("authors")
    every = listed if isinstance(listed, list) else [about.get("author")]
    return ", ".join(_string(one.get("name")) for one in every[:10] if isinstance(one, dict) and one.get("name"))


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""
