"""The classifier's training clips through the shared scores and selectors.

Clips here are random frames: scores and selectors look at numbers only, and what they sound like is no matter.
"""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch
from torch.nn import functional

from aria_data.errors import UsageError
from aria_data.pruning import ScoreTable, over_time, scores
from aria_data.pruning.columns import Snapshot
from aria_data.pruning.score_table import RANDOM
from classifiers.dataset import DB_STEP, Clips
from classifiers.features import FeatureConfig
from classifiers.model import PianoNet
from classifiers.synthesize import CAUSES
from classifiers.train import Material, TrainConfig
from flows.tools import classifier_diet as diet
from flows.tools import classifier_scores
from flows.tools.classifier_scores import (
    CachedFeatureModel,
    ClassifierModel,
    DietConfig,
    DietScores,
    cached_feature_examples,
    examples_of,
)

PIANO, OTHER, BOTH, SPEECH, NOISE, SILENCE = range(len(CAUSES))
TINY_BATCH = TrainConfig(batch_size=2)


def clips_of(causes: list[int], num_frames: int = 640, seed: int = 0) -> Clips:
    frames = np.random.default_rng(seed).integers(0, 200, (len(causes), num_frames, 96)).astype(np.uint8)
    return Clips(frames, np.array(causes), f"hash {seed}", tuple(f"sound {index}" for index in range(len(causes))))


def network(seed: int) -> PianoNet:
    torch.manual_seed(seed)
    return PianoNet().eval()


def frames_db(clips: Clips) -> torch.Tensor:
    return torch.from_numpy(clips.frames.astype(np.float32) * DB_STEP + FeatureConfig().floor_db)


@pytest.fixture(scope="module")
def clips() -> Clips:
    return clips_of([PIANO, NOISE, SPEECH])


@pytest.fixture(scope="module")
def material(clips) -> Material:
    return Material(clips, clips_of([PIANO, OTHER], seed=1))


def table_of(causes: list[int], values: np.ndarray, score: str = "el2n") -> ScoreTable:
    names = [f"{index:08d}" for index in range(len(causes))]
    return ScoreTable.of(names, {score: values}, [CAUSES[cause] for cause in causes])


# -- scores ----------------------------------------------------------------------------------------------------------


def last_layer_gradient(model: PianoNet, loss: torch.Tensor) -> torch.Tensor:
    last = model.head[-1]
    assert isinstance(last, torch.nn.Linear)
    weight, bias = torch.autograd.grad(loss, [last.weight, last.bias], retain_graph=True)
    return torch.cat([weight[2:], bias[2:, None]], dim=1)  # the causes' rows


def by_definition(model: PianoNet, clips: Clips, index: int) -> dict[str, float]:
    """A clip's scores by autograd, one window after the other."""
    causes = model(frames_db(clips)[index : index + 1])[0].causes[0]
    label = torch.tensor(int(clips.causes[index]))
    losses = [functional.cross_entropy(logits, label) for logits in causes]
    gradients = [last_layer_gradient(model, loss) for loss in losses]
    errors = torch.softmax(causes, dim=1) - functional.one_hot(label, len(CAUSES))
    return {
        "loss": torch.stack(losses).mean().item(),
        "el2n": errors.norm(dim=1).mean().item(),
        "grand_token": float(np.mean([float(gradient.norm()) for gradient in gradients])),
        "grand_window": float(torch.stack(gradients).mean(dim=0).norm()),
    }


def test_scores_are_those_of_the_definition_averaged_over_networks(clips, material):
    networks = [network(0), network(1)]
    runs = [[Snapshot(ClassifierModel(each), 1.0, 0.001)] for each in networks]
    found = classifier_scores.score_clips(material, runs, DietConfig(num_networks=2))
    for index in range(len(clips.causes)):
        each = [by_definition(model, clips, index) for model in networks]
        for name in each[0]:
            assert found.table.columns[name][index] == pytest.approx(np.mean([of[name] for of in each]), rel=1e-3)
    expected = [torch.softmax(model(frames_db(clips))[0].causes, dim=2).mean(dim=1) for model in networks]
    np.testing.assert_allclose(found.probabilities, torch.stack(expected).mean(dim=0).detach(), atol=1e-5)


def test_cached_features_give_the_scores_of_the_networks(clips):
    networks = [ClassifierModel(network(seed)) for seed in range(3)]
    cached = [CachedFeatureModel(model, number) for number, model in enumerate(networks)]
    whole, once = examples_of(clips), cached_feature_examples(networks, clips)
    for one, other in zip(networks, cached, strict=True):
        np.testing.assert_allclose(scores.grand_file(one, whole), scores.grand_file(other, once), rtol=1e-4)
    rates = [3.0, 2.0, 1.0]
    np.testing.assert_allclose(
        over_time.tracin(networks, rates, whole), over_time.tracin(cached, rates, once), rtol=1e-4
    )
    np.testing.assert_array_equal(over_time.forgetting(networks, whole), over_time.forgetting(cached, once))


def test_the_gradient_of_all_parameters_is_that_of_the_clips_mean_loss(clips, material):
    model = network(0)
    config = DietConfig(num_networks=1, scores=("grand_full",))
    found = classifier_scores.score_clips(material, [[Snapshot(ClassifierModel(model), 1.0, 0.001)]], config)
    causes = model(frames_db(clips)[1:2])[0].causes[0]
    loss = functional.cross_entropy(causes, torch.from_numpy(clips.causes[1:2]).repeat(len(causes)))
    gradients = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    length = torch.cat([each.flatten() for each in gradients if each is not None]).norm()
    assert found.table.columns["grand_full"][1] == pytest.approx(float(length), rel=1e-3)


def test_vog_is_the_variance_of_the_gradients_at_the_frames(clips, material):
    networks = [network(0), network(1)]
    run = [Snapshot(ClassifierModel(each), 1.0, 0.001) for each in networks]
    config = DietConfig(num_networks=1, num_checkpoints=2, scores=("vog",))
    found = classifier_scores.score_clips(material, [run], config).table.columns["vog"]
    gradients = []
    for each in networks:
        frames = frames_db(clips).requires_grad_()
        logits = each(frames)[0].causes
        true = torch.stack([logits[index, :, cause].sum() for index, cause in enumerate(clips.causes)]).sum()
        gradients.append(torch.autograd.grad(true, frames)[0].double())
    raw = ((gradients[0] - gradients[1]) ** 2 / 2 / 2**0.5).mean(dim=(1, 2)).numpy()
    np.testing.assert_allclose(found, (raw - raw.mean()) / raw.std(), rtol=1e-2)


@pytest.mark.parametrize("num_frames", [640, 704, 400, 320, 160])
def test_every_window_that_the_network_judges_is_a_position(num_frames):
    clips = clips_of([PIANO, NOISE], num_frames)
    inputs, targets = examples_of(clips).take(np.array([1]))
    judged = network(0)(inputs)[0].causes
    assert targets.shape == judged.shape[:2]
    assert (targets == NOISE).all()


def test_the_table_says_where_its_scores_come_from(material):
    runs = [[Snapshot(ClassifierModel(network(seed)), 0.5, 0.001)] for seed in range(3)]
    about = classifier_scores.score_clips(material, runs, DietConfig(num_steps=7)).table.about
    assert about["data_sha256"] == "hash 0"
    assert about["config"]["num_steps"] == 7
    assert -1 <= about["seed_rank_correlation"]["el2n"] <= 1
    assert any("epoch 0.50" in line for line in about["warnings"])


def test_a_network_goes_on_from_its_checkpoint(material):
    config = DietConfig(num_networks=1, num_checkpoints=2, num_steps=1)
    first, second = classifier_scores.train_early(material, config, TINY_BATCH, 0, announce=lambda line: None)
    (alone,) = classifier_scores.train_early(
        material, DietConfig(num_networks=1, num_steps=1), TINY_BATCH, 0, announce=lambda line: None
    )
    assert [first.epoch, second.epoch] == pytest.approx([2 / 3, 4 / 3])
    weights = [snapshot.model.module().state_dict()["head.4.weight"] for snapshot in (first, second, alone)]
    assert torch.equal(weights[0], weights[2])
    away = (weights[1] - weights[0]).abs().mean()
    anew = (PianoNet().head[-1].weight - weights[0]).abs().mean()
    assert 0 < away < 0.2 * anew  # one step, not another beginning


def test_a_wrong_label_has_the_largest_error_and_is_named():
    probabilities = np.full((4, len(CAUSES)), 0.02)
    for row, predicted in enumerate([PIANO, NOISE, NOISE, SPEECH]):
        probabilities[row, predicted] = 0.9
    causes = [PIANO, NOISE, PIANO, SPEECH]
    found = DietScores(table_of(causes, np.zeros(4)), probabilities)
    assert found.probably_mislabelled(np.array(causes)).tolist() == [2]


# -- selections ------------------------------------------------------------------------------------------------------


def test_the_hardest_half_keeps_the_shares_of_causes():
    table = table_of([PIANO] * 6 + [NOISE] * 4, np.arange(10.0))
    kept = diet.keep_clips(table, "el2n", "top", 0.5)
    assert kept.indices.tolist() == [3, 4, 5, 8, 9]
    assert kept.weights.tolist() == [1.0] * 5


@pytest.mark.parametrize("method", ["random", "top", "bottom", "window", "stratified", "score_proportional"])
def test_a_selector_keeps_as_many_of_every_cause(method):
    causes = np.array([PIANO] * 60 + [NOISE] * 40 + [SPEECH])
    table = table_of(causes.tolist(), np.random.default_rng(0).random(101))
    kept = diet.keep_clips(table, "el2n", method, 0.3, seed=1)
    assert np.bincount(causes[kept.indices], minlength=6).tolist() == [18, 0, 0, 1, 12, 0]
    assert len(set(kept.indices.tolist())) == 31


def test_another_seed_draws_other_clips():
    table = table_of([PIANO] * 40, np.zeros(40))
    drawn = [diet.keep_clips(table, "el2n", "random", 0.5, seed).indices.tolist() for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_group_random_evens_out_the_causes():
    causes = np.array([PIANO] * 60 + [NOISE] * 30 + [SPEECH] * 10)
    kept = diet.keep_clips(table_of(causes.tolist(), np.zeros(100)), "el2n", "group_random", 0.5)
    assert np.bincount(causes[kept.indices], minlength=6).tolist() == [20, 0, 0, 10, 20, 0]


def test_calibrated_weights_stand_for_all_clips_of_every_cause():
    causes = np.array([PIANO] * 60 + [NOISE] * 40)
    values = np.random.default_rng(0).random(100)
    table = table_of(causes.tolist(), values)
    sums = []
    for seed in range(400):
        kept = diet.keep_clips(table, "el2n", "calibrated", 0.3, seed)
        sums.append(np.bincount(causes[kept.indices], kept.weights * values[kept.indices], minlength=6))
    errors = np.std(sums, axis=0, ddof=1) / 400**0.5
    for cause in (PIANO, NOISE):
        assert abs(np.mean(sums, axis=0)[cause] - values[causes == cause].sum()) < 3 * errors[cause]


def test_a_choice_is_trained_on_with_its_weights(material, monkeypatch):
    given = []

    def remember(part, *_, **__) -> PianoNet:  # training itself is tested in test_training.py
        given.append(part)
        return network(0)

    monkeypatch.setattr(diet, "train", remember)
    kept = diet.Kept(np.array([0, 2]), np.array([1.0, 3.0]), ("mind this",))
    choices = {"all": lambda seed: None, "some": lambda seed: kept}
    found = diet.compare(material, choices, TINY_BATCH, 1, [0, 1], announce=lambda line: None)
    assert [part.chosen is None for part in given] == [True, False, True, False]
    assert given[1].chosen.tolist() == [0, 2]
    assert given[1].weights.tolist() == [1.0, 3.0]
    assert [found[name].num_clips for name in ("all", "some")] == [3, 2]
    assert [len(each.figures) for each in found.values()] == [2, 2]
    assert found["some"].warnings == ("mind this",)


# -- the program -----------------------------------------------------------------------------------------------------


@pytest.fixture
def program(material, tmp_path, monkeypatch):
    monkeypatch.setattr(diet, "load_synthesised", lambda *_: material)
    monkeypatch.setattr(diet, "TrainConfig", lambda: TINY_BATCH)
    few = ["--out", str(tmp_path / "out"), "--networks", "1", "--early-steps", "1", "--steps", "1", "--threads", "1"]
    return lambda *more: diet.main([*few, *more])


def test_the_program_writes_every_clip_and_a_report(program, clips, tmp_path, capsys):
    assert program("--methods", "top", "calibrated", "--keep", "0.7", "--checkpoints", "2") == 0
    rows = list(csv.DictReader((tmp_path / "out" / "scores.csv").read_text().splitlines()))
    assert [float(row["el2n"]) for row in rows] == sorted((float(row["el2n"]) for row in rows), reverse=True)
    assert {row["detail"] for row in rows} == set(clips.details)
    table = ScoreTable.load(tmp_path / "out" / "scores.parquet")
    assert {"el2n", "grand_token", "forgetting", "tracin", "influence", *RANDOM} <= set(table.columns)
    assert float(rows[0]["el2n"]) == pytest.approx(table.columns["el2n"][int(rows[0]["clip"])], rel=1e-5)
    report = (tmp_path / "out" / "report.md").read_text()
    assert report in capsys.readouterr().out
    for words in ("Hardest (3 of 3, by el2n)", "Probably mislabelled", "| all | 3 |", "| top | 3 |", "| calibrated |"):
        assert words in report


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--by", "hardness"], "'hardness' is no score. There are loss, "),
        (["--scores", "vog"], "vog compares checkpoints of one training. Take --checkpoints 2 or more."),
        (["--by", "el2n_pitch"], "el2n_pitch is for files of notes."),
    ],
)
def test_a_score_that_cannot_be_is_one_line_before_anything_is_trained(program, arguments, said, monkeypatch, capsys):
    monkeypatch.setattr(diet, "train_early", lambda *_: pytest.fail("something was trained"))
    assert program(*arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_too_few_clips_for_a_batch_do_not_wait_for_ever(material):
    with pytest.raises(UsageError, match="3 clips do not fill a batch of 4"):
        classifier_scores.train_early(material, DietConfig(), TrainConfig(batch_size=4), 0)
    kept = diet.Kept(np.array([1]), np.array([1.0]), ())
    with pytest.raises(UsageError, match="1 clips do not fill a batch of 2"):
        diet.compare(material, {"one": lambda seed: kept}, TINY_BATCH, 1, [0], announce=lambda line: None)
