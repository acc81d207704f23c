"""Read a web page: its audio elements, links, metadata and JSON-LD. Makes no request."""

from __future__ import annotations

import json
import re
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

from aria_data.collect.sources.base import text, words
from aria_data.collect.sources.players import MAX_RECORDINGS, Players, is_audio_address
from aria_data.web import join

MAX_LINKS = 2000
FEED_TYPES = ("application/rss+xml", "application/atom+xml", "application/rdf+xml", "application/feed+json")


@dataclass
class Found:
    """The content of one page. Addresses are absolute; links may lead to any site."""

    title: str = ""
    meta: dict[str, str] = field(default_factory=dict)  # by lower-case name or property
    canonical: str = ""
    licence: str = ""
    audio: list[tuple[str, str]] = field(default_factory=list)  # (address, its title on the page), each recording once
    links: list[tuple[str, str]] = field(default_factory=list)
    following: str = ""  # the next page of the same list (rel=next)
    feeds: list[str] = field(default_factory=list)
    objects: list[dict[str, Any]] = field(default_factory=list)  # JSON-LD that describes audio
    num_left_out: int = 0  # audio and links beyond the limits
    num_unread: int = 0  # blocks of JSON that cannot be read


def read_page(url: str, content: str) -> Found:
    """Read a page. Never raises, whatever it holds."""
    reader = _Reader(url)
    with suppress(AssertionError, ValueError, RecursionError):  # html.parser fails on some broken declarations
        reader.feed(content)  # never `close`: it reads an unfinished tag again from each "<" on, which takes minutes
    reader.close_link()
    found = reader.found
    found.title = " ".join(found.title.split())
    found.audio = reader.players.recordings()
    return found


class _Reader(HTMLParser):
    def __init__(self, url: str):
        super().__init__(convert_charrefs=True)
        self.base, self.found, self.players = url, Found(), Players()
        self._inside = ""  # title, json-ld
        self._words: list[str] = []  # of the link that is open
        self._href = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        found = self.found
        self.players.opened(tag, given)
        if tag == "base" and given.get("href"):
            self.base = join(self.base, given["href"]) or self.base
        elif tag in ("audio", "source", "video") and given.get("src"):
            address = join(self.base, given["src"])
            if address and not given.get("type", "").startswith("image/"):
                self._audio(address, given.get("title") or given.get("aria-label", ""))
        elif tag == "meta":
            self._meta(given)
        elif tag == "link":
            self._link(given)
        elif tag == "a":
            self.close_link()
            self._anchor(given)
        elif tag == "title":
            self._inside = "title" if not found.title else ""
        elif tag == "script":
            kind = given.get("type", "").lower()
            is_tracks = "wp-playlist-script" in given.get("class", "")
            self._inside = "json-ld" if kind == "application/ld+json" else "tracks" if is_tracks else "script"
            self._words = [] if self._inside in ("json-ld", "tracks") else self._words
        elif tag == "img" and self._href:
            self._words.append(given.get("alt", ""))

    def handle_endtag(self, tag: str) -> None:
        self.players.closed(tag)
        if tag == "a":
            self.close_link()
        elif tag in ("title", "script"):
            if self._inside in ("json-ld", "tracks"):
                (self._json_ld if self._inside == "json-ld" else self._tracks)("".join(self._words))
                self._words = []
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "title":
            self.found.title = (self.found.title + data)[:1000] if len(self.found.title) < 1000 else self.found.title
        elif self._inside in ("json-ld", "tracks") or (self._href and not self._inside):
            self._words.append(data)
        if not self._inside and not self._href:
            self.players.said(data)

    def close_link(self) -> None:
        if not self._href:
            return
        shown = text(" ".join(" ".join(self._words).split()), 200)
        if is_audio_address(self._href):
            self._audio(self._href, shown)
        else:
            self.players.said(shown)
            self.found.links.append((self._href, shown))
        self._href, self._words = "", []

    def _anchor(self, given: dict[str, str]) -> None:
        relations = given.get("rel", "").lower().split()
        address = join(self.base, given.get("href", ""))
        is_wanted = len(self.found.links) < MAX_LINKS or is_audio_address(address)
        self.found.num_left_out += bool(address) and not is_wanted
        self._href = address if is_wanted else ""
        if "license" in relations:
            self.found.licence = self.found.licence or address
        if "next" in relations:
            self.found.following = self.found.following or address

    def _audio(self, address: str, shown: str) -> None:
        if not self.players.add(address, shown):
            self.found.num_left_out += 1

    def _tracks(self, source: str) -> None:
        """Read the playlist that WordPress writes beside its player."""
        try:
            content = json.loads(source)
        except (ValueError, RecursionError):
            self.found.num_unread += 1
            return
        for track in content.get("tracks") or () if isinstance(content, dict) else ():
            if isinstance(track, dict) and isinstance(track.get("src"), str):
                address = join(self.base, track["src"])
                shown = words(track.get("title") or track.get("caption"), 200)
                if address:
                    self._audio(address, shown)

    def _meta(self, given: dict[str, str]) -> None:
        name = (given.get("name") or given.get("property") or given.get("itemprop") or "").lower()
        if name and len(self.found.meta) < 200:
            self.found.meta.setdefault(name, text(given.get("content", ""), 10_000))
        if name in ("og:audio", "og:audio:url", "og:audio:secure_url", "twitter:player:stream"):
            address = join(self.base, given.get("content", ""))
            if address and (name.startswith("og:audio") or is_audio_address(address)):
                self.players.add(address, "", is_beside=False)

    def _link(self, given: dict[str, str]) -> None:
        relations = given.get("rel", "").lower().split()
        address = join(self.base, given.get("href", ""))
        if "canonical" in relations:
            self.found.canonical = self.found.canonical or address
        if "license" in relations:
            self.found.licence = self.found.licence or address
        if "alternate" in relations and given.get("type", "").split(";")[0].strip().lower() in FEED_TYPES:
            self.found.feeds.append(address)
        if "next" in relations:
            self.found.following = self.found.following or address

    def _json_ld(self, source: str) -> None:
        try:
            content = json.loads(source)
        except (ValueError, RecursionError):
            self.found.num_unread += 1
            return
        waiting: deque[Any] = deque([content])
        while waiting:
            one = waiting.popleft()
            if isinstance(one, list):
                waiting += one
            elif isinstance(one, dict):
                kinds = one.get("@type")
                kinds = kinds if isinstance(kinds, list) else [kinds]
                if {"AudioObject", "MusicRecording", "PodcastEpisode"} & {str(kind) for kind in kinds}:
                    self._object(one)
                waiting += [value for value in one.values() if isinstance(value, dict | list)]

    def _object(self, one: dict[str, Any]) -> None:
        if len(self.found.objects) < MAX_RECORDINGS:
            self.found.objects.append(one)
        else:
            self.found.num_left_out += 1


def iso_duration_s(value: Any) -> float | None:
    """Give an ISO 8601 duration (`PT4M5S`) in seconds, or a positive number as it is; None for anything else."""
    if isinstance(value, str):
        match = re.fullmatch(r"P(?:(\d+)D)?T?(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?", value.strip(), re.IGNORECASE)
        if match and any(match.groups()):
            days, hours, minutes, secs = (float(part or 0) for part in match.groups())
            return ((days * 24 + hours) * 60 + minutes) * 60 + secs
        return None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else None


def name_in(value: Any) -> str:
    """Give the name of a JSON-LD person, or the names of a list of them, at most 200 characters each."""
    if isinstance(value, list):
        return ", ".join(filter(None, (name_in(one) for one in value[:10])))
    if isinstance(value, dict):
        return text(value.get("name"), 200)
    return text(value, 200)
