"""What five papers claim of choosing by score: the parts that are safe to assert, on digits and on made-up music.

The experiments are `benchmarks/data_pruning_images.py` and `benchmarks/data_pruning_music.py`; this also tests the
parts that they are made of.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from places import ROOT

from aria_data.midi import Note, Performance, midi_bytes
from aria_data.pruning.columns import ColumnsConfig
from aria_data.pruning.scoring import combine
from aria_data.pruning.seeds import ScoringConfig
from aria_data.surrogate import SurrogateConfig, Windows, make_windows

sys.path.insert(0, str(ROOT / "benchmarks"))
images = importlib.import_module("data_pruning_images")
music = importlib.import_module("data_pruning_music")

SEEDS = (0, 1, 2)
TINY = SurrogateConfig(width=8, layers=1, heads=2, batch_windows=4, num_steps=3, num_checkpoints=1, device="cpu")


# The digits


@pytest.fixture(scope="module")
def tenth() -> list:
    """Three repetitions at 10 %, without wrong labels."""
    return [_tried(seed, 0.0, images.TENTH, 0.1) for seed in SEEDS]


@pytest.fixture(scope="module")
def half() -> list:
    return [_tried(seed, 0.0, images.HALF, 0.5) for seed in SEEDS]


@pytest.fixture(scope="module")
def wrong() -> list:
    """Three repetitions at 50 % with 12 % of the labels wrong."""
    return [_tried(seed, images.WRONG_SHARE, images.WRONG, 0.5) for seed in SEEDS]


def _tried(seed: int, wrong_share: float, ways: dict, share: float) -> dict:
    world = images.make_world(seed, wrong_share)
    return images.try_ways(world, images.score_all(world, seed, images.CHOOSING), ways, share, seed)


def _mean(runs: list, choice: str, field: str = "test_loss") -> float:
    return float(np.mean([getattr(run[choice], field) for run in runs]))


@pytest.mark.slow
def test_hardest_first_loses_to_random_when_a_tenth_is_kept(monkeypatch):
    monkeypatch.setattr(images, "SCORE_SEEDS", 2)
    monkeypatch.setattr(images, "CHOOSING", ("el2n",))
    ways = {name: images.TENTH[name] for name in ("random", "EL2N top")}
    run = _tried(0, 0.0, ways, 0.1)
    assert run["EL2N top"].error > run["random"].error + 0.2
    assert run["EL2N top"].num_kept == run["random"].num_kept == 120


@pytest.mark.slow
def test_the_harder_half_does_as_well_as_everything(half):
    assert _mean(half, "EL2N top", "error") < _mean(half, "all", "error") + 0.01


@pytest.mark.slow
def test_the_easier_half_does_worse_than_a_random_one(half):
    assert _mean(half, "EL2N bottom") > 2 * _mean(half, "random")


@pytest.mark.slow
@pytest.mark.parametrize("choice", ["EL2N at 0.05 epochs, top", "EL2N at 1 epoch, top"])
def test_half_by_an_early_score_does_worse_than_a_random_half(half, choice):
    assert _mean(half, choice, "error") > _mean(half, "random", "error") + 0.05


@pytest.mark.slow
@pytest.mark.parametrize("choice", ["EL2N top", "EL2N at 1 epoch, top", "EL2N bottom", "VoG top"])
def test_no_score_alone_comes_near_random_at_a_tenth(tenth, choice):
    assert all(run[choice].test_loss > 2 * run["random"].test_loss for run in tenth)


@pytest.mark.slow
def test_calibrated_with_a_small_alpha_comes_near_random_and_with_a_large_one_does_not(tenth):
    assert _mean(tenth, "EL2N calibrated 0.1") < 1.5 * _mean(tenth, "random")
    assert _mean(tenth, "EL2N calibrated 0.9") > 1.5 * _mean(tenth, "EL2N calibrated 0.1")
    assert _mean(tenth, "EL2N calibrated 0.9", "num_effective") < 0.15 * 120
    assert _mean(tenth, "EL2N calibrated 0.1", "num_effective") > 0.9 * 120


@pytest.mark.slow
def test_wrong_labels_are_at_the_hard_end_and_a_window_keeps_fewer_of_them(wrong):
    share = {name: _mean(wrong, name, "share_wrong") for name in images.WRONG}
    assert share["EL2N top"] > 1.5 * share["random"]
    assert share["EL2N window, hardest 15 % skipped"] < 0.3 * share["EL2N top"]
    assert share["EL2N stratified, hardest 15 % cut"] < share["EL2N stratified, nothing cut"]
    assert _mean(wrong, "EL2N window, hardest 15 % skipped", "error") < _mean(wrong, "EL2N top", "error")


def test_as_many_labels_are_wrong_as_was_asked_for():
    right, wrong = images.make_world(5, 0.0), images.make_world(5, 0.12)
    assert wrong.is_wrong.sum() == 144
    is_other = (right.train.labels != wrong.train.labels)[:, 0].numpy()
    np.testing.assert_array_equal(is_other, wrong.is_wrong)
    assert (right.test.labels == wrong.test.labels).all()


def test_a_weight_of_two_trains_as_a_second_copy_would(monkeypatch):
    monkeypatch.setattr(images, "BATCH", 10**6)  # all at once, so that batches do not differ
    some = images.make_world(0, 0.0).train
    few = images.Images(some.inputs[:20], some.labels[:20])
    twice = images.Images(*(part[[*range(20), *range(10)]] for part in (some.inputs, some.labels)))
    weighted = images.train(few, np.repeat([2.0, 1.0], 10), 0, [5])[0]
    copied = images.train(twice, np.ones(30), 0, [5])[0]
    for one, other in zip(weighted.parameters(), copied.parameters(), strict=True):
        np.testing.assert_allclose(one.detach(), other.detach(), atol=1e-5)


# Music


def _performance(seed: int, surprise: float = 0.0, num_notes: int = 160) -> Performance:
    """Steps along a scale in a steady rhythm; `surprise` is the chance that a note is another, of another length."""
    rng = np.random.default_rng(seed)
    scale = 48 + 12 * rng.integers(0, 2) + np.array([0, 2, 4, 5, 7, 9, 11, 12, 14, 16, 17, 19])
    is_other = rng.random((3, num_notes)) < surprise
    steps = np.where(is_other[0], rng.integers(-6, 7, num_notes), rng.choice([-1, 1, 1], num_notes))
    gaps_s = np.where(is_other[1], rng.choice([0.1, 0.2, 0.3, 0.5, 0.7], num_notes), rng.choice([0.125, 0.25, 0.375]))
    velocities = np.where(is_other[2], rng.integers(20, 120, num_notes), 70)
    pitches = scale[np.cumsum(steps) % len(scale)]
    parts = zip(
        (np.cumsum(gaps_s) - gaps_s).tolist(), gaps_s.tolist(), pitches.tolist(), velocities.tolist(), strict=True
    )
    return Performance([Note(at, at + 0.9 * gap, pitch, velocity) for at, gap, pitch, velocity in parts])


def _varied(number: int) -> Performance:
    """From a quarter to all of the notes are a surprise, which no model can learn away."""
    return _performance(number, surprise=0.25 + 0.75 * (number * 7 % 20) / 20)


def _windows(num_files: int, perform: Callable[[int], Performance] = _performance) -> Windows:
    files = {f"{number % 7}/{number:02d}": midi_bytes(perform(number)) for number in range(num_files)}
    return make_windows(files, groups={name: name[0] for name in files})


def test_a_scrambled_file_keeps_its_pitches_and_neither_times_nor_order():
    before = _performance(0)
    after = music.scrambled(before, np.random.default_rng(0))
    assert sorted(n.pitch for n in after.notes) == sorted(n.pitch for n in before.notes)
    assert [n.pitch for n in after.notes] != [n.pitch for n in before.notes]
    assert np.std(np.diff([n.onset_s for n in after.notes])) > 0.05  # it was 0


def test_about_half_of_the_wrong_pitches_are_wrong_and_nothing_else():
    before = _performance(0)
    after = music.wrong_pitches(before, np.random.default_rng(0))
    steps = [abs(one.pitch - other.pitch) for one, other in zip(before.notes, after.notes, strict=True)]
    assert 0.4 < np.mean([step > 0 for step in steps]) < 0.6
    assert max(steps) <= 6
    assert [n.onset_s for n in after.notes] == [n.onset_s for n in before.notes]


def test_a_stuck_note_is_one_key():
    assert len({n.pitch for n in music.stuck(_performance(0), np.random.default_rng(0)).notes}) == 1


def test_every_kind_of_damage_is_dealt_to_as_many_files_and_stays_with_them():
    ids = [f"file-{number}" for number in range(200)]
    dealt = music.damages_of(ids)
    assert sorted(dealt.values()) == ["scrambled"] * 10 + ["stuck note"] * 10 + ["wrong pitches"] * 10
    assert music.damages_of(ids[::-1]) == dealt


def test_auc_is_one_where_all_damaged_files_are_at_the_hard_end():
    is_damaged = np.array([False, False, True, True])
    assert music.auc(np.array([1.0, 2.0, 3.0, 4.0]), is_damaged) == 1
    assert music.auc(np.array([4.0, 3.0, 2.0, 1.0]), is_damaged) == 0
    assert music.auc(np.array([1.0, 1.0, 1.0, 1.0]), is_damaged) == 0.5


def test_scores_that_only_tell_compositions_apart_vary_between_them_alone():
    groups = np.repeat(["a", "b", "c", "d"], 50)
    noise = np.random.default_rng(0).normal(size=200)
    assert music.share_between(np.repeat([1.0, 2.0, 3.0, 4.0], 50), groups) == pytest.approx(1)
    assert abs(music.share_between(noise, groups)) < 0.1


def test_two_standard_errors_of_a_contrast_hold_the_truth_nearly_always():
    """Choices that are equally good: trainings differ by chance, as do the compositions of the test."""
    groups = [f"piece-{number // 3}" for number in range(60)]
    held = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        level = rng.normal(0, 0.3, 60)  # how hard each test file is: the same for all, so it goes away
        start = rng.normal(0, 0.1, 3)  # what a round begins with, too
        of_choice = {name: np.repeat(rng.normal(0, 0.02, 20), 3) for name in ("one", "two", "random")}
        runs = {
            name: {each: level + start[each] + mine + rng.normal(0, 0.01) for each in range(3)}
            for name, mine in of_choice.items()
        }
        difference, error = music.contrast(runs, "one", "random", groups)
        held.append(abs(difference) <= error)
        assert error < 0.05  # although trainings differ by 0.1
    assert np.mean(held) > 0.9


def test_after_one_round_nothing_is_resolved():
    runs = {"top": {0: np.ones(4) + 5}, "random": {0: np.ones(4)}}
    assert music.verdict(*music.contrast(runs, "top", "random", ["a", "b", "c", "d"])) == "not resolved"


def test_a_choice_that_is_worse_on_every_file_is_called_worse():
    level = np.linspace(2, 3, 20)
    runs = {"top": {0: level + 0.1, 1: level + 0.102}, "random": {0: level, 1: level - 0.001}}
    difference, error = music.contrast(runs, "top", "random", [str(n // 2) for n in range(20)])
    assert difference == pytest.approx(0.1015)
    assert music.verdict(difference, error) == "worse"
    assert music.verdict(0.01, 0.02) == music.verdict(-0.01, 0.02) == "not resolved"
    assert music.verdict(-0.03, 0.02) == "better"


def _world(tmp_path: Path, pool: Windows, damages: dict[str, str] | None = None, surrogate: SurrogateConfig = TINY):
    held = _windows(5, lambda number: _performance(100 + number))
    return music.World({"clean": pool, "damaged": pool}, held, held, damages or {}, surrogate, tmp_path)


def test_a_training_that_was_done_is_not_done_again(tmp_path, monkeypatch):
    world = _world(tmp_path, _windows(6))
    ids = world.pools["clean"].ids[:4]
    first = music.retrain(world, "clean", ids, np.ones(4), 0)
    assert first.shape == (5,)
    assert not np.array_equal(first, music.retrain(world, "clean", ids, np.array([9.0, 1, 1, 1]), 0))
    assert not np.array_equal(first, music.retrain(world, "clean", ids, np.ones(4), 1))
    monkeypatch.setattr(music, "train", None)  # calling it would fail
    np.testing.assert_array_equal(music.retrain(world, "clean", ids, np.ones(4), 0), first)


def test_when_time_is_out_every_claim_has_been_tried_once(tmp_path):
    world = _world(tmp_path, _windows(20))
    values = np.random.default_rng(0).normal(size=(1, 20))
    stacks = dict.fromkeys(("el2n", "el2n_early", "grand_window", "vog", "dealrec", "loss"), values)
    table = music.table_of(world.pools["clean"], stacks)
    losses = music.retrain_all(world, {"clean": table, "damaged": table}, until_s=0.0)
    for name, one, other in music.CLAIMS:
        assert len(losses[name][one]) >= 1
        assert len(losses[name][other]) >= 1
    assert set(losses["10 %"]["random"]) == {0}


@pytest.mark.slow
def test_el2n_puts_scrambled_files_at_the_hard_end_and_grand_of_windows_stuck_notes(tmp_path):
    kinds = dict(zip(range(0, 60, 6), ["scrambled", "stuck note"] * 5, strict=True))
    rng = np.random.default_rng(0)

    def perform(number: int) -> Performance:
        notes = _varied(number)
        return music.DAMAGES[kinds[number]](notes, rng) if number in kinds else notes

    pool = _windows(60, perform)
    world = _world(tmp_path, pool, surrogate=SurrogateConfig(width=32, num_steps=120, device="cpu"))
    config = ScoringConfig(surrogate=world.surrogate)
    found = music.seed_scores(world, "damaged", config, ["el2n", "grand_window"])
    of_file = np.array([kinds.get(int(name.split("/")[1]), "") for name in pool.ids])

    def auc(score: str, kind: str) -> float:
        is_judged = (of_file == "") | (of_file == kind)
        return music.auc(combine(found[score])[is_judged], of_file[is_judged] == kind)

    assert auc("el2n", "scrambled") > 0.8
    assert auc("grand_window", "stuck note") > 0.8
    assert auc("grand_window", "scrambled") < auc("grand_window", "stuck note")


@pytest.mark.slow
def test_early_el2n_ranks_files_less_as_the_end_does_than_later_el2n(tmp_path):
    surrogate = SurrogateConfig(width=32, num_steps=120, checkpoint_epochs=(0.1, 1.0, 3.0), device="cpu")
    world = _world(tmp_path, _windows(60, _varied), surrogate=surrogate)
    found = {}
    for epoch in (0.1, 3.0, None):
        config = ScoringConfig(surrogate=surrogate, columns=ColumnsConfig(score_epoch=epoch))
        found[epoch] = combine(music.seed_scores(world, "clean", config, ["el2n"])["el2n"])
    rho = {epoch: music.rank_agreement(np.stack([found[epoch], found[None]])) for epoch in (0.1, 3.0)}
    assert rho[0.1] < 0.9 < rho[3.0]
