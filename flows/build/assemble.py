"""One build: its state (results, rejections, times) and its steps, which `flows.build_dataset` calls in order."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from prefect.context import FlowRunContext

from aria_data.collect import collect_folder
from aria_data.config import to_toml
from aria_data.deduplicate import clusters
from aria_data.download import settle
from aria_data.manifest import Manifest, Row
from aria_data.measure import PruneLimits, load_limits
from aria_data.measure.prune import prune
from aria_data.records import Candidate, Recording, Rejection, Verdict
from aria_data.release import Removal, Removals, Subsets
from aria_data.release.reviews import bad_among, without_bad
from aria_data.release.rows_of_segments import build_rows
from aria_data.release.split_history import SplitHistory
from aria_data.release.tombstones import Known, named_segments, sweep
from aria_data.storage import PARTIAL, exclusive_lock, write_whole
from aria_data.storage.balance import Balance, balance_candidates, balance_segments
from aria_data.storage.delta_tables import remove_orphans
from aria_data.storage.stage_tables import DONE, FAILED, REJECTED, Outcome, RecordTable, StageTable
from aria_data.transcribe import Compute
from aria_data.web import OptOuts
from flows import show
from flows.build.carried import Carried, carried_rows, mark_reachable, pending_line, within_limits
from flows.build.carried_copies import regrouped
from flows.build.copies import Copies, find_copies
from flows.build.finished import finished_segments
from flows.build.numbering import Numbers
from flows.build.observations import ingested_sha256, is_news, latest
from flows.build.provenance import facts_of
from flows.build.publish import publish
from flows.build.unchanged import note_finished
from flows.engine.context import BuildContext, Item, NotDone, Pending, Stage, is_passing
from flows.engine.crawling import COLLECT, collect_source, observation, opt_outs_of
from flows.engine.items import ITEMS, LOCAL, BuildState
from flows.engine.orders import settings_of
from flows.engine.stages import INGEST, MEASURE, SEGMENT
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
    passes: dict[str, dict[str, Verdict]] = field(default_factory=dict)  # subset -> segment_id -> verdict
    carried: Carried = field(default_factory=Carried)
    copies: Copies = field(default_factory=Copies)
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
        with show.progress() as progress, closing(context):
            build = cls(source or "", context, progress, dry_run, name)
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
        rows = manifest.rows() if manifest.version() else []
        named = {row["segment_id"]: row["removal_reason"] for row in rows if row["removed_in"] is not None}
        if recorded:
            named |= named_segments(Known.read(root), rows, recorded.values())
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
        for segment_id in sorted(self.found.found_again):
            outcome = Outcome(segment_id, "", REJECTED, "removed", None, self.found.removals[segment_id].reason)
            recording = self.found.recordings[segment_id.rpartition("_")[0]]
            self._reject(REMOVE, recording.candidate_id, outcome)
        config = self.context.config.release
        limits = {
            "in_pruned": load_limits(config.pruned_limits),
            "in_deduplicated": load_limits(config.deduplicated_limits),
        }
        self.passes = {subset: {} for subset in limits}
        segments = self.found.segments()
        for segment_id, measurement in self.found.records(MEASURE.name).items():
            floor = prune(measurement.measures, PruneLimits())
            if not floor.is_kept:
                candidate_id = self.found.candidate_of(segments[segment_id]).candidate_id
                outcome = Outcome(segment_id, "", REJECTED, floor.reason, floor.measured)
                self._reject(PRUNE, candidate_id, outcome)
                continue
            for subset, of_subset in limits.items():
                self.passes[subset][segment_id] = prune(measurement.measures, of_subset)
        for segment_id in bad_among(segments.values(), self.context.root, config):
            for verdicts in self.passes.values():
                if segment_id in verdicts:
                    verdicts[segment_id] = Verdict(False, "reviewed_bad")

    def deduplicate(self) -> None:
        """Cluster copies: the same audio, the same recording, nearly the same notes. None is rejected."""
        if not self.dry_run:
            previous = self.previous if self.not_done else []
            carried = carried_rows(self.context.root, self.found, self.not_done, previous)
            self.copies = find_copies(self.context, self.found, self.passes, self.progress, carried)
            self.carried = regrouped(carried, self.copies.recordings, self.copies.notes)

    @cached_property
    def previous(self) -> list[Row]:
        """The rows of the newest version, as this build found it."""
        return manifest.rows() if (manifest := Manifest(self.context.root)).version() else []

    def release(self) -> BuildSummary:
        """Release a version if anything changed.

        Raises `BalanceBroken` before that where candidates or segments are not all accounted for.
        """
        root = self.context.root
        manifest = Manifest(root)
        newest = manifest.version()
        if self.dry_run:
            return self._summary(newest, False, [row for row in self.previous if row["removed_in"] is None])
        removals = {name: removal.reason for name, removal in self.found.removals.items()}
        carried, config = self.carried, self.context.config.release
        kept = carried.segment_ids
        finished = finished_segments(self.context, self.found, self.passes, self.copies, carried.recording_ids)
        history = SplitHistory(root)
        rows = build_rows(finished, config, self.previous, newest + 1, removals, carried.rows, history.read())
        rows = Subsets(root).apply(rows, lambda limits: within_limits(self.context, self.found, limits, kept))
        rows = without_bad(rows, root, config)
        newest_sha256 = manifest.content_sha256(newest) if newest else ""
        rows = mark_reachable(self.context, self.found, rows, kept, newest_sha256)
        present = [row for row in rows if row["removed_in"] is None]
        balances = self._balances(present, carried)
        self.rejections.sort(key=lambda rejection: (rejection.source_url, rejection.item_id, rejection.stage))
        RecordTable(root, "rejections", Rejection).replace(self.rejections)
        write_whole(root / "dataset.toml", to_toml(self.context.config).encode())
        reasons = (f"{rejection.stage}: {rejection.reason}" for rejection in self.rejections)
        facts = facts_of(self.context, rows, self.name, reasons)
        version, is_new = publish(root, rows, facts=facts)
        history.add(present)
        if any(row["removed_in"] == newest + 1 for row in rows):
            sweep(root)
        summary = self._summary(version, is_new, present, *balances)
        if self.is_complete and not self.trouble:
            note_finished(self.context, self.source, summary, self.found.records(INGEST.name).values())
        return summary

    def _balances(self, present: Sequence[Row], carried: Carried) -> tuple[Balance, Balance]:
        segments = self.found.segments()
        kept = carried.recording_ids
        segment_ids = {row["segment_id"] for row in present if row["recording_id"] not in kept}
        candidate_ids = carried.candidate_ids | {
            self.found.candidate_of(segments[segment_id]).candidate_id for segment_id in segment_ids
        }
        waiting = {pending.candidate_id for pending in self.not_done.values()}
        waiting_segments = set(self.not_done) | {
            segment_id
            for segment_id, segment in segments.items()
            if segment.recording_id in kept or self.found.candidate_of(segment).candidate_id in self.not_done
        }
        return (
            balance_candidates(self.found.candidates.values(), candidate_ids, self.rejections, waiting),
            balance_segments(segments.values(), segment_ids, self.rejections, waiting_segments),
        )

    def _summary(
        self,
        version: int,
        is_new: bool,
        present: Sequence[Row],
        candidates: Balance | None = None,
        segments: Balance | None = None,
    ) -> BuildSummary:
        expected = [rejection for rejection in self.rejections if not rejection.is_failure]
        outside = Counter(
            f"{subset}: {verdict.reason}"
            for subset, verdicts in self.passes.items()
            for verdict in verdicts.values()
            if not verdict.is_kept
        )
        return BuildSummary(
            version=version,
            is_new_version=is_new,
            num_files=len(present),
            num_notes=sum(row["num_notes"] for row in present),
            audio_s=sum(row["duration_s"] for row in present),
            subsets={name: sum(row[name] for row in present) for name in ("in_pruned", "in_deduplicated", "in_unique")},
            rejections=dict(Counter(f"{rejection.stage}: {rejection.reason}" for rejection in expected).most_common()),
            outside_subsets=dict(outside.most_common()),
            failures=[*self.trouble, *(_line(rejection) for rejection in self.rejections if rejection.is_failure)],
            not_done=[pending_line(self.found, item_id, pending) for item_id, pending in sorted(self.not_done.items())],
            candidates=candidates,
            segments=segments,
            stages=self.times,
            left_aside=dict(self.left_aside.most_common()),
            notes=self.found.notes(INGEST.name),
        )


def _line(rejection: Rejection) -> str:
    return f"{rejection.source_url}: {rejection.reason} ({rejection.detail})"
