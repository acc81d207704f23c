"""Rows that stay as they are take part in the search for copies, with their kept fingerprints and MIDI files.

Without them, a new copy of a test recording whose disk is away would share nothing with it, and could enter train. Rows
that represent their cluster go on doing so; those that do not come last, for they are not chosen anew.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from aria_data.records import Recording
from aria_data.storage.relations import Relations
from flows.engine.context import BuildContext
from flows.engine.items import fingerprint_item
from flows.engine.stages import FINGERPRINT, INGEST

BEFORE, AMONG, BEHIND = range(
    3
)  # first in an order of preference: carried representatives, rows of now, carried copies
_KEYS = pa.schema([("content", pa.string()), ("key", pa.string())])


def put_carried_items(relations: Relations, context: BuildContext) -> None:
    """What earlier builds recorded of the rows in the relation `carried`, as the search for copies takes it.

    Gives `carried_preferences` (segment_id, preference), `carried_recordings` (item_id, content, duration_s,
    preference) of the recordings that the rows were made from, for an address may have brought other audio since; and
    `carried_fingerprints` (content, key).
    """
    relations.run(f"""CREATE OR REPLACE TABLE carried_preferences AS
        SELECT segment_id, CASE WHEN is_cluster_lead THEN {BEFORE} ELSE {BEHIND} END AS preference FROM carried""")
    given = INGEST.table(context).fields(["recording_id", "audio_sha256", "samples_sha256", "duration_s"])
    if not relations.value("SELECT count(*) FROM carried"):
        given = given.schema.empty_table()
    relations.run(
        f"""CREATE OR REPLACE TABLE carried_recordings AS
            SELECT g.recording_id AS item_id, last(g.samples_sha256) AS content, last(g.duration_s) AS duration_s,
                CASE WHEN last(c.is_representing) THEN {BEFORE} ELSE {BEHIND} END AS preference
            FROM given g JOIN (
                SELECT recording_id, last(audio_sha256) AS audio_sha256, bool_or(is_cluster_lead) AS is_representing
                FROM carried GROUP BY recording_id) c USING (recording_id)
            WHERE g.audio_sha256 = c.audio_sha256 GROUP BY g.recording_id""",
        given=given,
    )
    relations.put_batches("carried_fingerprints", _KEYS, _fingerprints(relations, context))


def _fingerprints(relations: Relations, context: BuildContext) -> Iterator[pa.RecordBatch]:
    """The keys under which the fingerprints of carried recordings are found, if they were made."""
    if not FINGERPRINT.is_wanted(context):
        return
    for batch in relations.batches("SELECT item_id, content FROM carried_recordings"):
        contents = batch.column(1).to_pylist()
        pairs = zip(batch.column(0).to_pylist(), contents, strict=True)
        keys = [FINGERPRINT.key(context, fingerprint_item(_recording(*pair))) for pair in pairs]
        yield pa.RecordBatch.from_arrays([pa.array(contents), pa.array(keys)], schema=_KEYS)


def _recording(recording_id: str, samples_sha256: str) -> Recording:
    return Recording(recording_id, "", "", "", samples_sha256, 0.0, 0, 0, "", 0.0, 0.0)


def regroup(relations: Relations) -> None:
    """Give the rows in `carried` the clusters found now.

    A row that lost its place to another carried row represents its cluster no more.
    """
    relations.run("""CREATE OR REPLACE TABLE carried AS SELECT * REPLACE (
            coalesce(r.cluster_id, recording_cluster) AS recording_cluster, n.cluster_id AS notes_cluster,
            is_cluster_lead AND coalesce(r.is_lead, true) AND n.is_lead AS is_cluster_lead,
            in_deduplicated AND is_cluster_lead AND coalesce(r.is_lead, true) AND n.is_lead AS in_deduplicated,
            in_unique AND is_cluster_lead AND coalesce(r.is_lead, true) AND n.is_lead AS in_unique)
        FROM (SELECT c.* FROM carried c) c
        LEFT JOIN recording_clusters r ON r.item_id = c.recording_id
        LEFT JOIN note_clusters n ON n.item_id = c.segment_id""")
