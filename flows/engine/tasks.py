"""A stage's work on some items of a shard, as a Prefect task where a flow of Prefect's runs, else as a plain call.

Outcomes go to the stage's table while the work goes on (`storage.appending`), so a kill costs seconds of it.
Prefect adds retries and its records of the run; without it (`work_on.fn`) the results are the same.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext

from aria_data.storage.appending import Appends
from aria_data.storage.stage_tables import Outcome
from flows.engine.context import BuildContext, Item, NotDone, Stage
from flows.engine.record import RECORD
from flows.workers.lanes import Stopped

MAX_ITEMS_PER_SHARD = 250  # larger shards cost less of Prefect's time each, but more work at a retry
MAX_AUDIO_S_PER_SHARD = 7_200.0
RETRY_DELAYS_S = (1.0, 10.0)


class Work:
    """Items of one stage that are worked on together. No dataclass, so that Prefect does not look inside."""

    def __init__(
        self,
        context: BuildContext,
        stage: Stage,
        table: Appends,
        items: Sequence[Item],
        tell: Callable[[float, Outcome], None] = lambda audio_s, outcome: None,
        stopped: threading.Event | None = None,
    ):
        self.context, self.stage, self.table = context, stage, table
        self.items = list(items)
        self.outcomes: list[Outcome] = []
        self.tell, self.stopped = tell, stopped or threading.Event()


def _is_worth_retrying(_task, _run, state) -> bool:
    error = state.result(raise_on_failure=False)
    return isinstance(error, NotDone) and error.is_worth_retrying


@task(
    name="work-on-shard",
    task_run_name="{stage_name}",
    retries=len(RETRY_DELAYS_S),
    retry_delay_seconds=list(RETRY_DELAYS_S),
    retry_condition_fn=_is_worth_retrying,
    cache_policy=NO_CACHE,
    persist_result=False,
    log_prints=False,
)
def work_on(work: Work, stage_name: str) -> None:
    """Work on the items that have no outcome yet; outcomes go into `work.outcomes` and the stage's table.

    Raises `NotDone` for those that have to be tried again, `Stopped` where another lane failed.
    """
    done = {outcome.item_id for outcome in work.outcomes}
    todo = [item for item in work.items if item.item_id not in done]
    audio_s = {item.item_id: item.audio_s for item in todo}
    for outcome in work.context.executor.work(work.context, work.stage, todo):
        work.table.append([outcome])
        work.outcomes.append(outcome)
        work.tell(audio_s[outcome.item_id], outcome)
        if work.stopped.is_set():
            raise Stopped


def work_recorded(work: Work, stage_name: str) -> None:
    """Do what `work_on` does, as its task where a flow of Prefect's runs.

    Where Prefect's record of the build is kept beside it, it is tried again as the task would be, and noted.
    """
    record = RECORD.get()
    if FlowRunContext.get() is not None:
        work_on(work, stage_name)
    elif record is None:
        work_on.fn(work, stage_name)
    else:
        with record.of(stage_name):
            _with_retries(work, stage_name)


def _with_retries(work: Work, stage_name: str) -> None:
    for delay_s in RETRY_DELAYS_S:
        try:
            return work_on.fn(work, stage_name)
        except NotDone as error:
            if not error.is_worth_retrying:
                raise
        work.stopped.wait(delay_s)
    return work_on.fn(work, stage_name)


def batches_of(items: Sequence[Item], times: int = 1) -> Iterator[list[Item]]:
    """Cut a stage's items, in order: at most `MAX_ITEMS_PER_SHARD`, and `MAX_AUDIO_S_PER_SHARD` of audio unless one
    item alone is longer; both `times` as many."""
    limit, limit_s = MAX_ITEMS_PER_SHARD * times, MAX_AUDIO_S_PER_SHARD * times
    batch: list[Item] = []
    audio_s = 0.0
    for item in items:
        if batch and (len(batch) >= limit or audio_s + item.audio_s > limit_s):
            yield batch
            batch, audio_s = [], 0.0
        batch.append(item)
        audio_s += item.audio_s
    if batch:
        yield batch
