"""Tables as people save them: the charset, the delimiter and the line of names are found in the file.

In: CSV of any program (`,`, `;`, tab or `|`; UTF-8, UTF-16, cp1252 and others; comment lines `# ...` before the rows).
Out: the names as the file writes them, and the fields of each row.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import chain

DELIMITERS = (",", ";", "\t", "|")
TAB_SUFFIXES = (".tsv", ".tab")
MAX_FIELD_CHARS = 1 << 20


@dataclass(frozen=True)
class Table:
    """A table that is being read."""

    names: tuple[str, ...]  # of the columns, as the file writes them; () for an empty file
    delimiter: str
    rows: Iterator[tuple[int, list[str]]]  # the line number of each row, and its fields: fewer or more than `names`


def read_table(
    lines: Iterator[str], suffix: str, known: Collection[str], is_value: Callable[[str], bool] = lambda text: False
) -> Table:
    """Read lines of text as a table.

    `known` are the names, in lower case, that mean something to the caller. A comment is the line of names where it
    has one of them, as in AudioSet's files; other comments before the first row are left out. A first line of which
    `is_value` knows a field and `known` no name is a row: then the names are `column 1`, `column 2`, ... Raises
    `csv.Error`, also while `rows` are read.
    """
    csv.field_size_limit(MAX_FIELD_CHARS)
    first, num_skipped, delimiter = _first_lines(lines, suffix, known)
    reader = csv.reader(chain(first, lines), delimiter=delimiter, skipinitialspace=True)
    rows = _numbered(reader, num_skipped)
    number, names = next(rows, (0, []))
    if not known_in(names, known) and any(is_value(field.strip()) for field in names):
        rows = chain([(number, names)], rows)
        names = [f"column {index}" for index in range(1, len(names) + 1)]
    return Table(tuple(name.strip() for name in names), delimiter, rows)


def known_in(names: Collection[str], known: Collection[str]) -> int:
    """Count the names that are known, in whatever case they are written."""
    return sum(name.strip().lower() in known for name in names)


def _first_lines(lines: Iterator[str], suffix: str, known: Collection[str]) -> tuple[list[str], int, str]:
    """Find the line of names: that line and the first row, how many lines stand before, and the delimiter.

    "sep=;" is how Excel says it. The comment before the rows has the names where it has as many fields as they.
    """
    said, comment = "", ""
    for number, line in enumerate(lines):
        if not line.strip():
            continue
        if line.lower().startswith("sep=") and len(line.strip("\r\n")) == len("sep=;"):
            said = line[4]
            continue
        bare = line.lstrip("# ") if line.startswith("#") else line
        delimiter = said or _delimiter_of(bare, suffix, known)
        num_known = known_in(_fields(bare, delimiter), known)
        if line.startswith("#") and not num_known:
            comment = bare
            continue
        is_column = line.startswith("#") and known_in(_fields(line, delimiter), known) == num_known  # of row numbers
        num_fields = len(_fields(line, delimiter))
        if not num_known and num_fields > 1 and len(_fields(comment, delimiter)) == num_fields:
            return [comment, line], number - 1, delimiter
        return [line if is_column else bare], number, delimiter
    return [], 0, ","


def _delimiter_of(line: str, suffix: str, known: Collection[str]) -> str:
    """Choose the delimiter that makes the most known names, else the suffix's, else the one that makes most fields."""
    usual = "\t" if suffix.lower() in TAB_SUFFIXES else ","

    def rank(delimiter: str) -> tuple[int, bool, int]:
        fields = _fields(line, delimiter)
        return known_in(fields, known), delimiter == usual and len(fields) > 1, len(fields)

    return max((usual, *DELIMITERS), key=rank)


def _fields(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
    except csv.Error:  # of a field without an end
        return []


def _numbered(reader: Iterator[list[str]], num_skipped: int) -> Iterator[tuple[int, list[str]]]:
    number = num_skipped
    try:
        for row in reader:
            number = num_skipped + reader.line_num  # type: ignore[attr-defined]
            if row:
                yield number, row
    except csv.Error as error:
        raise csv.Error(f"after line {number}: {error}") from None
