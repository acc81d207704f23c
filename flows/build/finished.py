"""The segments that may be released, each with the results of all steps: the manifest's columns, before splits."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from aria_data.manifest.columns import arrow_schema
from aria_data.release.alignments import COLUMNS as ALIGNED
from aria_data.release.alignments import JUDGED_DISAGREEMENTS, JUDGED_TAG, OF_AGREEMENT, OF_ALL, put_alignments
from aria_data.release.exclusions import excluded_by, find_exclusion
from aria_data.release.rows_of_segments import FROM_ANNOTATION, FROM_MEASUREMENT, FROM_TRANSCRIPTION
from aria_data.storage.relations import Relations
from flows.build.copies import notes_of
from flows.engine.context import BuildContext

JOINED = 200_000  # segments joined at once
PARTED = {  # relations that are joined: their key, and what it is in the relation `part`
    **dict.fromkeys(("segments", "measures", "transcriptions", "alignments"), ("segment_id", "segment_id")),
    "recordings": ("recording_id", "recording_id"),
    **dict.fromkeys(("candidates", "annotations", "screenings", "downloads"), ("candidate_id", "candidate_id")),
    "recording_clusters": ("item_id", "recording_id"),
    "note_clusters": ("item_id", "segment_id"),
}
SEARCHED = 100_000  # segments searched for a benchmark's music at once
EXCLUDED = pa.schema([("segment_id", pa.string()), ("reason", pa.string())])


def put_finished(relations: Relations, context: BuildContext) -> None:
    """The relation `finished` (`release.next_rows`) of the segments that are above the floor and have an annotation.

    Takes the relations of `flows.build.results`, `carried`, whose recordings are left out, and those of
    `flows.build.copies`.
    """
    relations.put_batches("excluded", EXCLUDED, _excluded(relations, context))
    put_alignments(relations, context.root)
    num_parts = 1 + int(relations.value("SELECT count(*) FROM segments")) // JOINED
    relations.put("finished", arrow_schema().empty_table())
    for part in range(num_parts):
        relations.run(f"""CREATE OR REPLACE TABLE part AS SELECT segment_id, recording_id, candidate_id
            FROM segments JOIN recordings USING (recording_id) WHERE hash(candidate_id) % {num_parts} = {part}""")
        relations.run(f"INSERT INTO finished BY NAME {_finished_of_part(context)}")


def _finished_of_part(context: BuildContext) -> str:
    """The rows of the segments in the relation `part`. Ten joins of all would need too much memory."""
    of_part = ", ".join(
        f"{name}_of_part AS MATERIALIZED (SELECT * FROM {name} WHERE {key} IN (SELECT {of} FROM part))"
        for name, (key, of) in PARTED.items()
    )
    of_annotation = ", ".join(f"a.{name}" for name in FROM_ANNOTATION)
    of_transcription = ", ".join(f"t.{name}" for name in FROM_TRANSCRIPTION)
    of_measures = ", ".join(f"m.row_{name} AS {name}" for name in FROM_MEASUREMENT)
    decided = {
        "audio_reachable": "BOOLEAN",
        "split": "VARCHAR",
        "in_unique": "BOOLEAN",
        "first_version": "BIGINT",
        "removed_in": "BIGINT",
        "removal_reason": "VARCHAR",
    }
    of_alignments = ", ".join(f"{_judged(name)} AS {name}" for name in ALIGNED)
    empty = ", ".join(f"NULL::{type_} AS {name}" for name, type_ in decided.items())
    names = ", ".join(f'"{name}"' for name in arrow_schema().names)
    return f"""WITH {of_part} SELECT {names} FROM (
        SELECT s.segment_id, s.recording_id, s.number, s.start_s, s.end_s, s.duration_s, s.audio_score, {of_annotation},
            {of_transcription}, {of_measures}, c.source, c.source_url, c.uploader,
            coalesce(nullif(d.licence, ''), c.licence) AS licence, -- one that was read with the audio is newer
            m.num_endless_notes::BIGINT AS num_endless_notes, m.is_start_truncated, m.is_end_truncated,
            m.row_cut_at_start AS cut_at_start, m.row_cut_at_end AS cut_at_end, m.cut_evidence, m.agreement_per_5_s,
            m.disagreements,
            CASE WHEN t.heads_sha256 <> '' THEN true END AS velocity_calibrated,
            '{context.classifier_sha256}' AS classifier_sha256, -- a part of the key of its scores
            p.relevance_score, r.audio_sha256, 'audio-' || substr(r.samples_sha256, 1, 16) AS audio_cluster,
            rc.cluster_id AS recording_cluster, nc.cluster_id AS notes_cluster,
            rc.is_lead AND nc.is_lead AS is_cluster_lead, coalesce(x.reason, '') AS excluded_by,
            m.in_pruned < 0 AS in_pruned, m.in_deduplicated < 0 AS in_deduplicated, {of_alignments},
            {empty}
        FROM segments_of_part s JOIN measures_of_part m USING (segment_id)
        JOIN transcriptions_of_part t USING (segment_id)
        JOIN recordings_of_part r USING (recording_id) JOIN candidates_of_part c USING (candidate_id)
        JOIN annotations_of_part a USING (candidate_id) JOIN screenings_of_part p USING (candidate_id)
        JOIN recording_clusters_of_part rc ON rc.item_id = s.recording_id
        JOIN note_clusters_of_part nc ON nc.item_id = s.segment_id
        LEFT JOIN downloads_of_part d USING (candidate_id) LEFT JOIN excluded x USING (segment_id)
        LEFT JOIN alignments_of_part l ON l.segment_id = s.segment_id AND l.midi_sha256 = t.midi_sha256
        WHERE m.floor < 0 AND s.recording_id NOT IN (SELECT recording_id FROM carried))"""


def _judged(name: str) -> str:
    """What an alignment says; null where the tag, or what two transcribers disagree on, is another by now."""
    if name in OF_AGREEMENT:
        return f"CASE WHEN l.{JUDGED_DISAGREEMENTS} = sha256(m.disagreements) THEN l.{name} END"
    if name not in OF_ALL:
        return f"l.{name}"
    return (
        f"CASE WHEN coalesce(l.{JUDGED_TAG}, a.composition_id, '') = coalesce(a.composition_id, '') THEN l.{name} END"
    )


def _excluded(relations: Relations, context: BuildContext) -> Iterator[pa.RecordBatch]:
    """The segments that a list of `release.exclude` names, and why. Raises `ConfigInvalid`."""
    config = context.config.release
    if not config.exclude:
        return
    lists = [find_exclusion(name) for name in config.exclude]
    searched = """SELECT segment_id, composition_id, midi_path FROM segments JOIN transcriptions USING (segment_id)
        JOIN recordings USING (recording_id) JOIN annotations USING (candidate_id)"""
    for batch in relations.batches(searched, SEARCHED):
        rows = zip(*(column.to_pylist() for column in batch.columns), strict=True)
        segments = ((key, composition_id, context.root / path) for key, composition_id, path in rows)
        found = excluded_by(lists, segments, config.exclude_by, read=notes_of)
        if found:
            yield pa.RecordBatch.from_pydict({"segment_id": list(found), "reason": list(found.values())}, EXCLUDED)
