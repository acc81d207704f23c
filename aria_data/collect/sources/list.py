"""A list of addresses: CSV or TSV with a column `url`, JSON lines, or plain text with one address a line.

Columns or keys `title, description, uploader, licence, duration_s` become these fields of a candidate; others become
tags. A row with a title, or with the address of an audio file, is a candidate; any other row is a lead to its page.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from aria_data.collect.sources.base import Lead, deeper, make_candidate
from aria_data.collect.sources.players import is_audio_address, title_of_address
from aria_data.errors import UsageError
from aria_data.records import Candidate
from aria_data.storage import printable
from aria_data.web import Web, canonical, is_address

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".txt")
_OTHER_NAMES = {
    "webpage_url": "url", "address": "url", "link": "url", "license": "licence", "duration": "duration_s",
    "channel": "uploader", "author": "uploader", "artist": "uploader", "name": "title",
}  # fmt: skip
_KNOWN = ("url", "title", "description", "uploader", "licence", "duration_s")
MAX_LINE = 1_000_000


def follow(lead: Lead, web: Web, limit: int) -> Iterator[Candidate | Lead]:
    """Yield the rows of the file `lead.target`, all of them: `limit` does not apply.

    Raises `UsageError` for a file that cannot be read or has no column `url`. A row without a web address is a
    candidate as well, so that it is accounted for.
    """
    path = Path(lead.target)
    for number, row in rows_of(path):
        url = str(row.get("url") or "").strip()
        is_url = is_address(url)
        if is_url and not row.get("title") and not is_audio_address(url):
            yield deeper(lead, "page", url, f"list: {path.name}", lead.priority)
            continue
        yield make_candidate(
            "web",
            canonical(url) if is_url else f"{path.name}:{number}:{url}",
            location=url if is_url else f"row {number} of {printable(path.name, 80)}: {printable(url, 80)}",
            title=row.get("title") or title_of_address(url),
            description=row.get("description"),
            uploader=row.get("uploader"),
            licence=row.get("licence"),
            duration_s=row.get("duration_s"),
            tags={name: value for name, value in list(row.items())[:64] if name not in _KNOWN},
            lead=lead,
        )


def rows_of(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield every row with its line number. Column names are in lower case; known synonyms become our names.

    Raises `UsageError` for a file that cannot be read or has no column `url`.
    """
    name = printable(str(path), 160)
    try:
        with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
            if path.suffix.lower() in (".csv", ".tsv"):
                yield from _of_csv(file, path, name)
            else:
                yield from _of_lines(file, path)
    except OSError as error:
        raise UsageError(f"{name}: cannot be read ({error.strerror}).") from error
    except csv.Error as error:
        raise UsageError(f"{name}: is no CSV that can be read ({error}). Mend the file.") from error


def _of_csv(file: Any, path: Path, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    csv.field_size_limit(MAX_LINE)
    lines = (line.replace("\0", "") for line in file)
    reader = csv.DictReader(lines, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
    names = {column: _own_name(column) for column in reader.fieldnames or ()}
    if "url" not in names.values():
        raise UsageError(f"{name}: has no column `url`; it has {printable(', '.join(names) or 'nothing', 100)}.")
    for row in reader:
        yield reader.line_num, {names[column]: value for column, value in row.items() if column in names and value}


def _of_lines(file: Any, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    is_json = path.suffix.lower() in (".jsonl", ".ndjson")
    for number, line in enumerate(file, start=1):
        line = line[:MAX_LINE].strip()
        if not line or (not is_json and line.startswith("#")):
            continue
        if not is_json:
            yield number, {"url": line}
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, str):
            row = {"url": row}
        given = row if isinstance(row, dict) else {"url": line[:200]}
        yield number, {_own_name(key): value for key, value in given.items() if value is not None}


def _own_name(column: str) -> str:
    name = column.strip().lower()
    return _OTHER_NAMES.get(name, name)
