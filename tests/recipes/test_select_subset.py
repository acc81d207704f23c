"""Files are scored once and selected from many times; a selection is a named subset with weights."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from click.testing import CliRunner
from datasets_made import QUICK, SOME, make_dataset, performance
from fakes import manifest_row

import aria_data
from aria_data.errors import ConfigInvalid, DatasetCorrupt, DatasetNotFound, UsageError
from aria_data.manifest import Manifest
from aria_data.pruning import Budget, ScoreTable, SelectConfig
from aria_data.pruning.selection import METHODS
from aria_data.release import Subsets
from flows.cli import select
from flows.cli.command import cli
from flows.select_subset import ScoreRequest, SelectRequest, load_scores, score_dataset, select_subset


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    root = make_dataset(tmp_path_factory.mktemp("scored"))
    score_dataset(root, SOME, QUICK)
    return root


def test_training_files_are_scored_with_where_the_scores_come_from(scored):
    name, table = load_scores(scored)
    assert name == "v1"
    assert len(table) == 26  # the test split is not among them
    assert set(table.columns) == {"loss", "el2n", "random_0", "random_1", "random_2"}
    assert table.about["manifest_version"] == 1
    assert table.about["manifest_content_sha256"] == Manifest(scored).versions()[0].content_sha256
    groups = dict(zip(table.ids, table.group, strict=True))
    assert groups["local-02_0"] == groups["local-03_0"] == "chopin:op1"
    assert groups["local-06_0"] == "recording-6"  # its composition is not known


def test_scoring_again_trains_nothing_and_gives_the_same(scored, monkeypatch):
    from aria_data.pruning import seeds

    _, before = load_scores(scored)
    monkeypatch.setattr(seeds, "train", lambda *args: pytest.fail("trained again"))
    _, after = score_dataset(scored, SOME, QUICK)
    assert all(np.array_equal(after.columns[key], values) for key, values in before.columns.items())


def test_a_selection_is_a_column_with_weights_that_a_loader_gets(tmp_path):
    root = make_dataset(tmp_path)
    score_dataset(root, SOME, QUICK)
    config = SelectConfig("calibrated", Budget(fraction=0.4), alpha=0.5, weights_mean_one=True)
    version, selection = select_subset(root, SelectRequest("el2n_40", "el2n", config=config))
    assert (version, len(selection.ids)) == (2, 10)
    chosen = aria_data.Dataset(root).select("in_el2n_40")
    assert [row["segment_id"] for row, _ in chosen] == list(selection.ids)
    weights = chosen.weights("weight_el2n_40")
    assert weights == pytest.approx(selection.weights)
    assert len(set(np.round(weights, 6))) == 2  # those by score, and those that stand for the others
    note = Manifest(root).versions()[-1].note
    assert note == "subset el2n_40: el2n calibrated, fraction 0.4"


def test_a_later_version_keeps_the_selection_and_leaves_what_came_later_out(tmp_path):
    root = make_dataset(tmp_path)
    score_dataset(root, SOME, QUICK)
    _, selection = select_subset(root, SelectRequest("some", "loss", config=SelectConfig("top", Budget(files=3))))
    rows = Subsets(root).apply([*Manifest(root).rows(), manifest_row("local-99_0")], lambda limits: set())
    assert {row["segment_id"] for row in rows if row["in_some"]} == set(selection.ids)


def test_what_was_removed_since_is_not_selected(tmp_path):
    root = make_dataset(tmp_path)
    score_dataset(root, SOME, QUICK)
    rows = [row | ({"removed_in": 2} if row["segment_id"] == "local-01_0" else {}) for row in Manifest(root).rows()]
    Manifest(root).commit(rows)
    config = SelectConfig("random", Budget(fraction=1.0))
    _, selection = select_subset(root, SelectRequest("rest", config=config))
    assert "local-01_0" not in selection.ids
    assert len(selection.ids) == len(selection.pool) == 25
    assert "1 scored files were removed or excluded since; they are not chosen from." in selection.warnings


def test_what_a_list_excludes_later_leaves_a_selection_and_is_not_selected_again(tmp_path):
    root = make_dataset(tmp_path)
    score_dataset(root, SOME, QUICK)
    _, selection = select_subset(root, SelectRequest("half", "loss", config=SelectConfig("top", Budget(files=13))))
    gone = selection.ids[0]
    rows = [row | ({"split": "excluded"} if row["segment_id"] == gone else {}) for row in Manifest(root).rows()]
    Manifest(root).commit(Subsets(root).apply(rows, lambda limits: set()))
    assert aria_data.Dataset(root).select(f"in_half and segment_id = '{gone}'").table.num_rows == 0
    _, again = select_subset(root, SelectRequest("more", config=SelectConfig("random", Budget(fraction=1.0))))
    assert gone not in again.ids


def test_one_more_score_joins_those_of_the_same_models(tmp_path):
    root = make_dataset(tmp_path)
    _, first = score_dataset(root, ScoreRequest(seeds=2, only=("el2n",)), QUICK)
    score_dataset(root, ScoreRequest(seeds=2, only=("loss",)), QUICK)
    _, both = load_scores(root)
    assert np.array_equal(both.columns["el2n"], first.columns["el2n"])
    assert both.about["directions"].keys() == {"el2n", "loss"}
    score_dataset(root, ScoreRequest(seeds=1, only=("loss",)), QUICK)
    assert "el2n" not in load_scores(root)[1].columns  # of other seeds: not to be mixed


def test_a_table_of_other_files_and_an_empty_selection_are_refused(tmp_path):
    root = make_dataset(tmp_path, 6)
    ScoreTable.of(["a.mid", "b.mid"], {"loss": [1.0, 2.0]}).save(root / "scores" / "mine.parquet")
    with pytest.raises(UsageError, match="none of the 2 files of the score table mine is in the newest version"):
        select_subset(root, SelectRequest("x", "loss"))
    ScoreTable.of(["local-00_0", "b"], {"loss": [1.0, 2.0]}).save(root / "scores" / "mine.parquet")
    with pytest.raises(UsageError, match="Nothing is left to keep of 1 files"):
        select_subset(root, SelectRequest("x", "loss", config=SelectConfig("top", Budget(files=0))))
    assert Manifest(root).version() == 1


def test_influence_without_enough_files_to_measure_on_is_refused_before_anything_is_trained(tmp_path):
    with pytest.raises(UsageError, match="measured on at least 20 files of the split validation; 0 are there"):
        score_dataset(make_dataset(tmp_path, 6), ScoreRequest(only=("influence",)), QUICK)


@pytest.mark.parametrize(
    ("request_of", "words"),
    [
        (lambda: SelectRequest("x", "", config=SelectConfig("top")), "top goes by a score. Say which: --score el2n"),
        (
            lambda: SelectRequest("x", "nonsense"),
            "score: 'nonsense' is not in the table v1. It has el2n, loss, random_0",
        ),
        (lambda: SelectRequest("x", "loss", table="v9"), "has no score table v9. Known: v1"),
        (lambda: SelectRequest("no-name", "loss"), "cannot be a column"),
        (lambda: SelectConfig("top", min_score=math.nan), "min_score: nan is not a finite number"),
        (lambda: SelectConfig("top", min_score=5.0, max_score=1.0), "min_score 5.0 is above max_score 1.0"),
        (lambda: ScoreRequest(only=("el3n",)), "'el3n' is no score. There are loss, el2n"),
        (lambda: ScoreRequest(table="../x"), "is not of small letters"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(scored, request_of, words):
    with pytest.raises((UsageError, ConfigInvalid, DatasetNotFound), match=words) as raised:
        select_subset(scored, request_of())
    assert "\n" not in str(raised.value)
    assert Manifest(scored).version() == 1


def test_a_dataset_without_scores_says_how_to_make_them(tmp_path):
    root = make_dataset(tmp_path, 3)
    with pytest.raises(DatasetNotFound, match="has no score table yet. Run `aria-data score"):
        select_subset(root, SelectRequest("x", "loss"))
    with pytest.raises(UsageError, match="0 files fit"):
        score_dataset(root, ScoreRequest(where="num_notes > 1e6"), QUICK)


def test_a_method_that_needs_no_score_needs_no_score_table(tmp_path):
    root = make_dataset(tmp_path, 8)
    rows = Manifest(root).rows()
    Manifest(root).commit([row | {"num_notes": 100 + number % 5} for number, row in enumerate(rows)])
    version, selection = select_subset(root, SelectRequest("long", config=SelectConfig("longest", Budget(files=1))))
    assert selection.ids == (rows[4]["segment_id"],)
    assert len(selection.pool) == len(rows)
    assert [row["segment_id"] for row in Manifest(root).rows(version) if row["in_long"]] == list(selection.ids)


def run(*arguments: str):
    return CliRunner().invoke(cli, list(arguments))


def test_the_commands_score_and_select(tmp_path):
    root = str(make_dataset(tmp_path))
    said = run("score", root, "--only", "loss", "--seeds", "1", "--steps", "3", "--device", "cpu", "--json")
    assert json.loads(said.stdout)["num_files"] == 26
    said = run("select", root, "--name", "third", "--keep", "0.34", "--json", "--plots", f"{root}/plots")
    assert list(tmp_path.rglob("plots/selected_groups.svg"))
    assert json.loads(said.stdout)["num_files"] == 8
    said = run("select", root, "--name", "hard", "--score", "loss", "--calibrate", "0.1", "--keep", "0.34", "--reasons")
    assert "in_hard holds 8 of 26 scored files of version 3" in said.output
    assert "local-00_0: left: " in said.output or "local-00_0: kept: " in said.output
    listed = run("subsets", root).output
    assert "in_hard: 8 files, a selection" in listed
    assert "in_third: 8 files, a selection" in listed
    refused = run("select", root, "--name", "x", "--method", "top", "--calibrate", "0.5")
    assert "--calibrate is --method calibrated, and not top" in str(refused.exception)


def test_the_command_knows_the_methods_of_the_library():
    assert set(select.METHODS) == set(METHODS)


def test_a_path_that_leaves_the_dataset_is_not_followed(tmp_path):
    root = make_dataset(tmp_path / "dataset", 4)
    (tmp_path / "secret.mid").write_bytes(performance(1))
    rows = [row | {"midi_path": "../secret.mid"} for row in Manifest(root).rows()]
    Manifest(root).commit(rows)
    with pytest.raises(DatasetCorrupt, match="no path below the dataset"):
        score_dataset(root, SOME, QUICK)
