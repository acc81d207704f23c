"""Accuracy of a scorer on labelled titles, solo piano or not: `aria-data evaluate screen`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from aria_data.errors import UsageError
from aria_data.records import Screening
from aria_data.storage import printable
from flows.tools.title_lists import ReadMany, Row, in_order, read_rows

THRESHOLDS = (2, 3, 4, 5)
MAX_WIDTH = 160


@dataclass(frozen=True, slots=True)
class Judged:
    """One labelled row. A row that could not be scored has a score of 0, so no threshold keeps it."""

    is_piano: bool
    relevance_score: int
    language: str


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The rows that a threshold keeps, against the labels. A share of no rows is None."""

    num_kept: int
    num_right: int
    precision: float | None
    recall: float | None
    f1: float | None


def judge_labels(labels: Path, read_many: ReadMany) -> tuple[list[Judged], dict[str, str]]:
    """Score every labelled row. Gives the rows and the errors by title.

    Raises `UsageError` for a file that cannot be read or a label other than 0 and 1.
    """
    judged: list[Judged] = []
    errors: dict[str, str] = {}
    for row, found in in_order(labelled(labels), read_many):
        score = found.relevance_score if isinstance(found, Screening) else 0
        if isinstance(found, Exception):
            errors[printable(str(row["title"]), 60)] = str(found)
        judged.append(Judged(str(row["label"]).strip() == "1", score, str(row.get("language") or "").strip()))
    return judged, errors


def labelled(path: Path) -> Iterator[Row]:
    """The rows of a file of labelled titles. Raises `UsageError` for a label other than 0 and 1."""
    for number, row in enumerate(read_rows(path, ("title", "label")), 1):
        if str(row["label"]).strip() not in ("0", "1"):
            raise UsageError(
                f"{printable(str(path))}: row {number}: the label is {printable(str(row['label']), 20)!r}; "
                "write 1 for solo piano and 0 for anything else."
            )
        yield row


def accuracy(judged: Sequence[Judged], threshold: int) -> Accuracy:
    """Precision, recall and F1 of keeping the rows whose score is at least `threshold` (1 to 5)."""
    kept = [each for each in judged if each.relevance_score >= threshold]
    num_right, num_piano = sum(each.is_piano for each in kept), sum(each.is_piano for each in judged)
    precision, recall = _share(num_right, len(kept)), _share(num_right, num_piano)
    return Accuracy(len(kept), num_right, precision, recall, _share(2 * num_right, len(kept) + num_piano))


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def by_language(judged: Sequence[Judged]) -> dict[str, list[Judged]]:
    """The rows by language, without those whose labels name none."""
    languages = sorted({each.language for each in judged if each.language})
    return {language: [each for each in judged if each.language == language] for language in languages}


def as_json(judged: Sequence[Judged], scorer: str, errors: dict[str, str]) -> dict[str, object]:
    """Give the results as plain values; undefined shares are None."""

    def figures(rows: Sequence[Judged]) -> dict[str, object]:
        return {
            "num_rows": len(rows),
            "num_piano": sum(each.is_piano for each in rows),
            "thresholds": {str(threshold): asdict(accuracy(rows, threshold)) for threshold in THRESHOLDS},
        }

    languages = {language: figures(rows) for language, rows in by_language(judged).items()}
    return {"scorer": scorer, "num_unscored": len(errors), **figures(judged), "languages": languages}


def print_table(judged: Sequence[Judged], scorer: str) -> None:
    """Print a row for each threshold, and one for each language with its F1."""
    console = Console(soft_wrap=True, emoji=False, markup=False, width=None if sys.stdout.isatty() else MAX_WIDTH)
    console.print(f"scorer {scorer}: {len(judged)} titles, {sum(each.is_piano for each in judged)} solo piano\n")
    table = Table(box=None, pad_edge=False)
    for name in ("kept from", "kept", "right", "precision", "recall", "F1"):
        table.add_column(name, justify="right", no_wrap=True)
    for threshold in THRESHOLDS:
        found = accuracy(judged, threshold)
        cells = (_cell(found.precision), _cell(found.recall), _cell(found.f1))
        table.add_row(str(threshold), str(found.num_kept), str(found.num_right), *cells)
    console.print(table)
    languages = by_language(judged)
    if languages:
        table = Table(box=None, pad_edge=False)
        for name in ("language", "titles", *(f"F1 from {threshold}" for threshold in THRESHOLDS)):
            table.add_column(name, justify="right", no_wrap=True)
        for language, rows in languages.items():
            f1s = [_cell(accuracy(rows, threshold).f1) for threshold in THRESHOLDS]
            table.add_row(Text(printable(language, 16)), str(len(rows)), *f1s)
        console.print()
        console.print(table)


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
