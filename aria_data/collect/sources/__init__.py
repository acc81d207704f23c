"""The sources of candidates. A source is a module of this package with one function; its name is the module's.

    def follow(lead: Lead, web: Web, limit: int) -> Iterator[Candidate | Lead | LeftOut]: ...

It gives candidates, known by their metadata only, leads to more of them, and a
word of what it leaves out. It raises `FetchFailed`, `FetchDelayed`
or another `AriaDataError` when the lead cannot be followed. To add a source, add its module; nothing registers it.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

from aria_data.collect.sources.base import Lead, LeftOut
from aria_data.errors import ConfigInvalid
from aria_data.records import Candidate
from aria_data.web import Web

HELPERS = (
    "api",
    "base",
    "html",
    "json_feed",
    "media",
    "players",
    "sitemaps",
)  # modules of this package that are no sources


def names() -> list[str]:
    """Give the names of all sources, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name not in HELPERS)


def follow(lead: Lead, web: Web, limit: int) -> Iterator[Candidate | Lead | LeftOut]:
    """Follow a lead with its source: at most `limit` candidates, and further leads. Raises as the source does.

    The source `list` ignores `limit`.
    """
    require(lead.source)
    yield from importlib.import_module(f"aria_data.collect.sources.{lead.source}").follow(lead, web, limit)


def require(name: str) -> None:
    """Raise `ConfigInvalid` for a source that does not exist."""
    if name not in names():
        raise ConfigInvalid(f"source {name!r} is unknown. Known: {', '.join(names())}.")
