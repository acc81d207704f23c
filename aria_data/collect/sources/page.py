"""Any web address: a page of a site that yt-dlp knows (video, channel, playlist), or any page, feed or audio file.

A site that yt-dlp knows is read by yt-dlp. Any other page is fetched once, if its robots.txt allows, and read here: its
audio with metadata, the next page of its list (rel=next), and links to pages on the same site. A sitemap leads to its
pages. If no audio is found in a page, yt-dlp reads it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from aria_data.collect.sources import feed, sitemaps
from aria_data.collect.sources.base import Lead, LeftOut, deeper, make_candidate, next_page, text
from aria_data.collect.sources.html import Found, iso_duration_s, name_in, read_page
from aria_data.collect.sources.media import GENERIC, entries_of, extractor_of
from aria_data.collect.sources.players import (
    is_audio_address,
    is_stream_address,
    recording_key,
    says_something,
    title_of_address,
)
from aria_data.records import Candidate
from aria_data.storage import printable
from aria_data.web import FetchFailed, Page, Web, canonical, fetch_error, host_of, require_unreserved, robots_of

LINK_SHARE = 0.7  # of a page's priority that its links have
READABLE = (
    "text/", "application/xhtml", "application/xml", "application/rss", "application/atom", "application/json",
    "application/feed+json", "application/rdf", *sitemaps.PACKED,
)  # fmt: skip


def follow(lead: Lead, web: Web, limit: int) -> Iterator[Candidate | Lead | LeftOut]:
    """Yield the candidates and leads of an address. Raises as `Web.get` does."""
    if extractor_of(lead.target, web) != GENERIC:
        yield from entries_of(lead.target, web, lead, limit)
        return
    robots_of(web).require(lead.target)
    page = web.get(lead.target, wants=lambda content_type: content_type.startswith(READABLE) or not content_type)
    require_unreserved(page)
    if _is_audio(page):
        yield _direct(page, lead)
    elif feed.is_feed(page):
        yield from feed.entries_of(page, lead, limit)
    elif sitemaps.is_sitemap(page):
        yield from sitemaps.entries_of(page, lead)
    elif page.is_read:
        yield from _of_html(page, lead, web, limit)
    else:
        shown = printable(lead.target, 160)
        raise fetch_error("unsupported", f"{shown}: is {page.content_type or 'something'}, neither audio nor a page.")


def _is_audio(page: Page) -> bool:
    if is_stream_address(page.url):
        return not page.content_type.startswith("text/html")
    if page.content_type.endswith("mpegurl"):
        return False  # a list of other addresses
    return (
        page.content_type.startswith(("audio/", "video/"))
        or page.is_sniffed
        or (
            page.content_type in ("application/ogg", "application/octet-stream", "binary/octet-stream")
            and is_audio_address(page.url)
        )
    )


def _direct(page: Page, lead: Lead) -> Candidate:
    size = page.headers.get("content-length", "")
    return make_candidate(
        "web",
        canonical(lead.target),
        location=lead.target,
        title=lead.hint or title_of_address(page.url),
        num_bytes=int(size) if size.isdigit() and len(size) < 16 else 0,
        lead=lead,
    )


def _of_html(page: Page, lead: Lead, web: Web, limit: int) -> Iterator[Candidate | Lead | LeftOut]:
    found = read_page(page.url, page.text())
    every = list(_candidates(page, found, lead))
    candidates = every[:limit]
    if len(every) > limit:
        yield LeftOut(f"{len(every) - limit} of {len(every)} recordings")
    if found.num_left_out:
        yield LeftOut(f"{found.num_left_out} links beyond the first", is_by_limit=False)
    if found.num_unread:
        yield LeftOut(f"{found.num_unread} blocks of JSON that cannot be read", is_by_limit=False)
    if not candidates and not found.feeds:
        try:  # players and embedded sites that only yt-dlp can read
            candidates = [one for one in entries_of(lead.target, web, lead, limit, page) if isinstance(one, Candidate)]
        except FetchFailed as error:
            if not found.links:
                raise
            if error.reason not in ("unsupported", "network"):
                raise
    yield from candidates
    here, seen = host_of(page.url), {canonical(page.url), canonical(lead.target)}
    if found.following and host_of(found.following) == here and canonical(found.following) not in seen:
        seen.add(canonical(found.following))
        yield next_page(lead, "page", found.following)
    for address in found.feeds:
        if canonical(address) not in seen:
            seen.add(canonical(address))
            yield deeper(lead, "feed", address, f"links: {lead.target}", lead.priority, is_part=False)
    for address, words in found.links:
        if host_of(address) == here and canonical(address) not in seen:
            seen.add(canonical(address))
            yield deeper(
                lead, "page", address, f"links: {lead.target}", lead.priority * LINK_SHARE, words, is_part=False
            )


def _candidates(page: Page, found: Found, lead: Lead) -> Iterator[Candidate]:
    objects: dict[str, tuple[str, dict[str, Any]]] = {}  # by what their formats have in common
    for one in found.objects:
        if address := _address(one, page):
            objects.setdefault(recording_key(address), (address, one))
    known = {recording_key(address) for address, _ in found.audio}
    audio = [*found.audio, *((address, "") for key, (address, _) in objects.items() if key not in known)]
    is_alone = len(audio) == 1
    page_url = _page_url(page, found)
    is_other = canonical(page_url) not in (canonical(page.url), canonical(lead.target))  # a site may name one for all
    page_title = found.meta.get("og:title") or found.title
    about = found.meta.get("og:description") or found.meta.get("description", "")
    for address, words in audio:
        alone = found.objects[0] if is_alone and len(found.objects) == 1 else {}
        metadata = objects.get(recording_key(address), ("", alone))[1]
        title = name_of(metadata) or _title(words, page_title, is_alone, found, lead) or title_of_address(address)
        if not is_alone and page_title and not says_something(title):
            title = f"{page_title} - {title}"
        yield make_candidate(
            "web",
            canonical(page_url) if is_alone and not is_other else canonical(address),
            location=address,
            page_url=page_url,
            title=title,
            description=text(metadata.get("description"), 10_000)
            or (about if is_alone else f"{page_title}\n{about}".strip()),
            uploader=name_in(metadata.get("author") or metadata.get("byArtist") or metadata.get("creator"))
            or found.meta.get("author")
            or found.meta.get("og:site_name", ""),
            licence=metadata.get("license") if isinstance(metadata.get("license"), str) else found.licence,
            duration_s=iso_duration_s(metadata.get("duration")) or found.meta.get("music:duration"),
            tags={name: found.meta.get(name) for name in ("music:musician", "music:album", "keywords")},
            lead=lead,
        )


def _page_url(page: Page, found: Found) -> str:
    """Give the address that a page names as its own, unless it is another site's or the home page's."""
    own = found.canonical
    is_home = urlsplit(own).path in ("", "/") and not urlsplit(own).query and urlsplit(page.url).path not in ("", "/")
    return page.url if is_home or host_of(own) != host_of(page.url) else own


def _title(words: str, page_title: str, is_alone: bool, found: Found, lead: Lead) -> str:
    """Choose a recording's title: its own words where a page has several or the page's title says nothing of it."""
    if not is_alone:
        return words or lead.hint
    of_site = (
        "",
        found.meta.get("og:site_name", "").lower(),
        "home",
        "index",
        "untitled",
        "untitled document",
        "welcome",
    )
    is_vague = page_title.strip().lower() in of_site or not says_something(page_title)
    return (words or lead.hint or page_title) if is_vague else page_title


def name_of(metadata: dict[str, Any]) -> str:
    """Give the name or headline of a JSON-LD object, "" without one."""
    return text(metadata.get("name") or metadata.get("headline"), 500)


def _address(metadata: dict[str, Any], page: Page) -> str:
    from aria_data.web import join

    nested = metadata.get("associatedMedia") or metadata.get("audio")
    url = metadata.get("contentUrl") or (nested.get("contentUrl") if isinstance(nested, dict) else None)
    return join(page.url, url) if isinstance(url, str) else ""
