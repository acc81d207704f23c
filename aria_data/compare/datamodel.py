"""Whether attributions foretell what training does: the linear datamodelling score (Park et al. 2023, TRAK).

Many random halves of the files are trained on. For each file that is tested on, the sum of the attributions of the
files in a half foretells its loss; Spearman's rho of both over the halves is the score, 0 for chance. dattri (Deng et
al. 2024) measures so on MAESTRO, and its function gives the same numbers; it is one `spearmanr` a file, so not a reason
for a dependency.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from aria_data.compare.training_runs import TrainingRun
from aria_data.pruning.random_keys import random_keys
from aria_data.pruning.retrieval import Retrieval, retrieval_of
from aria_data.surrogate import Windows
from aria_data.surrogate.histograms import histograms_of

NUM_RESAMPLES = 400


@dataclass(frozen=True, eq=False)
class Retrained:
    """The losses after training on random parts of the files."""

    is_in: np.ndarray  # (parts, files) bool: which files of those that may be trained on
    losses: np.ndarray  # (seeds, parts, test files) nats a token

    @property
    def mean(self) -> np.ndarray:
        """(parts, test files), over seeds."""
        return self.losses.mean(axis=0)


@dataclass(frozen=True, slots=True)
class Foretold:
    """How well one kind of attribution foretells losses."""

    name: str
    score: float  # the linear datamodelling score, -1 to 1; mean over the files tested on
    low: float  # of its interval, over compositions tested on and parts trained on
    high: float
    retrieval: Retrieval | None  # None: the same for all by construction, or too few files to say


def parts_of(windows: Windows, open_files: np.ndarray, num_parts: int, share: float) -> list[np.ndarray]:
    """Draw random parts of the files, each of this share: file numbers, ascending."""
    ids, size = [windows.ids[number] for number in open_files], max(1, round(share * len(open_files)))
    orders = [np.argsort(random_keys(ids, "datamodel", part), kind="stable") for part in range(num_parts)]
    return [np.sort(open_files[order[:size]]) for order in orders]


def runs_of(parts: Sequence[np.ndarray], num_seeds: int) -> list[list[TrainingRun]]:
    """The training runs, seed by seed. Within a seed all parts start from the same parameters: less noise."""
    return [[TrainingRun(part, np.ones(len(part)), seed) for part in parts] for seed in range(num_seeds)]


def datamodelling_scores(attributions: np.ndarray, is_in: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """Give the score of each file tested on, (test files,); NaN where nothing varies.

    `attributions` (files, test files), high = lowers the loss; `is_in` (parts, files); `losses` (parts, test files).
    """
    return _correlations(_ranks(is_in.astype(float) @ attributions), _ranks(-losses))


def _ranks(values: np.ndarray) -> np.ndarray:
    from scipy.stats import rankdata

    return rankdata(values, axis=0)


def _correlations(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Pearson's r of each column of the two."""
    one, other = one - one.mean(axis=0), other - other.mean(axis=0)
    lengths = np.sqrt(np.square(one).sum(axis=0) * np.square(other).sum(axis=0))
    return np.divide((one * other).sum(axis=0), lengths, out=np.full(len(lengths), np.nan), where=lengths > 0)


def foretold(
    name: str, attributions: np.ndarray, retrained: Retrained, compositions: np.ndarray, confidence: float = 0.95
) -> Foretold:
    """Score one kind of attribution. `compositions` (test files,) numbers the composition of each file tested on.

    The interval is a bootstrap over compositions and over parts at once.
    """
    score = float(np.nanmean(datamodelling_scores(attributions, retrained.is_in, retrained.mean)))
    summed, losses = retrained.is_in.astype(float) @ attributions, retrained.mean
    rng = np.random.default_rng(0)
    members = [np.flatnonzero(compositions == code) for code in np.unique(compositions)]
    found = []
    for _ in range(NUM_RESAMPLES):
        parts = rng.integers(0, len(losses), len(losses))
        files = np.concatenate([members[code] for code in rng.integers(0, len(members), len(members))])
        drawn = _correlations(_ranks(summed[np.ix_(parts, files)]), _ranks(-losses[np.ix_(parts, files)]))
        found.append(np.nanmean(drawn))
    low, high = np.nanquantile(found, [(1 - confidence) / 2, (1 + confidence) / 2])
    is_alike = bool((attributions == attributions[:, :1]).all())
    return Foretold(name, score, float(low), float(high), None if is_alike else retrieval_of(attributions))


def ceiling_of(retrained: Retrained) -> float | None:
    """The score that attributions without error would have, from how far seeds agree; None with one seed.

    Spearman's rho between seeds, stepped up to the mean over them (Spearman and Brown); its square root.
    """
    num = len(retrained.losses)
    if num < 2:
        return None
    ranks = [_ranks(losses) for losses in retrained.losses]
    between = [np.nanmean(_correlations(ranks[a], ranks[b])) for a in range(num) for b in range(a)]
    rho = max(0.0, float(np.mean(between)))
    return float(np.sqrt(num * rho / (1 + (num - 1) * rho)))


def controls(
    windows: Windows, files: np.ndarray, test_files: np.ndarray, losses: np.ndarray
) -> Mapping[str, np.ndarray]:
    """What an attribution has to beat: likeness of notes, the files' own loss, lots. Each (files, test files).

    `likeness` is minus Hellinger's distance of mean histograms, and knows no model. `loss` (files,) and `random_0` do
    not look at what is tested on.
    """
    shares = np.sqrt(_means(histograms_of(windows), np.asarray(windows.owners), len(windows.ids)))
    apart = shares[files][:, None] - shares[test_files][None]
    lots = random_keys([windows.ids[number] for number in files], "random_0")
    same = np.ones(len(test_files))
    return {
        "likeness of notes": -np.sqrt(np.square(apart).sum(axis=2)),
        "loss of the file": np.outer(losses, same),
        "by lot": np.outer(lots, same),
    }


def _means(values: np.ndarray, owners: np.ndarray, num_files: int) -> np.ndarray:
    sums = np.zeros((num_files, values.shape[1]))
    np.add.at(sums, owners, values)
    return sums / np.maximum(np.bincount(owners, minlength=num_files), 1)[:, None]
