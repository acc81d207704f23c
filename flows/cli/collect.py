"""Commands that collect from the web, and list what came of it: crawl, fetch, retry, attempts, tree. Thin."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import click

from flows.cli.base import DATASET, DONE, DONE_WITH_FAILURES, Examples, prefect_option, print_json

EXPECTED = {"robots", "opted-out", "refused"}  # leads that nobody may follow: no failure of the crawl
REJECTED = EXPECTED | {"licence", "too-long"}  # by settings, the person's or the site's


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
@click.option("--out", required=True, type=DATASET, help="The dataset folder; made when missing.")
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="A TOML file with settings.")
@click.option("--set", "settings", multiple=True, metavar="STAGE.KEY=VALUE", help="One setting; may be repeated.")
@click.option("--max-candidates", type=click.IntRange(min=0), help="New ones in this run; 0: no limit.")
@click.option("--max-requests", type=click.IntRange(min=0), help="To all hosts together; 0: no limit.")
@click.option("--max-minutes", type=click.FloatRange(min=0), help="Of this run; 0: no limit.")
@click.option("--max-dollars", type=click.FloatRange(min=0), help="For the language model in this run.")
@click.option("--licence", help="Only what has one of these licences: cc0,pd,cc-by,cc-by-sa ...")
@click.option("--scorer", type=click.Choice(["learned", "rules", "llm"]), help="Who judges what is found.")
@click.option("--build", "is_built", is_flag=True, help="Then fetch what was accepted and build a version.")
@prefect_option
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
    prefect: dict[str, Any],
    as_json: bool,
) -> None:
    """Find recordings on the web, from SEEDS on.

    A seed is an address, or SOURCE:TARGET such as search:'chopin nocturne'. What is found is judged by its metadata;
    the neighbours of what is good are followed. Run it again to go on: nothing is visited or judged twice. No audio is
    fetched before `aria-data build` or `aria-data fetch`.
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
        print_json(dataclasses.asdict(summary))
    else:
        crawl_tables.crawl_table(summary, str(out))
    if not is_built:
        found_nothing = not summary.num_candidates and bool(summary.failures)
        judged_nothing = summary.stopped_by in ("dollars", "model") and not summary.num_new
        is_clean = not set(summary.failures) - EXPECTED and not found_nothing and not judged_nothing
        sys.exit(DONE if is_clean else DONE_WITH_FAILURES)
    from flows import show

    built = jobs.run_build(None, out, out / "dataset.toml", **prefect)
    show.closing_tables(built, str(out))
    sys.exit(DONE_WITH_FAILURES if built.failures or built.not_done or not built.version else DONE)


@click.command(
    cls=Examples,
    examples="aria-data fetch dataset/\naria-data fetch dataset/ --set download.max_duration_s=7200 --json",
)
@click.argument("dataset", type=DATASET)
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="A TOML file, not the dataset's own.")
@click.option("--set", "settings", multiple=True, metavar="STAGE.KEY=VALUE", help="One setting; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object.")
def fetch(dataset: Path, config_path: Path | None, settings: tuple[str, ...], as_json: bool) -> None:
    """Fetch and verify the audio of what a crawl accepted. `build` does the same and goes on."""
    from flows.cli import jobs
    from flows.show import crawl_tables

    summary = jobs.run_fetch(dataset, config_path, settings)
    crawl_tables.fetch_result(summary, as_json)
    sys.exit(DONE_WITH_FAILURES if set(summary.kinds) - REJECTED else DONE)


@click.command(
    cls=Examples,
    examples="""
    aria-data retry dataset/ --kind network
    aria-data retry dataset/ --kind geo --kind private --set web.cookies=cookies.txt
    """,
)
@click.argument("dataset", type=DATASET)
@click.option("--kind", "kinds", multiple=True, help="Why it failed (see `rejections`); may be repeated.")
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="A TOML file, not the dataset's own.")
@click.option("--set", "settings", multiple=True, metavar="STAGE.KEY=VALUE", help="One setting; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object.")
def retry(
    dataset: Path, kinds: tuple[str, ...], config_path: Path | None, settings: tuple[str, ...], as_json: bool
) -> None:
    """Fetch again what failed for the kinds named. Without --kind, what failed for a reason that may pass."""
    from flows.cli import jobs
    from flows.show import crawl_tables

    summary = jobs.run_retry(dataset, kinds, config_path, settings)
    crawl_tables.fetch_result(summary, as_json)
    sys.exit(DONE_WITH_FAILURES if set(summary.kinds) - REJECTED else DONE)


@click.command(
    cls=Examples,
    examples="aria-data tree dataset/ --rejected\naria-data tree dataset/ --format dot | dot -Tsvg > tree.svg",
)
@click.argument("dataset", type=DATASET)
@click.option("--format", "format_", default="text", type=click.Choice(["text", "dot", "json"]), show_default=True)
@click.option("--rejected", "show_rejected", is_flag=True, help="Show candidates that were not accepted, too.")
def tree(dataset: Path, format_: str, show_rejected: bool) -> None:
    """Draw which lead brought which candidates."""
    from flows.show.crawl_tree import draw

    for line in draw(dataset, format_, show_rejected):
        click.echo(line)


@click.command(
    cls=Examples,
    examples="aria-data attempts dataset/ --kind network\naria-data attempts dataset/ --format csv > attempts.csv",
)
@click.argument("dataset", type=DATASET)
@click.option("--kind", "kinds", multiple=True, help="Only what ended so; may be repeated.")
@click.option("--format", "format_", default="table", type=click.Choice(["table", "csv", "jsonl"]), show_default=True)
def attempts(dataset: Path, kinds: tuple[str, ...], format_: str) -> None:
    """List how fetching ended.

    A row for each candidate and run: when, from where, how long it took, why it failed.
    """
    from aria_data.records import Attempt
    from aria_data.storage.stage_tables import StageTable
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
