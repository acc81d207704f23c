"""A stage table as it was when it was opened, with an index of its keys: a lookup reads only rows near those it finds.

The index takes 20 bytes an outcome. What is appended or joined later is not seen; files that were replaced stay for a
day (`compaction`), longer than a build reads one.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads

from aria_data.storage.delta_tables import table_error
from aria_data.storage.key_index import KeyIndex, words_of
from aria_data.storage.stage_tables import Outcome, StageTable


class Snapshot:
    """The outcomes of a stage table by key. Raises `DatasetCorrupt` for a table that cannot be read."""

    def __init__(self, table: StageTable):
        self._table = table
        self._groups: list[tuple[Any, int]] = []  # of all files: (file, number of the row group in it)
        words, places = [np.empty((0, 2), np.uint64)], [np.empty(0, np.int32)]
        self._files = table.files()
        try:
            for file in self._files.get_fragments() if self._files is not None else ():
                sizes = [group.num_rows for group in file.row_groups] if hasattr(file, "row_groups") else []
                first = len(self._groups)
                self._groups += [(file, number) for number in range(len(sizes))]
                words.append(words_of(file.to_table(columns=["key"])["key"]))
                places.append(np.repeat(np.arange(first, first + len(sizes)), sizes))
        except (OSError, ValueError, pa.ArrowException) as error:
            raise table_error(table.path, error) from error
        self._index = KeyIndex(np.concatenate(words), np.concatenate(places))

    def among(self, keys: Collection[str]) -> list[str]:
        """Those of these keys that the table held."""
        given = list(keys)
        if not len(self._index) or not given:
            return []
        return [given[number] for number in np.unique(self._index.find(words_of(given))[0])]

    def lookup(self, keys: Collection[str], with_records: bool = True) -> dict[str, Outcome]:
        """As `StageTable.lookup`: the outcomes that there are for these keys, by key."""
        given = list(keys)
        if not len(self._index) or not given:
            return {}
        numbers, places = self._index.find(words_of(given))
        wanted = pa.array([given[number] for number in np.unique(numbers)], pa.string())
        if not len(wanted):
            return {}
        return self._table.outcomes_in(self._rows(np.unique(places).tolist()), wanted, with_records)

    def _rows(self, groups: list[int]) -> pads.Dataset:
        """The row groups with these numbers."""
        of_files: dict[str, tuple[Any, list[int]]] = {}
        for group in groups:
            file, number = self._groups[group]
            of_files.setdefault(file.path, (file, []))[1].append(number)
        subsets = [file.subset(row_group_ids=numbers) for file, numbers in of_files.values()]
        assert self._files is not None
        return pads.FileSystemDataset(subsets, self._files.schema, self._files.format, self._files.filesystem)
