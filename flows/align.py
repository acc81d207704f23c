"""Align the segments of a dataset with a folder of scores, and release a version that says so.

The dataset's lock is held while something is written, not while notes are aligned: builds and crawls go on meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa

from aria_data.align import AlignConfig, ScoreIndex
from aria_data.errors import AriaDataError, DatasetLocked
from aria_data.manifest import Dataset, Manifest
from aria_data.midi.midi_files import performance_of
from aria_data.records import SegmentAlignment
from aria_data.release.alignments import FOLDER, TABLE, alignments_of, with_alignments
from aria_data.storage import exclusive_lock, printable
from aria_data.storage.stage_tables import RecordTable, StageTable
from flows.build.aligned import WORK_TABLE, AlignSummary, AlignWork, put_records
from flows.build.publish import publish_change
from flows.build.subset_columns import apply_anew
from flows.show.progress_bars import Progress

COLUMNS = ["segment_id", "midi_path", "midi_sha256", "removed_in", "composition_id", "disagreements"]
NOTE = "aligned with scores"
ASK_EVERY_S = 2.0  # whether the dataset is free


def align_dataset(
    root: Path,
    index: ScoreIndex,
    config: AlignConfig,
    progress: Progress,
    where: str = "",
    num_processes: int = 0,
    on_error: Callable[[str], None] = print,
    on_result: Callable[[SegmentAlignment], None] = lambda record: None,
    on_wait: Callable[[str], None] = print,
) -> AlignSummary:
    """Align the present segments that `where` chooses, and release what is known of all if it says anything new.

    Where a build works in the dataset, results wait for its end, which is told to `on_wait` once. Raises
    `DatasetNotFound`, and `UsageError` for a condition that cannot be understood.
    """
    selection = Dataset(root).select(where, COLUMNS)
    rows = {row["segment_id"]: row for row in selection.table.to_pylist()}
    lock = _lock_of(root, on_wait)
    work, done, summary = AlignWork(root, config, index, lock), {}, AlignSummary()
    with progress.stage("align", len(rows), 0.0, 0):
        for record in work.records(_notes_of(selection, on_error), num_processes):
            done[record.segment_id] = record
            summary.count(record, bool(rows[record.segment_id]["composition_id"]))
            progress.advance(0.0)
            on_result(record)
    summary.num_done_before = work.num_done_before
    for line in work.trouble:
        on_error(line)
    with lock(True):
        summary.version = _release(root, done)
    return summary


def _lock_of(root: Path, on_wait: Callable[[str], None]) -> Callable[[bool], Any]:
    """A lock that is asked for again and again if it must be had."""
    said: list[str] = []

    @contextmanager
    def lock(must: bool) -> Iterator[None]:
        with ExitStack() as stack:
            while True:
                try:
                    stack.enter_context(exclusive_lock(root / ".lock"))
                    break
                except DatasetLocked as error:
                    if not must:
                        raise
                    if not said:
                        said.append(str(error))
                        on_wait(f"{error} What was aligned waits for that.")
                time.sleep(ASK_EVERY_S)
            yield

    return lock


def _notes_of(selection: Any, on_error: Callable[[str], None]) -> Iterator[tuple[Mapping[str, Any], list[Any]]]:
    for position in range(len(selection)):
        try:
            row, content = selection[position]
            yield row, performance_of(content).notes
        except (AriaDataError, ValueError) as error:
            name = printable(selection.table["segment_id"][position].as_py())
            on_error(f"{name}: {error}" if name not in str(error) else str(error))


def _release(root: Path, done: Mapping[str, SegmentAlignment]) -> int:
    """Put the records into the table, and their columns into a version; files that no record ever named go.

    Subsets whose conditions name those columns then get their members in one more version.
    """
    manifest = Manifest(root)
    rows = manifest.table(columns=["segment_id", "midi_sha256", "removed_in"])
    present = {row["segment_id"]: row["midi_sha256"] for row in rows.to_pylist() if row["removed_in"] is None}
    put_records(root, done, present)
    _clear_files(root, {row["segment_id"] for row in rows.to_pylist() if row["removed_in"] is not None})
    alignments = alignments_of(root)

    def change(rows: pa.Table) -> pa.Table:
        return with_alignments(rows, alignments)

    publish_change(root, change, manifest.stored_columns(), NOTE)
    return apply_anew(root, "subsets of what was aligned")


def _clear_files(root: Path, removed: set[str]) -> None:
    """Delete files that no record names, and those of removed segments. Older versions name those of older records."""
    named, names = set(), ["segment_id", "beats_path", "details_path"]
    tables = StageTable(root, WORK_TABLE, SegmentAlignment).fields(names), RecordTable(root, TABLE, SegmentAlignment)
    for batch in chain(tables[0], tables[1].reader()):
        for segment_id, *paths in zip(*(batch.column(name).to_pylist() for name in names), strict=True):
            named |= set() if segment_id in removed else {root / path for path in paths if path}
    for path in (root / FOLDER).rglob("*"):
        if path.is_file() and path not in named:
            path.unlink()
