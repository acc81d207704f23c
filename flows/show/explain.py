"""Why something is or is not in a dataset or a subset: every decision about one id, with its numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aria_data.config import load_config
from aria_data.errors import DatasetNotFound, UsageError
from aria_data.manifest import Manifest, Row
from aria_data.manifest.columns import is_subset
from aria_data.manifest.manifest import subset_column
from aria_data.manifest.row_queries import ids_where
from aria_data.manifest.rows import table_of
from aria_data.measure import PruneLimits, load_limits
from aria_data.measure.prune import all_verdicts, prune
from aria_data.records import Attempt, Candidate, Measurement, Recording, Rejection, Screening
from aria_data.release import Removals, Subsets
from aria_data.release.splits import EXCLUDED
from aria_data.release.subsets import SELECTION
from aria_data.release.tombstones import Known, is_row_of
from aria_data.storage import printable
from aria_data.storage.stage_tables import DONE, RecordTable, StageTable
from aria_data.web import OptOuts

SUBSETS = ("in_pruned", "in_deduplicated", "in_unique")


@dataclass
class Explanation:
    """What is known of one id. `limits` are (subset, limit, measured, whether it holds)."""

    item_id: str
    facts: dict[str, Any] = field(default_factory=dict)  # its candidate's source, screening and attempts to fetch
    rows: list[Row] = field(default_factory=list)  # its segments in the newest version
    reasons: list[str] = field(default_factory=list)  # one line each
    limits: list[tuple[str, str, float, bool]] = field(default_factory=list)


def explain(root: Path, item_id: str) -> Explanation:
    """Gather what the tables hold about a segment, recording, candidate or address.

    Raises `UsageError` for an unknown one, `DatasetNotFound` where there is no dataset.
    """
    if not (root / "tables").is_dir() and not (root / "manifest").is_dir():
        raise DatasetNotFound(f"{root}: holds no dataset.")
    manifest, known = Manifest(root), Known.read(root)
    rows = manifest.rows() if manifest.version() else []
    found = Explanation(item_id, rows=[row for row in rows if item_id in _names(row)])
    candidates = [outcome.record for outcome in StageTable(root, "collect", Candidate).all()]
    observed = _observed(known, candidates, item_id, found.rows)
    if any(item_id in (one.candidate_id, one.source_url, one.location) for one in observed):
        owners = known.owners_of({row["recording_id"] for row in rows})
        found.rows = [row for row in rows if any(is_row_of(row, one, owners) for one in observed)]
    candidate = max(observed, key=lambda one: one.collected_at, default=None)
    if candidate is not None:
        found.facts |= _facts(root, candidate)
    found.reasons += list(_reasons(root, item_id, candidate, found.rows))
    for row in found.rows:
        found.reasons += list(subset_reasons(row, rows))
        if row["removed_in"] is None:
            measures = _measures(root, row)
            found.reasons += list(named_subset_reasons(root, row, rows, measures))
            found.limits += list(limits_checked(root, measures)) if measures is not None else []
    if not found.rows and not found.reasons and candidate is None:
        raise UsageError(f"{root}: knows nothing of {printable(item_id, 120)}.")
    return found


def _names(row: Row) -> set[str]:
    return {row["segment_id"], row["recording_id"], row["source_url"]}


def _observed(known: Known, candidates: list[Candidate], item_id: str, rows: list[Row]) -> list[Candidate]:
    """All observations of the one candidate that `item_id` means; of several with the same bytes, the first by path."""
    names = {item_id} | {row["source_url"] for row in rows} | {row["recording_id"] for row in rows}
    found = [one for one in candidates if names & {one.candidate_id, one.source_url, one.location}]
    if not found:
        recordings = {item_id} | {row["recording_id"] for row in rows}
        owners = set().union(*known.owners_of(recordings).values())
        found = [one for one in candidates if one.candidate_id in owners]
    latest = {one.candidate_id: one for one in sorted(found, key=lambda one: one.collected_at)}
    meant = min(latest.values(), key=lambda one: (one.source_url, one.candidate_id), default=None)
    return [one for one in candidates if meant is not None and one.candidate_id == meant.candidate_id]


def _facts(root: Path, candidate: Candidate) -> dict[str, Any]:
    names = ("candidate_id", "source_url", "title", "uploader", "licence", "discovered_via", "collected_at")
    facts = {name: getattr(candidate, name) for name in names if getattr(candidate, name)}
    screenings = [one for one in StageTable(root, "screen", Screening).all() if one.item_id == candidate.candidate_id]
    if screenings and screenings[-1].record is not None:
        last: Screening = screenings[-1].record
        facts["relevance_score"] = f"{last.relevance_score} by {last.scorer}: {last.evidence or last.reason}"
    tries = [one.record for one in StageTable(root, "attempts", Attempt).all() if one.item_id == candidate.candidate_id]
    if tries:
        ended = max(tries, key=lambda one: one.began_at)
        facts["attempts"] = (
            f"{len(tries)}, the last {ended.began_at[:19]}: {ended.kind or 'fetched'} {ended.detail}".strip()
        )
    return facts


def _reasons(root: Path, item_id: str, candidate: Candidate | None, rows: list[Row]) -> Iterator[str]:
    ids = {item_id} | ({candidate.candidate_id} if candidate else set())
    for one in StageTable(root, "ingest", Recording).all():
        if one.status == DONE and one.detail and one.item_id in ids:
            yield f"{one.item_id}: {one.detail}"
    for one in RecordTable(root, "rejections", Rejection).read():
        if ids & {one.item_id, one.candidate_id, one.source_url}:
            number = "" if one.measured is None else f", measured {one.measured:g}"
            word = "failed" if one.is_failure else "rejected"
            yield f"{one.item_id}: {word} at {one.stage}: {one.reason}{number}. {one.detail}".strip()
    ids |= {name for row in rows for name in (row["segment_id"], row["recording_id"])}
    for name, removal in sorted(Removals(root).by_id().items()):
        entry = OptOuts()
        entry.add([(name, removal.reason)])
        if name in ids or (candidate is not None and entry.reason_for(candidate) is not None):
            yield f"{name}: removed for good on {removal.removed_at}: {removal.reason}"


def subset_reasons(row: Row, rows: list[Row]) -> Iterator[str]:
    segment_id = row["segment_id"]
    if row["removed_in"] is not None:
        yield f"{segment_id}: removed in version {row['removed_in']}: {row['removal_reason']}"
        return
    if row["excluded_by"]:
        yield f"{segment_id}: in none of the splits: {row['excluded_by']}"
    inside = ", ".join(name for name in [*SUBSETS, *filter(is_subset, row)] if row[name]) or "in no subset"
    yield f"{segment_id}: in the manifest since version {row['first_version']}, {row['split']}; {inside}"
    if row["in_pruned"] and not row["in_deduplicated"]:
        if not row["is_cluster_lead"]:
            yield f"{segment_id}: not in_deduplicated, because it is a copy: {_copied(row, rows)}"
        same = [r for r in rows if r["composition_id"] == row["composition_id"] and r["in_deduplicated"]]
        if row["composition_id"] and row["is_cluster_lead"] and same:
            others = ", ".join(sorted({r["recording_id"] for r in same})[:3])
            yield f"{segment_id}: not in_deduplicated, because {others} stands for {row['composition_id']}"
    if row["in_deduplicated"] and not row["in_unique"]:
        yield f"{segment_id}: not in_unique, because its composition is not known"


def named_subset_reasons(root: Path, row: Row, rows: list[Row], measures: Mapping[str, float] | None) -> Iterator[str]:
    """Why a row is not in the subsets that users defined; for a selection, also why it is in."""
    subsets = Subsets(root)
    for name in subsets.names():
        about, column = subsets.about(name), subset_column(name)
        if about["kind"] == SELECTION:
            yield f"{row['segment_id']}: {_selected(subsets, name, row)}"
        elif not row.get(column):
            yield f"{row['segment_id']}: not {column}, because {_outside(about, row, rows, measures)}"


def _selected(subsets: Subsets, name: str, row: Row) -> str:
    chosen = subsets.selection(name).get(row["segment_id"])
    if chosen is not None:
        return f"{subset_column(name)} with weight {chosen.weight:g}: {chosen.reason or 'no reason was kept'}"
    about = subsets.about(name)
    summary = about.get("summary") or "a selection"
    return f"not {subset_column(name)}, because it is none of the {about['num_rows']:,} chosen: {summary}"


def _outside(about: Mapping[str, Any], row: Row, rows: list[Row], measures: Mapping[str, float] | None) -> str:
    """The first part of a recipe that leaves a row out, in the order in which the parts are applied."""
    where, cap = (about.get("where") or "").strip(), about.get("max_recordings_per_composition")
    if row["split"] == EXCLUDED:
        return "it is excluded from training"
    if where:
        present = table_of([one for one in rows if one["removed_in"] is None])
        if row["segment_id"] not in ids_where(present, where, must_repeat=True).to_pylist():
            return f"its condition does not hold: {where}"
    limits = _limits_of(about)
    if limits is not None and measures is not None:
        verdict = prune(measures, limits)
        if not verdict.is_kept:
            return f"its limits are {limits.name}: {verdict.reason}, measured {verdict.measured or 0.0:g}"
    if cap and row["composition_id"]:
        return f"recordings with higher scores fill its {cap} of {row['composition_id']}"
    return "its recipe, or the data it reads, has changed since; the next build applies it again"


def _limits_of(about: Mapping[str, Any]) -> PruneLimits | None:
    """The limits of a recipe: a preset's, a file's, or those that are kept with it; None without limits."""
    limits = about.get("limits")
    if not limits:
        return None
    return PruneLimits(limits, "its own") if isinstance(limits, Mapping) else load_limits(limits)


CLUSTERS = {"audio_cluster": "audio", "recording_cluster": "recording", "notes_cluster": "notes"}


def _copied(row: Row, rows: list[Row]) -> str:
    """The row's representatives in the closest of its clusters: same audio, then same recording, then same notes."""
    for name, word in CLUSTERS.items():
        found = [one["segment_id"] for one in rows if one[name] == row[name] and one["is_cluster_lead"]]
        if found and row[name]:
            return f"the {word} of {', '.join(found[:3])} {'are' if name == 'notes_cluster' else 'is'} the same"
    return "see audio_cluster, recording_cluster and notes_cluster"  # its representative is gone, or was rejected


def _measures(root: Path, row: Row) -> Mapping[str, float] | None:
    outcomes = [one for one in StageTable(root, "measure", Measurement).all() if one.item_id == row["segment_id"]]
    return outcomes[-1].record.measures if outcomes and outcomes[-1].record is not None else None


def limits_checked(root: Path, measures: Mapping[str, float]) -> Iterator[tuple[str, str, float, bool]]:
    """Every limit of every subset against these measures: (subset, limit, measured, whether it holds)."""
    config = load_config(root / "dataset.toml" if (root / "dataset.toml").is_file() else None).release
    subsets = Subsets(root)
    named: dict[str, PruneLimits | None] = {
        "in_pruned": load_limits(config.pruned_limits),
        "in_deduplicated": load_limits(config.deduplicated_limits),
    }
    named |= {subset_column(name): _limits_of(subsets.about(name)) for name in subsets.names()}
    for subset, limits in named.items():
        if limits is None:
            continue
        for key, verdict in all_verdicts(measures, limits).items():
            yield subset, f"{key} = {limits.limits[key]:g}", float(verdict.measured or 0.0), verdict.is_kept


def show(found: Explanation, shows_all: bool) -> None:
    """Print an explanation: facts, reasons, and the limits that do not hold, or all of them."""
    from rich.console import Console
    from rich.table import Table

    console = Console(soft_wrap=True, emoji=False)
    for name, value in found.facts.items():
        console.print(f"{name:16s} {printable(str(value), 300)}", markup=False, highlight=False)
    for line in found.reasons:
        console.print(printable(line, 500), markup=False, highlight=False)
    shown = [limit for limit in found.limits if shows_all or not limit[3]]
    if shown:
        table = Table("subset", "limit", "measured", "holds", title="limits", title_justify="left")
        for subset, limit, measured, holds in shown:
            table.add_row(subset, limit, f"{measured:.6g}", "yes" if holds else "no")
        console.print(table)
    elif found.limits:
        console.print(f"all {len(found.limits)} limits hold (--all shows them)", highlight=False)
