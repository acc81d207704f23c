"""The manifest: one row a MIDI file, in versions that never change. Write it, read it, describe it.

In: rows. Out: versions of a Delta table with their facts; what trainers and people read of them.
Rejects nothing.

`manifest` is the table, with its `columns`, `rows`, `digests`, `delta_commits`, `row_queries` and `revising`;
`stored_rows` are those of a version that is being made. `dataset` is how training reads a version, `removed` says what
is gone meanwhile; `card` and `figures` describe it.
"""

from aria_data.manifest.card import dataset_card
from aria_data.manifest.dataset import Dataset
from aria_data.manifest.manifest import Manifest, Row, Version

__all__ = ["Dataset", "Manifest", "Row", "Version", "dataset_card"]
