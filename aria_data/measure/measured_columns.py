"""The measures of many transcriptions as columns, and the verdicts on all of them at once, as `prune` gives them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aria_data.measure.measures import MEASURES
from aria_data.measure.prune import FLOOR_KEY, LIMIT_KEYS, PruneLimits, not_measured

KEPT = -1  # the place of the limit that fails, where none does
REVIEWED_BAD = 1000  # the place that stands for what people said, where no limit fails


def columns_of(measures: pa.MapArray) -> dict[str, pa.Array]:
    """Give a column for each of `MEASURES` of an array of maps by name; null where a map has no such measure."""
    keys = measures.keys.dictionary_encode()
    num_rows, num_keys = len(measures), len(keys)
    starts = measures.offsets.to_numpy()
    if num_rows and num_keys and not num_keys % num_rows and not measures.null_count:
        width = num_keys // num_rows
        order = keys.indices.to_numpy(zero_copy_only=False).reshape(num_rows, width)
        is_regular = bool((np.diff(starts) == width).all() and (order == order[0]).all())
        if is_regular and len(set(order[0].tolist())) == width:
            values = measures.items.to_numpy(zero_copy_only=False).reshape(num_rows, width)
            place = {keys.dictionary[int(code)].as_py(): each for each, code in enumerate(order[0])}
            missing = pa.nulls(num_rows, pa.float64())
            return {
                name: pa.array(np.ascontiguousarray(values[:, place[name]])) if name in place else missing
                for name in MEASURES
            }
    return {name: pc.map_lookup(measures, name, "last").cast(pa.float64()) for name in MEASURES}


def first_failing(measured: Mapping[str, pa.Array], limits: PruneLimits) -> tuple[np.ndarray, np.ndarray]:
    """For each row, the place in `LIMIT_KEYS` of the first limit that fails (`KEPT`: none), and the measure it limits.

    Raises `ConfigInvalid` for a limit on a measure that is missing.
    """
    num_rows = len(next(iter(measured.values())))
    failing, values = np.full(num_rows, KEPT, np.int16), np.full(num_rows, np.nan)
    for place, key in enumerate(LIMIT_KEYS):
        if key not in limits.limits:
            continue
        bound, _, measure = key.partition("_")
        if measured[measure].null_count:
            raise not_measured(limits, key, measure)
        value, limit = measured[measure].to_numpy(zero_copy_only=False), limits.limits[key]
        is_first = (failing == KEPT) & ((value < limit) if bound == "min" else (value > limit))
        failing[is_first], values[is_first] = place, value[is_first]
    return failing, values


def reason_of(place: int) -> str:
    """The reason that a verdict gives where the limit at this place of `LIMIT_KEYS` fails."""
    if place == REVIEWED_BAD:
        return "reviewed_bad"
    key = LIMIT_KEYS[place]
    bound, _, measure = key.partition("_")
    return "too_few_notes" if key == FLOOR_KEY else f"{measure}_{'below_min' if bound == 'min' else 'above_max'}"
