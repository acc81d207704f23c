"""Define, redefine and delete named subsets. Each change releases a version with (or without) the subset's columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aria_data.errors import ConfigInvalid, DatasetCorrupt
from aria_data.manifest import Manifest
from aria_data.manifest.columns import arrow_schema, is_added
from aria_data.manifest.revising import Change
from aria_data.manifest.row_queries import differs
from aria_data.manifest.rows import by_bucket
from aria_data.manifest.stored_rows import is_present, of_all_rows
from aria_data.measure import load_limits
from aria_data.measure.prune import PRESETS, is_passing
from aria_data.records import Measurement
from aria_data.release import SelectedRow, SubsetRecipe, Subsets
from aria_data.release.subsets import JUDGED
from aria_data.storage import exclusive_lock, write_whole
from aria_data.storage.stage_tables import StageTable
from flows.build.publish import DESCRIBED, publish_change


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
            stored = manifest.stored_columns()
            is_there = is_present(stored)
            present = stored.filter(is_there).select(JUDGED)
            passes = lambda limits: _passing(root, limits)  # noqa: E731
            added = subsets.evaluate(present, manifest.present_where, passes, defining=name)
            beside = {each: of_all_rows(added[each], is_there) for each in added.column_names[1:]}
            described = stored.only(DESCRIBED).with_columns(beside)
            members = added[f"in_{name}"] if f"in_{name}" in added.column_names else None
            num_members = 0 if members is None else pc.sum(members).as_py() or 0
            put = _put(added)
            del added, members, beside, present, is_there  # the rows of the next version need the memory
            version = publish_change(root, put, described, note, subsets=subsets.definitions())
        except BaseException as error:
            is_other = name not in subsets.names() and isinstance(error, ConfigInvalid | DatasetCorrupt)
            if not is_other and manifest.version() == newest:  # a version without its card is a version
                _restore(before)  # a recipe that cannot be applied must not stop the next build
            raise
    return version, num_members


def _put(added: pa.Table) -> Change:
    """The change that gives rows the columns `added` (by segment_id), and takes all others of users away."""
    names, in_buckets = added.column_names, by_bucket(added)  # to look rows up among all took half of the time

    def change(rows: pa.Table) -> pa.Table:
        fixed = rows.select([name for name in rows.column_names if not is_added(name)])
        then = _with_columns(fixed, in_buckets(rows))
        is_other = pa.chunked_array([pa.repeat(False, len(rows))])
        for name in filter(is_added, {*rows.column_names, *names}):
            was, now = (_column(each, name) for each in (rows, then))
            is_other = pc.or_(is_other, differs(was, now))
        return then.filter(is_other)

    return change


def _column(rows: pa.Table, name: str) -> pa.ChunkedArray:
    if name in rows.column_names:
        return rows[name]
    return pa.chunked_array([pa.nulls(len(rows), arrow_schema([name]).field(name).type)])


def _with_columns(rows: pa.Table, added: pa.Table) -> pa.Table:
    """The rows with the other columns of `added`, which are matched by segment_id; null in those it does not have."""
    places = pc.index_in(rows["segment_id"], value_set=added["segment_id"])
    for name in added.column_names[1:]:
        rows = rows.append_column(name, added[name].take(places))
    return rows


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


def _passing(root: Path, limits: str) -> pa.ChunkedArray:
    """The ids of the segments whose latest measures are within `limits` (a preset or a file)."""
    table, judged = StageTable(root, "measure", Measurement), load_limits(limits)
    is_latest = _latest(pa.chunked_array([batch.column("item_id") for batch in table.columns([])], pa.string()))
    passing, start = [], 0
    for batch in table.columns(["measures"]):
        latest = batch.filter(pa.array(is_latest[start : start + len(batch)]))
        passing.append(latest.column("item_id").filter(is_passing(latest.column("measures"), judged)))
        start += len(batch)
    return pa.chunked_array(passing, pa.string())


def _latest(ids: pa.ChunkedArray) -> np.ndarray:
    """For each place, whether its id comes no more after it."""
    codes = ids.combine_chunks().dictionary_encode().indices.to_numpy()
    places, last = np.arange(len(codes)), np.zeros(len(codes), np.int64)
    last[codes] = places
    return last[codes] == places


def _summary(recipe: SubsetRecipe) -> str:
    parts = [recipe.where.strip(), recipe.limits and f"limits {Path(recipe.limits).name}"]
    if recipe.max_recordings_per_composition:
        parts.append(f"at most {recipe.max_recordings_per_composition} recordings of a composition")
    return " and ".join(part for part in parts if part)
