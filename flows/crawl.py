"""The crawl: find candidates on the web, screen them, follow their neighbours, and write all of it to tables.

Budgets end it. It fetches no audio: `aria-data build` and `aria-data download` fetch what the crawl accepted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import flow

from aria_data.collect import CrawlSummary
from aria_data.config import BuildConfig, for_crawl, to_toml
from aria_data.storage import exclusive_lock, open_root, write_whole
from aria_data.storage.delta_tables import remove_orphans
from flows.engine.context import BuildContext
from flows.engine.crawling import COLLECT, Report, opt_outs_of, run_crawl
from flows.engine.orders import check_seeds, settings_of
from flows.engine.stages import SCREEN


@flow(name="crawl", persist_result=False, validate_parameters=False)
def crawl(out: str, config: dict[str, Any] | None = None) -> CrawlSummary:
    """Crawl into the dataset at `out`. It goes on where the last run stopped.

    Settings that `config` does not name are those of the dataset.
    """
    return crawl_and_note(open_root(out), settings_of_crawl(open_root(out), values=config))


def settings_of_crawl(
    out: Path, config_path: Path | None = None, settings: Sequence[str] = (), values: Mapping[str, Any] | None = None
) -> BuildConfig:
    """The configuration of a crawl into the dataset at `out`, found as that of a build (see `orders.settings_of`).

    Raises `UsageError` where no seed is named, `ConfigInvalid`.
    """
    config = for_crawl(settings_of(out, config_path, settings, values))
    check_seeds(config)
    return config


def crawl_and_note(root: Path, config: BuildConfig, report: Report = lambda summary: None) -> CrawlSummary:
    """Crawl, and note the configuration for the build that follows. Raises `DatasetLocked`."""
    summary = crawl_into(root, config, report)
    write_whole(root / "dataset.toml", to_toml(config).encode())
    return summary


def crawl_into(root: Path, config: BuildConfig, report: Report = lambda summary: None) -> CrawlSummary:
    """Lock the dataset folder and crawl. Raises `DatasetLocked` when a build or another crawl holds the lock."""
    root = root.absolute()
    with exclusive_lock(root / ".lock"):
        for name in (COLLECT, SCREEN.name):
            remove_orphans(root / "tables" / name)
        context = BuildContext(root, config)
        try:
            return run_crawl(context, config.crawl, opt_outs_of(root, config), report)
        finally:
            context.close()
