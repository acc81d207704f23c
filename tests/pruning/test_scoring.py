"""Scoring whole files: what is asked for, averaged over seeds, with its provenance, and not twice."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from aria_data.errors import ConfigInvalid, DatasetNotWritable, UsageError
from aria_data.midi import Note, Performance, midi_bytes
from aria_data.pruning import ScoreTable, scores, seeds
from aria_data.pruning.columns import COLUMNS, ColumnsConfig, Snapshot, Task, columns_of
from aria_data.pruning.influence import InfluenceConfig
from aria_data.pruning.scoring import combine, rank_agreement, score
from aria_data.pruning.seeds import ScoringConfig
from aria_data.surrogate import SurrogateConfig, make_windows, train
from aria_data.surrogate.tokens import TokenConfig

CONFIG = ScoringConfig(
    TokenConfig(context_tokens=24, windows_per_file=3, warm_up_tokens=4),
    SurrogateConfig(width=16, layers=1, heads=2, batch_windows=8, num_steps=8, validation_share=0.2, device="cpu"),
    ColumnsConfig(influence=InfluenceConfig(min_gradient_ratio=0.0)),
)


def midi(seed: int, num_notes: int = 40) -> bytes:
    random = np.random.default_rng(seed)
    return midi_bytes(
        Performance([Note(0.25 * i, 0.25 * i + 0.2, int(random.integers(40, 80)), 64) for i in range(num_notes)])
    )


FILES = {f"f{number:02d}": midi(number) for number in range(12)}
GROUPS = {name: f"piece {int(name[1:]) // 2}" for name in FILES}

PROBE = {f"p{number}": midi(50 + number) for number in range(3)}


@pytest.fixture
def trainings(monkeypatch):
    """The seeds that were really trained."""
    found: list[int] = []

    def counting(windows, config, seed, *rest):
        run = train(windows, config, seed, *rest)
        found.append(seed)
        return run

    monkeypatch.setattr(seeds, "train", counting)
    return found


def test_every_score_of_every_file_comes_out(tmp_path):
    table = score({**FILES, "bad": b"no"}, CONFIG, (0, 1), GROUPS, PROBE)
    assert table.ids == tuple(FILES)
    assert set(COLUMNS) <= set(table.columns)
    for name in COLUMNS:
        assert np.isfinite(table.columns[name]).all(), name
    assert list(table.group) == [GROUPS[name] for name in FILES]
    assert (table.num_notes == 40).all()
    about = table.about
    assert list(about["left_out"]) == ["bad"]
    assert set(about["directions"]) == set(about["seed_rank_correlation"]) == set(COLUMNS)
    assert [len(about["seeds"][seed]["weights_sha256"]) for seed in "01"] == [64, 64]
    assert about["config"]["surrogate"]["width"] == 16
    table.save(tmp_path / "scores.parquet")
    assert ScoreTable.load(tmp_path / "scores.parquet").about == json.loads(json.dumps(about))


def test_one_seed_gives_what_its_network_says():
    table = score(FILES, CONFIG, [3], GROUPS, only=["el2n", "loss", "pvi"])
    windows = make_windows(FILES, CONFIG.tokens, GROUPS)
    model = train(windows, CONFIG.surrogate, 3, held_out=()).model
    assert table.columns["el2n"] == pytest.approx(scores.el2n(model, windows.examples()))
    null = scores.unigram_log_probs(windows.examples(), len(windows.vocabulary))
    assert table.columns["pvi"] == pytest.approx(-scores.pvi(model, windows.examples(), null))
    assert set(table.columns) == {"el2n", "loss", "pvi", "random_0", "random_1", "random_2"}


def test_seeds_are_averaged_file_by_file():
    parts = [score(FILES, CONFIG, [seed], GROUPS, only=["loss"]).columns["loss"] for seed in (0, 1)]
    flat = replace(CONFIG, surrogate=replace(CONFIG.surrogate, validation_share=0.0))
    both = score(FILES, flat, [0, 1], GROUPS, only=["loss"])
    assert both.columns["loss"] == pytest.approx((parts[0] + parts[1]) / 2)
    assert both.about["seed_rank_correlation"]["loss"] == pytest.approx(rank_agreement(np.array(parts)))


def test_files_held_out_by_one_seed_are_scored_by_the_others_at_one_level():
    files, levels = np.arange(8.0), np.array([0.0, 10.0, -4.0])
    values = files + levels[:, None]
    values[0, :3] = values[2, 5:] = np.nan
    assert combine(values) == pytest.approx(files + 2.0)
    assert np.nanmean(values, axis=0) != pytest.approx(files + 2.0)
    values[:, 4] = np.nan
    assert np.isnan(combine(values)[4])


def test_rank_agreement_is_none_where_there_is_nothing_to_compare():
    assert rank_agreement(np.array([[1.0, 2.0, 3.0]])) is None
    assert rank_agreement(np.array([[1.0, 2.0, 3.0], [1.0, 1.0, 1.0]])) is None
    assert rank_agreement(np.array([[1.0, 2.0, 3.0, np.nan], [3.0, 2.0, 1.0, 9.0]])) == pytest.approx(-1.0)


def test_after_a_kill_finished_seeds_are_not_trained_again(tmp_path, trainings):
    class Killed(BaseException):
        pass

    def kill(what: str, done: int, total: int) -> None:
        if what == "training, seed 2" and done == 4:
            raise Killed

    with pytest.raises(Killed):
        score(FILES, CONFIG, (1, 2), GROUPS, cache_dir=tmp_path, progress=kill, only=["loss"])
    assert trainings == [1]
    resumed = score(FILES, CONFIG, (1, 2), GROUPS, cache_dir=tmp_path, only=["loss"])
    assert trainings == [1, 2]
    fresh = score(FILES, CONFIG, (1, 2), GROUPS, only=["loss"])
    assert resumed.columns["loss"] == pytest.approx(fresh.columns["loss"], rel=1e-12)
    assert not list(tmp_path.glob("*.partial"))


def test_another_score_later_trains_nothing_and_keeps_the_first(tmp_path, trainings):
    first = score(FILES, CONFIG, (0, 1), GROUPS, cache_dir=tmp_path, only=["loss"])
    both = score(FILES, CONFIG, (0, 1), GROUPS, cache_dir=tmp_path, only=["loss", "vog"])
    assert trainings == [0, 1]
    assert (both.columns["loss"] == first.columns["loss"]).all()
    assert both.columns["vog"].std() > 0
    assert both.about["seeds"]["0"]["train_s"] == first.about["seeds"]["0"]["train_s"] is not None
    for run in tmp_path.glob("run-*"):
        run.unlink()  # what is scored needs no network any more
    again = score(FILES, CONFIG, (0, 1), GROUPS, cache_dir=tmp_path, only=["vog"])
    assert trainings == [0, 1]
    assert "loss" not in again.columns


def test_other_files_groups_or_settings_are_trained_anew(tmp_path, trainings):
    def run(files=FILES, config=CONFIG, groups=GROUPS):
        score(files, config, [0], groups, cache_dir=tmp_path, only=["loss"])
        return len(trainings)

    assert run() == run() == 1
    assert run(files={**FILES, "f00": midi(100)}) == 2
    assert run(config=replace(CONFIG, surrogate=replace(CONFIG.surrogate, dropout=0.2))) == 3
    assert run(config=replace(CONFIG, columns=ColumnsConfig(vog_normalize="none"))) == 3  # the network is the same


def test_scores_of_two_networks_are_never_mixed(tmp_path, monkeypatch):
    score(FILES, CONFIG, [0], GROUPS, cache_dir=tmp_path, only=["loss"])
    next(tmp_path.glob("run-*")).unlink()
    monkeypatch.setattr(seeds, "train", lambda windows, config, seed, *rest: train(windows, config, 9, *rest))
    table = score(FILES, CONFIG, [0], GROUPS, cache_dir=tmp_path, only=["loss", "el2n"])
    expected = score(FILES, CONFIG, [9], GROUPS, only=["loss", "el2n"])
    assert table.columns["loss"] == pytest.approx(expected.columns["loss"])
    assert table.columns["el2n"] == pytest.approx(expected.columns["el2n"])


def test_a_damaged_cache_is_made_again(tmp_path, trainings):
    first = score(FILES, CONFIG, [0], GROUPS, cache_dir=tmp_path, only=["loss"])
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:-10])
    again = score(FILES, CONFIG, [0], GROUPS, cache_dir=tmp_path, only=["loss"])
    assert trainings == [0, 0]
    assert (again.columns["loss"] == first.columns["loss"]).all()


def test_a_probe_of_ones_own_serves_every_seed():
    table = score(FILES, CONFIG, [0], GROUPS, probe=PROBE, only=["influence", "dealrec"])
    assert np.isfinite(table.columns["influence"]).all()
    assert table.about["probe"]["num_files"] == 3
    assert table.about["seeds"]["0"]["held_out"] == []
    assert table.about["seeds"]["0"]["probe_loss"] > 0


@pytest.mark.parametrize(
    ("probe", "groups", "message"),
    [
        ({"f00": midi(77)}, {}, "file 'f00'"),
        ({"p": midi(77)}, {"p": "piece 0"}, "group 'piece 0'"),
        ({"p": FILES["f03"]}, {}, "another name"),
    ],
    ids=["same id", "same composition", "same content"],
)
def test_a_probe_that_was_trained_on_is_refused(probe, groups, message):
    with pytest.raises(UsageError, match=message):
        score(FILES, CONFIG, [0], {**GROUPS, **groups}, probe=probe)


def test_what_cannot_be_is_said_before_anything_is_trained(trainings, tmp_path):
    with pytest.raises(UsageError, match="'el3n' is no score"):
        score(FILES, CONFIG, only=["el3n"])
    with pytest.raises(UsageError, match="influence needs a probe"):
        score(FILES, CONFIG, [0], GROUPS, only=["influence"])
    with pytest.raises(ConfigInvalid, match="seeds"):
        score(FILES, CONFIG, [1, 1])
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetNotWritable):
        score(FILES, CONFIG, cache_dir=tmp_path / "file" / "cache")
    assert trainings == []


def test_without_a_probe_each_seed_validates_on_pieces_of_its_own():
    about = score(FILES, CONFIG, [0, 1], GROUPS, only=["loss"]).about["seeds"]
    held = [set(about[seed]["held_out"]) for seed in "01"]
    assert held[0]
    assert held[1]
    assert not held[0] & held[1]
    for mine in held:
        assert not {GROUPS[name] for name in mine} & {GROUPS[name] for name in set(FILES) - mine}
    assert all(line["validation_loss"] > 0 for seed in "01" for line in about[seed]["history"])


def test_without_a_probe_all_is_scored_but_influence_and_that_is_said():
    table = score(FILES, CONFIG, [0], GROUPS)
    assert set(COLUMNS) - set(table.columns) == {"influence", "dealrec"}
    assert [line for line in table.about["warnings"] if line.startswith("influence is left out")]


def test_scores_from_before_the_first_epoch_come_with_a_warning():
    config = replace(CONFIG, columns=ColumnsConfig(score_epoch=0.0))
    config = replace(config, surrogate=replace(config.surrogate, checkpoint_epochs=(0.0, 0.5, 1.0)))

    def warnings(epoch: float) -> list[str]:
        asked = replace(config, columns=ColumnsConfig(score_epoch=epoch))
        return score(FILES, asked, [0], GROUPS, only=["el2n"]).about["warnings"]

    assert "untrained" in warnings(0.0)[0]
    assert "before 1" in warnings(0.5)[0]
    assert warnings(1.0) == []


def test_a_file_of_random_notes_scores_as_harder_than_scales():
    def scale(start: int) -> bytes:
        return midi_bytes(Performance([Note(0.25 * i, 0.25 * i + 0.2, start + i % 8, 64) for i in range(60)]))

    files = {f"scale {start}": scale(start) for start in range(40, 60)} | {"noise": midi(0, 60)}
    config = replace(CONFIG, surrogate=replace(CONFIG.surrogate, num_steps=150, learning_rate=1e-2))
    table = score(files, config, [0], only=["loss", "el2n", "pvi", "el2n_pitch", "el2n_time"])
    for name in ("loss", "el2n", "pvi", "el2n_pitch"):
        assert table.ids[int(table.columns[name].argmax())] == "noise", name
    assert table.columns["el2n_time"].max() < 0.5 * table.columns["el2n_pitch"].max()


def test_a_users_own_model_is_scored_without_a_surrogate():
    windows = make_windows(FILES, CONFIG.tokens, GROUPS)
    torch.manual_seed(0)
    run = train(windows, CONFIG.surrogate, 0, held_out=())
    task = Task([Snapshot(run.model, 2.0, 0.0)], windows.examples(), len(windows.vocabulary))
    columns, warnings = columns_of(task, ["el2n", "vog", "effort"])
    assert set(columns) == {"el2n", "effort"}
    assert columns["effort"] == pytest.approx(scores.grand_full(run.model, windows.examples()))
    assert warnings == ["vog is left out: there is one checkpoint only."]
