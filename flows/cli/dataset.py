"""Commands that read a released dataset: export, stats, sample. Thin."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from flows.cli.base import Examples

FORMATS = ("aria", "aria-jsonl", "folder", "huggingface", "webdataset")  # those of `aria_data.exports`, which is heavy


@click.command(
    cls=Examples,
    examples="""
    aria-data export dataset/ --format huggingface --out export/
    aria-data export dataset/ --format webdataset --out shards/ --where "in_pruned and licence like 'CC%'"
    aria-data export dataset/ --format folder --out midi/ --version 3 --where "composer_id = 'chopin'"
    """,
)
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option("--format", "format_", required=True, type=click.Choice(FORMATS), help="The layout to write.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="A folder that is new or empty.")
@click.option("--where", default="", metavar="SQL", help="Only rows for which this condition holds.")
@click.option("--version", help="A version's number or name; the newest without it.")
@click.option("--json", "as_json", is_flag=True, help="Print what was written as one JSON object.")
def export(dataset: Path, format_: str, out: Path, where: str, version: str | None, as_json: bool) -> None:
    """Copy a version's MIDI files and rows into a layout that others read, whole or not at all.

    With checksums (SHA256SUMS) and counts (export.json). What was removed is never exported.
    """
    import aria_data
    from aria_data import exports
    from flows import show

    with ExitStack() as stack:
        shown = stack.enter_context(show.progress())
        done = 0

        def report(num_rows: int, num_in_all: int) -> None:
            nonlocal done
            if not num_rows:
                stack.enter_context(shown.stage("export", num_in_all, 0.0, 0))
            shown.advance(0.0, num_rows - done)
            done = num_rows

        result = exports.export(aria_data.Dataset(dataset, version), out, format_, where, report)
    if as_json:
        facts = {"out": str(out), "format": format_, "version": result.version, "num_rows": result.num_rows}
        click.echo(json.dumps({**facts, "num_files": result.num_files, "num_bytes": result.num_bytes}))
    else:
        size = f"{result.num_files:,} files, {result.num_bytes / 1e6:,.2f} MB"
        click.echo(f"Exported {result.num_rows:,} MIDI files of version {result.version} to {out} ({size}).")


@click.command(
    cls=Examples,
    examples="""
    aria-data stats dataset/
    aria-data stats dataset/ --where "in_deduplicated and split = 'train'" --json
    """,
)
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option("--where", default="", metavar="SQL", help="Only rows for which this condition holds.")
@click.option("--version", help="A version's number or name; the newest without it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def stats(dataset: Path, where: str, version: str | None, as_json: bool) -> None:
    """Count files, hours and notes, by composer, licence, split and so on, with the spread of the main measures."""
    import aria_data

    found = aria_data.Dataset(dataset, version).stats(where)
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
    else:
        _print_stats(found)


@click.command(
    cls=Examples,
    examples="""
    aria-data sample dataset/ -n 10
    aria-data sample dataset/ -n 100 --seed 7 --where "split = 'test'" --format paths
    """,
)
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option("-n", "count", default=10, show_default=True, type=click.IntRange(min=0), help="How many rows.")
@click.option("--seed", default=0, show_default=True, help="Another seed draws other rows.")
@click.option("--where", default="", metavar="SQL", help="Only from rows for which this condition holds.")
@click.option("--version", help="A version's number or name; the newest without it.")
@click.option(
    "--format", "format_", default="table", show_default=True, type=click.Choice(["table", "csv", "jsonl", "paths"])
)
def sample(dataset: Path, count: int, seed: int, where: str, version: str | None, format_: str) -> None:
    """Draw rows at random; the same seed draws the same, and a larger sample holds the smaller."""
    import pyarrow as pa

    import aria_data
    from aria_data.manifest import Manifest
    from flows.show.output import write_table

    rows = aria_data.Dataset(dataset, version).sample(count, seed, where)
    write_table(pa.Table.from_pylist(rows, schema=Manifest(dataset).schema(version)), format_, None, dataset)


@click.command(
    cls=Examples,
    examples="""
    aria-data card dataset/
    aria-data card dataset/ --version spring --output CARD.md
    """,
)
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option("--where", default="", metavar="SQL", help="Only rows for which this condition holds.")
@click.option("--version", help="A version's number or name; the newest without it.")
@click.option("--output", type=click.Path(path_type=Path), help="Write to this file.")
def card(dataset: Path, where: str, version: str | None, output: Path | None) -> None:
    """Describe a version for people, as Markdown: how it was made, licences, figures, limits, whom to ask."""
    from aria_data.manifest import Manifest, dataset_card
    from aria_data.storage import write_whole

    manifest = Manifest(dataset)
    number = manifest.number_of(version)
    rows = manifest.query(where, number) if where.strip() else manifest.table(number)
    text = dataset_card(rows, manifest.versions()[number - 1], where=where)
    if output is None:
        click.echo(text, nl=False)
    else:
        write_whole(output, text.encode())


def _print_stats(found: dict[str, Any], most: int = 15) -> None:
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    from aria_data.storage import printable

    console = Console(width=None if sys.stdout.isatty() else 200, emoji=False, highlight=False, markup=False)
    console.print(
        f"{found['num_files']:,} files, {found['hours']:,.2f} hours, {found['num_notes']:,} notes, of "
        f"{found['num_recordings']:,} recordings; {found['num_compositions']:,} known compositions"
    )
    for name, groups in found["by"].items():
        table = Table(name, "files", "hours", "notes")
        for value, counts in list(groups.items())[:most]:
            numbers = (f"{counts['num_files']:,}", f"{counts['hours']:,.2f}", f"{counts['num_notes']:,}")
            table.add_row(Text(printable(value, 48) or "(none)"), *numbers)
        if len(groups) > most:
            table.add_row(f"... and {len(groups) - most:,} more", "", "", "")
        console.print(table)
    names = ("min", "p5", "median", "p95", "max", "mean")
    table = Table(Column("measure", no_wrap=True), *names)
    for measure, values in found["measures"].items():
        table.add_row(measure, *("" if values[name] is None else f"{values[name]:.4g}" for name in names))
    console.print(table)
