"""The manifest's columns: the fixed ones of `manifests/schema/`, and the subsets and weights that a user adds. No rows.

A subset is a column `in_<name>` (bool), a weight a column `weight_<name>` (float64). They belong to versions: one from
before a column was added has none of it, a later one that says nothing of it has it empty.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import cache
from importlib import resources
from typing import Any

import pyarrow as pa

from aria_data.errors import UsageError
from aria_data.storage import printable

SCHEMA_VERSION = 1
BUCKET = "bucket"  # partition column, first hex digit of the id's sha256; not part of a row as people see it
DIGEST = "row_digest"  # hidden as well: 128 bits of the row's content, for comparing without reading the row
SUBSET_PREFIX, WEIGHT_PREFIX = "in_", "weight_"
_ARROW = {"string": pa.string(), "int64": pa.int64(), "float64": pa.float64(), "bool": pa.bool_()}
_ADDED = {SUBSET_PREFIX: pa.bool_(), WEIGHT_PREFIX: pa.float64()}
_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")


@cache
def columns() -> list[dict[str, Any]]:
    """The schema's columns with type, unit, description and example, in order."""
    text = resources.files("manifests").joinpath(f"schema/manifest-{SCHEMA_VERSION}.json").read_text(encoding="utf-8")
    return json.loads(text)["columns"]


@cache
def _fixed_names() -> frozenset[str]:
    return frozenset(column["name"] for column in columns())


def arrow_schema(added: Iterable[str] = ()) -> pa.Schema:
    """The Arrow schema of rows: the columns of `manifests/schema/`, after them the `added` subsets and weights."""
    fixed = [pa.field(column["name"], _ARROW[column["type"]]) for column in columns()]
    return pa.schema([*fixed, *(pa.field(name, _ADDED[_prefix(name)]) for name in added)])


def subset_column(name: str) -> str:
    """The column of a subset of one's own. Raises `UsageError` for a name that a column cannot have."""
    return _column(SUBSET_PREFIX, name)


def weight_column(name: str) -> str:
    """The column of a weight of one's own. Raises `UsageError` for a name that a column cannot have."""
    return _column(WEIGHT_PREFIX, name)


def is_subset(column: str) -> bool:
    """Whether a column says of each row if it is in a subset that a user made."""
    return is_added(column) and column.startswith(SUBSET_PREFIX)


def is_weight(column: str) -> bool:
    """Whether a column holds weights that a user made."""
    return is_added(column) and column.startswith(WEIGHT_PREFIX)


def is_added(column: str) -> bool:
    """Whether a column is a user's subset or weight."""
    prefix = _prefix(column)
    return bool(prefix and _NAME.fullmatch(column.removeprefix(prefix))) and column not in _fixed_names()


def added_columns(names: Iterable[str]) -> list[str]:
    """The subsets and weights among `names`, sorted. Raises `UsageError` for one whose name a column cannot have."""
    meant = [name for name in names if _prefix(name) and name not in _fixed_names()]
    return sorted(_column(_prefix(name), name.removeprefix(_prefix(name))) for name in meant)


def _prefix(column: str) -> str:
    return next((prefix for prefix in _ADDED if column.startswith(prefix)), "")


def _column(prefix: str, name: str) -> str:
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"'{printable(prefix + name)}' cannot be a column: after {prefix!r} come a small letter and at most 40 "
            "small letters, digits and underscores."
        )
    if prefix + name in _fixed_names():
        raise UsageError(f"'{prefix}{name}' is a column of every manifest. Choose another name.")
    return prefix + name
