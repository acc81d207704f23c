"""Which split recordings, samples and compositions were given in any version; what was in test stays out of train.

A model is trained on one version and tested on another, so a row keeps the split of its earlier versions also after it
was left out for a while, after the row that named its group was removed, and after its title was corrected.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from aria_data.manifest.manifest import Manifest, Row
from aria_data.release.splits import STRICTNESS
from aria_data.repertoire import work_labels
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

    def read(self) -> dict[str, str]:
        """Give the split of each label. Versions that were released before splits were recorded are read for theirs."""
        manifest = Manifest(self._root)
        given = {one.label: one.split for one in self._table.read()}
        newest = manifest.version()
        for version in range(1, newest + 1) if not given else (newest,):  # a kill may come between version and table
            names = ["split", *REMEMBERED]
            rows = manifest.query("removed_in IS NULL", version, columns=names).to_pylist() if version else []
            _add(given, rows)
        return given

    def add(self, rows: Iterable[Row]) -> None:
        """Record the splits of a version's rows."""
        given = {one.label: one.split for one in self._table.read()}
        before = dict(given)
        _add(given, rows)
        if given != before:
            self._table.replace([GivenSplit(label, split) for label, split in sorted(given.items())])


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


def _add(given: dict[str, str], rows: Iterable[Mapping[str, object]]) -> None:
    for row in rows:
        split = str(row["split"])
        if split in STRICTNESS:
            for label in labels_of(row):
                given[label] = max(given.get(label, split), split, key=STRICTNESS.index)
