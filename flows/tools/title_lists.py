"""Lists of titles: read from CSV, TSV or JSONL, and what was read of each, written in the order of the list."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import Any

from aria_data.collect.tables import read_table
from aria_data.errors import UsageError
from aria_data.records import Candidate, Screening
from aria_data.storage import PARTIAL, not_writable, printable
from aria_data.web.charsets import charset_of_file

MAX_LINE_CHARS = 1 << 20  # a description has some thousand characters
TEXTS = ("title", "description", "uploader")
Row = dict[str, Any]
ReadMany = Callable[[Iterable[Candidate]], Iterator[tuple[Candidate, Any]]]  # each candidate once, in any order
Advance = Callable[[], None]


@dataclass
class Scored:
    """The result for a whole list."""

    num_rows: int = 0
    num_failed: int = 0
    error: str = ""  # the first error's message


def read_rows(path: Path, needed: tuple[str, ...] = ("title",)) -> Iterator[Row]:
    """The rows of a file: .jsonl, .ndjson and .json hold a JSON object a line, all others are tables.

    The columns that are read are found in whatever case they are written. Raises `UsageError` for a file that cannot
    be read, is empty or lacks a column of `needed`, and for a wrong line.
    """
    is_json = path.suffix.lower() in (".jsonl", ".ndjson", ".json")
    reader = _read_json if is_json else _read_table
    num_rows = 0
    try:
        with open(path, encoding=charset_of_file(path), newline="") as file:
            for number, row in reader(path, _lines(path, file), needed):
                missing = [name for name in needed if row.get(name) is None]
                if missing:
                    raise UsageError(f"{_name(path)}:{number}: has no {missing[0]!r}. Needed: {', '.join(needed)}.")
                num_rows += 1
                yield row
    except UnicodeDecodeError as error:
        where = f"{_name(path)}: after row {num_rows}"
        raise UsageError(f"{where}: is not UTF-8 nor another charset ({error.reason}). Save it as UTF-8.") from None
    except OSError as error:
        raise UsageError(f"{_name(path)}: cannot be read ({error.strerror}).") from None
    if not num_rows:
        raise UsageError(f"{_name(path)}: holds no row.")


def _lines(path: Path, file: Any) -> Iterator[str]:
    number = 0
    while line := file.readline(MAX_LINE_CHARS + 1):
        number += 1
        if len(line) > MAX_LINE_CHARS:
            raise UsageError(f"{_name(path)}:{number}: is longer than {MAX_LINE_CHARS} characters.")
        if "\0" in line:
            raise UsageError(f"{_name(path)}:{number}: holds a NUL byte. Is it text?")
        yield line


def _read_table(path: Path, lines: Iterator[str], needed: tuple[str, ...]) -> Iterator[tuple[int, Row]]:
    try:
        table = read_table(lines, path.suffix, {*TEXTS, *needed})
        names = own_names(table.names, needed)
        missing = [name for name in needed if name not in names]
        if missing and table.names:
            found, wanted = printable(", ".join(table.names)), ", ".join(needed)
            raise UsageError(f"{_name(path)}: has no {missing[0]!r} among its columns ({found}). Needed: {wanted}.")
        for number, fields in table.rows:
            if any(fields[len(names) :]):
                raise UsageError(f"{_name(path)}:{number}: has more fields than the first line has names.")
            padded = chain(fields, repeat(None))
            yield number, {name: value for name, value in zip(names, padded, strict=False) if name}
    except csv.Error as error:
        raise UsageError(f"{_name(path)}: is not a table ({printable(str(error))}).") from None


def _read_json(path: Path, lines: Iterator[str], needed: tuple[str, ...]) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            if not isinstance(row, dict):
                raise UsageError(f"{_name(path)}:{number}: is not a JSON object.")
            yield number, dict(zip(own_names(tuple(row), needed), row.values(), strict=True))


def own_names(names: tuple[str, ...], needed: tuple[str, ...]) -> list[str]:
    """Give the columns that are read the names that they are read by (`Title` is `title`); others keep theirs."""
    ours = {name: name.strip().lower() for name in names}
    wanted = {*TEXTS, *needed} - set(names)
    return [ours[name] if ours[name] in wanted else name for name in names]


def _name(path: Path) -> str:
    return printable(str(path))


def candidate_of(number: int, row: Mapping[str, Any]) -> Candidate:
    """A row as a candidate whose id is the row's number; without columns for them, texts are ""."""
    title, description, uploader = (str(row.get(name) or "") for name in TEXTS)
    return Candidate(str(number), "list", "", "", title, description, uploader)


def in_order(rows: Iterable[Row], read_many: ReadMany, advance: Advance = lambda: None) -> Iterator[tuple[Row, Any]]:
    """Give the rows with what was read of them (or errors), in the order of the rows; results that are early wait.

    `advance` is called for each result when it arrives.
    """
    waiting: dict[int, Row] = {}
    arrived: dict[int, Any] = {}

    def candidates() -> Iterator[Candidate]:
        for number, row in enumerate(rows):
            waiting[number] = row
            yield candidate_of(number, row)

    following = 0
    for candidate, found in read_many(candidates()):
        arrived[int(candidate.candidate_id)] = found
        advance()
        while following in arrived:
            yield waiting.pop(following), arrived.pop(following)
            following += 1


def write_list(
    source: Path, output: Path, read_many: ReadMany, line: Callable[[Row, Any], Row], advance: Advance
) -> Scored:
    """Write one JSON object (`line`) for each row of `source`, to `.partial` as answers come.

    `output` appears when it is complete. Raises `UsageError` for a wrong `source`, `DatasetNotWritable`.
    """
    scored = Scored()
    partial = output.with_name(output.name + PARTIAL)
    rows = read_rows(source)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "w", encoding="utf-8", errors="backslashreplace", buffering=1) as file:
            for row, found in in_order(rows, read_many, advance):
                scored.num_rows += 1
                if isinstance(found, Exception):
                    scored.num_failed += 1
                    scored.error = scored.error or str(found)
                file.write(json.dumps(line(row, found), ensure_ascii=False) + "\n")
        os.replace(partial, output)
    except OSError as error:
        raise not_writable(output, error) from error
    finally:
        partial.unlink(missing_ok=True)
    return scored


def screened_line(row: Row, found: Screening | Exception) -> Row:
    """The row and its screening."""
    return {**row, **said(found)}


def said(found: Screening | Exception) -> Row:
    """A screening as plain values; None and "", with `error`, for an error."""
    if isinstance(found, Exception):
        return {"relevance_score": None, "scorer": None, "evidence": "", "reason": "", "error": str(found)}
    return {
        "relevance_score": found.relevance_score,
        "scorer": found.scorer,
        "evidence": found.evidence,
        "reason": found.reason,
    }
