"""Tables on the way out: to a terminal, to CSV, JSON lines, Parquet, or a list of paths."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from aria_data.errors import UsageError
from aria_data.files import printable, write_whole
from aria_data.manifest import Difference
from aria_data.tables import arrow_type, to_row

# What a terminal has room for; other formats give all columns.
SHOWN = (
    "segment_id",
    "composer",
    "title",
    "duration_s",
    "num_notes",
    "audio_score",
    "split",
    "in_pruned",
    "in_deduplicated",
)
MAX_CELL = 48


def select_columns(table: pa.Table, names: str | None) -> pa.Table:
    """Keep the columns named, with commas between; all without names. Raises `UsageError` for an unknown one."""
    if names is None:
        return table
    chosen = [name.strip() for name in names.split(",")]
    unknown = [name for name in chosen if name not in table.column_names]
    if unknown:
        raise UsageError(f"--columns: unknown column {unknown[0]!r}. Known: {', '.join(table.column_names)}.")
    return table.select(chosen)


def records_table(records: Sequence[Any], record_type: type) -> pa.Table:
    """Give records as a table."""
    struct = arrow_type(record_type)
    schema = pa.schema([struct.field(index) for index in range(struct.num_fields)])
    return pa.Table.from_pylist([to_row(record) for record in records], schema=schema)


def write_table(table: pa.Table, format_: str, output: Path | None, dataset: Path, all_columns: bool = False) -> None:
    """Write a table in one of the formats table, csv, jsonl, parquet, paths, to a file or to standard output."""
    if format_ == "table" and output is None:
        _print_table(table if all_columns else table.select([name for name in SHOWN if name in table.column_names]))
        return
    content = _content(table, format_, dataset)
    if output is not None:
        write_whole(output, content)
    elif format_ == "parquet":
        raise UsageError("--format parquet needs --output FILE.")
    else:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()


def _content(table: pa.Table, format_: str, dataset: Path) -> bytes:
    buffer = io.BytesIO()
    if format_ == "parquet":
        import pyarrow.parquet as pq

        pq.write_table(table, buffer)
    elif format_ == "csv":
        from pyarrow import csv

        csv.write_csv(table, buffer)
    elif format_ == "paths":
        if "midi_path" not in table.column_names:
            raise UsageError("--format paths needs the column midi_path; leave --columns away.")
        for path in table["midi_path"].to_pylist():
            buffer.write(f"{dataset / path}\n".encode() if path else b"")
    else:
        for row in table.to_pylist():
            buffer.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
    return buffer.getvalue()


def _print_table(table: pa.Table) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(*table.column_names)
    for row in table.to_pylist():
        shown.add_row(*(Text(_cell(value)) for value in row.values()))
    console = Console(soft_wrap=False) if sys.stdout.isatty() else Console(width=200)
    console.print(shown)
    console.print(f"{table.num_rows:,} rows")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return printable(str(value), MAX_CELL)


def print_difference(difference: Difference) -> None:
    """Print what lies between two versions, a line a segment."""
    print(f"added {len(difference.added)}, removed {len(difference.removed)}, changed {len(difference.changed)}")
    for sign, ids in (("+", difference.added), ("-", difference.removed)):
        for segment_id in ids:
            print(f"{sign} {segment_id}")
    for segment_id, names in difference.changed.items():
        print(f"~ {segment_id}: {', '.join(names)}")
