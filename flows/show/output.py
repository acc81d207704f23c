"""Writes tables: for a terminal, as CSV, JSON lines or Parquet, or as a list of paths."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import click
import pyarrow as pa
import pyarrow.compute as pc

from aria_data.errors import UsageError
from aria_data.manifest import Row, Version
from aria_data.manifest.rows import rows_of
from aria_data.release.recordings_per_composition import recordings_kept
from aria_data.storage import json_line, printable, writing_whole
from aria_data.storage.rows_of_records import arrow_type, to_row

# The columns that a terminal has room for; other formats have all.
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
    """Keep the named columns, separated by commas; None keeps all. Raises `UsageError` for an unknown one."""
    if names is None:
        return table
    chosen = [name.strip() for name in names.split(",")]
    unknown = [name for name in chosen if name not in table.column_names]
    if unknown:
        raise UsageError(f"--columns: unknown column {unknown[0]!r}. Known: {', '.join(table.column_names)}.")
    return table.select(chosen)


def cap_recordings(table: pa.Table, cap: int) -> pa.Table:
    """Keep the `cap` recordings (0: all) of each known composition whose best `audio_score` is highest."""
    names = ["composition_id", "recording_id", "audio_score"]
    kept = recordings_kept(table.select(names).to_pylist(), cap)
    return table.filter(pc.is_in(table["recording_id"], value_set=pa.array(sorted(kept), pa.string())))


def records_table(records: Sequence[Any], record_type: type) -> pa.Table:
    """Give records (dataclasses of `record_type`) as a table with one column a field."""
    struct = arrow_type(record_type)
    schema = pa.schema([struct.field(index) for index in range(struct.num_fields)])
    return pa.Table.from_pylist([to_row(record) for record in records], schema=schema)


def write_table(table: pa.Table, format_: str, output: Path | None, dataset: Path, all_columns: bool = False) -> None:
    """Write a table as table, csv, jsonl, parquet or paths, to the file `output` or (None) to standard output.

    `dataset` goes before each path. Raises `UsageError` for parquet without a file, paths without `midi_path`.
    """
    if format_ == "table" and output is None:
        _print_table(table if all_columns else table.select([name for name in SHOWN if name in table.column_names]))
        return
    if format_ == "paths" and "midi_path" not in table.column_names:
        raise UsageError("--format paths needs the column midi_path; leave --columns away.")
    if output is not None:
        with writing_whole(output) as file:
            _write(table, format_, dataset, file)
    elif format_ == "parquet":
        raise UsageError("--format parquet needs --output FILE.")
    else:
        _write(table, format_, dataset, sys.stdout.buffer)
        sys.stdout.buffer.flush()


def print_versions(versions: Sequence[Version], as_json: bool) -> None:
    """Print versions as a table, or as one JSON object a line, with their facts."""
    rows = [{key: value for key, value in asdict(one).items() if key != "facts_json"} for one in versions]
    if as_json:
        for row, version in zip(rows, versions, strict=True):
            click.echo(json_line({**row, "facts": version.facts}), nl=False)
    else:
        _print_table(pa.Table.from_pylist([{**row, "content_sha256": row["content_sha256"][:12]} for row in rows]))


def _write(table: pa.Table, format_: str, dataset: Path, file: BinaryIO) -> None:
    """Write a table row by row, or batch by batch; the text is never in memory as a whole."""
    if format_ == "parquet":
        import pyarrow.parquet as pq

        pq.write_table(table, file)
    elif format_ == "csv":
        from pyarrow import csv

        csv.write_csv(table, file)
    elif format_ == "paths":
        for row in rows_of(table.select(["midi_path"])):
            file.write(os.fsencode(f"{dataset / row['midi_path']}\n") if row["midi_path"] else b"")
    else:
        for row in rows_of(table):
            file.write(_line(row))


def _line(row: Row) -> bytes:
    return json_line(row)


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
