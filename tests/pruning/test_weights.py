"""Files are kept as often as their probabilities say, and with their weights they stand for all files."""

from __future__ import annotations

import math
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from places import ROOT
from subset_pools import keep, pool_of

from aria_data.pruning import Budget, Pool
from aria_data.pruning.random_keys import random_keys


def simulate(pool: Pool, method: str, budget: Budget, num_draws: int = 2000, **settings_) -> tuple[float, float]:
    """How far the weighted loss is from the loss of all files: in the mean over the draws, and in standard errors."""
    losses = np.random.default_rng(9).gamma(2, size=len(pool)) + np.nan_to_num(pool.scores)
    loss = dict(zip(pool.ids, losses, strict=True))
    found = [keep(pool, method, budget, seed, weights="exact", **settings_) for seed in range(num_draws)]
    sums = np.array([each.weights @ [loss[one] for one in each.ids] for each in found])
    error = sums.mean() - losses.sum()
    return error, abs(error) / (sums.std(ddof=1) / math.sqrt(num_draws))


@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("random", {}),
        ("group_random", {}),
        ("stratified", {"hard_cut": 0.0, "strata": 5}),
        ("calibrated", {"alpha": 0.1}),
        ("calibrated", {"alpha": 0.5}),
        ("ht_proportional", {}),
        ("ht_proportional", {"floor": 0.3, "max_per_group": 4}),
        ("calibrated", {"alpha": 0.3, "min_per_group": 1, "max_per_group": 6}),
        ("group_random", {"include": ("file-003", "file-017")}),
        ("ht_proportional", {"min_per_group": 1}),
    ],
)
def test_the_weighted_loss_is_in_the_mean_the_loss_of_all_files(method, more):
    num_standard_errors = simulate(pool_of(60), method, Budget(files=21), **more)[1]
    assert num_standard_errors < 3


@pytest.mark.parametrize("method", ["calibrated", "ht_proportional"])
def test_under_a_budget_of_minutes_the_weighted_loss_is_off_by_less_than_1_percent(method):
    pool = pool_of(60)
    losses = dict(zip(pool.ids, pool.minutes, strict=True))  # the worst case: what is longer is harder
    found = [keep(pool, method, Budget(minutes=100), seed) for seed in range(1500)]
    mean = np.mean([each.weights @ [losses[one] for one in each.ids] for each in found])
    assert mean == pytest.approx(pool.minutes.sum(), rel=0.01)  # one standard error is 0.3 %


def test_files_of_equal_score_are_weighted_right_wherever_the_share_by_score_ends_among_them():
    assert simulate(pool_of(60, decimals=0), "calibrated", Budget(files=30), alpha=0.5)[1] < 3


def test_without_weights_the_same_simulation_shows_the_bias():
    pool = pool_of(60)
    losses = dict(zip(pool.ids, pool.scores + 5, strict=True))
    kept = [keep(pool, "calibrated", Budget(files=20), seed, alpha=0.5, weights="none") for seed in range(300)]
    means = np.array([np.mean([losses[one] for one in each.ids]) for each in kept])
    full = np.mean(list(losses.values()))
    assert abs(means.mean() - full) > 10 * means.std() / math.sqrt(len(means))


@pytest.mark.parametrize("method", ["random", "group_random", "stratified", "ht_proportional", "calibrated"])
def test_files_are_kept_as_often_as_their_probability_says(method):
    check_frequencies(method, num_draws=3000, num_standard_errors=4, slack=0)


def test_successive_draws_are_as_probable_as_the_approximation_says_within_1_percent():
    check_frequencies("score_proportional", num_draws=3000, num_standard_errors=4, slack=0.01)


def check_frequencies(method: str, num_draws: int, num_standard_errors: float, slack: float) -> None:
    pool = pool_of(50, decimals=9)  # which of a tie is kept by score and which at random differs between seeds
    times: Counter[str] = Counter()
    probs: dict[str, float] = {}
    for seed in range(num_draws):
        selection = keep(pool, method, Budget(files=15), seed, hard_cut=0, strata=5, alpha=0.2)
        times.update(selection.ids)
        probs |= dict(zip(selection.ids, selection.inclusion_probs, strict=True))
    assert len(times) >= 49  # nobody is without a chance
    for each, prob in probs.items():
        error = math.sqrt(prob * (1 - prob) / num_draws)
        assert abs(times[each] / num_draws - prob) <= num_standard_errors * error + slack, (each, prob)


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 80), st.integers(1, 79), st.floats(0, 0.95), st.integers(0, 99))
def test_calibrated_weights_add_up_to_the_number_of_all_files(num, num_kept, alpha, seed):
    num_kept = min(num_kept, num)
    selection = keep(pool_of(num), "calibrated", Budget(files=num_kept), seed, alpha=alpha)
    if math.ceil(alpha * num_kept * (1 - 1e-12)) < num_kept:
        assert selection.weights.sum() == pytest.approx(num, rel=1e-12)


def test_alpha_0_is_random_and_alpha_1_is_top():
    pool = pool_of(60)
    none, all_of_it = (
        keep(pool, "calibrated", Budget(files=20), alpha=alpha, weights_mean_one=True) for alpha in (0, 1)
    )
    assert none.ids == keep(pool, "random", Budget(files=20)).ids
    np.testing.assert_allclose(none.weights, 1)
    assert all_of_it.ids == keep(pool, "top", Budget(files=20)).ids
    np.testing.assert_array_equal(all_of_it.weights, 1)


def test_sizes_go_linearly_from_the_floor_to_1():
    pool = Pool.of(list("abc"), [10.0, 20.0, 30.0])
    probs: dict[str, float] = {}
    for seed in range(40):
        selection = keep(pool, "ht_proportional", Budget(files=1), seed, floor=0.2)
        probs |= dict(zip(selection.ids, selection.inclusion_probs, strict=True))
    assert probs == pytest.approx({"a": 0.2 / 1.8, "b": 0.6 / 1.8, "c": 1 / 1.8})


def test_a_file_too_large_for_its_share_is_certain_and_the_others_share_the_rest():
    pool = Pool.of(list("abcd"), [0.0, 0.0, 0.0, 100.0])
    selection = keep(pool, "ht_proportional", Budget(files=2), floor=0.05)
    assert "d" in selection.ids
    np.testing.assert_allclose(selection.inclusion_probs, [1 / 3, 1])


def test_weights_are_clipped_at_a_multiple_of_their_mean_and_the_bias_is_told():
    selection = keep(pool_of(60), "calibrated", Budget(files=20), alpha=0.5, weights="clip:1.2")
    exact = keep(pool_of(60), "calibrated", Budget(files=20), alpha=0.5)
    assert selection.weights.max() == pytest.approx(1.2 * exact.weights.mean())
    assert "clipped weights are biased towards what the score prefers." in selection.warnings


def test_weights_have_mean_1_when_asked():
    selection = keep(pool_of(60), "ht_proportional", Budget(files=20), weights_mean_one=True)
    assert selection.weights.mean() == pytest.approx(1)
    assert np.ptp(selection.weights) > 0.1


@pytest.mark.parametrize(
    ("share", "alpha", "ratio"),
    [(0.5, 0.5, 0.80), (0.3, 0.5, 0.67), (0.1, 0.1, 0.92), (0.1, 0.5, 0.55), (0.1, 0.9, 0.12)],
)
def test_the_effective_sample_size_is_the_one_of_the_guide(share, alpha, ratio):
    pool = Pool.of([f"{number}" for number in range(2000)], random_keys(map(str, range(2000)), "any"))
    selection = keep(pool, "calibrated", Budget(fraction=share), alpha=alpha)
    num_kept = len(selection.ids)
    assert selection.effective_num_files / num_kept == pytest.approx(ratio, abs=0.005)
    closed_form = len(pool) / (alpha * share + (1 - alpha * share) ** 2 / ((1 - alpha) * share))
    assert selection.effective_num_files == pytest.approx(closed_form, rel=1e-9)
    guide = (ROOT / "docs" / "pruning.md").read_text(encoding="utf-8")
    weight = (1 - alpha * share) / ((1 - alpha) * share)
    assert re.search(rf"\| {share} \| {alpha} \| {weight:.1f} \| {ratio:.2f} \|", guide)
    assert any("effective sample size" in warning for warning in selection.warnings) == (ratio < 0.7)
