"""Each score against its definition, computed the slow way on a small model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from aria_data.errors import UsageError
from aria_data.pruning import over_time, scores
from aria_data.surrogate import Examples
from aria_data.surrogate.forward import loss
from aria_data.surrogate.scorable import NOT_COUNTED, logits_of

CLASSES, WIDTH, POSITIONS = 7, 5, 6
OWNERS = np.array([0, 0, 0, 1, 2, 2, 4, 4, 4, 4])  # file 3 has no window


class Net(nn.Module):
    """A `Scorable` small enough for brute force. The embedding is mixed over positions, so gradients travel."""

    def __init__(self, seed: int, bias: bool = True, dtype: torch.dtype = torch.float64):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.table = nn.Parameter(torch.randn(CLASSES, WIDTH, generator=generator).to(dtype))
        self.mix = nn.Parameter(torch.randn(WIDTH, WIDTH, generator=generator).to(dtype))
        self.weight = nn.Parameter(torch.randn(CLASSES, WIDTH, generator=generator).to(dtype))
        self.bias = nn.Parameter(torch.randn(CLASSES, generator=generator).to(dtype)) if bias else None
        self.drop = nn.Dropout(0.5)

    def embed(self, inputs: Tensor) -> Tensor:
        return self.table[inputs]

    def features(self, embedded: Tensor) -> Tensor:
        return self.drop(torch.tanh(embedded.cumsum(dim=1) @ self.mix))

    def head(self) -> tuple[Tensor, Tensor | None]:
        return self.weight, self.bias

    def module(self) -> nn.Module:
        return self


def some_examples(seed: int = 0) -> Examples:
    random = np.random.default_rng(seed)
    inputs = torch.from_numpy(random.integers(0, CLASSES, (len(OWNERS), POSITIONS)))
    targets = torch.from_numpy(random.integers(0, CLASSES, (len(OWNERS), POSITIONS)))
    targets[::2, :2] = NOT_COUNTED
    targets[1, 4:] = NOT_COUNTED
    return Examples(lambda indices: (inputs[indices], targets[indices]), OWNERS, 5)


@dataclass(frozen=True)
class Fixed:
    """Gives the logits it is told, whatever it is shown: features are the logits, the head changes nothing."""

    logits: Tensor

    def embed(self, inputs: Tensor) -> Tensor:
        return self.logits[inputs[:, 0]]

    def features(self, embedded: Tensor) -> Tensor:
        return embedded

    def head(self) -> tuple[Tensor, Tensor | None]:
        return torch.eye(self.logits.shape[2]), None

    def module(self) -> nn.Module:
        return nn.Linear(1, 1)


def fixed(logits: Tensor, targets: Tensor) -> tuple[Fixed, Examples]:
    """One window a file."""
    numbers = torch.arange(len(logits))[:, None]
    return Fixed(logits), Examples(lambda i: (numbers[i], targets[i]), np.arange(len(logits)), len(logits))


@pytest.fixture(params=[True, False], ids=["bias", "no bias"])
def model(request) -> Net:
    return Net(0, request.param).eval()


def window_loss(model: Net, examples: Examples, window: int) -> Tensor:
    inputs, targets = examples.take(np.array([window]))
    logits = logits_of(model, model.features(model.embed(inputs)))
    return functional.cross_entropy(logits[0], targets[0], ignore_index=NOT_COUNTED)


def head_parameters(model: Net) -> list[nn.Parameter]:
    return [model.weight] if model.bias is None else [model.weight, model.bias]


def length_of_gradient(loss: Tensor, parameters: Sequence[Tensor]) -> float:
    grads = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return float(sum(g.square().sum() for g in grads if g is not None)) ** 0.5


def per_file(values: list[float]) -> np.ndarray:
    return np.array([np.mean(np.array(values)[file == OWNERS]) if file != 3 else np.nan for file in range(5)])


def test_a_model_that_knows_nothing_has_el2n_of_the_uniform_distribution():
    for num_classes in (2, 3, 10):
        net, examples = fixed(torch.zeros(1, 4, num_classes), torch.zeros(1, 4, dtype=torch.int64))
        assert scores.el2n(net, examples)[0] == pytest.approx((1 - 1 / num_classes) ** 0.5)
        assert loss(net, examples)[0] == pytest.approx(np.log(num_classes))


def test_a_perfect_model_has_el2n_zero_and_a_wholly_wrong_one_the_root_of_two():
    targets = torch.tensor([[0, 1, 2, 3]])
    right = functional.one_hot(targets, 5) * 100.0
    net, examples = fixed(torch.cat([right, right.roll(1, dims=2)]), targets.repeat(2, 1))
    assert scores.el2n(net, examples) == pytest.approx([0.0, 2**0.5], abs=1e-6)


def test_el2n_by_hand():
    logits = torch.log(torch.tensor([[[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]]))
    net, examples = fixed(logits, torch.tensor([[0, 1]]))
    first = (0.5**2 + 0.3**2 + 0.2**2) ** 0.5
    second = (0.1**2 + 0.9**2 + 0.8**2) ** 0.5
    assert scores.el2n(net, examples)[0] == pytest.approx((first + second) / 2)


def test_el2n_has_the_closed_form(model):
    examples = some_examples()
    found = []
    for window in range(len(OWNERS)):
        inputs, targets = examples.take(np.array([window]))
        probs = logits_of(model, model.features(model.embed(inputs))).softmax(dim=2)[0].detach().numpy()
        counted = np.flatnonzero(targets[0].numpy() != NOT_COUNTED)
        own = probs[counted, targets[0].numpy()[counted]]
        found.append(float(np.sqrt((probs[counted] ** 2).sum(axis=1) - 2 * own + 1).mean()))
    assert scores.el2n(model, examples) == pytest.approx(per_file(found), nan_ok=True)


def test_el2n_of_attributes_takes_their_tokens_alone(model):
    examples, kinds = some_examples(), np.array([0, 0, 0, 1, 1, 1, 1])
    by_kind = scores.el2n_by_attribute(model, examples, kinds, ["low", "high", "never"])
    everything = scores.el2n_by_attribute(model, examples, np.zeros(CLASSES, dtype=int), ["all"])["all"]
    assert everything == pytest.approx(scores.el2n(model, examples), nan_ok=True)
    for number, name in enumerate(["low", "high"]):

        def only_mine(indices: np.ndarray, number: int = number) -> tuple[Tensor, Tensor]:
            inputs, targets = examples.take(indices)
            is_mine = (targets != NOT_COUNTED) & (torch.from_numpy(kinds)[targets.clamp(min=0)] == number)
            return inputs, targets.masked_fill(~is_mine, NOT_COUNTED)

        alone = scores.el2n(model, Examples(only_mine, OWNERS, 5))
        is_known = ~np.isnan(alone)  # where every window has such a token
        assert is_known.any()
        assert by_kind[name][is_known] == pytest.approx(alone[is_known])
    assert np.isnan(by_kind["never"]).all()


def test_a_loss_is_the_mean_over_windows_of_their_cross_entropy(model):
    examples = some_examples()
    found = [window_loss(model, examples, window).item() for window in range(len(OWNERS))]
    assert loss(model, examples) == pytest.approx(per_file(found), nan_ok=True)


def test_grand_of_windows_is_the_length_of_autograds_gradient(model):
    examples = some_examples()
    found = [
        length_of_gradient(window_loss(model, examples, window), head_parameters(model))
        for window in range(len(OWNERS))
    ]
    assert scores.grand_window(model, examples) == pytest.approx(per_file(found), nan_ok=True)


def test_grand_of_tokens_is_the_length_of_autograds_gradient(model):
    examples, found = some_examples(), []
    for window in range(len(OWNERS)):
        inputs, targets = examples.take(np.array([window]))
        logits = logits_of(model, model.features(model.embed(inputs)))[0]
        counted = np.flatnonzero(targets[0].numpy() != NOT_COUNTED)
        losses = [functional.cross_entropy(logits[i], targets[0, i]) for i in counted]
        found.append(float(np.mean([length_of_gradient(loss, head_parameters(model)) for loss in losses])))
    assert scores.grand_token(model, examples) == pytest.approx(per_file(found), nan_ok=True)


@pytest.mark.parametrize("batch", [1, 3, 32])
def test_grand_of_files_is_the_length_of_autograds_gradient(model, batch):
    examples = some_examples()
    for parameters, found in (
        (head_parameters(model), dict(scores.head_gradients(model, examples, batch))),
        (list(model.parameters()), None),
    ):
        expected = np.full(5, np.nan)
        for file in (0, 1, 2, 4):
            losses = [window_loss(model, examples, int(window)) for window in np.flatnonzero(file == OWNERS)]
            expected[file] = length_of_gradient(torch.stack(losses).mean(), parameters)
        if found is None:
            assert scores.grand_full(model, examples, batch=batch) == pytest.approx(expected, nan_ok=True)
        else:
            assert {file: float(torch.linalg.vector_norm(g)) for file, g in found.items()} == pytest.approx(
                {file: expected[file] for file in (0, 1, 2, 4)}
            )
            assert scores.grand_file(model, examples) == pytest.approx(expected, nan_ok=True)
            assert scores.effort(model, examples, parameters) == pytest.approx(expected, nan_ok=True)


def test_repetition_raises_grand_of_windows_and_not_of_tokens():
    same = torch.tensor([[1.0, 0.0, 0.0]]).repeat(4, 1)
    different = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    net, examples = fixed(torch.stack([same, different]), torch.tensor([[1, 1, 1, 1], [1, 2, 0, 1]]))
    tokens, windows = scores.grand_token(net, examples), scores.grand_window(net, examples)
    assert tokens[0] == pytest.approx(tokens[1])
    assert windows[0] > 1.2 * windows[1]


def test_pvi_is_what_the_input_adds_to_the_frequencies(model):
    examples = some_examples()
    null = scores.unigram_log_probs(examples, CLASSES)
    assert np.exp(null).sum() == pytest.approx(1.0)
    targets = examples.take(np.arange(len(OWNERS)))[1].numpy()
    counts = np.bincount(targets[targets != NOT_COUNTED], minlength=CLASSES) + 1
    assert null == pytest.approx(np.log(counts / counts.sum()))
    net, alike = fixed(torch.from_numpy(null).float()[None, None].repeat(1, 3, 1), torch.tensor([[0, 1, 2]]))
    assert scores.pvi(net, alike, null)[0] == pytest.approx(0.0, abs=1e-6)
    uniform = scores.pvi(model, examples, np.full(CLASSES, -np.log(CLASSES)))
    assert uniform == pytest.approx((np.log(CLASSES) - loss(model, examples)) / np.log(2), nan_ok=True)


def test_scores_are_taken_without_dropout_and_put_it_back():
    net, examples = Net(0).train(), some_examples()
    first = scores.el2n(net, examples)
    assert net.training
    assert net.drop.training
    assert first == pytest.approx(scores.el2n(net, examples), nan_ok=True)
    assert first == pytest.approx(scores.el2n(net.eval(), examples), nan_ok=True)


def test_duplicates_score_the_same_and_adding_to_all_logits_changes_nothing(model):
    examples, everything = some_examples(), np.arange(len(OWNERS))
    inputs, targets = examples.take(everything)
    twice = Examples(
        lambda i: (inputs.repeat(2, 1)[i], targets.repeat(2, 1)[i]), np.concatenate([OWNERS, OWNERS + 5]), 10
    )
    moved = Net(0, bias=model.bias is not None).eval()
    if moved.bias is not None:
        moved.bias.data += 3.0
    for name in ("loss", "el2n", "grand_token", "grand_window", "grand_file", "grand_full"):
        score = loss if name == "loss" else getattr(scores, name)
        found = score(model, twice)
        assert found[:5] == pytest.approx(found[5:], nan_ok=True)
        assert score(moved, examples) == pytest.approx(score(model, examples), nan_ok=True)


def test_windows_of_a_file_must_stand_together():
    with pytest.raises(UsageError, match="stand together"):
        Examples(lambda indices: (torch.zeros(1), torch.zeros(1)), np.array([0, 1, 0]), 2)


def stored_gradients(models: list[Net], examples: Examples) -> np.ndarray:
    """(checkpoints, windows, positions, width), one window and one backward pass at a time."""
    found = []
    for model in models:
        mine = []
        for window in range(len(OWNERS)):
            inputs, targets = examples.take(np.array([window]))
            embedded = model.embed(inputs).detach().requires_grad_()
            logits = logits_of(model, model.features(embedded))[0]
            true = torch.stack([logits[i, y] for i, y in enumerate(targets[0].tolist()) if y != NOT_COUNTED]).sum()
            mine.append(torch.autograd.grad(true, embedded)[0][0].numpy())
        found.append(mine)
    return np.array(found)


@pytest.mark.parametrize("form", ["squared", "deviation"])
def test_vog_is_the_variance_of_stored_gradients(form):
    models, examples = [Net(seed).eval() for seed in range(4)], some_examples()
    gradients = stored_gradients(models, examples)
    squares = (gradients - gradients.mean(axis=0)) ** 2
    spread = squares.sum(axis=0) / 4**0.5 if form == "squared" else np.sqrt(squares.sum(axis=0) / 4)
    targets = examples.take(np.arange(len(OWNERS)))[1].numpy()
    ends = [np.flatnonzero(row != NOT_COUNTED)[-1] + 1 for row in targets]
    assert min(ends) < POSITIONS  # what comes after the last counted position has no gradient and does not dilute
    expected = [spread[window, :end].mean() for window, end in enumerate(ends)]
    assert over_time.vog(models, examples, form=form, batch=3) == pytest.approx(per_file(expected), nan_ok=True)


def test_vog_of_a_network_that_stands_still_is_zero():
    found = over_time.vog([Net(0), Net(0), Net(0)], some_examples())
    assert found[[0, 1, 2, 4]] == pytest.approx(0.0, abs=1e-20)


def test_vog_does_not_see_what_is_added_to_all_logits():
    models, moved = [Net(seed) for seed in range(3)], [Net(seed) for seed in range(3)]
    for shift, net in enumerate(moved):
        assert net.bias is not None
        net.bias.data += shift
    examples = some_examples()
    assert over_time.vog(models, examples) == pytest.approx(over_time.vog(moved, examples), nan_ok=True)


def test_normalising_by_group_leaves_no_group_above_another():
    values, groups = np.array([1.0, 2.0, 3.0, 101.0, 102.0, np.nan, 7.0]), ["a", "a", "a", "b", "b", "b", "c"]
    by_group = over_time.normalized(values, "group", groups)
    assert by_group[:3].mean() == pytest.approx(0.0)
    assert by_group[3:5] == pytest.approx([-1.0, 1.0])
    assert np.isnan(by_group[5])
    assert by_group[6] == 0.0
    by_dataset = over_time.normalized(values, "dataset")
    assert np.nanmean(by_dataset) == pytest.approx(0.0)
    assert np.nanstd(by_dataset) == pytest.approx(1.0)
    assert (over_time.normalized(values, "none") == values)[:5].all()
    with pytest.raises(UsageError, match="groups"):
        over_time.normalized(values, "group")


def guesses(classes: list[int]) -> Tensor:
    return functional.one_hot(torch.tensor([classes]), 3) * 9.0


def test_forgetting_counts_the_times_a_right_token_turns_wrong():
    targets = torch.tensor([[0, 1, 2, NOT_COUNTED]])
    history = [[0, 1, 0, 0], [1, 1, 0, 1], [0, 1, 2, 0], [2, 0, 2, 1]]  # token 0 is lost twice, 1 once, 2 never
    models = [fixed(guesses(each), targets)[0] for each in history]
    _, examples = fixed(guesses(history[0]), targets)
    assert over_time.forgetting(models, examples)[0] == pytest.approx(3 / 3)
    assert over_time.forgetting(models[:2], examples)[0] == pytest.approx(1 / 3)
    with pytest.raises(UsageError, match="checkpoints"):
        over_time.forgetting(models[:1], examples)


def test_tracin_adds_squared_gradients_by_learning_rate():
    models, examples = [Net(0), Net(1)], some_examples()
    squares = [scores.grand_file(model, examples) ** 2 for model in models]
    expected = 0.1 * squares[0] + 0.01 * squares[1]
    assert over_time.tracin(models, [0.1, 0.01], examples) == pytest.approx(expected, nan_ok=True)
    with pytest.raises(UsageError, match="learning rates"):
        over_time.tracin(models, [0.1], examples)


class Clips:
    """The audio classifier as a `Scorable`: a window is a clip, a position one of its five-second spans."""

    def __init__(self, network):
        self.network = network

    def embed(self, frames_db: Tensor) -> Tensor:
        return frames_db

    def features(self, frames_db: Tensor) -> Tensor:
        kept: list[Tensor] = []
        handle = self.network.head[-1].register_forward_pre_hook(lambda _, given: kept.append(given[0]))
        self.network(frames_db)
        handle.remove()
        return kept[0]

    def head(self) -> tuple[Tensor, Tensor | None]:
        return self.network.head[-1].weight[2:], self.network.head[-1].bias[2:]  # the causes

    def module(self) -> nn.Module:
        return self.network


def test_the_audio_classifier_is_scored_by_the_same_code():
    from classifiers.model import PianoNet

    torch.manual_seed(0)
    network, other = PianoNet().eval(), PianoNet().eval()
    frames_db, causes = torch.rand(3, 64 * 7, 96) * 60 - 80, torch.tensor([0, 3, 5])
    examples = Examples(lambda i: (frames_db[i], causes[i, None].repeat(1, 3)), np.arange(3), 3)
    logits = network(frames_db)[0].causes  # 7 s: three windows of 5 s
    one_hot = functional.one_hot(causes, 6)[:, None]
    lengths = torch.linalg.vector_norm(logits.softmax(dim=2) - one_hot, dim=2).mean(dim=1).detach().numpy()
    assert scores.el2n(Clips(network), examples) == pytest.approx(lengths, rel=1e-4)
    losses = functional.cross_entropy(logits.transpose(1, 2), causes[:, None].repeat(1, 3), reduction="none")
    last = list(network.head[-1].parameters())
    by_window = [[length_of_gradient(loss, last) for loss in clip] for clip in losses]
    assert scores.grand_token(Clips(network), examples) == pytest.approx(np.mean(by_window, axis=1), rel=1e-4)
    by_clip = [length_of_gradient(clip.mean(), last) for clip in losses]
    assert scores.grand_file(Clips(network), examples) == pytest.approx(by_clip, rel=1e-4)
    assert (over_time.vog([Clips(network), Clips(other)], examples) > 0).all()
