"""Whether the music is cut off at the ends of a segment, from its sound alone. A measure; nothing is decided here.

At a file's edge the first or last 30 ms are compared with the loud parts: a piece begins out of silence or noise, with
an attack, and dies away; one that is cut has a tone there, from the first milliseconds on. Inside a file other sound
may lie over the bound, so there the last 0.6 s must hold a soft moment; of a beginning there only silence before it
proves anything, else nothing is said.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from aria_data.measure.measures import CUT_MEASURES
from aria_data.measure.quality import FRAMES_PER_S, Trace

AT_EDGE_S = 0.05  # a segment that comes so close to its file's edge ends with the file
MIN_TONE = 0.15  # share of the strongest of 12 pitch classes, at a file's edge: noise has 0.14 or less (LOG.md)
TONE_DB, SOFT_TONE_DB = -36.0, -50.0  # below the loud parts: a tone, and one that is over the softest moment, too
OVER_FLOOR_DB = 3.0  # so much over it: else it may be a hum that is always there
MAX_RISE_DB = 15.0  # within 0.3 s of a start: a piece rises more, ...
LOUD_START_DB, FIRST_DB = -22.0, -36.0  # ... unless it is so loud there, or in its first 5 ms: cut before the attack
OUT_OF_SILENCE_DB = -8.0  # the first 5 ms, below the first 30: the piece begins there, if it sounds 10 ms later ...
# ... and not after 20 ms and more of silence, which AAC puts before everything
OVER_SOFTEST_DB = 8.0
BOUND_S, LEAD_S = 0.6, 0.35  # of a bound inside a file: where its soft moment is looked for, at the end and the start
CUT_BOUND_DB, WHOLE_BOUND_DB = -14.0, -24.0  # that moment, below the loud parts: cut above, whole below
SILENT_LEAD_DB = -30.0
SMOOTHED = 3  # frames of 32 ms


def cut_measures(trace: Trace, starts_file: bool, ends_file: bool) -> dict[str, float]:
    """Give `CUT_MEASURES`. `cut_at_*` is 1 (cut), 0 (whole) or NaN where the sound does not tell.

    `start_edge_db` and `end_edge_db` are the level that decided, `softest_db` that of the softest moment, all against
    the loud parts (95th percentile), in dB.
    """
    if len(trace.level_db) < 2 * BOUND_S * FRAMES_PER_S:
        return dict.fromkeys(CUT_MEASURES, math.nan)
    loud_db = float(np.quantile(trace.level_db, 0.95))
    levels = np.convolve(trace.level_db, np.ones(SMOOTHED) / SMOOTHED, "valid") - loud_db
    softest_db = float(levels.min())
    if starts_file:
        start_db = trace.start_rms_db - loud_db
        is_cut_first = float(not _begins(trace, loud_db)) * _at_edge(start_db, trace.chroma[:, :1], softest_db)
    else:
        start_db = float(levels[: round(LEAD_S * FRAMES_PER_S)].min())
        is_cut_first = 0.0 if start_db <= min(SILENT_LEAD_DB, softest_db + OVER_SOFTEST_DB) else math.nan
    if ends_file:
        end_db = trace.end_rms_db - loud_db
        is_cut_last = _at_edge(end_db, trace.chroma[:, -3:], softest_db)
    else:
        end_db = float(levels[-round(BOUND_S * FRAMES_PER_S) :].min())
        is_whole = end_db < min(WHOLE_BOUND_DB, softest_db + OVER_SOFTEST_DB)
        is_cut_last = 1.0 if end_db > CUT_BOUND_DB else 0.0 if is_whole else math.nan
    return dict(zip(CUT_MEASURES, (is_cut_first, is_cut_last, start_db, end_db, softest_db), strict=True))


def _begins(trace: Trace, loud_db: float) -> bool:
    """Whether the sound of a file begins with its first attack, and not before: out of silence or noise."""
    start_db, first_db = trace.start_rms_db - loud_db, trace.first_rms_db - loud_db
    if first_db < start_db + OUT_OF_SILENCE_DB <= trace.early_rms_db - loud_db:
        return True
    return start_db < LOUD_START_DB and trace.start_rise_db >= MAX_RISE_DB and not first_db >= FIRST_DB


def _at_edge(edge_db: float, chroma: np.ndarray, softest_db: float) -> float:
    """Whether a tone sounds at the edge of a file, given its chroma (12, frames) there."""
    if math.isnan(edge_db):
        return math.nan
    energy = chroma.sum(axis=1)
    has_tone = energy.max() >= MIN_TONE * (energy.sum() + 1e-12)
    return float(has_tone and edge_db >= min(TONE_DB, max(SOFT_TONE_DB, softest_db + OVER_FLOOR_DB)))


def cut_evidence(measures: Mapping[str, float | None]) -> str | None:
    """Say in one line why an end is cut; None where none is."""
    said = [
        f"{name}: {-float(measures[f'{name}_edge_db'] or 0.0):.0f} dB below the loud parts"
        for name in ("start", "end")
        if measures.get(f"cut_at_{name}") == 1.0
    ]
    softest = measures.get("softest_db")
    return f"{'; '.join(said)}; the softest moment {-softest:.0f} dB" if said and softest is not None else None
