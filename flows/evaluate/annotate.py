"""Accuracy of an annotator on labelled titles, by field, and of its grouping: `aria-data evaluate annotate`."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from aria_data.annotate import AnnotateConfig
from aria_data.errors import UsageError
from aria_data.llm import Llm
from aria_data.records import Annotation
from aria_data.repertoire import find_composer, find_form, find_key, find_pianist
from aria_data.repertoire.forms import arabic
from aria_data.storage import printable
from aria_data.text import clean, fold
from flows.tools.annotation_lists import annotate_rows
from flows.tools.title_lists import Row, read_rows

FIELDS = (
    "composer", "composer_id", "performer", "catalogue", "catalogue_number", "piece_number", "movement", "form",
    "genre", "period", "key",
)  # fmt: skip
CLUSTERS = "composition_id"
MAX_WIDTH = 160


@dataclass(frozen=True, slots=True)
class FieldAccuracy:
    """The rows with a label for one field: how many were filled, how many rightly. A share of no rows is None."""

    num_labelled: int
    num_filled: int
    num_right: int
    accuracy: float | None  # right, of the labelled
    coverage: float | None  # filled, of the labelled
    precision: float | None  # right, of the filled and labelled


@dataclass(frozen=True, slots=True)
class Clustering:
    """Pairs of rows that share a `composition_id`: found, true, and both. A share of no pairs is None."""

    num_rows: int
    num_filled: int
    num_pairs_true: int
    num_pairs_found: int
    num_pairs_both: int
    precision: float | None
    recall: float | None


@dataclass(frozen=True, slots=True)
class Judged:
    """A labelled row and its annotation."""

    row: Row
    found: Annotation


def judge_labels(
    labels: Path, config: AnnotateConfig, llm: Llm | None, in_batches: bool, announce: Callable[[str], None]
) -> tuple[list[Judged], dict[str, str]]:
    """Annotate every row. Gives the rows (with an empty annotation where it failed) and the errors by title.

    Raises `UsageError` for a file that cannot be read or has no column with labels.
    """
    judged: list[Judged] = []
    errors: dict[str, str] = {}
    for row, found in annotate_rows(_labelled(labels), config, llm, in_batches, announce):
        if isinstance(found, Exception):
            errors[printable(str(row["title"]), 60)] = str(found)
        judged.append(Judged(row, Annotation() if isinstance(found, Exception) else found))
    return judged, errors


def _labelled(path: Path) -> Iterator[Row]:
    for number, row in enumerate(read_rows(path)):
        if not number and not {*FIELDS, CLUSTERS} & set(row):
            raise UsageError(
                f"{printable(str(path))}: has no column with labels. Name at least one of "
                f"{', '.join((*FIELDS, CLUSTERS))}."
            )
        yield row


def field_accuracy(judged: Sequence[Judged], name: str) -> FieldAccuracy:
    """The accuracy of field `name` (one of `FIELDS`) over the rows with a label for it.

    Values are compared by `plain`: any spelling of one person and any notation of a number counts as right.
    """
    rows = [(label, getattr(each.found, name)) for each in judged if (label := str(each.row.get(name) or "").strip())]
    num_filled = sum(bool(found) for _, found in rows)
    num_right = sum(bool(found) and plain(name, found) == plain(name, label) for label, found in rows)
    return FieldAccuracy(
        len(rows),
        num_filled,
        num_right,
        _share(num_right, len(rows)),
        _share(num_filled, len(rows)),
        _share(num_right, num_filled),
    )


def plain(name: str, value: str) -> str:
    """Normalise a value of field `name`: names to ids where the lists know them, the rest to one spelling."""
    text = clean(value, 300)
    if name == "composer":
        match = find_composer(text, is_name=True)
        return match.composer_id if match else fold(text)
    if name == "performer":
        player = find_pianist(text, is_name=True)
        return player.pianist_id if player else fold(text)
    if name == "key":
        key = find_key(text)
        return key[0] if key else fold(text)
    if name == "form":
        form = find_form(fold(text))
        return form[0] if form else fold(text)
    folded = re.sub(r"[\s.]", "", fold(text))
    if name == "catalogue":
        return {"opus": "op", "kv": "k", "hoboken": "hob"}.get(folded, folded)
    if name in ("piece_number", "movement"):
        return str(arabic(folded) or folded)
    return folded.replace("/", ":") if name == "catalogue_number" else folded


def clustering(judged: Sequence[Judged]) -> Clustering | None:
    """Pairwise precision and recall over the rows with a true `composition_id`; None where there are none."""
    rows = [(label, each.found.composition_id) for each in judged if (label := str(each.row.get(CLUSTERS) or ""))]
    if not rows:
        return None
    num_true = _num_pairs(Counter(label for label, _ in rows))
    num_found = _num_pairs(Counter(found for _, found in rows if found))
    num_both = _num_pairs(Counter((label, found) for label, found in rows if found))
    num_filled = sum(bool(found) for _, found in rows)
    precision, recall = _share(num_both, num_found), _share(num_both, num_true)
    return Clustering(len(rows), num_filled, num_true, num_found, num_both, precision, recall)


def _num_pairs(sizes: Counter) -> int:
    return sum(size * (size - 1) // 2 for size in sizes.values())


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def as_json(judged: Sequence[Judged], annotator: str, errors: dict[str, str]) -> dict[str, object]:
    """Give the results as plain values; undefined shares are None."""
    fields = {name: asdict(found) for name in FIELDS if (found := field_accuracy(judged, name)).num_labelled}
    clusters = clustering(judged)
    return {
        "annotator": annotator,
        "num_rows": len(judged),
        "num_failed": len(errors),
        "fields": fields,
        CLUSTERS: asdict(clusters) if clusters else None,
    }


def print_table(judged: Sequence[Judged], annotator: str) -> None:
    """Print a row for each labelled field, and a line about the clusters."""
    console = Console(soft_wrap=True, emoji=False, markup=False, width=None if sys.stdout.isatty() else MAX_WIDTH)
    console.print(f"annotator {annotator}: {len(judged)} titles\n")
    table = Table(box=None, pad_edge=False)
    table.add_column("field", no_wrap=True)
    for name in ("labelled", "filled", "right", "accuracy", "coverage", "precision"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in FIELDS:
        found = field_accuracy(judged, name)
        if found.num_labelled:
            counts = (found.num_labelled, found.num_filled, found.num_right)
            shares = (found.accuracy, found.coverage, found.precision)
            table.add_row(name, *map(str, counts), *map(_cell, shares))
    console.print(table)
    if clusters := clustering(judged):
        console.print(
            f"\n{CLUSTERS}: pairwise precision {_cell(clusters.precision)}, recall {_cell(clusters.recall)}, "
            f"filled {clusters.num_filled} of {clusters.num_rows}"
        )


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
