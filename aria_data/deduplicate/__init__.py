"""Find copies: the same samples, the same recording in another file, nearly the same notes. Flagged, never deleted.

In: hashes, fingerprints, notes. Out: clusters, each with one representative.
Rejection: `same_bytes` (a second file with the same bytes).

`fingerprints` makes acoustic fingerprints. `note_patterns`, `note_pairs` and `note_matching` find and compare pairs of
performances, `note_index` searches any number of them, `kept_index` keeps an index from build to build, and `clusters`
puts the pairs into clusters. `compiled` is how their loops are compiled.
"""

from aria_data.deduplicate.clusters import DeduplicateConfig, same_audio, same_notes, same_recording
from aria_data.deduplicate.kept_index import KeptIndex
from aria_data.deduplicate.note_index import NoteIndex, NoteIndexConfig, Notes

__all__ = [
    "DeduplicateConfig",
    "KeptIndex",
    "NoteIndex",
    "NoteIndexConfig",
    "Notes",
    "same_audio",
    "same_notes",
    "same_recording",
]
