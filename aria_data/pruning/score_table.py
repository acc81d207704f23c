"""The score table: one row a file, one column a score, all of them "high = keep", with where they come from.

Files are scored once and selected from often. On disk it is one Parquet file that pandas and DuckDB open as it is, a
missing score being null (to SQL a NaN would be the highest); its metadata say as JSON what the scores were made with.
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
from aria_data.storage import write_whole

FORMAT = 1  # raise it when an older version of this file could not read what is written
METADATA_KEY = b"aria_score_table"
RANDOM = ("random_0", "random_1", "random_2")  # baselines: scores that know nothing
ATTRIBUTES = ("id", "group", "minutes", "num_notes")
SCORE_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """Scores of files, sorted by id. Make one with `ScoreTable.of`.

    `about` holds plain JSON values: what whoever scored wrote down (scorers' versions, surrogate's configuration and
    weights' hash, tokenizer's and data's hashes, seeds, checkpoints, each column's direction as its paper has it, rank
    correlation from seed to seed, the manifest's version and content hash). Nothing here reads it.
    """

    ids: tuple[str, ...]
    columns: dict[str, np.ndarray]  # float64; the higher the harder or more informative; NaN: no score
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
        """Take files in any order, check them, and add the random columns.

        Raises `ValueError` for ids that come twice, columns of other lengths or infinite scores.
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
        """The files with one of their scores, to `select` from. Raises `UsageError` for a score that is not there."""
        if score not in self.columns:
            raise UsageError(f"score: {score!r} is not in the table. It has {', '.join(self.columns)}.")
        return Pool.of(self.ids, self.columns[score], self.group, self.minutes, self.num_notes)

    def with_columns(
        self, columns: Mapping[str, Sequence[float] | np.ndarray], about: Mapping[str, Any] | None = None
    ) -> ScoreTable:
        """The same files with more scores, in the order of `ids`, or others in place of those of the same name."""
        both = {**self.about, **(about or {})}
        return ScoreTable.of(self.ids, {**self.columns, **columns}, self.group, self.minutes, self.num_notes, both)

    def rank_correlations(self) -> dict[str, dict[str, float]]:
        """Spearman's rho between columns, over the files that have both scores; NaN where that says nothing."""
        return {
            one: {other: _spearman(mine, theirs) for other, theirs in self.columns.items()}
            for one, mine in self.columns.items()
        }

    def save(self, path: Path) -> None:
        """Write it whole or not at all. Raises `DatasetNotWritable`."""
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
        write_whole(Path(path), sink.getvalue().to_pybytes())

    @classmethod
    def load(cls, path: Path) -> ScoreTable:
        """Read a saved table. Raises `DatasetNotFound`, or `DatasetCorrupt` for what is damaged or something else."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not Path(path).is_file():
            raise DatasetNotFound(f"{path}: there is no score table. Score the dataset first.")
        try:
            table = pq.ParquetFile(path, page_checksum_verification=True).read()
            header = json.loads((table.schema.metadata or {})[METADATA_KEY])
            if header["format"] > FORMAT:
                raise DatasetCorrupt(f"{path}: was written by a newer version of this program. Update it.")
            return cls._from_arrow(table, header["about"])
        except KeyError as error:
            raise DatasetCorrupt(f"{path}: is no score table ({error} is missing). Score the dataset again.") from error
        except (OSError, ValueError, TypeError, AttributeError, pa.ArrowException) as error:
            said = " ".join(str(error).split())[:160]
            raise DatasetCorrupt(f"{path}: is damaged ({said}). Score the dataset again.") from error

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
