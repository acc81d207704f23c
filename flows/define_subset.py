"""Define, redefine and delete named subsets. Each change releases a version with (or without) the subset's columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from aria_data.errors import ConfigInvalid, DatasetCorrupt
from aria_data.manifest import Manifest
from aria_data.measure import load_limits
from aria_data.measure.prune import PRESETS
from aria_data.release import SelectedRow, SubsetRecipe, Subsets
from aria_data.storage import exclusive_lock, write_whole
from flows.build.subset_columns import release_subsets


def define_recipe(root: Path, name: str, recipe: SubsetRecipe) -> tuple[int, int]:
    """Define a subset by rule and release a version with it. Gives (version, number of rows in the subset).

    Raises `ConfigInvalid` for a rule that cannot be applied; then nothing is changed.
    """
    note = f"subset {name}: {_summary(recipe)}"
    return _change(root, name, lambda subsets: subsets.save_recipe(name, recipe, _own_limits(name, recipe)), note)


def define_selection(root: Path, name: str, rows: Sequence[SelectedRow], about: Mapping[str, Any]) -> tuple[int, int]:
    """Define a subset by its rows and release a version with it. Gives (version, number of rows in the subset)."""
    note = f"subset {name}: {about.get('summary', 'a selection')}"
    return _change(root, name, lambda subsets: subsets.save_selection(name, rows, about), note)


def forget(root: Path, name: str) -> int:
    """Delete a subset and release a version without its columns; earlier versions keep them. Gives the version.

    Where another subset's definition cannot be applied, this one is deleted all the same, and the error of the other
    is raised.
    """
    return _change(root, name, lambda subsets: subsets.delete(name), f"subset {name} deleted")[0]


def _change(root: Path, name: str, change: Callable[[Subsets], None], note: str) -> tuple[int, int]:
    manifest = Manifest(root)
    manifest.number_of()  # raises where there is no version
    with exclusive_lock(root / ".lock"):
        subsets, newest = Subsets(root), manifest.version()
        before = {path: path.read_bytes() if path.is_file() else None for path in subsets.files(name)}
        try:
            change(subsets)
            return release_subsets(root, subsets, note, name)
        except BaseException as error:
            is_other = name not in subsets.names() and isinstance(error, ConfigInvalid | DatasetCorrupt)
            if not is_other and manifest.version() == newest:  # a version without its card is a version
                _restore(before)  # a recipe that cannot be applied must not stop the next build
            raise


def _restore(before: Mapping[Path, bytes | None]) -> None:
    for path, content in before.items():
        if content is None:
            path.unlink(missing_ok=True)
        elif not path.is_file() or path.read_bytes() != content:
            write_whole(path, content)


def _own_limits(name: str, recipe: SubsetRecipe) -> Mapping[str, float] | None:
    """The limits in a user's own file, to be kept with the subset; None for a preset and for no limits.

    Raises `ConfigInvalid`.
    """
    if recipe.limits in ("", *PRESETS):
        return None
    try:
        return load_limits(recipe.limits).limits
    except ConfigInvalid as error:
        raise ConfigInvalid(f"subset {name}: {error}") from error
    except RecursionError as error:
        raise ConfigInvalid(f"subset {name}: {recipe.limits}: is nested too deeply for limits.") from error


def _summary(recipe: SubsetRecipe) -> str:
    parts = [recipe.where.strip(), recipe.limits and f"limits {Path(recipe.limits).name}"]
    if recipe.max_recordings_per_composition:
        parts.append(f"at most {recipe.max_recordings_per_composition} recordings of a composition")
    return " and ".join(part for part in parts if part)
