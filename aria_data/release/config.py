"""The settings of subsets, splits and exclusions."""

from __future__ import annotations

from dataclasses import dataclass

EXCLUDE_BAD = "exclude-bad"


@dataclass(frozen=True)
class ReleaseConfig:
    """Subsets and splits. Limits are names of presets or paths of TOML files (see `aria_data.measure.prune`)."""

    pruned_limits: str = "light"
    deduplicated_limits: str = "heavy"
    max_recordings_per_composition: int = 1  # in in_deduplicated, of known compositions; 0: all
    validation_share: float = 0.1  # of groups
    test_share: float = 0.1  # of groups
    exclude: tuple[str, ...] = ()  # exclusion lists: names of those in `manifests/exclusions`, or paths
    exclude_by: str = "both"  # "composition", "notes" or "both"
    reviews: str = "ignore"  # or "exclude-bad": what was reviewed as bad is in no subset
    scores: str = ""  # a folder of scores, with which every segment is aligned before it is released; "": none

    def __post_init__(self) -> None:
        if self.exclude_by not in ("composition", "notes", "both"):
            raise ValueError(f"exclude_by is composition, notes or both, not {self.exclude_by!r}")
        if self.reviews not in ("ignore", EXCLUDE_BAD):
            raise ValueError(f"reviews is ignore or {EXCLUDE_BAD}, not {self.reviews!r}")
        if self.max_recordings_per_composition < 0:
            raise ValueError("max_recordings_per_composition is 0 (all) or more")
