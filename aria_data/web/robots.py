"""A site's rules for programs: robots.txt (RFC 9309), X-Robots-Tag, and the TDM reservation protocol.

While a site's robots.txt cannot be read, nothing is fetched from the site; a site without one allows everything.
"""

from __future__ import annotations

import json
import re
import threading
import weakref
from collections.abc import Mapping
from urllib.parse import urlsplit

from protego import Protego

from aria_data.errors import TemporaryError
from aria_data.storage import printable
from aria_data.web.addresses import host_of
from aria_data.web.client import Page, RequestsSpent, Web
from aria_data.web.failures import FetchDelayed, FetchFailed, fetch_error, kind_of
from aria_data.web.first_tag import first_tag

AGENT = "aria-data"  # our name in a robots.txt
MAX_ROBOTS_CHARS = 500_000  # RFC 9309: at least 500 KiB must be read
MAX_CRAWL_DELAY_S = 60.0  # ours: a longer one counts as this
_OF_HTML = ("!doctype", "html", "head", "body", "title", "meta")
RESERVED_TAGS = frozenset({"noai", "none", "noindex"})  # of X-Robots-Tag; img2dataset obeys the same and noimageai


class Robots:
    """Reads the rules of each site once in a run. Safe for threads."""

    def __init__(self, web: Web):
        self._of, self._lock = weakref.ref(web), threading.Lock()
        self._rules: dict[str, Protego | FetchDelayed] = {}
        self._reserved: dict[str, list[str]] = {}

    @property
    def _web(self) -> Web:
        web = self._of()
        assert web is not None
        return web

    def require(self, url: str) -> None:
        """Raise `FetchFailed` (robots) for a page that the site's rules keep from programs, `FetchDelayed` while its
        robots.txt cannot be read. Does nothing where `is_robots_honoured` is False."""
        if not self._web.config.is_robots_honoured:
            return
        site = site_of(url)
        with self._lock:
            if site not in self._rules:
                self._rules[site] = self._ask(site)
                self._reserved[site] = self._ask_for_reservations(site)
            rules = self._rules[site]
        if isinstance(rules, FetchDelayed):
            raise FetchDelayed(str(rules), rules.reason)
        if not rules.can_fetch(url, AGENT):
            raise fetch_error("robots", f"{printable(url, 160)}: the site's robots.txt asks programs not to fetch it.")
        if any(_fits(pattern, url) for pattern in self._reserved[site]):
            raise fetch_error("robots", f"{printable(url, 160)}: the site reserves it (tdmrep.json).")

    def _ask(self, site: str) -> Protego | FetchDelayed:
        try:
            page = self._web.get(f"{site}/robots.txt")
        except RequestsSpent:
            raise
        except FetchFailed as error:
            if error.reason == "refused":
                raise
            return Protego.parse("")  # 4xx: there are no rules
        except TemporaryError as error:
            if kind_of(error) == "forbidden":
                return Protego.parse("")  # RFC 9309, 2.3.1.3: as for every 4xx
            kind = "bot-check" if kind_of(error) == "bot-check" else "network"
            return FetchDelayed(f"{site}: its robots.txt cannot be read now ({error})", kind)
        rules = Protego.parse(_rules_in(page.text()[:MAX_ROBOTS_CHARS]))
        delay_s = rules.crawl_delay(AGENT)
        if delay_s:
            self._web.pacer.slow_down(host_of(site), min(float(delay_s), MAX_CRAWL_DELAY_S))
        return rules

    def _ask_for_reservations(self, site: str) -> list[str]:
        """Give the locations of /.well-known/tdmrep.json that are reserved."""
        if isinstance(self._rules[site], FetchDelayed):
            return []
        try:
            content = json.loads(self._web.get(f"{site}/.well-known/tdmrep.json", wants=_is_json).text() or "[]")
        except RequestsSpent:
            raise
        except (FetchFailed, TemporaryError, ValueError, RecursionError):
            return []
        rules = content if isinstance(content, list) else []
        return [
            rule["location"]
            for rule in rules[:1000]
            if isinstance(rule, dict)
            and rule.get("tdm-reservation") in (1, "1")
            and isinstance(rule.get("location"), str)
        ]


_ROBOTS: weakref.WeakKeyDictionary[Web, Robots] = weakref.WeakKeyDictionary()


def robots_of(web: Web) -> Robots:
    """Give the one `Robots` of a `Web`, so that a site's rules are read once in a run."""
    return _ROBOTS.setdefault(web, Robots(web))


def require_unreserved(page: Page) -> None:
    """Raise `FetchFailed` (robots) when a page's headers or its HTML ask that it is not used."""
    rule = reservation_in(page.headers) or (_reservation_in_html(page.text()[:100_000]) if page.is_read else "")
    if rule:
        raise fetch_error("robots", f"{printable(page.url, 160)}: the site asks that it is not used ({rule}).")


def reservation_in(headers: Mapping[str, str]) -> str:
    """Give the rule in an answer's headers (lower-case names) that asks not to use it, or ""."""
    if headers.get("tdm-reservation", "").strip() == "1":
        return "tdm-reservation"
    for part in headers.get("x-robots-tag", "").lower().split(","):
        agent, colon, rule = part.strip().rpartition(":")
        if rule.strip() in RESERVED_TAGS and (not colon or agent.strip() in ("*", AGENT)):
            return f"x-robots-tag: {rule.strip()}"
    return ""


def _reservation_in_html(text: str) -> str:
    for tag in re.findall(r"<meta\s[^>]{0,500}>", text, re.IGNORECASE):
        name = re.search(r"name\s*=\s*[\"']?([\w-]+)", tag, re.IGNORECASE)
        content = re.search(r"content\s*=\s*[\"']?([^\"'>]*)", tag, re.IGNORECASE)
        if not name or not content:
            continue
        words = {word.strip().lower() for word in content[1].split(",")}
        if name[1].lower() == "tdm-reservation" and "1" in words:
            return "tdm-reservation"
        if name[1].lower() in ("robots", AGENT) and words & (RESERVED_TAGS - {"noindex"}):
            return f"meta {name[1].lower()}"
    return ""


def site_of(url: str) -> str:
    """Give an address's scheme and host, below which its robots.txt is."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _rules_in(content: str) -> str:
    """Give the rules of a robots.txt as they are parsed: none in a page of HTML, whatever its type is said to be.

    What follows a product token, a version or a remark, says nothing about whom the rules are for.
    """
    if content.lstrip("\ufeff \t\r\n")[:5].lower() == "<?xml" or first_tag(content) in _OF_HTML:
        return ""
    return re.sub(rf"(?im)^([ \t]*user-?agent[ \t]*:[ \t]*{AGENT})[ \t/(][^\r\n#]*", r"\1", content)


def _is_json(content_type: str) -> bool:
    return "json" in content_type


def _fits(pattern: str, url: str) -> bool:
    """Whether a location of tdmrep.json, a path with `*` and `$` as in robots.txt, matches. The pieces between the `*`
    are searched one by one, so that no pattern of a site takes long."""
    path, is_to_end = urlsplit(url).path or "/", pattern.endswith("$")
    first, *rest = pattern.rstrip("$").split("*")
    if not path.startswith(first):
        return False
    place = len(first)
    for piece in rest[:-1] if is_to_end else rest:
        place = path.find(piece, place)
        if place < 0:
            return False
        place += len(piece)
    if not is_to_end:
        return True
    return path.endswith(rest[-1]) and len(path) - len(rest[-1]) >= place if rest else place == len(path)
