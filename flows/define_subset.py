"""Define, renew and forget named subsets of a dataset: each time a version in which every row says whether it is in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from aria_data.errors import ConfigInvalid, DatasetCorrupt
from aria_data.manifest import Manifest, SelectedRow, SubsetRecipe, Subsets
from aria_data.measure import load_limits, passing
from aria_data.measure.prune import PRESETS
from aria_data.records import Measurement
from aria_data.storage import exclusive_lock, write_whole
from aria_data.storage.tables import StageTable
from flows.engine.publish import publish


def define_recipe(root: Path, name: str, recipe: SubsetRecipe) -> tuple[int, int]:
    """Define a subset by rule and release a version with it. Gives (version, how many rows are in it)."""
    note = f"subset {name}: {_said(recipe)}"
    return _change(root, name, lambda subsets: subsets.save_recipe(name, recipe, _own_limits(name, recipe)), note)


def define_selection(root: Path, name: str, rows: Sequence[SelectedRow], about: Mapping[str, Any]) -> tuple[int, int]:
    """Define a subset by its rows and release a version with it. Gives (version, how many rows are in it)."""
    note = f"subset {name}: {about.get('summary', 'a selection')}"
    return _change(root, name, lambda subsets: subsets.save_selection(name, rows, about), note)


def forget(root: Path, name: str) -> int:
    """Forget a subset and release a version in which no row has it; earlier versions keep it.

    Where another subset cannot be followed, this one is forgotten all the same, and that is what is raised.
    """
    return _change(root, name, lambda subsets: subsets.delete(name), f"subset {name} deleted")[0]


def _change(root: Path, name: str, change: Callable[[Subsets], None], note: str) -> tuple[int, int]:
    manifest = Manifest(root)
    manifest.number_of()  # says what is missing, if anything is
    with exclusive_lock(root / ".lock"):
        subsets, newest = Subsets(root), manifest.version()
        before = {path: path.read_bytes() if path.is_file() else None for path in subsets.files(name)}
        try:
            change(subsets)
            rows = subsets.apply(manifest.rows(), lambda limits: _passing(root, limits), defining=name)
            version, _ = publish(root, rows, note, subsets=subsets.definitions())
        except BaseException as error:
            is_other = name not in subsets.names() and isinstance(error, ConfigInvalid | DatasetCorrupt)
            if not is_other and manifest.version() == newest:  # a version without its card is a version
                _restore(before)  # a recipe that cannot be followed must not stop the next build
            raise
    return version, sum(bool(row.get(f"in_{name}")) for row in rows)


def _restore(before: Mapping[Path, bytes | None]) -> None:
    for path, content in before.items():
        if content is None:
            path.unlink(missing_ok=True)
        elif not path.is_file() or path.read_bytes() != content:
            write_whole(path, content)


def _own_limits(name: str, recipe: SubsetRecipe) -> Mapping[str, float] | None:
    """The limits of a file of the user's; a preset, and no limits, are known by name. Raises `ConfigInvalid`."""
    if recipe.limits in ("", *PRESETS):
        return None
    try:
        return load_limits(recipe.limits).limits
    except ConfigInvalid as error:
        raise ConfigInvalid(f"subset {name}: {error}") from error
    except RecursionError as error:
        raise ConfigInvalid(f"subset {name}: {recipe.limits}: is nested too deeply for limits.") from error


def _passing(root: Path, limits: str) -> set[str]:
    """The segments whose latest measures are within limits."""
    measures = {
        one.item_id: one.record.measures
        for one in StageTable(root, "measure", Measurement).all()
        if one.record is not None
    }
    return passing(measures, load_limits(limits))


def _said(recipe: SubsetRecipe) -> str:
    parts = [recipe.where.strip(), recipe.limits and f"limits {Path(recipe.limits).name}"]
    if recipe.max_recordings_per_composition:
        parts.append(f"at most {recipe.max_recordings_per_composition} recordings of a composition")
    return " and ".join(part for part in parts if part)
