"""Go through a build with the results that are in its tables, and note for each stage what is not.

What is cheap and pure, as reading a title or cutting scores into segments, is done here in memory, so that the stages
after it can be looked up, too. For a result that costs too much, an older one of the same item stands in, if there is
one: then later stages are looked up as if nothing had changed, and say that they are an estimate.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from aria_data.records import Candidate, Recording
from aria_data.storage import sha256_file
from aria_data.storage.stage_tables import DONE, Outcome
from flows.build.assemble import Build
from flows.engine.context import BuildContext, Item, NotDone, Stage
from flows.engine.downloads import DOWNLOAD
from flows.engine.items import ITEMS
from flows.engine.running import still_stands
from flows.engine.stages import ANNOTATE, CLASSIFY, FINGERPRINT, INGEST, MEASURE, SCREEN, SEGMENT, TRANSCRIBE

STAGES = (SCREEN, DOWNLOAD, INGEST, CLASSIFY, SEGMENT, FINGERPRINT, TRANSCRIBE, MEASURE, ANNOTATE)
MOST_SCREENED = 20_000  # titles that a plan reads itself: some 20 s
MOST_SEGMENTED = 500  # recordings that a plan cuts itself: some 10 s; of more, these stand for the others
MOST_HASHED_BYTES = 4 << 30  # of files that were touched since they were decoded: some 10 s
USUAL_SHARE = 0.5  # of titles that pass, where none was read before


@dataclass
class StageWork:
    """What a stage has to do. Each item has the probability with which it comes."""

    name: str
    num_done: int = 0
    todo: list[tuple[Item, float]] = field(default_factory=list)
    num_certain: int = 0  # of these, those whose inputs are results in the tables, and nothing that was assumed here
    audio_certain_s: float = 0.0
    estimate: str = ""  # why other items may come


class Replay:
    """One pass through the stages. `before` has the settings that the dataset was last built with, if it was."""

    def __init__(self, build: Build, before: BuildContext | None):
        self.build, self.context, self.found, self.before = build, build.context, build.found, before
        self.work = {stage.name: StageWork(stage.name) for stage in STAGES}
        self.chance: dict[str, float] = {}  # of candidates that may not come so far: how likely they do
        self.assumed: set[str] = set()  # candidates with a result that is not in the tables
        self.unknown_files: list[tuple[Item, float]] = []  # of which nothing is known before they are decoded
        self.maybe_decoded = 0  # candidates that were rejected at ingest under other settings
        self.unsegmented: dict[str, float] = {}  # recording_id -> how likely its segments change
        self.never_segmented: list[Recording] = []
        self.remarks: list[str] = []

    def run(self) -> None:
        """Go through all stages."""
        self.build.collect()
        self.whole = self.build.whole  # all candidates, in memory
        self._screen()
        self._download()
        self._ingest()
        self._reject_same_files()
        self._classify()
        self._segment()
        self._number_segments()
        self._look_up(FINGERPRINT)
        self._transcribe()
        self._measure()
        self._look_up(ANNOTATE)

    def _reject_same_files(self) -> None:
        self.found.removals = self.build.removals()
        self.build.stream.reject_same_files(self.whole, is_looking=True)

    def _number_segments(self) -> None:
        self.build.stream.number_segments(self.whole, is_looking=True)

    def _look_up(self, stage: Stage) -> list[Item]:
        """Take what is done from the stage's table; give the items that are not."""
        items = ITEMS[stage.name](self.found) if stage.is_wanted(self.context) else []
        item_of_key = {stage.key(self.context, item): item for item in items}
        lookup = partial(stage.table(self.context).lookup, with_records=stage.keeps_records)
        found = lookup(item_of_key.keys())
        new = {key: item for key, item in item_of_key.items() if key not in found}
        found |= stage.found_earlier(self.context, new, lookup)
        known = {key: one for key, one in found.items() if still_stands(self.context, stage, one)}
        self.found.done.setdefault(stage.name, {})
        self._take(stage, known.values())
        todo = [item for key, item in item_of_key.items() if key not in known]
        self.work[stage.name].num_done += len(known)
        self._to_do(stage, todo)
        return todo

    def _to_do(self, stage: Stage, items: Iterable[Item], chance: float = 1.0) -> None:
        work = self.work[stage.name]
        for item in items:
            work.todo.append((item, chance * self.chance.get(item.candidate_id, 1.0)))
            if item.candidate_id not in self.assumed:
                work.num_certain += 1
                work.audio_certain_s += item.audio_s

    def _take(self, stage: Stage, outcomes: Iterable[Outcome]) -> None:
        """Use results as a build does: what was rejected goes no further."""
        done = self.found.done.setdefault(stage.name, {})
        for outcome in outcomes:
            if outcome.status == DONE:
                done[outcome.item_id] = outcome

    def _compute(self, stage: Stage, items: Sequence[Item]) -> set[str]:
        """Do work that is cheap and pure, in memory. Gives the ids of items that have a result now."""
        outcomes: list[Outcome] = []
        with suppress(NotDone):  # raised at the end, for items that a build would try again
            for outcome in stage.work(self.context, stage, items):
                outcomes.append(outcome)
        self._take(stage, outcomes)
        self.assumed |= {item.candidate_id for item in items}
        return {outcome.item_id for outcome in outcomes}

    def _assume(self, stage: Stage, item: Item, record: object) -> None:
        """Let a record stand in for the result of an item."""
        self.assumed.add(item.candidate_id)
        self._take(stage, [Outcome(item.item_id, stage.key(self.context, item), DONE, record=record)])

    def _screen(self) -> None:
        todo = self._look_up(SCREEN)
        num_read = len(self.found.done[SCREEN.name])
        share = num_read / self.work[SCREEN.name].num_done if self.work[SCREEN.name].num_done else USUAL_SHARE
        computed: set[str] = set()
        if self.context.config.screen.scorer != "llm":
            computed = self._compute(SCREEN, todo[:MOST_SCREENED])
        rest = [item for item in todo if item.item_id not in computed]
        older = SCREEN.table(self.context).of_items({item.item_id for item in rest})
        for item in rest:
            known = older.get(item.item_id)
            self.chance[item.candidate_id] = share if known is None else float(known.status == DONE)
            self._assume(SCREEN, item, None if known is None else known.record)
        if rest:
            self.remarks.append(f"{len(rest):,} titles are not read by a plan: as before, or {share:.0%} pass.")

    def _download(self) -> None:
        for item in self._look_up(DOWNLOAD):
            known = self.context.downloads.get(item.candidate_id)
            if known is not None and (self.context.root / known.audio_path).exists():
                self._assume(DOWNLOAD, item, known)
            else:
                self.unknown_files.append((item, self.chance.get(item.candidate_id, 1.0)))

    def _ingest(self) -> None:
        """A file with the bytes that it had gives what it gave; what was decoded under other settings is taken as it
        was; of other files nothing is known."""
        todo = self._look_up(INGEST)
        older = self._under_settings_before(INGEST, todo)
        same = self._with_the_same_bytes([item for item in todo if item.item_id not in older])
        for item in todo:
            known = older.get(item.item_id) or same.get(item.item_id)
            if known is None:
                self.unknown_files.append((item, self.chance.get(item.candidate_id, 1.0)))
            elif known.status == DONE:
                self._assume(INGEST, item, known.record)
            else:
                self.maybe_decoded += 1
        if older:
            self.remarks.append(f"{len(older):,} recordings are decoded again, and taken to be what they were.")
            for stage in STAGES[STAGES.index(CLASSIFY) :]:
                self.work[stage.name].estimate = "recordings as they were under the settings before"

    def _with_the_same_bytes(self, items: Sequence[Item]) -> dict[str, Outcome]:
        """The results of files of the user's that were touched, or got a sidecar, but hold the bytes that they had."""
        left, same = MOST_HASHED_BYTES, {}
        decoded = INGEST.table(self.context).of_items({item.item_id for item in items})
        for item in items:
            known, candidate = decoded.get(item.item_id), item.payload
            if known is None or known.record is None or not isinstance(candidate, Candidate):
                continue
            left -= candidate.num_bytes
            with suppress(OSError):
                path = self.context.path_of(candidate.location)
                if left >= 0 and sha256_file(path) == known.record.audio_sha256:
                    same[item.item_id] = known
        return same

    def _under_settings_before(self, stage: Stage, items: Sequence[Item]) -> dict[str, Outcome]:
        """The results that these items had under the settings of the last build, by item_id."""
        if self.before is None or not items:
            return {}
        keys = {stage.key(self.before, item) for item in items}
        return {one.item_id: one for one in stage.table(self.context).lookup(keys).values()}

    def _classify(self) -> None:
        """The scores of a recording are not needed here: what follows is looked up by the key that they will have."""
        for item in self._look_up(CLASSIFY):
            self.unsegmented[item.item_id] = 1.0
            self._assume(CLASSIFY, item, None)

    def _segment(self) -> None:
        todo = self._look_up(SEGMENT)
        cheap = [item for item in todo if item.item_id not in self.unsegmented]
        sample = cheap[:: -(-len(cheap) // MOST_SEGMENTED)] if cheap else []
        older = SEGMENT.table(self.context).of_items({item.item_id for item in todo})
        computed = self._compute(SEGMENT, sample)
        share = self._share_of_changed(computed, older)
        if len(sample) < len(cheap):
            self.remarks.append(
                f"{len(sample):,} of {len(cheap):,} recordings were cut by this plan: {share:.0%} get other segments, "
                "taken for all."
            )
        for item in todo:
            if item.item_id in computed:
                continue
            self.unsegmented.setdefault(item.item_id, share)
            known = older.get(item.item_id)
            if known is not None and known.record is not None:
                self._assume(SEGMENT, item, known.record)
            else:
                self.assumed.add(item.candidate_id)
                self.never_segmented.append(item.payload)

    def _share_of_changed(self, computed: set[str], older: dict[str, Outcome]) -> float:
        done = self.found.done[SEGMENT.name]
        spans = [
            [
                [(one.start_s, one.end_s) for one in outcome.record.segments] if outcome and outcome.record else []
                for outcome in (done.get(key), older.get(key))
            ]
            for key in computed
        ]
        return sum(new != old for new, old in spans) / len(spans) if spans else 1.0

    def _transcribe(self) -> None:
        """Segments whose spans may change are expected to be transcribed again, as likely as that is."""
        self._look_up(TRANSCRIBE)
        if not self.unsegmented:
            return
        segments, done = self.found.segments(), self.found.done[TRANSCRIBE.name]
        again = [key for key in done if segments[key].recording_id in self.unsegmented]
        items = {item.item_id: item for item in ITEMS[TRANSCRIBE.name](self.found)}
        self.work[TRANSCRIBE.name].num_done -= len(again)
        changed = max(self.unsegmented.values())
        for stage in (TRANSCRIBE, MEASURE):
            self.work[stage.name].estimate = f"the segments of today, of which {changed:.0%} are taken to change"
        for key in again:
            self._to_do(TRANSCRIBE, [items[key]], self.unsegmented[segments[key].recording_id])

    def _measure(self) -> None:
        """Whatever is transcribed is measured; what was transcribed is looked up."""
        self._look_up(MEASURE)
        work, known = self.work[MEASURE.name], {item.item_id for item, _ in self.work[MEASURE.name].todo}
        for item, chance in self.work[TRANSCRIBE.name].todo:
            if item.item_id not in known:
                work.todo.append((item, chance))
                work.num_done -= item.item_id in self.found.done[MEASURE.name]
