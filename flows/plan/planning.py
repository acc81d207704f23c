"""Make a plan of an order: go through the build, forecast what follows, say what it takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from aria_data.config import load_own_config
from aria_data.errors import ConfigInvalid
from aria_data.transcribe import Compute
from flows import show
from flows.build.assemble import Build
from flows.build.watching import facts_of_speed
from flows.engine.context import BuildContext
from flows.engine.crawling import COLLECT
from flows.engine.orders import BuildOrder, own_config, settings_of
from flows.plan.cluster import Cluster, like_this_one
from flows.plan.costs import dollars_of, for_this_work, machines_in_words, speed_here, wall_time, with_times
from flows.plan.forecast import planned_stages
from flows.plan.models import PlanContext, forecasts, ledger_copy
from flows.plan.replay import Replay
from flows.show.summaries import BuildSummary, Plan, StageTime


def make_plan(order: BuildOrder, cluster: Cluster | None = None) -> Plan:
    """Say what the build of an order would do and take. Writes nothing. Raises `ConfigInvalid`, `UsageError`."""
    with replayed(order) as replay:
        return _plan(replay, cluster or like_this_one(1, None))


def planned_summary(order: BuildOrder) -> BuildSummary:
    """The summary of a dry run: what is done, and what is to do for certain; with the plan."""
    with replayed(order) as replay:
        plan = _plan(replay, like_this_one(1, None))
        build = replay.build
        certain = {
            stage.name: StageTime(stage.num_done, stage.num_certain, stage.audio_certain_s, 0.0)
            for stage in plan.stages
        }
        build.times = {COLLECT: build.times[COLLECT], **certain}
        return build.release_nothing(plan)


@contextmanager
def replayed(order: BuildOrder) -> Iterator[Replay]:
    """Go through the build of an order. No lock is taken: a plan beside a build sees what is finished by then."""
    root = order.out.absolute()
    with ledger_copy(root) as ledger, show.progress() as progress:
        context = PlanContext(root, settings_of(root, None, (), order.config), Compute(**order.compute))
        context.ledger = ledger
        build = Build(order.source or "", context, progress, dry_run=True)
        with closing(context), build.stack:
            replay = Replay(build, _context_before(root, ledger))
            replay.run()
            yield replay


def _context_before(root: Path, ledger: Path) -> BuildContext | None:
    """A context with the settings that the dataset was last built with; None where there are none."""
    own = own_config(root)
    if own is None:
        return None
    try:
        before = PlanContext(root, load_own_config(own)[0])
    except ConfigInvalid:
        return None
    before.ledger = ledger
    return before


def _plan(replay: Replay, cluster: Cluster) -> Plan:
    settings = facts_of_speed(replay.context, "plan")["settings"]
    counted = planned_stages(replay)
    speed = for_this_work(speed_here(replay.context.root, settings), counted)
    stages = with_times(counted, speed)
    is_anything = any(stage.num_at_most for stage in stages)
    wall = wall_time(stages, len(replay.build.candidates), speed, cluster)
    asked = forecasts(replay)
    prices = [one.dollars for one in asked.values()]
    known = [price for price in prices if price is not None]
    return Plan(
        stages=stages,
        is_anything_to_do=is_anything,
        seconds=wall.expected if is_anything else 0.0,
        seconds_low=wall.low if is_anything else 0.0,
        seconds_high=wall.high if is_anything else 0.0,
        seconds_at_most=wall.at_most if is_anything else 0.0,
        machines=machines_in_words(cluster),
        dollars_machines=dollars_of(cluster, wall.expected if is_anything else 0.0),
        dollars_models=sum(known) if prices and len(known) == len(prices) else None,
        models=[f"{name}: {forecast}" for name, forecast in asked.items()],
        remarks=replay.remarks,
        left_out=list(replay.build.trouble),
    )
