"""A list of addresses: CSV or TSV with a column `url`, JSON lines, or plain text with one address a line.

An address may be `youtu.be/x`, `www.a.org` or the 11 characters of a YouTube video; AudioSet's files are read as well.

Columns or keys `title, description, uploader, licence, duration_s` become these fields of a candidate; others become
tags. A row with a title, or with the address of an audio file, is a candidate; any other row is a lead to its page.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from aria_data.collect.sources.base import Lead, deeper, make_candidate
from aria_data.collect.sources.players import is_audio_address, title_of_address
from aria_data.collect.tables import known_in, read_table
from aria_data.errors import UsageError
from aria_data.records import Candidate
from aria_data.storage import printable
from aria_data.web import Web, canonical, is_address, join
from aria_data.web.addresses import as_address
from aria_data.web.charsets import charset_of_file

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".txt")
_KNOWN = ("url", "title", "description", "uploader", "licence", "duration_s")
_OTHER_NAMES = {
    "webpage_url": "url", "address": "url", "link": "url", "uri": "url", "video_url": "url", "youtube_url": "url",
    "ytid": "url", "youtube_id": "url", "video_id": "url", "license": "licence", "duration": "duration_s",
    "channel": "uploader", "author": "uploader", "artist": "uploader", "name": "title",
}  # fmt: skip
_OF_URL = ("url", *(name for name, ours in _OTHER_NAMES.items() if ours == "url"))
MAX_LINE = 1_000_000


def follow(lead: Lead, web: Web, limit: int) -> Iterator[Candidate | Lead]:
    """Yield the rows of the file `lead.target`, all of them: `limit` does not apply.

    Raises `UsageError` for a file that cannot be read or has no column `url`. A row without a web address is a
    candidate as well, so that it is accounted for.
    """
    path = Path(lead.target)
    for number, row in rows_of(path):
        url = str(row.get("url") or "").strip()
        url = as_address(url) or url
        is_url = is_address(url) and bool(join(url, url))
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
    is_table = path.suffix.lower() in (".csv", ".tsv")
    try:
        with open(path, encoding=charset_of_file(path), errors="replace", newline="" if is_table else None) as file:
            rest = (line.replace("\0", "") for line in _bounded(file))
            first = next(rest, "")
            lines = chain([first], rest)
            if is_table or path.suffix.lower() == ".txt" and _begins_table(first):
                yield from _of_table(lines, path, name)
            else:
                yield from _of_lines(lines, path)
    except OSError as error:
        raise UsageError(f"{name}: cannot be read ({error.strerror}).") from error
    except csv.Error as error:
        raise UsageError(f"{name}: is no CSV that can be read ({error}). Mend the file.") from error


def _bounded(file: Any) -> Iterator[str]:
    while line := file.readline(MAX_LINE):
        yield line
        while len(line) == MAX_LINE and not line.endswith("\n"):  # the rest of a line that is too long
            line = file.readline(MAX_LINE)


def _begins_table(line: str) -> bool:
    """Whether a .txt begins with names of columns, or with fields that tabs part."""
    if line.startswith("#"):
        return False
    names = re.split(r"[,;\t|]", line.strip())
    return len(names) > 1 and (known_in(names, _OF_URL) > 0 or "\t" in line.strip())


def _of_table(lines: Iterator[str], path: Path, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    table = read_table(lines, path.suffix, {*_KNOWN, *_OTHER_NAMES}, _is_place)
    rows, names = table.rows, [_own_name(column) for column in table.names]
    if names[:1] == ["column 1"]:
        first = next(rows)
        at = next(index for index, field in enumerate(first[1]) if _is_place(field.strip()))
        rows, names[at] = chain([first], rows), "url"
    if "url" not in names:
        found = printable(", ".join(table.names) or "nothing", 100)
        raise UsageError(f"{name}: has no column `url`; it has {found}. Wanted: one of {', '.join(_OF_URL)}.")
    for number, fields in rows:
        row = {column: value for column, value in reversed(list(zip(names, fields, strict=False))) if value.strip()}
        if row and not str(row.get("url", "")).startswith("#"):
            yield number, dict(reversed(row.items()))


def _is_place(field: str) -> bool:
    """Whether a field is an address and no name of a column: `artist_name` has the length of an id."""
    is_id = len(field) == 11 and not re.search(r"[/.]", field)
    return bool(as_address(field)) and (not is_id or bool(re.search(r"\d|[a-z][A-Z]|^-", field)))


def _of_lines(lines: Iterable[str], path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    is_json = path.suffix.lower() in (".jsonl", ".ndjson")
    for number, line in enumerate(lines, start=1):
        line = line.strip()
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
