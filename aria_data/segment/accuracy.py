"""Measure how well found segments fit the true ones. Nothing is decided here.

Two views: how well the best match fits each true segment, and how many seconds are found, missed or false.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Span = tuple[float, float]  # start_s, end_s
MATCH_IOU = 0.5  # from this overlap on a found segment matches the true one, and their boundaries are compared


@dataclass(frozen=True, slots=True)
class SegmentFit:
    """One true segment and the found one that overlaps it most."""

    start_s: float
    end_s: float
    iou: float  # length of the intersection over that of the union, 0 where nothing was found
    start_error_s: float | None  # found less true; None without a match
    end_error_s: float | None


@dataclass(frozen=True, slots=True)
class SecondsFit:
    """Seconds of solo piano that were found and missed, and seconds found where there is none."""

    found_s: float
    missed_s: float
    false_s: float

    @property
    def iou(self) -> float:
        everything_s = self.found_s + self.missed_s + self.false_s
        return self.found_s / everything_s if everything_s else 1.0


def fit_of_segments(true: Sequence[Span], found: Sequence[Span]) -> list[SegmentFit]:
    """Give the best match of each true segment. A found segment that covers several may match each of them."""
    fits = []
    for start_s, end_s in true:
        best = max(found, key=lambda span: _iou(span, (start_s, end_s)), default=None)
        iou = _iou(best, (start_s, end_s)) if best else 0.0
        is_match = best is not None and iou >= MATCH_IOU
        errors = (best[0] - start_s, best[1] - end_s) if best and is_match else (None, None)
        fits.append(SegmentFit(start_s, end_s, iou, *errors))
    return fits


def fit_of_seconds(true: Sequence[Span], found: Sequence[Span]) -> SecondsFit:
    """Count the seconds. The spans of each list must not overlap each other."""
    both_s = sum(_overlap_s(one, other) for one in true for other in found)
    true_s, all_found_s = (sum(end_s - start_s for start_s, end_s in spans) for spans in (true, found))
    return SecondsFit(both_s, true_s - both_s, all_found_s - both_s)


def _overlap_s(one: Span, other: Span) -> float:
    return max(0.0, min(one[1], other[1]) - max(one[0], other[0]))


def _iou(one: Span, other: Span) -> float:
    both_s = _overlap_s(one, other)
    return both_s / (one[1] - one[0] + other[1] - other[0] - both_s) if both_s else 0.0
