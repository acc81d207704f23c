"""The manifest: one row a MIDI file, in versions that never change. Release it, read it, subset it, remove from it.

In: the results of all steps for each segment. Out: a version: rows with subsets, weights and splits, facts, a card.
Rejections: `removed` (taken out for good); rows on an exclusion list go into the split `excluded`.

`manifest` is the table, with its `columns`, `rows`, `versions` and `reading`. `release` makes the rows; `splits` keeps
related rows in one split, `caps` limits the recordings of a composition. Users define `subsets` and `exclusions`;
`removals` and `tombstones` are what was taken out. `dataset` reads a version for training, `card` and `figures`
describe it.
"""

from aria_data.manifest.card import dataset_card
from aria_data.manifest.dataset import Dataset
from aria_data.manifest.exclusions import find_exclusion
from aria_data.manifest.manifest import Manifest, Row, Version
from aria_data.manifest.release import ReleaseConfig
from aria_data.manifest.removals import Removal, Removals
from aria_data.manifest.subsets import SelectedRow, SubsetRecipe, Subsets

__all__ = [
    "Dataset",
    "Manifest",
    "ReleaseConfig",
    "Removal",
    "Removals",
    "Row",
    "SelectedRow",
    "SubsetRecipe",
    "Subsets",
    "Version",
    "dataset_card",
    "find_exclusion",
]
