"""How far two subsets' test losses lie apart, with an interval. No training, no tables.

Two things make a difference uncertain, and both go into every interval: which compositions were asked (bootstrap over
compositions, the losses paired), and what another training would have given (another random draw, another
initialisation). The second is known from few trainings, so it counts with Student's t.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

NUM_RESAMPLES = 4000
ENOUGH_FREEDOM = 4  # with less, Student's t makes intervals several times as wide
BETTER, WORSE, NO_DIFFERENCE = "better", "worse", "no difference"


@dataclass(frozen=True, slots=True)
class Difference:
    """One test loss minus another, or a loss by itself, nats a token; the lower the better."""

    mean: float
    low: float  # of the interval
    high: float

    @property
    def verdict(self) -> str:
        """Nothing but the interval decides."""
        return BETTER if self.high < 0 else WORSE if self.low > 0 else NO_DIFFERENCE


@dataclass(frozen=True, eq=False)
class Measured:
    """The test losses of one subset's trainings."""

    name: str
    kind: str  # "subset", "random", "all"
    num_files: int  # trained on
    fraction: float  # of the files that may be trained on
    effective_num_files: float  # (sum w)^2 / sum w^2
    losses: np.ndarray  # (variants, seeds, test files), nats a token; a variant is another draw
    by_composition: np.ndarray  # (variants, seeds, compositions): means over a composition's files


@dataclass(frozen=True, slots=True)
class _Noise:
    """The variance of a mean that comes from training, and the degrees of freedom it is known with."""

    variance: float
    freedom: float

    def __add__(self, other: _Noise) -> _Noise:
        """Welch and Satterthwaite."""
        variance = self.variance + other.variance
        parts = sum(each.variance**2 / each.freedom for each in (self, other) if each.freedom)
        return _Noise(variance, variance**2 / parts if parts else max(self.freedom, other.freedom))


def loss_of(one: Measured, among: Sequence[Measured], confidence: float) -> Difference:
    """The loss itself: mean over compositions, each counting once."""
    return _interval(_per_composition(one), _noise(one, among), confidence)


def difference(
    one: Measured,
    other: Measured,
    among: Sequence[Measured],
    confidence: float,
    is_asked: np.ndarray | None = None,
) -> Difference:
    """`one` minus `other`, composition by composition; `is_asked` picks compositions."""
    if is_asked is not None:
        one, other, *among = (_of_compositions(each, is_asked) for each in (one, other, *among))
    apart = _per_composition(one) - _per_composition(other)
    return _interval(apart, _noise(one, among) + _noise(other, among), confidence)


def _of_compositions(one: Measured, is_asked: np.ndarray) -> Measured:
    return replace(one, by_composition=one.by_composition[:, :, is_asked])


def _per_composition(one: Measured) -> np.ndarray:
    return one.by_composition.mean(axis=(0, 1))


def _noise(one: Measured, among: Sequence[Measured]) -> _Noise:
    """From its own draws; a subset that is drawn once has only seeds, and borrows from like trainings.

    Those on as many files are like it, then those on ever fewer, whose noise is rather too large, until it is known
    well enough. Random draws lend their spread, which holds that of their initialisations.
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
    """Sum of squares and degrees of freedom of its trainings about what they should have in common."""
    means = one.by_composition.mean(axis=2)
    of_draws = means.mean(axis=1, keepdims=True)
    squares = float(np.square(means - of_draws).sum())
    if one.kind != "random":
        return squares, means.size - len(means)
    return squares + float(np.square(of_draws - means.mean()).sum()), means.size - 1


def _interval(values: np.ndarray, noise: _Noise, confidence: float) -> Difference:
    """Add resampled means and the noise of training up, and take quantiles of the sum."""
    from scipy.stats import norm, t

    mean, num = float(values.mean()), len(values)
    if num < 2 or not math.isfinite(noise.variance):
        return Difference(mean, -math.inf, math.inf)
    random = np.random.default_rng(0)
    tail = (1 + confidence) / 2
    counts = random.multinomial(num, np.full(num, 1 / num), size=NUM_RESAMPLES)
    # few compositions: percentiles of a bootstrap are too narrow by this factor (Hesterberg 2015, expanded percentile)
    widening = math.sqrt(num / (num - 1)) * t.ppf(tail, num - 1) / norm.ppf(tail)
    moved = (counts @ values / num - mean) * widening
    if noise.variance > 0:
        even = (random.permutation(NUM_RESAMPLES) + 0.5) / NUM_RESAMPLES
        moved = moved + math.sqrt(noise.variance) * t.ppf(even, noise.freedom)
    low, high = np.quantile(moved, [1 - tail, tail])
    return Difference(mean, mean + float(low), mean + float(high))
