"""Commands that build a dataset: build, plan, and demo, which makes its own recordings. Thin."""

from __future__ import annotations

import dataclasses
import functools
import json
import sys
from pathlib import Path
from typing import Any

import click

from flows.cli.base import (
    DATASET,
    DONE,
    DONE_WITH_FAILURES,
    Examples,
    compute_options,
    engine_options,
    metrics_option,
    prefect_option,
    print_json,
)


@click.command(
    cls=Examples,
    examples="""
    aria-data build recordings/ --out dataset/
    aria-data build recordings/ --out dataset/ --dry-run
    aria-data build recordings/ --out dataset/ --set segment.min_segment_s=20
    aria-data build recordings/ --out dataset/ --config manifests/recipes/demo.toml --json
    aria-data build recordings/ --out dataset/ --scores scores/
    aria-data build addresses.csv --out dataset/ --set 'download.licences=["cc0","pd","cc-by"]'
    aria-data build --out dataset/ --metrics 9464 --price-per-hour 0.40
    """,
)
@click.argument("source", required=False)
@click.option("--out", required=True, type=DATASET, help="The dataset folder; made when missing.")
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    help="A TOML file with settings, or `defaults`; without it those that the dataset was last built with.",
)
@click.option("--set", "settings", multiple=True, metavar="STAGE.KEY=VALUE", help="One setting; may be repeated.")
@click.option("--scores", type=click.Path(path_type=Path), help="Align with this folder of scores: release.scores.")
@click.option("--name", default="", help="Name the version that is released: spring-2027.")
@engine_options
@compute_options
@metrics_option
@click.option("--dry-run", is_flag=True, help="Say what would be done; change nothing.")
@prefect_option
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object.")
@click.option("-v", "--verbose", is_flag=True, help="Show Prefect's log and full errors.")
def build(
    source: str | None,
    out: Path,
    config_path: Path | None,
    settings: tuple[str, ...],
    scores: Path | None,
    name: str,
    engine: dict[str, Any],
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
    from flows.engine.orders import Engine

    if scores is not None:
        settings = (*settings, f"release.scores={json.dumps(str(scores.absolute()), ensure_ascii=False)}")
    summary = run_build(
        source,
        out,
        config_path,
        settings,
        compute=Compute(device, dtype, batch_size, threads),
        engine=Engine(**engine),
        dry_run=dry_run,
        verbose=verbose,
        name=name,
        **prefect,
    )
    from flows import show

    if as_json:
        print_json(dataclasses.asdict(summary))
    elif summary.plan is not None:
        show.print_plan(summary.plan)
    else:
        show.closing_tables(summary, str(out))
    is_clean = dry_run or (not summary.failures and not summary.not_done and summary.version > 0)
    sys.exit(DONE if is_clean else DONE_WITH_FAILURES)


@click.command(
    cls=Examples,
    examples="""
    aria-data plan dataset/
    aria-data plan dataset/ more_recordings/ --price-per-hour 0.40
    aria-data plan dataset/ --set transcribe.transcriber=bytedance
    aria-data plan dataset/ --set segment.max_gap_s=12 --workers 4 --json
    aria-data plan dataset/ recordings/ --cluster cluster.toml
    """,
)
@click.argument("dataset", type=DATASET)
@click.argument("source", required=False)
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    help="A TOML file with settings, or `defaults`; without it those that the dataset was last built with.",
)
@click.option("--set", "settings", multiple=True, metavar="STAGE.KEY=VALUE", help="One setting; may be repeated.")
@click.option("--workers", default=1, type=click.IntRange(min=1), help="So many machines like this one.")
@click.option("--cluster", type=click.Path(path_type=Path), help="A TOML file that describes other machines.")
@click.option("--price-per-hour", type=click.FloatRange(min=0), help="Of one machine.")
@compute_options
@click.option("--json", "as_json", is_flag=True, help="Print the plan as one JSON object.")
def plan(
    dataset: Path,
    source: str | None,
    config_path: Path | None,
    settings: tuple[str, ...],
    workers: int,
    cluster: Path | None,
    price_per_hour: float | None,
    device: str,
    dtype: str,
    batch_size: int,
    threads: int,
    as_json: bool,
) -> None:
    """Say what a build would do and take: hours, time, money.

    Nothing is done, nobody is asked, no file is changed. What can be counted is exact; what depends on results that
    are not there yet is an estimate by what the dataset holds, with the most that it can be. Times are of the speed
    that builds measured (perf.json), each with its source.

    A cluster is described by its machines, with x real time of each machine for stages whose speed is known:

    \b
      [[machines]]
      name = "h200"
      count = 8
      cores = 64
      gpus = 1
      price_per_hour = 3.5
      rates = { transcribe = 900.0, classify = 3000.0 }
    """
    from aria_data.errors import UsageError
    from aria_data.transcribe import Compute
    from flows.cli.jobs import run_plan

    if cluster is not None and workers != 1:
        raise UsageError("--workers counts machines like this one, --cluster describes others: name one of them.")
    compute = Compute(device, dtype, batch_size, threads)
    planned = run_plan(source, dataset, config_path, settings, compute, cluster, workers, price_per_hour)
    if as_json:
        print_json(dataclasses.asdict(planned))
    else:
        from flows import show

        show.print_plan(planned)
    sys.exit(DONE)


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
