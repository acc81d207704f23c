"""A crawl on a schedule, and a build of what it found. The dataset's lock keeps runs from overlapping.

`aria-data serve` starts a Prefect server that ends with it and keeps its records in the dataset folder. Each scheduled
run is a process of its own. It cancels the others that are due already, so that many missed ones become one. Locks are
the operating system's, so they are free again however a process ends; nothing of a crawl or build is kept in Prefect.
"""

from __future__ import annotations

import datetime
import logging
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import flow, runtime, serve
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterNextScheduledStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import State, StateType
from prefect.schedules import Cron, Interval
from prefect.states import Cancelled
from prefect.types.entrypoint import EntrypointType

from aria_data.collect import CrawlSummary
from aria_data.config import BuildConfig, to_values
from aria_data.errors import DatasetLocked, UsageError
from aria_data.storage import open_root
from flows.build_dataset import build_dataset
from flows.crawl import crawl_and_note, settings_of_crawl
from flows.show.summaries import BuildSummary

NAME = "crawl-and-build"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Schedule:
    """When runs start: by a cron line, or at an interval."""

    cron: str = ""  # "": by `every_s`
    every_s: float = 0.0  # 0: by `cron`
    timezone: str = ""  # the IANA name of the zone that `cron` is read in; "": UTC


@flow(name=NAME, persist_result=False, validate_parameters=False)
def crawl_and_build(out: str, config: Mapping[str, Any] | None = None, compute: Mapping[str, Any] | None = None) -> Any:
    """Crawl, then build a version from what is new, as `aria-data crawl --build` does.

    Settings that `config` does not name are those of the dataset. The run is cancelled at once where the dataset is
    locked. Runs that were due before this one has begun are cancelled: it does their work.
    """
    settings = settings_of_crawl(open_root(out), values=config)
    found, built = crawl_then(
        lambda: build_dataset(None, out, to_values(settings), dict(compute or {})), open_root(out), settings
    )
    if found is None or isinstance(built, State):
        return built
    return {"num_new": found.num_new, "num_accepted": found.num_accepted, "version": built.version}


def crawl_then(build: Callable[[], BuildSummary], root: Path, settings: BuildConfig) -> tuple[CrawlSummary | None, Any]:
    """Crawl, then `build`. Gives (what was found, what the build gave); a cancelled state where the dataset is locked.

    Runs of this deployment that were due before this one has begun are cancelled.
    """
    cancel_missed()
    try:
        found = crawl_and_note(root, settings)
    except DatasetLocked as error:
        return None, Cancelled(message=f"skipped: {error}")
    try:
        return found, build()
    except DatasetLocked as error:
        return found, Cancelled(message=f"crawled ({found.num_new} new candidates), not built: {error}")


def cancel_missed() -> int:
    """Cancel the other runs of this run's deployment that are due already, and give their number.

    Prefect has no setting for it: a server that was off for a day starts every run of the day, one after another.
    Outside a scheduled run there are none.
    """
    if not runtime.deployment.id:
        return 0
    now = datetime.datetime.now(datetime.UTC)
    due = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[UUID(runtime.deployment.id)]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
        next_scheduled_start_time=FlowRunFilterNextScheduledStartTime.model_validate({"before_": now}),
    )
    num_cancelled = 0
    with get_client(sync_client=True) as client:
        while runs := client.read_flow_runs(flow_run_filter=due):  # a page at a time
            for run in runs:
                missed: State[Any] = Cancelled(message="missed: the run that began now does its work")
                client.set_flow_run_state(run.id, missed, force=True)
            num_cancelled += len(runs)
    if num_cancelled:
        log.info("%d missed runs are cancelled: this one does their work.", num_cancelled)
    return num_cancelled


def run_schedule(
    out: Path,
    config: Mapping[str, Any],
    compute: Mapping[str, Any],
    schedule: Schedule,
    started: Callable[[str], None] = lambda address: None,
) -> None:
    """Serve until interrupted; `started` is called with the server's address. Raises `UsageError` for a bad cron line.

    `PREFECT_API_URL` must be set to a server that starts scheduled runs (`temporary_api` with `has_schedules`).
    """
    try:
        deployment = _deployment(out, config, compute, schedule)
    except ValueError as error:
        raise UsageError(f"--cron {schedule.cron}: is no schedule ({str(error).splitlines()[-1][:120]}).") from error
    started(os.environ["PREFECT_API_URL"].removesuffix("/api"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        serve(deployment, print_starting_message=False, limit=1)


def _deployment(out: Path, config: Mapping[str, Any], compute: Mapping[str, Any], schedule: Schedule) -> Any:
    zone = schedule.timezone or "UTC"
    return crawl_and_build.to_deployment(
        name=out.name,
        schedule=Cron(schedule.cron, timezone=zone)
        if schedule.cron
        else Interval(datetime.timedelta(seconds=schedule.every_s), timezone=zone),
        parameters={"out": str(out), "config": config, "compute": compute},
        enforce_parameter_schema=False,
        entrypoint_type=EntrypointType.MODULE_PATH,
        description=f"Crawl into {out}, then build what is new.",
    )


if __name__ == "__main__":
    sys.exit("Start it with `aria-data serve`.")
