"""Scans of the files of a stage table: those of a few keys skip files, and decode no row in vain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from aria_data.storage.delta_tables import lean
from aria_data.storage.key_index import KeyIndex, words_of

FEW_OF = 3  # keys are few if a table has so many outcomes for each
_HAS_RECORD = pads.field("record").is_valid()


def scanned(
    files: pads.Dataset, columns: Mapping[str, pads.Expression], keys: KeyIndex | None
) -> Iterator[pa.RecordBatch]:
    """Yield columns of the outcomes that have a record: of all, or of those with one of a few keys.

    The keys alone are read first, so that files without any of them cost no more.
    """
    if keys is None or len(keys) * FEW_OF > files.count_rows():
        yield from files.to_batches(columns=dict(columns), filter=_HAS_RECORD, **lean())
        return
    with_record = {**columns, "has_record": _HAS_RECORD}
    for fragment in files.get_fragments():
        is_wanted = _have_keys(fragment.to_table(files.schema, columns=["key"], **lean())["key"], keys)
        start = 0
        for batch in fragment.to_batches(files.schema, columns=with_record, **lean()) if is_wanted.any() else ():
            end = start + len(batch)
            chosen = pc.and_(pa.array(is_wanted[start:end]), batch.column("has_record"))
            start = end
            yield batch.select(list(columns)).filter(chosen)


def _have_keys(column: pa.ChunkedArray, keys: KeyIndex) -> np.ndarray:
    """For each key of a column, whether it is among some."""
    found = np.zeros(len(column), bool)
    found[keys.find(words_of(column))[0]] = True
    return found
