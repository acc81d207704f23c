"""Shards of work as Prefect tasks. A task takes one shard, whose items `flows.build.assemble` found to be not done.

Outcomes are appended to the stage's table while the task runs, so a build that is killed loses seconds of work. Prefect
adds retries and its records of the run; without it (`work_on.fn`) the results are the same.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from aria_data.records import Download
from aria_data.storage.stage_tables import DONE, FAILED, Outcome, StageTable
from flows.engine.context import BuildContext, Item, NotDone, Stage
from flows.engine.telemetry import Meter

MAX_ITEMS_PER_SHARD = 250  # larger shards cost less of Prefect's time each, but more work at a retry
MAX_AUDIO_S_PER_SHARD = 7_200.0
FLUSH_AFTER_S = 5.0  # work that a kill may cost; an append takes about 0.02 s


class Shard:
    """Items worked on together by one task. No dataclass, so that Prefect does not look inside."""

    def __init__(self, context: BuildContext, stage: Stage, table: StageTable, items: Sequence[Item], meter: Meter):
        self.context, self.stage, self.table, self.meter = context, stage, table, meter
        self.items = list(items)
        self.outcomes: list[Outcome] = []


def _is_worth_retrying(_task, _run, state) -> bool:
    error = state.result(raise_on_failure=False)
    return isinstance(error, NotDone) and error.is_worth_retrying


@task(
    name="work-on-shard",
    task_run_name="{stage_name}",
    retries=2,
    retry_delay_seconds=[1, 10],
    retry_condition_fn=_is_worth_retrying,
    cache_policy=NO_CACHE,
    persist_result=False,
    log_prints=False,
)
def work_on(shard: Shard, stage_name: str) -> None:
    """Work on the shard's items that have no outcome yet; outcomes go into `shard.outcomes` and the stage's table.

    Raises `NotDone` for those that have to be tried again.
    """
    done = {outcome.item_id for outcome in shard.outcomes}
    todo = [item for item in shard.items if item.item_id not in done]
    audio_s = {item.item_id: item.audio_s for item in todo}
    buffer: list[Outcome] = []
    flushed = time.monotonic()
    try:
        for outcome in shard.stage.work(shard.context, shard.stage, todo):
            buffer.append(outcome)
            shard.meter.done(audio_s[outcome.item_id], **told_of(outcome))
            if time.monotonic() - flushed > FLUSH_AFTER_S:
                _flush(shard, buffer)
                flushed = time.monotonic()
    finally:
        _flush(shard, buffer)


def told_of(outcome: Outcome) -> dict[str, Any]:
    """What an outcome tells a `Meter`: the reason why it goes no further, or the bytes that were fetched."""
    if outcome.status == DONE:
        return {"num_bytes": outcome.record.num_bytes} if isinstance(outcome.record, Download) else {}
    return {"failed" if outcome.status == FAILED else "rejected": outcome.reason}


def _flush(shard: Shard, buffer: list[Outcome]) -> None:
    shard.table.append(sorted(buffer, key=lambda outcome: outcome.item_id))
    shard.outcomes.extend(buffer if shard.stage.keeps_records else (replace(one, record=None) for one in buffer))
    buffer.clear()


def shards_of(items: Sequence[Item]) -> Iterator[list[Item]]:
    """Cut items into shards, in order: at most `MAX_ITEMS_PER_SHARD` items, and `MAX_AUDIO_S_PER_SHARD` of audio
    unless one item alone is longer."""
    shard: list[Item] = []
    audio_s = 0.0
    for item in items:
        if shard and (len(shard) >= MAX_ITEMS_PER_SHARD or audio_s + item.audio_s > MAX_AUDIO_S_PER_SHARD):
            yield shard
            shard, audio_s = [], 0.0
        shard.append(item)
        audio_s += item.audio_s
    if shard:
        yield shard
