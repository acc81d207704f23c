"""The Internet Archive: searches, collections and creators lead to items, an item to its recordings and its creator.

    internet_archive:subject:"piano" AND licenseurl:*     a search in the archive's own syntax
    internet_archive:collection:NAME, creator:NAME, uploader:NAME
    internet_archive:item:IDENTIFIER                      or https://archive.org/details/IDENTIFIER

A search costs one request for every 1000 items, an item one. Searches use the scraping API, whose cursor has no end;
advancedsearch.php gives no item after the 10,000th (https://archive.org/help/aboutsearch.htm). Items are read as
https://archive.org/developers/md-read.html and .../developers/metadata-schema describe. The uploader's own files are
candidates; a file that the archive derived takes the place of an original that is too large. Items that are lent,
restricted or private are no candidates.

The environment variable ARIA_DATA_ARCHIVE_API replaces https://archive.org, for a mirror or a test; the audio of
candidates is then fetched from there, too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

from aria_data.collect.sources.api import get_json, is_true, plain, strip_html, values, whole
from aria_data.collect.sources.base import MAX_NAME, Lead, LeftOut, deeper, make_candidate, text
from aria_data.records import Candidate
from aria_data.storage import printable
from aria_data.web import Web, fetch_error, host_of
from aria_data.web.addresses import MAX_URL_CHARS

API = "https://archive.org"
SITE = "https://archive.org"
SOURCE = "internet_archive"
HOSTS = ("archive.org", "www.archive.org")
MAX_ORIGINAL_BYTES = 500_000_000  # instead of a larger original a derivative is taken; a CD as FLAC has 300 MB
MAX_FILES, MAX_SEARCH_PAGES = 20_000, 1000
PAGE_ITEMS = 1000
MIN_PAGE_ITEMS, MAX_PAGE_ITEMS = 100, 10_000  # the limits of the scraping API
CREATOR_PRIORITY = 0.5  # of the item's priority: other items of its creator are less likely to fit
LOSSLESS = ("flac", "wav", "wave", "aif", "aiff", "aifc", "shn", "w64", "tta", "tak", "ape")
LOSSY = ("mp3", "ogg", "oga", "opus", "m4a", "m4b", "aac", "mp2", "mpc", "mka", "weba", "wma", "ac3", "au", "caf")
DERIVATIVES = ("vbr mp3", "ogg vorbis")  # the archive's names of formats, the better first
_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_FIELDS = ("collection", "creator", "uploader")
_NOT_A_NAME = re.compile(r"[\"():\[\]{}*?^~\\]|\b(AND|OR|NOT|TO)\b")
_NOBODY = frozenset(("various", "various artists", "unknown", "unknown artist", "anonymous", "n/a", "none"))


def follow(lead: Lead, web: Web, limit: int) -> Iterator[Candidate | Lead | LeftOut]:
    """Yield leads to at most `limit` items for a search; at most `limit` candidates, then leads, for an item."""
    kind, name = _target(lead.target)
    yield from _of_item(name, lead, web, limit) if kind == "item" else _of_search(name, lead, web, limit)


def base() -> str:
    """Give the address of the archive, without a slash at its end."""
    return (os.environ.get("ARIA_DATA_ARCHIVE_API") or API).rstrip("/")


def _target(target: str) -> tuple[str, str]:
    """Read a lead's target as ("item", its identifier) or ("search", a query)."""
    if target.startswith(("http://", "https://")):
        return "item", _identifier(_identifier_in(target), target)
    field, _, name = (part.strip() for part in target.partition(":"))
    if field.lower() == "item":
        return "item", _identifier(name, target)
    name = name[1:-1] if len(name) > 1 and name[0] == name[-1] == '"' else name
    if field.lower() in _FIELDS and name and not _NOT_A_NAME.search(name):
        return "search", f'{field.lower()}:"{name}" AND mediatype:(audio OR etree)'
    return "search", target if "mediatype:" in target.lower() else f"({target}) AND mediatype:(audio OR etree)"


def _identifier_in(address: str) -> str:
    if host_of(address) not in (*HOSTS, host_of(base()) or SITE):
        return ""
    path = [unquote(part) for part in urlsplit(address).path.split("/") if part]
    return path[1] if len(path) > 1 and path[0] in ("details", "download", "metadata", "embed") else ""


def _identifier(name: str, target: str) -> str:
    if not _IDENTIFIER.fullmatch(name):
        raise _unsupported(target, "names no item of the Internet Archive. Write item:IDENTIFIER.")
    return name


def _unsupported(target: str, why: str) -> Exception:
    return fetch_error("unsupported", f"{printable(target, 120)}: {why}")


def _of_search(query: str, lead: Lead, web: Web, limit: int) -> Iterator[Lead | LeftOut]:
    """Yield leads to the items that a search finds. A page without new items ends it, even if there is a cursor."""
    found: set[str] = set()
    cursor = ""
    for _ in range(MAX_SEARCH_PAGES):
        given = {"q": query, "fields": "identifier", "count": str(max(MIN_PAGE_ITEMS, min(limit, PAGE_ITEMS)))}
        given |= {"cursor": cursor} if cursor else {}
        address = f"{base()}/services/search/v1/scrape?{urlencode(given, errors='replace')}"
        answer = get_json(web, address)
        new = [name for name in dict.fromkeys(_identifiers(answer.get("items"))) if name not in found]
        for name in new[: limit - len(found)]:
            yield deeper(lead, SOURCE, f"item:{name}", str(lead), lead.priority)
        is_left = len(found) + len(new) > limit
        found.update(new)
        next_cursor = answer.get("cursor")
        cursor = next_cursor if isinstance(next_cursor, str) else ""
        if is_left or (cursor and new and len(found) >= limit):
            total = answer.get("total")
            yield LeftOut(f"all after the first {limit} items" + (f" of {total}" if isinstance(total, int) else ""))
        if not cursor or not new or len(found) >= limit:
            return


def _identifiers(items: Any) -> list[str]:
    listed = items[:MAX_PAGE_ITEMS] if isinstance(items, list) else []
    names = [item.get("identifier") for item in listed if isinstance(item, dict)]
    return [name for name in names if isinstance(name, str) and _IDENTIFIER.fullmatch(name)]


def _of_item(identifier: str, lead: Lead, web: Web, limit: int) -> Iterator[Candidate | Lead | LeftOut]:
    """Yield an item's recordings, then a lead to its creator; for a collection, a lead to the search of its items."""
    record = get_json(web, f"{base()}/metadata/{identifier}")
    metadata = record.get("metadata")
    if not record or is_true(record.get("is_dark")):
        raise fetch_error("gone", f"item:{identifier}: the Internet Archive has no such item, or not any more.")
    if not isinstance(metadata, dict):
        raise fetch_error("network", f"item:{identifier}: its record holds no metadata.")
    if plain(metadata.get("mediatype")) == "collection":
        yield deeper(lead, SOURCE, f"collection:{identifier}", str(lead), lead.priority)
        return
    _require_open(identifier, record, metadata)
    recordings = _recordings(record.get("files"), identifier)
    if not recordings:
        raise _unsupported(f"item:{identifier}", "holds no audio that its uploader gave and that may be fetched.")
    if len(recordings) > limit:
        yield LeftOut(f"{len(recordings) - limit} of {len(recordings)} recordings")
    for about, file in recordings[:limit]:
        yield _candidate(identifier, metadata, about, file, lead)
    yield from _neighbours(identifier, metadata, lead)


def _require_open(identifier: str, record: dict[str, Any], metadata: dict[str, Any]) -> None:
    """Raise `FetchFailed` (private) for an item that is lent or shown to some people only."""
    is_lent = any(name.startswith("lending___") for name in metadata) or "inlibrary" in values(
        metadata.get("collection")
    )
    if is_lent or any(is_true(place.get("access-restricted-item")) for place in (record, metadata)):
        raise fetch_error("private", f"item:{identifier}: is lent or restricted, so it is not fetched.")


def _recordings(files: Any, identifier: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Give each recording once, as (its metadata, the file to fetch).

    Originals that differ only in their suffix are one recording: the lossless one is taken.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    derived: dict[str, list[dict[str, Any]]] = {}
    for file in files[:MAX_FILES] if isinstance(files, list) else ():
        if not isinstance(file, dict) or is_true(file.get("private")) or not _is_name(file.get("name"), identifier):
            continue
        stem, _, suffix = file["name"].rpartition(".")
        if file.get("source") == "original" and suffix.lower() in LOSSLESS + LOSSY and stem:
            groups.setdefault(stem, []).append(file)
        elif file.get("source") == "derivative" and plain(file.get("format")).lower() in DERIVATIVES:
            derived.setdefault(plain(file.get("original")), []).append(file)
    return [
        _choose(group, [one for file in group for one in derived.get(file["name"], ())]) for group in groups.values()
    ]


def _choose(originals: list[dict[str, Any]], derived: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give (the metadata of all files of a recording, the best original's first, the file to fetch)."""
    best = min(originals, key=lambda file: _order(file, False))
    about: dict[str, Any] = {}
    for file in (*derived, *originals, best):
        about |= {name: value for name, value in file.items() if value}
    keyed = [(_order(file, False), file) for file in originals] + [(_order(file, True), file) for file in derived]
    chosen = min(keyed, key=lambda pair: pair[0])[1]
    return about, chosen


def _order(file: dict[str, Any], is_derived: bool) -> tuple[bool, bool, int]:
    """Give the sort key of a file among those of one recording: not too large, then original, then lossless."""
    suffix = file["name"].rpartition(".")[2].lower()
    format_name = plain(file.get("format")).lower()
    rank = DERIVATIVES.index(format_name) if is_derived else (*LOSSLESS, *LOSSY).index(suffix)
    return whole(file.get("size")) > MAX_ORIGINAL_BYTES, is_derived, rank


def _is_name(name: Any, identifier: str) -> bool:
    """Whether a file's name leads to a file of this item and nowhere else."""
    if (
        not isinstance(name, str)
        or not name
        or "\\" in name
        or any(part in ("", ".", "..") for part in name.split("/"))
    ):
        return False
    if any(ord(char) < 32 or 127 <= ord(char) < 160 or 0xD800 <= ord(char) < 0xE000 for char in name):
        return False
    return len(_location(identifier, name)) <= MAX_URL_CHARS


def _location(identifier: str, name: str) -> str:
    return f"{base()}/download/{identifier}/{quote(name)}"


def _candidate(
    identifier: str, metadata: dict[str, Any], about: dict[str, Any], file: dict[str, Any], lead: Lead
) -> Candidate:
    item_title = plain(metadata.get("title"))
    name = file["name"] if file.get("source") == "original" else plain(file.get("original"))
    licences = values(metadata.get("licenseurl")) + values(metadata.get("rights"))
    described = "\n".join(values(about.get("description")) + values(metadata.get("description")))
    tags = {
        "album": plain(about.get("album")) or item_title,
        "artist": plain(about.get("artist")) or plain(about.get("creator")),
        **{field: plain(about.get(field)) for field in ("track", "composer", "genre")},
        **{field: plain(metadata.get(field)) for field in ("date", "subject", "language")},
    }
    return make_candidate(
        SOURCE,
        f"{identifier}/{name}",
        location=_location(identifier, file["name"]),
        page_url=f"{SITE}/details/{identifier}",
        title=_title(plain(about.get("title")), name, item_title),
        description=strip_html(described),
        uploader=plain(metadata.get("creator")),
        licence="; ".join(licences),
        duration_s=plain(file.get("length")) or plain(about.get("length")),
        num_bytes=whole(file.get("size")),
        tags=tags,
        lead=lead,
    )


def _title(track: str, name: str, item_title: str) -> str:
    """Give the track's title, with the item's before it where it is short ("I. Allegro")."""
    track = track or re.sub(r"[_\s]+", " ", name.rpartition("/")[2].rpartition(".")[0]).strip()
    is_bare = len(re.findall(r"[^\W\d_]{2,}", track)) < 3
    if not item_title or not is_bare or item_title.casefold() == track.casefold():
        return track
    return f"{item_title} - {track}" if track else item_title


def _neighbours(identifier: str, metadata: dict[str, Any], lead: Lead) -> Iterator[Lead]:
    """Yield a lead to other items of the item's creator."""
    names = [text(re.sub(r'["\\\s]+', " ", name), MAX_NAME) for name in values(metadata.get("creator"))]
    for name in names[:1]:
        if name and name.casefold() not in _NOBODY:
            via = f"{SOURCE}: item:{identifier}"
            yield deeper(lead, SOURCE, f'creator:"{name}"', via, lead.priority * CREATOR_PRIORITY)
