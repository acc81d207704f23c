"""Which split recordings, samples and compositions were given in any version; what was in test stays out of train.

A model is trained on one version and tested on another, so a row keeps the split of its earlier versions also after it
was left out for a while, after the row that named its group was removed, and after its title was corrected.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from aria_data.manifest.columns import arrow_schema
from aria_data.manifest.manifest import Manifest, Row
from aria_data.release.splits import STRICTNESS
from aria_data.repertoire import work_labels
from aria_data.storage.relations import Relations
from aria_data.storage.stage_tables import RecordTable

COMPOSITION = "composition_id="  # how the labels of compositions begin
REMEMBERED = ("recording_id", "audio_cluster", "composition_id")  # columns whose values keep a split


@dataclass(frozen=True, slots=True)
class GivenSplit:
    """The split that a recording or composition was given."""

    label: str  # `label_of` one of the columns `REMEMBERED`
    split: str  # train, validation or test; of several the strictest


class SplitHistory:
    """The splits given by the versions of the dataset at `root`."""

    def __init__(self, root: Path):
        self._root, self._table = root, RecordTable(root, "splits", GivenSplit)

    def put(self, relations: Relations, among: str = "") -> None:
        """Make the relation `given` of label and strictness, the place in `STRICTNESS` of the split that a label has.

        Versions that were released before splits were recorded are read for theirs. With `among`, a relation of rows,
        it has the labels of those, and of all compositions; then all splits are recorded.
        """
        manifest = Manifest(self._root)
        self._put_recorded(relations, among)
        relations.run("CREATE OR REPLACE TABLE given AS SELECT * FROM recorded")
        if among:
            relations.run(f"CREATE OR REPLACE TABLE given AS {_STRICTEST.format('given')}")
            return
        newest = manifest.version()
        is_recorded = relations.value("SELECT count(*) FROM recorded")
        for version in (newest,) if is_recorded else range(1, newest + 1):  # a kill comes between version and table
            if version:
                rows = manifest.reader(["split", *REMEMBERED, "removed_in"], version)
                relations.run(f"INSERT INTO given {_labelled('rows')}", rows=rows)
        relations.run(f"CREATE OR REPLACE TABLE given AS {_STRICTEST.format('given')}")

    def read(self) -> dict[str, str]:
        """Give the split of each label, as `put` does."""
        with Relations.open(None) as relations:
            self.put(relations)
            return {label: STRICTNESS[place] for label, place in relations.rows("SELECT label, strictness FROM given")}

    def add(self, rows: Iterable[Row] | pa.RecordBatchReader, are_all: bool = True) -> None:
        """Record the splits of a version's rows that are not removed; they have the columns `REMEMBERED` and split.

        With `are_all` false the table grows by what is new, and is not written anew.
        """
        with Relations.open(None) as relations:
            relations.put("rows", rows if isinstance(rows, pa.RecordBatchReader) else _table_of(rows))
            self._put_recorded(relations, "" if are_all else "rows")
            both = f"(FROM recorded UNION ALL {_labelled('rows')})"
            relations.run(f"CREATE TABLE now AS {_STRICTEST.format(both)}")
            relations.run("CREATE TABLE new AS (FROM now EXCEPT FROM recorded)")
            if relations.value("SELECT count(*) FROM new"):
                splits = " ".join(f"WHEN {place} THEN '{split}'" for place, split in enumerate(STRICTNESS))
                found = f"SELECT label, CASE strictness {splits} END AS split FROM {{}} ORDER BY label"
                if are_all:
                    self._table.replace_rows(relations.table(found.format("now")))
                else:
                    self._table.append_rows(relations.table(found.format("new")))

    def _put_recorded(self, relations: Relations, among: str = "") -> None:
        places = " ".join(f"WHEN '{split}' THEN {place}" for place, split in enumerate(STRICTNESS))
        recorded = f"SELECT label, (CASE split {places} END)::INTEGER AS strictness FROM given_rows"
        if among:
            named = f"SELECT unnest([{_LABELS}]) FROM {among}"
            recorded += f" WHERE starts_with(label, '{COMPOSITION}') OR label IN ({named})"
        relations.run(f"CREATE OR REPLACE TABLE recorded AS {recorded}", given_rows=self._table.reader())


_LABELS = ", ".join(f"'{name}=' || nullif({name}, '')" for name in REMEMBERED)
_STRICTEST = "SELECT label, max(strictness)::INTEGER AS strictness FROM {} GROUP BY label"


def _labelled(rows: str) -> str:
    """The query of the labels of rows, each with its split."""
    places = " ".join(f"WHEN '{split}' THEN {place}" for place, split in enumerate(STRICTNESS))
    return f"""SELECT * FROM (
        SELECT unnest([{_LABELS}]) AS label, (CASE split {places} END)::INTEGER AS strictness
        FROM {rows} WHERE removed_in IS NULL) WHERE label IS NOT NULL AND strictness IS NOT NULL"""


def _table_of(rows: Iterable[Row]) -> pa.Table:
    schema = pa.schema([arrow_schema().field(name) for name in ("split", *REMEMBERED, "removed_in")])
    return pa.Table.from_pylist(list(rows), schema=schema)


def labels_of(row: Mapping[str, object]) -> list[str]:
    """The labels under which a row's split is remembered."""
    return [f"{name}={row[name]}" for name in REMEMBERED if row[name]]


class GivenToWorks:
    """The splits given to compositions, also to those of which no row is left, asked for by another of the same work.

    Whoever was tested on a whole sonata was tested on its finale, and on an opus if on one of its pieces. Two pieces of
    an opus are not tied to each other by an opus that is gone.
    """

    def __init__(self, given: Mapping[str, str], composition_ids: Collection[str]):
        earlier = {
            label.removeprefix(COMPOSITION): split for label, split in given.items() if label.startswith(COMPOSITION)
        }
        self._labels = work_labels({*composition_ids, *earlier})
        self._of_work: dict[str, set[str]] = defaultdict(set)
        self._of_pieces: dict[str, set[str]] = defaultdict(set)  # of a set: the splits of the works in it
        for composition_id, split in earlier.items():
            work, *containing = self._labels.get(composition_id, ("",))
            self._of_work[work].add(split)
            for one in containing:
                self._of_pieces[one].add(split)

    def splits(self, composition_id: str) -> set[str]:
        """The splits given to a composition's work, to what contains it, and to what it contains."""
        labels = self._labels.get(composition_id, ())
        pieces = self._of_pieces[labels[0]] if labels else set()
        return {split for label in labels for split in self._of_work[label]} | pieces
