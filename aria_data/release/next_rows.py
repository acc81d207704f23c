"""The rows of the next version, as relations: recordings of a composition, splits, first versions, tombstones.

What is given, as relations of these names:

    finished    the manifest's columns of the segments that are whole: `in_pruned` and `in_deduplicated` say whether
                they pass the limits, `is_cluster_lead` whether they represent their clusters; the rest is null
    carried     rows that stay as they are, but for their split
    previous    `PREVIOUS` of all rows of the newest version;  tombstones: all columns of those removed before
    removals    name and reason: a removal that is recorded, and perhaps not released yet
    given       label and strictness: the place in `STRICTNESS` of the split that a label was given before
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from aria_data.manifest.columns import arrow_schema
from aria_data.release.config import ReleaseConfig
from aria_data.release.split_groups import put_groups
from aria_data.release.splits import EXCLUDED, STRICTNESS, split_of
from aria_data.storage.relations import Relations

PREVIOUS = ("segment_id", "recording_id", "source_url", "number", "source", "first_version", "removed_in")
GROUPED = (
    "segment_id, recording_id, audio_cluster, recording_cluster, notes_cluster, composition_id, excluded_by, "
    "first_version"
)


def put_next_rows(relations: Relations, config: ReleaseConfig, next_version: int) -> str:
    """Decide what the relations of this file's docstring leave open. Gives the query of all rows, without an order."""
    _put_decided(relations, config.max_recordings_per_composition, next_version)
    relations.run(f"""CREATE OR REPLACE TABLE grouped AS
        SELECT row_number() OVER (ORDER BY segment_id) - 1 AS place, {GROUPED} FROM (
            SELECT f.* REPLACE (d.first_version AS first_version) FROM finished f JOIN decided d USING (segment_id)
            UNION ALL BY NAME SELECT * FROM carried)""")
    put_groups(relations)
    _put_splits(relations, config)
    return _rows(next_version)


def _put_decided(relations: Relations, cap: int, next_version: int) -> None:
    """What is decided of each finished segment by itself, and by the recordings of its composition."""
    relations.run(f"""CREATE OR REPLACE TABLE kept_recordings AS SELECT DISTINCT recording_id FROM (
        SELECT *, row_number() OVER (PARTITION BY composition_id ORDER BY score DESC, recording_id) AS place FROM (
            SELECT coalesce(composition_id, '') AS composition_id, recording_id,
                max(greatest(coalesce(audio_score, 0.0), 0.0)) AS score
            FROM finished WHERE is_cluster_lead AND in_deduplicated GROUP BY ALL))
        WHERE place <= {cap} OR {cap} = 0 OR composition_id = ''""")
    relations.run(f"""CREATE OR REPLACE TABLE decided AS
        SELECT f.segment_id, f.in_pruned AND f.in_deduplicated AND f.is_cluster_lead AND k.recording_id IS NOT NULL
                AS in_deduplicated,
            CASE WHEN p.segment_id IS NULL THEN {next_version} ELSE p.first_version END AS first_version
        FROM finished f LEFT JOIN kept_recordings k USING (recording_id) LEFT JOIN previous p USING (segment_id)""")


def _put_splits(relations: Relations, config: ReleaseConfig) -> None:
    """The split of each group: the strictest that any of it was given, else by a hash of the name of its oldest row."""
    relations.run("""CREATE OR REPLACE TABLE group_facts AS
        SELECT grp, min(g.excluded_by) FILTER (g.excluded_by <> '') AS named,
            max(greatest(a.strictness, b.strictness, c.strictness, w.strictness)) AS strictness,
            arg_min(coalesce(nullif(composition_id, ''), audio_cluster, ''),
                row(first_version, coalesce(composition_id, '') = '', segment_id)) AS name
        FROM grouped g JOIN groups USING (place)
        LEFT JOIN given a ON a.label = 'recording_id=' || nullif(recording_id, '')
        LEFT JOIN given b ON b.label = 'audio_cluster=' || nullif(audio_cluster, '')
        LEFT JOIN given c ON c.label = 'composition_id=' || nullif(composition_id, '')
        LEFT JOIN given_to_works w USING (composition_id)
        GROUP BY grp""")

    def by_hash() -> Iterator[pa.RecordBatch]:
        for batch in relations.batches("SELECT grp, name FROM group_facts WHERE strictness IS NULL"):
            names = batch.column("name").to_pylist()
            splits = [split_of(name, config.test_share, config.validation_share) for name in names]
            yield pa.RecordBatch.from_arrays([batch.column("grp").cast(pa.int64()), pa.array(splits)], schema=schema)

    schema = pa.schema([("grp", pa.int64()), ("split", pa.string())])
    relations.put_batches("splits_by_hash", schema, by_hash())
    earlier = " ".join(f"WHEN {place} THEN '{split}'" for place, split in enumerate(STRICTNESS))
    relations.run(f"""CREATE OR REPLACE TABLE decided_splits AS
        SELECT segment_id, named, CASE WHEN named IS NOT NULL THEN '{EXCLUDED}' WHEN strictness IS NULL THEN h.split
            ELSE CASE strictness {earlier} END END AS split
        FROM grouped JOIN groups USING (place) JOIN group_facts USING (grp) LEFT JOIN splits_by_hash h USING (grp)""")


def _rows(next_version: int) -> str:
    names = ", ".join(f'"{name}"' for name in arrow_schema().names)
    with_split = """s.split AS split, s.named IS NULL AND {0} AS in_deduplicated, s.named IS NULL AND {1} AS in_unique,
        CASE WHEN s.named IS NOT NULL AND coalesce(r.excluded_by, '') = ''
            THEN 'together with what is excluded by ' || s.named ELSE r.excluded_by END AS excluded_by"""
    is_known = "d.in_deduplicated AND r.composition_id <> ''"
    return f"""SELECT {names} FROM (
        SELECT r.* REPLACE ({with_split.format("d.in_deduplicated", is_known)}, d.first_version AS first_version)
        FROM finished r JOIN decided d USING (segment_id) JOIN decided_splits s USING (segment_id)
        UNION ALL BY NAME
        SELECT r.* REPLACE ({with_split.format("r.in_deduplicated", "r.in_unique")})
        FROM carried r JOIN decided_splits s USING (segment_id)
        UNION ALL BY NAME SELECT * FROM tombstones ANTI JOIN grouped USING (segment_id)
        UNION ALL BY NAME
        SELECT segment_id, recording_id, number, source, first_version, {next_version} AS removed_in, removal_reason
        FROM (SELECT p.*, coalesce(a.reason, b.reason, c.reason) AS removal_reason
            FROM (SELECT * FROM previous ANTI JOIN grouped USING (segment_id)) p
            LEFT JOIN removals a ON a.name = p.segment_id LEFT JOIN removals b ON b.name = p.recording_id
            LEFT JOIN removals c ON c.name = p.source_url)
        WHERE removed_in IS NULL AND removal_reason IS NOT NULL)"""


def put_given(relations: Relations, given: Mapping[str, str]) -> None:
    """Make the relation `given` of `{label: split}`."""
    values = {"label": given.keys(), "strictness": map(STRICTNESS.index, given.values())}
    relations.put_values("given", values, {"label": pa.string(), "strictness": pa.int32()})


def put_removals(relations: Relations, removals: Mapping[str, str]) -> None:
    """Make the relation `removals` of `{segment_id, recording_id or source_url: reason}`."""
    values: dict[str, Iterable[Any]] = {"name": removals.keys(), "reason": removals.values()}
    relations.put_values("removals", values, dict.fromkeys(values, pa.string()))
