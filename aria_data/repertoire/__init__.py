"""Knowledge of music: composers, pianists, catalogues, works and their names, movements, forms and keys.

In: a text. Out: the composer, pianist, catalogue number, work, movement, form or key it names, and where; and the whole
work that a composition is part of (`wholes`).
The tables are beside the code: `composers.csv`, `first_names.txt`, `pianists.csv`, `works.toml`, `opuses.toml`,
`cycles.toml`, `title_words.toml`. Functions that take `folded` want `text.fold` of a cleaned text (`text.clean`).
"""

from aria_data.repertoire.catalogues import CatalogueNumber, catalogue_numbers
from aria_data.repertoire.composers import Composer, ComposerMatch, find_composer, find_composers
from aria_data.repertoire.forms import find_form, find_forms, find_key
from aria_data.repertoire.pianists import find_pianist
from aria_data.repertoire.wholes import work_labels, work_of
from aria_data.repertoire.work_names import known_work

__all__ = [
    "CatalogueNumber",
    "Composer",
    "ComposerMatch",
    "catalogue_numbers",
    "find_composer",
    "find_composers",
    "find_form",
    "find_forms",
    "find_key",
    "find_pianist",
    "known_work",
    "work_labels",
    "work_of",
]
