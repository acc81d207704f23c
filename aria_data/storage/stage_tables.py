"""The stage tables of a dataset folder: what is already done, appended atomically, never changed.

A stage table is a cache keyed by content: a row's `key` hashes the stage's name, version and configuration, and the
values it worked on. An item is *done* when a row with the expected key exists. Rows with other keys (of an older
configuration) stay and are ignored, so nothing is lost when a setting is tried and taken back. A `RecordTable` is the
other kind: it is replaced whole.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from aria_data.storage.compaction import MAX_SMALL_FILES, compact
from aria_data.storage.delta_tables import KEEP_HISTORY, data_files, lean, open_delta, table_error, write_delta
from aria_data.storage.files import require_space
from aria_data.storage.key_index import KeyIndex
from aria_data.storage.rows_of_records import arrow_type, default_of, from_column, from_row, to_column, to_row
from aria_data.storage.scans import scanned

DONE, REJECTED, FAILED = "done", "rejected", "failed"


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
    reader: int = 0  # of a failure: which version of the code that reads audio met it; 0 before versions were noted


class StageTable:
    """One stage's outcomes, in a Delta table at `root/tables/<name>`. `record_type`, a dataclass, gives the columns."""

    def __init__(self, root: Path, name: str, record_type: type):
        self.name = name
        self.path = root / "tables" / name
        self.record_type = record_type
        self._delta: Any = None  # kept from append to append: opening it costs as much as writing
        self._num_appends = 0
        self.schema = pa.schema([*_OUTCOME_FIELDS, pa.field("record", arrow_type(record_type))])

    def lookup(self, keys: Collection[str], with_records: bool = True) -> dict[str, Outcome]:
        """Give the outcomes that exist for these keys, by key. Raises `DatasetCorrupt` for an unreadable table.

        Without records only the short columns are read: whether an item is done does not cost its result.
        """
        names = None if with_records else [field.name for field in _OUTCOME_FIELDS]
        return self._lookup(keys, names, None)

    def records_of(self, keys: Mapping[str, str]) -> dict[str, Any]:
        """Give the records for these keys, by item_id; `keys` are by item_id, too. Raises `DatasetCorrupt`.

        Only files that hold one of these items by the table's statistics are read, so a shard of items that were
        written together costs what the shard holds.
        """
        span = (min(keys), max(keys)) if keys else None
        found = self._lookup(keys.values(), None, span)
        return {outcome.item_id: outcome.record for outcome in found.values()}

    def _lookup(
        self, keys: Collection[str], names: list[str] | None, span: tuple[str, str] | None
    ) -> dict[str, Outcome]:
        if not keys:
            return {}
        table = self._read(pads.field("key").isin(pa.array(sorted(set(keys)), pa.string())), names, span)
        return {outcome.key: outcome for outcome in sorted(self._outcomes(table), key=_standing)}

    def files(self) -> pads.Dataset | None:
        """The table's data files as they are now; None where there is no table. Raises `DatasetCorrupt`."""
        dataset = open_delta(self.path)
        return None if dataset is None else data_files(self.path, dataset, pa.schema(_OUTCOME_FIELDS))

    def outcomes_in(self, files: pads.Dataset, keys: pa.Array, with_records: bool = True) -> dict[str, Outcome]:
        """The outcomes with these keys in some of the table's files, by key. Raises `DatasetCorrupt`."""
        names = None if with_records else [field.name for field in _OUTCOME_FIELDS]
        try:
            table = files.to_table(columns=names, filter=pads.field("key").isin(keys))
        except (OSError, ValueError, pa.ArrowException) as error:
            raise table_error(self.path, error) from error
        return {outcome.key: outcome for outcome in sorted(self._outcomes(table), key=_standing)}

    def all(self) -> list[Outcome]:
        """Read every outcome ever recorded, in no particular order. Raises `DatasetCorrupt`."""
        return list(self._outcomes(self._read(None)))

    def of_recordings(self, recording_ids: Collection[str]) -> list[Outcome]:
        """Read the outcomes whose records are of these recordings, in no particular order. Raises `DatasetCorrupt`."""
        wanted = pa.array(sorted(recording_ids), pa.string())
        table = self._read(pads.field("record", "recording_id").isin(wanted)) if recording_ids else None
        return list(self._outcomes(table))

    def of_items(self, item_ids: Collection[str]) -> dict[str, Outcome]:
        """Give an outcome of each of these items, whatever its key, by item_id: a result rather than a rejection,
        where there are several. Raises `DatasetCorrupt`."""
        wanted = pa.array(sorted(item_ids), pa.string())
        table = self._read(pads.field("item_id").isin(wanted)) if item_ids else None
        found = sorted(self._outcomes(table), key=lambda one: (one.status == DONE, one.key))
        return {outcome.item_id: outcome for outcome in found}

    def last_count(self) -> int:
        """The highest `measured` of all outcomes: their number, in tables that count what they record; 0 for none."""
        dataset = open_delta(self.path)
        if dataset is None:
            return 0
        try:
            counts = data_files(self.path, dataset).to_table(columns=["measured"])["measured"]
        except (OSError, ValueError, pa.ArrowException) as error:
            raise table_error(self.path, error) from error
        return int(pc.max(counts).as_py() or 0)

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

    def fields(self, names: Sequence[str], counted: bool = False, keys: KeyIndex | None = None) -> pa.RecordBatchReader:
        """Give `item_id`, `outcome_key` and these fields of the record of every outcome that has one, in batches.

        With `counted` also `measured` under that name, in tables that count what they record (earlier code did not: 0).
        Of outcomes without any of the `keys` some are left out, where that is faster. A field that was not recorded has
        its default. Raises `DatasetCorrupt`.
        """
        struct = arrow_type(self.record_type)
        count = [pa.field("counted", pa.float64())] if counted else []
        schema = pa.schema([*_KEYED, *(struct.field(name) for name in names), *count])
        return pa.RecordBatchReader.from_batches(schema, self._fields(names, counted, schema, keys))

    def _fields(
        self, names: Sequence[str], counted: bool, schema: pa.Schema, keys: KeyIndex | None
    ) -> Iterator[pa.RecordBatch]:
        dataset = open_delta(self.path)
        if dataset is None:
            return
        wanted = {"item_id": pads.field("item_id"), "outcome_key": pads.field("key")}
        recorded = self._recorded(dataset)
        wanted |= {f"record_{name}": pads.field("record", name) for name in names if name in recorded}
        wanted |= {"counted": pads.field("measured")} if counted else {}
        defaults = [default_of(self.record_type, name) for name in names] + ([0.0] if counted else [])
        try:
            for batch in scanned(data_files(self.path, dataset), wanted, keys):
                there = dict(zip(batch.schema.names, batch.columns, strict=True))
                columns = [
                    there.get(f"record_{field.name}", there.get(field.name, pa.nulls(len(batch), field.type)))
                    for field in list(schema)[2:]
                ]
                values = [
                    column if default is None or not column.null_count else pc.fill_null(column, default)
                    for column, default in zip(columns, defaults, strict=True)
                ]
                yield pa.RecordBatch.from_arrays([*batch.columns[:2], *values], schema=schema)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise table_error(self.path, error) from error

    def _recorded(self, dataset: Any) -> set[str]:
        """The fields of records that an opened table has; earlier code recorded fewer."""
        struct = pa.schema(dataset.schema().to_arrow()).field("record").type
        return {struct.field(place).name for place in range(struct.num_fields)}

    def remarks(self) -> pa.RecordBatchReader:
        """Give `item_id`, `outcome_key` and `detail` of every outcome that has a record and a detail, in batches."""
        schema = pa.schema([*_KEYED, _OUTCOME_FIELDS[5]])
        dataset = open_delta(self.path)
        if dataset is None:
            return pa.RecordBatchReader.from_batches(schema, iter(()))
        wanted = {"item_id": pads.field("item_id"), "outcome_key": pads.field("key"), "detail": pads.field("detail")}
        has_both = pads.field("record").is_valid() & (pads.field("detail") != "")
        return data_files(self.path, dataset).scanner(columns=wanted, filter=has_both, **lean()).to_reader()

    def append(self, outcomes: Iterable[Outcome]) -> None:
        """Add outcomes in one atomic commit. Raises `DatasetNotWritable` (disk full, no permission).

        Small files are joined whenever there are many (`compaction`).
        """
        given = list(outcomes)
        if not given:
            return
        columns = [pa.array([getattr(one, field.name) for one in given], field.type) for field in _OUTCOME_FIELDS]
        columns.append(to_column(self.record_type, [one.record for one in given]))
        self.append_rows(pa.Table.from_arrays(columns, schema=self.schema))

    def append_rows(self, table: pa.Table) -> None:
        """As `append`, of outcomes as rows of `schema`."""
        try:
            require_space(self.path, table.nbytes)
            self._delta = self._delta or open_delta(self.path)
            if self._delta is None:
                write_delta(self.path, None, table, mode="append", configuration=KEEP_HISTORY)
            else:
                write_delta(self.path, self._delta, table, mode="append", schema_mode="merge")
        except Exception as error:  # deltalake raises its own types and OSError; either means that nothing was written
            self._delta = None
            raise table_error(self.path, error, writing=True) from error
        self._num_appends += 1
        if self._delta is not None and self._num_appends % (MAX_SMALL_FILES // 4) == 0:
            compact(self.path, self._delta, MAX_SMALL_FILES)

    def _read(
        self,
        filter_: pads.Expression | None,
        names: list[str] | None = None,
        span: tuple[str, str] | None = None,
    ) -> pa.Table | None:
        dataset = open_delta(self.path)
        if dataset is None:
            return None
        try:
            files = data_files(self.path, dataset, pa.schema(_OUTCOME_FIELDS), item_ids=span)
            return files.to_table(columns=names, filter=filter_)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise table_error(self.path, error) from error

    def _outcomes(self, table: pa.Table | None) -> Iterator[Outcome]:
        """Yield the outcomes of a table's rows, a batch at a time; without its record where the table has none."""
        for batch in table.to_batches() if table else ():
            plain = [batch.column(field.name).to_pylist() for field in _OUTCOME_FIELDS]
            has_records = "record" in batch.schema.names
            records = from_column(self.record_type, batch.column("record")) if has_records else [None] * len(batch)
            readers = [reader or 0 for reader in plain.pop()]
            yield from map(Outcome, *plain, records, readers)


def _standing(outcome: Outcome) -> tuple[bool, int]:
    """The order of outcomes with one key, the one that counts last: what was read goes before a failure."""
    return outcome.status != FAILED, outcome.reader


_OUTCOME_FIELDS = [
    pa.field("item_id", pa.string(), nullable=False),
    pa.field("key", pa.string(), nullable=False),
    pa.field("status", pa.string(), nullable=False),
    pa.field("reason", pa.string()),
    pa.field("measured", pa.float64()),
    pa.field("detail", pa.string()),
    pa.field("reader", pa.int32()),  # the last: `Outcome` has the record before it
]


_KEYED = [_OUTCOME_FIELDS[0], _OUTCOME_FIELDS[1].with_name("outcome_key")]


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

    def reader(self) -> pa.RecordBatchReader:
        """Read all records as rows, a batch at a time. Raises `DatasetCorrupt`."""
        dataset = open_delta(self.path)
        if dataset is None:
            return pa.RecordBatchReader.from_batches(self.schema, iter(()))
        try:
            return data_files(self.path, dataset, self.schema).scanner(columns=self.schema.names, **lean()).to_reader()
        except (OSError, ValueError, pa.ArrowException) as error:
            raise table_error(self.path, error) from error

    def replace(self, records: Sequence[Any]) -> None:
        """Make the table hold exactly these records, in one atomic commit. Raises `DatasetNotWritable`."""
        self.replace_rows(pa.Table.from_pylist([to_row(record) for record in records], schema=self.schema))

    def replace_rows(self, rows: pa.Table) -> None:
        """As `replace`, of rows."""
        rows = rows.select(self.schema.names).cast(self.schema)
        try:
            there = self.reader().read_all()
        except (OSError, pa.ArrowException) as error:
            raise table_error(self.path, error) from error
        if not there.equals(rows):
            self._write(rows, "overwrite")

    def append_rows(self, rows: pa.Table) -> None:
        """Add rows to those that the table holds, in one atomic commit. Raises `DatasetNotWritable`."""
        self._write(rows.select(self.schema.names).cast(self.schema), "append")

    def _write(self, rows: pa.Table, mode: Literal["append", "overwrite"]) -> None:
        try:
            require_space(self.path, rows.nbytes)
            write_delta(self.path, None, rows, mode=mode, configuration=KEEP_HISTORY)
        except Exception as error:  # deltalake raises its own types and OSError; either means that nothing was written
            raise table_error(self.path, error, writing=True) from error
