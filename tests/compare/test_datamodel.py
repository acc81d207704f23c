"""Attributions are checked against training: the score, its interval, its ceiling, and what looks at no probe."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from datasets_made import performance
from scipy.stats import spearmanr

from aria_data.compare import attribution_check
from aria_data.compare.attribution import KINDS, attributions
from aria_data.compare.attribution_check import CheckConfig, check
from aria_data.compare.datamodel import Retrained, ceiling_of, datamodelling_scores, foretold
from aria_data.errors import ConfigInvalid
from aria_data.pruning.influence import InfluenceConfig, influence
from aria_data.pruning.retrieval import retrieval_of
from aria_data.surrogate import SurrogateConfig, make_windows, train
from flows.cli.command import cli

NUM_FILES, NUM_TESTED, NUM_PARTS = 40, 12, 30


@pytest.fixture(scope="module")
def linear_world():
    """Losses that are sums of the files' true effects, with noise: what the score supposes."""
    rng = np.random.default_rng(0)
    effects = rng.normal(size=(NUM_FILES, NUM_TESTED))
    is_in = np.stack([rng.permutation(NUM_FILES) < NUM_FILES // 2 for _ in range(NUM_PARTS)])
    losses = -(is_in @ effects) + rng.normal(scale=0.5, size=(2, NUM_PARTS, NUM_TESTED))
    return effects, Retrained(is_in, losses), np.repeat(np.arange(6), 2)


def test_the_score_is_spearmans_rho_of_foretold_and_measured_as_dattri_has_it(linear_world):
    effects, retrained, _ = linear_world
    found = datamodelling_scores(effects, retrained.is_in, retrained.mean)
    for tested in range(NUM_TESTED):
        foretold_sums = [effects[of_part, tested].sum() for of_part in retrained.is_in]
        assert found[tested] == pytest.approx(spearmanr(foretold_sums, -retrained.mean[:, tested]).statistic)


def test_true_effects_score_near_the_ceiling_and_lots_near_nothing(linear_world):
    effects, retrained, compositions = linear_world
    true = foretold("true", effects, retrained, compositions)
    lots = foretold("lots", np.random.default_rng(1).normal(size=effects.shape), retrained, compositions)
    assert true.low < true.score < true.high
    assert true.score == pytest.approx(ceiling_of(retrained), abs=0.03)
    assert lots.low < 0 < lots.high
    assert ceiling_of(Retrained(retrained.is_in, retrained.losses[:1])) is None


def test_what_does_not_look_at_what_is_tested_on_is_known(linear_world):
    effects, retrained, compositions = linear_world
    same = np.repeat(effects[:, :1], NUM_TESTED, axis=1)
    assert foretold("same", same, retrained, compositions).retrieval is None
    of_files_alone = retrieval_of(same + 1e-3 * effects)
    assert of_files_alone.overlap == 1.0
    assert of_files_alone.is_same_for_all
    of_probes = retrieval_of(effects)
    assert of_probes.overlap < 0.3
    assert not of_probes.is_same_for_all
    assert of_probes.by_chance == pytest.approx(0.1)
    assert retrieval_of(effects[:8]) is None
    assert retrieval_of(effects[:, :1]) is None


NETWORK = SurrogateConfig(width=16, layers=1, heads=2, batch_windows=8, num_checkpoints=2, device="cpu")
QUICK = CheckConfig(num_parts=8, num_steps=3, surrogate=NETWORK)


@pytest.fixture(scope="module")
def pieces():
    names = [f"p{number // 2:02d}-{number % 2}" for number in range(48)]
    return {name: performance(number) for number, name in enumerate(names)}


def test_a_check_scores_every_kind_beside_controls_and_trains_nothing_twice(pieces, tmp_path, monkeypatch):
    windows = make_windows(pieces, groups={name: name[:3] for name in pieces})
    found = check(windows, QUICK, cache_dir=tmp_path)
    assert [row.name for row in found.rows] == [*KINDS, "likeness of notes", "loss of the file", "by lot"]
    assert all(-1 <= row.low <= row.score <= row.high <= 1 for row in found.rows)
    assert [row.retrieval is None for row in found.rows] == [False] * 5 + [True] * 2
    monkeypatch.setattr(attribution_check, "train", lambda *args, **named: pytest.fail("trained again"))
    monkeypatch.setattr("aria_data.compare.training_runs.train", lambda *args, **named: pytest.fail("trained again"))
    assert check(windows, QUICK, cache_dir=tmp_path).rows == found.rows


def test_the_command_writes_what_it_found(pieces, tmp_path, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    for name, content in pieces.items():
        path = tmp_path / "midi" / name[:3] / f"{name}.mid"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    fast = ("--parts", "8", "--steps", "2", "--seeds", "1", "--models", "1", "--device", "cpu")
    said = CliRunner().invoke(cli, ["check-scores", str(tmp_path / "midi"), "--out", str(tmp_path / "out"), *fast])
    assert said.exit_code == 0, said.output
    assert "gradient_cosine" in said.output
    rows = json.loads((tmp_path / "out" / "scores.json").read_text())["rows"]
    assert {row["name"] for row in rows} > set(KINDS)
    assert "Spearman's rho" in (tmp_path / "out" / "scores.md").read_text()


def test_too_few_parts_are_refused():
    with pytest.raises(ConfigInvalid, match="5 parts give no ranks to compare; 8 do"):
        CheckConfig(num_parts=5)


def test_attributions_average_over_targets_to_the_column_of_a_score_table(pieces):
    windows = make_windows(pieces)
    run = train(windows, replace(NETWORK, num_steps=4), 0, held_out=())
    examples, targets = windows.examples(range(30)), windows.examples(range(30, 40))
    exact = InfluenceConfig(cg_tolerance=1e-6, cg_iterations=500)
    found = attributions([run.model], [0.5], examples, targets, exact)
    assert set(found) == set(KINDS)
    assert all(values.shape == (30, 10) for values in found.values())
    column = influence(run.model, examples, targets, exact).values
    assert found["influence"].mean(axis=1) == pytest.approx(column, rel=1e-3, abs=1e-6 * np.abs(column).max())
    assert found["tracin"] == pytest.approx(0.5 * found["gradient_dot"])
    assert np.abs(found["gradient_cosine"]).max() <= 1 + 1e-6
    assert (np.sign(found["gradient_cosine"]) == np.sign(found["gradient_dot"])).all()
