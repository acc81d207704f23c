"""What the stages of a build finished, as relations: read from the stage tables by key, a batch at a time.

candidates    what rows and copies need of every candidate
ingested      all recordings, each with its candidate
recordings    those of them that are no copies of a file and were not removed
segments      all segments with their numbers, without what was removed for good
measures      of each segment: all measures, those of rows rounded, and which limits fail first (`-1`: none)
screenings, downloads, transcriptions, annotations      what rows need of them
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aria_data.measure import MEASURES, PruneLimits
from aria_data.measure.cuts import cut_evidence
from aria_data.measure.measured_columns import columns_of, first_failing
from aria_data.measure.measures import CUT_MEASURES
from aria_data.records import Segment, Segmentation
from aria_data.release.rows_of_segments import (
    FROM_ANNOTATION,
    FROM_MEASUREMENT,
    FROM_TRANSCRIPTION,
    as_bool,
    is_cut,
    rounded_all,
)
from aria_data.storage.key_index import KeyIndex, words_of
from aria_data.storage.relations import Relations
from aria_data.storage.rows_of_records import arrow_type
from flows.engine.context import BuildContext, Stage
from flows.engine.downloads import DOWNLOAD
from flows.engine.stages import ANNOTATE, INGEST, MEASURE, SCREEN, SEGMENT, TRANSCRIBE

SEGMENTS = {
    "segment_id": pa.string(),
    "recording_id": pa.string(),
    "number": pa.int64(),
    "first_s": pa.float64(),
    "last_s": pa.float64(),
    "start_s": pa.float64(),  # rounded, as the next two
    "end_s": pa.float64(),
    "duration_s": pa.float64(),
    "audio_score": pa.float64(),
}
CUT = ("cut_at_start", "cut_at_end")
CANDIDATES = ("candidate_id", "source", "source_url", "licence", "uploader")
FROM_RECORDING = ("recording_id candidate_id location audio_sha256 samples_sha256 duration_s sample_rate codec").split()
Number = Callable[[Sequence[Segmentation]], Sequence[Segment]]


def put_results(
    relations: Relations,
    context: BuildContext,
    candidates: Path,
    number: Number,
) -> None:
    """Make the relations of this file's docstring, but for `measures`.

    `candidates` is their file; the relations `keys_of_<stage>` have the keys of what each stage finished and did not
    reject, `left_out` candidates that were ingested, and are copies of a file or removed; `number` gives the segments
    of some recordings with their numbers.
    """
    names = ", ".join(CANDIDATES)
    relations.put_file("candidates", candidates, f"{names}, length(tags) + length(description) AS amount")
    put_records(relations, context, SCREEN, "screenings", ["relevance_score"], ["item_id AS candidate_id"])
    put_records(relations, context, DOWNLOAD, "downloads", ["licence"], ["item_id AS candidate_id"])
    put_records(relations, context, INGEST, "ingested", FROM_RECORDING)
    relations.run(
        "CREATE OR REPLACE TABLE recordings AS SELECT * FROM ingested ANTI JOIN left_out USING (candidate_id)"
    )
    put_records(
        relations,
        context,
        TRANSCRIBE,
        "transcriptions",
        ["segment_id", "precision", "heads_sha256", *FROM_TRANSCRIPTION],
    )
    put_records(relations, context, ANNOTATE, "annotations", FROM_ANNOTATION, ["item_id AS candidate_id"])
    put_records(relations, context, SEGMENT, "segmentations", ["recording_id", "segments"])
    _put_whole(relations)
    relations.put_batches("segments", pa.schema(SEGMENTS.items()), _segments(relations, number))


def put_records(
    relations: Relations,
    context: BuildContext,
    stage: Stage,
    name: str,
    fields: Sequence[str],
    also: Sequence[str] = (),
    keys: str = "",
) -> None:
    """Make the relation `name` of these fields of the records whose keys the relation `keys` has.

    An outcome that was recorded twice is taken once: the one whose file is there, else the last. `also` are columns
    made of `item_id`.
    """
    keys = keys or f"keys_of_{stage.name}"
    if not relations.has(keys):
        relations.put_values(keys, {"item_id": [], "key": []}, {"item_id": pa.string(), "key": pa.string()})
    selected = ", ".join([*(f'g."{field}"' for field in fields), *also])
    wanted = relations.table(f"SELECT key FROM {keys}")["key"]
    reader = stage.table(context).fields(fields, keys=KeyIndex(words_of(wanted), np.zeros(len(wanted))))
    if not len(wanted):
        reader = reader.schema.empty_table()
    relations.run(
        f"""CREATE OR REPLACE TABLE {name} AS SELECT {selected}, g.outcome_key, row_number() OVER () AS outcome
            FROM given g WHERE g.outcome_key IN (SELECT key FROM {keys})""",
        given=reader,
    )
    _take_once(relations, context, stage, name)


def _take_once(relations: Relations, context: BuildContext, stage: Stage, name: str) -> None:
    twice = relations.rows(f"SELECT outcome_key FROM {name} GROUP BY outcome_key HAVING count(*) > 1")
    for (key,) in twice:
        _keep_one(relations, context, stage, name, key)


def _keep_one(relations: Relations, context: BuildContext, stage: Stage, name: str, key: str) -> None:
    path = "midi_path" if stage is TRANSCRIBE else "''"
    found = relations.rows(f"SELECT outcome, {path} FROM {name} WHERE outcome_key = '{key}' ORDER BY outcome")
    there = [outcome for outcome, place in found if place and context.is_there(place)]
    kept = (there or [outcome for outcome, _ in found])[-1]
    relations.run(f"DELETE FROM {name} WHERE outcome_key = '{key}' AND outcome <> {kept}")


def _segments(relations: Relations, number: Number) -> Iterator[pa.RecordBatch]:
    """The numbered segments of all recordings, a batch at a time."""
    yield from _settled(relations)
    found = """SELECT recording_id, segments FROM segmentations SEMI JOIN recordings USING (recording_id)
        ANTI JOIN whole USING (recording_id)"""
    schema, type_ = pa.schema(SEGMENTS.items()), arrow_type(Segment)
    for batch in relations.batches(found):
        unnumbered = []
        for recording_id, spans in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            given = [Segment(**{field.name: span[field.name] for field in type_}) for span in spans]
            unnumbered.append(Segmentation(recording_id, given))
        rows = [_row_of(one) for one in number(unnumbered)]
        columns = zip(*rows, strict=True) if rows else [()] * len(schema)
        arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _put_whole(relations: Relations) -> None:
    """The relations `found`, all segments without numbers, and `whole`, recordings of which each is in `settled`.

    These have the numbers that are recorded; the others are numbered one by one.
    """
    relations.run("""CREATE OR REPLACE TABLE found AS
        SELECT recording_id, one.start_s, one.end_s, one.audio_score
        FROM (SELECT recording_id, unnest(segments) AS one
            FROM segmentations SEMI JOIN recordings USING (recording_id))""")
    relations.run("""CREATE OR REPLACE TABLE whole AS SELECT recording_id
        FROM found LEFT JOIN settled USING (recording_id, start_s, end_s) GROUP BY recording_id
        HAVING count(settled.number) = count(*) AND count(DISTINCT settled.number) = count(*)""")


def _settled(relations: Relations) -> Iterator[pa.RecordBatch]:
    """The segments of recordings that are in the relation `whole`."""
    known = """SELECT recording_id || '_' || s.number AS segment_id, recording_id, s.number, start_s, end_s, audio_score
        FROM found JOIN settled s USING (recording_id, start_s, end_s) SEMI JOIN whole USING (recording_id)"""
    for batch in relations.batches(known):
        first, last = (batch.column(name) for name in ("start_s", "end_s"))
        shown = map(_shown, (first, last, pc.subtract(last, first)))
        columns = [*batch.columns[:5], *shown, batch.column("audio_score")]
        yield pa.RecordBatch.from_arrays(columns, schema=pa.schema(SEGMENTS.items()))


def _shown(values: pa.Array) -> pa.Array:
    """Numbers as rows have them, null for NaN."""
    shown = rounded_all(values.to_numpy(zero_copy_only=False))
    return pa.array(shown, pa.float64(), mask=np.isnan(shown))


def _row_of(one: Segment) -> tuple[Any, ...]:
    exact = one.start_s, one.end_s
    shown = round(one.start_s, 6), round(one.end_s, 6), round(one.end_s - one.start_s, 6)
    return (one.segment_id, one.recording_id, one.number, *exact, *shown, one.audio_score)


def put_measures(relations: Relations, context: BuildContext, limits: Mapping[str, PruneLimits]) -> None:
    """Make the relation `measures`; `limits` are the limits of each subset, by name."""
    judged = {"floor": PruneLimits(), **limits}
    schema = pa.schema(
        [
            ("segment_id", pa.string()),
            *((name, pa.float64()) for name in MEASURES),
            *((f"row_{name}", pa.float64()) for name in FROM_MEASUREMENT),
            ("is_start_truncated", pa.bool_()),
            ("is_end_truncated", pa.bool_()),
            *((f"row_{name}", pa.bool_()) for name in CUT),
            ("cut_evidence", pa.string()),
            ("agreement_per_5_s", pa.string()),
            ("disagreements", pa.string()),
            *((name, pa.int16()) for name in judged),
            ("floor_measured", pa.float64()),
            ("outcome_key", pa.string()),
            ("outcome", pa.int64()),
        ]
    )
    keys = relations.table(f"SELECT key FROM keys_of_{MEASURE.name}")["key"]
    num_before = 0

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal num_before
        for batch in _measurements(context, keys):
            measured = columns_of(batch.column("measures"))
            verdicts = {name: first_failing(measured, one) for name, one in judged.items()}
            shown = [_shown(measured[name]) for name in FROM_MEASUREMENT]
            cut = [[is_cut(value) for value in _listed(measured[name])] for name in ("start_level_db", "end_level_db")]
            bools = [[as_bool(value) for value in measured[name].to_pylist()] for name in CUT]
            columns = [batch.column("segment_id"), *measured.values(), *shown, *cut, *bools, _evidence(measured)]
            columns += [batch.column(name) for name in ("agreement_per_5_s", "disagreements")]
            columns += [failing for failing, _ in verdicts.values()] + [verdicts["floor"][1]]
            columns += [batch.column("outcome_key"), np.arange(num_before, num_before + len(batch))]
            arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)
            num_before += len(batch)

    relations.put_batches("measures", schema, batches())
    _take_once(relations, context, MEASURE, "measures")


def _evidence(measured: Mapping[str, pa.Array]) -> list[str | None]:
    """Why ends are said to be cut, of the few that are."""
    is_cut_anywhere = pc.or_(*(pc.equal(pc.fill_null(measured[name], 0.0), 1.0) for name in CUT))
    values = {name: measured[name] for name in CUT_MEASURES}
    said: list[str | None] = [None] * len(is_cut_anywhere)
    for place in np.flatnonzero(is_cut_anywhere.to_numpy(zero_copy_only=False)):
        said[place] = cut_evidence({name: column[int(place)].as_py() for name, column in values.items()})
    return said


def _measurements(context: BuildContext, keys: pa.ChunkedArray) -> Iterator[pa.RecordBatch]:
    """The measurements with these keys. Maps by name are slow in a database, so none is asked."""
    index = KeyIndex(words_of(keys), np.zeros(len(keys)))
    fields = ["segment_id", "measures", "agreement_per_5_s", "disagreements"]
    for batch in MEASURE.table(context).fields(fields, keys=index) if len(keys) else ():
        is_wanted = np.zeros(len(batch), bool)
        is_wanted[index.find(words_of(pa.chunked_array([batch.column("outcome_key")])))[0]] = True
        if is_wanted.any():
            yield batch.filter(pa.array(is_wanted))


def _listed(values: pa.Array) -> list[float]:
    return pc.fill_null(values, math.nan).to_pylist()
