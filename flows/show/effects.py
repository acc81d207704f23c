"""What a change did to a dataset as a whole: rows, hours, notes, confidence and subsets of two versions, side by side.

A transcriber or a setting is judged by this, and by the rows that `differences` names.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from aria_data.manifest import Manifest
from aria_data.manifest.columns import is_subset

SUMS = {"hours": ("duration_s", 3600.0), "notes": ("num_notes", 1.0)}
MEANS = ("audio_score", "transcription_confidence", "onset_agreement", "chroma_agreement", "note_density")
SUBSETS = ("in_pruned", "in_deduplicated", "in_unique")


@dataclass(frozen=True, slots=True)
class Effect:
    """One figure of two versions. `entered` and `left` count rows of a subset; a mean is over rows that have it."""

    name: str
    old: float | None  # None where there is none, as the mean of no row
    new: float | None
    entered: int | None = None
    left: int | None = None


def effects_of(root: Path, old: int | str, new: int | str) -> list[Effect]:
    """Compare the rows of two versions, without removed ones, by figures. Raises `UsageError` for no such version."""
    manifest = Manifest(root)
    known = [set(manifest.column_names(manifest.number_of(version))) for version in (old, new)]
    subsets = [name for name in sorted(known[0] | known[1]) if name in SUBSETS or is_subset(name)]
    columns = ["segment_id", *(column for column, _ in SUMS.values()), *MEANS]
    before, after = (
        manifest.query("removed_in IS NULL", version, columns=[*columns, *(one for one in subsets if one in names)])
        for version, names in zip((old, new), known, strict=True)
    )
    effects = [Effect("rows", before.num_rows, after.num_rows)]
    for name, (column, unit) in SUMS.items():
        effects.append(Effect(name, _sum(before, column) / unit, _sum(after, column) / unit))
    effects += [Effect(f"mean {name}", _mean(before, name), _mean(after, name)) for name in MEANS]
    return [*effects, *(_of_subset(name, before, after) for name in subsets)]


def _sum(table: pa.Table, name: str) -> float:
    return float(pc.sum(table[name]).as_py() or 0)


def _mean(table: pa.Table, name: str) -> float | None:
    """The mean of the rows that hold a number."""
    values = table[name]
    mean = pc.mean(values.filter(pc.fill_null(pc.is_finite(values), False))).as_py()
    return None if mean is None or math.isnan(mean) else float(mean)


def _of_subset(name: str, before: pa.Table, after: pa.Table) -> Effect:
    was, now = (
        set(table.filter(pc.fill_null(table[name], False))["segment_id"].to_pylist())
        if name in table.column_names
        else set()
        for table in (before, after)
    )
    return Effect(name, len(was), len(now), len(now - was), len(was - now))


def show_effects(effects: Sequence[Effect], old: str, new: str) -> None:
    """Print the figures that differ, one a line."""
    print(f"{'':26} {_cut(old):>12} {_cut(new):>12} {'change':>12}")
    for effect in effects:
        if effect.old != effect.new or effect.entered or effect.name == "rows":
            moved = f"  {effect.entered:,} came, {effect.left:,} went" if effect.entered or effect.left else ""
            print(f"{effect.name:26} {_number(effect.old):>12} {_number(effect.new):>12} {_change(effect):>12}{moved}")


def _cut(name: str) -> str:
    return name if name and not name.isdigit() and len(name) <= 12 else f"version {name}"[:12]


def _number(value: float | None) -> str:
    if value is None:
        return "none"
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 1000 else f"{value:,.4f}"


def _change(effect: Effect) -> str:
    if effect.old is None or effect.new is None:
        return ""
    change = effect.new - effect.old
    return ("+" if change >= 0 else "-") + _number(abs(change))


def plain(effects: Sequence[Effect]) -> dict[str, Any]:
    """The figures as plain values, by name, for JSON."""
    return {
        one.name: {"old": one.old, "new": one.new}
        | ({} if one.entered is None else {"entered": one.entered, "left": one.left})
        for one in effects
    }
