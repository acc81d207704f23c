"""The flows that `prefect.yaml` deploys. A run does what the command of its name does, in one dataset at a time.

They are named by module (`flows.deployments.recipes.build_dataset`), so a worker needs this package and no checkout.
Settings that a run does not name are those of the dataset's own dataset.toml.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from prefect import flow
from prefect.states import Completed, State

from aria_data.config import to_values
from aria_data.errors import DatasetNotFound
from aria_data.pruning import Budget, SelectConfig
from aria_data.storage import open_root
from aria_data.transcribe import Compute
from flows import build_dataset as build_recipe
from flows import crawl as crawl_recipe
from flows.deployments import parameters as ask
from flows.deployments import run_page
from flows.deployments.turns import in_turn
from flows.engine.orders import Engine, settings_of
from flows.select_subset import ScoreRequest, SelectRequest, score_dataset
from flows.select_subset import select_subset as select_recipe
from flows.serve import crawl_then
from flows.show.summaries import BuildSummary
from flows.speed.listeners import listening

WAIT_MINUTES = 720.0


@flow(name="build-dataset", persist_result=False)
def build_dataset(
    source: ask.Source,
    out: ask.Dataset,
    settings: ask.Settings = (),
    name: ask.Name = "",
    dry_run: ask.DryRun = False,
    device: ask.Device = "auto",
    batch_size: ask.BatchSize = 0,
    engine: ask.EngineName = "local",
    address: ask.Address = "",
    workers: ask.Workers = 0,
    gpus_per_worker: ask.GpusPerWorker = 1.0,
    price_per_hour: ask.PricePerHour = 0.0,
    wait_minutes: ask.WaitMinutes = WAIT_MINUTES,
    report_address: ask.ReportAddress = "",
) -> State[Any]:
    """Build a new version of a dataset from recordings, or bring it up to date. What is done is not done again."""
    compute = Compute(device=device, batch_size=batch_size)
    who = Engine(engine, address, workers, gpus_per_worker, price_per_hour)
    values = to_values(settings_of(open_root(out), None, settings))
    summary = in_turn(lambda: _built(source or None, out, values, compute, who, name, dry_run), wait_minutes)
    return _ended(summary, out, report_address)


@flow(name="rebuild", persist_result=False)
def rebuild(
    out: ask.Dataset,
    settings: ask.Settings = (),
    name: ask.Name = "",
    dry_run: ask.DryRun = False,
    device: ask.Device = "auto",
    batch_size: ask.BatchSize = 0,
    engine: ask.EngineName = "local",
    address: ask.Address = "",
    workers: ask.Workers = 0,
    gpus_per_worker: ask.GpusPerWorker = 1.0,
    price_per_hour: ask.PricePerHour = 0.0,
    wait_minutes: ask.WaitMinutes = WAIT_MINUTES,
    report_address: ask.ReportAddress = "",
) -> State[Any]:
    """Build a dataset again from the recordings that it knows, under other settings or with another transcriber."""
    if not open_root(out).joinpath("tables", "collect").is_dir():
        raise DatasetNotFound(f"{out}: holds no dataset, so there is nothing to build again. Run build-dataset first.")
    compute = Compute(device=device, batch_size=batch_size)
    who = Engine(engine, address, workers, gpus_per_worker, price_per_hour)
    values = to_values(settings_of(open_root(out), None, settings))
    summary = in_turn(lambda: _built(None, out, values, compute, who, name, dry_run), wait_minutes)
    return _ended(summary, out, report_address)


@flow(name="crawl-and-build", persist_result=False)
def crawl_and_build(
    out: ask.Dataset,
    seeds: ask.Seeds = (),
    settings: ask.Settings = (),
    device: ask.Device = "auto",
    batch_size: ask.BatchSize = 0,
    price_per_hour: ask.PricePerHour = 0.0,
    report_address: ask.ReportAddress = "",
) -> State[Any]:
    """Crawl, then build a version from what is new. A run that meets another in its dataset is cancelled at once."""
    root, compute = open_root(out), Compute(device=device, batch_size=batch_size)
    values = {"crawl": {"seeds": list(seeds)}} if seeds else None
    config = crawl_recipe.settings_of_crawl(root, None, settings, values)
    who = Engine(price_per_hour=price_per_hour)
    found, built = crawl_then(lambda: _built(None, out, to_values(config), compute, who), root, config)
    if found is None or isinstance(built, State):
        return built
    ended = _ended(built, out, report_address)
    return Completed(message=f"{found.num_new:,} new candidates; {ended.message}")


@flow(name="select-subset", persist_result=False)
def select_subset(
    out: ask.Dataset,
    name: ask.Subset,
    method: ask.Method = "group_random",
    score: ask.Score = "",
    unit: ask.Unit = "fraction",
    amount: ask.Amount = None,
    max_per_group: ask.MaxPerGroup = 0,
    seed: ask.Seed = 0,
    table: ask.Table = "",
    score_first: ask.ScoreFirst = False,
    wait_minutes: ask.WaitMinutes = WAIT_MINUTES,
) -> State[Any]:
    """Select a subset of a dataset's files by their scores, and release a version with it."""
    root = open_root(out)
    kept: Any = None if amount is None else amount if unit in ("fraction", "minutes") else int(amount)
    budget = Budget(**({} if kept is None else {unit: kept}))
    config = SelectConfig(method, budget, weights_mean_one=True, max_per_group=max_per_group)
    if score_first:
        table, _ = in_turn(lambda: score_dataset(root, ScoreRequest(table=table)), wait_minutes)
    request = SelectRequest(name, score, table, seed, config)
    version, selection = in_turn(lambda: select_recipe(root, request), wait_minutes)
    run_page.show_selection(name, version, selection)
    return Completed(message=f"version {version}: in_{name} holds {len(selection.ids):,} files")


def _built(
    source: str | None,
    out: str,
    values: Mapping[str, Any],
    compute: Compute,
    engine: Engine,
    name: str = "",
    dry_run: bool = False,
) -> BuildSummary:
    """Build as a part of this run, with its progress on the run's page."""
    with listening(run_page.progress):
        recipe = build_recipe.build_dataset
        return recipe.fn(source, out, dict(values), asdict(compute), dry_run, name, asdict(engine))


def _ended(summary: BuildSummary, out: str, report_address: str) -> State[Any]:
    if summary.plan is not None:
        run_page.show_plan(summary.plan)
        return Completed(message="a plan: nothing was changed")
    run_page.show_result(summary, out, report_address)
    return Completed(message=run_page.in_words(summary))
