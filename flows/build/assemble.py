"""One build: its state (results, rejections, times) and its steps, which `flows.build_dataset` calls in order."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from prefect.context import FlowRunContext

from aria_data.collect import collect_folder
from aria_data.deduplicate import clusters
from aria_data.download import settle
from aria_data.manifest import Manifest
from aria_data.manifest.columns import arrow_schema
from aria_data.measure import load_limits
from aria_data.records import Candidate, Recording, Rejection
from aria_data.release import Removal, Removals
from aria_data.release.tombstones import NAMED, Known, named_segments, sweep
from aria_data.storage import PARTIAL, exclusive_lock
from aria_data.storage.delta_tables import remove_orphans
from aria_data.storage.relations import FOLDER, Relations
from aria_data.storage.stage_tables import DONE, FAILED, REJECTED, Outcome, StageTable
from aria_data.transcribe import Compute
from aria_data.web import OptOuts
from flows import show
from flows.build.carried import pending_line
from flows.build.ending import TOTALLED, Ending, Released, totals_of
from flows.build.numbering import Numbers
from flows.build.observations import ingested_sha256, is_news, latest
from flows.build.results import keys_of, put_results
from flows.build.unchanged import note_finished
from flows.engine.context import BuildContext, Item, NotDone, Pending, Stage, is_passing
from flows.engine.crawling import COLLECT, collect_source, observation, opt_outs_of
from flows.engine.items import ITEMS, LOCAL, BuildState
from flows.engine.orders import settings_of
from flows.engine.stages import INGEST, SEGMENT
from flows.engine.tasks import Shard, shards_of, work_on
from flows.show.summaries import BuildSummary, StageTime

DEDUPLICATE, PRUNE, REMOVE = "deduplicate", "prune", "remove"  # steps that reject, but are no `Stage`


@dataclass
class Build:
    """One run of the recipe."""

    source: str  # a folder, an address, a list; "": only candidates of earlier builds and crawls
    context: BuildContext
    progress: show.Progress
    dry_run: bool = False
    name: str = ""  # of the version that is released
    found: BuildState = field(default_factory=BuildState)
    rejections: list[Rejection] = field(default_factory=list)
    not_done: dict[str, Pending] = field(default_factory=dict)  # by item_id
    times: dict[str, StageTime] = field(default_factory=dict)
    left_aside: Counter[str] = field(default_factory=Counter)  # files whose names are not those of audio, by ending
    stack: ExitStack = field(default_factory=ExitStack)  # what is closed when the build ends
    trouble: list[str] = field(default_factory=list)  # leads that could not be followed, one line each
    is_complete: bool = True  # every item has an outcome that the next build takes as it is

    @classmethod
    @contextmanager
    def open(
        cls,
        source: str | None,
        out: str,
        config: Mapping[str, Any] | None,
        compute: Mapping[str, Any] | None,
        dry_run: bool,
        name: str = "",
    ) -> Iterator[Build]:
        """Lock the dataset folder and delete what a killed build left half-written. A dry run touches nothing.

        Settings that `config` does not name are those of the dataset. Raises `DatasetLocked` when another build or
        crawl works there.
        """
        root = Path(out).absolute()
        context = BuildContext(root, settings_of(root, None, (), config), Compute(**(compute or {})))
        with show.progress() as progress, closing(context), ExitStack() as stack:
            build = cls(source or "", context, progress, dry_run, name, stack=stack)
            if dry_run:
                yield build
                return
            with exclusive_lock(root / ".lock"):
                build._tidy()
                yield build

    def _tidy(self) -> None:
        root = self.context.root
        for table in [root / "manifest", *(path for path in (root / "tables").glob("*") if path.is_dir())]:
            remove_orphans(table)
        for partial in [*root.glob(f"*{PARTIAL}"), *(root / "midi").rglob(f"*{PARTIAL}")]:
            partial.unlink()
        shutil.rmtree(root / FOLDER, ignore_errors=True)
        settle(root, self.context.downloads)
        sweep(root)

    def collect(self) -> None:
        """Find candidates in the source folder, or on the web. Candidates of earlier builds and crawls stay candidates,
        found again or not; those that opted out are rejected."""
        began = time.monotonic()
        table = StageTable(self.context.root, COLLECT, Candidate)
        known = latest(table)
        opt_outs = opt_outs_of(self.context.root, self.context.config)
        num_before, num_new = len(known), 0
        if Path(self.source).is_dir() and self.source:
            folder = collect_folder(Path(self.source), known, ingested_sha256(self.context.root))
            self.left_aside = folder.left_aside
            new = [candidate for candidate in folder.candidates if known.get(candidate.candidate_id) != candidate]
            if not self.dry_run:
                table.append(observation(candidate) for candidate in new)
            before = dict(known)
            known |= {candidate.candidate_id: candidate for candidate in folder.candidates}
            num_new = sum(is_news(candidate, before.get(candidate.candidate_id)) for candidate in new)
        elif self.source and self.dry_run:
            self.trouble = [f"{self.source}: is not asked in a dry run; what it holds comes on top."]
        elif self.source:
            with self.progress.stage(COLLECT, 0, 0.0, 0):
                summary = collect_source(self.context, self.source, opt_outs, lambda summary: None)
            self.trouble = summary.lines
            known = latest(table)
            num_new = len(known) - num_before
        self.found.candidates = dict(sorted(known.items()))
        self._leave_alone(opt_outs)
        self.times[COLLECT] = StageTime(len(known) - num_new, num_new, 0.0, time.monotonic() - began)

    def _leave_alone(self, opt_outs: OptOuts) -> None:
        for candidate_id, candidate in self.found.candidates.items():
            reason = opt_outs.reason_for(candidate)
            if reason is not None and (candidate.source != LOCAL or candidate_id in opt_outs.ids):
                self.found.left_alone.add(candidate_id)
                self._reject(REMOVE, candidate_id, Outcome(candidate_id, "", REJECTED, "removed", None, reason))
            self.found.num_marks[candidate_id] = self.context.attempts.num_marks(candidate_id)

    def run(self, stage: Stage) -> None:
        """Bring a stage up to date: look up what is done, do the rest, collect the rejections."""
        began = time.monotonic()
        items = ITEMS[stage.name](self.found) if stage.is_wanted(self.context) else []
        table = stage.table(self.context)
        item_of_key = {stage.key(self.context, item): item for item in items}
        found = table.lookup(item_of_key.keys(), with_records=stage.keeps_records)
        known = {key: one for key, one in found.items() if stage.is_intact(self.context, one) and not is_passing(one)}
        todo = [item for key, item in item_of_key.items() if key not in known]
        outcomes = [*known.values(), *self._work(stage, table, todo, len(known))]
        self.is_complete &= len(outcomes) == len(item_of_key) and not any(map(is_passing, outcomes))
        candidate_of = {item.item_id: item.candidate_id for item in items}
        for outcome in sorted(outcomes, key=lambda outcome: outcome.item_id):
            if outcome.status == DONE:
                self.found.done.setdefault(stage.name, {})[outcome.item_id] = outcome
            else:
                self._reject(stage.name, candidate_of[outcome.item_id], outcome)
        self.found.done.setdefault(stage.name, {})
        audio_s = sum(item.audio_s for item in todo)
        self.times[stage.name] = StageTime(len(known), len(todo), audio_s, time.monotonic() - began)

    def _work(self, stage: Stage, table: StageTable, todo: Sequence[Item], num_done: int) -> list[Outcome]:
        work = work_on if FlowRunContext.get() else work_on.fn
        outcomes: list[Outcome] = []
        with self.progress.stage(stage.name, len(todo), sum(item.audio_s for item in todo), num_done):
            for items in [] if self.dry_run else shards_of(todo):
                shard = Shard(self.context, stage, table, items, self.progress)
                try:
                    work(shard, stage.name)
                except NotDone as error:
                    self.not_done |= error.items
                outcomes += shard.outcomes
        return outcomes

    def _reject(self, step: str, candidate_id: str, outcome: Outcome) -> None:
        self.rejections.append(
            Rejection(
                item_id=outcome.item_id,
                candidate_id=candidate_id,
                source_url=self.found.candidates[candidate_id].source_url,
                stage=step,
                reason=outcome.reason,
                measured=outcome.measured,
                detail=outcome.detail,
                is_failure=outcome.status == FAILED,
            )
        )

    def reject_same_files(self) -> None:
        """Keep one recording of each set of identical files, and none that was removed for good."""
        removals = self.found.removals = self._removals()
        ingested: dict[str, Recording] = self.found.records(INGEST.name)
        copies = clusters.same_bytes((self._preference(recording), recording) for recording in ingested.values())
        for candidate_id, recording in ingested.items():
            source_url = self.found.candidates[candidate_id].source_url
            removal = removals.get(recording.recording_id) or removals.get(source_url)
            if removal is not None:
                outcome = Outcome(candidate_id, "", REJECTED, "removed", None, removal.reason)
                self._reject(REMOVE, candidate_id, outcome)
            elif candidate_id in copies:
                detail = f"the same file as {self.found.candidates[copies[candidate_id]].source_url}"
                self._reject(DEDUPLICATE, candidate_id, Outcome(candidate_id, "", REJECTED, "same_bytes", None, detail))
            else:
                self.found.recordings[recording.recording_id] = recording

    def _removals(self) -> dict[str, Removal]:
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

    def _preference(self, recording: Recording) -> str:
        """Sort key among identical files: files that exist before those that are gone, then by source_url."""
        is_gone = not self.context.path_of(recording.location).exists()
        return f"{int(is_gone)} {self.found.candidates[recording.candidate_id].source_url}"

    def number_segments(self) -> None:
        """Give each segment the number that its music had before, and cut out what was removed for good."""
        numbers, found = Numbers(self.context.root), self.found
        removed, min_segment_s = found.removals.keys(), self.context.config.segment.min_segment_s
        for recording_id, segmentation in found.records(SEGMENT.name).items():
            found.numbered[recording_id], again = numbers.give(segmentation, removed, min_segment_s)
            found.found_again |= again
        if not self.dry_run:
            numbers.record(found.segments().values())

    def prune(self) -> None:
        """Reject segments that were removed for good or have too few notes; check the others against each limit.

        Being outside a subset's limits is no rejection.
        """
        config, found = self.context.config.release, self.found
        limits = {
            "in_pruned": load_limits(config.pruned_limits),
            "in_deduplicated": load_limits(config.deduplicated_limits),
        }
        left_out = [one.item_id for one in self.rejections if one.stage in (REMOVE, DEDUPLICATE)]
        number = lambda one: found.numbered.get(one.recording_id, [])  # noqa: E731
        candidates = found.candidates.values()
        put_results(self.ending.relations, self.context, candidates, keys_of(found.done), left_out, number, limits)
        self.ending.put_rejections(self.rejections, sorted(found.found_again), found.removals)

    @cached_property
    def ending(self) -> Ending:
        """What is done with all recordings at once, on relations on disk."""
        relations = self.stack.enter_context(Relations.open(None if self.dry_run else self.context.root))
        return Ending(self.context, relations, self.progress, self.not_done)

    def deduplicate(self) -> None:
        """Cluster copies: the same audio, the same recording, nearly the same notes. None is rejected."""
        if not self.dry_run:
            self.ending.deduplicate(self.found.left_alone, self.found.removals)

    def release(self) -> BuildSummary:
        """Release a version if anything changed.

        Raises `BalanceBroken` before that where candidates or segments are not all accounted for.
        """
        if self.dry_run:
            manifest = Manifest(self.context.root)
            version = manifest.version()
            rows = manifest.query(columns=TOTALLED) if version else arrow_schema().empty_table()
            return self._summary(Released(version, False, totals_of(rows)))
        summary = self._summary(self.ending.release(self.name))
        if self.is_complete and not self.trouble:
            note_finished(self.context, self.source, summary, self.ending.same_files())
        return summary

    def _summary(self, released: Released) -> BuildSummary:
        ending = self.ending
        return BuildSummary(
            version=released.version,
            is_new_version=released.is_new,
            **released.totals,
            rejections=ending.counts("stage || ': ' || reason", "NOT is_failure"),
            outside_subsets=ending.outside_subsets(),
            failures=[*self.trouble, *ending.failures()],
            not_done=[pending_line(self.found, item_id, pending) for item_id, pending in sorted(self.not_done.items())],
            candidates=released.candidates,
            segments=released.segments,
            stages=self.times,
            left_aside=dict(self.left_aside.most_common()),
            notes=ending.remarks(),
        )
