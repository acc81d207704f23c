"""The stages of a build as a stream of shards: who is in a shard, which lanes it passes, what stays of it.

Identical files are decided as they come: the first one seen is kept. At the end it is decided truly, and where that
gives another one, its group of files passes the lanes once more, together.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from aria_data.records import Candidate, Recording, Rejection
from aria_data.release import Removal
from aria_data.storage.relations import give_memory_back
from aria_data.storage.rows_of_records import arrow_type
from aria_data.storage.spilled import Spilled, is_none_of, rows_of
from aria_data.storage.stage_tables import REJECTED, Outcome
from flows.build.numbering import Numbers
from flows.candidates.latest import Candidates
from flows.candidates.passed import FILES, Passed
from flows.candidates.same_files import File, SameFiles
from flows.engine import tasks
from flows.engine.context import BuildContext, Item, Pending, Stage
from flows.engine.items import BuildState, fingerprint_item
from flows.engine.running import Runner
from flows.engine.shards import Key, Shard, blocks_of, cut
from flows.engine.stages import CLASSIFY, FINGERPRINT, INGEST, MEASURE, SEGMENT
from flows.speed.telemetry import RECORDINGS
from flows.workers.lanes import AHEAD, Lanes

DEDUPLICATE, REMOVE = "deduplicate", "remove"  # steps that reject, but are no `Stage`

KEYS = pa.schema([(name, pa.string()) for name in Key._fields])
REJECTIONS = pa.schema(list(arrow_type(Rejection)))

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


class Finished:
    """What stays of all shards: keys and rejections on disk, the rest in memory."""

    def __init__(self, folder: Path) -> None:
        self.rejections = Spilled(folder / "rejections", REJECTIONS)
        self.not_done: dict[str, Pending] = {}  # by item_id
        self.keys: dict[str, Spilled] = {}  # by stage: its finished items, with the keys of their outcomes
        self.files = Spilled(folder / "files", FILES)  # that have to be there
        self.unsettled: set[str] = set()  # candidates for which the next build may find something else
        self.num_known: dict[str, int] = defaultdict(int)  # items done before, by stage
        self.is_complete = True
        self._folder = folder

    def take(self, shard: Shard) -> None:
        """Keep what is needed of a shard."""
        self.rejections.add(rows_of(shard.rejections, REJECTIONS))
        self.not_done |= shard.not_done
        self.is_complete &= shard.is_complete
        self.unsettled |= shard.unsettled
        self.files.add(shard.files)
        for name, keys in shard.keys.items():
            self.keys.setdefault(name, Spilled(self._folder / f"keys_of_{name}", KEYS)).add(keys)
        for name, candidate_ids in shard.known_to.items():
            self.num_known[name] += len(candidate_ids)

    def forget(self, candidate_ids: set[str]) -> None:
        """Drop what was found of some candidates: they pass the lanes again."""
        self.not_done = {key: one for key, one in self.not_done.items() if one.candidate_id not in candidate_ids}
        self.unsettled -= candidate_ids
        for rows in (self.rejections, self.files, *self.keys.values()):
            rows.keep(lambda batch: is_none_of(batch["candidate_id"], candidate_ids))


class Stream:
    """The stages over all candidates of `found`, shard by shard. `finished` is what stays."""

    def __init__(self, runner: Runner, found: BuildState, folder: Path, passed: Passed | None = None):
        self._passed = passed
        self.runner, self.found, self.finished = runner, found, Finished(folder)
        self.context: BuildContext = runner.context
        self._same_files = SameFiles(folder, self._preference)
        self.context.wants_scores, self.context.wants_onsets = self._wants_scores, self._wants_onsets
        self._num_shards = 0
        self._taking = threading.Lock()

    @cached_property
    def numbers(self) -> Numbers:
        """The numbers of segments in earlier builds."""
        return Numbers(self.context.root, self.runner.appending.to, self.found.removals)

    def forget_numbers(self) -> None:
        """Let go of what gave segments their numbers: the end of a build needs the memory."""
        self.__dict__.pop("numbers", None)
        give_memory_back()

    def run(self, lanes: Sequence[Lane], candidates: Candidates) -> None:
        """Pass every candidate through the lanes; then those that were taken for copies and are none."""
        changed = self._skip(candidates)
        self._pass(lanes, changed.blocks(), len(changed))
        again = {candidate_id for group in self._same_files.mistaken() for candidate_id in group}
        if again:
            self.finished.forget(again)
            for stage, count in self._passed.forget(again).items() if self._passed else ():
                self.finished.num_known[stage] -= count
            self.runner.forget_keys()
            self._pass(lanes, blocks_of(candidates.of(again)), len(again))
        self.runner.forget_keys()  # the end needs the memory
        give_memory_back()
        self.runner.telemetry.complete(RECORDINGS)

    def _skip(self, candidates: Candidates) -> Candidates:
        """Skip candidates for which nothing changed since they passed; count what is done of them. Gives the others."""
        if self._passed is None:
            return candidates
        found, telemetry = self.found, self.runner.telemetry
        changed = self._passed.skip(candidates, found.removals, {*found.left_alone, *found.num_marks})
        self._passed.put_files(self._same_files)
        for stage, count in self._passed.counts().items():
            telemetry.expect(stage, 0, num_done_before=count)
            self.finished.num_known[stage] += count
        num_skipped = self._passed.num_skipped
        telemetry.expect(RECORDINGS, num_skipped)
        telemetry.stage(RECORDINGS).done(num_items=num_skipped)
        return changed

    def _pass(self, lanes: Sequence[Lane], blocks: Iterable[Sequence[Candidate]], num_candidates: int) -> None:
        works = [self._steps_of(lane) for lane in lanes]
        telemetry = self.runner.telemetry
        line = Lanes(works, [lane.name for lane in lanes], waits=telemetry.lanes([lane.ends for lane in lanes]))
        self.runner.stopped = self.context.stopped = line.stopped
        for lane, channel in zip(lanes, line.channels, strict=False):
            telemetry.queue_of(lane.ends[0], channel.__len__, AHEAD)
        telemetry.expect(RECORDINGS, num_candidates)
        _ = self.numbers  # its table is written before those that name a segment by its number
        with self.runner.appending.behind(), closing(line.run(self._shards(lanes, blocks))) as passed:
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
                for _, path in shard.files:
                    self.context.writing.forget(path)

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

    def _shards(self, lanes: Sequence[Lane], blocks: Iterable[Sequence[Candidate]]) -> Iterator[Shard]:
        """The shards of candidates that have work left. What is finished is looked up, a block of candidates a time."""
        for block in blocks:
            looked = self._shard(block)
            for lane in lanes:
                self._step(lane, looked, is_looking=True)
            undone = looked.undone
            self._take(looked.without(undone), len(block) - len(undone))
            left = [candidate for candidate in block if candidate.candidate_id in undone]
            limits = tasks.MAX_ITEMS_PER_SHARD, tasks.MAX_AUDIO_S_PER_SHARD
            for some in cut(left, self._num_shards, *limits, lambda: self.context.executor.num_places):
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
        times = Counter(recording.audio_sha256 for recording in ingested.values())
        files = [(self._file_of(shard, one), one) for one in ingested.values()]

        def order(pair: tuple[File, Recording]) -> tuple[str, str]:
            file, recording = pair
            return self._preference(file) if times[recording.audio_sha256] > 1 else "", file.candidate_id

        for file, recording in sorted(files, key=order):
            candidate_id = recording.candidate_id
            first = self._same_files.representative(recording.audio_sha256, file)
            removal = self._removal_of(recording, file)
            if removal is not None:
                outcome = Outcome(candidate_id, "", REJECTED, "removed", None, removal.reason)
                shard.reject(REMOVE, candidate_id, outcome)
            elif first.candidate_id != candidate_id:
                detail = f"the same file as {first.source_url}"
                shard.reject(DEDUPLICATE, candidate_id, Outcome(candidate_id, "", REJECTED, "same_bytes", None, detail))
            else:
                shard.found.recordings[recording.recording_id] = recording

    def _file_of(self, shard: Shard, recording: Recording) -> File:
        candidate_id = recording.candidate_id
        return File(candidate_id, recording.location, shard.found.candidates[candidate_id].source_url)

    def _removal_of(self, recording: Recording, file: File) -> Removal | None:
        removals = self.found.removals
        return removals.get(recording.recording_id) or removals.get(file.source_url)

    def _preference(self, file: File) -> str:
        """Sort key among identical files: files that exist before those that are gone, then by source_url."""
        is_gone = not self.context.has_audio(file.location)
        return f"{int(is_gone)} {file.source_url}"

    def number_segments(self, shard: Shard, is_looking: bool = False) -> None:
        """Give each segment the number that its music had before, and cut out what was removed for good."""
        found = shard.found
        min_segment_s = self.context.config.segment.min_segment_s
        for recording_id, segmentation in found.records(SEGMENT.name).items():
            found.numbered[recording_id], again = self.numbers.give(segmentation, min_segment_s)
            found.found_again |= again
        if not is_looking:
            self.numbers.record(found.segments().values())
