"""Commands that go to the web, and what they leave: crawl, fetch, retry, attempts, costs, tree, serve, doctor. Thin."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import click

from flows.cli.base import DONE, DONE_WITH_FAILURES, Examples, compute_options

EXPECTED = {"robots", "opted-out", "refused"}  # leads that nobody may follow: no failure of the crawl
TURNED_AWAY = EXPECTED | {"licence", "too-long"}  # by settings, the person's or the site's


@click.command(
    cls=Examples,
    examples="""
    aria-data crawl "search:chopin nocturne solo piano" --out dataset/
    aria-data crawl https://example.org/recitals/ --out dataset/ --licence cc0,cc-by,pd --max-candidates 200
    aria-data crawl --config manifests/recipes/crawl-internet-archive.toml --out dataset/ --build
    aria-data crawl --config crawl.toml --out dataset/ --scorer llm --max-dollars 0.50
    """,
)
@click.argument("seeds", nargs=-1)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The dataset folder; made when missing.")
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="A TOML file with settings.")
@click.option("--set", "settings", multiple=True, metavar="STAGE.KEY=VALUE", help="One setting; may be repeated.")
@click.option("--max-candidates", type=click.IntRange(min=0), help="New ones in this run; 0: no limit.")
@click.option("--max-requests", type=click.IntRange(min=0), help="To all hosts together; 0: no limit.")
@click.option("--max-minutes", type=click.FloatRange(min=0), help="Of this run; 0: no limit.")
@click.option("--max-dollars", type=click.FloatRange(min=0), help="For the language model in this jobs.")
@click.option("--licence", help="Only what has one of these licences: cc0,pd,cc-by,cc-by-sa ...")
@click.option("--scorer", type=click.Choice(["rules", "llm"]), help="Who judges what is found.")
@click.option("--build", "is_built", is_flag=True, help="Then fetch what was accepted and build a version.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object.")
def crawl(
    seeds: tuple[str, ...],
    out: Path,
    config_path: Path | None,
    settings: tuple[str, ...],
    max_candidates: int | None,
    max_requests: int | None,
    max_minutes: float | None,
    max_dollars: float | None,
    licence: str | None,
    scorer: str | None,
    is_built: bool,
    as_json: bool,
) -> None:
    """Find recordings from SEEDS on: addresses, or SOURCE:TARGET such as search:'chopin nocturne'.

    What is found is judged by its metadata; the neighbours of what is good are followed. Run it again to go on:
    nothing is visited or judged twice. No audio is fetched before `aria-data build` or `aria-data fetch`.
    """
    from flows.cli import jobs
    from flows.show import crawl_tables

    given: dict[str, Any] = {
        "crawl.seeds": list(seeds) or None,
        "crawl.max_candidates": max_candidates,
        "crawl.max_requests": max_requests,
        "crawl.max_minutes": max_minutes,
        "llm.max_dollars": max_dollars,
        "download.licences": licence.split(",") if licence else None,
        "screen.scorer": scorer,
    }
    more = [f"{name}={json.dumps(value)}" for name, value in given.items() if value is not None]
    summary = jobs.run_crawl(out, config_path, (*settings, *more), crawl_tables.Report())
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(summary), ensure_ascii=False))
    else:
        crawl_tables.crawl_table(summary, str(out))
    if not is_built:
        found_nothing = not summary.num_candidates and bool(summary.failures)
        judged_nothing = summary.stopped_by in ("dollars", "model") and not summary.num_new
        is_clean = not set(summary.failures) - EXPECTED and not found_nothing and not judged_nothing
        sys.exit(DONE if is_clean else DONE_WITH_FAILURES)
    from flows import show

    built = jobs.run_build(None, out, out / "dataset.toml")
    show.closing_tables(built, str(out))
    sys.exit(DONE_WITH_FAILURES if built.failures or built.not_done or not built.version else DONE)


@click.command(
    cls=Examples,
    examples="aria-data fetch dataset/\naria-data fetch dataset/ --set download.max_duration_s=7200 --json",
)
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="A TOML file, not the dataset's own.")
@click.option("--set", "settings", multiple=True, metavar="STAGE.KEY=VALUE", help="One setting; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object.")
def fetch(dataset: Path, config_path: Path | None, settings: tuple[str, ...], as_json: bool) -> None:
    """Fetch the audio of what a crawl accepted, verify it, and stop there. `build` does the same and goes on."""
    from flows.cli import jobs
    from flows.show import crawl_tables

    summary = jobs.run_fetch(dataset, config_path, settings)
    crawl_tables.fetch_result(summary, as_json)
    sys.exit(DONE_WITH_FAILURES if set(summary.kinds) - TURNED_AWAY else DONE)


@click.command(
    cls=Examples,
    examples="""
    aria-data retry dataset/ --kind network
    aria-data retry dataset/ --kind geo --kind private --set web.cookies=cookies.txt
    """,
)
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option("--kind", "kinds", multiple=True, help="Why it failed (see `rejections`); may be repeated.")
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="A TOML file, not the dataset's own.")
@click.option("--set", "settings", multiple=True, metavar="STAGE.KEY=VALUE", help="One setting; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object.")
def retry(
    dataset: Path, kinds: tuple[str, ...], config_path: Path | None, settings: tuple[str, ...], as_json: bool
) -> None:
    """Fetch again only what failed for the kinds named; without --kind, what failed for a reason that may pass."""
    from flows.cli import jobs
    from flows.show import crawl_tables

    summary = jobs.run_retry(dataset, kinds, config_path, settings)
    crawl_tables.fetch_result(summary, as_json)
    sys.exit(DONE_WITH_FAILURES if set(summary.kinds) - TURNED_AWAY else DONE)


@click.command(
    cls=Examples,
    examples="aria-data tree dataset/ --rejected\naria-data tree dataset/ --format dot | dot -Tsvg > tree.svg",
)
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option("--format", "format_", default="text", type=click.Choice(["text", "dot", "json"]), show_default=True)
@click.option("--rejected", "show_rejected", is_flag=True, help="Show candidates that were not accepted, too.")
def tree(dataset: Path, format_: str, show_rejected: bool) -> None:
    """Draw the crawl: which lead brought which candidates, and where it came from."""
    from flows.show.crawl_tree import draw

    for line in draw(dataset, format_, show_rejected):
        click.echo(line)


@click.command(
    cls=Examples,
    examples="""
    aria-data serve --out dataset/ --config manifests/recipes/crawl-internet-archive.toml --cron "0 3 * * *"
    aria-data serve --out dataset/ --every 6h --port 4200
    """,
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The dataset folder; made when missing.")
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="A TOML file with settings.")
@click.option("--set", "settings", multiple=True, metavar="STAGE.KEY=VALUE", help="One setting; may be repeated.")
@click.option("--cron", default="", help="When runs start, as a cron line: minute, hour, day, month, weekday.")
@click.option("--every", default="", help="Instead of --cron: an interval such as 90s, 30m, 6h or 1d.")
@click.option("--port", default=0, help="Where Prefect's pages are; 0: a free port.")
@compute_options
@click.option("-v", "--verbose", is_flag=True, help="Show Prefect's log.")
def serve(
    out: Path,
    config_path: Path | None,
    settings: tuple[str, ...],
    cron: str,
    every: str,
    port: int,
    device: str,
    dtype: str,
    batch_size: int,
    threads: int,
    verbose: bool,
) -> None:
    """Crawl on a schedule and build what is new, until stopped.

    Runs do not overlap; one that was killed leaves nothing locked. Prefect's pages show them at the address printed.
    """
    from aria_data.transcribe import Compute
    from flows.cli import jobs

    compute = Compute(device, dtype, batch_size, threads)
    started = lambda address: click.echo(f"serving; Prefect's pages: {address}  (Ctrl-C ends it)", err=True)  # noqa: E731
    jobs.run_serve(out, config_path, settings, compute, cron, every, port, verbose, started)


@click.command(cls=Examples, examples="aria-data doctor\naria-data doctor dataset/ --config crawl.toml --json")
@click.argument("dataset", required=False, type=click.Path(path_type=Path))
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="A TOML file with settings.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a check.")
def doctor(dataset: Path | None, config_path: Path | None, as_json: bool) -> None:
    """Check this machine: versions, programs, models, key and endpoint, disk, limits, and a dataset's state."""
    from aria_data.config import load_config
    from flows.engine import quiet_prefect
    from flows.engine.orders import own_config
    from flows.tools import doctor as examination

    config = load_config(config_path or (own_config(dataset) if dataset else None))
    with quiet_prefect():
        checks = list(examination.examine(dataset, config))
    examination.show(checks, as_json)
    sys.exit(DONE_WITH_FAILURES if any(check.state == examination.FAILURE for check in checks) else DONE)


@click.command(
    cls=Examples,
    examples="aria-data attempts dataset/ --kind network\naria-data attempts dataset/ --format csv > attempts.csv",
)
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option("--kind", "kinds", multiple=True, help="Only what ended so; may be repeated.")
@click.option("--format", "format_", default="table", type=click.Choice(["table", "csv", "jsonl"]), show_default=True)
def attempts(dataset: Path, kinds: tuple[str, ...], format_: str) -> None:
    """List how fetching ended, a row for each candidate and run: when, from where, how long it took, why it failed."""
    from aria_data.records import Attempt
    from aria_data.storage.tables import StageTable
    from aria_data.web.failures import require_kind
    from flows.engine import quiet_prefect
    from flows.fetch import require_dataset
    from flows.show.output import records_table, write_table

    wanted = {require_kind(kind) for kind in kinds}
    with quiet_prefect():
        require_dataset(dataset)
    found = [outcome.record for outcome in StageTable(dataset, "attempts", Attempt).all()]
    chosen = sorted((one for one in found if not wanted or one.kind in wanted), key=lambda one: one.began_at)
    write_table(records_table(chosen, Attempt), format_, None, dataset, all_columns=True)


@click.command(cls=Examples, examples="aria-data costs dataset/\naria-data costs ~/.cache/aria-data/llm.sqlite --json")
@click.argument("place", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a model and task.")
def costs(place: Path, as_json: bool) -> None:
    """Show what language models took, in tokens and dollars: of a dataset, or of a ledger's file."""
    from flows.show import crawl_tables

    crawl_tables.costs(place / "llm" / "ledger.sqlite" if place.is_dir() else place, as_json)
