"""Rows of the newest version that stay as they are, because the work on them could not be finished now.

An item that is *not done* (its disk is away, a model's server is down) is no rejection: its rows keep their earlier
results until a build can finish the work. `audio_reachable` is false where the audio could not be read.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pyarrow as pa

from aria_data.manifest.columns import arrow_schema
from aria_data.manifest.manifest import Manifest
from aria_data.measure import MEASURES, load_limits
from aria_data.measure.measured_columns import KEPT, columns_of, first_failing
from aria_data.release.next_rows import PREVIOUS
from aria_data.storage.relations import Relations
from flows.engine.context import BuildContext, Pending
from flows.engine.stages import INGEST, MEASURE


def pending_line(urls: Mapping[str, str], item_id: str, pending: Pending) -> str:
    """Say what could not be finished, and why, on one line; `urls` are places of candidates that are away, by id."""
    if not pending.is_unreachable:
        return f"{item_id}: {pending.message}"
    return f"{urls[pending.candidate_id]}: {pending.reason} ({pending.message})"


def put_previous(relations: Relations, manifest: Manifest) -> None:
    """The relation `previous` of the newest version's rows (`release.next_rows`)."""
    relations.put("previous", manifest.reader(PREVIOUS))


def put_tombstones(relations: Relations, manifest: Manifest) -> None:
    """The relation `tombstones` of the newest version's rows that were removed before. Takes `previous`."""
    removed = relations.table("SELECT segment_id FROM previous WHERE removed_in IS NOT NULL")["segment_id"]
    stones = manifest.rows_of(removed.to_pylist()) if len(removed) else arrow_schema().empty_table()
    relations.put("tombstones", stones.select(arrow_schema().names))


def put_carried(
    relations: Relations, context: BuildContext, not_done: Mapping[str, Pending], left_alone: Collection[str]
) -> None:
    """The relation `carried` of the previous rows whose candidates wait for an item of `not_done`.

    What was removed or opted out is not among them. `carried_owners` has the candidates that each row waits for: the
    one whose file is used, or all that had its bytes. Takes `previous`, `recordings` and `removals`.
    """
    waiting: dict[str, bool] = {}
    for pending in not_done.values():
        if pending.candidate_id not in left_alone:
            waiting[pending.candidate_id] = waiting.get(pending.candidate_id, False) or pending.is_unreachable
    types = {"candidate_id": pa.string(), "is_unreachable": pa.bool_()}
    if not waiting:
        owners = pa.schema([("segment_id", pa.string()), *types.items()])
        relations.put("carried_owners", owners.empty_table())
        relations.put("carried", arrow_schema().empty_table())
        return
    relations.put_values("waiting", {"candidate_id": waiting.keys(), "is_unreachable": waiting.values()}, types)
    given = INGEST.table(context).fields(["recording_id", "candidate_id"])
    relations.run(
        """CREATE OR REPLACE TABLE owners AS
        SELECT recording_id, candidate_id FROM recordings SEMI JOIN waiting USING (candidate_id)
        UNION SELECT * FROM (
            SELECT recording_id, candidate_id FROM given SEMI JOIN waiting USING (candidate_id)
            UNION SELECT candidate_id, candidate_id FROM waiting) ANTI JOIN recordings USING (recording_id)""",
        given=given,
    )
    relations.run("""CREATE OR REPLACE TABLE carried_owners AS
        SELECT segment_id, candidate_id, is_unreachable
        FROM previous JOIN owners USING (recording_id) JOIN waiting USING (candidate_id)
        WHERE removed_in IS NULL AND segment_id NOT IN (SELECT name FROM removals)
            AND recording_id NOT IN (SELECT name FROM removals)
            AND coalesce(source_url, '') NOT IN (SELECT name FROM removals)""")
    if not relations.value("SELECT count(*) FROM carried_owners"):
        relations.put("carried", arrow_schema().empty_table())
        return
    relations.run(
        """CREATE OR REPLACE TABLE carried AS
            SELECT g.* REPLACE (CASE WHEN is_away THEN false ELSE audio_reachable END AS audio_reachable)
            FROM given g JOIN (SELECT segment_id, bool_or(is_unreachable) AS is_away
                FROM carried_owners GROUP BY segment_id) USING (segment_id)""",
        given=Manifest(context.root).reader(arrow_schema().names),
    )


def within_limits(relations: Relations, context: BuildContext, limits: str) -> pa.ChunkedArray:
    """The ids of the segments within limits; of carried rows by their earlier measurements."""
    checked, found = load_limits(limits), []
    names = ", ".join(f'"{name}"' for name in MEASURES)
    for batch in relations.batches(f"SELECT segment_id, {names} FROM measures ANTI JOIN carried USING (segment_id)"):
        measured = dict(zip(MEASURES, batch.columns[1:], strict=True))
        found.append(batch.column(0).filter(pa.array(first_failing(measured, checked)[0] == KEPT)))
    earlier = """SELECT segment_id, measures FROM (
            SELECT g.segment_id, measures, row_number() OVER () AS place
            FROM given g SEMI JOIN carried USING (segment_id))
        QUALIFY row_number() OVER (PARTITION BY segment_id ORDER BY place DESC) = 1"""
    if relations.value("SELECT count(*) FROM carried"):
        for batch in relations.batches(earlier, given=MEASURE.table(context).fields(["segment_id", "measures"])):
            failing, _ = first_failing(columns_of(batch.column(1)), checked)
            found.append(batch.column(0).filter(pa.array(np.asarray(failing == KEPT))))
    return pa.chunked_array(found, pa.string())
