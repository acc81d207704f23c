"""The command that compares: subsets of a dataset, or methods on a folder; what it refuses and leaves behind."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from click.testing import CliRunner
from datasets_made import QUICK, SOME, make_dataset, performance

from aria_data.errors import ConfigInvalid, DatasetLocked, DatasetNotWritable, UsageError
from aria_data.pruning import Budget, SelectConfig
from aria_data.storage import exclusive_lock
from flows.cli.command import cli
from flows.compare_subsets import Method, pool_of_dataset, pool_of_folder
from flows.select_subset import SelectRequest, score_dataset, select_subset

FAST = ("--steps", "2", "--seeds", "1", "--score-steps", "2", "--device", "cpu")


@pytest.fixture(autouse=True)
def one_core(monkeypatch):
    """Worker processes cost seconds each to start; tests/test_subset_compare.py has them."""
    monkeypatch.setattr(os, "cpu_count", lambda: 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("pieces")
    for number in range(24):
        path = root / f"piece {number // 3}" / f"take {number % 3}.mid"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(performance(number))
    return root


def run(*arguments):
    return CliRunner().invoke(cli, [str(one) for one in arguments])


def test_methods_are_tried_on_a_folder_in_which_a_piece_is_a_folder(folder, tmp_path):
    out = tmp_path / "report"
    said = run("compare", folder, "--methods", "group_random,loss:top", "--keep", "0.5,0.3", "--out", out, *FAST)
    assert said.exit_code == 0, said.output
    made = {path.name for path in out.glob("[!.]*")}
    assert made == {"report.md", "losses.csv", "comparison.json", "loss.svg", "cache"}
    names = {row["name"] for row in json.loads((out / "comparison.json").read_text())["rows"]}
    assert names >= {"group_random:0.5", "group_random:0.3", "loss:top:0.5", "loss:top:0.3", "all files"}
    assert "no difference" in said.output


def test_a_choice_made_elsewhere_is_compared_by_its_list(folder, tmp_path):
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.mid"))
    mine = tmp_path / "mine.txt"
    mine.write_text("# ours\n" + "".join(f"{name}\t{1 + number % 2}\n" for number, name in enumerate(names[:12])))
    said = run("compare", folder, "--list", f"mine={mine}", "--out", tmp_path / "out", *FAST)
    assert said.exit_code == 0, said.output
    rows = {row["name"]: row for row in json.loads((tmp_path / "out" / "comparison.json").read_text())["rows"]}
    assert rows["mine"]["effective_num_files"] < rows["mine"]["num_files"] <= 12


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("nowhere.mid\n", "mine.txt:1: 'nowhere.mid' is not among the files"),
        ("piece 0/take 0.mid\npiece 0/take 0.mid\n", "mine.txt:2: 'piece 0/take 0.mid' comes twice"),
        ("piece 0/take 0.mid\tmuch\n", "mine.txt:1: the weight 'much' is no number"),
        ("# nothing\n", "names no file"),
    ],
)
def test_a_list_that_cannot_be_meant_is_refused_with_its_line(folder, tmp_path, content, words):
    (tmp_path / "mine.txt").write_text(content)
    said = run("compare", folder, "--list", f"mine={tmp_path / 'mine.txt'}", "--out", tmp_path / "out", *FAST)
    assert words in str(said.exception)
    assert "write NAME=FILE" in str(run("compare", folder, "--list", "mine", "--out", tmp_path, *FAST).exception)


def test_a_comparison_that_is_done_is_shown_again_without_training(folder, tmp_path, monkeypatch):
    from aria_data.compare import training_runs

    arguments = ("compare", folder, "--methods", "group_random", "--keep", "0.5", "--out", tmp_path, *FAST, "--json")
    first = json.loads(run(*arguments).stdout)
    monkeypatch.setattr(training_runs, "train", lambda *args, **named: pytest.fail("trained again"))
    assert json.loads(run(*arguments).stdout)["rows"] == first["rows"]


def test_named_subsets_of_a_dataset_are_compared_with_their_weights_on_its_test_rows(tmp_path):
    root = make_dataset(tmp_path / "dataset", 60)
    score_dataset(root, SOME, QUICK)
    config = SelectConfig("calibrated", Budget(fraction=0.5), alpha=0.5, weights_mean_one=True)
    select_subset(root, SelectRequest("half", "loss", config=config))
    pool = pool_of_dataset(root, None, ["half"])
    assert len(set(pool.subsets["half"].weights)) > 1
    assert pool.test is not None
    assert all(int(key[6:8]) >= 26 for key in pool.test)
    said = run("compare", root, "--subsets", "half", "--out", tmp_path / "report", *FAST)
    assert said.exit_code == 0, said.output
    assert "half" in said.output


def test_a_broken_file_is_left_out_and_said(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "pieces")
    (tmp_path / "pieces" / "piece 0" / "broken.mid").write_bytes(b"MThd nonsense")
    said = run("compare", tmp_path / "pieces", "--methods", "group_random", "--out", tmp_path / "report", *FAST)
    assert said.exit_code == 0, said.output
    assert "1 files cannot be read" in said.output + said.stderr
    assert "left out: piece 0/broken.mid" in said.stderr


def test_scores_beside_performances_are_said_and_left_out_by_a_pattern(folder, tmp_path):
    pieces = tmp_path / "pieces"
    shutil.copytree(folder, pieces)
    num_files = len(pool_of_folder(pieces).files)
    for piece in ("piece 0", "piece 1"):
        shutil.copy(pieces / "piece 0" / "take 0.mid", pieces / piece / "midi_score.mid")
    said: list[str] = []
    assert len(pool_of_folder(pieces, announce=said.append).files) == num_files + 2
    assert len(said) == 1
    assert said[0].startswith(f"2 of {num_files + 2} files are named as scores, such as piece 0/midi_score.mid;")
    assert "--exclude 'midi_score.mid'" in said[0]  # what it advises is what follows
    said.clear()
    assert len(pool_of_folder(pieces, ["midi_score.mid"], said.append).files) == num_files
    assert said == [f"left out by --exclude midi_score.mid: 2 of {num_files + 2} files"]
    assert len(pool_of_folder(pieces, ["piece 0/*score*", "take 0.mid"]).files) < num_files
    run_with = run(
        "compare", pieces, "--methods", "group_random", "--exclude", "*score*", "--out", tmp_path / "o", *FAST
    )
    assert run_with.exit_code == 0, run_with.output
    assert "left out by --exclude *score*: 2 of" in run_with.stderr
    assert "score" not in (tmp_path / "o" / "losses.csv").read_text()


def test_a_pattern_that_names_no_file_or_every_file_is_refused(folder, tmp_path):
    for pattern, words in (("nothing*", "--exclude nothing*: no file that is left"), ("*", "--exclude leaves no file")):
        for command in (("compare", folder, "--methods", "random"), ("check-scores", folder)):
            said = run(*command, "--exclude", pattern, "--out", tmp_path / "out")
            assert words in str(said.exception)
    root = make_dataset(tmp_path / "dataset", 4)
    said = run("compare", root, "--methods", "random", "--exclude", "*", "--out", tmp_path / "out")
    assert "--exclude is for a folder of MIDI files" in str(said.exception)


def test_a_name_that_is_no_utf_8_is_only_a_name(folder, tmp_path):
    pieces = tmp_path / "pieces"
    shutil.copytree(folder, pieces)
    os.rename(os.fsencode(pieces / "piece 1"), os.fsencode(pieces) + b"/Bach \xff")
    assert "Bach \\xff/take 0.mid" in pool_of_folder(pieces).files
    said = run("compare", pieces, "--methods", "group_random", "--out", tmp_path / "report", *FAST)
    assert said.exit_code == 0, said.output


def test_two_comparisons_do_not_work_in_one_folder(folder, tmp_path):
    with exclusive_lock(tmp_path / ".lock"):
        said = run("compare", folder, "--methods", "group_random", "--out", tmp_path, *FAST)
    assert isinstance(said.exception, DatasetLocked)


def test_a_folder_that_cannot_be_written_is_one_line(folder, tmp_path):
    (tmp_path / "file").write_text("")
    said = run("compare", folder, "--methods", "group_random", "--out", tmp_path / "file", *FAST)
    assert isinstance(said.exception, DatasetNotWritable)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "topp",
        "top",
        "el2n:nonsense",
        "el2n:top:0.1",
        "el2n:calibrated:x",
        "a:b:c:d",
        "el3n:top",
        "influence:top",
        "loss:calibrated:7",
        "loss:window:7",
        "loss:middle:0.1",
        "middle",
    ],
)
def test_what_is_no_method_is_refused_with_the_methods_there_are(text):
    with pytest.raises((UsageError, ConfigInvalid)) as raised:
        Method.parse(text)
    assert "\n" not in str(raised.value)


def test_a_method_is_read_with_its_score_and_share():
    assert Method.parse("el2n:calibrated:0.25") == Method("el2n:calibrated:0.25", "calibrated", "el2n", 0.25)
    assert Method.parse("group_random") == Method("group_random", "group_random")
    assert Method.parse("el2n:calibrated:0.25").config(0.3).alpha == 0.25
    assert Method.parse("loss:window:0.3").config(0.3).offset == 0.3
    assert Method.parse("loss:window").num_draws == Method.parse("longest").num_draws == 1
    assert Method.parse("group_random").num_draws == 3


def test_what_cannot_be_compared_is_said_in_one_line(folder, tmp_path):
    for arguments, words in [
        (("compare", folder, "--out", tmp_path), "Say what to compare"),
        (("compare", folder, "--subsets", "a", "--out", tmp_path), "is no dataset, so it has no --subsets"),
        (("compare", folder, "--methods", "random", "--keep", "2", "--out", tmp_path), "--keep 2: write shares"),
        (("compare", folder, "--methods", "nope:top", "--out", tmp_path, *FAST), "'nope' is no score"),
    ]:
        said = run(*arguments)
        assert words in str(said.exception), arguments
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no dataset and no .mid files"):
        pool_of_folder(tmp_path / "empty")
    root = make_dataset(tmp_path / "dataset", 4)
    with pytest.raises(UsageError, match="version 1 has no such subset"):
        pool_of_dataset(root, None, ["nope"])
