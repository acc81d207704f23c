"""The manifest's columns: the fixed ones of `manifests/schema/`, and the subsets and weights that users add. No rows.

A subset is a column `in_<name>` (bool), a weight a column `weight_<name>` (float64). Versions from before a column was
added do not have it; in later versions that do not fill it, it is null.
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
BUCKET = "bucket"  # partition column, first hex digit of the id's sha256; hidden from users
DIGEST = "row_digest"  # hidden too: 128 bits of the hash of a row's content, to compare rows without reading them
SUBSET_PREFIX, WEIGHT_PREFIX = "in_", "weight_"
_ARROW = {"string": pa.string(), "int64": pa.int64(), "float64": pa.float64(), "bool": pa.bool_()}
_ADDED = {SUBSET_PREFIX: pa.bool_(), WEIGHT_PREFIX: pa.float64()}
_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")


@cache
def columns() -> list[dict[str, Any]]:
    """The fixed columns in order, each with name, type, unit, description and example."""
    text = resources.files("manifests").joinpath(f"schema/manifest-{SCHEMA_VERSION}.json").read_text(encoding="utf-8")
    return json.loads(text)["columns"]


@cache
def _fixed_names() -> frozenset[str]:
    return frozenset(column["name"] for column in columns())


def arrow_schema(added: Iterable[str] = ()) -> pa.Schema:
    """The Arrow schema of rows: the fixed columns, then the `added` subsets and weights."""
    fixed = [pa.field(column["name"], _ARROW[column["type"]]) for column in columns()]
    return pa.schema([*fixed, *(pa.field(name, _ADDED[_prefix(name)]) for name in added)])


def subset_column(name: str) -> str:
    """The column of a user's subset, `in_<name>`. Raises `UsageError` for a bad name, or one of a fixed column."""
    return _column(SUBSET_PREFIX, name)


def weight_column(name: str) -> str:
    """The column of a user's weight, `weight_<name>`. Raises `UsageError` for a bad name, or one of a fixed column."""
    return _column(WEIGHT_PREFIX, name)


def is_subset(column: str) -> bool:
    """Whether a column is a user's subset; those of every manifest, such as `in_pruned`, are not."""
    return is_added(column) and column.startswith(SUBSET_PREFIX)


def is_weight(column: str) -> bool:
    """Whether a column is a user's weight."""
    return is_added(column) and column.startswith(WEIGHT_PREFIX)


def is_added(column: str) -> bool:
    """Whether a column is a user's subset or weight."""
    prefix = _prefix(column)
    return bool(prefix and _NAME.fullmatch(column.removeprefix(prefix))) and column not in _fixed_names()


def users_columns(stored: pa.Schema) -> list[str]:
    """The subsets and weights of a stored table. A column of such a name and another type is another program's."""
    return [field.name for field in stored if is_added(field.name) and field.type == _ADDED[_prefix(field.name)]]


def added_columns(names: Iterable[str]) -> list[str]:
    """The users' subsets and weights among `names`, sorted. Raises `UsageError` for a bad name with such a prefix."""
    prefixed = [name for name in names if _prefix(name) and name not in _fixed_names()]
    return sorted(_column(_prefix(name), name.removeprefix(_prefix(name))) for name in prefixed)


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
