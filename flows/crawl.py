"""The crawl: find candidates on the web, screen them, follow their neighbours, and write all of it to tables.

Budgets end it. It fetches no audio: `aria-data build` and `aria-data download` fetch what the crawl accepted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow

from aria_data.collect import CrawlSummary
from aria_data.config import BuildConfig, build_record
from aria_data.storage import exclusive_lock
from aria_data.storage.tables import remove_orphans
from flows.engine.context import BuildContext
from flows.engine.crawling import COLLECT, Report, opt_outs_of, run_crawl
from flows.engine.stages import SCREEN


@flow(name="crawl", persist_result=False, validate_parameters=False)
def crawl(out: str, config: dict[str, Any] | None = None) -> CrawlSummary:
    """Crawl into the dataset at `out`. It goes on where the last run stopped."""
    return crawl_into(Path(out), build_record(BuildConfig, config or {}, "config"))


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
