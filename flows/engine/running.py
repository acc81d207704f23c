"""Runs a stage on a shard: looks up what is done, works on the rest, notes what came of it."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from aria_data.storage.stage_tables import DONE, Outcome, StageTable
from flows.engine.context import BuildContext, Item, NotDone, Stage, is_outdated, is_passing
from flows.engine.items import ITEMS
from flows.engine.shards import Key, Shard
from flows.engine.tasks import Work, batches_of, work_recorded
from flows.engine.telemetry import Telemetry, told_of


@dataclass
class Tally:
    """What a stage did in this build, summed over shards."""

    num_worked_on: int = 0  # items
    audio_s: float = 0.0  # of the items worked on
    seconds: float = 0.0  # in which a lane was busy with it


class KnownKeys:
    """The keys that a stage's table held when the build began: 16 bytes each. What is in none needs no look-up."""

    def __init__(self, table: StageTable):
        self._keys = np.sort(np.array(table.keys(), "S32"))

    def among(self, keys: Collection[str]) -> list[str]:
        """Those of these keys that the table held."""
        if not len(self._keys):
            return []
        given = list(keys)
        wanted = np.array(given, "S32")
        at = np.minimum(np.searchsorted(self._keys, wanted), len(self._keys) - 1)
        return [given[number] for number in np.flatnonzero(self._keys[at] == wanted)]


@dataclass
class Runner:
    """Runs stages on shards in the dataset of `context`."""

    context: BuildContext
    telemetry: Telemetry
    stopped: threading.Event = field(default_factory=threading.Event)
    tallies: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))

    def run(self, stage: Stage, shard: Shard, is_looking: bool = False) -> None:
        """Bring a stage up to date for a shard: look up what is done, do the rest, collect the rejections.

        A look works on nothing: it notes the candidates that have work left in `shard.undone`.
        """
        began = time.monotonic()
        items = ITEMS[stage.name](shard.found) if stage.is_wanted(self.context) else []
        item_of_key = {stage.key(self.context, item): item for item in items}
        known = self._known(stage, item_of_key, shard, is_looking)
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
        self._note(stage, {item.item_id: item for item in items}, outcomes, shard)

    def _note(self, stage: Stage, items: Mapping[str, Item], outcomes: list[Outcome], shard: Shard) -> None:
        done = shard.found.done.setdefault(stage.name, {})
        for outcome in sorted(outcomes, key=lambda outcome: outcome.item_id):
            candidate_id = items[outcome.item_id].candidate_id
            if outcome.status == DONE:
                done[outcome.item_id] = outcome
                shard.keys[stage.name].append(Key(outcome.item_id, candidate_id, outcome.key))
            else:
                shard.reject(stage.name, candidate_id, outcome)

    def _known(self, stage: Stage, keys: Mapping[str, Item], shard: Shard, is_looking: bool) -> dict[str, Outcome]:
        """The outcomes of these keys that stand, by key."""
        looked_up = shard.known.get(stage.name, {})
        found = {key: looked_up[key] for key in keys if key in looked_up}
        wanted = keys if is_looking else self._keys_of(stage).among(keys.keys() - looked_up.keys())
        if wanted:
            found |= stage.table(self.context).lookup(wanted, with_records=stage.keeps_records)
        stands = {key: one for key, one in found.items() if stage.is_intact(self.context, one) and not is_passing(one)}
        return {key: one for key, one in stands.items() if not is_outdated(self.context, keys[key], one)}

    def is_known(self, stage: Stage, item: Item) -> bool:
        """Whether an item was finished when the build began."""
        return bool(self._keys_of(stage).among([stage.key(self.context, item)]))

    def _keys_of(self, stage: Stage) -> KnownKeys:
        if stage.name not in self._key_sets:
            self._key_sets[stage.name] = KnownKeys(stage.table(self.context))
        return self._key_sets[stage.name]

    def _table(self, stage: Stage) -> StageTable:
        """The stage's table, which stays open from append to append."""
        return self._tables.setdefault(stage.name, stage.table(self.context))

    @cached_property
    def _tables(self) -> dict[str, StageTable]:
        return {}

    @cached_property
    def _key_sets(self) -> dict[str, KnownKeys]:
        return {}

    def _work(self, stage: Stage, todo: list[Item], shard: Shard) -> list[Outcome]:
        table, outcomes = self._table(stage), []
        self.telemetry.expect(stage.name, len(todo), sum(item.audio_s for item in todo))
        meter = self.telemetry.stage(stage.name)

        def tell(audio_s: float, outcome: Outcome) -> None:
            meter.done(audio_s, **told_of(outcome))

        for items in batches_of(todo):
            batch = Work(self.context, stage, table, items, tell, self.stopped)
            try:
                with meter.working():
                    work_recorded(batch, stage.name)
            except NotDone as error:
                shard.not_done |= error.items
                for pending in error.items.values():
                    meter.not_done(pending.reason)
            outcomes += batch.outcomes
        return outcomes
