"""Selectors: `select(pool, config, seed)` chooses which files to keep, with weights and reasons. No models, no files.

Every method except `ht_proportional` puts the files in an order and keeps them until the budget ends. Random orders
come from permanent random numbers (`random_keys.py`), so a smaller budget keeps a part of what a larger one keeps.
"""

from __future__ import annotations

import numpy as np

from aria_data.pruning.budgets import ROUNDING, num_affordable
from aria_data.pruning.random_keys import random_keys
from aria_data.pruning.sampling import Sampling, codes_of, prepare, ranks_within
from aria_data.pruning.selection import BY_RANK, Pool, SelectConfig, Selection, weights_of
from aria_data.pruning.selection_warnings import warnings_of


def select(pool: Pool, config: SelectConfig, seed: int = 0) -> Selection:
    """Choose files of the pool by `config.method` within `config.budget`. The same arguments give the same files.

    Raises `ConfigInvalid` when the files to include are more than the budget allows.
    """
    sampling = Sampling(pool, config, seed)
    prepare(sampling)
    _DRAW[config.method](sampling)
    kept = np.flatnonzero(sampling.is_kept)
    probs = sampling.probs[kept]
    selection = Selection(
        tuple(pool.ids[index] for index in kept),
        weights_of(probs, config),
        probs,
        dict(zip(pool.ids, sampling.reasons, strict=True)),
        sampling.warnings,
        pool,
        config,
        seed,
    )
    selection.warnings.extend(warnings_of(selection, sampling))
    return selection


def _random(sampling: Sampling) -> None:
    order = sampling.by_random_key()
    num = sampling.draw(order, _numbered("lot", len(order)))
    sampling.probs[order[:num]] *= num / max(len(order), 1)


def _by_rank(sampling: Sampling) -> None:
    """`top`, `bottom`, `middle`, lengths, and `window`, whose hardest files have been cut off before."""
    order = sampling.by_rank()
    sampling.draw(order, _numbered(_RANK_WORDS.get(sampling.config.method, "rank"), len(order)))


_RANK_WORDS = {"middle": "place from the median", "longest": "rank by length", "shortest": "rank by length"}


def _numbered(word: str, num: int) -> list[str]:
    return [f"{word} {number} of {num}" for number in range(1, num + 1)]


def _group_random(sampling: Sampling) -> None:
    """One file of each composition, in random order, then a second of each. A file without one is its own group."""
    ids = np.array(sampling.pool.ids, object)
    names = np.where(sampling.pool.groups == "", "\0" + ids, sampling.pool.groups) if len(ids) else ids
    group_keys = random_keys(names, "group", sampling.seed)
    order, _, rounds, sizes = _round_robin(sampling, codes_of(names), -group_keys)
    labels = [
        f"round {mine + 1} over the groups, {size} files in its own" for mine, size in zip(rounds, sizes, strict=True)
    ]
    num = sampling.draw(order, labels)
    if num < len(order):
        is_last = rounds == rounds[num]
        per_group = rounds[num] + is_last[:num].sum() / is_last.sum()
        sampling.probs[order[:num]] *= np.minimum(1, per_group / sizes[:num])


def _stratified(sampling: Sampling) -> None:
    """Coverage sampling: equal numbers from strata of equal width over the range of the scores.

    Zheng et al. and DEALRec (Alg. 2) go from the smallest stratum to the largest and give each an equal share of what
    is left. Taking one of each stratum in turn, the largest first, gives the same numbers.
    """
    num_strata = sampling.config.strata
    strata = _strata(sampling, num_strata)
    largest_first = np.bincount(strata[sampling.is_open], minlength=num_strata) * num_strata + np.arange(num_strata)
    order, codes, ranks, sizes = _round_robin(sampling, strata, largest_first[strata])
    labels = [
        f"stratum {code + 1} of {num_strata}, lot {rank + 1} of {size} in it"
        for code, rank, size in zip(codes, ranks, sizes, strict=True)
    ]
    num = sampling.draw(order, labels)
    num_taken = np.bincount(codes[:num], minlength=num_strata)
    sampling.probs[order[:num]] *= num_taken[codes[:num]] / sizes[:num]


def _strata(sampling: Sampling, num_strata: int) -> np.ndarray:
    """Number each open file's stratum, from 0 for the easiest. The last stratum includes its upper edge."""
    strata = np.zeros(len(sampling.pool), int)
    scores = sampling.scores[sampling.is_open]
    if len(scores):
        edges = np.linspace(scores.min(), scores.max(), num_strata + 1)
        strata[sampling.is_open] = np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, num_strata - 1)
    return strata


def _round_robin(sampling: Sampling, codes: np.ndarray, priority: np.ndarray) -> tuple[np.ndarray, ...]:
    """Order the open files in rounds: one random file of each code a round, in a round the highest priority first.

    Gives the order, and for each file in it the code, the round (from 0), and the number of open files with that code.
    """
    order = sampling.by_random_key()
    rounds = ranks_within(codes[order])
    by_round = np.lexsort((-priority[order], rounds))
    order, rounds = order[by_round], rounds[by_round]
    sizes = np.bincount(codes[order])[codes[order]] if len(order) else order
    return order, codes[order], rounds, sizes


def _score_proportional(sampling: Sampling) -> None:
    """Draw one file after the other without replacement, each with a probability proportional to its size.

    Exponential keys (Efraimidis and Spirakis 2006) give the whole order at once. The inclusion probabilities have no
    closed form; Rosen's (1997) 1 - exp(-t size) is off by about 1 / number of files.
    """
    order = sampling.by_random_key()
    sizes = _sizes(sampling, order)
    keys = -np.log(sampling.random_keys("draw")[order]) / sizes
    first = np.argsort(keys, kind="stable")
    order, sizes = order[first], sizes[first]
    labels = [f"drawn as number {n} of {len(order)}, size {size:.3g}" for n, size in enumerate(sizes, 1)]
    num = sampling.draw(order, labels)
    sampling.probs[order[:num]] *= _successive_probs(sizes, num)[:num]


def _sizes(sampling: Sampling, indices: np.ndarray) -> np.ndarray:
    """Map scores linearly to [floor, 1] (Anand et al. C.3); all equal: 1."""
    scores, floor = sampling.scores[indices], sampling.config.floor
    spread = np.ptp(scores) if len(scores) else 0.0
    return floor + (1 - floor) * (scores - scores.min()) / spread if spread > 0 else np.ones(len(scores))


def _successive_probs(sizes: np.ndarray, num: int) -> np.ndarray:
    from scipy.optimize import brentq

    if num in (0, len(sizes)):
        return np.full(len(sizes), float(num > 0))
    longest = -np.log1p(-num / len(sizes)) / sizes.min()  # if all were as small as the smallest
    time = brentq(lambda t: -np.expm1(-t * sizes).sum() - num, 0, longest * 2)
    return -np.expm1(-time * sizes)


def _ht_proportional(sampling: Sampling) -> None:
    """Probability proportional to size, by systematic sampling in random order (Madow 1949).

    The probabilities are exact and their sum is the number kept, but a file added or a larger budget changes the whole
    choice.
    """
    order = sampling.by_random_key()
    probs = _proportional_probs(_sizes(sampling, order), sampling.costs[order], sampling.to_spend())
    is_sure = probs >= 1
    sums = np.cumsum(np.where(is_sure, 0, probs))
    if sampling.config.budget.unit == "files" and len(sums) and sums[-1] > 0:
        sums = sums / sums[-1] * round(sums[-1])  # the last sum is a whole number, except for rounding
    start = random_keys([""], "start", sampling.seed)[0]
    is_hit = np.diff(np.floor(sums + 1 - start), prepend=0) > 0
    drawn = order[is_sure | is_hit]
    labels = [f"drawn with probability {prob:.4g}" for prob in probs[is_sure | is_hit]]
    num = sampling.draw(drawn, labels)
    sampling.probs[drawn[:num]] *= probs[is_sure | is_hit][:num] * num / max(len(drawn), 1)
    is_left = ~(is_sure | is_hit)
    sampling.num_undrawn += int(is_left.sum())
    sampling.leave(order[is_left], (f"not drawn with probability {prob:.4g}" for prob in probs[is_left]))


def _proportional_probs(sizes: np.ndarray, costs: np.ndarray, to_spend: float) -> np.ndarray:
    """Give min(1, t * size), with t chosen so that the expected cost is `to_spend`."""
    is_sure = np.zeros(len(sizes), bool)
    while not is_sure.all():
        rate = (to_spend - costs[is_sure].sum()) / max((sizes * costs)[~is_sure].sum(), np.finfo(float).tiny)
        is_new = ~is_sure & (rate * sizes >= 1 - ROUNDING)
        if not is_new.any():
            return np.where(is_sure, 1.0, np.maximum(rate, 0) * sizes)
        is_sure |= is_new
    return np.ones(len(sizes))


def _calibrated(sampling: Sampling) -> None:
    """A share alpha of the budget by score, the rest at random from all other files (Ayed and Hayou)."""
    order = sampling.by_rank()
    wanted = sampling.config.alpha * sampling.to_spend() * (1 - ROUNDING)
    num_wanted = int(np.searchsorted(np.cumsum(sampling.costs[order]), wanted)) + 1 if wanted > 0 else 0
    num = min(num_wanted, num_affordable(sampling.costs[order], sampling.to_spend()))
    sampling.keep(order[:num], _numbered("by score, rank", len(order))[:num])
    others = sampling.by_random_key()
    num_explored = sampling.draw(others, _numbered("by lot from the others,", len(others)))
    sampling.probs[others[:num_explored]] *= num_explored / max(len(others), 1)


_DRAW = {
    "random": _random,
    "group_random": _group_random,
    **dict.fromkeys(BY_RANK, _by_rank),
    "stratified": _stratified,
    "score_proportional": _score_proportional,
    "ht_proportional": _ht_proportional,
    "calibrated": _calibrated,
}
