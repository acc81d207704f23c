"""Cluster the recordings and segments of a build: same audio, same recording, same notes; choose representatives.

Most have no copy, and are their own cluster. Only those are compared, as plain values, that have the content of another
or that an index (`deduplicate.kept_index`) pairs with another.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from aria_data.deduplicate import KeptIndex, NoteIndexConfig, Notes, fingerprints, same_notes, same_recording
from aria_data.deduplicate.clusters import Item as Copied
from aria_data.errors import PermanentError
from aria_data.records import AudioCluster
from aria_data.release.exclusions import notes_in
from aria_data.storage.relations import Relations
from flows.build.carried_copies import AMONG, put_carried_items
from flows.engine.context import BuildContext
from flows.engine.stages import FINGERPRINT

if TYPE_CHECKING:
    from flows.show.progress_bars import Progress

LENGTH_STEP = math.log(1.1)  # lengths within about 10 % count as equal; else the longer copy is the representative
LOSSLESS = ("flac", "alac", "pcm", "ape", "wavpack", "tta")
CLUSTERED = {"item_id": pa.string(), "cluster_id": pa.string(), "is_lead": pa.bool_()}


@dataclass(frozen=True)
class Indexes:
    """What is the same, found among all recordings and segments of a dataset."""

    sound: KeptIndex
    notes: KeptIndex

    def pairs(self) -> Iterator[tuple[str, str]]:
        """The contents of which each is the same sound, or the same notes, as the other."""
        yield from self.sound.pairs()
        yield from self.notes.pairs()

    def changed(self) -> set[str] | None:
        """The contents of pairs that came or went with what is new; None where those before are not known."""
        found = self.sound.changed_pairs(), self.notes.changed_pairs()
        return None if None in found else {content for pairs in found for pair in pairs or () for content in pair}


def open_indexes(relations: Relations, context: BuildContext, progress: Progress) -> Indexes:
    """Bring the indexes in `DATASET/index/` up to date. Takes the relations of `put_items`, and `other_sounds` and
    `other_notes` (content, key) of what else the indexes hold."""
    return Indexes(_sounds(relations, context, progress), _scores(relations, context, progress))


def put_items(relations: Relations, context: BuildContext) -> None:
    """What may be copies: the relations `usable` of segments above the floor, `sound_items` and `note_items`.

    Takes the relations of `flows.build.results` and `carried`. Recordings with `carried` rows are looked for as those
    rows have them.
    """
    put_carried_items(relations, context)
    relations.run("""CREATE OR REPLACE TABLE usable AS
        SELECT s.segment_id, recording_id, last_s - first_s AS length_s, s.audio_score,
            (m.in_deduplicated >= 0)::INTEGER * 2 + (m.in_pruned >= 0)::INTEGER AS failed,
            m.chroma_agreement, m.onset_agreement
        FROM segments s JOIN measures m USING (segment_id)
        WHERE m.floor < 0 AND recording_id NOT IN (SELECT recording_id FROM carried)""")
    relations.run("""CREATE OR REPLACE TABLE sound_items AS
        SELECT recording_id AS item_id, samples_sha256 AS content FROM recordings SEMI JOIN usable USING (recording_id)
        UNION ALL SELECT item_id, content FROM carried_recordings""")
    relations.run("""CREATE OR REPLACE TABLE note_items AS
        SELECT segment_id AS item_id, midi_sha256 AS content FROM transcriptions SEMI JOIN usable USING (segment_id)
        UNION ALL SELECT segment_id, midi_sha256 FROM carried""")


def put_copies(relations: Relations, indexes: Indexes) -> None:
    """Cluster recordings and segments by sound and by notes, from the relations of `put_items`.

    Gives `recording_clusters` and `note_clusters`, with every item once: item_id, cluster_id, is_lead.
    """
    _put_recordings(relations, indexes.sound)
    _put_notes(relations, indexes.notes)


def _put_recordings(relations: Relations, index: KeptIndex) -> None:
    pairs = index.pairs()
    _put_compared(relations, "sound_items", pairs)
    found = relations.rows("""SELECT recording_id, samples_sha256, failed, duration_s, composition_id, composer_id,
            codec, sample_rate, amount, source_url
        FROM (SELECT recording_id, min(failed) AS failed FROM usable GROUP BY recording_id)
        JOIN recordings USING (recording_id) JOIN compared c ON c.item_id = recording_id
        JOIN candidates USING (candidate_id) LEFT JOIN annotations USING (candidate_id)""")
    items = []
    for key, content, failed, duration_s, composition_id, composer_id, codec, rate, amount, url in found:
        first = (AMONG, divmod(failed, 2), -_length(duration_s), (not composition_id, not composer_id))
        items.append(Copied(key, content, (*first, not codec.startswith(LOSSLESS), -rate, -amount, url)))
    carried = relations.rows("""SELECT item_id, content, preference, duration_s FROM carried_recordings
        SEMI JOIN compared USING (item_id)""")
    items += [Copied(key, content, (place, -duration_s)) for key, content, place, duration_s in carried]
    _put_clusters(relations, "recording", "sound_items", same_recording(items, pairs, index.compare))


def _put_notes(relations: Relations, index: KeptIndex) -> None:
    pairs = index.pairs()
    _put_compared(relations, "note_items", pairs)
    found = relations.rows("""SELECT u.segment_id, midi_sha256, failed, r.is_lead, length_s, composition_id,
            composer_id, chroma_agreement, onset_agreement, audio_score
        FROM usable u JOIN transcriptions USING (segment_id) JOIN compared c ON c.item_id = segment_id
        JOIN recordings USING (recording_id) JOIN recording_clusters r ON r.item_id = recording_id
        LEFT JOIN annotations USING (candidate_id)""")
    items = []
    for key, content, failed, is_lead, length_s, composition_id, composer_id, chroma, onset, score in found:
        first = (AMONG, divmod(failed, 2), not is_lead, -_length(length_s), (not composition_id, not composer_id))
        items.append(Copied(key, content, (*first, -_agreement(chroma, onset), -score)))
    carried = relations.rows("""SELECT segment_id, midi_sha256, preference, duration_s
        FROM carried JOIN compared c ON c.item_id = segment_id JOIN carried_preferences USING (segment_id)""")
    items += [Copied(key, content, (place, -duration_s)) for key, content, place, duration_s in carried]
    _put_clusters(relations, "notes", "note_items", same_notes(items, pairs, index.compare))


def _put_compared(relations: Relations, items: str, pairs: Iterable[tuple[str, str]]) -> None:
    """The relation `compared` of the items whose content another item has, or is paired with another."""
    paired = sorted({content for pair in pairs for content in pair})
    relations.put_values("paired", {"content": paired}, {"content": pa.string()})
    relations.run(f"""CREATE OR REPLACE TABLE compared AS SELECT item_id FROM {items} WHERE content IN (
        SELECT content FROM paired
        UNION ALL SELECT content FROM {items} GROUP BY content HAVING count(*) > 1)""")


def _put_clusters(relations: Relations, kind: str, items: str, found: Mapping[str, AudioCluster]) -> None:
    """The clusters that were `found`, and one of its own for each other item, called after its content."""
    clusters, leads = ([getattr(one, name) for one in found.values()] for name in ("cluster_id", "is_lead"))
    relations.put_values("found", {"item_id": found, "cluster_id": clusters, "is_lead": leads}, CLUSTERED)
    name = "note_clusters" if kind == "notes" else "recording_clusters"
    relations.run(f"""CREATE OR REPLACE TABLE {name} AS SELECT * FROM found
        UNION ALL SELECT item_id, '{kind}-' || substr(content, 1, 16), true
        FROM {items} ANTI JOIN found USING (item_id)""")


def _sounds(relations: Relations, context: BuildContext, progress: Progress) -> KeptIndex:
    """The index of all fingerprints."""
    if not relations.has("keys_of_fingerprint"):
        relations.put_values(
            "keys_of_fingerprint", {"item_id": [], "key": []}, dict.fromkeys(("item_id", "key"), pa.string())
        )
    relations.run("""CREATE OR REPLACE TABLE wanted AS
        SELECT samples_sha256 AS content, key FROM keys_of_fingerprint k JOIN recordings ON recording_id = item_id
        SEMI JOIN usable USING (recording_id)
        UNION ALL SELECT content, key FROM carried_fingerprints UNION ALL SELECT content, key FROM other_sounds""")

    def read(contents: pa.Array) -> Iterator[tuple[str, Notes | None]]:
        relations.put("new", pa.table({"content": contents}))
        keys = "(SELECT content, any_value(key) AS key FROM wanted SEMI JOIN new USING (content) GROUP BY content)"
        joined = f"SELECT w.content, given.onsets FROM given JOIN {keys} w ON w.key = given.outcome_key"
        seen: set[str] = set()
        for batch in relations.batches(joined, given=FINGERPRINT.table(context).fields(["onsets"])):
            for content, onsets in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                if content not in seen:
                    seen.add(content)
                    yield content, fingerprints.from_bytes(base64.b64decode(onsets))

    return _updated(relations, context, progress, "sound", fingerprints.CONFIG, read)


def _scores(relations: Relations, context: BuildContext, progress: Progress) -> KeptIndex:
    """The index of all notes."""
    relations.run(f"""CREATE OR REPLACE TABLE wanted AS SELECT content, midi_path AS key FROM note_items JOIN (
        SELECT segment_id, midi_path FROM transcriptions
        UNION ALL SELECT segment_id, midi_path FROM carried) t ON t.segment_id = item_id
        WHERE {context.config.deduplicate.by_notes} UNION ALL SELECT content, key FROM other_notes""")

    def read(contents: pa.Array) -> Iterator[tuple[str, Notes | None]]:
        relations.put("new", pa.table({"content": contents}))
        paths = "SELECT content, max(key) FROM wanted SEMI JOIN new USING (content) GROUP BY content ORDER BY content"
        for batch in relations.batches(paths):
            for content, path in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                yield content, notes_of(context.root / path)

    return _updated(relations, context, progress, "notes", NoteIndexConfig(), read)


def _updated(
    relations: Relations, context: BuildContext, progress: Progress, name: str, config: NoteIndexConfig, read: Any
) -> KeptIndex:
    wanted = relations.table("SELECT DISTINCT content FROM wanted")["content"]
    index = KeptIndex(context.root / "index" / name, config)
    num_new = index.num_new(wanted)
    with progress.stage(f"index {name}", num_new, 0.0, len(wanted) - num_new):
        index.update(wanted, read, lambda num: progress.advance(0.0, num))
    return index


def notes_of(path: Path) -> Notes | None:
    """The notes of a MIDI file; None where it is damaged, so that it has no copies."""
    try:
        return notes_in(path)
    except PermanentError:  # damaged by hand; the build's other checks report it
        return None


def _length(seconds: float) -> int:
    return round(math.log(max(seconds, 1e-3)) / LENGTH_STEP)


def _agreement(*values: float | None) -> float:
    """How well the notes fit the sound, 0 to 1, rounded so that noise does not decide."""
    return round(sum(0.0 if value is None or math.isnan(value) else value for value in values) / len(values), 2)
