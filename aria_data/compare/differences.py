"""The difference between two arms' test losses, with a confidence interval. No training, no tables.

Two sources of uncertainty go into every interval: which compositions are tested on (a bootstrap over compositions, with
paired losses), and what another training run would have given (another random draw, another initialisation). The second
is estimated from few training runs, so it enters with Student's t.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

NUM_RESAMPLES = 4000
ENOUGH_FREEDOM = 4  # with less, Student's t makes intervals several times as wide
BETTER, WORSE, NO_DIFFERENCE = "better", "worse", "no difference"


@dataclass(frozen=True, slots=True)
class Difference:
    """One test loss minus another, or a loss by itself, in nats a token; lower is better. Infinite ends: not known."""

    mean: float
    low: float  # of the interval
    high: float

    @property
    def verdict(self) -> str:
        """`BETTER`, `WORSE` or `NO_DIFFERENCE`, from the interval alone."""
        return BETTER if self.high < 0 else WORSE if self.low > 0 else NO_DIFFERENCE


@dataclass(frozen=True, eq=False)
class Measured:
    """The test losses of one arm's training runs."""

    name: str
    kind: str  # "subset", "random", "all"
    num_files: int  # trained on
    fraction: float  # 0 to 1, of the files that may be trained on
    effective_num_files: float  # (sum w)^2 / sum w^2
    losses: np.ndarray  # (variants, seeds, test files), nats a token; a variant is another draw
    by_composition: np.ndarray  # (variants, seeds, compositions): means over a composition's files
    distances: np.ndarray = field(default_factory=lambda: np.zeros(0))  # (variants,) `frechet.Space.distance`


@dataclass(frozen=True, slots=True)
class _Noise:
    """The part of a mean's variance that comes from training, and its degrees of freedom."""

    variance: float
    freedom: float

    def __add__(self, other: _Noise) -> _Noise:
        """Welch and Satterthwaite."""
        variance = self.variance + other.variance
        parts = sum(each.variance**2 / each.freedom for each in (self, other) if each.freedom)
        return _Noise(variance, variance**2 / parts if parts else max(self.freedom, other.freedom))


def loss_of(one: Measured, among: Sequence[Measured], confidence: float) -> Difference:
    """The loss of one arm: the mean over compositions, each with the same weight. `among` are all arms."""
    return _interval(_per_composition(one), _noise(one, among), confidence)


def difference(
    one: Measured,
    other: Measured,
    among: Sequence[Measured],
    confidence: float,
    which: np.ndarray | None = None,
) -> Difference:
    """`one` minus `other`, composition by composition. `among` are all arms; `which` (compositions,) picks some."""
    if which is not None:
        one, other, *among = (_of_compositions(each, which) for each in (one, other, *among))
    differences = _per_composition(one) - _per_composition(other)
    return _interval(differences, _noise(one, among) + _noise(other, among), confidence)


def _of_compositions(one: Measured, which: np.ndarray) -> Measured:
    return replace(one, by_composition=one.by_composition[:, :, which])


def _per_composition(one: Measured) -> np.ndarray:
    return one.by_composition.mean(axis=(0, 1))


def _noise(one: Measured, among: Sequence[Measured]) -> _Noise:
    """Estimate an arm's training noise from its own draws, or, for a single draw, from the spread of similar arms.

    Similar are arms with as many files, then with ever fewer, until there are `ENOUGH_FREEDOM` degrees of freedom. With
    fewer files the noise is rather overestimated. The spread of random draws includes that of their initialisations.
    """
    means = one.by_composition.mean(axis=2)
    if len(means) > 1:
        return _Noise(float(means.mean(axis=1).var(ddof=1)) / len(means), len(means) - 1)
    squares, freedom = 0.0, 0
    for size in sorted({each.num_files for each in among if each.num_files <= one.num_files}, reverse=True):
        if freedom < ENOUGH_FREEDOM:
            spreads = [_spread(each) for each in among if each.num_files == size]
            squares += sum(square for square, _ in spreads)
            freedom += sum(free for _, free in spreads)
    return _Noise(squares / freedom / means.size if freedom else math.inf, freedom)


def _spread(one: Measured) -> tuple[float, int]:
    """Sum of squares and degrees of freedom of an arm's training runs: about their draw's mean, if random about all."""
    means = one.by_composition.mean(axis=2)
    of_draws = means.mean(axis=1, keepdims=True)
    squares = float(np.square(means - of_draws).sum())
    if one.kind != "random":
        return squares, means.size - len(means)
    return squares + float(np.square(of_draws - means.mean()).sum()), means.size - 1


def _interval(values: np.ndarray, noise: _Noise, confidence: float) -> Difference:
    """Add resampled means and training noise, and take quantiles of the sum."""
    from scipy.stats import norm, t

    mean, num = float(values.mean()), len(values)
    if num < 2 or not math.isfinite(noise.variance):
        return Difference(mean, -math.inf, math.inf)
    random = np.random.default_rng(0)
    tail = (1 + confidence) / 2
    counts = random.multinomial(num, np.full(num, 1 / num), size=NUM_RESAMPLES)
    # with few compositions, bootstrap percentiles are too narrow by this factor (Hesterberg 2015, expanded percentile)
    widening = math.sqrt(num / (num - 1)) * t.ppf(tail, num - 1) / norm.ppf(tail)
    moved = (counts @ values / num - mean) * widening
    if noise.variance > 0:
        even = (random.permutation(NUM_RESAMPLES) + 0.5) / NUM_RESAMPLES
        moved = moved + math.sqrt(noise.variance) * t.ppf(even, noise.freedom)
    low, high = np.quantile(moved, [1 - tail, tail])
    return Difference(mean, mean + float(low), mean + float(high))
