"""The end of a build, when all shards are done: verdicts, copies, the rows of the next version, its release.

Everything here is of all recordings at once, so it works on relations on disk (`storage.relations`): memory does not
grow with the dataset, but for some tens of bytes a recording.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from aria_data.config import to_toml
from aria_data.manifest import Manifest
from aria_data.manifest.digests import hash_of
from aria_data.manifest.kept_rows import KeptRows
from aria_data.manifest.stored_rows import StoredRows, is_present, of_all_rows
from aria_data.measure.measured_columns import reason_of
from aria_data.records import Rejection
from aria_data.release import Removal, Subsets
from aria_data.release.next_rows import put_next_rows, put_removals
from aria_data.release.split_history import REMEMBERED, SplitHistory
from aria_data.release.subsets import JUDGED
from aria_data.release.tombstones import sweep
from aria_data.storage import write_whole
from aria_data.storage.balance import Balance, balance_of
from aria_data.storage.compaction import compact_tables
from aria_data.storage.relations import Relations
from aria_data.storage.stage_tables import RecordTable
from flows.build.carried import put_carried, put_previous, put_tombstones, within_limits
from flows.build.carried_copies import regroup
from flows.build.copies import Indexes, open_indexes, put_copies, put_items
from flows.build.finished import put_finished
from flows.build.provenance import facts_of
from flows.build.publish import publish
from flows.build.reviewed import without_reviewed
from flows.engine.context import BuildContext, Pending
from flows.engine.stages import INGEST
from flows.show.progress_bars import Progress

SUBSETS = ("in_pruned", "in_deduplicated")  # those with limits, in the order in which they are shown
TOTALLED = ("num_notes", "duration_s", *SUBSETS, "in_unique", "removed_in")
_IN_ORDER = "source_url, item_id, stage"


@dataclass(frozen=True)
class Released:
    """What a build's end gave."""

    version: int
    is_new: bool
    totals: Mapping[str, Any]  # num_files, num_notes, audio_s, subsets
    candidates: Balance | None = None
    segments: Balance | None = None


@dataclass
class Ending:
    """The end of one build, on the relations that `flows.build.results` made."""

    context: BuildContext
    relations: Relations
    progress: Progress
    not_done: Mapping[str, Pending] = field(default_factory=dict)  # by item_id
    indexes: Indexes | None = None  # if they are up to date already
    kept: KeptRows | None = None  # rows that stay as they are; the relations have nothing of them

    def put_rejections(self, found_again: Iterable[str], removals: Mapping[str, Removal]) -> None:
        """Add to the relation `rejections` of the stages those of segments removed for good, and of too few notes."""
        again = {key: removals[key].reason for key in found_again}
        self.relations.put_values(
            "found_again",
            {"segment_id": again.keys(), "reason": again.values()},
            dict.fromkeys(("segment_id", "reason"), pa.string()),
        )
        of_item = (
            "candidate_id, source_url, '{}' AS stage, {} AS reason, {} AS measured, {} AS detail, false AS is_failure"
        )
        self.relations.run(f"""INSERT INTO rejections BY NAME
            SELECT segment_id AS item_id, {of_item.format("prune", f"'{reason_of(0)}'", "floor_measured", "''")}
            FROM measures JOIN segments USING (segment_id) JOIN recordings USING (recording_id)
            JOIN candidates USING (candidate_id) WHERE floor >= 0
            UNION ALL
            SELECT segment_id AS item_id, {of_item.format("remove", "'removed'", "NULL", "reason")}
            FROM found_again JOIN recordings ON recording_id = regexp_replace(segment_id, '_[^_]*$', '')
            JOIN candidates USING (candidate_id)""")

    def put_outside(self) -> None:
        """The relation `outside_limits` of the segments above the floor that fail a subset's limits (`OUTSIDE`)."""
        each = " UNION ALL ".join(
            f"SELECT {place} AS place, {subset} AS failing, segment_id FROM measures WHERE floor < 0 AND {subset} >= 0"
            for place, subset in enumerate(SUBSETS)
        )
        self.relations.run(f"CREATE OR REPLACE TABLE outside_limits AS {each}")

    def deduplicate(self, left_alone: set[str], removals: Mapping[str, Removal]) -> None:
        """Cluster copies: the same audio, the same recording, nearly the same notes. None is rejected."""
        relations, manifest = self.relations, Manifest(self.context.root)
        put_removals(relations, {name: removal.reason for name, removal in removals.items()})
        if self.kept is None:
            put_previous(relations, manifest)
        put_tombstones(relations, manifest)
        put_carried(relations, self.context, self.not_done, left_alone)
        put_items(relations, self.context)
        put_copies(relations, self.indexes or self._indexes_of_all())
        regroup(relations)
        put_finished(relations, self.context)

    def _indexes_of_all(self) -> Indexes:
        for name in ("other_sounds", "other_notes"):
            self.relations.put_values(name, {"content": [], "key": []}, dict.fromkeys(("content", "key"), pa.string()))
        return open_indexes(self.relations, self.context, self.progress)

    def release(self, name: str) -> Released:
        """Release a version if anything changed.

        Raises `BalanceBroken` before that where candidates or segments are not all accounted for.
        """
        root, relations = self.context.root, self.relations
        newest = Manifest(root).version()
        history = SplitHistory(root)
        history.put(relations, among="" if self.kept is None else "finished")
        query = put_next_rows(relations, self.context.config.release, newest + 1)
        path = relations.write(f"{query} ORDER BY segment_id", "rows.parquet")
        relations.make_room()
        rows = without_reviewed(self._with_subsets(StoredRows(path)), root, self.context.config.release)
        rows, index = self._mark_reachable(rows, newest)
        balances = self._balances()
        self._write_rejections()
        write_whole(root / "dataset.toml", to_toml(self.context.config).encode())
        whole = rows.columns if self.kept is None else self.kept.with_columns(rows.columns)
        rejected = self.counts("stage || ': ' || reason")
        facts = facts_of(self.context, whole, name, rejected, self.precisions())
        relations.make_room()
        version, is_new = publish(root, rows, facts=facts, index=index, kept=self.kept)
        relations.make_room()  # the splits of all versions need it
        history.add(rows.reader(["split", *REMEMBERED, "removed_in"]), are_all=self.kept is None)
        if pc.any(pc.equal(rows.columns["removed_in"], newest + 1)).as_py():
            sweep(root)
        compact_tables(root)
        return Released(version, is_new, totals_of(whole), *balances)

    def _with_subsets(self, rows: StoredRows) -> StoredRows:
        subsets = Subsets(self.context.root)
        if not subsets.names():
            return rows
        present = is_present(rows.columns)
        judged = rows.columns.filter(present).select(list(JUDGED))
        added = subsets.evaluate(
            judged, rows.ids_where, lambda limits: within_limits(self.relations, self.context, limits)
        )
        columns = {name: of_all_rows(added[name], present) for name in added.column_names if name != "segment_id"}
        return rows.with_columns(columns)

    def _mark_reachable(self, rows: StoredRows, newest: int) -> tuple[StoredRows, pa.Table]:
        """Set `audio_reachable` of the rows that were made now, whether or not their audio had to be read.

        A disk that went away makes no version by itself: where nothing else differs from the newest version, rows stay
        as they are there. Gives their index as well.
        """
        ids, before = rows.columns["recording_id"], rows.columns["audio_reachable"]
        carried = self.relations.table("SELECT DISTINCT recording_id FROM carried")["recording_id"]
        own = pc.and_(is_present(rows.columns), pc.invert(pc.is_in(ids, value_set=carried)))
        rows = rows.with_columns({"audio_reachable": pc.if_else(own, True, before)})
        index = rows.index()
        if newest and self._are_same(index, newest):
            return rows, index
        gone = [
            recording_id
            for batch in self.relations.batches(
                "SELECT recording_id, location FROM recordings SEMI JOIN finished USING (recording_id)"
            )
            for recording_id, location in zip(*(column.to_pylist() for column in batch.columns), strict=True)
            if not self.context.can_read(location)
        ]
        if not gone:
            return rows, index
        is_gone = pc.and_(own, pc.is_in(ids, value_set=pa.array(gone)))
        rows = rows.with_columns({"audio_reachable": pc.if_else(is_gone, False, rows.columns["audio_reachable"])})
        return rows, rows.index()

    def _are_same(self, index: pa.Table, version: int) -> bool:
        """Whether these rows are those of a version, but for the rows that are kept of it."""
        if self.kept is not None:
            return hash_of(index) == hash_of(self.kept.others)
        return hash_of(index) == Manifest(self.context.root).content_sha256(version)

    def _balances(self) -> tuple[Balance, Balance]:
        ids = {"item_id": list(self.not_done), "candidate_id": [one.candidate_id for one in self.not_done.values()]}
        self.relations.put_values("pending", ids, dict.fromkeys(ids, pa.string()))
        candidates = balance_of(
            self.relations,
            "SELECT candidate_id AS item_id FROM candidates",
            """SELECT candidate_id AS item_id FROM finished JOIN recordings USING (recording_id)
                UNION ALL SELECT candidate_id FROM carried_owners
                UNION ALL SELECT candidate_id FROM kept_rows""",
            "SELECT candidate_id AS item_id FROM pending",
            "SELECT candidate_id AS item_id, is_failure FROM rejections",
        )
        segments = balance_of(
            self.relations,
            "SELECT segment_id AS item_id FROM segments UNION ALL SELECT item_id FROM kept_segments",
            "SELECT segment_id AS item_id FROM finished UNION ALL SELECT segment_id FROM kept_rows",
            """SELECT item_id FROM pending
                UNION ALL SELECT segment_id FROM segments SEMI JOIN carried USING (recording_id)
                UNION ALL SELECT segment_id FROM segments JOIN recordings USING (recording_id)
                WHERE candidate_id IN (SELECT item_id FROM pending)""",
            "SELECT item_id, is_failure FROM rejections",
        )
        return candidates, segments

    def _write_rejections(self) -> None:
        table = RecordTable(self.context.root, "rejections", Rejection)
        table.replace_rows(self.relations.table(f"SELECT * FROM rejections ORDER BY {_IN_ORDER}"))

    # ---------------------------------------------------------------- for the summary

    def counts(self, what: str, where: str = "true") -> dict[str, int]:
        """How many rejections of each kind, the most first, then in the order of the table."""
        counted = f"""SELECT {what} AS kind, count(*) AS num, min(row({_IN_ORDER})) AS first
            FROM rejections WHERE {where} GROUP BY kind ORDER BY num DESC, first"""
        return {kind: num for kind, num, _ in self.relations.rows(counted)}

    def outside_subsets(self) -> dict[str, int]:
        """How many segments above the floor fail each limit first: "subset: reason", the most first."""
        counted = """SELECT place, failing, count(*) AS num FROM (FROM outside_limits UNION ALL FROM kept_outside)
            GROUP BY place, failing
            ORDER BY num DESC, place, min(segment_id)"""
        return {f"{SUBSETS[place]}: {reason_of(failing)}": num for place, failing, num in self.relations.rows(counted)}

    def precisions(self) -> dict[str, int]:
        """How many segments were transcribed in which kind of number, where that was recorded; the most first."""
        of = "finished" if self.relations.has("finished") else "segments"
        counted = f"""SELECT precision, count(*) AS num FROM (
                SELECT precision FROM transcriptions SEMI JOIN {of} USING (segment_id)
                UNION ALL SELECT precision FROM kept_precisions)
            WHERE precision != '' GROUP BY precision ORDER BY num DESC, precision"""
        return dict(self.relations.rows(counted))

    def failures(self) -> list[str]:
        """A line for each failure."""
        failed = f"SELECT source_url, reason, detail FROM rejections WHERE is_failure ORDER BY {_IN_ORDER}"
        return [f"{url}: {reason} ({detail})" for url, reason, detail in self.relations.rows(failed)]

    def remarks(self) -> list[str]:
        """What the ingest stage remarks on odd files that it took all the same, one line each.

        Takes `skipped_files` (item_id, key), what it found of candidates that are skipped.
        """
        found = """SELECT DISTINCT source_url, detail FROM given
            SEMI JOIN (SELECT key FROM keys_of_ingest UNION ALL SELECT key FROM skipped_files)
            ON key = outcome_key JOIN candidates ON candidate_id = given.item_id"""
        batches = self.relations.batches(found, given=INGEST.table(self.context).remarks())
        pairs = (pair for batch in batches for pair in zip(*(one.to_pylist() for one in batch.columns), strict=True))
        return sorted(f"{url}: {detail}" for url, detail in pairs)

    def same_files(self) -> list[str]:
        """The locations of all recordings whose bytes another one has as well."""
        files = """(SELECT audio_sha256, location FROM ingested UNION
            SELECT audio_sha256, location FROM skipped WHERE audio_sha256 IS NOT NULL)"""
        twice = f"SELECT audio_sha256 FROM {files} GROUP BY audio_sha256 HAVING count(*) > 1"
        found = f"SELECT location FROM {files} WHERE audio_sha256 IN ({twice}) ORDER BY location"
        return [location for (location,) in self.relations.rows(found)]


def totals_of(columns: Any) -> dict[str, Any]:
    """Numbers of files and notes, seconds and files in each subset, of the rows that are not removed."""
    present = columns.filter(pc.is_null(columns["removed_in"]))
    return {
        "num_files": len(present),
        "num_notes": pc.sum(present["num_notes"]).as_py() or 0,
        "audio_s": pc.sum(present["duration_s"]).as_py() or 0,
        "subsets": {name: pc.sum(present[name]).as_py() or 0 for name in (*SUBSETS, "in_unique")},
    }
