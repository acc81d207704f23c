"""Wikimedia Commons: audio files of a category or a search, and leads to the categories below a category.

    wikimedia_commons:category:Audio files of piano music
    wikimedia_commons:chopin nocturne                     a search among audio files
    wikimedia_commons:File:Example.ogg
    https://commons.wikimedia.org/wiki/Category:... or .../File:...

One request is made for 50 files. Requests follow https://www.mediawiki.org/wiki/API:Etiquette: one after another,
several files in one, `maxlag=5`, and a wait when the API asks for one. MIDI files, which Commons counts as audio, are
skipped. An API is made for programs, so its own rules count, not robots.txt.

The environment variable ARIA_DATA_COMMONS_API replaces https://commons.wikimedia.org/w/api.php, for another MediaWiki
or a test.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

from aria_data.collect.sources.api import get_json, is_true, plain, strip_html
from aria_data.collect.sources.base import Lead, LeftOut, deeper, make_candidate
from aria_data.records import Candidate
from aria_data.storage import printable
from aria_data.web import Web, fetch_error, host_of, join

API = "https://commons.wikimedia.org/w/api.php"
SITE = "https://commons.wikimedia.org"
SOURCE = "wikimedia_commons"
HOSTS = ("commons.wikimedia.org", "commons.m.wikimedia.org")
PAGE_FILES = 50
MAX_REQUESTS = 200  # of one lead: 10,000 files, where the search ends too
LAST = "last"
MAX_QUERY_CHARS = 300  # the limit of the search
MAX_ANSWER_PAGES, MAX_BATCH_PAGES = 500, 1000
MAX_TITLE_CHARS = 300  # a title has 255 bytes, and its namespace
SUBCATEGORY_PRIORITY = 0.8
IS_FILE, IS_CATEGORY = 6, 14  # namespaces
_METADATA_FIELDS = "ObjectName|ImageDescription|Artist|Credit|DateTimeOriginal|LicenseShortName|LicenseUrl|UsageTerms"
_PARAMETERS = {
    "action": "query",
    "format": "json",
    "formatversion": 2,
    "maxlag": 5,
    "prop": "imageinfo|categories",
    "iiprop": "url|size|mime|mediatype|sha1|user|extmetadata",  # `size` brings the duration of audio with it
    "iiextmetadatafilter": _METADATA_FIELDS,
    "iiextmetadatalanguage": "en",
    "cllimit": "max",
    "clshow": "!hidden",
}
_NO_TITLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff#<>\[\]|{}]")  # what MediaWiki allows in no title


def follow(lead: Lead, web: Web, limit: int) -> Iterator[Candidate | Lead | LeftOut]:
    """Yield at most `limit` candidates, and at most as many leads to subcategories. Raises as `Web.get` does."""
    kind, name = _target(lead.target)
    num_found = num_leads = num_left_out = 0
    for pages, is_more in _batches(_query(kind, name), web):
        for page in pages:
            for one in _subcategory(page, lead) if page.get("ns") == IS_CATEGORY else ():
                num_leads += 1
                if num_leads <= limit:
                    yield one
            candidate = _candidate(page, lead)
            num_left_out += candidate is not None and num_found >= limit
            if candidate is not None and num_found < limit:
                num_found += 1
                yield candidate
            elif kind == "file" and candidate is None:
                _raise_for_file(page, lead.target)
        if is_more and (num_found >= limit or is_more is LAST):
            yield LeftOut(f"all after the first {num_found} files", is_by_limit=num_found >= limit)
            break
    else:
        if num_left_out:
            yield LeftOut(f"{num_left_out} of {num_found + num_left_out} files")
    if num_leads > limit:
        yield LeftOut(f"{num_leads - limit} of {num_leads} subcategories")
    if kind == "file" and not num_found:
        raise fetch_error("network", f"{printable(lead.target, 120)}: the answer does not speak of the file.")


def base() -> str:
    """Give the address of the API."""
    return os.environ.get("ARIA_DATA_COMMONS_API") or API


def _target(target: str) -> tuple[str, str]:
    """Read a lead's target as ("category" or "file", its title without the namespace) or ("search", words)."""
    is_address = target.startswith(("http://", "https://"))
    title = _title_in(target) if is_address else target
    namespace, colon, name = (part.strip() for part in title.replace("_", " ").partition(":"))
    kind = (
        {"category": "category", "file": "file", "image": "file"}.get(namespace.lower(), "search")
        if colon
        else "search"
    )
    if kind == "search" and not is_address:
        return kind, " ".join(target.split())
    if kind == "search" or not name or _NO_TITLE.search(name):
        raise fetch_error("unsupported", f"{printable(target, 120)}: names no category or file of Wikimedia Commons.")
    return kind, " ".join(name.split())


def _title_in(address: str) -> str:
    """Give the title in an address: /wiki/TITLE, or /w/index.php?title=TITLE."""
    if host_of(address) not in (*HOSTS, host_of(base()) or SITE):
        return ""
    parts = urlsplit(address)
    if parts.path.startswith("/wiki/"):
        return unquote(parts.path.removeprefix("/wiki/"))
    return parse_qs(parts.query).get("title", [""])[0]


def _query(kind: str, name: str) -> dict[str, Any]:
    if kind == "file":
        return {"titles": f"File:{name}", "redirects": 1}
    if kind == "category":
        given = {"gcmtitle": f"Category:{name}", "gcmtype": "subcat|file", "gcmlimit": PAGE_FILES}
        return {"generator": "categorymembers", **given}
    words = name if "filetype:" in name.lower() else f"filetype:audio {name}"
    return {
        "generator": "search",
        "gsrsearch": words[:MAX_QUERY_CHARS],
        "gsrnamespace": IS_FILE,
        "gsrlimit": PAGE_FILES,
    }


def _batches(query: dict[str, Any], web: Web) -> Iterator[tuple[list[dict[str, Any]], bool | str]]:
    """Yield the pages of a query batch by batch, each once and whole: parts that come in several answers are joined.
    With each comes whether there are more; `LAST` where there are, but no more is asked.

    `batchcomplete` marks the end of a batch (https://www.mediawiki.org/wiki/API:Continue). A continuation that came
    before ends the query, because the API would repeat itself without end.
    """
    batch: dict[str, dict[str, Any]] = {}
    given: dict[str, str] = {}
    seen: set[str] = set()
    for number in range(1, MAX_REQUESTS + 1):
        answer = get_json(web, f"{base()}?{urlencode({**_PARAMETERS, **query, **given}, errors='replace')}")
        _gather(answer.get("query"), batch)
        given = _continuation(answer.get("continue"))
        step = urlencode(sorted(given.items()))
        is_end = not given or step in seen
        is_last = number == MAX_REQUESTS and not is_end
        if is_end or is_last or is_true(answer.get("batchcomplete")) or len(batch) > MAX_BATCH_PAGES:
            new = [page for title, page in batch.items() if title not in seen]
            seen.update(batch)
            batch = {}
            yield sorted(new, key=_place), LAST if is_last else not is_end
        if is_end:
            return
        seen.add(step)


def _gather(answer: Any, batch: dict[str, dict[str, Any]]) -> None:
    """Add the pages of an answer to those of the batch."""
    pages = answer.get("pages") if isinstance(answer, dict) else None
    for page in pages[:MAX_ANSWER_PAGES] if isinstance(pages, list) else ():
        if not isinstance(page, dict) or not isinstance(page.get("title"), str) or len(page["title"]) > MAX_TITLE_CHARS:
            continue
        known = batch.setdefault(page["title"], {})
        for name, value in page.items():
            both = (
                [*known.get(name, ()), *value]
                if isinstance(value, list) and isinstance(known.get(name, []), list)
                else value
            )
            known[name] = both[:500] if isinstance(both, list) else both


def _place(page: dict[str, Any]) -> int:
    """Give a page's rank in a search; 0 in a category, which has no ranks."""
    index = page.get("index")
    return index if isinstance(index, int) else 0


def _continuation(given: Any) -> dict[str, str]:
    """Keep the parameters that continue a query, and no others."""
    if not isinstance(given, dict):
        return {}
    return {
        name: str(value)
        for name, value in given.items()
        if re.fullmatch(r"[a-z]{0,10}(continue|offset)", name)
        and isinstance(value, str | int)
        and len(str(value)) < 1000
    }


def _subcategory(page: dict[str, Any], lead: Lead) -> Iterator[Lead]:
    name = page["title"].partition(":")[2].strip()
    if name and not _NO_TITLE.search(name):
        yield deeper(lead, SOURCE, f"category:{name}", str(lead), lead.priority * SUBCATEGORY_PRIORITY)


def _raise_for_file(page: dict[str, Any], target: str) -> None:
    """Raise `FetchFailed` with the reason why a requested file is no candidate."""
    if is_true(page.get("missing")) or is_true(_info(page).get("filemissing")):
        raise fetch_error("gone", f"{printable(target, 120)}: Wikimedia Commons has no such file, or not any more.")
    raise fetch_error("unsupported", f"{printable(target, 120)}: is no audio file.")


def _info(page: dict[str, Any]) -> dict[str, Any]:
    infos = page.get("imageinfo")
    return next((info for info in infos if isinstance(info, dict)), {}) if isinstance(infos, list) else {}


def _candidate(page: dict[str, Any], lead: Lead) -> Candidate | None:
    """Make a candidate of a file's page; None for a page without audio or without an address."""
    info = _info(page)
    mime = plain(info.get("mime")).lower()
    is_audio = plain(info.get("mediatype")).upper() == "AUDIO" or mime.startswith("audio/")
    location = _location(info.get("url"))
    if not is_audio or "midi" in mime or not location:
        return None
    title = page["title"].partition(":")[2] or page["title"]
    user = plain(info.get("user"))
    named = _metadata(info, "ObjectName")
    return make_candidate(
        SOURCE,
        str(page["pageid"]) if isinstance(page.get("pageid"), int) else page["title"],
        location=location,
        page_url=_page_url(info.get("descriptionurl"), page["title"]),
        title=(title.rpartition(".")[0] or title).replace("_", " "),
        description=_metadata(info, "ImageDescription"),
        uploader=" ".join(_metadata(info, "Artist").split()) or user,
        uploader_url=f"{SITE}/wiki/User:{_quoted(user)}" if user else "",
        licence=" ".join((_metadata(info, "LicenseShortName"), _metadata(info, "LicenseUrl"))).strip()
        or _metadata(info, "UsageTerms"),
        duration_s=info.get("duration"),
        num_bytes=info.get("size"),
        tags={
            "title": named if named != title.rpartition(".")[0] else "",
            "categories": _categories(page.get("categories")),
            "date": _metadata(info, "DateTimeOriginal"),
            "credit": _metadata(info, "Credit"),
            "sha1": plain(info.get("sha1")),
        },
        lead=lead,
    )


def _location(url: Any) -> str:
    """Give a web address without the tracking parameters that the API adds; "" for anything else."""
    if not isinstance(url, str) or not url.isascii() or not re.match(r"(https?:)?//[^/]", url):
        return ""
    return join(base(), re.sub(r"\?utm_[^#]*", "", url))


def _page_url(url: Any, title: str) -> str:
    return _location(url) or f"{SITE}/wiki/{_quoted(title)}"


def _quoted(title: str) -> str:
    return quote(title.replace(" ", "_"), safe="/:,()!*';@", errors="replace")


def _metadata(info: dict[str, Any], name: str) -> str:
    """Give a field of `extmetadata`, whose values are HTML, as text."""
    fields = info.get("extmetadata")
    field = fields.get(name) if isinstance(fields, dict) else None
    return strip_html(plain(field.get("value"))) if isinstance(field, dict) else ""


def _categories(categories: Any) -> str:
    listed = categories if isinstance(categories, list) else ()
    titles = [one.get("title") for one in listed if isinstance(one, dict)]
    return ", ".join(title.partition(":")[2] or title for title in titles if isinstance(title, str))
