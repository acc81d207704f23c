"""What the commands start: what was asked is checked, Prefect is told where its home is, the recipe runs.

Prefect reads its settings when it is first imported, so recipes are imported here, late.
"""

from __future__ import annotations

import difflib
import json
import re
import zoneinfo
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from aria_data.config import for_crawl, to_values
from aria_data.errors import DatasetNotFound, UsageError
from aria_data.storage import local_folder, printable
from aria_data.storage.delta_tables import address_of
from aria_data.transcribe import Compute
from flows.build.unchanged import last_summary
from flows.engine import order_build, quiet_prefect
from flows.engine.orders import ANYWHERE, THIS_MACHINE, Engine, check_seeds, settings_of
from flows.engine.prefect_api import temporary_api

if TYPE_CHECKING:
    from aria_data.collect import CrawlSummary
    from flows.show.summaries import BuildSummary, FetchSummary, Plan

    Report = Callable[[CrawlSummary], None]


def run_build(
    source: str | Path | None,
    out: Path,
    config_path: Path | None = None,
    settings: Sequence[str] = (),
    *,
    compute: Compute = ANYWHERE,
    dry_run: bool = False,
    verbose: bool = False,
    with_prefect: bool = True,
    name: str = "",
    engine: Engine = THIS_MACHINE,
) -> BuildSummary:
    """Check the order, then build; see `build_dataset.build`, which a notebook calls."""
    order = order_build(source, out, config_path, settings, compute=compute, dry_run=dry_run, name=name, engine=engine)
    if summary := last_summary(order):  # before Prefect is imported
        return summary
    with quiet_prefect(verbose):
        from flows.build_dataset import carry_out
    return carry_out(order, verbose, with_prefect)


def run_plan(
    source: str | Path | None,
    out: Path,
    config_path: Path | None,
    settings: Sequence[str],
    compute: Compute,
    cluster: Path | None,
    workers: int,
    price_per_hour: float | None,
) -> Plan:
    """Say what a build would do and take, on so many machines like this one or on those of a file."""
    order = order_build(source, out, config_path, settings, compute=compute, dry_run=True)
    if source is None and not (out / "tables" / "collect").is_dir():
        raise DatasetNotFound(f"{printable(str(out))}: holds no dataset. Name a SOURCE to plan a new one.")
    with quiet_prefect():
        from flows.plan import make_plan
        from flows.plan.cluster import like_this_one, read_cluster

        machines = read_cluster(cluster, price_per_hour) if cluster else like_this_one(workers, price_per_hour)
        return make_plan(order, machines)


def run_crawl(out: Path, config_path: Path | None, settings: Sequence[str], report: Report) -> CrawlSummary:
    """Crawl into the dataset at `out`, in this process, and note the configuration for the build that follows."""
    with quiet_prefect():
        from flows.crawl import crawl_and_note, settings_of_crawl

        config = settings_of_crawl(out, config_path, settings)
        address_of(out.absolute())
        return crawl_and_note(out, config, report)


def run_fetch(
    out: Path, config_path: Path | None, settings: Sequence[str], only: set[str] | None = None
) -> FetchSummary:
    """Fetch what the dataset at `out` waits for, in this process."""
    config = settings_of(out, config_path, settings)
    with quiet_prefect():
        from flows.fetch import fetch

        return fetch(out, to_values(config), only)


def run_retry(out: Path, kinds: Sequence[str], config_path: Path | None, settings: Sequence[str]) -> FetchSummary:
    """Fetch again what failed for these kinds."""
    with quiet_prefect():
        from flows.fetch import mark

        chosen = mark(out, kinds)
    return run_fetch(out, config_path, settings, chosen)


def run_serve(
    out: Path,
    config_path: Path | None,
    settings: Sequence[str],
    compute: Compute,
    cron: str,
    every: str,
    port: int,
    verbose: bool,
    started: Callable[[str], None],
    timezone: str = "",
) -> None:
    """Serve a schedule of crawls and builds of the dataset at `out` until interrupted. `timezone` "" is UTC."""
    config = for_crawl(settings_of(out, config_path, settings))
    every_s = _interval_s(every)
    if bool(cron) == bool(every_s):
        raise UsageError('say when, in one way: --cron "0 3 * * *", or --every 6h.')
    if cron and not re.fullmatch(
        r"@(hourly|daily|weekly|monthly|yearly)|([\d*/,\-A-Za-z#L?]+\s+){4}[\d*/,\-A-Za-z#L?]+", cron
    ):
        raise UsageError(
            f'--cron {printable(cron, 40)}: is no cron line such as "0 3 * * *" (minute, hour, day, month, weekday).'
        )
    _check_timezone(timezone, cron)
    check_seeds(config)
    address_of(out.absolute())
    (home := local_folder(out.absolute())).mkdir(parents=True, exist_ok=True)
    with temporary_api(home / ".prefect", verbose, has_schedules=True, port=port):
        from flows.serve import Schedule, run_schedule

        values = json.loads(json.dumps(to_values(config)))
        run_schedule(out.absolute(), values, asdict(compute), Schedule(cron, every_s, timezone), started)


def _check_timezone(timezone: str, cron: str) -> None:
    if timezone and not cron:
        raise UsageError("--timezone: belongs to --cron; an interval is the same everywhere. Leave it out.")
    if timezone and timezone not in zoneinfo.available_timezones():
        near = difflib.get_close_matches(timezone, zoneinfo.available_timezones(), 1, 0.7)
        advice = f"Did you mean {near[0]}?" if near else "Write an IANA name such as Europe/Berlin, or UTC."
        raise UsageError(f"--timezone {printable(timezone, 40)}: is no time zone. {advice}")


def _interval_s(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd])", text.strip()) if text else None
    if text and match is None:
        raise UsageError(f"--every {printable(text, 20)}: write a number and a unit: 90s, 30m, 6h, 1d.")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86_400}[match[2]] if match else 0.0
