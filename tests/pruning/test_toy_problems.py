"""What Ayed and Hayou (2023) say of pruning by score, on logistic regression with labels that are part noise.

Excess: mean test loss after training on a subset, less that after training on everything. The classes overlap, so the
hardest examples are mostly noise that no model can learn. Run as a program it prints the table of docs/pruning.md.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from aria_data.pruning import Budget, Pool, SelectConfig, select

NUM_FILES, NUM_INPUTS, NUM_REPETITIONS = 4000, 10, 30
SHARES = (0.5, 0.3, 0.1, 0.05)
TESTED = [0.1, *(pytest.param(share, marks=pytest.mark.slow) for share in (0.5, 0.3, 0.05))]
WAYS: dict[str, dict[str, Any]] = {
    "random": {"method": "random"},
    "top": {"method": "top"},
    "calibrated 0.1": {"method": "calibrated", "alpha": 0.1},
    "calibrated 0.5": {"method": "calibrated", "alpha": 0.5},
    "calibrated 0.9": {"method": "calibrated", "alpha": 0.9},
    "mixed 0.5": {"method": "calibrated", "alpha": 0.5, "weights": "none"},
    "ht_proportional": {"method": "ht_proportional", "floor": 0.01},
}


def fit(inputs: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Newton's method on the weighted log loss; the ridge only keeps what is separable finite."""
    found, ridge = np.zeros(inputs.shape[1]), 1e-3 * np.eye(inputs.shape[1])
    for _ in range(12):
        probs = 1 / (1 + np.exp(-np.clip(inputs @ found, -30, 30)))
        gradient = inputs.T @ (weights * (labels - probs)) - ridge @ found
        curvature = (inputs * (weights * probs * (1 - probs))[:, None]).T @ inputs + ridge
        step = np.linalg.solve(curvature, gradient)
        found = found + step * min(1, 2 / np.linalg.norm(step))
    return found


def loss(found: np.ndarray, inputs: np.ndarray, probs: np.ndarray) -> float:
    """Expected log loss at these inputs, the labels averaged over, so that no test noise is added."""
    logits = inputs @ found
    return float(np.mean(np.logaddexp(0, logits) - probs * logits))


def examples(rng: np.random.Generator, num: int, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    inputs = np.column_stack([rng.normal(size=(num, NUM_INPUTS)), np.ones(num)])
    probs = 1 / (1 + np.exp(-inputs @ truth))
    return inputs, probs, (rng.random(num) < probs).astype(float)


def excesses(repetition: int) -> dict[tuple[str, float], float]:
    rng = np.random.default_rng(repetition)
    truth = rng.normal(size=NUM_INPUTS + 1) * 0.5
    inputs, _, labels = examples(rng, NUM_FILES, truth)
    test_inputs, test_probs, _ = examples(rng, NUM_FILES, truth)
    pilot = fit(inputs[:400], labels[:400], np.ones(400))
    errors = np.abs(1 / (1 + np.exp(-inputs @ pilot)) - labels)
    grand = errors * np.linalg.norm(inputs, axis=1)  # the norm of each example's gradient
    pool = Pool.of([f"{number:04d}" for number in range(NUM_FILES)], grand)
    full = loss(fit(inputs, labels, np.ones(NUM_FILES)), test_inputs, test_probs)
    found = {}
    for name, way in WAYS.items():
        for share in SHARES:
            selection = select(pool, SelectConfig(budget=Budget(fraction=share), **way), seed=repetition)
            kept = np.array(selection.ids, dtype=int)
            mine = fit(inputs[kept], labels[kept], selection.weights / selection.weights.mean())
            found[name, share] = loss(mine, test_inputs, test_probs) - full
    return found


@cache
def mean_excesses() -> dict[tuple[str, float], float]:
    runs = [excesses(repetition) for repetition in range(NUM_REPETITIONS)]
    return {key: float(np.mean([run[key] for run in runs])) for key in runs[0]}


def of(name: str, share: float) -> float:
    return mean_excesses()[name, share]


def test_the_toy_takes_a_weight_as_so_many_copies():
    inputs, _, labels = examples(np.random.default_rng(0), 60, np.ones(NUM_INPUTS + 1) * 0.2)
    weights = np.random.default_rng(1).integers(1, 4, 60)
    copies = np.repeat(np.arange(60), weights)
    replicated = fit(inputs[copies], labels[copies], np.ones(len(copies)))
    np.testing.assert_allclose(fit(inputs, labels, weights.astype(float)), replicated, atol=1e-8)


@pytest.mark.parametrize("share", TESTED)
def test_score_alone_is_far_worse_than_random(share):
    assert of("top", share) > 20 * of("random", share) > 0


@pytest.mark.parametrize("share", TESTED)
def test_a_calibrated_tenth_by_score_returns_to_random(share):
    assert of("calibrated 0.1", share) <= 1.3 * of("random", share)


@pytest.mark.parametrize("share", TESTED)
def test_mixing_without_weights_does_not_return_to_random(share):
    assert of("mixed 0.5", share) > 5 * of("random", share)


@pytest.mark.parametrize("share", TESTED)
def test_sampling_by_gradient_with_inverse_weights_is_better_than_random(share):
    assert of("ht_proportional", share) < of("random", share)


def test_at_a_tenth_more_by_score_is_worse_as_the_effective_sample_size_says():
    assert of("calibrated 0.1", 0.1) < of("calibrated 0.5", 0.1) < of("calibrated 0.9", 0.1)


if __name__ == "__main__":
    print("| kept | " + " | ".join(WAYS) + " |")
    for each in SHARES:
        print(f"| {each:.0%} | " + " | ".join(f"{of(name, each):.4f}" for name in WAYS) + " |")
