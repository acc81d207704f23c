"""All candidates of a build, each as it was observed last: in a file on disk, in the order in which they are taken.

Candidates are objects only while somebody looks at them, a block at a time.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aria_data.collect.folder import is_closed_folder
from aria_data.records import Candidate, Recording
from aria_data.release.tombstones import SAID, maybe_named
from aria_data.storage.relations import Relations
from aria_data.storage.rows_of_records import arrow_type, from_column, to_column
from aria_data.storage.stage_tables import StageTable
from aria_data.web import OptOuts
from flows.engine import shards
from flows.engine.stages import INGEST

FIELDS = list(arrow_type(Candidate))
_NAMES = ", ".join(f'"{field.name}"' for field in FIELDS)
IN_ORDER = "source_url, candidate_id"  # of identical files, the one that is preferred comes first


class Candidates:
    """Candidates in order, each as it was observed last, in a Parquet file."""

    def __init__(self, path: Path):
        self.path = path
        self._file = pq.ParquetFile(path)

    @classmethod
    def write(cls, relations: Relations, name: str, rows: str) -> Candidates:
        """Write the candidates that a relation has, or a query in parentheses."""
        return cls(relations.write(f"SELECT {_NAMES} FROM {rows} ORDER BY {IN_ORDER}", f"{name}.parquet"))

    def __len__(self) -> int:
        return int(self._file.metadata.num_rows)

    def __iter__(self) -> Iterator[Candidate]:
        for block in self.blocks():
            yield from block

    def blocks(self) -> Iterator[list[Candidate]]:
        """All candidates, in order, `shards.BLOCK` at a time."""
        for batch in self._file.iter_batches(shards.BLOCK):
            yield _objects(pa.Table.from_batches([batch]))

    def of(self, candidate_ids: Collection[str]) -> list[Candidate]:
        """Those of these candidates that there are, in order."""
        if not candidate_ids:
            return []
        wanted = pa.array(sorted(candidate_ids), pa.string())
        return _objects(pq.read_table(self.path, filters=pc.field("candidate_id").isin(wanted)))

    def named_by(self, opt_outs: OptOuts) -> Iterator[tuple[Candidate, str]]:
        """The candidates that may not be fetched, each with the reason."""
        if not (opt_outs.ids or opt_outs.has_more_than_ids):
            return
        named: list[str] = []
        for batch in self._file.iter_batches(shards.BLOCK, columns=list(SAID)):
            named += maybe_named(pa.Table.from_batches([batch]), opt_outs)["candidate_id"].to_pylist()
        for candidate in self.of(named):
            reason = opt_outs.reason_for(candidate)
            if reason is not None:
                yield candidate, reason


class Observations:
    """The observations of candidates, a relation; the last one of each makes `Candidates`."""

    def __init__(self, relations: Relations):
        self._relations = relations
        self.add([])

    def read(self, table: StageTable) -> None:
        """Take all observations of earlier builds and crawls, without those of folders that could not be read."""
        names = [field.name for field in FIELDS]
        self._relations.run(
            f"CREATE OR REPLACE TABLE observed AS SELECT {_NAMES}, row_number() OVER () AS place FROM given",
            given=table.fields(names),
        )
        self._keep_latest()
        unread = "source = 'local' AND num_bytes = 0 AND modified_ns = 0"
        closed = [one.candidate_id for one in self._where(unread) if is_closed_folder(one)]
        self._forget(closed)

    def add(self, candidates: Iterable[Candidate]) -> None:
        """Take observations that are newer than all there are."""
        rows = pa.Table.from_batches([pa.RecordBatch.from_struct_array(to_column(Candidate, list(candidates)))])
        if not self._relations.has("observed"):
            self._relations.put("observed", rows.append_column("place", pa.nulls(0, pa.int64())))
        self._forget(rows["candidate_id"].to_pylist())
        self._relations.run(f"INSERT INTO observed BY NAME SELECT {_NAMES}, 0 AS place FROM given", given=rows)

    def of_source(self, source: str) -> dict[str, Candidate]:
        """The latest observations of the candidates of a source, by id."""
        return {one.candidate_id: one for one in self._where(f"source = '{source}'")}

    def last_number(self) -> int:
        """The highest number of an observation; 0 for none."""
        return int(self._relations.value("SELECT coalesce(max(observation), 0) FROM observed"))

    def __len__(self) -> int:
        return int(self._relations.value("SELECT count(*) FROM observed"))

    def write(self) -> Candidates:
        """Write the candidates, and forget the observations."""
        candidates = Candidates.write(self._relations, "candidates", "observed")
        self._relations.run("DROP TABLE observed")
        return candidates

    def _keep_latest(self) -> None:
        """Earlier code did not count observations, it only dated them."""
        num, num_distinct = self._relations.rows("SELECT count(*), count(DISTINCT candidate_id) FROM observed")[0]
        if num > num_distinct:
            self._relations.run("""CREATE OR REPLACE TABLE latest AS SELECT place FROM observed
                QUALIFY row_number() OVER (PARTITION BY candidate_id
                    ORDER BY observation DESC, collected_at DESC, place DESC) = 1""")
            self._relations.run("CREATE OR REPLACE TABLE observed AS FROM observed SEMI JOIN latest USING (place)")

    def _forget(self, candidate_ids: Collection[str]) -> None:
        if candidate_ids:
            ids = pa.table({"candidate_id": pa.array(candidate_ids, pa.string())})
            sql = "DELETE FROM observed WHERE candidate_id IN (SELECT candidate_id FROM given)"
            self._relations.run(sql, given=ids)

    def _where(self, condition: str) -> Iterator[Candidate]:
        for batch in self._relations.batches(f"SELECT {_NAMES} FROM observed WHERE {condition}"):
            yield from _objects(pa.Table.from_batches([batch]))


def _objects(rows: pa.Table) -> list[Candidate]:
    return [one for chunk in rows.to_struct_array().chunks for one in from_column(Candidate, chunk)]


def is_news(candidate: Candidate, before: Candidate | None) -> bool:
    """Whether an observation gives later stages work, rather than only a new state of the same file."""
    names = ("location", "num_bytes", "modified_ns", "content_sha256", "title", "description", "tags")
    return before is None or any(getattr(candidate, name) != getattr(before, name) for name in names)


def ingested_sha256(root: Path) -> Callable[[str], str]:
    """Give a function from a candidate's id to the hash of its file when it was ingested last; "" for never."""

    @functools.cache
    def all_of_them() -> dict[str, str]:
        done = (outcome for outcome in StageTable(root, INGEST.name, Recording).all() if outcome.record is not None)
        return {outcome.item_id: outcome.record.audio_sha256 for outcome in done}

    return lambda candidate_id: all_of_them().get(candidate_id, "")
