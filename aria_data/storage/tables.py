"""The stage tables of a dataset folder: what is already done, appended atomically, never changed.

A stage table is a cache keyed by content: a row's `key` hashes the stage's name, version and configuration, and the
values it worked on. An item is *done* when a row with the expected key exists. Rows with other keys (of an older
configuration) stay and are ignored, so nothing is lost when a setting is tried and taken back. A `RecordTable` is the
other kind: it is replaced whole.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
from pyarrow.fs import LocalFileSystem

from aria_data.errors import AriaDataError, DatasetCorrupt, UsageError
from aria_data.storage.files import not_writable, printable, require_space

DONE, REJECTED, FAILED = "done", "rejected", "failed"

# By default Delta deletes log entries after 30 days; released versions must stay readable.
KEEP_HISTORY = {"delta.enableExpiredLogCleanup": "false", "delta.logRetentionDuration": "interval 36500 days"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """A stage's result for one item: a record, or a rejection or failure with its reason and the measured number."""

    item_id: str
    key: str  # from `work_key`
    status: str  # DONE, REJECTED or FAILED
    reason: str = ""  # why it was rejected or failed
    measured: float | None = None  # the number that a rejection compared with a limit
    detail: str = ""
    record: Any = None


def work_key(stage: str, version: int, config: Mapping[str, Any], inputs: Mapping[str, Any]) -> str:
    """Hash everything that determines the result of a piece of work: 32 hex digits."""
    text = json.dumps([stage, version, config, inputs], sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class StageTable:
    """One stage's outcomes, in a Delta table at `root/tables/<name>`. `record_type`, a dataclass, gives the columns."""

    def __init__(self, root: Path, name: str, record_type: type):
        self.name = name
        self.path = root / "tables" / name
        self.record_type = record_type
        self.schema = pa.schema([*_OUTCOME_FIELDS, pa.field("record", arrow_type(record_type))])

    def lookup(self, keys: Sequence[str]) -> dict[str, Outcome]:
        """Give the outcomes that exist for these keys, by key. Raises `DatasetCorrupt` for an unreadable table."""
        table = self._read(pads.field("key").isin(pa.array(sorted(set(keys)), pa.string()))) if keys else None
        return {row["key"]: self._outcome(row) for row in table.to_pylist()} if table else {}

    def all(self) -> list[Outcome]:
        """Read every outcome ever recorded, in no particular order. Raises `DatasetCorrupt`."""
        table = self._read(None)
        return [self._outcome(row) for row in table.to_pylist()] if table else []

    def columns(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield `item_id` and these fields of the record of every outcome that has one, in the order of `all`.

        For tables whose outcomes are too many to be in memory at once. Raises `DatasetCorrupt`.
        """
        dataset = open_delta(self.path)
        if dataset is None:
            return
        wanted = {"item_id": pads.field("item_id")} | {name: pads.field("record", name) for name in names}
        try:
            files = data_files(self.path, dataset)
            yield from files.to_batches(columns=wanted, filter=pads.field("record").is_valid(), **lean())
        except (OSError, ValueError, pa.ArrowException) as error:
            raise table_error(self.path, error) from error

    def append(self, outcomes: Iterable[Outcome]) -> None:
        """Add outcomes in one atomic commit. Raises `DatasetNotWritable` (disk full, no permission)."""
        from deltalake import write_deltalake

        rows = [{**_plain(outcome), "record": to_row(outcome.record)} for outcome in outcomes]
        if not rows:
            return
        table = pa.Table.from_pylist(rows, schema=self.schema)
        try:
            require_space(self.path, table.nbytes)
            write_deltalake(
                address_of(self.path), table, mode="append", schema_mode="merge", configuration=KEEP_HISTORY
            )
        except Exception as error:  # deltalake raises its own types and OSError; either means that nothing was written
            raise table_error(self.path, error, writing=True) from error

    def _read(self, filter_: pads.Expression | None) -> pa.Table | None:
        dataset = open_delta(self.path)
        if dataset is None:
            return None
        try:
            return data_files(self.path, dataset).to_table(filter=filter_)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise table_error(self.path, error) from error

    def _outcome(self, row: dict[str, Any]) -> Outcome:
        record = row.pop("record")
        return Outcome(**row, record=None if record is None else from_row(self.record_type, record))


_OUTCOME_FIELDS = [
    pa.field("item_id", pa.string(), nullable=False),
    pa.field("key", pa.string(), nullable=False),
    pa.field("status", pa.string(), nullable=False),
    pa.field("reason", pa.string()),
    pa.field("measured", pa.float64()),
    pa.field("detail", pa.string()),
]


def _plain(outcome: Outcome) -> dict[str, Any]:
    return {name: getattr(outcome, name) for name in ("item_id", "key", "status", "reason", "measured", "detail")}


def open_delta(path: Path, version: int | None = None):
    """Open a Delta table at a version, by default the newest; None where there is none. Raises `DatasetCorrupt`."""
    from deltalake import DeltaTable

    log = path / "_delta_log"
    try:
        if not log.is_dir() or not any(log.glob("*.json")):
            return None
        return DeltaTable(address_of(path), version=version)
    except Exception as error:  # deltalake raises its own types, ValueError and OSError for a broken log
        raise table_error(path, error) from error


def data_files(
    path: Path, table: Any, newer: pa.Schema | None = None, partition: Mapping[str, str] | None = None
) -> pads.Dataset:
    """Open a Delta table's data files with Arrow's own reader: all, or those of one `partition` (column and value).

    Columns that only the schema `newer` has are null.

    deltalake's reader gives Arrow file objects made in Python; a thread that still holds one when the interpreter ends
    aborts the process ("terminate called without an active exception").
    """
    schema = pa.schema(table.schema().to_arrow())
    for column in newer or ():
        schema = schema if column.name in schema.names else schema.append(column)
    actions = pa.table(table.get_add_actions(flatten=True))
    for column, value in (partition or {}).items():
        actions = actions.filter(pc.equal(actions[f"partition.{column}"], value))
    names = actions["path"].to_pylist()
    if not names:
        return pads.dataset(schema.empty_table())
    paths = [str(path / unquote(name)) for name in names]
    return pads.dataset(paths, schema=schema, format="parquet", filesystem=LocalFileSystem())


def lean() -> dict[str, Any]:
    """Options of a scan that reads little ahead: 80 MB less than Arrow's own for 200,000 rows, and not slower."""
    options = pads.ParquetFragmentScanOptions(use_buffered_stream=True, pre_buffer=False)
    return {"fragment_scan_options": options, "fragment_readahead": 1, "batch_readahead": 1, "batch_size": 8192}


def address_of(path: Path) -> str:
    """Give the path as deltalake takes it. Raises `UsageError` for one that it cannot open.

    deltalake reads paths as addresses: it decodes what looks like an escaped character, and some characters make it
    panic.
    """
    text = str(path)
    found = re.search(r"[\\[\]^|\x00-\x1f\ud800-\udfff]|%[0-9A-Fa-f]{2}", text)
    if found:
        raise UsageError(
            f"{printable(text)}: a dataset folder's path may not hold {printable(found[0])!r}. Choose another --out."
        )
    return text


def table_error(path: Path, error: BaseException, writing: bool = False) -> AriaDataError:
    """Make an error that states in one line what deltalake's or Arrow's error means: damaged, or not writable.

    An `AriaDataError` is given back as it is.
    """
    if isinstance(error, AriaDataError):
        return error
    if writing and not isinstance(error, ValueError | TypeError | pa.ArrowException):
        return not_writable(path, error)
    cause = " ".join(str(error).split())[:160]
    is_cache = path.parent.name == "tables" and path.name != "removals"
    instead = ", or delete this table's folder: what it held is computed again" if is_cache else ""
    return DatasetCorrupt(f"{path}: this table is damaged ({cause}). Restore the folder from a backup{instead}.")


def remove_orphans(path: Path) -> int:
    """Delete data files that no commit of the table names, which a killed writer left. Returns how many.

    Call it only while holding the dataset's lock. Files named in any commit stay, so every version stays readable.
    Raises `DatasetCorrupt`, and deletes nothing, when a commit is missing or cannot be read.
    """
    log = path / "_delta_log"
    if not log.is_dir():
        return 0
    try:
        named = _files_named_in(sorted(log.glob("*.json")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise table_error(path, error) from error
    orphans = [file for file in path.rglob("*.parquet") if log not in file.parents and file.name not in named]
    for file in orphans:
        file.unlink()
    return len(orphans)


def _files_named_in(commits: Sequence[Path]) -> set[str]:
    named = set()
    for number, commit in enumerate(commits):
        if int(commit.stem) != number:
            raise ValueError(f"commit {number} is missing")
        entries = [json.loads(line) for line in commit.read_text().splitlines()]
        if not any("commitInfo" in entry for entry in entries):
            raise ValueError(f"commit {number} is damaged")
        named |= {Path(entry["add"]["path"]).name for entry in entries if "add" in entry}
    return named


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


class RecordTable:
    """A Delta table at `root/tables/<name>` that is replaced whole, and only when its content changed."""

    def __init__(self, root: Path, name: str, record_type: type):
        self.path = root / "tables" / name
        self.record_type = record_type
        struct = arrow_type(record_type)
        self.schema = pa.schema([struct.field(index) for index in range(struct.num_fields)])

    def read(self) -> list[Any]:
        """Read all records, in the order they were written. Raises `DatasetCorrupt`."""
        dataset = open_delta(self.path)
        if dataset is None:
            return []
        try:
            table = data_files(self.path, dataset).to_table()
            return [from_row(self.record_type, row) for row in table.to_pylist()]
        except (OSError, ValueError, pa.ArrowException) as error:
            raise table_error(self.path, error) from error

    def replace(self, records: Sequence[Any]) -> None:
        """Make the table hold exactly these records, in one atomic commit. Raises `DatasetNotWritable`."""
        from deltalake import write_deltalake

        if self.read() == list(records):
            return
        table = pa.Table.from_pylist([to_row(record) for record in records], schema=self.schema)
        try:
            require_space(self.path, table.nbytes)
            write_deltalake(address_of(self.path), table, mode="overwrite", configuration=KEEP_HISTORY)
        except Exception as error:  # deltalake raises its own types and OSError; either means that nothing was written
            raise table_error(self.path, error, writing=True) from error
