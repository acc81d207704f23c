"""Named subsets that a user defines. A definition is kept beside the manifest and becomes a column of later versions.

    DATASET/subsets/<name>.json       the definition: a recipe, or a selection and how it was made
    DATASET/subsets/<name>.toml       for a recipe with limits that are not a preset: a copy of those limits
    DATASET/subsets/<name>.parquet    for a selection: segment_id, weight, inclusion_prob, reason

A *recipe* is evaluated again for each version: a condition, limits, a maximum of recordings of each composition. A
*selection* was made once, of the rows there were (`aria_data.pruning`); later rows are not in it. A recipe gives the
column `in_<name>`, a selection also `weight_<name>`.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aria_data.errors import ConfigInvalid, DatasetCorrupt, DatasetNotFound, UsageError
from aria_data.manifest.columns import SUBSET_PREFIX, is_subset
from aria_data.manifest.manifest import Row, columns, subset_column, weight_column
from aria_data.manifest.row_queries import ids_where
from aria_data.manifest.rows import is_in, rows_of, table_of
from aria_data.release.recordings_per_composition import recordings_kept
from aria_data.release.splits import EXCLUDED, STRICTNESS
from aria_data.storage import local_copy, printable, write_whole

RECIPE, SELECTION = "recipe", "selection"
DAMAGED = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, pa.ArrowException)
SELECTED = pa.schema(
    [
        pa.field("segment_id", pa.string(), nullable=False),
        pa.field("weight", pa.float64(), nullable=False),
        pa.field("inclusion_prob", pa.float64()),
        pa.field("reason", pa.string()),
    ]
)

JUDGED = ("segment_id", "recording_id", "composition_id", "audio_score", "split")  # by a recipe, besides conditions

Holds = Callable[[str], pa.ChunkedArray]  # an SQL condition -> the segment_ids for which it holds
Passes = Callable[[str], Collection[str]]  # name or path of limits -> the segment_ids that pass them


@dataclass(frozen=True)
class SubsetRecipe:
    """A subset by rule: the rows that meet all of its conditions. Removed and excluded rows are in no subset.

    Raises `ValueError` for a recipe without conditions and for values of another type, as it may come from any file.
    """

    where: str = ""  # an SQL condition over the manifest's fixed columns, without those of other subsets
    limits: str = ""  # a preset of `aria_data.measure.prune` or the path of a TOML file
    max_recordings_per_composition: int = 0  # of known compositions, highest audio_score first; 0: all
    note: str = ""

    def __post_init__(self) -> None:
        for one in fields(self):
            if type(getattr(self, one.name)) is not type(one.default):
                raise ValueError(f"{one.name} is not of type {type(one.default).__name__}")
        if self.max_recordings_per_composition < 0:
            raise ValueError("max_recordings_per_composition is 0 (all) or more")
        if not (self.where.strip() or self.limits or self.max_recordings_per_composition):
            raise ValueError("a recipe says where, limits or max_recordings_per_composition")


@dataclass(frozen=True, slots=True)
class SelectedRow:
    """One row that a selection keeps."""

    segment_id: str
    weight: float = 1.0  # in the training loss
    inclusion_prob: float | None = None
    reason: str = ""


class Subsets:
    """The named subsets of the dataset at `root`."""

    def __init__(self, root: Path):
        self.folder = root / "subsets"

    def names(self) -> list[str]:
        """All names, sorted. Other files, whose name no subset can have, are ignored."""
        named = (path.stem for path in self.folder.glob("*.json") if path.is_file())
        return sorted(name for name in named if is_subset(SUBSET_PREFIX + name))

    def about(self, name: str) -> dict[str, Any]:
        """Give a subset's definition: `kind`, and the recipe, or how the selection was made.

        Limits that are not a preset are given as a mapping. Raises `DatasetNotFound`, `DatasetCorrupt`.
        """
        path = self._file(name)
        if not path.is_file():
            known = ", ".join(self.names()) or "none"
            raise DatasetNotFound(f"{printable(name)}: no such subset here. Known: {known}.")
        try:
            definition = json.loads(path.read_bytes(), parse_constant=_refuse)
            if definition["kind"] == RECIPE:
                definition["limits"] = self._limits_of(name, _recipe_of(definition))
            elif definition["kind"] != SELECTION or type(definition["num_rows"]) is not int:
                raise ValueError(definition["kind"])
            _json(definition)  # must be possible: a version's facts hold it
            return definition
        except DAMAGED as error:
            raise DatasetCorrupt(f"{path}: is damaged. Delete it and define the subset again.") from error

    def compare_rows(self) -> bool:
        """Whether the condition of one may ask about other rows than the one it is about: it has a query in it."""
        conditions = (str(one.get("where", "")) for one in self.definitions().values())
        return any(re.search(r"\b(select|from)\b", condition, re.IGNORECASE) for condition in conditions)

    def content(self) -> str:
        """A hash of all definitions, with the rows of selections."""
        digest = hashlib.sha256()
        for path in (path for name in self.names() for path in self.files(name)):
            digest.update(f"{path.name} {path.is_file()} ".encode())
            digest.update(path.read_bytes() if path.is_file() else b"")
        return digest.hexdigest()

    def definitions(self) -> dict[str, dict[str, Any]]:
        """The definition of each subset, by name. Raises `DatasetCorrupt`."""
        return {name: self.about(name) for name in self.names()}

    def files(self, name: str) -> list[Path]:
        """The paths a definition may have, in the order .json, .toml, .parquet. Raises `UsageError` for a bad name."""
        return [self._file(name).with_suffix(ending) for ending in (".json", ".toml", ".parquet")]

    def _limits_of(self, name: str, recipe: SubsetRecipe) -> str | dict[str, float]:
        path = self._file(name).with_suffix(".toml")
        if recipe.limits != path.name:
            return recipe.limits
        limits = tomllib.loads(path.read_text(encoding="utf-8"))
        if not all(type(value) in (int, float) and math.isfinite(value) for value in limits.values()):
            raise ValueError("limits that are no numbers")
        return limits

    def _file(self, name: str) -> Path:
        subset_column(name)
        return self.folder / f"{name}.json"

    def save_recipe(self, name: str, recipe: SubsetRecipe, limits: Mapping[str, float] | None = None) -> None:
        """Define a subset by rule, replacing one of that name.

        If `limits` are given, a copy of them is kept, because the file that the recipe names may change later. Raises
        `UsageError` for a bad name, `DatasetNotWritable`.
        """
        path, own, selected = self.files(name)
        if limits is not None:
            recipe = replace(recipe, limits=own.name)
            write_whole(own, "".join(f"{key} = {value!r}\n" for key, value in limits.items()).encode())
        write_whole(path, _json({"kind": RECIPE, **asdict(recipe)}))
        for other in (selected, *([own] if limits is None else [])):
            other.unlink(missing_ok=True)

    def save_selection(self, name: str, rows: Sequence[SelectedRow], about: Mapping[str, Any]) -> None:
        """Define a subset by its rows, replacing one of that name. `about` (JSON values) tells how they were chosen.

        Raises `UsageError` for a bad name, `DatasetNotWritable`.
        """
        path, limits, selected = self.files(name)
        kept = sorted(rows, key=lambda row: row.segment_id)
        table = pa.Table.from_pylist([asdict(row) for row in kept], schema=SELECTED)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, write_page_checksum=True)
        write_whole(selected, sink.getvalue().to_pybytes())
        write_whole(path, _json({"kind": SELECTION, **about, "num_rows": len(kept)}))
        limits.unlink(missing_ok=True)

    def delete(self, name: str) -> None:
        """Delete a subset's definition; versions that have the subset keep it. Raises `DatasetNotFound`."""
        path = self._file(name)
        if not path.is_file():
            self.about(name)  # raises the error that lists the names
        for each in self.files(name):
            each.unlink(missing_ok=True)

    def selection(self, name: str) -> dict[str, SelectedRow]:
        """The rows of a selection by segment_id. Raises `DatasetNotFound`, `DatasetCorrupt`."""
        return {row["segment_id"]: SelectedRow(**row) for row in self._selected(name).to_pylist()}

    def _selected(self, name: str) -> pa.Table:
        path, num_rows = self._file(name).with_suffix(".parquet"), self.about(name).get("num_rows")
        try:
            if not path.is_file() or pq.read_metadata(file := local_copy(path)).num_rows != num_rows:
                raise ValueError(f"not the {num_rows} rows announced")
            table = pq.read_table(file, partitioning=None, page_checksum_verification=True)
            table = table.select(SELECTED.names).cast(SELECTED)
            if table["segment_id"].null_count or table["weight"].null_count:
                raise ValueError("rows without id or weight")
            if pc.count_distinct(table["segment_id"]).as_py() != num_rows:
                raise ValueError("an id that is there twice")
            return table
        except DAMAGED as error:
            raise DatasetCorrupt(
                f"{path}: is missing or damaged. Select it again (`aria-data select --name {name}`), or forget it: "
                f"`aria-data subset DATASET {name} --delete`."
            ) from error

    def apply(self, rows: Sequence[Row], passes: Passes, defining: str = "") -> list[Row]:
        """Give the rows with the columns of each subset, without any that they had before. Removed rows have none.

        See `evaluate`, which does the same for rows that are not Python values.
        """
        plain = [{column["name"]: row.get(column["name"]) for column in columns()} for row in rows]
        if not self.names():
            return plain
        present = [row for row in plain if row["removed_in"] is None]
        table = table_of(present)
        added = self.evaluate(table, lambda where: ids_where(table, where, must_repeat=True), passes, defining)
        for row, values in zip(present, rows_of(added.drop_columns(["segment_id"])), strict=True):
            row |= values
        return plain

    def evaluate(self, present: pa.Table, holds: Holds, passes: Passes, defining: str = "") -> pa.Table:
        """Give `segment_id` and the columns of each subset for the rows that are not removed.

        `present` has at least the columns `JUDGED`. `holds` gives the segment_ids for which a condition holds, `passes`
        those that pass limits. Raises `ConfigInvalid`, naming the subset, when a recipe cannot be evaluated (any more).
        `defining` names a subset that is being defined, for the message.
        """
        added = present.select(["segment_id"])
        for name in self.names():
            try:
                for column, values in self._columns(name, present, holds, passes).items():
                    added = added.append_column(column, values)
            except (UsageError, ConfigInvalid) as error:
                advice = "" if name == defining else " Define it again, or delete it."
                raise ConfigInvalid(f"subset {name}: {error}{advice}") from error
        return added

    def _columns(self, name: str, present: pa.Table, holds: Holds, passes: Passes) -> dict[str, pa.ChunkedArray]:
        definition = self.about(name)
        if definition["kind"] == SELECTION:
            selected = self._selected(name)
            places = pc.index_in(present["segment_id"], value_set=selected["segment_id"])
            splits = pa.array(definition.get("splits") or STRICTNESS, pa.string())
            places = pc.if_else(pc.is_in(present["split"], value_set=splits), places, pa.scalar(None, pa.int32()))
            weights = selected["weight"].take(places)
            return {subset_column(name): places.is_valid(), weight_column(name): weights}
        if not isinstance(definition["limits"], str):
            definition["limits"] = str(self._file(name).with_suffix(".toml"))
        return {subset_column(name): keeps(_recipe_of(definition), present, holds, passes)}


def keeps(recipe: SubsetRecipe, present: pa.Table, holds: Holds, passes: Passes) -> pa.ChunkedArray:
    """For each row, whether a recipe keeps it; see `Subsets.evaluate`. Raises `UsageError` for a bad condition."""
    is_kept = _is_usable(present)
    if recipe.where.strip():
        is_kept = pc.and_(is_kept, is_in(present["segment_id"], holds(recipe.where)))
    if recipe.limits:
        is_kept = pc.and_(is_kept, is_in(present["segment_id"], passes(recipe.limits)))
    if recipe.max_recordings_per_composition:
        left = present.select(["composition_id", "recording_id", "audio_score"]).filter(is_kept)
        kept = recordings_kept(rows_of(left), recipe.max_recordings_per_composition)
        is_kept = pc.and_(is_kept, is_in(present["recording_id"], kept))
    return is_kept


def _is_usable(present: pa.Table) -> pa.ChunkedArray:
    """For each row, whether it may be trained on: an exclusion list names the others."""
    return pc.fill_null(pc.not_equal(present["split"], EXCLUDED), True)


def _recipe_of(definition: Mapping[str, Any]) -> SubsetRecipe:
    return SubsetRecipe(**{one.name: definition[one.name] for one in fields(SubsetRecipe) if one.name in definition})


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _json(definition: Mapping[str, Any]) -> bytes:
    return json.dumps(definition, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"
