"""Commands about the machine and what work costs on it: doctor, costs, serve. Thin."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from flows.cli.base import DATASET, DONE, DONE_WITH_FAILURES, Examples, compute_options


@click.command(cls=Examples, examples="aria-data doctor\naria-data doctor dataset/ --config crawl.toml --json")
@click.argument("dataset", required=False, type=DATASET)
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="A TOML file with settings.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a check.")
def doctor(dataset: Path | None, config_path: Path | None, as_json: bool) -> None:
    """Check this machine, and a dataset if one is named.

    Versions, programs, models, key and endpoint, disk, limits.
    """
    from aria_data.config import load_config
    from flows.engine import quiet_prefect
    from flows.engine.orders import own_config
    from flows.tools import doctor as examination

    config = load_config(config_path or (own_config(dataset) if dataset else None))
    with quiet_prefect():
        checks = list(examination.examine(dataset, config))
    examination.show(checks, as_json)
    sys.exit(DONE_WITH_FAILURES if any(check.state == examination.FAILURE for check in checks) else DONE)


@click.command(cls=Examples, examples="aria-data costs dataset/\naria-data costs ~/.cache/aria-data/llm.sqlite --json")
@click.argument("place", type=DATASET)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a model and task.")
def costs(place: Path, as_json: bool) -> None:
    """Show what language models cost, in tokens and dollars.

    PLACE is a dataset, or a ledger's file.
    """
    from flows.show import crawl_tables

    crawl_tables.costs(place / "llm" / "ledger.sqlite" if place.is_dir() else place, as_json)


@click.command(
    cls=Examples,
    examples="""
    aria-data serve --out dataset/ --config manifests/recipes/crawl-internet-archive.toml --cron "0 3 * * *"
    aria-data serve --out dataset/ --cron "30 22 * * sun" --timezone Europe/Berlin
    aria-data serve --out dataset/ --every 6h --port 4200
    """,
)
@click.option("--out", required=True, type=DATASET, help="The dataset folder; made when missing.")
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="A TOML file with settings.")
@click.option("--set", "settings", multiple=True, metavar="STAGE.KEY=VALUE", help="One setting; may be repeated.")
@click.option("--cron", default="", help="When runs start, as a cron line: minute, hour, day, month, weekday.")
@click.option("--timezone", default="", help="Of --cron: an IANA name such as Europe/Berlin.  [default: UTC]")
@click.option("--every", default="", help="Instead of --cron: an interval such as 90s, 30m, 6h or 1d.")
@click.option("--port", default=0, help="Where Prefect's pages are; 0: a free port.")
@compute_options
@click.option("-v", "--verbose", is_flag=True, help="Show Prefect's log.")
def serve(
    out: Path,
    config_path: Path | None,
    settings: tuple[str, ...],
    cron: str,
    timezone: str,
    every: str,
    port: int,
    device: str,
    dtype: str,
    batch_size: int,
    threads: int,
    verbose: bool,
) -> None:
    """Crawl and build on a schedule, until stopped.

    Runs do not overlap; one that was killed leaves nothing locked. However many were missed, one is run for them all.
    Prefect's pages show them at the address printed.
    """
    from aria_data.transcribe import Compute
    from flows.cli import jobs

    compute = Compute(device, dtype, batch_size, threads)
    started = lambda address: click.echo(f"serving; Prefect's pages: {address}  (Ctrl-C ends it)", err=True)  # noqa: E731
    jobs.run_serve(out, config_path, settings, compute, cron, every, port, verbose, started, timezone)
