"""Commands that give a dataset on, define subsets, and take things out for good: export, subset(s), remove. Thin."""

from __future__ import annotations

import tomllib
from contextlib import ExitStack
from pathlib import Path

import click

from flows.cli.base import DATASET, Examples, cap_option, print_json

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
@click.argument("dataset", type=DATASET)
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
        print_json({**facts, "without_rows": result.without_rows})
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
@click.argument("dataset", type=DATASET)
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


@click.command(
    cls=Examples,
    examples="""
    aria-data subset dataset/ long_chopin --where "composer_id = 'chopin' and duration_s > 120"
    aria-data subset dataset/ three_each --limits heavy --max-per-composition 3
    aria-data subset dataset/ ours --recipe ours.toml
    aria-data query dataset/ "in_long_chopin and split = 'train'" --format paths
    aria-data subset dataset/ long_chopin --delete
    """,
)
@click.argument("dataset", type=DATASET)
@click.argument("name")
@click.option("--where", default="", metavar="SQL", help="Only rows for which this condition holds.")
@click.option("--limits", default="", help="Only rows within these limits: light, heavy, or a TOML file.")
@cap_option
@click.option("--recipe", type=click.Path(path_type=Path), help="A TOML file with where, limits and so on instead.")
@click.option("--note", default="", help="What it is for.")
@click.option("--delete", is_flag=True, help="Forget the subset. Versions that have it keep it.")
def subset(
    dataset: Path, name: str, where: str, limits: str, cap: int, recipe: Path | None, note: str, delete: bool
) -> None:
    """Define a named subset, a column of this and later versions.

    The column in_NAME is in the new version and in every later one.
    What was removed or is excluded from training is in no subset. Defined again, the new meaning replaces the old.
    """
    from aria_data.config import build_record
    from aria_data.errors import UsageError
    from aria_data.release import SubsetRecipe
    from flows import define_subset as subsetting

    wanted = {"where": where, "limits": limits, "max_recordings_per_composition": cap, "note": note}
    given = {key: value for key, value in wanted.items() if value}
    if (delete or recipe) and given.keys() - {"note"}:
        raise UsageError("--delete and --recipe stand alone, without --where, --limits and --max-per-composition.")
    if delete:
        version = subsetting.forget(dataset, name)
        click.echo(f"Subset {name} is forgotten; from version {version} on no file is in it.")
        return
    values = (_read(recipe) | given) if recipe else given
    found = build_record(SubsetRecipe, values, str(recipe or "subset"))
    version, num_rows = subsetting.define_recipe(dataset, name, found)
    click.echo(f"in_{name} holds {num_rows:,} files of version {version}.")


def _read(path: Path) -> dict:
    from aria_data.errors import ConfigInvalid

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigInvalid(f"{path}: cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise ConfigInvalid(f"{path}: is not valid TOML ({error}).") from error


@click.command(cls=Examples, examples="aria-data subsets dataset/\naria-data subsets dataset/ --json")
@click.argument("dataset", type=DATASET)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def subsets(dataset: Path, as_json: bool) -> None:
    """List the named subsets.

    For each: how many files the newest version has in it, and what it is.
    """
    from aria_data.manifest import Manifest
    from aria_data.release import Subsets
    from aria_data.storage import printable

    manifest, known = Manifest(dataset), Subsets(dataset)
    manifest.number_of()  # says what is missing, if anything is
    present = set(manifest.column_names())
    for name in known.names():
        about = known.about(name)
        num_rows = len(manifest.query(f"in_{name}", columns=["segment_id"])) if f"in_{name}" in present else 0
        if as_json:
            print_json({"name": name, "num_rows": num_rows, **about})
        else:
            hidden = {"kind", "config", "scored", "warnings"}
            said = ", ".join(f"{key} {value}" for key, value in about.items() if value and key not in hidden)
            click.echo(f"in_{name}: {num_rows:,} files, a {about['kind']}; {printable(said, 300)}")
    if not known.names() and not as_json:
        click.echo("No named subsets; `aria-data subset` defines one. in_pruned, in_deduplicated, in_unique are there.")
