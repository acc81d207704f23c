"""Shared by all sources: leads, and candidates made from a site's metadata, whose lengths are bounded here."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from html import unescape
from typing import Any

from aria_data.errors import UsageError
from aria_data.records import Candidate
from aria_data.storage import printable
from aria_data.web import canonical, is_address
from aria_data.web.addresses import MAX_URL_CHARS, candidate_id_of

MAX_TITLE, MAX_DESCRIPTION, MAX_NAME = 500, 10_000, 200  # characters kept
MAX_DURATION_S = 1e7
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});")
_INLINE = re.compile(
    r"</?(?:a|abbr|b|big|cite|code|em|font|i|mark|q|s|small|span|strong|sub|sup|tt|u)(?:\s[^<>]{0,500})?/?>",
    re.IGNORECASE,
)
_BLOCK = re.compile(
    r"</?(?:article|blockquote|br|dd|div|dl|dt|h[1-6]|hr|img|li|ol|p|pre|section|table|td|th|tr|ul)(?:\s[^<>]{0,500})?/?>",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Lead:
    """An address, search or list that may lead to candidates. People write it as `source:target`."""

    source: str  # the name of a module of `sources`
    target: str  # an address, a query or a path, as the source takes it
    depth: int = 0  # steps from a seed
    priority: float = 1.0  # 0 to 1, higher is followed sooner
    discovered_via: str = ""  # "" = a seed, else the lead or candidate that led here
    hint: str = ""  # the text of the link, where there is any
    is_part: bool = True  # True: a part of the parent lead (a playlist of a channel); False: a neighbour (a link)

    @property
    def lead_id(self) -> str:
        """The id, equal for leads that mean the same."""
        words = " ".join(self.target.split())
        words = words.lower() if self.source == "search" else words  # other sources may distinguish names by case
        return f"{self.source}:{canonical(self.target) if is_address(self.target) else words}"

    def __str__(self) -> str:
        return f"{self.source}: {self.target}"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A word of what a source found and did not give, such as "150 of 250 entries"."""

    what: str
    is_by_limit: bool = True  # a higher limit would bring it


def parse_seed(text: str) -> Lead:
    """Read a seed: an address, or `source:target`, such as `search:chopin nocturne piano`.

    Raises `UsageError` for anything else. Whether the source exists is not checked here.
    """
    text = text.strip()
    if is_address(text):
        return Lead("page", text)
    source, colon, target = text.partition(":")
    if not colon or not target.strip():
        raise UsageError(
            f"{printable(text, 80)}: is no seed. Write an address, or SOURCE:TARGET such as search:'chopin nocturne'."
        )
    return Lead(source.strip().replace("-", "_"), target.strip())


def make_candidate(
    source: str,
    identity: str,
    *,
    location: str,
    page_url: str = "",
    title: Any = "",
    description: Any = "",
    uploader: Any = "",
    uploader_url: Any = "",
    licence: Any = "",
    duration_s: Any = None,
    num_bytes: Any = 0,
    tags: Mapping[str, Any] | None = None,
    lead: Lead,
) -> Candidate:
    """Make a candidate from a site's metadata. A value of the wrong type counts as missing; never raises.

    `identity` is the item's id at the source, or the canonical address of its page.
    """
    kept_tags = {str(name)[:64]: words(value, MAX_NAME) for name, value in (tags or {}).items() if value}
    size = int(num_bytes) if isinstance(num_bytes, int | float) and 0 < num_bytes < 1e15 else 0
    return Candidate(
        candidate_id=candidate_id_of(source, identity),
        source=candidate_id_of(source, "x").rpartition("-")[0],
        location=text(location, MAX_URL_CHARS + 1),  # one that is too long stays too long, and is refused
        source_url=text(page_url or location, MAX_URL_CHARS + 1),
        title=words(title, MAX_TITLE),
        description=words(description, MAX_DESCRIPTION),
        uploader=words(uploader, MAX_NAME),
        licence=text(licence, MAX_NAME),
        tags=json.dumps(kept_tags, sort_keys=True, ensure_ascii=False) if kept_tags else "",
        announced_duration_s=seconds(duration_s),
        num_bytes=size,
        discovered_via=printable(str(lead), MAX_NAME),
        collected_at=datetime.now(UTC).isoformat(timespec="microseconds"),
        uploader_url=_address_or_nothing(uploader_url),
    )


def text(value: Any, max_chars: int) -> str:
    """Clean a value from outside: a bounded string, storable as UTF-8, without control characters. Any kind of
    blank is a blank; lists are joined."""
    if isinstance(value, list | tuple):
        value = ", ".join(str(one) for one in value[:20])
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    kept = "".join(map(_kept, str(value)[:max_chars].replace("\r\n", "\n").replace("\r", "\n")))
    return kept.encode("utf-8", "replace").decode().strip()


def _kept(char: str) -> str:
    if char.isprintable() or char in "\n\t":
        return char
    return " " if char.isspace() else ""


def words(value: Any, max_chars: int) -> str:
    """Clean what people wrote, as `text` does. HTML's entities, also those escaped twice, become characters, and its
    tags go: feeds and pages hold both where plain text is meant."""
    given = text(value, 4 * max_chars)
    for _ in range(3):
        plain = _ENTITY.sub(lambda found: unescape(found[0]), given)
        if plain == given:
            break
        given = plain
    if "<" in given:
        given = _BLOCK.sub(" ", _INLINE.sub("", given))
    return text(given, max_chars)


def _address_or_nothing(value: Any) -> str:
    is_one = isinstance(value, str) and is_address(value) and len(value) <= MAX_URL_CHARS
    return text(value, MAX_URL_CHARS) if is_one else ""


def seconds(value: Any) -> float | None:
    """Read a duration in seconds: a number, "245.3", "4:05" or "1:02:03"; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        total = 0.0
        for part in value.strip().split(":"):
            try:
                total = total * 60 + float(part)
            except ValueError:
                return None
        value = total
    if not isinstance(value, int | float) or not 0 < value < MAX_DURATION_S:
        return None
    return float(value)


def deeper(
    lead: Lead, source: str, target: str, via: str, priority: float, hint: str = "", is_part: bool = True
) -> Lead:
    """Make a lead one step further from the seeds than `lead`."""
    return Lead(source, target, lead.depth + 1, priority, printable(via, MAX_NAME), text(hint, MAX_NAME), is_part)


def next_page(lead: Lead, source: str, target: str) -> Lead:
    """Make the lead to the next page of the list that `lead` begins or continues: no step further from the seeds."""
    return Lead(
        source, target, lead.depth, lead.priority * 0.99, printable(f"next: {lead.target}", MAX_NAME), lead.hint
    )
