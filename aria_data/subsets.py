"""Named subsets of a dataset: what somebody defined once, kept beside the manifest, a column in every later version.

    DATASET/subsets/<name>.json       what it is: a recipe, or a selection with where it came from
    DATASET/subsets/<name>.parquet    of a selection: segment_id, weight, inclusion_prob, reason

A *recipe* is judged again for each version: a condition, limits, so many recordings of each composition. A *selection*
was made once, of the rows there were (`aria_data.subset`); rows that came later are not in it. Either gives the column
`in_<name>`, a selection with weights also `weight_<name>`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from aria_data.caps import recordings_kept
from aria_data.errors import ConfigInvalid, DatasetCorrupt, DatasetNotFound, UsageError
from aria_data.files import printable, write_whole
from aria_data.manifest import Row, arrow_schema, columns, subset_column, weight_column
from aria_data.manifest_reading import ids_where
from aria_data.splits import EXCLUDED

RECIPE, SELECTION = "recipe", "selection"
SELECTED = pa.schema(
    [
        pa.field("segment_id", pa.string(), nullable=False),
        pa.field("weight", pa.float64(), nullable=False),
        pa.field("inclusion_prob", pa.float64()),
        pa.field("reason", pa.string()),
    ]
)

Passes = Callable[[str], Collection[str]]  # limits' name or path -> the segment_ids that pass them


@dataclass(frozen=True)
class SubsetRecipe:
    """A subset by rule. Everything that is said must hold; what was removed or excluded is in no subset."""

    where: str = ""  # an SQL condition over the manifest's columns, other subsets' columns not among them
    limits: str = ""  # a preset (`prune`) or the path of a TOML file
    max_recordings_per_composition: int = 0  # of known compositions, the surest first; 0: all
    note: str = ""

    def __post_init__(self) -> None:
        if self.max_recordings_per_composition < 0:
            raise ValueError("max_recordings_per_composition is 0 (all) or more")
        if not (self.where.strip() or self.limits or self.max_recordings_per_composition):
            raise ValueError("a recipe says where, limits or max_recordings_per_composition")


@dataclass(frozen=True, slots=True)
class SelectedRow:
    """One row that a selection keeps."""

    segment_id: str
    weight: float = 1.0  # how often it counts in training, 1 in the mean
    inclusion_prob: float | None = None
    reason: str = ""


class Subsets:
    """The named subsets of the dataset at `root`."""

    def __init__(self, root: Path):
        self.folder = root / "subsets"

    def names(self) -> list[str]:
        """All names, in order."""
        return sorted(path.stem for path in self.folder.glob("*.json"))

    def about(self, name: str) -> dict[str, Any]:
        """What a subset is: `kind` and what it was made of. Raises `DatasetNotFound`, `DatasetCorrupt`."""
        path = self._file(name)
        try:
            said = json.loads(path.read_bytes())
            if said["kind"] not in (RECIPE, SELECTION):
                raise ValueError(said["kind"])
            return said
        except FileNotFoundError as error:
            known = ", ".join(self.names()) or "none"
            raise DatasetNotFound(f"{printable(name)}: no such subset here. Known: {known}.") from error
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise DatasetCorrupt(f"{path}: is damaged. Delete it and define the subset again.") from error

    def _file(self, name: str) -> Path:
        subset_column(name)
        return self.folder / f"{name}.json"

    def save_recipe(self, name: str, recipe: SubsetRecipe) -> None:
        """Define a subset by rule, in the place of one of that name. Raises `UsageError` for a bad name."""
        write_whole(self._file(name), _json({"kind": RECIPE, **asdict(recipe)}))
        (self.folder / f"{name}.parquet").unlink(missing_ok=True)

    def save_selection(self, name: str, rows: Sequence[SelectedRow], about: Mapping[str, Any]) -> None:
        """Define a subset by its rows; `about` says how it came about."""
        path = self._file(name)
        kept = sorted(rows, key=lambda row: row.segment_id)
        table = pa.Table.from_pylist([asdict(row) for row in kept], schema=SELECTED)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        write_whole(path.with_suffix(".parquet"), sink.getvalue().to_pybytes())
        write_whole(path, _json({"kind": SELECTION, **about, "num_rows": len(kept)}))

    def delete(self, name: str) -> None:
        """Forget a subset; versions that have it keep it. Raises `DatasetNotFound`."""
        path = self._file(name)
        if not path.exists():
            self.about(name)  # says which there are
        path.unlink()
        path.with_suffix(".parquet").unlink(missing_ok=True)

    def selection(self, name: str) -> dict[str, SelectedRow]:
        """The rows of a selection by segment_id. Raises `DatasetCorrupt`."""
        path = self._file(name).with_suffix(".parquet")
        try:
            rows = pq.read_table(path, schema=SELECTED).to_pylist()
        except (OSError, ValueError, pa.ArrowException) as error:
            raise DatasetCorrupt(f"{path}: is missing or damaged. Select again, or delete the subset.") from error
        return {row["segment_id"]: SelectedRow(**row) for row in rows}

    def apply(self, rows: Sequence[Row], passes: Passes) -> list[Row]:
        """Give the rows with a column for each subset, in the place of what they had. Removed rows have none.

        Raises `ConfigInvalid`, naming the subset, when a recipe cannot be followed any more.
        """
        names = self.names()
        plain = [_without_subsets(row) for row in rows]
        present = [row for row in plain if row["removed_in"] is None]
        for name in names:
            try:
                self._add(name, present, passes)
            except (UsageError, ConfigInvalid) as error:
                raise ConfigInvalid(f"subset {name}: {error} Define it again, or delete it.") from error
        return plain

    def _add(self, name: str, present: list[Row], passes: Passes) -> None:
        said = self.about(name)
        if said["kind"] == SELECTION:
            chosen = self.selection(name)
            for row in present:
                mine = chosen.get(row["segment_id"])
                row[subset_column(name)] = mine is not None
                row[weight_column(name)] = None if mine is None else mine.weight
            return
        recipe = SubsetRecipe(**{key: said[key] for key in SubsetRecipe.__dataclass_fields__ if key in said})
        kept = rows_of_recipe(recipe, present, passes)
        for row in present:
            row[subset_column(name)] = row["segment_id"] in kept


def rows_of_recipe(recipe: SubsetRecipe, rows: Sequence[Row], passes: Passes) -> set[str]:
    """Give the segment_ids that a recipe keeps of these rows."""
    chosen = {row["segment_id"] for row in rows if row["split"] != EXCLUDED}
    if recipe.where.strip():
        table = pa.Table.from_pylist(list(rows), schema=arrow_schema())
        chosen &= set(ids_where(table, recipe.where).to_pylist())
    if recipe.limits:
        chosen &= set(passes(recipe.limits))
    left = [row for row in rows if row["segment_id"] in chosen]
    kept = recordings_kept(left, recipe.max_recordings_per_composition)
    return {row["segment_id"] for row in left if row["recording_id"] in kept}


def _without_subsets(row: Row) -> Row:
    return {column["name"]: row.get(column["name"]) for column in columns()}


def _json(said: Mapping[str, Any]) -> bytes:
    return json.dumps(said, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"
