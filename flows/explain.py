"""Why something is or is not in a dataset or a subset: everything that was decided about one id, with its numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aria_data.config import load_config
from aria_data.errors import DatasetNotFound, UsageError
from aria_data.files import printable
from aria_data.manifest import Manifest, Row
from aria_data.prune import all_verdicts, load_limits
from aria_data.records import Attempt, Candidate, Measurement, Rejection, Screening
from aria_data.removals import Removals
from aria_data.tables import RecordTable, StageTable

SUBSETS = ("in_pruned", "in_deduplicated", "in_unique")


@dataclass
class Explanation:
    """What is known of one id. `limits` are (subset, limit, measured, whether it holds)."""

    item_id: str
    facts: dict[str, Any] = field(default_factory=dict)  # where it came from and how it was judged
    rows: list[Row] = field(default_factory=list)  # its segments in the newest version
    reasons: list[str] = field(default_factory=list)  # one line each
    limits: list[tuple[str, str, float, bool]] = field(default_factory=list)


def explain(root: Path, item_id: str) -> Explanation:
    """Gather what the tables say of a segment, recording, candidate or address. Raises `UsageError` if they do not."""
    if not (root / "tables").is_dir() and not (root / "manifest").is_dir():
        raise DatasetNotFound(f"{root}: holds no dataset.")
    manifest = Manifest(root)
    rows = manifest.rows() if manifest.version() else []
    found = Explanation(item_id, rows=[row for row in rows if item_id in _names(row)])
    candidate = _candidate(root, item_id, found.rows)
    if candidate is not None:
        found.facts |= _facts(root, candidate)
    found.reasons += list(_reasons(root, item_id, candidate))
    for row in found.rows:
        found.reasons += list(_subset_reasons(row, rows))
        if row["removed_in"] is None:
            found.limits += list(_limits(root, row))
    if not found.rows and not found.reasons and candidate is None:
        raise UsageError(f"{root}: knows nothing of {printable(item_id, 120)}.")
    return found


def _names(row: Row) -> set[str]:
    return {row["segment_id"], row["recording_id"], row["source_url"]}


def _candidate(root: Path, item_id: str, rows: list[Row]) -> Candidate | None:
    wanted = {item_id} | {row["source_url"] for row in rows} | {row["recording_id"] for row in rows}
    found = None
    for outcome in StageTable(root, "collect", Candidate).all():
        one = outcome.record
        if wanted & {one.candidate_id, one.source_url, one.location}:
            found = one if found is None or one.collected_at > found.collected_at else found
    return found


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


def _reasons(root: Path, item_id: str, candidate: Candidate | None) -> Iterator[str]:
    ids = {item_id} | ({candidate.candidate_id} if candidate else set())
    for one in RecordTable(root, "rejections", Rejection).read():
        if ids & {one.item_id, one.candidate_id, one.source_url}:
            number = "" if one.measured is None else f", measured {one.measured:g}"
            word = "failed" if one.is_failure else "turned away"
            yield f"{one.item_id}: {word} at {one.stage}: {one.reason}{number}. {one.detail}".strip()
    removals = Removals(root).by_id()
    for name in ids & removals.keys():
        yield f"{name}: removed for good on {removals[name].removed_at}: {removals[name].reason}"


def _subset_reasons(row: Row, rows: list[Row]) -> Iterator[str]:
    segment_id = row["segment_id"]
    if row["removed_in"] is not None:
        yield f"{segment_id}: removed in version {row['removed_in']}: {row['removal_reason']}"
        return
    if row["excluded_by"]:
        yield f"{segment_id}: in none of the splits: {row['excluded_by']}"
    inside = ", ".join(name for name in SUBSETS if row[name]) or "in no subset"
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


CLUSTERS = {"audio_cluster": "audio", "recording_cluster": "recording", "notes_cluster": "notes"}


def _copied(row: Row, rows: list[Row]) -> str:
    """Say of what a row is a copy: the closest kind of sameness first."""
    for name, word in CLUSTERS.items():
        leads = [one["segment_id"] for one in rows if one[name] == row[name] and one["is_cluster_lead"]]
        if leads and row[name]:
            return f"the {word} of {', '.join(leads[:3])} {'are' if name == 'notes_cluster' else 'is'} the same"
    return "see audio_cluster, recording_cluster and notes_cluster"  # its lead has gone, or was turned away


def _limits(root: Path, row: Row) -> Iterator[tuple[str, str, float, bool]]:
    config = load_config(root / "dataset.toml" if (root / "dataset.toml").is_file() else None).release
    outcomes = [one for one in StageTable(root, "measure", Measurement).all() if one.item_id == row["segment_id"]]
    if not outcomes or outcomes[-1].record is None:
        return
    for subset, name in (("in_pruned", config.pruned_limits), ("in_deduplicated", config.deduplicated_limits)):
        limits = load_limits(name)
        for key, verdict in all_verdicts(outcomes[-1].record.measures, limits).items():
            yield subset, f"{key} = {limits.limits[key]:g}", float(verdict.measured or 0.0), verdict.is_kept


def show(found: Explanation, shows_all: bool) -> None:
    """Print an explanation: facts, reasons, and the limits that do not hold (or all)."""
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
