"""What goes into a version: rows of everything that is known, splits, subsets, exclusions, and what was removed.

In: the results of all steps for each segment, and the versions before. Out: the rows of the next version.
Rejections: `removed` (taken out for good); rows on an exclusion list go into the split `excluded`.

`rows_of_segments` makes the rows of single segments, `next_rows` what depends on others, with relations on disk.
`splits` says how a split is chosen, `split_groups` which rows share one, `split_history` the split that they once had.
`subsets` and `exclusions` are what users define, `reviews` is what people said. `removals` records what goes for good,
`tombstones` what then stays of a row.
"""

from aria_data.release.config import ReleaseConfig
from aria_data.release.exclusions import find_exclusion
from aria_data.release.removals import Removal, Removals
from aria_data.release.subsets import SelectedRow, SubsetRecipe, Subsets

__all__ = ["ReleaseConfig", "Removal", "Removals", "SelectedRow", "SubsetRecipe", "Subsets", "find_exclusion"]
