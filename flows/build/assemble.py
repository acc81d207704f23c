"""One build: its state (results, rejections, times) and its steps, which `flows.build_dataset` calls in order."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from aria_data.collect import collect_folder
from aria_data.collect.folder import is_closed_folder
from aria_data.config import to_toml
from aria_data.download import settle
from aria_data.manifest import Manifest, Row
from aria_data.measure import PruneLimits, load_limits
from aria_data.measure.prune import prune
from aria_data.records import Candidate, Rejection, Verdict
from aria_data.release import Removal, Removals, Subsets
from aria_data.release.rows_of_segments import build_rows
from aria_data.release.split_history import SplitHistory
from aria_data.release.tombstones import Known, named_segments, sweep
from aria_data.storage import PARTIAL, exclusive_lock, write_whole
from aria_data.storage.balance import Balance, balance_candidates, balance_segments
from aria_data.storage.delta_tables import remove_orphans
from aria_data.storage.stage_tables import REJECTED, Outcome, RecordTable, StageTable
from aria_data.transcribe import Compute
from aria_data.web import OptOuts
from flows import show
from flows.build.carried import Carried, carried_rows, mark_reachable, pending_line, within_limits
from flows.build.carried_copies import regrouped
from flows.build.copies import Copies, find_copies
from flows.build.finished import finished_segments
from flows.build.observations import ingested_sha256, is_news, latest
from flows.build.provenance import facts_of
from flows.build.publish import publish
from flows.build.stream import DEDUPLICATE, REMOVE, Lane, Stream
from flows.build.unchanged import STAGES, note_finished
from flows.build.watching import timed, watched
from flows.engine.context import BuildContext, Pending, Stage
from flows.engine.crawling import COLLECT, collect_source, observation, opt_outs_of
from flows.engine.items import LOCAL, BuildState
from flows.engine.orders import settings_of
from flows.engine.running import Runner
from flows.engine.shards import Shard
from flows.engine.stages import INGEST, MEASURE
from flows.engine.telemetry import Telemetry
from flows.show.summaries import BuildSummary, Plan, StageTime

PRUNE = "prune"  # a step that rejects, but is no `Stage`


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
        command: str = "build",
    ) -> Iterator[Build]:
        """Lock the dataset folder and delete what a killed build left half-written. A dry run touches nothing.

        `command` is what runs, for the record of speeds. Settings that `config` does not name are those of the
        dataset. Raises `DatasetLocked` when another build or crawl works there.
        """
        root = Path(out).absolute()
        context = BuildContext(root, settings_of(root, None, (), config), Compute(**(compute or {})))
        with show.progress() as progress, closing(context):
            build = cls(source or "", context, progress, dry_run, name)
            if dry_run:
                yield build
                return
            with exclusive_lock(root / ".lock"), watched(context, build.telemetry, progress, command):
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

    @timed(COLLECT)
    def collect(self) -> None:
        """Find candidates in the source folder, or on the web. Candidates of earlier builds and crawls stay candidates,
        found again or not; those that opted out are rejected."""
        began = time.monotonic()
        table = StageTable(self.context.root, COLLECT, Candidate)
        known = {name: one for name, one in latest(table).items() if not is_closed_folder(one)}
        opt_outs = opt_outs_of(self.context.root, self.context.config)
        num_before, num_new = len(known), 0
        if Path(self.source).is_dir() and self.source:
            folder = collect_folder(Path(self.source), known, ingested_sha256(self.context.root))
            self.left_aside = folder.left_aside
            new = [candidate for candidate in folder.candidates if known.get(candidate.candidate_id) != candidate]
            if not self.dry_run:
                table.append(observation(one) for one in new if one.candidate_id not in folder.closed_ids)
            before = dict(known)
            known |= {candidate.candidate_id: candidate for candidate in folder.candidates}
            num_new = sum(is_news(candidate, before.get(candidate.candidate_id)) for candidate in new)
        elif self.source and self.dry_run:
            self.trouble = [f"{self.source}: is not asked in a dry run; what it holds comes on top."]
        elif self.source:
            summary = collect_source(self.context, self.source, opt_outs, lambda summary: None)
            self.trouble = summary.lines
            known = latest(table)
            num_new = len(known) - num_before
        self.found.candidates = dict(sorted(known.items()))
        self._leave_alone(opt_outs)
        self.times[COLLECT] = StageTime(len(known) - num_new, num_new, 0.0, time.monotonic() - began)

    @cached_property
    def whole(self) -> Shard:
        """All candidates as one shard, which shares the build's own lists."""
        return Shard(0, self.found, rejections=self.rejections, not_done=self.not_done)

    @cached_property
    def stream(self) -> Stream:
        """The stages over all candidates."""
        return Stream(Runner(self.context, self.telemetry, self.dry_run), self.found)

    def _leave_alone(self, opt_outs: OptOuts) -> None:
        for candidate_id, candidate in self.found.candidates.items():
            reason = opt_outs.reason_for(candidate)
            if reason is not None and (candidate.source != LOCAL or candidate_id in opt_outs.ids):
                self.found.left_alone.add(candidate_id)
                self.whole.reject(REMOVE, candidate_id, Outcome(candidate_id, "", REJECTED, "removed", None, reason))
            self.found.num_marks[candidate_id] = self.context.attempts.num_marks(candidate_id)

    def run(self, stage: Stage) -> None:
        """Bring one stage up to date for all candidates together, as fetching does."""
        self.stream.runner.run(stage, self.whole)
        self._note_time(stage)
        self.telemetry.complete(stage.name)

    def pass_through(self, *lanes: Lane) -> None:
        """Take all candidates through the lanes, shard by shard."""
        self.found.removals = self.removals()
        self.stream.run(lanes)
        finished = self.stream.finished
        self.rejections += finished.rejections
        self.not_done |= finished.not_done
        self.is_complete = finished.is_complete
        for stage in STAGES:
            self._note_time(stage)
            self.telemetry.complete(stage.name)

    @cached_property
    def finished_keys(self) -> dict[str, pa.Table]:
        """What the stages finished: see `stream.Finished.key_tables`. Complete once the lanes have ended."""
        return self.stream.finished.key_tables()

    @timed("gather")
    def gather(self) -> None:
        """Read what the shards found: the records of everything finished."""
        found = self.found
        for stage in STAGES:
            keys = self.finished_keys[stage.name]["key"].to_pylist() if stage.name in self.finished_keys else []
            outcomes = stage.table(self.context).lookup(keys, with_records=stage.keeps_records).values()
            found.done[stage.name] = {one.item_id: one for one in sorted(outcomes, key=lambda one: one.item_id)}
        left_out = {one.item_id for one in self.rejections if one.stage in (REMOVE, DEDUPLICATE)}
        ingested = found.records(INGEST.name)
        found.recordings = {one.recording_id: one for key, one in ingested.items() if key not in left_out}
        self.stream.number_segments(self.whole)

    def _note_time(self, stage: Stage) -> None:
        tally = self.stream.runner.tallies[stage.name]
        known = self.stream.finished.num_known[stage.name] + len(self.whole.known_to[stage.name])
        self.times[stage.name] = StageTime(known, tally.num_worked_on, tally.audio_s, tally.seconds)

    def removals(self) -> dict[str, Removal]:
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

    @timed(PRUNE)
    def prune(self) -> None:
        """Reject segments that were removed for good or have too few notes; check the others against each limit.

        Being outside a subset's limits is no rejection.
        """
        for segment_id in sorted(self.found.found_again):
            outcome = Outcome(segment_id, "", REJECTED, "removed", None, self.found.removals[segment_id].reason)
            recording = self.found.recordings[segment_id.rpartition("_")[0]]
            self.whole.reject(REMOVE, recording.candidate_id, outcome)
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
                self.whole.reject(PRUNE, candidate_id, outcome)
                continue
            for subset, of_subset in limits.items():
                self.passes[subset][segment_id] = prune(measurement.measures, of_subset)

    @timed(DEDUPLICATE)
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

    @timed("release")
    def release(self) -> BuildSummary:
        """Release a version if anything changed.

        Raises `BalanceBroken` before that where candidates or segments are not all accounted for.
        """
        root = self.context.root
        manifest = Manifest(root)
        newest = manifest.version()
        removals = {name: removal.reason for name, removal in self.found.removals.items()}
        carried, config = self.carried, self.context.config.release
        kept = carried.segment_ids
        finished = finished_segments(self.context, self.found, self.passes, self.copies, carried.recording_ids)
        history = SplitHistory(root)
        rows = build_rows(finished, config, self.previous, newest + 1, removals, carried.rows, history.read())
        rows = Subsets(root).apply(rows, lambda limits: within_limits(self.context, self.found, limits, kept))
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

    def release_nothing(self, plan: Plan) -> BuildSummary:
        """The summary of a dry run: the newest version as it is, and what a build would do."""
        present = [row for row in self.previous if row["removed_in"] is None]
        return replace(self._summary(Manifest(self.context.root).version(), False, present), plan=plan)

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
