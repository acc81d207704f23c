"""The numbers of segments in one build: read from the dataset, given to what was found, recorded."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from aria_data.manifest import Manifest, Row
from aria_data.records import Segment, Segmentation
from aria_data.release.older_files import SPAN
from aria_data.segment.identity import NUMBERS as TABLE
from aria_data.segment.identity import NumberedSpan, number_segments, without_spans
from aria_data.storage.appending import Appends
from aria_data.storage.key_index import GrowingIndex, word_of
from aria_data.storage.relations import Relations
from aria_data.storage.stage_tables import DONE, Outcome, StageTable
from aria_data.storage.work_keys import work_key


class Numbers:
    """Every number that a segment of the dataset at `root` ever had, with the spans that it stood for.

    What `removed_ids` name was removed for good: segments, or whole recordings, which have no say here.
    """

    def __init__(
        self, root: Path, to: Callable[[StageTable], Appends] = lambda table: table, removed_ids: Iterable[str] = ()
    ):
        self.removed: dict[str, set[str]] = defaultdict(set)  # segments, by their recording
        for removed_id in removed_ids:
            self.removed[removed_id.rpartition("_")[0]].add(removed_id)
        table = StageTable(root, TABLE, NumberedSpan)
        self._table = to(table)
        recorded = table.fields(SPAN, counted=True).read_all()
        self._count = recorded.num_rows
        self._is_new = not recorded.num_rows
        self._recorded = GrowingIndex()  # spans, in this build
        self._of = SpansOfRecordings(recorded if recorded.num_rows else _as_recorded(spans_of_versions(Manifest(root))))

    def give(self, segmentation: Segmentation, min_segment_s: float) -> tuple[list[Segment], set[str]]:
        """Number what was found in one recording. Gives (segments, ids of removed segments that were found again)."""
        recording_id = segmentation.recording_id
        known, removed_ids = self._of.get(recording_id, ()), self.removed.get(recording_id, ())
        removed = {span.number: span for span in known if span.segment_id in removed_ids}
        left, hit = without_spans(segmentation.segments, list(removed.values()), min_segment_s)
        segments = number_segments(left, known)
        return segments, {f"{recording_id}_{number}" for number in hit}

    def record(self, segments: Iterable[Segment]) -> None:
        """Record the numbers and spans that are new, each once. Later ones are numbered as if they were not."""
        spans = [NumberedSpan(one.recording_id, one.number, one.start_s, one.end_s) for one in segments]
        near = (
            span for recording_id in {span.recording_id for span in spans} for span in self._of.get(recording_id, ())
        )
        known = {(span.recording_id, span.number): span for span in near}
        new = [span for span in spans if known.get((span.recording_id, span.number)) != span]
        new = [span for span in new if self._recorded.get(word_of(repr(span))) is None]
        seeds = [span for spans in self._of.values() for span in spans] if self._is_new else []
        self._is_new = False
        outcomes = []
        for span in (*seeds, *new):
            self._count += 1
            outcomes.append(_outcome(span, self._count))
        self._table.append(outcomes)
        for span in new:
            self._recorded.add(word_of(repr(span)), span.number)


def put_settled(relations: Relations, root: Path, removed_in: Iterable[str]) -> None:
    """The relation `settled` of recorded spans: recording_id, start_s, end_s, number.

    Each span of a recording once, with its lowest number, where a number stands for it now. Recordings in `removed_in`
    have none: what is found there has to be cut.
    """
    relations.put_values("cut", {"recording_id": removed_in}, {"recording_id": pa.string()})
    relations.run(
        """CREATE OR REPLACE TABLE settled AS SELECT recording_id, start_s, end_s, min(number) AS number
            FROM (SELECT recording_id, number, arg_max((start_s, end_s), (counted, place)) AS span,
                    span[1] AS start_s, span[2] AS end_s
                FROM (SELECT *, row_number() OVER () AS place FROM given) ANTI JOIN cut USING (recording_id)
                GROUP BY recording_id, number)
            GROUP BY recording_id, start_s, end_s""",
        given=StageTable(root, TABLE, NumberedSpan).fields(SPAN, counted=True),
    )


class SpansOfRecordings:
    """The spans of each recording, in the order in which they were recorded: some 60 bytes a span."""

    def __init__(self, recorded: pa.Table):
        ordered = recorded.sort_by([("recording_id", "ascending"), ("counted", "ascending")])
        self._ids = np.array([each.encode() for each in ordered["recording_id"].to_pylist()], bytes)
        self._values = [ordered[name].to_numpy() for name in SPAN[1:]]

    def get(self, recording_id: str, default: Sequence[NumberedSpan] = ()) -> Sequence[NumberedSpan]:
        """The spans of one recording; `default` where there are none."""
        wanted = recording_id.encode()
        if len(wanted) > self._ids.dtype.itemsize:  # numpy would copy all ids to compare them with a longer one
            return default
        first = int(np.searchsorted(self._ids, wanted))
        last = first
        while last < len(self._ids) and self._ids[last] == wanted:
            last += 1
        return [self._span(recording_id, place) for place in range(first, last)] or default

    def values(self) -> Iterator[Sequence[NumberedSpan]]:
        """The spans of each recording, one recording after another."""
        places = range(len(self._ids))
        for wanted, some in itertools.groupby(places, key=lambda place: self._ids[place]):
            yield [self._span(wanted.decode(), place) for place in some]

    def _span(self, recording_id: str, place: int) -> NumberedSpan:
        number, start_s, end_s = (values[place] for values in self._values)
        return NumberedSpan(recording_id, int(number), float(start_s), float(end_s))


def _as_recorded(spans: Sequence[NumberedSpan]) -> pa.Table:
    columns = {name: [getattr(span, name) for span in spans] for name in SPAN}
    types = dict(zip(SPAN, (pa.string(), pa.int64(), pa.float64(), pa.float64()), strict=True))
    arrays = {name: pa.array(values, types[name]) for name, values in columns.items()}
    return pa.table(arrays | {"counted": pa.array(range(len(spans)), pa.float64())})


def affirm(root: Path, rows: Iterable[Row]) -> None:
    """Record the spans of rows that are about to be removed, where another one is the latest of their number.

    A build that waits for audio, or was killed, recorded spans under other settings that no version has. What is
    removed is what was released.
    """
    table, released = StageTable(root, TABLE, NumberedSpan), [NumberedSpan(*(row[n] for n in SPAN)) for row in rows]
    known = sorted(table.of_recordings({span.recording_id for span in released}), key=lambda one: one.measured or 0.0)
    latest = {outcome.item_id: outcome.record for outcome in known}
    differing = [span for span in released if span.segment_id in latest and not _is_same(span, latest[span.segment_id])]
    if differing:
        count = table.last_count()
        table.append(_outcome(span, count + place) for place, span in enumerate(differing, 1))


def _is_same(one: NumberedSpan, other: NumberedSpan) -> bool:
    return max(abs(one.start_s - other.start_s), abs(one.end_s - other.end_s)) < 1e-5  # rows are rounded


def _outcome(span: NumberedSpan, count: int) -> Outcome:
    key = work_key(TABLE, 1, {}, {"span": (span.segment_id, span.start_s, span.end_s), "count": count})
    return Outcome(span.segment_id, key, DONE, measured=float(count), record=span)


def spans_of_versions(manifest: Manifest) -> list[NumberedSpan]:
    """The spans in all versions of a dataset that was made before numbers were recorded, the oldest first.

    A tombstone forgets its span; the versions before it have it.
    """
    found: dict[NumberedSpan, None] = {}
    for version in range(1, manifest.version() + 1):
        for row in manifest.query("removed_in IS NULL", version, columns=SPAN).to_pylist():
            span = NumberedSpan(*(row[name] for name in SPAN))
            found.pop(span, None)
            found[span] = None
    return list(found)
