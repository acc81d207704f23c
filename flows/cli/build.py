"""Commands that build a dataset: build, and demo, which makes its own recordings. Thin."""

from __future__ import annotations

import dataclasses
import functools
import sys
from pathlib import Path
from typing import Any

import click

from flows.cli.base import DONE, DONE_WITH_FAILURES, Examples, compute_options, prefect_option, print_json


@click.command(
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
@prefect_option
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
    prefect: dict[str, Any],
    as_json: bool,
    verbose: bool,
) -> None:
    """Build a dataset from recordings, or bring one up to date.

    SOURCE is a folder with recordings, an address, or a list of addresses (CSV, JSONL, text). Without it, what crawls
    and builds of this dataset found is used. What is already done is not done again: stop it when you like, add files,
    change settings, and run it again.
    """
    from aria_data.transcribe import Compute
    from flows.cli.jobs import run_build

    compute = Compute(device, dtype, batch_size, threads)
    summary = run_build(
        source, out, config_path, settings, compute=compute, dry_run=dry_run, verbose=verbose, name=name, **prefect
    )
    from flows import show

    if as_json:
        print_json(dataclasses.asdict(summary))
    elif dry_run:
        show.plan_table(summary)
    else:
        show.closing_tables(summary, str(out))
    is_clean = dry_run or (not summary.failures and not summary.not_done and summary.version > 0)
    sys.exit(DONE if is_clean else DONE_WITH_FAILURES)


@click.command(cls=Examples, examples="aria-data demo\naria-data demo --out somewhere/demo_dataset")
@click.option("--out", type=click.Path(path_type=Path), default=Path("demo_dataset"), show_default=True)
@click.option("--recordings", type=click.Path(path_type=Path), default=Path("demo_recordings"), show_default=True)
@prefect_option
def demo(out: Path, recordings: Path, prefect: dict[str, Any]) -> None:
    """Build a dataset from example recordings made here.

    Its notes are then compared with the scores that were played.
    """
    from flows.cli.jobs import run_build
    from flows.demo import run_demo

    sys.exit(run_demo(recordings, out, functools.partial(run_build, **prefect)))
