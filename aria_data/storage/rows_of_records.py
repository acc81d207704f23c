"""Turn records into plain rows that Arrow stores, and back."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from array import array
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa


@functools.cache
def arrow_type(python_type: Any) -> pa.DataType:
    """Give the Arrow type of a record's field: plain values, `X | None`, lists, arrays, `dict[str, X]`, dataclasses.

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
        return arrow_type(_present(python_type))
    raise TypeError(f"no Arrow type for {python_type}")


def _present(python_type: Any) -> Any:
    """`X` of `X | None`; any other type as it is."""
    if typing.get_origin(python_type) not in (types.UnionType, typing.Union):
        return python_type
    return next(argument for argument in typing.get_args(python_type) if argument is not type(None))


# An `array` is of floats, type code "d": many numbers as one value, 8 bytes each instead of 32.
_ARROW_TYPES = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    array: pa.list_(pa.float64()),
}


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
    if value is None:
        return None
    python_type = _present(python_type)
    origin, arguments = typing.get_origin(python_type), typing.get_args(python_type)
    if dataclasses.is_dataclass(python_type):
        return from_row(python_type, value)  # type: ignore[arg-type]
    if python_type is array:
        return array("d", value)
    if origin is list:
        return [_value(arguments[0], each) for each in value]
    if origin is dict:
        return dict(value)
    return value


def default_of(record_type: type, name: str) -> Any:
    """What a field has that was not recorded; None where it has no default."""
    field = next(each for each in dataclasses.fields(record_type) if each.name == name)
    return None if field.default is dataclasses.MISSING else field.default


def to_column(record_type: type, records: Sequence[Any]) -> pa.StructArray:
    """Give records as one column of structs, null for None. Arrays are copied whole, not number by number."""
    hints = _hints(record_type)
    columns = []
    for field in dataclasses.fields(record_type):
        values = [None if record is None else getattr(record, field.name) for record in records]
        columns.append(_column(hints[field.name], values))
    is_null = pa.array([record is None for record in records], pa.bool_())
    return pa.StructArray.from_arrays(columns, fields=list(arrow_type(record_type)), mask=is_null)


def _column(python_type: Any, values: Sequence[Any]) -> pa.Array:
    if _present(python_type) is not array:
        return pa.array([_plain(value) for value in values], arrow_type(python_type))
    joined, ends = array("d"), array("i", [0])
    for value in values:
        joined.extend(value or ())
        ends.append(len(joined))
    numbers = pa.Array.from_buffers(pa.float64(), len(joined), [None, pa.py_buffer(joined)])
    offsets = pa.Array.from_buffers(pa.int32(), len(ends), [None, pa.py_buffer(ends)])
    return pa.ListArray.from_arrays(offsets, numbers, mask=pa.array([value is None for value in values], pa.bool_()))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_row(value)
    return [_plain(each) for each in value] if isinstance(value, list) else value


def from_column(record_type: type, column: pa.StructArray) -> list[Any]:
    """Build the records of a column of structs, None for null: the inverse of `to_column`, with `from_row`'s rules."""
    hints = _hints(record_type)
    defaults = {each.name: each.default for each in dataclasses.fields(record_type)}
    names = [field.name for field in column.type if field.name in hints]
    values = [_values(hints[name], column.field(name), defaults[name]) for name in names]
    rows = zip(column.is_valid().to_pylist(), *values, strict=True)
    return [record_type(**dict(zip(names, row, strict=True))) if is_valid else None for is_valid, *row in rows]


def _values(python_type: Any, column: pa.Array, default: Any) -> list[Any]:
    if python_type is array:
        numbers, ends = column.values.to_numpy(zero_copy_only=False), column.offsets.to_pylist()
        spans = zip(ends[:-1], ends[1:], strict=True)
        return [array("d", numbers[start:end].tobytes()) for start, end in spans]
    values = column.to_pylist()
    if not _is_flat(python_type):
        values = [_value(python_type, value) for value in values]
    if column.null_count and default is not dataclasses.MISSING:
        values = [default if value is None else value for value in values]
    return values


@functools.cache
def _is_flat(python_type: Any) -> bool:
    """Whether Arrow gives the field's values as the record has them."""
    if typing.get_origin(python_type) in (types.UnionType, typing.Union):
        return all(_is_flat(each) for each in typing.get_args(python_type))
    return python_type in (str, int, float, bool, types.NoneType)
