"""Runs a stage on a shard: looks up what is done, works on the rest, notes what came of it."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property, partial

from aria_data.audio.integrity import READER, REFUSALS
from aria_data.storage.appending import Appending
from aria_data.storage.snapshots import Snapshot
from aria_data.storage.stage_tables import DONE, FAILED, Outcome
from aria_data.web import is_address
from flows.engine.context import BuildContext, Item, NotDone, Stage
from flows.engine.items import ITEMS
from flows.engine.shards import Key, Shard
from flows.engine.tasks import Work, batches_of, work_recorded
from flows.speed.telemetry import WORKING, Telemetry, told_of
from flows.speed.telemetry import Work as TimeOfWork
from flows.workers.processes import POISON


@dataclass
class Tally:
    """What a stage did in this build, summed over shards."""

    num_worked_on: int = 0  # items
    audio_s: float = 0.0  # of the items worked on
    seconds: float = 0.0  # in which a lane was busy with it


@dataclass
class Runner:
    """Runs stages on shards in the dataset of `context`."""

    context: BuildContext
    telemetry: Telemetry
    stopped: threading.Event = field(default_factory=threading.Event)
    tallies: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    appending: Appending = field(default_factory=Appending)

    def run(self, stage: Stage, shard: Shard, is_looking: bool = False) -> None:
        """Bring a stage up to date for a shard: look up what is done, do the rest, collect the rejections.

        A look works on nothing: it notes the candidates that have work left in `shard.undone`.
        """
        began = time.monotonic()
        items = ITEMS[stage.name](shard.found) if stage.is_wanted(self.context) else []
        item_of_key = {stage.key(self.context, item): item for item in items}
        known = self._known(stage, item_of_key, shard)
        todo = [item for key, item in item_of_key.items() if key not in known]
        outcomes = list(known.values())
        if is_looking or stage.name not in shard.known:
            self.telemetry.expect(stage.name, 0, num_done_before=len(known))
        if is_looking:
            shard.undone |= {item.candidate_id for item in todo}
            shard.known = {**shard.known, stage.name: known}
        else:
            tally = self.tallies[stage.name]
            tally.num_worked_on += len(todo)
            tally.audio_s += sum(item.audio_s for item in todo)
            outcomes += self._work(stage, todo, shard)
            tally.seconds += time.monotonic() - began
        shard.known_to[stage.name] += [item_of_key[key].candidate_id for key in known]
        shard.is_complete &= len(outcomes) == len(item_of_key) and not any(map(is_passing, outcomes))
        settled = {one.item_id for one in outcomes if is_settled(one)}
        shard.unsettled |= {item.candidate_id for item in items if item.item_id not in settled}
        self._note(stage, {item.item_id: item for item in items}, outcomes, shard)

    def _note(self, stage: Stage, items: Mapping[str, Item], outcomes: list[Outcome], shard: Shard) -> None:
        done = shard.found.done.setdefault(stage.name, {})
        for outcome in sorted(outcomes, key=lambda outcome: outcome.item_id):
            candidate_id = items[outcome.item_id].candidate_id
            if outcome.status == DONE:
                done[outcome.item_id] = outcome
                shard.keys[stage.name].append(Key(outcome.item_id, candidate_id, outcome.key))
                if stage.file_of is not None:
                    shard.files.append((candidate_id, stage.file_of(outcome.record)))
            else:
                shard.reject(stage.name, candidate_id, outcome)

    def _known(self, stage: Stage, keys: Mapping[str, Item], shard: Shard) -> dict[str, Outcome]:
        """The outcomes of these keys that stand, by key."""
        looked_up = shard.known.get(stage.name, {})
        found = {key: looked_up[key] for key in keys if key in looked_up}
        lookup = partial(self._before(stage).lookup, with_records=stage.keeps_records)
        found |= lookup(keys.keys() - looked_up.keys())
        new = {key: item for key, item in keys.items() if key not in found}
        found |= stage.found_earlier(self.context, new, lookup)
        stands = {key: one for key, one in found.items() if still_stands(self.context, stage, one)}
        return {key: one for key, one in stands.items() if not is_outdated(self.context, keys[key], one)}

    def is_known(self, stage: Stage, item: Item) -> bool:
        """Whether an item was finished when the build began."""
        key, before = stage.key(self.context, item), self._before(stage)
        return bool(before.among([key]) or stage.found_earlier(self.context, {key: item}, before.lookup))

    def forget_keys(self) -> None:
        """Look into the tables anew from now on."""
        self._snapshots.clear()

    def _before(self, stage: Stage) -> Snapshot:
        """The stage's table as it was when the build began."""
        if stage.name not in self._snapshots:
            self._snapshots[stage.name] = Snapshot(stage.table(self.context))
        return self._snapshots[stage.name]

    @cached_property
    def _snapshots(self) -> dict[str, Snapshot]:
        return {}

    def _work(self, stage: Stage, todo: list[Item], shard: Shard) -> list[Outcome]:
        table, outcomes = self.appending.to(stage.table(self.context)), []
        self.telemetry.expect(stage.name, len(todo), sum(item.audio_s for item in todo))
        meter = self.telemetry.stage(stage.name)
        done_by, is_counted = self.context.done_by, self.context.executor.is_counted(stage)
        self.context.on_work = self._note_work

        def tell(audio_s: float, outcome: Outcome) -> None:
            worker = done_by.pop(outcome.item_id, "")
            at = self.telemetry.stage(stage.name, worker) if worker and is_counted else meter
            at.done(audio_s, **told_of(outcome))

        for items in batches_of(todo, self.context.executor.num_places):
            batch = Work(self.context, stage, table, items, tell, self.stopped)
            try:
                with nullcontext() if is_counted else meter.working():
                    work_recorded(batch, stage.name)
            except NotDone as error:
                shard.not_done |= error.items
                for pending in error.items.values():
                    meter.not_done(pending.reason)
            outcomes += batch.outcomes
        return outcomes

    def _note_work(self, stage: str, worker: str, seconds: float) -> None:
        self.telemetry.add(stage, worker, TimeOfWork(seconds={WORKING: seconds}))


# whether an outcome that is recorded still stands: failures of the surroundings are no verdicts on an item

PASSING = frozenset({"unreadable", "file_missing", "io_error", "audio_changed"})  # recorded by earlier code


def is_passing(outcome: Outcome) -> bool:
    """Whether an outcome is a fault of the surroundings, which earlier code recorded as the file's own for ever."""
    is_of_disk = "Input/output error" in outcome.detail or "Permission denied" in outcome.detail
    return outcome.status == FAILED and (outcome.reason in PASSING or is_of_disk)


def is_doubtful(context: BuildContext, outcome: Outcome) -> bool:
    """Whether an item is said to kill its workers by a build that did not come to its end: what killed the build may
    have killed them, so the next one tries the item again."""
    return outcome.status == FAILED and outcome.reason == POISON and outcome.item_id not in context.quarantined


def still_stands(context: BuildContext, stage: Stage, outcome: Outcome) -> bool:
    """Whether an outcome that is recorded is taken as it is: its work is not done again."""
    return stage.is_intact(context, outcome) and not is_passing(outcome) and not is_doubtful(context, outcome)


def is_settled(outcome: Outcome) -> bool:
    """Whether every later build of this code finds the same."""
    return outcome.status != FAILED or (outcome.reader >= READER and not is_passing(outcome))


def is_outdated(context: BuildContext, item: Item, outcome: Outcome) -> bool:
    """Whether today's code may read what earlier code refused for good: audio that is there, and what a server answered
    with 403, which was taken for a wish for an account."""
    location = getattr(item.payload, "location", "")
    if outcome.status != FAILED or outcome.reader >= READER or not location:
        return False
    if is_address(location):
        return outcome.reason == "private" and "answers 403" in outcome.detail
    return outcome.reason in REFUSALS and context.path_of(location).is_file()
