"""How much may be kept: a share of the files, a number of files, of minutes or of notes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from aria_data.errors import ConfigInvalid

ROUNDING = 1e-12  # relative; 0.29 * 100 files are 29 files although floating point gives a little less


@dataclass(frozen=True)
class Budget:
    """The most that may be kept, in at most one of these units. Without any, the other limits of a selection decide.

    Raises `ConfigInvalid` for two units, a negative or infinite number, or a fraction above 1.
    """

    fraction: float | None = None  # 0 to 1, of all files in the pool, including those that may not be chosen
    files: int | None = None
    minutes: float | None = None
    notes: int | None = None

    def __post_init__(self) -> None:
        named = {name: value for name, value in vars(self).items() if value is not None}
        if len(named) > 1:
            raise ConfigInvalid(f"budget: name one of {', '.join(named)}, not {len(named)}.")
        for name, value in named.items():
            if not (math.isfinite(value) and value >= 0):
                raise ConfigInvalid(f"budget: {name} is {value}, but has to be a number from 0 up.")
        if self.fraction is not None and self.fraction > 1:
            raise ConfigInvalid(f"budget: fraction is {self.fraction}, but has to lie between 0 and 1.")

    @property
    def unit(self) -> str:
        """What the budget counts: `files`, `minutes` or `notes`; a fraction counts files."""
        return "minutes" if self.minutes is not None else "notes" if self.notes is not None else "files"

    def limit(self, num_files: int) -> float:
        """The most that may be kept of `num_files`, in the budget's unit; infinite without one. 30 % of 11 are 3."""
        if self.fraction is not None:
            return math.floor(self.fraction * num_files * (1 + ROUNDING))
        return next((float(each) for each in (self.files, self.minutes, self.notes) if each is not None), math.inf)


def num_affordable(costs: np.ndarray, limit: float) -> int:
    """Count the leading `costs` whose sum stays within `limit`. Counting stops at the first that does not fit.

    A later, cheaper file does not take its place: that would prefer short files, and a larger budget would no longer
    keep all that a smaller one keeps.
    """
    return int(np.searchsorted(np.cumsum(costs), limit * (1 + ROUNDING), side="right"))
