"""The display of a crawl, of fetching and of costs: progress on standard error, tables on standard output."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from aria_data.collect import CrawlSummary
from aria_data.errors import DatasetNotFound
from aria_data.storage import json_line, local_copy
from aria_data.web import KINDS
from flows.show.build_tables import MAX_LINES
from flows.show.progress_bars import LINE_EVERY_S, duration
from flows.show.summaries import FetchSummary

STOPPED_BY = {
    "frontier": "no leads are left within crawl.max_depth",
    "candidates": "the budget of candidates is used up",
    "requests": "the budget of requests is used up",
    "minutes": "the time is up",
    "dollars": "the budget for the language model is used up",
    "model": "the language model does not answer any more",
    "resting": "the hosts that are left are paused for a while",
}


class Report:
    """Prints a crawl's progress: one line that is overwritten on a terminal, else a line every `LINE_EVERY_S`."""

    def __init__(self) -> None:
        self._printed = time.monotonic()

    def __call__(self, summary: CrawlSummary) -> None:
        line = (
            f"crawl  {summary.num_leads} leads followed, {summary.num_waiting} wait; {summary.num_new} candidates, "
            f"{summary.num_accepted} accepted; {summary.num_requests} requests in {duration(summary.seconds)}"
        )
        with suppress(BrokenPipeError):  # a crawl goes on when nobody reads this any more
            if sys.stderr.isatty():
                print(f"\r\x1b[K{line[:150]}", end="", file=sys.stderr, flush=True)
            elif time.monotonic() - self._printed > LINE_EVERY_S:
                self._printed = time.monotonic()
                print(line, file=sys.stderr, flush=True)


def crawl_table(summary: CrawlSummary, out: str) -> None:
    """Print the result of a crawl and why it ended. `out` is the dataset's folder, for the next commands."""
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    console = Console(soft_wrap=True, emoji=False)
    table = Table(title="the crawl", title_justify="left", show_header=False)
    for name, value in (
        ("leads followed", f"{summary.num_leads:,}"),
        ("leads that wait", f"{summary.num_waiting:,}"),
        ("new candidates", f"{summary.num_new:,}"),
        ("accepted", f"{summary.num_accepted:,}"),
        ("known before, or not judged", f"{summary.num_candidates - summary.num_new:,}"),
        ("requests", f"{summary.num_requests:,}"),
        ("time", duration(summary.seconds)),
    ):
        table.add_row(name, value)
    console.print(table)
    for kind, count in summary.failures.items():
        console.print(f"{count} leads: {kind}", markup=False, highlight=False)
    for line in summary.lines[:MAX_LINES]:
        console.print(f"  {line}", markup=False, highlight=False)
    ending = (
        f"It ended because {STOPPED_BY[summary.stopped_by]}. Next: aria-data build --out {out} | aria-data tree {out}"
    )
    console.print(ending, markup=False, highlight=False)


def fetch_result(summary: FetchSummary, as_json: bool) -> None:
    """Print the result of fetching, for people or as one JSON object."""
    if as_json:
        click.echo(json_line(asdict(summary)), nl=False)
        return
    console = Console(soft_wrap=True, emoji=False)
    console.print(
        f"fetched {summary.num_fetched:,} ({summary.num_bytes / 1e6:,.1f} MB, {duration(summary.audio_s)} of audio) in "
        f"{duration(summary.seconds)}; {summary.num_fetched_before:,} were here before",
        highlight=False,
    )
    for kind, count in summary.kinds.items():
        advice = KINDS[kind].next_step if kind in KINDS else "see aria-data rejections"
        console.print(f"{count} not fetched: {kind}; {advice}", markup=False, highlight=False)
    for line in summary.lines[:MAX_LINES]:
        console.print(f"  {line}", markup=False, highlight=False)


def costs(path: Path, as_json: bool) -> None:
    """Print what language models cost, from the ledger at `path`. Raises `DatasetNotFound` where there is none."""
    from aria_data.llm.ledger import Ledger

    if not path.is_file():
        raise DatasetNotFound(f"{path}: is not there; no language model was used.")
    ledger = Ledger(local_copy(path))
    try:
        rows = ledger.table()
    finally:
        ledger.close()
    if as_json:
        for row in rows:
            click.echo(json_line({**asdict(row), "dollars": row.picodollars / 1e12}), nl=False)
        return
    table = Table("model", "task", "requests", "tokens read", "written", "dollars", title="costs", title_justify="left")
    for row in rows:
        counts = (row.num_requests, row.prompt_tokens, row.completion_tokens)
        table.add_row(row.model, row.task, *(f"{count:,}" for count in counts), f"{row.picodollars / 1e12:.6f}")
    console = Console()
    console.print(table)
    unsure = sum(row.num_unsettled for row in rows)
    if unsure:
        console.print(f"{unsure} requests were cut off; the most they could have cost is counted.", highlight=False)
    if any(row.num_unpriced for row in rows):
        console.print("Some requests went to a model without a known price and count as 0.", highlight=False)
