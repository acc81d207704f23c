"""Define, renew and forget named subsets of a dataset: each time a version in which every row says whether it is in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from aria_data.files import exclusive_lock
from aria_data.manifest import Manifest
from aria_data.prune import load_limits, passing
from aria_data.records import Measurement
from aria_data.subsets import SelectedRow, SubsetRecipe, Subsets
from aria_data.tables import StageTable
from flows.publish import publish


def define_recipe(root: Path, name: str, recipe: SubsetRecipe) -> tuple[int, int]:
    """Define a subset by rule and release a version with it. Gives (version, how many rows are in it)."""
    note = f"subset {name}: {_said(recipe)}"
    return _change(root, name, lambda subsets: subsets.save_recipe(name, recipe), note)


def define_selection(root: Path, name: str, rows: Sequence[SelectedRow], about: Mapping[str, Any]) -> tuple[int, int]:
    """Define a subset by its rows and release a version with it. Gives (version, how many rows are in it)."""
    note = f"subset {name}: {about.get('summary', 'a selection')}"
    return _change(root, name, lambda subsets: subsets.save_selection(name, rows, about), note)


def forget(root: Path, name: str) -> int:
    """Forget a subset and release a version without it; earlier versions keep it."""
    return _change(root, name, lambda subsets: subsets.delete(name), f"subset {name} deleted")[0]


def _change(root: Path, name: str, change: Callable[[Subsets], None], note: str) -> tuple[int, int]:
    manifest = Manifest(root)
    manifest.number_of()  # says what is missing, if anything is
    with exclusive_lock(root / ".lock"):
        before = _kept(root, name)
        subsets = Subsets(root)
        try:
            change(subsets)
            rows = subsets.apply(manifest.rows(), lambda limits: _passing(root, limits))
        except BaseException:
            _restore(root, name, before)  # a recipe that cannot be followed must not stop the next build
            raise
        version, _ = publish(root, rows, note)
    return version, sum(bool(row.get(f"in_{name}")) for row in rows)


def _kept(root: Path, name: str) -> dict[Path, bytes]:
    paths = (root / "subsets" / f"{name}{ending}" for ending in (".json", ".parquet"))
    return {path: path.read_bytes() for path in paths if path.is_file()}


def _restore(root: Path, name: str, before: Mapping[Path, bytes]) -> None:
    for ending in (".json", ".parquet"):
        path = root / "subsets" / f"{name}{ending}"
        if path in before:
            path.write_bytes(before[path])
        else:
            path.unlink(missing_ok=True)


def _passing(root: Path, limits: str) -> set[str]:
    """The segments whose latest measures are within limits."""
    measures = {
        one.item_id: one.record.measures
        for one in StageTable(root, "measure", Measurement).all()
        if one.record is not None
    }
    return passing(measures, load_limits(limits))


def _said(recipe: SubsetRecipe) -> str:
    parts = [recipe.where.strip(), recipe.limits and f"limits {recipe.limits}"]
    if recipe.max_recordings_per_composition:
        parts.append(f"at most {recipe.max_recordings_per_composition} recordings of a composition")
    return " and ".join(part for part in parts if part)
