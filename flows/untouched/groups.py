"""Which groups of rows have something new in them. The rest of the newest version is untouched."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aria_data.manifest import Manifest
from aria_data.release.next_rows import PREVIOUS
from aria_data.release.split_groups import CLUSTERS, components, compositions_of, connected
from aria_data.repertoire import work_labels
from aria_data.storage.relations import Relations
from flows.engine.context import BuildContext

RELEASED = ("segment_id", *CLUSTERS, "composition_id", "midi_sha256", "midi_path", "audio_reachable", "removed_in")
FEW_ROWS = 1000
MOST = 0.2  # of all rows: they are in memory when a version is written, and deciding all anew costs little more
OF_SEGMENTS = ("transcribe", "measure", "prune")  # steps whose items are segments
_PAIRS = pa.schema([("one", pa.string()), ("other", pa.string())])
_PAIRS_AT_ONCE = 50_000


def put_released(relations: Relations, manifest: Manifest) -> None:
    """The relation `released` of all rows of the newest version: the columns `RELEASED`."""
    relations.put("released", manifest.reader(RELEASED))


def put_other_items(relations: Relations, by_notes: bool) -> None:
    """The relations `other_sounds` and `other_notes` (content, key) of the rows of skipped candidates.

    Takes `released`, `skipped`, and `other_fingerprints` (item_id, key) of skipped candidates.
    """
    relations.run("""CREATE OR REPLACE TABLE other_sounds AS SELECT samples_sha256 AS content, key
        FROM other_fingerprints k JOIN skipped ON skipped.recording_id = k.item_id
        WHERE NOT is_copy AND k.item_id IN (SELECT recording_id FROM released WHERE removed_in IS NULL)""")
    relations.run(f"""CREATE OR REPLACE TABLE other_notes AS SELECT midi_sha256 AS content, midi_path AS key
        FROM released SEMI JOIN skipped USING (recording_id) WHERE removed_in IS NULL AND {by_notes}""")


def put_affected(
    relations: Relations, context: BuildContext, pairs: Iterable[tuple[str, str]], changed: Collection[str]
) -> bool:
    """Find what is affected: the relations `affected` of skipped candidates and `untouched` of rows.

    Takes `released`, `skipped`, and of the other candidates `recordings`, `annotations`, `sound_items` and
    `note_items`; `pairs` are the contents that are the same, `changed` those of pairs that came or went. False where so
    much is affected that all may be decided anew.
    """
    _put_near(relations, pairs, changed)
    _put_linked(relations)
    if relations.value("SELECT count(*) FROM linked WHERE is_seed"):
        _seed_gone(relations, context)
    is_hit = _are_hit(relations)
    if is_hit.sum() > max(FEW_ROWS, MOST * len(is_hit)):
        return False
    relations.put("hit", pa.table({"place": np.flatnonzero(is_hit)}))
    relations.run("""CREATE OR REPLACE TABLE hit_recordings AS
        SELECT DISTINCT recording_id FROM linked SEMI JOIN hit USING (place)""")
    relations.run("""CREATE OR REPLACE TABLE affected AS
        SELECT * FROM skipped SEMI JOIN hit_recordings USING (recording_id)""")
    relations.run("""CREATE OR REPLACE TABLE untouched AS SELECT segment_id, recording_id FROM released
        ANTI JOIN hit_recordings USING (recording_id) WHERE removed_in IS NULL""")
    return True


def put_touched(relations: Relations, manifest: Manifest) -> None:
    """The relation `previous` (`release.next_rows`) of the newest version's rows that are not in `untouched`."""
    touched = relations.table("SELECT segment_id FROM released ANTI JOIN untouched USING (segment_id)")
    relations.put("previous", manifest.rows_of(touched["segment_id"].to_pylist(), columns=PREVIOUS))


def put_kept(relations: Relations, rejections: pa.RecordBatchReader) -> None:
    """What the end says of the candidates that are skipped and not affected, as the last one said it.

    Gives the relations `kept_rows` (segment_id, candidate_id) and `kept_segments` (item_id), and adds to `rejections`
    those of segments; given are those of the last build.
    """
    kept = "(SELECT candidate_id FROM skipped ANTI JOIN affected USING (candidate_id))"
    relations.run("""CREATE OR REPLACE TABLE kept_rows AS SELECT segment_id, candidate_id
        FROM untouched JOIN (FROM skipped WHERE NOT is_copy) USING (recording_id)""")
    relations.run(
        f"""INSERT INTO rejections BY NAME SELECT * FROM given SEMI JOIN {kept} USING (candidate_id)
            WHERE stage IN ('prune', 'remove') AND item_id <> candidate_id""",
        given=rejections,
    )
    relations.run(f"""CREATE OR REPLACE TABLE kept_segments AS SELECT segment_id AS item_id FROM kept_rows
        UNION SELECT item_id FROM rejections SEMI JOIN {kept} USING (candidate_id) WHERE stage IN {OF_SEGMENTS}""")


def put_nothing_kept(relations: Relations) -> None:
    """The relations of `put_kept`, without rows: all is decided anew."""
    relations.run("CREATE OR REPLACE TABLE kept_rows (segment_id VARCHAR, candidate_id VARCHAR)")
    relations.run("CREATE OR REPLACE TABLE kept_segments (item_id VARCHAR)")
    relations.run("CREATE OR REPLACE TABLE kept_precisions (precision VARCHAR)")
    relations.run("CREATE OR REPLACE TABLE kept_outside (place INTEGER, failing SMALLINT, segment_id VARCHAR)")


def _put_near(relations: Relations, pairs: Iterable[tuple[str, str]], changed: Collection[str]) -> None:
    """The relations `near` of the contents of what is new, of what is the same as one of them, and of `changed` ones;
    and `same` of all that are the same as others, each with a name of those: copies of copies have one."""
    relations.put_batches("pairs", _PAIRS, _batches(pairs))
    relations.put_values("changed", {"content": changed}, {"content": pa.string()})
    relations.run("""CREATE OR REPLACE TABLE near AS WITH new AS (
            SELECT content FROM sound_items UNION SELECT content FROM note_items)
        SELECT content FROM new UNION SELECT other FROM pairs WHERE one IN (FROM new)
        UNION SELECT one FROM pairs WHERE other IN (FROM new) UNION SELECT content FROM changed""")
    contents = relations.table("SELECT one AS content FROM pairs UNION SELECT other FROM pairs")["content"]
    found = relations.table("SELECT one, other FROM pairs")
    one, other = (pc.index_in(found[side], value_set=contents).to_numpy() for side in _PAIRS.names)
    names = connected(one, other, len(contents)).astype(str)
    relations.put("same", pa.table({"content": contents, "name": pa.array(names, pa.string())}))


def _batches(pairs: Iterable[tuple[str, str]]) -> Iterator[pa.RecordBatch]:
    found = list(pairs)
    for start in range(0, len(found), _PAIRS_AT_ONCE):
        columns = list(zip(*found[start : start + _PAIRS_AT_ONCE], strict=True))
        yield pa.RecordBatch.from_arrays([pa.array(column, pa.string()) for column in columns], schema=_PAIRS)


def _put_linked(relations: Relations) -> None:
    """The relation `linked` of all rows, new and released, with what links them.

    Seeds are what is new, what is no row of a skipped candidate any more, what is the same as something new, and what
    could not be reached.
    """
    relations.run(
        "CREATE OR REPLACE TABLE same_sound AS SELECT substr(content, 1, 16) AS start, min(name) AS name"
        " FROM same GROUP BY start"
    )
    relations.run(f"""CREATE OR REPLACE TABLE linked AS SELECT row_number() OVER () - 1 AS place, * FROM (
        SELECT {", ".join(CLUSTERS)}, composition_id, s.name AS same_sound, n.name AS same_notes,
            midi_sha256 IN (SELECT content FROM near)
                OR substr(audio_cluster, 7) IN (SELECT substr(content, 1, 16) FROM near)
                OR recording_id NOT IN (SELECT recording_id FROM skipped WHERE recording_id IS NOT NULL)
                OR audio_reachable IS DISTINCT FROM true AS is_seed
        FROM released LEFT JOIN same_sound s ON s.start = substr(audio_cluster, 7)
        LEFT JOIN same n ON n.content = midi_sha256 WHERE removed_in IS NULL
        UNION ALL BY NAME
        SELECT recording_id, 'audio-' || substr(samples_sha256, 1, 16) AS audio_cluster, composition_id, true AS is_seed
        FROM recordings LEFT JOIN annotations USING (candidate_id))""")


def _seed_gone(relations: Relations, context: BuildContext) -> None:
    """Make seeds of the rows whose audio cannot be read now: they are not marked so yet."""
    found = """SELECT DISTINCT location FROM skipped SEMI JOIN (FROM linked WHERE NOT is_seed) USING (recording_id)
        WHERE NOT is_copy"""
    gone = [
        location
        for batch in relations.batches(found)
        for location in batch.column(0).to_pylist()
        if not context.can_read(location)
    ]
    if gone:
        relations.put_values("gone", {"location": gone}, {"location": pa.string()})
        relations.run("""UPDATE linked SET is_seed = true WHERE recording_id IN (
            SELECT recording_id FROM skipped SEMI JOIN gone USING (location))""")


def _are_hit(relations: Relations) -> np.ndarray:
    """For each row of `linked`, by place, whether its group has a seed."""
    compositions = compositions_of(relations, "linked")
    group = components(relations, "linked", compositions, work_labels(compositions), ("same_sound", "same_notes"))
    seeds = relations.table("SELECT place FROM linked WHERE is_seed")["place"].to_numpy()
    has_seed = np.zeros(int(group.max(initial=-1)) + 1, bool)
    has_seed[group[seeds]] = True
    return has_seed[group]
