"""The stages of a build as a stream of shards: who is in a shard, which lanes it passes, what stays of it.

Identical files are decided as they come: the first one seen is kept. At the end it is decided truly, and where that
gives another one, its group of files passes the lanes once more, together.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

from aria_data.records import Candidate, Recording, Rejection
from aria_data.release import Removal
from aria_data.storage.stage_tables import REJECTED, Outcome
from flows.build.numbering import Numbers
from flows.engine import shards, tasks
from flows.engine.context import BuildContext, Item, Pending, Stage
from flows.engine.items import BuildState, fingerprint_item
from flows.engine.running import Runner
from flows.engine.shards import Key, Shard, blocks_of, cut
from flows.engine.stages import CLASSIFY, FINGERPRINT, INGEST, MEASURE, SEGMENT
from flows.engine.telemetry import RECORDINGS
from flows.workers.lanes import AHEAD, Lanes

DEDUPLICATE, REMOVE = "deduplicate", "remove"  # steps that reject, but are no `Stage`

KEYS = pa.schema([(name, pa.string()) for name in Key._fields])

Step = Callable[[Shard, bool], None]


class Lane:
    """Steps that one thread takes with each shard, in order: stages, and functions of (shard, is it only a look)."""

    def __init__(self, name: str, *steps: Stage | Step):
        self.name, self.steps = name, steps

    @property
    def ends(self) -> tuple[str, str]:
        """The names of its first and last stage."""
        names = [step.name for step in self.steps if isinstance(step, Stage)]
        return names[0], names[-1]


@dataclass
class Finished:
    """What stays of all shards."""

    rejections: list[Rejection] = field(default_factory=list)
    not_done: dict[str, Pending] = field(default_factory=dict)  # by item_id
    keys: dict[str, list[pa.Table]] = field(default_factory=lambda: defaultdict(list))  # by stage, a table a shard
    num_known: dict[str, int] = field(default_factory=lambda: defaultdict(int))  # items done before, by stage
    is_complete: bool = True

    def take(self, shard: Shard) -> None:
        """Keep what is needed of a shard."""
        self.rejections += shard.rejections
        self.not_done |= shard.not_done
        self.is_complete &= shard.is_complete
        for name, keys in shard.keys.items():
            columns = zip(*keys, strict=True) if keys else [()] * len(KEYS)
            self.keys[name].append(pa.Table.from_arrays([pa.array(each, pa.string()) for each in columns], schema=KEYS))
        for name, candidate_ids in shard.known_to.items():
            self.num_known[name] += len(candidate_ids)

    def forget(self, candidate_ids: set[str]) -> None:
        """Drop what was found of some candidates: they pass the lanes again."""
        self.rejections = [one for one in self.rejections if one.candidate_id not in candidate_ids]
        self.not_done = {key: one for key, one in self.not_done.items() if one.candidate_id not in candidate_ids}
        gone = pa.array(sorted(candidate_ids), pa.string())
        for name, tables in self.keys.items():
            self.keys[name] = [one.filter(pc.invert(pc.is_in(one["candidate_id"], value_set=gone))) for one in tables]

    def key_tables(self) -> dict[str, pa.Table]:
        """The finished items of each stage, by its name: `item_id`, `candidate_id`, `key`, all strings.

        A row is an outcome that was not rejected; `key` finds its record in the stage's table.
        """
        return {stage: pa.concat_tables(tables) for stage, tables in self.keys.items()}


class SameFiles:
    """Which candidate represents each set of identical files, of those seen so far. Safe for threads."""

    def __init__(self, preference: Callable[[str, str], str]):
        self._preference = preference  # (candidate_id, location) -> sort key
        self._first: dict[str, tuple[str, str]] = {}  # audio_sha256 -> (candidate_id, location)
        self._groups: dict[str, dict[str, str]] = {}  # audio_sha256 -> {candidate_id: location}, of two and more
        self._lock = threading.Lock()

    def representative(self, recording: Recording) -> str:
        """The candidate that is kept of the files with these bytes: the first one seen."""
        with self._lock:
            mine = recording.candidate_id, recording.location
            first = self._first.setdefault(recording.audio_sha256, mine)
            if first[0] != mine[0]:
                self._groups.setdefault(recording.audio_sha256, dict([first]))[mine[0]] = mine[1]
            return first[0]

    def first_of(self, audio_sha256: str) -> str:
        """The first candidate seen with these bytes; "" for none."""
        with self._lock:
            return self._first.get(audio_sha256, ("", ""))[0]

    def mistaken(self) -> Iterator[list[str]]:
        """The groups in which another candidate than the first one seen is the representative; it is, from now on."""
        for sha256, group in self._groups.items():
            true = min((self._preference(*one), one[0]) for one in group.items())[1]
            if true != self._first[sha256][0]:
                self._first[sha256] = true, group[true]
                yield sorted(group)


class Stream:
    """The stages over all candidates of `found`, shard by shard. `finished` is what stays."""

    def __init__(self, runner: Runner, found: BuildState):
        self.runner, self.found, self.finished = runner, found, Finished()
        self.context: BuildContext = runner.context
        self._same_files = SameFiles(self._preference)
        self.context.wants_scores, self.context.wants_onsets = self._wants_scores, self._wants_onsets
        self._num_shards = 0
        self._taking = threading.Lock()

    @cached_property
    def numbers(self) -> Numbers:
        """The numbers of segments in earlier builds."""
        return Numbers(self.context.root)

    def run(self, lanes: Sequence[Lane]) -> None:
        """Pass every candidate through the lanes; then those that were taken for copies and are none."""
        ordered = shards.in_order(self.found.candidates.values())
        self._pass(lanes, ordered)
        again = {candidate_id for group in self._same_files.mistaken() for candidate_id in group}
        if again:
            self.finished.forget(again)
            self._pass(lanes, [one for one in ordered if one.candidate_id in again])
        self.runner.telemetry.complete(RECORDINGS)

    def _pass(self, lanes: Sequence[Lane], candidates: Sequence[Candidate]) -> None:
        works = [self._steps_of(lane) for lane in lanes]
        telemetry = self.runner.telemetry
        line = Lanes(works, [lane.name for lane in lanes], waits=telemetry.lanes([lane.ends for lane in lanes]))
        self.runner.stopped = line.stopped
        for lane, channel in zip(lanes, line.channels, strict=False):
            telemetry.queue_of(lane.ends[0], channel.__len__, AHEAD)
        telemetry.expect(RECORDINGS, len(candidates))
        with closing(line.run(self._shards(lanes, candidates))) as passed:
            for shard in passed:
                self._take(shard, len(shard.found.candidates))

    def _steps_of(self, lane: Lane) -> Callable[[Shard], None]:
        def take(shard: Shard) -> None:
            self._step(lane, shard, is_looking=False)
            if INGEST in lane.steps:
                self.context.ahead.clear()
            if MEASURE in lane.steps:
                for segment_id in shard.found.segments():
                    self.context.traces.pop(segment_id, None)

        return take

    def _wants_scores(self, candidate: Candidate, audio_sha256: str) -> bool:
        """Whether a file that is about to be ingested should be classified on the way."""
        recording_id = f"{candidate.source}-{audio_sha256[:16]}"
        if {recording_id, candidate.source_url} & self.found.removals.keys():
            return False
        item = Item(recording_id, candidate.candidate_id, {"audio": audio_sha256}, None)
        is_copy = self._same_files.first_of(audio_sha256) not in ("", candidate.candidate_id)
        return not is_copy and not self.runner.is_known(CLASSIFY, item)

    def _wants_onsets(self, recording: Recording) -> bool:
        """Whether a recording that is about to be classified needs a fingerprint, too."""
        return not self.runner.is_known(FINGERPRINT, fingerprint_item(recording))

    def _step(self, lane: Lane, shard: Shard, is_looking: bool) -> None:
        for step in lane.steps:
            if isinstance(step, Stage):
                self.runner.run(step, shard, is_looking)
            else:
                step(shard, is_looking)

    def _take(self, shard: Shard, num_candidates: int) -> None:
        with self._taking:
            self.finished.take(shard)
            self.runner.telemetry.stage(RECORDINGS).done(num_items=num_candidates)

    def _shards(self, lanes: Sequence[Lane], candidates: Sequence[Candidate]) -> Iterator[Shard]:
        """The shards of candidates that have work left. What is finished is looked up, a block of candidates a time."""
        for block in blocks_of(candidates):
            looked = self._shard(block)
            for lane in lanes:
                self._step(lane, looked, is_looking=True)
            undone = looked.undone
            self._take(looked.without(undone), len(block) - len(undone))
            left = [candidate for candidate in block if candidate.candidate_id in undone]
            limits = tasks.MAX_ITEMS_PER_SHARD, tasks.MAX_AUDIO_S_PER_SHARD
            for some in cut(left, self._num_shards, *limits):
                self._num_shards += 1
                shard = self._shard(some)
                shard.known = looked.known
                yield shard

    def _shard(self, candidates: Iterable[Candidate]) -> Shard:
        found = BuildState(
            candidates={one.candidate_id: one for one in sorted(candidates, key=lambda one: one.candidate_id)},
            removals=self.found.removals,
            left_alone=self.found.left_alone,
            only=self.found.only,
            num_marks=self.found.num_marks,
        )
        return Shard(self._num_shards, found)

    # steps between the stages

    def reject_same_files(self, shard: Shard, is_looking: bool = False) -> None:
        """Keep one recording of each set of identical files, and none that was removed for good."""
        ingested: dict[str, Recording] = shard.found.records(INGEST.name)
        for recording in sorted(ingested.values(), key=self._order):
            candidate_id = recording.candidate_id
            first = self._same_files.representative(recording)
            removal = self._removal_of(recording)
            if removal is not None:
                outcome = Outcome(candidate_id, "", REJECTED, "removed", None, removal.reason)
                shard.reject(REMOVE, candidate_id, outcome)
            elif first != candidate_id:
                detail = f"the same file as {self.found.candidates[first].source_url}"
                shard.reject(DEDUPLICATE, candidate_id, Outcome(candidate_id, "", REJECTED, "same_bytes", None, detail))
            else:
                shard.found.recordings[recording.recording_id] = recording

    def _removal_of(self, recording: Recording) -> Removal | None:
        removals, source_url = self.found.removals, self.found.candidates[recording.candidate_id].source_url
        return removals.get(recording.recording_id) or removals.get(source_url)

    def _order(self, recording: Recording) -> tuple[str, str]:
        return self._preference(recording.candidate_id, recording.location), recording.candidate_id

    def _preference(self, candidate_id: str, location: str) -> str:
        """Sort key among identical files: files that exist before those that are gone, then by source_url."""
        is_gone = not self.context.has_audio(location)
        return f"{int(is_gone)} {self.found.candidates[candidate_id].source_url}"

    def number_segments(self, shard: Shard, is_looking: bool = False) -> None:
        """Give each segment the number that its music had before, and cut out what was removed for good."""
        found = shard.found
        removed, min_segment_s = self.found.removals.keys(), self.context.config.segment.min_segment_s
        for recording_id, segmentation in found.records(SEGMENT.name).items():
            found.numbered[recording_id], again = self.numbers.give(segmentation, removed, min_segment_s)
            found.found_again |= again
        if not is_looking:
            self.numbers.record(found.segments().values())
