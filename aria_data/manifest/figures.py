"""Statistics of manifest rows: counts, hours, groups, and distributions of the main measures. It reads no files."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from aria_data.manifest.columns import is_subset, is_weight
from aria_data.manifest.stored_rows import StoredColumns

GROUPS = {  # what rows are counted by: name shown -> column
    "composer": "composer",
    "period": "period",
    "genre": "genre",
    "licence": "licence",
    "source": "source",
    "split": "split",
}
SUBSETS = ("in_pruned", "in_deduplicated", "in_unique")
MEASURES = (
    "duration_s",
    "num_notes",
    "note_density",
    "pitch_entropy",
    "longest_silence_s",
    "audio_score",
    "transcription_confidence",
    "chroma_agreement",
    "onset_agreement",
    "score_likeness",
)
QUANTILES = {"min": 0.0, "p5": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95, "max": 1.0}

# All columns that `statistics` reads, besides users' subsets and weights.
COUNTED = ("recording_id", "composition_id", "removed_in", *GROUPS.values(), *SUBSETS, *MEASURES)
_TALLIED = ["duration_s", "num_notes"]


def statistics(table: pa.Table | StoredColumns) -> dict[str, Any]:
    """Count manifest rows; gives plain values, ready for JSON. Groups are sorted by number of files, the largest first.

    `table` has the columns `COUNTED`; users' subsets and weights are counted too if it has them. Removed rows are not
    counted. Keys: num_files, hours, num_notes, num_recordings, num_compositions, by, measures.
    """
    if table["removed_in"].null_count < len(table):
        table = table.filter(pc.is_null(table["removed_in"]))
    counts = _counts(table)
    counts["num_recordings"] = pc.count_distinct(table["recording_id"]).as_py()
    compositions = table["composition_id"].drop_null()
    counts["num_compositions"] = pc.count_distinct(compositions.filter(pc.not_equal(compositions, ""))).as_py()
    by = {name: _grouped(table, column) for name, column in GROUPS.items()}
    names = [*SUBSETS, *filter(is_subset, table.column_names)]
    subsets = {name: _counts(table.select(_TALLIED).filter(pc.fill_null(table[name], False))) for name in names}
    measures = {name: _distribution(table[name]) for name in (*MEASURES, *filter(is_weight, table.column_names))}
    return {**counts, "by": {**by, "subset": subsets}, "measures": measures}


def _counts(table: pa.Table | StoredColumns) -> dict[str, Any]:
    return {
        "num_files": table.num_rows,
        "hours": round((pc.sum(table["duration_s"]).as_py() or 0.0) / 3600, 6),
        "num_notes": pc.sum(table["num_notes"]).as_py() or 0,
    }


def _grouped(table: pa.Table | StoredColumns, column: str) -> dict[str, dict[str, Any]]:
    keyed = pa.table({"key": pc.fill_null(table[column], ""), "s": table["duration_s"], "notes": table["num_notes"]})
    groups = keyed.group_by("key").aggregate([("key", "count"), ("s", "sum"), ("notes", "sum")]).to_pylist()
    return {
        group["key"]: {
            "num_files": group["key_count"],
            "hours": round((group["s_sum"] or 0.0) / 3600, 6),
            "num_notes": group["notes_sum"] or 0,
        }
        for group in sorted(groups, key=lambda group: (-group["key_count"], group["key"]))
    }


def _distribution(values: pa.ChunkedArray) -> dict[str, float | None]:
    known = values.drop_null()
    if not len(known):
        return {"num_known": 0, "mean": None, **dict.fromkeys(QUANTILES)}
    found = pc.quantile(known, q=list(QUANTILES.values())).to_pylist()
    rounded = {name: round(value, 6) for name, value in zip(QUANTILES, found, strict=True)}
    return {"num_known": len(known), "mean": round(pc.mean(known).as_py(), 6), **rounded}
