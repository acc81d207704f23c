"""Commands about named subsets: define one, list them, forget one. Thin."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import click

from flows.cli.base import Examples, cap_option


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
@click.argument("dataset", type=click.Path(path_type=Path))
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
@click.argument("dataset", type=click.Path(path_type=Path))
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
            click.echo(json.dumps({"name": name, "num_rows": num_rows, **about}, ensure_ascii=False))
        else:
            hidden = {"kind", "config", "scored", "warnings"}
            said = ", ".join(f"{key} {value}" for key, value in about.items() if value and key not in hidden)
            click.echo(f"in_{name}: {num_rows:,} files, a {about['kind']}; {printable(said, 300)}")
    if not known.names() and not as_json:
        click.echo("No named subsets; `aria-data subset` defines one. in_pruned, in_deduplicated, in_unique are there.")
