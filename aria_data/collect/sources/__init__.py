"""Where candidates come from. A source is one function in a module of this package; its name is the module's.

    def follow(lead: Lead, web: Web, limit: int) -> Iterator[Candidate | Lead]: ...

It gives candidates, known by their metadata only, and leads to more of them. It raises `FetchFailed`, `FetchDelayed`
or another `AriaDataError` when the lead cannot be followed. To add one: write the module; nothing else is to be told.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

from aria_data.collect.sources.base import Lead
from aria_data.errors import ConfigInvalid
from aria_data.records import Candidate
from aria_data.web import Web

HELPERS = ("api", "base", "html", "media")  # modules here that are no source


def names() -> list[str]:
    """Every source there is."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name not in HELPERS)


def follow(lead: Lead, web: Web, limit: int) -> Iterator[Candidate | Lead]:
    """Ask a lead's source for what it leads to: at most `limit` candidates."""
    require(lead.source)
    yield from importlib.import_module(f"aria_data.collect.sources.{lead.source}").follow(lead, web, limit)


def require(name: str) -> None:
    """Raise `ConfigInvalid` for a source that does not exist."""
    if name not in names():
        raise ConfigInvalid(f"source {name!r} is unknown. Known: {', '.join(names())}.")
