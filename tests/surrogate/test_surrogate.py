"""The surrogate looks only back, its weights count, and the same seed gives the same network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from aria_data.errors import ConfigInvalid
from aria_data.midi import Note, Performance, midi_bytes
from aria_data.surrogate import Surrogate, SurrogateConfig, make_windows, train
from aria_data.surrogate.forward import loss
from aria_data.surrogate.network import weighted_loss
from aria_data.surrogate.scorable import NOT_COUNTED, window_losses
from aria_data.surrogate.tokens import TokenConfig
from aria_data.surrogate.training import disjoint_folds, run_bytes, run_from_bytes

TOKENS = TokenConfig(context_tokens=24, windows_per_file=3, warm_up_tokens=4)
CONFIG = SurrogateConfig(width=16, layers=1, heads=2, batch_windows=8, num_steps=6, device="cpu")


def midi(seed: int, num_notes: int = 40) -> bytes:
    random = np.random.default_rng(seed)
    return midi_bytes(
        Performance([Note(0.25 * i, 0.25 * i + 0.2, int(random.integers(40, 80)), 64) for i in range(num_notes)])
    )


@pytest.fixture(scope="module")
def windows():
    files = {f"f{number}": midi(number) for number in range(8)}
    return make_windows(files, TOKENS, groups={name: f"piece {number // 2}" for number, name in enumerate(files)})


def same(one: Surrogate, other: Surrogate) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_no_position_sees_what_comes_after_it():
    torch.manual_seed(0)
    model = Surrogate(replace(CONFIG, layers=2), 50, 24).eval()
    inputs = torch.randint(50, (2, 24))
    changed = inputs.clone()
    changed[:, 12:] = (changed[:, 12:] + 1) % 50
    before, after = model(inputs), model(changed)
    assert torch.equal(before[:, :12], after[:, :12])
    assert (before[:, 12] != after[:, 12]).any()


def test_whole_weights_give_the_gradient_of_the_set_with_copies():
    torch.manual_seed(0)
    model = Surrogate(CONFIG, 50, 24).double().eval()
    inputs, targets = torch.randint(50, (3, 24)), torch.randint(50, (3, 24))
    targets[1, 10:] = NOT_COUNTED  # a short window is still one window

    def gradient(chosen: list[int], weights: list[float]) -> list[torch.Tensor]:
        loss = weighted_loss(model(inputs[chosen]), targets[chosen], torch.tensor(weights, dtype=torch.float64))
        return list(torch.autograd.grad(loss, list(model.parameters())))

    weighted = gradient([0, 1, 2], [0.5, 1.0, 1.5])  # 1 : 2 : 3, of mean 1
    copied = gradient([0, 1, 1, 2, 2, 2], [1.0] * 6)
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(weighted, copied, strict=True))
    plain = gradient([0, 1, 2], [1.0] * 3)
    assert not all(torch.allclose(a, b, atol=1e-4) for a, b in zip(plain, copied, strict=True))


def test_a_short_windows_loss_is_the_mean_over_its_own_tokens():
    logits, targets = torch.randn(2, 5, 7, dtype=torch.float64), torch.randint(7, (2, 5))
    targets[1, 2:] = NOT_COUNTED
    expected = [cross_entropy(logits[0], targets[0]), cross_entropy(logits[1, :2], targets[1, :2])]
    assert torch.allclose(window_losses(logits, targets), torch.stack(expected))


def test_a_file_of_weight_zero_teaches_nothing(windows):
    other = make_windows({**{f"f{number}": midi(number) for number in range(7)}, "f7": midi(99)}, TOKENS)
    assert other.sha256 != windows.sha256
    assert (other.owners == windows.owners).all()
    weights = [1, 1, 1, 1, 1, 1, 1, 0]
    one, two = (train(each, CONFIG, 0, weights, held_out=()).model for each in (windows, other))
    assert same(one, two)
    assert not same(train(windows, CONFIG, 0, held_out=()).model, train(other, CONFIG, 0, held_out=()).model)


def test_only_the_proportions_of_weights_matter(windows):
    one = train(windows, CONFIG, 0, np.arange(1, 9), held_out=()).model
    assert same(one, train(windows, CONFIG, 0, np.arange(1, 9) * 0.25, held_out=()).model)
    assert not same(one, train(windows, CONFIG, 0, held_out=()).model)


@pytest.mark.parametrize("weights", [[1.0] * 7, [-1.0] + [1.0] * 7, [float("nan")] * 8, [0.0] * 8])
def test_weights_that_make_no_sense_are_refused(windows, weights):
    with pytest.raises(ConfigInvalid):
        train(windows, CONFIG, 0, weights)


def test_the_same_seed_gives_the_same_network_and_leaves_other_randomness_alone(windows):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one = train(windows, CONFIG, 1)
    assert torch.equal(torch.rand(3), expected)
    other = train(windows, CONFIG, 1)
    assert one.weights_sha256() == other.weights_sha256()
    assert one.history == other.history
    assert one.weights_sha256() != train(windows, CONFIG, 2).weights_sha256()


def test_training_learns_what_repeats_itself():
    notes = [Note(0.25 * i, 0.25 * i + 0.2, 60 + i % 4, 64) for i in range(60)]
    same_tune = make_windows({str(number): midi_bytes(Performance(notes)) for number in range(4)}, TOKENS)
    config = replace(CONFIG, num_steps=120, dropout=0.0, max_transposition=0, learning_rate=1e-2)
    run = train(same_tune, config, 0, held_out=())
    assert loss(run.model, same_tune.examples()).max() < 0.3
    assert loss(run.at(run.checkpoints[0]), same_tune.examples()).min() > 0.3


def test_checkpoints_stand_at_the_stated_epochs_and_the_last_is_the_model(windows):
    config = replace(CONFIG, num_steps=9, checkpoint_epochs=(0.0, 1.0, 2.0))
    run = train(windows, config, 0, held_out=())  # 24 windows in batches of 8: 3 steps an epoch
    assert [checkpoint.step for checkpoint in run.checkpoints] == [0, 3, 6, 9]
    assert [checkpoint.epoch for checkpoint in run.checkpoints] == [0, 1, 2, 3]
    assert same(run.at(run.checkpoints[-1]), run.model)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        assert same(run.at(run.checkpoints[0]), Surrogate(config, len(windows.vocabulary), 24))
    rates = [checkpoint.learning_rate for checkpoint in run.checkpoints]
    assert rates[1] > rates[2] > rates[3] == 0.0


def test_the_number_of_steps_does_not_depend_on_the_number_of_files(windows):
    steps = []
    train(windows.of_files([0]), CONFIG, 0, held_out=(), progress=lambda done, total: steps.append((done, total)))
    assert steps == [(number, 6) for number in range(1, 7)]


def test_without_a_fixed_number_a_large_set_is_read_so_many_times(windows):
    run = train(windows, replace(CONFIG, num_steps=None, min_steps=2, num_epochs=4.0), 0, held_out=())
    assert run.checkpoints[-1].step == 12


def test_what_is_held_out_is_whole_pieces_and_is_not_trained_on(windows):
    run = train(windows, replace(CONFIG, validation_share=0.25), 0)
    assert len(run.held_out) == 2
    held = {windows.groups[number] for number in run.held_out}
    assert not held & {windows.groups[number] for number in range(8) if number not in run.held_out}
    assert np.isfinite([line["validation_loss"] for line in run.history]).all()
    changed = replace(windows, tokens=np.array(windows.tokens))
    changed.tokens[np.isin(windows.owners, run.held_out)] = 5
    assert same(train(changed, replace(CONFIG, validation_share=0.25), 0).model, run.model)


def test_folds_share_no_group_and_none_takes_all():
    groups = [f"g{number // 3}" for number in range(30)]
    folds = disjoint_folds(groups, 0.2, 4, seed=1)
    held = [{groups[number] for number in fold} for fold in folds]
    assert [len(fold) for fold in folds] == [6, 6, 6, 6]
    assert len(set.union(*held)) == sum(map(len, held))
    assert disjoint_folds(["one"] * 5, 0.2, 1, seed=0) == [()]
    assert disjoint_folds(groups, 0.0, 1, seed=0) == [()]
    assert len(disjoint_folds(["a", "b"], 0.1, 1, seed=0)[0]) == 1


def test_a_run_can_be_written_down_and_read_again(windows):
    run = train(windows, CONFIG, 0)
    again = run_from_bytes(run_bytes(run), CONFIG)
    assert same(again.model, run.model)
    assert again.weights_sha256() == run.weights_sha256()
    assert (again.history, again.held_out, again.seed) == (run.history, run.held_out, run.seed)
    assert all(same(again.at(a), run.at(b)) for a, b in zip(again.checkpoints, run.checkpoints, strict=True))
