"""Commands that look at a dataset: query, explain, rejections, versions, diff, stats, sample, card. Thin."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import click

from aria_data.errors import DatasetNotFound
from flows.cli.base import DATASET, Examples, cap_option, print_json


@click.command(
    cls=Examples,
    examples="""
    aria-data query dataset/ "composer_id = 'chopin' and audio_score > 0.9"
    aria-data query dataset/ "in_pruned and split = 'train'" --format paths
    aria-data query dataset/ "note_density > 5" --version 3 --format csv > dense.csv
    aria-data query dataset/ "in_pruned and is_cluster_lead" --max-per-composition 3 --format paths
    """,
)
@click.argument("dataset", type=DATASET)
@click.argument("where", default="")
@click.option("--version", help="A version's number or name; the newest without it.")
@cap_option
@click.option("--limit", type=click.IntRange(min=0), help="At most so many rows.")
@click.option("--columns", help="Columns to show, with commas between. Tables show a few, other formats all.")
@click.option(
    "--format",
    "format_",
    default="table",
    show_default=True,
    type=click.Choice(["table", "csv", "jsonl", "parquet", "paths"]),
)
@click.option("--output", type=click.Path(path_type=Path), help="Write to this file. Needed for parquet.")
def query(
    dataset: Path,
    where: str,
    version: str | None,
    cap: int,
    limit: int | None,
    columns: str | None,
    format_: str,
    output: Path | None,
) -> None:
    """List the rows for which an SQL condition, WHERE, holds. It can only read."""
    from aria_data.manifest import Manifest
    from flows.show.output import cap_recordings, select_columns, write_table

    table = Manifest(dataset).query(where, version, None if cap else limit)
    if cap:
        table = cap_recordings(table, cap).slice(0, limit)
    write_table(select_columns(table, columns), format_, output, dataset, all_columns=columns is not None)


@click.command(
    cls=Examples,
    examples="""
    aria-data explain dataset/ local-3f6a90c1d2e4b577_0
    aria-data explain dataset/ "Chopin/nocturne (live).mp3" --all
    aria-data explain dataset/ https://example.org/recital.html --json
    """,
)
@click.argument("dataset", type=DATASET)
@click.argument("item_id", metavar="ID")
@click.option("--all", "shows_all", is_flag=True, help="Show the limits that hold, too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def explain(dataset: Path, item_id: str, shows_all: bool, as_json: bool) -> None:
    """Explain why something is or is not in the dataset.

    ID is a segment's, recording's or candidate's id, a file or an address; its subsets are explained, too.
    """
    from flows.show import explain as explaining

    found = explaining.explain(dataset, item_id)
    if as_json:
        print_json(dataclasses.asdict(found))
    else:
        explaining.show(found, shows_all)


@click.command(cls=Examples, examples="aria-data rejections dataset/\naria-data rejections dataset/ --format csv")
@click.argument("dataset", type=DATASET)
@click.option("--format", "format_", default="table", type=click.Choice(["table", "csv", "jsonl"]))
def rejections(dataset: Path, format_: str) -> None:
    """List what the last build rejected, and why.

    For each item the stage, the reason and the number that decided.
    """
    from aria_data.manifest import Manifest
    from aria_data.records import Rejection
    from aria_data.storage.stage_tables import RecordTable
    from flows.show.output import records_table, write_table

    records = RecordTable(dataset, "rejections", Rejection).read()
    if not records and Manifest(dataset).version() == 0:
        if (dataset / "tables" / "attempts").is_dir():
            raise DatasetNotFound(
                f"{dataset}: holds no built dataset yet; `aria-data attempts {dataset}` lists what was fetched. "
                f"Run `aria-data build --out {dataset}` for the rest."
            )
        raise DatasetNotFound(f"{dataset}: holds no dataset. Run `aria-data build SOURCE --out {dataset}` first.")
    write_table(records_table(records, Rejection), format_, None, dataset, all_columns=True)


@click.command(cls=Examples, examples="aria-data versions dataset/\naria-data versions dataset/ --json")
@click.argument("dataset", type=DATASET)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def versions(dataset: Path, as_json: bool) -> None:
    """List the dataset's versions, oldest first. With --json, with what each was made from."""
    from aria_data.manifest import Manifest
    from flows.show.output import print_versions

    print_versions(Manifest(dataset).versions(), as_json)


@click.command(cls=Examples, examples="aria-data diff dataset/ 3 4\naria-data diff dataset/ spring autumn --json")
@click.argument("dataset", type=DATASET)
@click.argument("old")
@click.argument("new")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def diff(dataset: Path, old: str, new: str, as_json: bool) -> None:
    """Show what changed between two versions, and why.

    How many rows changed for which reason; what became of rows, hours, notes, confidence and subsets as a whole; then
    the rows.
    """
    from aria_data.manifest import Manifest
    from flows.show import differences, effects

    difference = Manifest(dataset).diff(old, new)
    reasons = differences.reasons_of(dataset, difference, old, new)
    figures = effects.effects_of(dataset, old, new)
    if as_json:
        plain = {"reasons": dataclasses.asdict(reasons), "effects": effects.plain(figures)}
        print_json(dataclasses.asdict(difference) | plain)
    else:
        differences.show(difference, reasons, lambda: effects.show_effects(figures, old, new))


@click.command(
    cls=Examples,
    examples="""
    aria-data stats dataset/
    aria-data stats dataset/ --where "in_deduplicated and split = 'train'" --json
    """,
)
@click.argument("dataset", type=DATASET)
@click.option("--where", default="", metavar="SQL", help="Only rows for which this condition holds.")
@click.option("--version", help="A version's number or name; the newest without it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def stats(dataset: Path, where: str, version: str | None, as_json: bool) -> None:
    """Count files, hours and notes, by composer, licence and more.

    With the spread of the main measures.
    """
    import aria_data

    found = aria_data.Dataset(dataset, version).stats(where)
    if as_json:
        print_json(found)
    else:
        _print_stats(found)


@click.command(
    cls=Examples,
    examples="""
    aria-data sample dataset/ -n 10
    aria-data sample dataset/ -n 100 --seed 7 --where "split = 'test'" --format paths
    """,
)
@click.argument("dataset", type=DATASET)
@click.option("-n", "count", default=10, show_default=True, type=click.IntRange(min=0), help="How many rows.")
@click.option("--seed", default=0, show_default=True, help="Another seed draws other rows.")
@click.option("--where", default="", metavar="SQL", help="Only from rows for which this condition holds.")
@click.option("--version", help="A version's number or name; the newest without it.")
@click.option(
    "--format", "format_", default="table", show_default=True, type=click.Choice(["table", "csv", "jsonl", "paths"])
)
def sample(dataset: Path, count: int, seed: int, where: str, version: str | None, format_: str) -> None:
    """Draw rows at random. The same seed draws the same; a larger sample holds the smaller."""
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
@click.argument("dataset", type=DATASET)
@click.option("--where", default="", metavar="SQL", help="Only rows for which this condition holds.")
@click.option("--version", help="A version's number or name; the newest without it.")
@click.option("--output", type=click.Path(path_type=Path), help="Write to this file.")
def card(dataset: Path, where: str, version: str | None, output: Path | None) -> None:
    """Write the dataset card of a version, as Markdown.

    How it was made, licences, figures, limits, whom to ask.
    """
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
