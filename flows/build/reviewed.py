"""What people reviewed as bad, left out of every subset where `release.reviews` says so. Its rows stay."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from aria_data.manifest.columns import SUBSET_PREFIX, WEIGHT_PREFIX
from aria_data.manifest.stored_rows import StoredRows
from aria_data.measure.measured_columns import REVIEWED_BAD
from aria_data.release.config import EXCLUDE_BAD, ReleaseConfig
from aria_data.release.reviews import Reviews, reviewed
from aria_data.storage.relations import Relations

SPAN = ("segment_id", "recording_id", "start_s", "end_s")


def fail_reviewed(relations: Relations, root: Path, config: ReleaseConfig) -> None:
    """Let segments whose newest review is bad fail the limits, so that another recording takes their place."""
    if config.reviews != EXCLUDE_BAD:
        return
    columns = relations.table(f"SELECT {', '.join(SPAN)} FROM segments")
    bad = {"segment_id": _bad_ids(columns, root)}
    relations.put_values("reviewed_bad", bad, {"segment_id": pa.string()})
    relations.run(f"""UPDATE measures SET in_pruned = {REVIEWED_BAD}, in_deduplicated = {REVIEWED_BAD}
        WHERE floor < 0 AND segment_id IN (SELECT segment_id FROM reviewed_bad)""")


def without_reviewed(rows: StoredRows, root: Path, config: ReleaseConfig) -> StoredRows:
    """Take rows whose newest review is bad out of every subset, also of those that users defined."""
    if config.reviews != EXCLUDE_BAD:
        return rows
    present = rows.columns.filter(pc.is_null(rows.columns["removed_in"])).select(list(SPAN))
    is_bad = pc.is_in(rows.columns["segment_id"], value_set=pa.array(_bad_ids(present, root), pa.string()))
    emptied = {}
    for name in rows.columns.column_names:
        if name.startswith(SUBSET_PREFIX):
            emptied[name] = pc.and_(rows.columns[name], pc.invert(is_bad))
        elif name.startswith(WEIGHT_PREFIX):
            emptied[name] = pc.if_else(is_bad, pa.scalar(None, rows.columns[name].type), rows.columns[name])
    return rows.with_columns(emptied)


def _bad_ids(columns: pa.Table, root: Path) -> list[str]:
    reviews = Reviews(root).all()
    of_reviewed = pa.array({review.recording_id for review in reviews}, pa.string())
    rows = columns.filter(pc.is_in(columns["recording_id"], value_set=of_reviewed)).to_pylist()
    return sorted(segment_id for segment_id, review in reviewed(rows, reviews).items() if review.verdict == "bad")
