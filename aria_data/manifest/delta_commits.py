"""Read and write what a Delta commit says of its version: number, counts, name and facts. No rows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aria_data.errors import UsageError
from aria_data.storage import printable
from aria_data.storage.delta_tables import table_error

_NAME = re.compile(r"(?!\d+$)[A-Za-z0-9][A-Za-z0-9._+-]{0,79}")


@dataclass(frozen=True, slots=True)
class Version:
    """One release of the manifest."""

    number: int
    released_at: str  # UTC, ISO 8601
    num_files: int  # rows that are not removed
    hours: float  # of those
    num_removed: int
    content_sha256: str  # of all rows; see `rows.hash_of`
    note: str
    name: str = ""  # unique among a dataset's versions; empty if none was given
    facts_json: str = "{}"  # committed with it: configuration, code, models ...

    @property
    def facts(self) -> dict[str, Any]:
        return json.loads(self.facts_json)


def released(path: Path) -> list[Version]:
    """Every version of the table at `path`, oldest first, read from its log. Raises `DatasetCorrupt`.

    deltalake itself gives an empty history if the path has characters that an address would escape.
    """
    try:
        commits = {int(file.stem): file.read_text() for file in sorted((path / "_delta_log").glob("*.json"))}
        return [_version_of({**_commit_info(text), "version": number}) for number, text in commits.items() if number]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise table_error(path, error) from error


def _commit_info(commit: str) -> dict[str, Any]:
    lines = (json.loads(line) for line in commit.splitlines() if '"commitInfo"' in line)
    return next((line["commitInfo"] for line in lines if "commitInfo" in line), {})


def _version_of(entry: Mapping[str, Any]) -> Version:
    """Make a version from the commitInfo of a commit."""
    facts_json, name = _facts_in(entry.get("aria_facts"))
    return Version(
        number=entry["version"],
        released_at=datetime.fromtimestamp(entry["timestamp"] / 1000, UTC).isoformat(timespec="seconds"),
        num_files=int(entry.get("aria_num_files", 0)),
        hours=float(entry.get("aria_hours", 0.0)),
        num_removed=int(entry.get("aria_num_removed", 0)),
        content_sha256=str(entry.get("aria_content_sha256", "")),
        note=str(entry.get("aria_note", "")),
        name=name,
        facts_json=facts_json,
    )


def _facts_in(stored: Any) -> tuple[str, str]:
    """Give (facts as JSON, name). Facts that are not valid are ignored; the version then has none."""
    try:
        facts = json.loads(stored, parse_constant=_refuse)
        name = facts.get("name", "")
        if name == "" or _NAME.fullmatch(name):
            return stored, name
    except (ValueError, TypeError, AttributeError, RecursionError):
        pass
    return "{}", ""


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def metadata_of(version: Version) -> dict[str, str]:
    """Give the metadata that a commit stores of a version; Delta adds number and time."""
    return {
        "aria_num_files": str(version.num_files),
        "aria_hours": f"{version.hours:.6f}",
        "aria_num_removed": str(version.num_removed),
        "aria_content_sha256": version.content_sha256,
        "aria_note": version.note,
        "aria_facts": version.facts_json,
    }


def facts_text(facts: Mapping[str, Any] | None, versions: Iterable[Version]) -> str:
    """Give facts as JSON. Raises `UsageError` for values that JSON does not have, and for a bad name or a taken one."""
    require_free((facts or {}).get("name", ""), versions)
    try:
        return json.dumps(dict(facts or {}), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UsageError(f"a version's facts must be plain values of JSON: {error}") from error


def require_free(name: Any, versions: Iterable[Version]) -> None:
    """Raise `UsageError` when the name is not allowed or another version has it. The empty name means none."""
    if name == "":
        return
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UsageError(
            f"'{printable(str(name))}' cannot name a version: a name is made of letters, digits, '.', '_', '+' and "
            "'-', at most 80, begins with a letter or digit, and is no number."
        )
    for version in versions:
        if version.name == name:
            raise UsageError(f"version {version.number} is named {name!r} already. Choose another name.")
