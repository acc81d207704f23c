"""Opt-outs: candidates, recordings, addresses, uploaders and whole domains that are never fetched.

Entries come from `aria-data remove` and from files (`download.opt_outs`), one a line, `#` begins a comment:

    youtube-dQw4w9WgXcQ              a candidate's, recording's or segment's id
    https://example.org/recital      an address, in any spelling
    domain:example.org               a domain and all hosts below it
    uploader:Jane Doe                an uploader's name, or the address of its page, in upper or lower case
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.compute as pc

from aria_data.errors import ConfigInvalid
from aria_data.records import Candidate
from aria_data.text import clean, fold
from aria_data.web.addresses import canonical, host_of, is_address, is_below

MAX_LINE_CHARS = 2000


@dataclass
class OptOuts:
    """Entries by what they name; each value is the reason."""

    ids: dict[str, str] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    domains: dict[str, str] = field(default_factory=dict)
    uploaders: dict[str, str] = field(default_factory=dict)

    @property
    def has_more_than_ids(self) -> bool:
        """Whether there are entries that must be compared with each candidate in turn."""
        return bool(self.addresses or self.domains or self.uploaders)

    def add(self, entries: Iterable[tuple[str, str]]) -> None:
        """Add (entry, reason) pairs. An entry given again replaces the reason."""
        for entry, reason in entries:
            kind, name = kind_of_entry(entry)
            {"id": self.ids, "address": self.addresses, "domain": self.domains, "uploader": self.uploaders}[kind][
                name
            ] = reason

    def reason_for(self, candidate: Candidate) -> str | None:
        """Give the reason why a candidate may not be fetched, None if it may be. The domain of an entry may be above
        the candidate's host."""
        if candidate.candidate_id in self.ids:
            return self.ids[candidate.candidate_id]
        for address in (candidate.source_url, candidate.location):
            if address in self.ids:
                return self.ids[address]
            if self.addresses and (key := canonical(address)) in self.addresses:  # spelling one takes 10 us
                return self.addresses[key]
            domain = next((one for one in self.domains if is_below(host_of(address), (one,))), None)
            if domain is not None:
                return self.domains[domain]
        if self.uploaders:
            for name in (candidate.uploader, canonical(candidate.uploader_url) if candidate.uploader_url else ""):
                if name and _plain(name) in self.uploaders:
                    return self.uploaders[_plain(name)]
        return None


def may_be_named(addresses: pa.ChunkedArray, opt_outs: OptOuts) -> pa.ChunkedArray:
    """For each address, whether an opt-out of an address or a domain may name it: a coarse test of a whole column.

    An address that is spelled in another way than `canonical` has letters beyond ASCII, an escape, a session or white
    space, or it has the longest word of the entry. False only where `OptOuts.reason_for` finds no address or domain.
    """
    found = [pc.match_substring_regex(addresses, r"[^!-~]|[%;]")]
    for entry in opt_outs.addresses:
        parts = urlsplit(entry)
        words = re.findall(r"[A-Za-z0-9]+", re.sub("%..", " ", f"{parts.path} {parts.query}"))
        of_host = re.findall(r"[A-Za-z0-9]+", parts.netloc)
        word = max(words or of_host, key=len, default="")
        found.append(pc.match_substring(addresses, word, ignore_case=not words))
    found += [pc.match_substring(addresses, domain, ignore_case=True) for domain in opt_outs.domains]
    return pc.fill_null(reduce(pc.or_, found), False)


def kind_of_entry(entry: str) -> tuple[str, str]:
    """Give what an entry names ("id", "address", "domain", "uploader") and the name in the form that is compared."""
    entry = entry.strip()
    kind, colon, name = entry.partition(":")
    if colon and kind == "domain":
        return "domain", name.strip().lower().removeprefix("www.").strip("./")
    if colon and kind == "uploader":
        name = name.strip()
        return "uploader", _plain(canonical(name) if is_address(name) else name)
    if is_address(entry):
        return "address", canonical(entry)
    return "id", entry


def read_opt_outs(paths: Iterable[str]) -> OptOuts:
    """Read files of entries. Raises `ConfigInvalid` for one that cannot be read, so that no opt-out is missed."""
    found = OptOuts()
    for path in paths:
        try:
            lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigInvalid(f"download.opt_outs: {path}: cannot be read ({error}).") from error
        entries = (line.split(" #")[0].strip()[:MAX_LINE_CHARS] for line in lines if not line.lstrip().startswith("#"))
        found.add((entry, "opted out") for entry in entries if entry)
    return found


def _plain(name: str) -> str:
    return fold(clean(name, 300))
