"""The score table: one row a file, one column a score (high = keep), and how the scores were made.

Files are scored once and selected from often. On disk a table is one Parquet file, which pandas and DuckDB can open. A
missing score is null there, because SQL sorts NaN highest. The file's metadata holds `about` as JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aria_data.errors import DatasetCorrupt, DatasetNotFound, UsageError
from aria_data.pruning.random_keys import random_keys
from aria_data.pruning.selection import Pool
from aria_data.storage import local_copy, open_root, write_whole

FORMAT = 1  # raise it when older code could not read what is written
METADATA_KEY = b"aria_score_table"
RANDOM = ("random_0", "random_1", "random_2")  # baselines: random scores, computed from the ids
ATTRIBUTES = ("id", "group", "minutes", "num_notes")
SCORE_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """Scores of files, sorted by id. Make one with `ScoreTable.of`.

    `about` holds plain JSON values that tell how the scores were made: versions, configuration, hashes of tokenizer and
    data, seeds, the direction of each column in its paper, rank correlations between seeds, and so on. This module
    stores it and does not read it.
    """

    ids: tuple[str, ...]
    columns: dict[str, np.ndarray]  # float64, one a file; higher is harder or more informative; NaN: no score
    group: np.ndarray  # objects: composition or cluster, "" where it is not known
    minutes: np.ndarray  # float64
    num_notes: np.ndarray  # int64
    about: dict[str, Any]

    @classmethod
    def of(
        cls,
        ids: Sequence[str],
        columns: Mapping[str, Sequence[float] | np.ndarray],
        group: Sequence[str] | np.ndarray | None = None,
        minutes: Sequence[float] | np.ndarray | None = None,
        num_notes: Sequence[int] | np.ndarray | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> ScoreTable:
        """Make a table of files in any order, and add the random columns.

        Raises `ValueError` for a repeated id, a column of another length, an infinite score and a bad column name.
        """
        pool = Pool.of(ids, None, group, minutes, num_notes)
        given = {name: values for name, values in columns.items() if name not in RANDOM}
        made = {name: _column(name, ids, values) for name, values in sorted(given.items())}
        baselines = {name: random_keys(pool.ids, name) for name in RANDOM}
        notes = pool.num_notes.astype(np.int64)
        plain = json.loads(json.dumps(dict(about or {}), allow_nan=False))
        return cls(pool.ids, made | baselines, pool.groups, pool.minutes, notes, plain)

    def __len__(self) -> int:
        return len(self.ids)

    def pool(self, score: str) -> Pool:
        """Give the files with one of their scores, to `select` from. Raises `UsageError` for an unknown score."""
        if score not in self.columns:
            raise UsageError(f"score: {score!r} is not in the table. It has {', '.join(self.columns)}.")
        return Pool.of(self.ids, self.columns[score], self.group, self.minutes, self.num_notes)

    def with_columns(
        self, columns: Mapping[str, Sequence[float] | np.ndarray], about: Mapping[str, Any] | None = None
    ) -> ScoreTable:
        """Give a table with more columns, in the order of `ids`; they replace columns of the same name."""
        both = {**self.about, **(about or {})}
        return ScoreTable.of(self.ids, {**self.columns, **columns}, self.group, self.minutes, self.num_notes, both)

    def rank_correlations(self) -> dict[str, dict[str, float]]:
        """Spearman's rho between columns, over the files with both scores; NaN for fewer than 3 or constant scores."""
        return {
            one: {other: _spearman(mine, theirs) for other, theirs in self.columns.items()}
            for one, mine in self.columns.items()
        }

    def save(self, path: Path) -> None:
        """Write the table as Parquet, whole or not at all. Raises `DatasetNotWritable`."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        header = json.dumps({"format": FORMAT, "about": self.about}, sort_keys=True)
        types = [pa.string(), pa.string(), pa.float64(), pa.int64(), *[pa.float64()] * len(self.columns)]
        names = [*ATTRIBUTES, *self.columns]
        fields = [pa.field(*each, nullable=each[0] in self.columns) for each in zip(names, types, strict=True)]
        values = [list(self.ids), self.group, self.minutes, self.num_notes]
        values += [pa.array(column, from_pandas=True) for column in self.columns.values()]  # null where NaN
        table = pa.table(values, schema=pa.schema(fields, metadata={METADATA_KEY: header.encode()}))
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
        write_whole(open_root(path), sink.getvalue().to_pybytes())

    @classmethod
    def load(cls, path: Path) -> ScoreTable:
        """Read a saved table. Raises `DatasetNotFound`, or `DatasetCorrupt` for a file that is damaged or no table."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not open_root(path).is_file():
            raise DatasetNotFound(f"{path}: there is no score table. Score the dataset first.")
        try:
            table = pq.ParquetFile(local_copy(open_root(path)), page_checksum_verification=True).read()
            header = json.loads((table.schema.metadata or {})[METADATA_KEY])
            if header["format"] > FORMAT:
                raise DatasetCorrupt(f"{path}: was written by a newer version of this program. Update it.")
            return cls._from_arrow(table, header["about"])
        except KeyError as error:
            raise DatasetCorrupt(f"{path}: is no score table ({error} is missing). Score the dataset again.") from error
        except (OSError, ValueError, TypeError, AttributeError, pa.ArrowException) as error:
            cause = " ".join(str(error).split())[:160]
            raise DatasetCorrupt(f"{path}: is damaged ({cause}). Score the dataset again.") from error

    @classmethod
    def _from_arrow(cls, table: Any, about: dict[str, Any]) -> ScoreTable:
        ids, group, minutes, num_notes = (table[name].to_pylist() for name in ATTRIBUTES)
        columns = {name: table[name].to_numpy() for name in table.column_names if name not in ATTRIBUTES}
        made = cls.of(ids, columns, group, minutes, num_notes, about)
        if any(not np.array_equal(columns[name], made.columns[name]) for name in RANDOM):
            raise ValueError("its rows do not belong to its ids")
        return made


def _column(name: str, ids: Sequence[str], values: Sequence[float] | np.ndarray) -> np.ndarray:
    if not SCORE_NAME.fullmatch(name) or name in ATTRIBUTES:
        raise ValueError(f"{name!r} cannot name a score: small letters, digits and _, and none of {ATTRIBUTES}")
    return Pool.of(ids, values).scores


def _spearman(one: np.ndarray, other: np.ndarray) -> float:
    from scipy.stats import rankdata

    is_both = ~(np.isnan(one) | np.isnan(other))
    ranks = [rankdata(each[is_both]) for each in (one, other)]
    if is_both.sum() < 3 or any(np.ptp(each) == 0 for each in ranks):
        return float("nan")
    return float(np.corrcoef(*ranks)[0, 1])
