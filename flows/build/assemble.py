"""One build: its state (results, rejections, times) and its steps, which `flows.build_dataset` calls in order."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from aria_data.collect import collect_folder
from aria_data.download import noted, settle
from aria_data.manifest import Manifest
from aria_data.manifest.card import mixed_precisions
from aria_data.manifest.columns import arrow_schema
from aria_data.measure import load_limits
from aria_data.records import Candidate, Download, Rejection, Segment, Segmentation
from aria_data.release import Removal, Removals, Subsets
from aria_data.release.alignments import TABLE as ALIGNMENTS
from aria_data.release.reviews import TABLE as REVIEWS
from aria_data.release.tombstones import NAMED, Known, named_segments, sweep
from aria_data.storage import PARTIAL, exclusive_lock, is_remote, local_folder, open_root, remove_folder
from aria_data.storage.balance import BalanceBroken
from aria_data.storage.delta_tables import remove_orphans
from aria_data.storage.relations import FOLDER, Relations
from aria_data.storage.spilled import rows_of
from aria_data.storage.stage_tables import RecordTable, StageTable
from aria_data.transcribe import Compute
from aria_data.web import OptOuts
from flows import show
from flows.build.carried import pending_line, put_carried
from flows.build.copies import open_indexes, put_items
from flows.build.ending import TOTALLED, Ending, Released, totals_of
from flows.build.numbering import put_settled
from flows.build.results import put_measures, put_results
from flows.build.reviewed import fail_reviewed
from flows.build.stream import DEDUPLICATE, REMOVE, Lane, Stream
from flows.build.unchanged import STAGES, note_finished, state_of_code, state_of_settings
from flows.build.watching import timed, watched
from flows.candidates.latest import Observations, ingested_sha256, is_news
from flows.candidates.passed import NOBODY, SKIPPED, Passed
from flows.candidates.table_states import state_of_table
from flows.engine.context import BuildContext, Pending, Stage
from flows.engine.crawling import COLLECT, collect_source, observation, opt_outs_of
from flows.engine.items import LOCAL, BuildState
from flows.engine.orders import Engine, settings_of
from flows.engine.running import Runner
from flows.engine.shards import Shard
from flows.engine.stages import FINGERPRINT, INGEST
from flows.executors import executor_of
from flows.show.summaries import BuildSummary, Plan, StageTime
from flows.speed.telemetry import Telemetry
from flows.untouched.groups import put_affected, put_kept, put_nothing_kept, put_other_items, put_released, put_touched

PRUNE = "prune"  # a step that rejects, but is no `Stage`


def _left_half_written(midi: Path) -> list[str]:
    """What a killed build left on the shelves. Names are enough: a path object for each of a million takes seconds."""
    if not midi.is_dir():
        return []
    shelves = [entry.path for entry in os.scandir(midi) if entry.is_dir(follow_symlinks=False)]
    return [os.path.join(shelf, name) for shelf in shelves for name in os.listdir(shelf) if name.endswith(PARTIAL)]


@dataclass
class Build:
    """One run of the recipe."""

    source: str  # a folder, an address, a list; "": only candidates of earlier builds and crawls
    context: BuildContext
    progress: show.Progress
    dry_run: bool = False
    name: str = ""  # of the version that is released
    telemetry: Telemetry = field(default_factory=Telemetry)
    found: BuildState = field(default_factory=BuildState)
    rejections: list[Rejection] = field(default_factory=list)  # besides those of the stream
    not_done: dict[str, Pending] = field(default_factory=dict)  # by item_id
    times: dict[str, StageTime] = field(default_factory=dict)
    left_aside: Counter[str] = field(default_factory=Counter)  # files whose names are not those of audio, by ending
    stack: ExitStack = field(default_factory=ExitStack)  # what is closed when the build ends
    trouble: list[str] = field(default_factory=list)  # leads that could not be followed, one line each
    score_trouble: list[str] = field(default_factory=list)  # scores that cannot be read, one line each
    is_complete: bool = True  # every item has an outcome that the next build takes as it is

    @classmethod
    @contextmanager
    def open(
        cls,
        source: str | None,
        out: str,
        config: Mapping[str, Any] | None,
        compute: Mapping[str, Any] | None,
        name: str = "",
        command: str = "build",
        engine: Mapping[str, Any] | None = None,
    ) -> Iterator[Build]:
        """Lock the dataset folder and delete what a killed build left half-written.

        `command` is what runs, for the record of speeds. Settings that `config` does not name are those of the
        dataset. Raises `DatasetLocked` when another build or crawl works there.
        """
        root = open_root(out).absolute()
        context = BuildContext(root, settings_of(root, None, (), config), Compute(**(compute or {})))
        who = Engine(**(engine or {}))
        context.executor = executor_of(context, who)
        with show.progress() as progress, exclusive_lock(root / ".lock"), closing(context), ExitStack() as stack:
            build = cls(source or "", context, progress, name=name, stack=stack)
            with watched(context, build.telemetry, progress, command, who.price_per_hour):
                build._tidy()
                yield build

    def _tidy(self) -> None:
        root = self.context.root
        for table in [root / "manifest", *(path for path in (root / "tables").glob("*") if path.is_dir())]:
            remove_orphans(table)
        if not is_remote(root):  # an object is written whole by its store
            for each in (*map(str, root.glob(f"*{PARTIAL}")), *_left_half_written(root / "midi")):
                os.unlink(each)
        remove_folder(local_folder(root) / FOLDER)
        if ids := noted(local_folder(root)):
            found = StageTable(root, "download", Download).of_items(ids).values()
            settle(local_folder(root), [one.item_id for one in found if one.record is not None])
        sweep(root)

    @timed(COLLECT)
    def collect(self) -> None:
        """Find candidates in the source folder, or on the web. Candidates of earlier builds and crawls stay candidates,
        found again or not; those that opted out are rejected."""
        began = time.monotonic()
        table = StageTable(self.context.root, COLLECT, Candidate)
        observed = Observations(self.relations)
        observed.read(table)
        opt_outs = opt_outs_of(self.context.root, self.context.config)
        num_before, num_new = len(observed), 0
        if Path(self.source).is_dir() and self.source:
            num_new = self._collect_folder(table, observed)
        elif self.source and self.dry_run:
            self.trouble = [f"{self.source}: is not asked in a dry run; what it holds comes on top."]
        elif self.source:
            summary = collect_source(self.context, self.source, opt_outs, lambda summary: None)
            self.trouble = summary.lines
            observed.read(table)
            num_new = len(observed) - num_before
        self.candidates = observed.write()
        self._leave_alone(opt_outs)
        self.times[COLLECT] = StageTime(len(self.candidates) - num_new, num_new, 0.0, time.monotonic() - began)

    def _collect_folder(self, table: StageTable, observed: Observations) -> int:
        """Take the files of the source folder. Gives the number of those that give later stages work."""
        known, last = observed.of_source(LOCAL), observed.last_number()
        folder = collect_folder(Path(self.source), known, ingested_sha256(self.context.root), last)
        self.left_aside = folder.left_aside
        new = [candidate for candidate in folder.candidates if known.get(candidate.candidate_id) != candidate]
        if not self.dry_run:
            table.append(observation(one) for one in new if one.candidate_id not in folder.closed_ids)
        observed.add(new)
        return sum(is_news(candidate, known.get(candidate.candidate_id)) for candidate in new)

    @cached_property
    def relations(self) -> Relations:
        """Relations on disk, until the build ends."""
        return self.stack.enter_context(Relations.open(None if self.dry_run else self.context.root))

    @cached_property
    def whole(self) -> Shard:
        """All candidates as one shard in memory, which shares the build's own lists."""
        ordered = sorted(self.candidates, key=lambda one: one.candidate_id)
        self.found.candidates = {one.candidate_id: one for one in ordered}
        return Shard(0, self.found, rejections=self.rejections, not_done=self.not_done)

    @cached_property
    def stream(self) -> Stream:
        """The stages over all candidates."""
        runner = Runner(self.context, self.telemetry)
        self.stack.callback(runner.appending.close)  # while the lock is held: a lane may have been left behind
        return Stream(runner, self.found, self.relations.folder, self.passed)

    @cached_property
    def passed(self) -> Passed:
        """What the last build found of each candidate."""
        return Passed(self.relations, self.context, STAGES, state_of_code())

    def _leave_alone(self, opt_outs: OptOuts) -> None:
        for candidate, reason in self.candidates.named_by(opt_outs):
            key = candidate.candidate_id
            if candidate.source != LOCAL or key in opt_outs.ids:
                self.found.left_alone.add(key)
                about = (key, key, candidate.source_url, REMOVE, "removed", None, reason, False)
                self.rejections.append(Rejection(*about))
        self.found.num_marks = self.context.attempts.marks()

    def run(self, stage: Stage) -> None:
        """Bring one stage up to date for all candidates together, as fetching does."""
        with self.stream.runner.appending.behind():
            self.stream.runner.run(stage, self.whole)
        self._note_time(stage)
        self.telemetry.complete(stage.name)

    def pass_through(self, *lanes: Lane) -> None:
        """Take all candidates through the lanes, shard by shard."""
        self.found.removals = self.removals()
        self.stream.run(lanes, self.candidates)
        finished = self.stream.finished
        self.not_done |= finished.not_done
        self.is_complete = finished.is_complete
        for stage in STAGES:
            self._note_time(stage)
            self.telemetry.complete(stage.name)

    def _note_time(self, stage: Stage) -> None:
        tally = self.stream.runner.tallies[stage.name]
        known = self.stream.finished.num_known[stage.name]
        if "whole" in self.__dict__:  # a million candidates are not made objects to count them
            known += len(self.whole.known_to[stage.name])
        self.times[stage.name] = StageTime(known, tally.num_worked_on, tally.audio_s, tally.seconds)

    def removals(self) -> dict[str, Removal]:
        """Removals by the ids they name: those recorded, the segments they name, and every tombstone of the manifest.

        Tombstones keep a removal in force where the table of removals was lost.
        """
        root = self.context.root
        manifest, recorded = Manifest(root), Removals(root).by_id()
        named: dict[str, str] = {}
        if manifest.version():
            stones = manifest.query("removed_in IS NOT NULL", columns=["segment_id", "removal_reason"])
            named = dict(zip(*(column.to_pylist() for column in stones.columns), strict=True))
        if recorded and manifest.version():
            named |= named_segments(Known.read(root), manifest.table(columns=NAMED), recorded.values())
        return {segment_id: Removal(segment_id, reason, "") for segment_id, reason in named.items()} | recorded

    @timed(PRUNE)
    def prune(self) -> None:
        """Reject segments that were removed for good or have too few notes; check the others against each limit.

        Being outside a subset's limits is no rejection.
        """
        self._put_results()
        self.stream.runner.appending.flush()
        self.stream.forget_numbers()

    def _put_results(self) -> None:
        relations, rejected = self.relations, self.stream.finished.rejections
        rejected.add(rows_of(self.rejections, rejected.schema))
        self.passed.put_rejections(rejected)
        steps = f"stage IN ('{REMOVE}', '{DEDUPLICATE}')"
        relations.run(
            f"CREATE OR REPLACE TABLE left_out AS SELECT item_id AS candidate_id FROM rejections WHERE {steps}"
        )
        put_settled(relations, self.context.root, self.stream.numbers.removed)
        if not self._put_affected():
            self._read_results(SKIPPED)
            put_nothing_kept(relations)
        self.ending.put_rejections(sorted(self.found.found_again), self.found.removals)
        self.ending.put_outside()

    def _put_affected(self) -> bool:
        """Read the results of what is new and of what that affects. False where those of all have to be read."""
        context, relations, ending = self.context, self.relations, self.ending
        manifest, config = Manifest(context.root), context.config
        if self.dry_run or not self.passed.is_end_of(manifest.version(), self.end):
            return False
        if self.not_done or config.release.scores or Subsets(context.root).compare_rows():
            return False
        self._read_results(NOBODY)
        put_released(relations, manifest)
        self.passed.put_skipped_keys("other_fingerprints", FINGERPRINT.name if FINGERPRINT.is_wanted(context) else "")
        put_other_items(relations, config.deduplicate.by_notes)
        put_carried(relations, context, {}, ())
        put_items(relations, context)
        indexes = open_indexes(relations, context, self.progress)
        changed = indexes.changed()
        if changed is None or not put_affected(relations, context, indexes.pairs(), changed):
            return False
        if relations.value("SELECT count(*) FROM affected"):
            self._read_results("affected")
        put_touched(relations, manifest)
        put_kept(relations, RecordTable(context.root, "rejections", Rejection).reader())
        self.passed.put_kept()
        ids = relations.table("SELECT segment_id FROM untouched")["segment_id"]
        ending.indexes, ending.kept = indexes, manifest.kept_rows(ids)
        return True

    @cached_property
    def end(self) -> dict[str, Any]:
        """What the end of this build depends on, beside what the stages find and the newest version."""
        tables = {name: state_of_table(self.context.root, name) for name in (REVIEWS, ALIGNMENTS)}
        defined = Subsets(self.context.root).content()
        return json.loads(
            json.dumps({"settings": state_of_settings(self.context), "tables": tables, "subsets": defined})
        )

    def _read_results(self, which: str) -> None:
        """Make the relations of the results of candidates that are not skipped, and of `which` skipped ones."""
        config, relations = self.context.config.release, self.relations
        limits = {
            "in_pruned": load_limits(config.pruned_limits),
            "in_deduplicated": load_limits(config.deduplicated_limits),
        }
        self.passed.put_keys(self.stream.finished.keys, which)
        put_results(relations, self.context, self.candidates.path, self._numbered)
        if which == SKIPPED:  # of all candidates: what follows needs the memory
            self.stream.runner.appending.flush()  # numbers of segments
            self.stream.forget_numbers()
            relations.make_room()
        put_measures(relations, self.context, limits)
        fail_reviewed(relations, self.context.root, config)

    def _numbered(self, found: Sequence[Segmentation]) -> list[Segment]:
        """The segments of some recordings with their numbers, without what was removed for good."""
        min_segment_s = self.context.config.segment.min_segment_s
        segments: list[Segment] = []
        for one in found:
            numbered, again = self.stream.numbers.give(one, min_segment_s)
            segments += numbered
            self.found.found_again |= again
        if not self.dry_run:
            self.stream.numbers.record(segments)
        return segments

    @cached_property
    def ending(self) -> Ending:
        """What is done with all recordings at once, on relations on disk."""
        return Ending(self.context, self.relations, self.progress, self.not_done)

    def align(self) -> None:
        """Align all segments with the scores of `release.scores`, if it names any. None is rejected."""
        if self.context.config.release.scores:
            self._align(Path(self.context.config.release.scores))

    @timed("align")
    def _align(self, scores: Path) -> None:
        from flows.build.aligned import align_results

        self.score_trouble = align_results(self.context.root, self.relations, scores, self.progress)

    @timed(DEDUPLICATE)
    def deduplicate(self) -> None:
        """Cluster copies: the same audio, the same recording, nearly the same notes. None is rejected."""
        self.ending.deduplicate(self.found.left_alone, self.found.removals)

    @timed("release")
    def release(self) -> BuildSummary:
        """Release a version if anything changed.

        Raises `BalanceBroken` before that where candidates or segments are not all accounted for.
        """
        try:
            released = self.ending.release(self.name)
        except BalanceBroken:
            self.passed.discard()  # the next build decides all anew
            raise
        summary = self._summary(released)
        unsettled = {*self.stream.finished.unsettled, *self.found.left_alone, *self.found.num_marks}
        self.passed.note(unsettled, self.stream.finished.files, self.found.removals, self.end, released.version)
        if self.is_complete and not self.trouble:
            note_finished(self.context, self.source, summary, self.ending.same_files())
        return summary

    def release_nothing(self, plan: Plan) -> BuildSummary:
        """The summary of a dry run: the newest version as it is, and what a build would do."""
        manifest = Manifest(self.context.root)
        version = manifest.version()
        rows = manifest.query(columns=TOTALLED) if version else arrow_schema().empty_table()
        self._put_results()
        return replace(self._summary(Released(version, False, totals_of(rows))), plan=plan)

    def _summary(self, released: Released) -> BuildSummary:
        ending = self.ending
        return BuildSummary(
            version=released.version,
            is_new_version=released.is_new,
            **released.totals,
            rejections=ending.counts("stage || ': ' || reason", "NOT is_failure"),
            outside_subsets=ending.outside_subsets(),
            failures=[*self.trouble, *ending.failures()],
            not_done=self._not_done_lines(),
            candidates=released.candidates,
            segments=released.segments,
            stages=self.times,
            left_aside=dict(self.left_aside.most_common()),
            notes=[*self._remarks(), *self.score_trouble],
            warnings=[mixed] if (mixed := mixed_precisions(ending.precisions())) else [],
        )

    def _remarks(self) -> list[str]:
        self.passed.put_skipped_keys("skipped_files", INGEST.name)
        return self.ending.remarks()

    def _not_done_lines(self) -> list[str]:
        away = {one.candidate_id for one in self.not_done.values() if one.is_unreachable}
        urls = {one.candidate_id: one.source_url for one in self.candidates.of(away)}
        return [pending_line(urls, item_id, pending) for item_id, pending in sorted(self.not_done.items())]
