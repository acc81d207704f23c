"""What is known of one segment or rejected item besides its row: quotes of tags, changes, reasons, what was heard."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from aria_data.errors import AriaDataError
from aria_data.manifest import Manifest
from aria_data.manifest.columns import columns
from aria_data.measure.meanings import MEANINGS
from aria_data.storage import printable
from flows.browse.rows import Rows
from flows.show.differences import reasons_of
from flows.show.explain import limits_checked, named_subset_reasons, subset_reasons

MAX_REASONED = 200_000  # rows of a version, beyond which only the kind of a change is said
CHANGES = pa.schema([("segment_id", pa.string()), ("kind", pa.string()), ("reason", pa.string())])
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
    """All differences from the version before, found when first asked for, in the order of their ids.

    Of a version of more than `MAX_REASONED` rows only the kind of each is known: reasons need all columns of all rows.
    """

    def __init__(self, rows: Rows):
        self._rows = rows
        self._found: pa.Table | None = None
        self._lock = threading.Lock()

    def page(self, start: int, count: int) -> list[Change]:
        return [Change(**row) for row in self._all().slice(start, count).to_pylist()]

    def counts(self) -> list[tuple[tuple[str, str], int]]:
        """How many there are of each kind and reason, the commonest first."""
        grouped = self._all().group_by(["kind", "reason"]).aggregate([([], "count_all")]).to_pylist()
        found = [((row["kind"], row["reason"]), row["count_all"]) for row in grouped]
        return sorted(found, key=lambda one: (-one[1], one[0]))

    def __len__(self) -> int:
        return self._all().num_rows

    def neighbours(self, segment_id: str) -> tuple[str, str]:
        """The segments with a page that changed before and after this one; empty where there is none."""
        ids = self._all().filter(pc.not_equal(self._all()["kind"], "removed"))["segment_id"]
        place = pc.index(ids, segment_id).as_py()
        if place < 0:
            return "", ""
        before = ids[place - 1].as_py() if place else ""
        return before, ids[place + 1].as_py() if place + 1 < len(ids) else ""

    def _all(self) -> pa.Table:
        with self._lock:
            if self._found is None:
                self._found = self._compared()
            return self._found

    def _compared(self) -> pa.Table:
        if self._rows.version < 2:
            return CHANGES.empty_table()
        if len(self._rows.held) > MAX_REASONED:
            found = self._rows.changed()
            reasons = pa.repeat(pa.scalar(""), len(found))
            return found.append_column("reason", reasons).cast(CHANGES)
        old, new = self._rows.version - 1, self._rows.version
        reasons = reasons_of(self._rows.root, Manifest(self._rows.root).diff(old, new), old, new)
        found = [
            {"segment_id": key, "kind": kind, "reason": printable(reason, 200)}
            for kind in ("added", "removed", "changed")
            for key, reason in getattr(reasons, kind).items()
        ]
        return pa.Table.from_pylist(found, schema=CHANGES).sort_by("segment_id")


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
