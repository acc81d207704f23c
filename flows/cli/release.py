"""Commands that give a dataset on, and take things out of it for good: export, remove. Thin."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

import click

from flows.cli.base import Examples

FORMATS = ("aria", "aria-jsonl", "folder", "huggingface", "webdataset")  # those of `aria_data.exports`, which is heavy


@click.command(
    cls=Examples,
    examples="""
    aria-data export dataset/ --format huggingface --out export/
    aria-data export dataset/ --format webdataset --out shards/ --where "in_pruned and licence like 'CC%'"
    aria-data export dataset/ --format webdataset --out shards/ --shards 64
    aria-data export dataset/ --format folder --out midi/ --version 3 --where "composer_id = 'chopin'"
    """,
)
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option("--format", "format_", required=True, type=click.Choice(FORMATS), help="The layout to write.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="A folder that is new or empty.")
@click.option("--where", default="", metavar="SQL", help="Only rows for which this condition holds.")
@click.option("--version", help="A version's number or name; the newest without it.")
@click.option("--shards", type=click.IntRange(min=1), help="Files a split, at least: webdataset and huggingface. [8]")
@click.option("--json", "as_json", is_flag=True, help="Print what was written as one JSON object.")
def export(
    dataset: Path, format_: str, out: Path, where: str, version: str | None, shards: int | None, as_json: bool
) -> None:
    """Copy a version into a layout that others read.

    MIDI files and rows, whole or not at all, with checksums (SHA256SUMS) and counts (export.json). What was removed
    is never exported. A split has at least 8 shards, so that several workers can read them.
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

        result = exports.export(aria_data.Dataset(dataset, version), out, format_, where, report, shards)
    if as_json:
        facts = {"out": str(out), "format": format_, "version": result.version, "num_rows": result.num_rows}
        facts |= {"num_files": result.num_files, "num_bytes": result.num_bytes}
        click.echo(json.dumps({**facts, "without_rows": result.without_rows}))
    else:
        size = f"{result.num_files:,} files, {result.num_bytes / 1e6:,.2f} MB"
        click.echo(f"Exported {result.num_rows:,} MIDI files of version {result.version} to {out} ({size}).")
        if result.without_rows:
            click.echo(f"Without rows, and so not there: {', '.join(result.without_rows)}.")


@click.command(
    cls=Examples,
    examples="""
    aria-data remove dataset/ local-3f6a90c1d2e4b577 --reason takedown
    aria-data remove dataset/ local-3f6a90c1d2e4b577_0 --reason "wrong notes"
    aria-data remove dataset/ "uploader:Jane Doe" domain:example.org --reason "asked to be left out"
    """,
)
@click.argument("dataset", type=click.Path(path_type=Path))
@click.argument("ids", nargs=-1, required=True)
@click.option("--reason", required=True, help="Recorded beside the removal.")
def remove(dataset: Path, ids: tuple[str, ...], reason: str) -> None:
    """Remove items for good.

    An item is a segment, recording, candidate, address, uploader (uploader:NAME) or site (domain:HOST). A new version
    is released without them, their MIDI files and fetched audio are deleted, and no later build or crawl brings them
    back.
    """
    from flows.remove import remove_items
    from flows.show.removal import show_removal

    show_removal(remove_items(dataset, list(ids), reason))
