"""Segments whose spans are recorded are numbered together, and as they would be one by one."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from aria_data.records import Segment, Segmentation
from aria_data.release.rows_of_segments import rounded, rounded_all
from aria_data.segment.identity import NUMBERS, NumberedSpan
from aria_data.storage.relations import Relations
from aria_data.storage.rows_of_records import to_column
from aria_data.storage.stage_tables import DONE, Outcome, StageTable
from flows.build.numbering import Numbers, put_settled
from flows.build.results import SEGMENTS, _put_whole, _segments

SPANS = st.lists(st.sampled_from([(0.0, 10.0), (0.1234567, 9.9999995), (10.0, 20.0), (12.5, 20.0), (30.0, 70.0)]))
RECORDINGS = st.sampled_from(["local-a", "local-b", "web-c"])
RECORDED = st.lists(st.tuples(RECORDINGS, st.integers(0, 3), SPANS.filter(bool).map(lambda spans: spans[0])))


def rows_of(root: Path, found: dict[str, list], removed: set[str], is_together: bool, asked: list) -> list[dict]:
    """The segments, numbered; `asked` gets the recordings that were numbered one by one."""
    numbers = Numbers(root, removed_ids=removed)

    def number(some):
        asked.extend(one.recording_id for one in some)
        return [segment for one in some for segment in numbers.give(one, 5.0)[0]]

    segmentations = [
        Segmentation(name, [Segment(name, 0, *span, 0.5) for span in spans]) for name, spans in found.items()
    ]
    with Relations.open(None) as relations:
        rows = pa.Table.from_batches([pa.RecordBatch.from_struct_array(to_column(Segmentation, segmentations))])
        relations.put("segmentations", rows.select(["recording_id", "segments"]))
        relations.put_values("recordings", {"recording_id": found}, {"recording_id": pa.string()})
        put_settled(relations, root, numbers.removed)
        if not is_together:
            relations.run("DELETE FROM settled")
        _put_whole(relations)
        relations.put_batches("segments", pa.schema(SEGMENTS.items()), _segments(relations, number))
        return relations.table("SELECT * FROM segments ORDER BY segment_id").to_pylist()


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(RECORDINGS, SPANS.map(lambda spans: sorted(set(spans)))), RECORDED)
def test_numbers_given_together_are_those_given_one_by_one(found, recorded):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        spans = [NumberedSpan(name, number, *span) for name, number, span in recorded]
        outcomes = [
            Outcome(span.segment_id, f"{place}", DONE, measured=float(place), record=span)
            for place, span in enumerate(spans)
        ]
        StageTable(root, NUMBERS, NumberedSpan).append(outcomes)
        for removed in (set(), {"local-a_0", "local-b_1", "web-c"}):
            assert rows_of(root, found, removed, True, []) == rows_of(root, found, removed, False, [])


@given(st.lists(st.floats() | st.floats(-1e4, 1e4).map(lambda value: round(value, 6) + 5e-7)))
def test_many_numbers_are_rounded_as_one_is(values):
    one_by_one = [math.nan if rounded(value) is None else rounded(value) for value in values]
    assert list(map(repr, rounded_all(np.array(values, float)).tolist())) == list(map(repr, one_by_one))


def test_only_a_recording_with_a_new_span_or_a_removed_segment_is_numbered_by_itself(tmp_path):
    spans = [NumberedSpan(name, 7, 1.0, 9.0) for name in ("local-a", "local-b", "web-c")]
    outcomes = [Outcome(span.segment_id, span.segment_id, DONE, measured=1.0, record=span) for span in spans]
    StageTable(tmp_path, NUMBERS, NumberedSpan).append(outcomes)
    found = {"local-a": [(1.0, 9.0)], "local-b": [(1.0, 9.5)], "web-c": [(1.0, 9.0)]}
    asked: list[str] = []
    rows = rows_of(tmp_path, found, {"web-c_7"}, True, asked)
    assert sorted(asked) == ["local-b", "web-c"]
    assert [(row["segment_id"], row["duration_s"]) for row in rows] == [("local-a_7", 8.0), ("local-b_7", 8.5)]
