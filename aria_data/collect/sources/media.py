"""yt-dlp as a reader of metadata: the candidates and leads at an address, without fetching audio."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aria_data.collect.sources.base import Lead, LeftOut, deeper, make_candidate, text
from aria_data.records import Candidate
from aria_data.storage import printable
from aria_data.web import Page, Web, canonical, fetch_error, join

GENERIC = "Generic"
MAX_NESTED = 1000  # playlists inside a playlist that become leads


def extractor_of(url: str, web: Web) -> str:
    """Give the name of yt-dlp's extractor for the address's site; `Generic` when there is none."""
    return next((name for name, each in web.own_youtube_dl()._ies.items() if each.suitable(url)), GENERIC)


def entries_of(
    address: str, web: Web, lead: Lead, limit: int, page: Page | None = None
) -> Iterator[Candidate | Lead | LeftOut]:
    """Yield what yt-dlp finds at an address or search: candidates, and leads to playlists inside.

    A playlist is read flat: one or a few requests, none for the pages of its entries. At most `limit` entries are read.
    With `page`, the answer of the address from before, the address is not requested again. Raises as `Web.get` does.
    """
    params: dict[str, Any] = {
        "extract_flat": "in_playlist",
        "playlistend": limit + 1,  # one more shows whether any is left
        "lazy_playlist": False,
        "skip_download": True,
    }
    with web.errors_of(address), web.youtube_dl(**params) as ydl:
        ydl.policy.known = web.known(page, address) if page is not None else None
        info = ydl.extract_info(address, download=False, process=False)
        hops = 0
        while isinstance(info, dict) and info.get("_type") in ("url", "url_transparent") and hops < 3:
            info = ydl.extract_info(_inner(info), download=False, process=False, ie_key=info.get("ie_key"))
            hops += 1
        if not isinstance(info, dict):
            raise fetch_error("unsupported", f"{printable(address, 160)}: no audio was found at this address.")
        if page is not None and info.get("direct"):  # what is no HTML is taken for audio there
            raise fetch_error("unsupported", f"{printable(address, 160)}: is a text without audio.")
        if info.get("_type") in ("playlist", "multi_video"):
            yield from _of_playlist(info, address, lead, limit)
        else:
            yield from _of_entry(info, address, lead)


def _inner(info: dict[str, Any]) -> str:
    url = info.get("url")
    if not isinstance(url, str):
        raise fetch_error("unsupported", "the page names no address of its audio.")
    return url


def _of_playlist(info: dict[str, Any], address: str, lead: Lead, limit: int) -> Iterator[Candidate | Lead | LeftOut]:
    found = nested = 0
    for entry in info.get("entries") or ():
        if found >= limit:
            num_all = info.get("playlist_count")
            yield LeftOut(f"all after the first {limit}" + (f" of {num_all}" if isinstance(num_all, int) else ""))
            break
        if not isinstance(entry, dict):
            continue
        url = entry.get("webpage_url") or entry.get("url")
        is_list = entry.get("_type") in ("playlist", "multi_video") or str(entry.get("ie_key", "")).endswith(
            ("Tab", "Playlist", "Channel", "User", "Album", "Set")
        )
        if is_list and isinstance(url, str) and url.startswith("http"):
            nested += 1
            if nested <= MAX_NESTED:
                yield deeper(lead, "page", url, str(lead), lead.priority * 0.9)
            continue
        given = {name: info.get(name) for name in ("uploader", "uploader_url", "channel", "channel_url", "license")}
        for one in _of_entry({**given, **{k: v for k, v in entry.items() if v is not None}}, address, lead):
            found += isinstance(one, Candidate)
            yield one
    if nested > MAX_NESTED:
        yield LeftOut(f"{nested - MAX_NESTED} of {nested} playlists")


def _of_entry(info: dict[str, Any], address: str, lead: Lead) -> Iterator[Candidate | Lead | LeftOut]:
    page = info.get("webpage_url") or info.get("original_url") or info.get("url")
    if not isinstance(page, str) or not page.startswith(("http://", "https://")):
        page = join(address, str(page or "")) or address
    if not page.startswith(("http://", "https://")):
        return  # a search result without an address
    site = str(info.get("extractor_key") or info.get("ie_key") or GENERIC)
    is_known_site = site not in (GENERIC, "HtmlEmbed", "") and info.get("id")
    uploader_url = info.get("channel_url") or info.get("uploader_url")
    yield make_candidate(
        site if is_known_site else "web",
        str(info["id"]) if is_known_site else canonical(page),
        location=page,
        title=info.get("track") or info.get("title"),
        description=info.get("description"),
        uploader=info.get("uploader") or info.get("channel") or info.get("creator") or info.get("artist"),
        uploader_url=uploader_url,
        licence=info.get("license"),
        duration_s=info.get("duration"),
        tags=_tags(info),
        lead=lead,
    )


def _tags(info: dict[str, Any]) -> dict[str, str]:
    names = (
        "artist",
        "album",
        "track",
        "composer",
        "genre",
        "release_year",
        "upload_date",
        "categories",
        "tags",
        "language",
    )
    return {name: text(info.get(name), 200) for name in names if info.get(name)}
