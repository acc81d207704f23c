"""Measure a transcription: its notes, and how well they fit the sound; and judge it by limits on these measures.

In: notes and the sound they come from. Out: `Measurement`s; from `prune` a verdict a subset.
Rejection: `too_few_notes` (the floor of every subset). Other limits (`limits_of_in_pruned.toml`,
`limits_of_in_deduplicated.toml`) keep a segment in the manifest but out of a subset.

`measures` describes the notes, `quality` compares them with the sound, `cuts` looks at its ends, `agreement` compares
two transcribers, `measurement` gathers all; they never decide.
`prune` decides, `measured_columns` for many at once.
"""

from aria_data.measure.measurement import MeasureConfig, measure_segment, onset_agreement_of
from aria_data.measure.measures import MEASURES
from aria_data.measure.prune import PruneLimits, load_limits, passing

__all__ = [
    "MEASURES",
    "MeasureConfig",
    "PruneLimits",
    "load_limits",
    "measure_segment",
    "onset_agreement_of",
    "passing",
]
