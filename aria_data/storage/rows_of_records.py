"""Turn records into plain rows that Arrow stores, and back."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from typing import Any

import pyarrow as pa


def arrow_type(python_type: Any) -> pa.DataType:
    """Give the Arrow type of a record's field: plain values, `X | None`, lists, `dict[str, X]` and dataclasses.

    Raises `TypeError` for any other type.
    """
    if python_type in _ARROW_TYPES:
        return _ARROW_TYPES[python_type]
    if dataclasses.is_dataclass(python_type):
        hints = typing.get_type_hints(python_type)
        return pa.struct([(field.name, arrow_type(hints[field.name])) for field in dataclasses.fields(python_type)])
    origin, arguments = typing.get_origin(python_type), typing.get_args(python_type)
    if origin is list:
        return pa.list_(arrow_type(arguments[0]))
    if origin is dict:
        return pa.map_(pa.string(), arrow_type(arguments[1]))
    if origin in (types.UnionType, typing.Union):
        return arrow_type(next(argument for argument in arguments if argument is not type(None)))
    raise TypeError(f"no Arrow type for {python_type}")


_ARROW_TYPES = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


def to_row(record: Any) -> dict[str, Any] | None:
    """Give a record as plain nested values; None for None."""
    return None if record is None else dataclasses.asdict(record)


@functools.cache
def _hints(record_type: type) -> dict[str, Any]:
    """A record's types, cached: looking them up takes ten times as long as reading a row."""
    return typing.get_type_hints(record_type)


def from_row(record_type: type, row: Mapping[str, Any]) -> Any:
    """Build a record from plain nested values, the inverse of `to_row`, also after they went through Arrow.

    Values of unknown fields are ignored; a null of a field that has a default becomes the default.
    """
    hints = _hints(record_type)
    defaults = {each.name: each.default for each in dataclasses.fields(record_type)}
    values = {name: _value(hints[name], value) for name, value in row.items() if name in hints}
    for name, value in values.items():  # a row written before the field existed has null
        if value is None and defaults[name] is not dataclasses.MISSING:
            values[name] = defaults[name]
    return record_type(**values)


def _value(python_type: Any, value: Any) -> Any:
    origin, arguments = typing.get_origin(python_type), typing.get_args(python_type)
    if value is None:
        return None
    if dataclasses.is_dataclass(python_type):
        return from_row(python_type, value)  # type: ignore[arg-type]
    if origin is list:
        return [_value(arguments[0], each) for each in value]
    if origin is dict:
        return dict(value)
    return value
