"""What is known of one segment or rejected item besides its row: quotes of tags, changes, reasons, what was heard."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aria_data.errors import AriaDataError
from aria_data.manifest import Manifest
from aria_data.manifest.columns import columns
from aria_data.measure.meanings import MEANINGS
from aria_data.storage import printable
from flows.browse.rows import Rows
from flows.show.differences import reasons_of
from flows.show.explain import limits_checked, named_subset_reasons, subset_reasons

MAX_REASONED = 200_000  # changed rows beyond which only the kind of change is said
OURS = frozenset({"row_digest", "first_version"})  # columns that say nothing of the music


@dataclass(frozen=True, slots=True)
class Tag:
    """A field of the annotation, and the words of the text that it was read from."""

    name: str
    value: str
    quote: str


def tags_of(rows: Rows, row: Mapping[str, Any]) -> list[Tag]:
    """The row's tags with their quotes; of several annotations of a candidate, the one that the row agrees with."""
    candidate_id = rows.recording(row["recording_id"]).get("candidate_id", "")
    records = rows.records("annotate", candidate_id)
    if not records:
        return []
    best = max(records, key=lambda one: sum(row.get(name) == value for name, value in one.items()))
    quotes = _quotes(best.get("evidence") or "")
    names = dict.fromkeys([*(name for name in best if name in row and name != "title"), *quotes])
    found = [Tag(name, str(row.get(name, best.get(name)) or ""), quotes.get(name, "")) for name in names]
    return [tag for tag in found if tag.quote or (tag.value and not tag.name.startswith("annotation_"))]


def _quotes(evidence: str) -> dict[str, str]:
    try:
        found = json.loads(evidence or "{}")
    except ValueError:
        return {}
    return {str(name): str(words) for name, words in found.items() if words} if isinstance(found, dict) else {}


def meanings() -> dict[str, str]:
    """What each column of a manifest and each measure says, in a line."""
    return {column["name"]: column["description"] for column in columns()} | MEANINGS


def reasons_for(root: Path, row: dict[str, Any], related: list[dict[str, Any]], measures: Mapping[str, float]):
    """Why a row is in or out of each subset, a line each, and every limit: (subset, limit, measured, whether it holds).

    A subset whose definition cannot be read says so instead.
    """
    lines = list(subset_reasons(row, [row, *related]))
    limits: list[tuple[str, str, float, bool]] = []
    try:
        lines += named_subset_reasons(root, row, [row, *related], measures)
        limits = list(limits_checked(root, measures)) if measures else []
    except AriaDataError as error:
        lines.append(str(error))
    return [printable(line, 500) for line in lines], limits


def changed_since(manifest: Manifest, row: Mapping[str, Any], version: int) -> list[tuple[str, Any, Any]] | None:
    """The columns that differ from the version before: name, was, is. None: the row is new, or there is no version."""
    if version < 2:
        return None
    before = manifest.rows_of([row["segment_id"]], version - 1).to_pylist()
    if not before or before[0]["removed_in"] is not None:
        return None
    names = [name for name in row if name not in OURS]
    return [(name, before[0].get(name), row[name]) for name in names if before[0].get(name) != row[name]]


@dataclass(frozen=True, slots=True)
class Change:
    segment_id: str
    kind: str  # added, removed or changed
    reason: str


class Changes:
    """All differences from the version before, found when first asked for. Sorted by segment_id."""

    def __init__(self, root: Path, version: int):
        self._root, self._version = root, version
        self._found: list[Change] | None = None
        self._lock = threading.Lock()

    def all(self) -> list[Change]:
        with self._lock:
            if self._found is None:
                self._found = self._compare() if self._version > 1 else []
            return self._found

    def neighbours(self, segment_id: str) -> tuple[str, str]:
        """The segments with a page that changed before and after this one; empty where there is none."""
        ids = [change.segment_id for change in self.all() if change.kind != "removed"]
        if segment_id not in ids:
            return "", ""
        place = ids.index(segment_id)
        return ids[place - 1] if place else "", ids[place + 1] if place + 1 < len(ids) else ""

    def _compare(self) -> list[Change]:
        old, new = self._version - 1, self._version
        difference = Manifest(self._root).diff(old, new)
        by_kind: dict[str, Any] = {name: getattr(difference, name) for name in ("added", "removed", "changed")}
        if sum(map(len, by_kind.values())) <= MAX_REASONED:
            reasons = reasons_of(self._root, difference, old, new)
            by_kind = {name: getattr(reasons, name) for name in by_kind}
        found = [
            Change(
                key, kind, printable(each[key], 200) if isinstance(each, dict) and isinstance(each[key], str) else ""
            )
            for kind, each in by_kind.items()
            for key in each
        ]
        return sorted(found, key=lambda change: change.segment_id)


def heard(rows: Rows, found: list[dict[str, Any]]) -> dict[str, Any]:
    """What is known of a rejected item's sound and text: recording, candidate, screening; empty where nothing is."""
    item_id, candidate_id = found[0]["item_id"], found[0]["candidate_id"]
    recording = next((one for one in map(rows.recording, (item_id, candidate_id)) if one), {})
    recording_id = recording.get("recording_id", item_id)
    segments = rows.record("segment", recording_id).get("segments") or []
    span = next((one for one in segments if f"{recording_id}_{one['number']}" == item_id), None)
    return {
        "recording": recording,
        "recording_id": recording_id,
        "candidate": rows.record("collect", candidate_id),
        "screening": rows.record("screen", candidate_id),
        "spans": [(one["start_s"], one["end_s"]) for one in segments],
        "span": (span["start_s"], span["end_s"]) if span else None,
    }
