"""The `aria-data` command. Thin: each command calls the library or a flow; heavy imports wait until needed."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from aria_data.errors import AriaDataError, DatasetNotFound, UsageError
from flows.cli.annotate import annotate_command, evaluate_annotate_command
from flows.cli.base import DONE, DONE_WITH_FAILURES, INTERRUPTED, USAGE, Examples, cap_option, compute_options
from flows.cli.compare import compare
from flows.cli.crawl import attempts, costs, crawl, doctor, fetch, retry, serve, tree
from flows.cli.dataset import card, export, sample, stats
from flows.cli.exclusions import exclude
from flows.cli.screen import evaluate_screen_command, screen_command
from flows.cli.select import score, select
from flows.cli.subsets import subset, subsets
from flows.cli.tools import classify, evaluate, transcribe


class Commands(click.Group):
    """The group of all commands. A reader that goes away, as `| head` does, has seen enough: that is no error."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(DONE)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="aria-data")
def cli() -> None:
    """Turn recordings into versioned piano MIDI datasets.

    Exit codes: 0 done, 1 done with failures recorded (or nothing usable found), 2 wrong usage or configuration.
    """


@cli.command(
    cls=Examples,
    examples="""
    aria-data build recordings/ --out dataset/
    aria-data build recordings/ --out dataset/ --dry-run
    aria-data build recordings/ --out dataset/ --set segment.min_segment_s=20
    aria-data build recordings/ --out dataset/ --config manifests/recipes/demo.toml --json
    aria-data build addresses.csv --out dataset/ --set 'download.licences=["cc0","pd","cc-by"]'
    aria-data build --out dataset/
    """,
)
@click.argument("source", required=False)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The dataset folder; made when missing.")
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    help="A TOML file with settings, or `defaults`; without it those that the dataset was last built with.",
)
@click.option("--set", "settings", multiple=True, metavar="STAGE.KEY=VALUE", help="One setting; may be repeated.")
@click.option("--name", default="", help="Name the version that is released: spring-2027.")
@compute_options
@click.option("--dry-run", is_flag=True, help="Say what would be done; change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object.")
@click.option("-v", "--verbose", is_flag=True, help="Show Prefect's log and full errors.")
def build(
    source: str | None,
    out: Path,
    config_path: Path | None,
    settings: tuple[str, ...],
    name: str,
    device: str,
    dtype: str,
    batch_size: int,
    threads: int,
    dry_run: bool,
    as_json: bool,
    verbose: bool,
) -> None:
    """Build a dataset from SOURCE: a folder with recordings, an address, or a list of addresses (CSV, JSONL, text).

    Without SOURCE, from what crawls and builds of this dataset found. What is already done is not done again: stop it
    when you like, add files, change settings, and run it again.
    """
    from aria_data.transcribe import Compute
    from flows.cli.jobs import run_build

    compute = Compute(device, dtype, batch_size, threads)
    summary = run_build(
        source, out, config_path, settings, compute=compute, dry_run=dry_run, verbose=verbose, name=name
    )
    from flows import show

    if as_json:
        click.echo(json.dumps(dataclasses.asdict(summary), ensure_ascii=False))
    elif dry_run:
        show.plan_table(summary)
    else:
        show.closing_tables(summary, str(out))
    is_clean = dry_run or (not summary.failures and not summary.not_done and summary.version > 0)
    sys.exit(DONE if is_clean else DONE_WITH_FAILURES)


@cli.command(
    cls=Examples,
    examples="""
    aria-data query dataset/ "composer_id = 'chopin' and audio_score > 0.9"
    aria-data query dataset/ "in_pruned and split = 'train'" --format paths
    aria-data query dataset/ "note_density > 5" --version 3 --format csv > dense.csv
    aria-data query dataset/ "in_pruned and is_cluster_lead" --max-per-composition 3 --format paths
    """,
)
@click.argument("dataset", type=click.Path(path_type=Path))
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
    """List the manifest's rows for which WHERE, an SQL condition, holds. It can only read."""
    from aria_data.manifest import Manifest
    from flows.show.output import cap_recordings, select_columns, write_table

    table = Manifest(dataset).query(where, version, None if cap else limit)
    if cap:
        table = cap_recordings(table, cap).slice(0, limit)
    write_table(select_columns(table, columns), format_, output, dataset, all_columns=columns is not None)


@cli.command(cls=Examples, examples="aria-data rejections dataset/\naria-data rejections dataset/ --format csv")
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option("--format", "format_", default="table", type=click.Choice(["table", "csv", "jsonl"]))
def rejections(dataset: Path, format_: str) -> None:
    """List what the last build rejected: at which stage, why, and the number that decided."""
    from aria_data.manifest import Manifest
    from aria_data.records import Rejection
    from aria_data.storage.tables import RecordTable
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


@cli.command(
    cls=Examples,
    examples="""
    aria-data explain dataset/ local-3f6a90c1d2e4b577_0
    aria-data explain dataset/ "Chopin/nocturne (live).mp3" --all
    aria-data explain dataset/ https://example.org/recital.html --json
    """,
)
@click.argument("dataset", type=click.Path(path_type=Path))
@click.argument("item_id", metavar="ID")
@click.option("--all", "shows_all", is_flag=True, help="Show the limits that hold, too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def explain(dataset: Path, item_id: str, shows_all: bool, as_json: bool) -> None:
    """Say why something is or is not in the dataset and its subsets: a segment, recording, candidate or address."""
    from flows.show import explain as explaining

    found = explaining.explain(dataset, item_id)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(found), ensure_ascii=False))
    else:
        explaining.show(found, shows_all)


@cli.command(cls=Examples, examples="aria-data versions dataset/\naria-data versions dataset/ --json")
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def versions(dataset: Path, as_json: bool) -> None:
    """List the dataset's versions, oldest first. With --json each says what it was made from."""
    from aria_data.manifest import Manifest
    from flows.show.output import print_versions

    print_versions(Manifest(dataset).versions(), as_json)


@cli.command(cls=Examples, examples="aria-data diff dataset/ 3 4\naria-data diff dataset/ spring autumn --json")
@click.argument("dataset", type=click.Path(path_type=Path))
@click.argument("old")
@click.argument("new")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def diff(dataset: Path, old: str, new: str, as_json: bool) -> None:
    """Show what version NEW added, removed and changed against version OLD, and why."""
    from aria_data.manifest import Manifest
    from flows.show import differences

    difference = Manifest(dataset).diff(old, new)
    reasons = differences.reasons_of(dataset, difference, old, new)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(difference) | {"reasons": dataclasses.asdict(reasons)}))
    else:
        differences.show(difference, reasons)


@cli.command(
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
    """Remove segments, recordings, candidates, addresses, uploaders (uploader:NAME) or sites (domain:HOST) for good.

    A new version is released without them, their MIDI files and fetched audio are deleted, and no later build or crawl
    brings them back.
    """
    from flows.remove import remove_items
    from flows.show.removal import show_removal

    show_removal(remove_items(dataset, list(ids), reason))


@cli.command(cls=Examples, examples="aria-data demo\naria-data demo --out somewhere/demo_dataset")
@click.option("--out", type=click.Path(path_type=Path), default=Path("demo_dataset"), show_default=True)
@click.option("--recordings", type=click.Path(path_type=Path), default=Path("demo_recordings"), show_default=True)
def demo(out: Path, recordings: Path) -> None:
    """Make example recordings, build a dataset from them, and compare its notes with the scores that were played."""
    from flows.cli.jobs import run_build
    from flows.demo import run_demo

    sys.exit(run_demo(recordings, out, run_build))


evaluate.add_command(evaluate_screen_command)
evaluate.add_command(evaluate_annotate_command)
web_commands = (crawl, fetch, retry, attempts, tree, screen_command, costs, serve, doctor)
dataset_commands = (stats, sample, card, export, subset, subsets, exclude, score, select, compare)
for command in (*web_commands, annotate_command, *dataset_commands, classify, transcribe, evaluate):
    cli.add_command(command)


def main() -> None:
    """Run the command line; every error a person can act on becomes one line, not a traceback."""
    verbose = bool({"-v", "--verbose"} & set(sys.argv[1:]))
    try:
        cli.main(prog_name="aria-data", standalone_mode=False)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(USAGE)
    except (KeyboardInterrupt, click.Abort):
        _end_at_once("stopped. What is finished is kept; the same command goes on from here.", INTERRUPTED)
    except OSError as error:
        if verbose or error.errno not in (errno.ENOSPC, errno.EIO, errno.EFBIG):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _end_at_once(f"the output cannot be written ({error.strerror}).", DONE_WITH_FAILURES)
    except AriaDataError as error:
        if verbose:
            raise
        _end_at_once(str(error), USAGE if isinstance(error, UsageError) else DONE_WITH_FAILURES)


def _end_at_once(message: str, code: int) -> None:
    """Say one line and end without waiting for threads that still decode; nothing they write counts until whole."""
    sys.stdout.flush()
    print(f"aria-data: {message}", file=sys.stderr, flush=True)
    os._exit(code)


if __name__ == "__main__":
    main()
