"""The columns of all subsets: made anew where definitions or rows changed, and released."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aria_data.manifest import Manifest
from aria_data.manifest.columns import arrow_schema, is_added
from aria_data.manifest.revising import Change
from aria_data.manifest.row_queries import differs
from aria_data.manifest.rows import by_bucket, where
from aria_data.manifest.stored_rows import is_present, of_all_rows
from aria_data.measure import load_limits
from aria_data.measure.prune import is_passing
from aria_data.records import Measurement
from aria_data.release import Subsets
from aria_data.release.subsets import JUDGED
from aria_data.storage.relations import give_memory_back
from aria_data.storage.stage_tables import StageTable
from flows.build.publish import DESCRIBED, publish_change


def apply_anew(root: Path, note: str) -> int:
    """Apply every subset's definition to the newest version, and release one more if that changes any row.

    Gives the version. The caller holds the dataset's lock. Raises `ConfigInvalid` for a definition that cannot be
    applied any more.
    """
    subsets = Subsets(root)
    return release_subsets(root, subsets, note)[0] if subsets.names() else Manifest(root).version()


def release_subsets(root: Path, subsets: Subsets, note: str, name: str = "") -> tuple[int, int]:
    """Release a version with the columns of all subsets. Gives (version, number of rows in the subset `name`)."""
    manifest = Manifest(root)
    stored = manifest.stored_columns()
    is_there = is_present(stored)
    present = stored.filter(is_there).select(JUDGED)
    passes = lambda limits: passing(root, limits)  # noqa: E731
    added = subsets.evaluate(present, manifest.present_where, passes, defining=name)
    beside = {each: of_all_rows(added[each], is_there) for each in added.column_names[1:]}
    described = stored.only(DESCRIBED).with_columns(beside)
    members = added[f"in_{name}"] if f"in_{name}" in added.column_names else None
    num_members = 0 if members is None else pc.sum(members).as_py() or 0
    put = _put(added)
    del added, members, beside, present, is_there
    give_memory_back()  # the rows of the next version need it
    version = publish_change(root, put, described, note, subsets=subsets.definitions())
    return version, num_members


def _put(added: pa.Table) -> Change:
    """The change that gives rows the columns `added` (by segment_id), and takes all others of users away."""
    names, in_buckets = added.column_names, by_bucket(added)  # to look rows up among all took half of the time

    def change(rows: pa.Table) -> pa.Table:
        fixed = rows.select([name for name in rows.column_names if not is_added(name)])
        then = _with_columns(fixed, in_buckets(rows))
        is_other = pa.chunked_array([pa.repeat(False, len(rows))])
        for name in filter(is_added, {*rows.column_names, *names}):
            was, now = (_column(each, name) for each in (rows, then))
            is_other = pc.or_(is_other, differs(was, now))
        return where(then, is_other)

    return change


def _column(rows: pa.Table, name: str) -> pa.ChunkedArray:
    if name in rows.column_names:
        return rows[name]
    return pa.chunked_array([pa.nulls(len(rows), arrow_schema([name]).field(name).type)])


def _with_columns(rows: pa.Table, added: pa.Table) -> pa.Table:
    """The rows with the other columns of `added`, which are matched by segment_id; null in those it does not have."""
    places = pc.index_in(rows["segment_id"], value_set=added["segment_id"])
    for name in added.column_names[1:]:
        rows = rows.append_column(name, added[name].take(places))
    return rows


def passing(root: Path, limits: str) -> pa.ChunkedArray:
    """The ids of the segments whose latest measures are within `limits` (a preset or a file)."""
    table, judged = StageTable(root, "measure", Measurement), load_limits(limits)
    is_latest = _latest(pa.chunked_array([batch.column("item_id") for batch in table.columns([])], pa.string()))
    passing, start = [], 0
    for batch in table.columns(["measures"]):
        latest = batch.filter(pa.array(is_latest[start : start + len(batch)]))
        passing.append(latest.column("item_id").filter(is_passing(latest.column("measures"), judged)))
        start += len(batch)
    return pa.chunked_array(passing, pa.string())


def _latest(ids: pa.ChunkedArray) -> np.ndarray:
    """For each place, whether its id comes no more after it."""
    codes = ids.combine_chunks().dictionary_encode().indices.to_numpy()
    places, last = np.arange(len(codes)), np.zeros(len(codes), np.int64)
    last[codes] = places
    return last[codes] == places
