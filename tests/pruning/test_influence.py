"""Influence against what it predicts: on a convex model, every file really taken out and the model fitted again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn import functional

from aria_data.errors import AriaDataError, UsageError
from aria_data.pruning.columns import Snapshot, Task, columns_of
from aria_data.pruning.influence import (
    HeadCurvature,
    InfluenceConfig,
    conjugate_gradient,
    dealrec,
    influence,
    influence_by_probe,
    lissa,
)
from aria_data.surrogate import Examples

CLASSES, WIDTH, NUM_FILES = 3, 4, 120
RIDGE = 0.02
EXACT = InfluenceConfig(damping=RIDGE, cg_tolerance=1e-10, cg_iterations=500, max_windows=10_000)


class Linear(nn.Module):
    """Softmax regression: inputs are features."""

    def __init__(self, bias: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(CLASSES, WIDTH, dtype=torch.float64))
        self.bias = nn.Parameter(torch.zeros(CLASSES, dtype=torch.float64)) if bias else None

    def embed(self, inputs: Tensor) -> Tensor:
        return inputs

    def features(self, embedded: Tensor) -> Tensor:
        return embedded

    def head(self) -> tuple[Tensor, Tensor | None]:
        return self.weight, self.bias

    def module(self) -> nn.Module:
        return self


def data(seed: int, num_files: int = NUM_FILES) -> tuple[Tensor, Tensor]:
    """One window of one position a file; the labels are noisy, so an unpenalised fit exists."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(num_files, 1, WIDTH, generator=generator, dtype=torch.float64)
    truth = torch.randn(WIDTH, CLASSES, generator=torch.Generator().manual_seed(99), dtype=torch.float64)
    probs = (x[:, 0] @ truth).softmax(dim=1)
    return x, torch.multinomial(probs, 1, generator=generator)


def examples_of(x: Tensor, y: Tensor) -> Examples:
    return Examples(lambda i: (x[i], y[i]), np.arange(len(x)), len(x))


def losses(weight: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return functional.cross_entropy(x[:, 0] @ weight.T, y[:, 0], reduction="none")


def fitted(x: Tensor, y: Tensor, counts: Tensor | None = None, ridge: float = RIDGE) -> Linear:
    """Minimise sum(counts * loss) / files + ridge / 2 |weight|^2 by Newton's method."""
    counts = torch.ones(len(x), dtype=torch.float64) if counts is None else counts

    def objective(flat: Tensor) -> Tensor:
        weight = flat.view(CLASSES, WIDTH)
        return (counts * losses(weight, x, y)).sum() / len(x) + ridge / 2 * weight.square().sum()

    flat = torch.zeros(CLASSES * WIDTH, dtype=torch.float64)
    for _ in range(10):
        slope = torch.autograd.functional.jacobian(objective, flat)
        curvature = torch.autograd.functional.hessian(objective, flat)
        flat = flat - torch.linalg.lstsq(curvature, slope, driver="gelsd").solution
    model = Linear()
    model.weight.data = flat.view(CLASSES, WIDTH).clone()
    return model


def probe_loss(model: Linear, x: Tensor, y: Tensor) -> float:
    return losses(model.weight.detach(), x, y).mean().item()


def changes_without_each(x: Tensor, y: Tensor, probe: tuple[Tensor, Tensor]) -> np.ndarray:
    whole, found = probe_loss(fitted(x, y), *probe), []
    for left_out in range(len(x)):
        counts = torch.ones(len(x), dtype=torch.float64)
        counts[left_out] = 0.0
        found.append(probe_loss(fitted(x, y, counts), *probe) - whole)
    return np.array(found)


@pytest.fixture(scope="module")
def world():
    (x, y), probe = data(0), data(1, 60)
    return x, y, probe, fitted(x, y)


@pytest.fixture(scope="module")
def changes(world):
    x, y, probe, _ = world
    return changes_without_each(x, y, probe)


def full_matrix(curvature: HeadCurvature) -> Tensor:
    """The curvature as a matrix, column by column."""
    shape = curvature.probs.shape[2], curvature.inputs.shape[2]
    size = shape[0] * shape[1]
    unit = torch.eye(size, dtype=torch.float64)
    return torch.stack([curvature.product(column.view(shape)).flatten() for column in unit], dim=1)


def test_influence_predicts_what_leaving_each_file_out_does_to_the_probe(world, changes):
    x, y, probe, model = world
    found = influence(model, examples_of(x, y), examples_of(*probe), EXACT)
    assert spearmanr(found.values, changes).statistic > 0.95
    slope = float(found.values @ changes / (found.values @ found.values))
    assert 0.95 < slope < 1.15  # above 1 by what a file adds to the curvature, which goes as 1 / files
    assert found.residual < 1e-6
    assert found.warnings == ()


def test_influence_is_what_a_hundredth_of_a_file_less_does_to_the_probe(world):
    x, y, probe, model = world
    values = influence(model, examples_of(x, y), examples_of(*probe), EXACT).values
    whole, share = probe_loss(model, *probe), 0.01
    for file in range(0, NUM_FILES, 10):
        counts = torch.ones(NUM_FILES, dtype=torch.float64)
        counts[file] -= share
        change = probe_loss(fitted(x, y, counts), *probe) - whole
        assert change == pytest.approx(share * values[file], rel=0.02, abs=1e-8)


def test_taking_out_the_file_of_the_highest_influence_raises_the_probes_loss(world, changes):
    x, y, probe, model = world
    values = influence(model, examples_of(x, y), examples_of(*probe), EXACT).values
    assert changes[values.argmax()] > 0 > changes[values.argmin()]


def test_the_published_target_vanishes_at_the_optimum_and_the_probe_does_not(world):
    x, y, probe, _ = world
    model = fitted(x, y, ridge=0.0)
    config = replace(EXACT, damping=1e-3)
    published = influence(model, examples_of(x, y), None, replace(config, target="train"))
    by_probe = influence(model, examples_of(x, y), examples_of(*probe), config)
    assert np.abs(published.values).max() < 1e-9
    assert np.abs(by_probe.values).max() > 1e-3
    assert published.gradient_ratio < 1e-6
    assert "near a minimum" in published.warnings[0]
    assert by_probe.warnings == ()


def test_a_file_given_twice_scores_the_same_twice(world):
    x, y, probe, model = world
    twice = examples_of(torch.cat([x, x[:5]]), torch.cat([y, y[:5]]))
    values = influence(model, twice, examples_of(*probe), EXACT).values
    assert values[:5] == pytest.approx(values[NUM_FILES:])


@pytest.mark.parametrize("bias", [False, True])
def test_the_product_is_autograds_hessian_of_the_mean_file_loss(bias):
    owners = np.array([0, 0, 0, 1, 2, 2])
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, 5, WIDTH, generator=generator, dtype=torch.float64)
    y = torch.randint(CLASSES, (6, 5), generator=generator)
    y[0, :3] = -100
    model = Linear(bias)
    model.weight.data.normal_(generator=generator)
    examples = Examples(lambda i: (x[i], y[i]), owners, 3)
    inputs = torch.cat([x, torch.ones_like(x[:, :, :1])], dim=2) if bias else x

    def mean_loss(flat: Tensor) -> Tensor:
        logits = inputs @ flat.view(CLASSES, -1).T
        windows = torch.stack([functional.cross_entropy(logits[i], y[i]) for i in range(6)])
        return torch.stack([windows[owners == file].mean() for file in range(3)]).mean()

    head = model.weight if model.bias is None else torch.cat([model.weight, model.bias[:, None]], dim=1)
    expected = torch.autograd.functional.hessian(mean_loss, head.detach().flatten())
    curvature = HeadCurvature(model, examples, damping=0.5)
    assert torch.allclose(full_matrix(curvature), expected + 0.5 * torch.eye(len(expected)), atol=1e-12)


def test_conjugate_gradients_and_lissa_come_to_the_exact_solution(world):
    x, y, probe, model = world
    curvature = HeadCurvature(model, examples_of(x, y), damping=0.05)
    vector = torch.randn(CLASSES, WIDTH, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact = torch.linalg.solve(full_matrix(curvature), vector.flatten()).view_as(vector)
    assert torch.allclose(conjugate_gradient(curvature, vector, 200, 1e-12), exact, atol=1e-8)
    config = InfluenceConfig(lissa_steps=4000, lissa_windows=NUM_FILES * 4)
    estimate = lissa(curvature, vector, config, seed=0)
    assert torch.linalg.vector_norm(estimate - exact) < 0.1 * torch.linalg.vector_norm(exact)


def test_lissas_scores_rank_as_conjugate_gradients_do(world):
    x, y, probe, model = world
    config = replace(EXACT, solver="lissa", lissa_steps=3000)
    one = influence(model, examples_of(x, y), examples_of(*probe), EXACT).values
    other = influence(model, examples_of(x, y), examples_of(*probe), config).values
    assert spearmanr(one, other).statistic > 0.95


def test_lissa_says_so_when_its_scale_is_too_small(world):
    x, y, probe, model = world
    config = replace(EXACT, solver="lissa", lissa_scale=0.02, lissa_steps=5000)
    with pytest.raises(AriaDataError, match="does not converge with scale 0.02"):
        influence(model, examples_of(x, y), examples_of(*probe), config)


def test_no_window_curves_more_than_the_bound(world):
    x, y, _, model = world
    bound = HeadCurvature(model, examples_of(x, y), damping=0.0).largest_eigenvalue_bound()
    for file in range(NUM_FILES):
        alone = HeadCurvature(model, examples_of(x[file : file + 1], y[file : file + 1]), damping=0.0)
        assert torch.linalg.eigvalsh(full_matrix(alone)).max() <= bound


def test_a_part_of_the_windows_estimates_the_curvature_of_all():
    (x, y), probe = data(0, 400), data(1, 60)
    model = fitted(x, y)
    every = influence(model, examples_of(x, y), examples_of(*probe), EXACT).values
    part = influence(model, examples_of(x, y), examples_of(*probe), replace(EXACT, max_windows=200)).values
    assert not np.allclose(every, part)
    assert spearmanr(every, part).statistic > 0.95


def test_influence_on_a_probe_needs_a_probe(world):
    x, y, _, model = world
    with pytest.raises(UsageError, match="probe"):
        influence(model, examples_of(x, y))


def test_dealrecs_sum_brings_both_parts_to_one_scale_first():
    influences, efforts = np.array([-3.0, 1.0, 5.0, np.nan]), np.array([100.0, 300.0, 200.0, 100.0])
    assert dealrec(influences, efforts, 0.5)[:3] == pytest.approx([0.0, 0.5 + 0.5, 1.0 + 0.25])
    assert np.isnan(dealrec(influences, efforts)[3])
    assert dealrec(np.ones(3), np.array([1.0, 2.0, 3.0]), 1.0) == pytest.approx([0.0, 0.5, 1.0])


def test_the_parts_of_a_probe_average_to_the_whole_of_it(world):
    x, y, _, model = world
    probe = examples_of(*data(7, 40))
    parts = influence_by_probe(model, examples_of(x, y), probe, EXACT)
    assert parts.shape == (NUM_FILES, 8)
    whole = influence(model, examples_of(x, y), probe, EXACT).values
    assert parts.mean(axis=1) == pytest.approx(whole, abs=1e-9)


@pytest.mark.parametrize("is_one_music", [True, False])
def test_influence_that_names_the_same_files_for_every_part_of_the_probe_is_flagged(world, is_one_music):
    x, y, _, model = world
    inputs, labels = data(7, 40)
    if is_one_music:  # the same five files, eight times
        inputs, labels = inputs[:5].repeat(8, 1, 1), labels[:5].repeat(8, 1)
    snapshot = Snapshot(model, 1.0, 0.1)
    task = Task([snapshot], examples_of(x, y), CLASSES, examples_of(inputs, labels))
    columns, warnings = columns_of(task, {"influence", "dealrec"})
    assert set(columns) == {"influence", "dealrec"}
    flagged = [line for line in warnings if "have 100% in common (by chance 10%)" in line]
    assert [line.split(":")[0] for line in flagged] == (["dealrec", "influence"] if is_one_music else [])
    assert is_one_music == any("says more about the files than about the probe" in line for line in warnings)
