"""Judge measures by limits: a verdict with its reason and its number.

Limits are data (`limits_of_in_pruned.toml`, `limits_of_in_deduplicated.toml`, or a user's file). Their keys are
`min_` or `max_` and the name of a measure. `measures` and `quality` compute the measures.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from aria_data.errors import ConfigInvalid
from aria_data.measure.measures import MEASURES
from aria_data.records import Verdict

PRESETS = {
    "light": "limits_of_in_pruned.toml",
    "heavy": "limits_of_in_deduplicated.toml",
}  # name -> file beside this one
FLOOR_KEY = "min_num_notes"
FLOOR_NUM_NOTES = 8  # ours: fewer notes are no performance, whatever the other limits say
LIMIT_KEYS = tuple(f"{bound}_{name}" for name in MEASURES for bound in ("min", "max"))  # also the order of judging


@dataclass(frozen=True)
class PruneLimits:
    """Named limits, `min_` or `max_` + a measure. A measure equal to its limit is kept.

    The floor, at least 8 notes, is added unless `limits` has its key. Raises `ConfigInvalid` for an unknown key, for a
    limit that is not a finite number, and for a minimum above its maximum.
    """

    limits: Mapping[str, float] = field(default_factory=dict)
    name: str = "usable"  # of the preset, or the file's path; the default only has the floor

    def __post_init__(self) -> None:
        object.__setattr__(self, "limits", {FLOOR_KEY: FLOOR_NUM_NOTES, **_checked(self.limits, self.name)})


def _checked(limits: Mapping[str, object], name: str) -> dict[str, float]:
    for key, value in limits.items():
        if key not in LIMIT_KEYS:
            raise ConfigInvalid(f"{name}: unknown limit {key!r}. Known: min_ or max_ and one of {', '.join(MEASURES)}.")
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ConfigInvalid(f"{name}: {key} is {value!r}, but a limit is a finite number.")
    checked = {key: float(value) for key, value in limits.items() if isinstance(value, int | float)}
    for measure in MEASURES:
        low, high = checked.get(f"min_{measure}", -math.inf), checked.get(f"max_{measure}", math.inf)
        if low > high:
            raise ConfigInvalid(f"{name}: min_{measure} {low:g} is above max_{measure} {high:g}; nothing could pass.")
    return checked


def load_limits(path_or_preset: str | Path) -> PruneLimits:
    """Read the limits of a preset ("light", "heavy") or of a TOML file. Raises `ConfigInvalid`."""
    name = str(path_or_preset)
    try:
        if name in PRESETS:
            text = resources.files("aria_data.measure").joinpath(PRESETS[name]).read_text(encoding="utf-8")
        else:
            text = Path(path_or_preset).read_text(encoding="utf-8")
        return PruneLimits(tomllib.loads(text), name)
    except OSError as error:
        known = " or ".join(PRESETS)
        raise ConfigInvalid(f"{name}: is neither a preset ({known}) nor a readable file ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise ConfigInvalid(f"{name}: is not a valid TOML file ({' '.join(str(error).split())}).") from error


def prune(measures: Mapping[str, float], limits: PruneLimits) -> Verdict:
    """Give the verdict of the first limit that fails, in the order of `LIMIT_KEYS`, else a verdict that keeps.

    A measure that is NaN passes every limit. Raises `ConfigInvalid` for a limit on a measure that is missing.
    """
    return next((verdict for verdict in all_verdicts(measures, limits).values() if not verdict.is_kept), Verdict(True))


def passing(measures: Mapping[str, Mapping[str, float]], limits: PruneLimits) -> set[str]:
    """Give the ids whose measures pass all limits. `measures` holds the measures by name of each id."""
    return {key for key, measured in measures.items() if prune(measured, limits).is_kept}


def is_passing(measures: pa.Array, limits: PruneLimits) -> pa.Array:
    """For each map of measures by name, whether they pass all limits: `prune` for many at once.

    Raises `ConfigInvalid` for a limit on a measure that is missing in one of them.
    """
    kept = pa.repeat(True, len(measures))
    for key, limit in ((key, limits.limits[key]) for key in LIMIT_KEYS if key in limits.limits):
        bound, _, measure = key.partition("_")
        measured = pc.map_lookup(measures, measure, "last")
        if measured.null_count:
            raise not_measured(limits, key, measure)
        is_kept = pc.greater_equal(measured, limit) if bound == "min" else pc.less_equal(measured, limit)
        kept = pc.and_(kept, pc.or_(pc.is_nan(measured), is_kept))
    return kept


def not_measured(limits: PruneLimits, key: str, measure: str) -> ConfigInvalid:
    """The error for a limit on a measure that is missing."""
    return ConfigInvalid(f"{limits.name}: {key} limits {measure}, which was not measured. Measure again or drop it.")


def all_verdicts(measures: Mapping[str, float], limits: PruneLimits) -> dict[str, Verdict]:
    """Give the verdict of each limit by itself, keyed as the limits, in the order of `LIMIT_KEYS`."""
    return {key: _verdict(key, measures, limits) for key in LIMIT_KEYS if key in limits.limits}


def _verdict(key: str, measures: Mapping[str, float], limits: PruneLimits) -> Verdict:
    bound, _, measure = key.partition("_")
    if measure not in measures:
        raise not_measured(limits, key, measure)
    measured, limit = float(measures[measure]), limits.limits[key]
    if math.isnan(measured) or (measured >= limit if bound == "min" else measured <= limit):
        return Verdict(True, "", measured)
    if key == FLOOR_KEY:
        return Verdict(False, "too_few_notes", measured)
    return Verdict(False, f"{measure}_{'below_min' if bound == 'min' else 'above_max'}", measured)
