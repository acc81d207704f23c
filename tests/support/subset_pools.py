"""Small pools of files to select from, for the tests of `aria_data.pruning`."""

from __future__ import annotations

import numpy as np

from aria_data.pruning import Budget, Pool, SelectConfig, Selection, select


def pool_of(num: int, seed: int = 0, num_groups: int = 6, num_without_score: int = 0, decimals: int = 1) -> Pool:
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=num).round(decimals)  # one decimal gives ties
    scores[:num_without_score] = np.nan
    ids = [f"file-{number:03d}" for number in rng.permutation(num)]
    groups = [f"piece-{number}" for number in rng.integers(0, num_groups, num)]
    return Pool.of(ids, scores, groups, rng.uniform(0.5, 9, num), rng.integers(20, 4000, num))


def keep(pool: Pool, method: str, budget: Budget, seed: int = 0, **settings_: object) -> Selection:
    return select(pool, SelectConfig(method, budget, **settings_), seed)  # type: ignore[arg-type]


def attribute(selection: Selection, name: str) -> dict[str, object]:
    """An attribute of every file of the pool, by id."""
    return dict(zip(selection.pool.ids, getattr(selection.pool, name), strict=True))
