"""How far the music of a choice of files lies from what is tested on, without any training: Fréchet distances.

Two sets of windows are taken for two normal distributions of their histograms (`aria_data.surrogate.histograms`):

    |m - n|^2 + trace(A + B - 2 (A B)^(1/2))        means m, n and covariances A, B

as the Fréchet Music Distance has it (Retkowski et al. 2024), of features that can be named instead of an embedding. The
features are square roots of shares, between which the plain distance is Hellinger's: rare bins do not dominate it. Few
windows make it larger whatever they hold, so it is only compared with that of equally many random files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aria_data.compare.differences import Difference
from aria_data.surrogate.histograms import histograms_of
from aria_data.surrogate.windows import Windows


@dataclass(frozen=True, eq=False)
class Space:
    """The histograms of all windows, and those of the windows that are tested on."""

    features: np.ndarray  # (windows, bins) square roots of shares
    owners: np.ndarray  # (windows,) file numbers, ascending
    tested: tuple[np.ndarray, np.ndarray]  # mean and covariance

    @classmethod
    def of(cls, windows: Windows, test_files: np.ndarray) -> Space:
        features, owners = np.sqrt(histograms_of(windows)), np.asarray(windows.owners)
        is_tested = np.isin(owners, test_files)
        return cls(features, owners, _normal(features[is_tested], np.ones(int(is_tested.sum()))))

    def distance(self, files: np.ndarray, weights: np.ndarray) -> float:
        """From these files, with their weights, to what is tested on; each window counts as its file does."""
        of_file = np.zeros(self.owners.max() + 1)
        of_file[files] = weights
        of_window = of_file[self.owners]
        return frechet(_normal(self.features[of_window > 0], of_window[of_window > 0]), self.tested)


def _normal(features: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean = np.average(features, axis=0, weights=weights)
    moved = features - mean
    return mean, (moved * weights[:, None]).T @ moved / weights.sum()


def frechet(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> float:
    """Give the squared Fréchet distance of two normal distributions, each a mean and a covariance."""
    (mean, covariance), (other_mean, other_covariance) = one, other
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    common = np.sqrt(np.linalg.eigvalsh(root @ other_covariance @ root).clip(0)).sum()
    apart = np.square(mean - other_mean).sum() + np.trace(covariance) + np.trace(other_covariance) - 2 * common
    return max(0.0, float(apart))


def distance_apart(one: np.ndarray, random: np.ndarray, confidence: float) -> Difference:
    """The mean distance of one method's draws minus that of random draws, with an interval over draws (Welch).

    Of a method with one draw the spread is taken to be that of random files.
    """
    from scipy.stats import t

    mean = float(one.mean() - random.mean())
    if len(random) < 2:
        return Difference(mean, -math.inf, math.inf)
    parts = [_variance_of_mean(one, random), _variance_of_mean(random, random)]
    variance = sum(part for part, _ in parts)
    if not variance:
        return Difference(mean, mean, mean)
    freedom = variance**2 / sum(part**2 / free for part, free in parts)
    reach = float(t.ppf((1 + confidence) / 2, freedom)) * math.sqrt(variance)
    return Difference(mean, mean - reach, mean + reach)


def _variance_of_mean(one: np.ndarray, random: np.ndarray) -> tuple[float, int]:
    """The variance of the mean over draws, and its degrees of freedom."""
    spread = one if len(one) > 1 else random
    return float(spread.var(ddof=1)) / len(one), len(spread) - 1


def rank_agreement(distances: Sequence[np.ndarray], losses: Sequence[np.ndarray]) -> float | None:
    """Spearman's rho of distances and losses over the choices of one size; None for fewer than 4.

    Each array has one number a choice of files.
    """
    from scipy.stats import spearmanr

    near, low = np.concatenate([*distances, []]), np.concatenate([*losses, []])
    if len(near) < 4 or not np.ptp(near) or not np.ptp(low):
        return None
    return float(spearmanr(near, low).statistic)
