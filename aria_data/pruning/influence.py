"""How removing a file would change the loss of other files: influence at the last layer (DEALRec, Lin et al. 2024).

    influence(s) = 1/n  grad L(s) . H^-1 v        v = mean gradient of the target's files, H of the training files

POSITIVE = removing the file raises the target's loss = keep. H^-1 v is the same for every file and is solved for once.
DEALRec has one more constant 1/n, which changes no rank. Features are held fixed; then the loss is convex in the head,
and its Hessian is the Gauss-Newton matrix: (diag p - p p') (x) h h'.

The published target is the training set itself. At a minimum of the training loss its mean gradient is zero, and so is
the score of every file; then the scores only reflect how far the training was from its minimum. The default target is
therefore a probe: held-out files that are trusted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from aria_data.errors import AriaDataError, UsageError
from aria_data.pruning.scores import head_gradients
from aria_data.surrogate import Examples, Scorable
from aria_data.surrogate.forward import BATCH, last_layer
from aria_data.surrogate.scorable import read, scoring_mode


@dataclass(frozen=True)
class InfluenceConfig:
    """How to solve for H^-1 v, and for which target."""

    target: Literal["probe", "train"] = "probe"  # DEALRec as published: train
    solver: Literal["cg", "lissa"] = "cg"  # DEALRec as published: lissa
    damping: float = 0.01  # added to H: bounds the solution in directions that no window determines
    max_windows: int = 256  # to estimate H from: 100 MB; with four times as many, 177 files rank alike (rho 0.997)
    cg_iterations: int = 100
    cg_tolerance: float = 0.01  # of the residual, relative to v; a hundredth of it ranks alike, in 3 times the time
    lissa_steps: int = 5000  # DEALRec's T
    lissa_windows: int = 8  # a step; DEALRec: 1
    lissa_scale: float | None = None  # DEALRec: 25. None: a bound on the largest eigenvalue, which always converges
    min_gradient_ratio: float = 0.2  # |v| / mean |gradient of a file|; below it there is a warning
    seed: int = 0


QUICK = InfluenceConfig(max_windows=64, cg_tolerance=0.05)  # a tenth of the time; ranks as the default's, rho 0.999
NUM_PROBES = 8  # parts of a probe: with more, each is few files


@dataclass(frozen=True)
class Influence:
    """The scores, and how far they can be trusted."""

    values: np.ndarray  # one a file of the training set
    gradient_ratio: float  # |v| / mean |gradient of a file|
    residual: float  # |(H + damping) x - v| / |v|
    warnings: tuple[str, ...]


class HeadCurvature:
    """The Hessian of the mean file loss in the head, as a product with matrices (classes, width [+ 1 for a bias]).

    It is estimated from at most `max_windows` random windows, whose features and probabilities stay in memory.
    """

    def __init__(self, model: Scorable, examples: Examples, damping: float, max_windows: int = 256, seed: int = 0):
        generator = np.random.default_rng(seed)
        count = min(max_windows, examples.num_windows)
        chosen = np.sort(generator.choice(examples.num_windows, count, replace=False))
        shares = examples.window_shares[chosen]
        inputs, probs, weights = [], [], []
        with scoring_mode(model):
            for first in range(0, count, BATCH):
                indices = chosen[first : first + BATCH]
                found = last_layer(model, *read(model, examples, indices))
                inputs.append(found.head_inputs())
                probs.append(found.probabilities())
                weights.append(found.shares * torch.from_numpy(shares[first : first + BATCH]).to(found.shares)[:, None])
        self.damping = damping
        self.inputs, self.probs = torch.cat(inputs), torch.cat(probs)  # (windows, positions, width or classes)
        self.weights = torch.cat(weights)[:, :, None] / float(shares.sum())  # (windows, positions, 1), sum to 1
        self._chances = shares / shares.sum()

    def product(self, matrix: Tensor) -> Tensor:
        """(H + damping) @ matrix."""
        return self._product(matrix, self.inputs, self.probs, self.weights) + self.damping * matrix

    def sampled_product(self, matrix: Tensor, generator: np.random.Generator, num_windows: int) -> Tensor:
        """H @ matrix, estimated without bias from a few random windows; no damping."""
        chosen = generator.choice(len(self.probs), num_windows, p=self._chances)
        weights = self.weights[chosen] / self.weights[chosen].sum(dim=1, keepdim=True) / num_windows
        return self._product(matrix, self.inputs[chosen], self.probs[chosen], weights)

    @staticmethod
    def _product(matrix: Tensor, inputs: Tensor, probs: Tensor, weights: Tensor) -> Tensor:
        moved = inputs @ matrix.T
        spread = probs * (moved - (probs * moved).sum(dim=2, keepdim=True))
        return torch.einsum("wpc,wpd->cd", spread * weights, inputs)

    def largest_eigenvalue_bound(self) -> float:
        """A bound that no window's Hessian exceeds: an eigenvalue of diag p - p p' is at most 1/2."""
        means = (self.weights[:, :, 0] * self.inputs.square().sum(dim=2)).sum(dim=1) / self.weights[:, :, 0].sum(dim=1)
        return 0.5 * float(means.max())


def conjugate_gradient(curvature: HeadCurvature, vector: Tensor, iterations: int, tolerance: float) -> Tensor:
    """Solve (H + damping) x = v by conjugate gradients; inexactly if `iterations` are too few. No error is raised."""
    from scipy.sparse.linalg import LinearOperator, cg

    def product(flat: np.ndarray) -> np.ndarray:
        return curvature.product(torch.from_numpy(flat).to(vector).view_as(vector)).double().cpu().numpy().ravel()

    size = vector.numel()
    operator = LinearOperator((size, size), matvec=product, dtype=np.float64)
    solution, _ = cg(operator, vector.double().cpu().numpy().ravel(), rtol=tolerance, maxiter=iterations)
    return torch.from_numpy(solution).to(vector).view_as(vector)


def lissa(curvature: HeadCurvature, vector: Tensor, config: InfluenceConfig, seed: int) -> Tensor:
    """Solve (H + damping) x = v by DEALRec's Alg. 1: h <- v + h - (H of a few windows + damping) h / scale.

    Raises `AriaDataError` when h grows without bound, as it does with a scale below the largest eigenvalue.
    """
    generator = np.random.default_rng(seed)
    scale = config.lissa_scale or curvature.largest_eigenvalue_bound() + curvature.damping
    estimate = vector.clone()
    for _ in range(config.lissa_steps):
        sampled = curvature.sampled_product(estimate, generator, config.lissa_windows)
        estimate = vector + estimate - (sampled + curvature.damping * estimate) / scale
    if not torch.isfinite(estimate).all():
        raise AriaDataError(
            f"LiSSA does not converge with scale {scale:g}. Use at least {curvature.largest_eigenvalue_bound():g}."
        )
    return estimate / scale


def influence(
    model: Scorable, examples: Examples, probe: Examples | None = None, config: InfluenceConfig | None = None
) -> Influence:
    """Score the files of `examples`, which the model was trained on. `probe` has other files, of other compositions.

    Raises `UsageError` when the target is a probe and none is given.
    """
    config = config or InfluenceConfig()
    if config.target == "probe" and probe is None:
        raise UsageError('Influence needs a probe: files held out of the training. Give some, or target="train".')
    mean_norm, mean_gradient = _mean_gradient(model, examples)
    vector = mean_gradient if config.target == "train" or probe is None else _mean_gradient(model, probe)[1]
    curvature = HeadCurvature(model, examples, config.damping, config.max_windows, config.seed)
    solution, warnings = _solve(curvature, vector, config)
    values = np.full(examples.num_files, np.nan)
    for number, gradient in head_gradients(model, examples):
        values[number] = (gradient * solution).sum(dtype=torch.float64).item() / examples.num_files
    ratio = float(torch.linalg.vector_norm(vector)) / mean_norm if mean_norm else 0.0
    if ratio < config.min_gradient_ratio:
        warnings.append(
            f"The {config.target} gradient is {ratio:.2f} of a file's, below {config.min_gradient_ratio}: "
            "near a minimum it goes to zero, and every influence with it. Compare seeds, or use a probe."
        )
    off = torch.linalg.vector_norm(curvature.product(solution) - vector) / torch.linalg.vector_norm(vector)
    return Influence(values, ratio, float(off), tuple(warnings))


def influence_by_probe(
    model: Scorable, examples: Examples, probe: Examples, config: InfluenceConfig | None = None
) -> np.ndarray:
    """Score the files for each of up to `NUM_PROBES` parts of the probe, files in order: (files, parts).

    The parts show whether the probe matters (`retrieval.py`); `QUICK` is precise enough for that.
    """
    config = config or QUICK
    gradients = torch.stack([gradient for _, gradient in head_gradients(model, probe)])
    parts = torch.tensor_split(gradients, min(NUM_PROBES, len(gradients)))
    curvature = HeadCurvature(model, examples, config.damping, config.max_windows, config.seed)
    solutions = torch.stack(
        [conjugate_gradient(curvature, part.mean(dim=0), config.cg_iterations, config.cg_tolerance) for part in parts]
    ).flatten(1)
    values = np.full((examples.num_files, len(parts)), np.nan)
    for number, gradient in head_gradients(model, examples):
        values[number] = (solutions @ gradient.flatten()).double().cpu().numpy() / examples.num_files
    return values


def _mean_gradient(model: Scorable, examples: Examples) -> tuple[float, Tensor]:
    """The mean length of the files' gradients at the head, and the mean gradient."""
    total, lengths = torch.zeros(()), []
    for _, gradient in head_gradients(model, examples):
        total = gradient + total.to(gradient)
        lengths.append(float(torch.linalg.vector_norm(gradient)))
    return float(np.mean(lengths)), total / len(lengths)


def _solve(curvature: HeadCurvature, vector: Tensor, config: InfluenceConfig) -> tuple[Tensor, list[str]]:
    if config.solver == "cg":
        return conjugate_gradient(curvature, vector, config.cg_iterations, config.cg_tolerance), []
    one, other = (lissa(curvature, vector, config, config.seed + shift) for shift in (1, 2))
    alike = float(torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0))
    warnings = [f"Two LiSSA estimates agree by {alike:.2f} only. Take more steps."] if alike < 0.9 else []
    return (one + other) / 2, warnings


def dealrec(influences: np.ndarray, efforts: np.ndarray, effort_weight: float = 0.3) -> np.ndarray:
    """Influence + lambda * effort, each scaled to 0 ... 1 first, as in DEALRec's code. High = keep.

    The paper's lambda is 0.3 for one of its datasets and 1.0 for two; it tried 0.1 to 2.0.
    """
    return _to_unit(influences) + effort_weight * _to_unit(efforts)


def _to_unit(values: np.ndarray) -> np.ndarray:
    lowest, highest = np.nanmin(values), np.nanmax(values)
    return (values - lowest) / (highest - lowest) if highest > lowest else np.where(np.isnan(values), np.nan, 0.0)
