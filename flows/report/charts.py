"""Results of queries as what the page draws: bars, histograms, funnels, tables. Plain values; the page escapes them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from aria_data.storage import printable
from flows.report.figures import BARS, FUNNEL, HISTOGRAM, MAX_BARS, NUM_BINS, STAGES, Figure

MAX_ROWS = 40  # of a table
BROAD, STACKED = 5, 3  # columns, beyond which a table is as wide as the page, or may become a list
MAX_CELL_CHARS = 90
WIDTH, HEIGHT = 300, 90  # of a histogram, in units of its view box


@dataclass
class Chart:
    """What is drawn: a table whose rows may have a bar (0 to 1), and for a histogram its columns.

    `summary` says in words what the picture shows, for those who do not see it.
    """

    kind: str
    header: list[str]
    rows: list[list[str]] = field(default_factory=list)
    bars: list[float] = field(default_factory=list)  # a share of the largest for each row
    columns: list[dict[str, Any]] = field(default_factory=list)  # x, y, width, height, and what it says
    num_more: int = 0  # rows that are not shown
    summary: str = ""

    @property
    def is_broad(self) -> bool:
        """Whether it has more columns than a third of a wide page shows."""
        return len(self.header) > BROAD

    @property
    def is_stacked(self) -> bool:
        """Whether a row becomes a list of its columns where there is little room."""
        return len(self.header) > STACKED and not self.bars

    def example(self, column: int) -> str:
        """The first text of a column that is not empty; of the first column nothing, it names its row."""
        return next((row[column] for row in self.rows if row[column]), "") if column else ""

    @staticmethod
    def is_number(text: str) -> bool:
        return re.fullmatch(r"[+-]?[0-9][0-9,.]*(e[+-]?[0-9]+)?", text) is not None


def chart_of(figure: Figure, result: pa.Table) -> Chart:
    """Turn a figure's result into what is drawn."""
    if figure.kind == HISTOGRAM:
        return _histogram(figure, result["value"].to_numpy(zero_copy_only=False).astype(float))
    if figure.kind == FUNNEL:
        return _funnel(result.to_pylist())
    most = MAX_BARS if figure.kind == BARS else MAX_ROWS
    rows = [list(row.values()) for row in result.slice(0, most).to_pylist()]
    shown = [[shown_value(value) for value in row] for row in rows]
    chart = Chart(figure.kind, result.column_names, shown, num_more=max(0, len(result) - most))
    if figure.kind == BARS:
        largest = max((row[-1] or 0 for row in rows), default=0) or 1
        chart.bars = [(row[-1] or 0) / largest for row in rows]
        chart.rows = [[row[0] or "(not known)", *row[1:]] for row in shown]
    return chart


def entry(figure: Figure, chart: Chart, command: str) -> dict[str, Any]:
    """A figure as the page's template takes it, with the command that gives its numbers."""
    return {"title": figure.title, "note": figure.note, "chart": chart, "command": command}


def command(root: Path, name: str, *words: str, last: str = "") -> str:
    """A command of ours for the dataset at `root`, as a shell takes it; `last` may have several lines."""
    all_words = [
        "aria-data",
        name,
        printable(str(root), 500),
        *(printable(word, 200) for word in words),
        *filter(None, [last]),
    ]
    return shlex.join(all_words)


def shown_value(value: Any) -> str:
    """Give a value as text of one line: numbers short, control characters and directions of writing escaped."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return printable(str(value), MAX_CELL_CHARS)


def _histogram(figure: Figure, values: np.ndarray) -> Chart:
    chart = Chart(HISTOGRAM, ["from", "to", "files"], summary="no file has a value")
    if not len(values):
        return chart
    unit = f" {figure.unit}" if figure.unit else ""
    counts, edges = np.histogram(values, NUM_BINS)
    low, middle, high = np.quantile(values, [0.05, 0.5, 0.95])
    chart.summary = (
        f"{len(values):,} files, {values.min():.4g} to {values.max():.4g}{unit}; "
        f"median {middle:.4g}, 90 % between {low:.4g} and {high:.4g}"
    )
    step = WIDTH / NUM_BINS
    for number, count in enumerate(counts):
        height = HEIGHT * count / counts.max()
        height = max(height, 1.0) if count else 0.0  # one file among a million is still seen
        start, end = edges[number], edges[number + 1]
        label = f"{start:.4g} to {end:.4g}{unit}: {count:,} files"
        chart.columns.append(
            {"x": round(number * step, 2), "y": round(HEIGHT - height, 2), "width": round(step - 1, 2)}
            | {"height": round(height, 2), "label": label}
        )
        chart.rows.append([f"{start:.4g}", f"{end:.4g}", f"{count:,}"])
    return chart


def _funnel(result: list[dict[str, Any]]) -> Chart:
    """Rows of the result: all that were found, those in the manifest, and for each stage those that ended there."""
    steps = {row["step"]: row for row in result}
    found, kept = (steps.pop(name)["candidates"] for name in ("found", "in the manifest"))
    chart = Chart(FUNNEL, ["after", "left", "rejected", "failed"])
    chart.rows, chart.bars, left = [["found", f"{found:,}", "", ""]], [1.0], found
    for step in sorted(steps, key=lambda step: (STAGES.index(step) if step in STAGES else len(STAGES), step)):
        rejected, failed = steps[step]["rejected"], steps[step]["failed"]
        left -= rejected + failed
        chart.rows.append([step, f"{left:,}", f"{rejected:,}", f"{failed:,}"])
        chart.bars.append(left / (found or 1))
    chart.rows.append(["in the manifest", f"{kept:,}", "", ""])
    chart.bars.append(kept / (found or 1))
    if left > kept:
        chart.summary = f"{left - kept:,} were not done: the next build tries them again."
    return chart
