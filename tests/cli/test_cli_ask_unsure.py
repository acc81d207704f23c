"""`--ask-unsure` and `--fit`: a model is asked where the learned scorer is unsure; weights join the two."""

from __future__ import annotations

import csv
import json

import pytest
from test_cli_screen import run, server, write  # noqa: F401

from aria_data.errors import UsageError
from aria_data.screen import ScreenConfig, probability_of_solo_piano, score_titles
from aria_data.screen.digits import Combination, read_combination
from flows.cli.screen import evaluate_screen_command, screen_command
from flows.tools.title_lists import candidate_of, read_rows

TITLES = [
    "Solo piano", "Violin sonata", "Mystery no. 7", "Piano solo in C", "String quartet", "Elegy", "For Anna",
    "Piano sonata no. 2", "Flute duo", "Evening",
]  # fmt: skip
LLM = ("--scorer", "llm", "--input-price", "0", "--output-price", "0")


@pytest.fixture
def titles(tmp_path):
    return write(tmp_path / "a.csv", "title\n" + "\n".join(TITLES) + "\n")


@pytest.fixture
def labels(tmp_path):
    path = tmp_path / "labels.csv"
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("title", "label"), *((title, int("iano" in title)) for title in TITLES)])
    return path


def unsure(path, most: int) -> set[str]:
    """The titles whose probability is nearest to the least that a crawl keeps, 0.40."""
    candidates = [candidate_of(number, row) for number, row in enumerate(read_rows(path))]
    ordered = sorted(candidates, key=lambda each: abs(probability_of_solo_piano(each, ScreenConfig()) - 0.40))
    return {candidate.title for candidate in ordered[:most]}


def test_a_model_is_asked_only_about_what_the_learned_scorer_is_least_sure_of(titles, tmp_path, server):  # noqa: F811
    out = tmp_path / "scores.jsonl"
    result = run(screen_command, "--input", titles, "--output", out, *LLM, "--ask-unsure", "3")
    assert result.exit_code == 0
    assert "7 titles are left to the learned scorer, 3 that it is unsure of are asked" in result.stderr
    assert {item["title"] for item in server.items_asked()} == unsure(titles, 3)
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [row["title"] for row in rows] == TITLES
    by_learning = score_titles(TITLES)
    for row, learned in zip(rows, by_learning, strict=True):
        if row["title"] in unsure(titles, 3):
            assert row["scorer"] == "test-model"
        else:
            assert (row["scorer"], row["relevance_score"]) == ("learned", learned.relevance_score)


def test_the_least_sure_are_asked_first_and_more_later_cost_only_what_is_new(titles, tmp_path, server):  # noqa: F811
    arguments = ("--input", titles, "--output", tmp_path / "scores.jsonl", *LLM)
    run(screen_command, *arguments, "--ask-unsure", "2")
    assert {item["title"] for item in server.items_asked()} == unsure(titles, 2)
    run(screen_command, *arguments, "--ask-unsure", "10")
    assert len(server.bodies) == len(TITLES)
    forecast = run(screen_command, *arguments, "--ask-unsure", "0", "--forecast").output
    assert forecast.startswith("0 titles")


@pytest.mark.parametrize("option", [("--ask-unsure", "3"), ("--fit", "w.json")])
def test_the_options_of_a_model_are_refused_without_one(labels, option):
    with pytest.raises(UsageError, match="--scorer llm"):
        run(evaluate_screen_command, "--labels", labels, *option)


def test_weights_are_fitted_on_labels_written_and_used(labels, tmp_path, server):  # noqa: F811
    path = tmp_path / "weights.json"
    result = run(evaluate_screen_command, "--labels", labels, *LLM, "--fit", path, "--json")
    assert result.exit_code == 0
    assert len(server.bodies) == len(TITLES)  # the fit asks nothing that the evaluation has asked
    said = json.loads(result.stdout)["fit"]
    assert said["titles"] == len(TITLES)
    assert set(said["log_loss"]) == {"learned", "unfitted", "fitted"}
    stored = json.loads(path.read_text(encoding="utf-8"))
    assert stored["fitted"]["model"] == "test-model"
    assert read_combination(path) != Combination()
    used = run(evaluate_screen_command, "--labels", labels, *LLM, "--set", f"llm.combination={path}", "--json")
    assert used.exit_code == 0
    assert len(server.bodies) == len(TITLES)
    assert "llm.combination=" in run(evaluate_screen_command, "--labels", labels, *LLM, "--fit", path).stdout


@pytest.mark.parametrize(
    ("options", "advice"),
    [(("--set", "llm.scoring=json"), "llm.scoring=digits"), (("--ask-unsure", "2"), "leave --ask-unsure")],
)
def test_a_fit_that_cannot_be_says_what_to_do(labels, tmp_path, server, options, advice):  # noqa: F811
    with pytest.raises(UsageError, match=advice):
        run(evaluate_screen_command, "--labels", labels, *LLM, *options, "--fit", tmp_path / "w.json")
    assert server.bodies == []
    assert not (tmp_path / "w.json").exists()


def test_a_fit_without_probabilities_writes_nothing(labels, tmp_path, server):  # noqa: F811
    server.has_probabilities = False
    with pytest.raises(UsageError, match=r"w\.json: not written"):
        run(evaluate_screen_command, "--labels", labels, *LLM, "--fit", tmp_path / "w.json")
    assert not (tmp_path / "w.json").exists()
