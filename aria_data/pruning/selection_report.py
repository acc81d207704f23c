"""Compare a selection with its pool: sizes, groups, scores, coverage. The report describes; it does not judge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aria_data.pruning.selection import Selection

NUM_BINS = 20


@dataclass(frozen=True, slots=True)
class GroupShare:
    """One group's part of all files and of those kept; both shares are 0 to 1."""

    group: str  # "": files whose group is not known
    num_files: int
    num_kept: int
    share: float
    share_kept: float
    share_weighted: float  # of the weights: what a training loss sees


@dataclass(frozen=True, slots=True)
class SelectionReport:
    """The pool and what is kept of it, in numbers. `dataclasses.asdict` gives plain values."""

    num_files: int
    num_kept: int
    minutes: float
    minutes_kept: float
    num_notes: int
    num_notes_kept: int
    effective_num_files: float  # of those kept, given their weights
    groups: tuple[GroupShare, ...]  # the largest first
    group_coverage: float  # share of known groups of which a file is kept, 0 to 1; 1 when there are none
    js_divergence: float  # between the groups' shares before and after: 0 equal, 1 disjoint
    js_divergence_weighted: float
    score_edges: tuple[float, ...]  # of equal bins; one more than bins; empty without scores
    score_counts: tuple[int, ...]
    score_counts_kept: tuple[int, ...]
    score_coverage: float  # share of occupied bins of which a file is kept, 0 to 1; 1 when there are none


def report_of(selection: Selection) -> SelectionReport:
    """Compare what a selection keeps with its whole pool."""
    pool = selection.pool
    kept = set(selection.ids)
    is_kept = np.array([each in kept for each in pool.ids], bool)
    weights = np.zeros(len(pool))
    weights[is_kept] = selection.weights
    groups = _groups(pool.groups, is_kept, weights)
    known = [each for each in groups if each.group]
    edges, counts, counts_kept = _histogram(pool.scores, is_kept)
    return SelectionReport(
        num_files=len(pool),
        num_kept=len(selection.ids),
        minutes=float(pool.minutes.sum()),
        minutes_kept=float(pool.minutes[is_kept].sum()),
        num_notes=int(pool.num_notes.sum()),
        num_notes_kept=int(pool.num_notes[is_kept].sum()),
        effective_num_files=selection.effective_num_files,
        groups=groups,
        group_coverage=_coverage([each.num_kept for each in known], len(known)),
        js_divergence=_divergence([each.share for each in groups], [each.share_kept for each in groups]),
        js_divergence_weighted=_divergence([each.share for each in groups], [each.share_weighted for each in groups]),
        score_edges=edges,
        score_counts=counts,
        score_counts_kept=counts_kept,
        score_coverage=_coverage(counts_kept, sum(count > 0 for count in counts)),
    )


def _groups(names: np.ndarray, is_kept: np.ndarray, weights: np.ndarray) -> tuple[GroupShare, ...]:
    found, codes = np.unique(names.astype(object), return_inverse=True)
    sizes, kept, weighed = (np.bincount(codes, each) for each in (np.ones(len(codes)), is_kept, weights))
    shares = (each / max(each.sum(), np.finfo(float).tiny) for each in (sizes, kept, weighed))
    rows = zip(found, sizes.astype(int), kept.astype(int), *shares, strict=True)
    made = [GroupShare(str(name), int(size), int(num), *map(float, shares_of)) for name, size, num, *shares_of in rows]
    return tuple(sorted(made, key=lambda each: (-each.num_files, each.group)))


def _coverage(counts_kept: list[int] | tuple[int, ...], num_occupied: int) -> float:
    return sum(count > 0 for count in counts_kept) / num_occupied if num_occupied else 1.0


def _divergence(before: list[float], after: list[float]) -> float:
    """Jensen-Shannon divergence to base 2; 1 when nothing is kept."""
    from scipy.spatial.distance import jensenshannon

    if not before or not any(after):
        return 1.0 if before else 0.0
    return float(jensenshannon(before, after, base=2) ** 2)


def _histogram(scores: np.ndarray, is_kept: np.ndarray) -> tuple[tuple[float, ...], tuple[int, ...], tuple[int, ...]]:
    is_scored = ~np.isnan(scores)
    if not is_scored.any():
        return (), (), ()
    edges = np.histogram_bin_edges(scores[is_scored], NUM_BINS)
    counts, counts_kept = (np.histogram(scores[which], edges)[0] for which in (is_scored, is_scored & is_kept))
    return tuple(map(float, edges)), tuple(map(int, counts)), tuple(map(int, counts_kept))
