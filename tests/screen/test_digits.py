"""Scoring by the probabilities of the digits 1 to 5: the real client, a local server that gives some or none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from answers import candidate, judge
from llm_server import LlmServer

from aria_data.errors import UsageError
from aria_data.llm import Llm, LlmConfig
from aria_data.screen import ScreenConfig, score_titles, screen_many
from aria_data.screen.digits import Combination, fit, read_combination, unsure_first, write_combination
from aria_data.screen.screening import how_asked

TITLES = ["Chopin: Nocturne, solo piano", "Violin sonata", "track01", "track02", "track03"]
CONFIG = LlmConfig(input_price=0.0, output_price=0.0, first_wait_s=0.01)


@pytest.fixture
def server():
    with LlmServer(judge).running() as running:
        yield running


def screened(server, folder, **changes) -> tuple[list[int], list[str], list[str]]:
    said: list[str] = []
    with Llm(replace(CONFIG, **changes), folder / "ledger.sqlite", server.environ) as llm:
        candidates = [candidate(number, title) for number, title in enumerate(TITLES)]
        found = screen_many(candidates, ScreenConfig(scorer="llm"), llm, announce=said.append)
        by_id = {each.candidate_id: screening for each, screening in found}
    in_order = [by_id[f"c{number}"] for number in range(len(TITLES))]
    return [each.relevance_score for each in in_order], [each.reason for each in in_order], said


def test_a_model_at_home_is_asked_for_one_digit_of_one_title(server, tmp_path):
    scores, reasons, said = screened(server, tmp_path)
    assert scores == [each.relevance_score for each in score_titles(TITLES)]  # until weights are fitted
    assert "4.65 of 5" in reasons[0]
    assert len(said) == 1
    assert "llm.combination=FILE" in said[0]
    assert {(body["max_tokens"], body["top_logprobs"]) for body in server.bodies} == {(1, 20)}
    assert len({body["messages"][0]["content"] for body in server.bodies}) == 1  # what comes first is read once


def test_fitted_weights_let_the_digits_count_and_nothing_is_said_of_them(server, tmp_path):
    write_combination(tmp_path / "c.json", Combination(0.0, 0.0, 3.0), {})
    scores, _, said = screened(server, tmp_path, combination=str(tmp_path / "c.json"))
    assert scores == [5, 1, 4, 4, 4]  # the digits alone: 3 of 5 is as likely as not
    assert said == []


def test_where_a_server_gives_no_probabilities_the_answers_are_asked_for_in_json(server, tmp_path):
    server.has_probabilities = False
    scores, _, said = screened(server, tmp_path)
    assert scores == [5, 1, 3, 3, 3]
    assert sum("logprobs" in body for body in server.bodies) == 3  # and not once for every title
    assert "JSON" in said[1]


def test_where_logprobs_are_refused_the_answers_are_asked_for_in_json(server, tmp_path):
    server.refusal = lambda body: (400, "logprobs are not supported") if "logprobs" in body else (0, "")
    assert screened(server, tmp_path)[0] == [5, 1, 3, 3, 3]


def test_weights_fitted_on_labels_follow_who_is_right(tmp_path):
    random = np.random.default_rng(3)
    labels = random.random(400) < 0.3
    good, noise = np.where(labels, 4.2, 1.8) + random.normal(0, 0.7, 400), random.normal(0, 1, 400)
    fitted = fit(list(noise), list(good), [bool(label) for label in labels])
    assert fitted.of_digit > 1.0 > abs(fitted.of_scorer)
    assert fitted.probability(0.0, 4.5) > 0.9 > 0.1 > fitted.probability(0.0, 1.5)
    write_combination(tmp_path / "c.json", fitted, {"titles": 400})
    assert read_combination(tmp_path / "c.json") == fitted
    with pytest.raises(UsageError, match=r"c2\.json"):
        read_combination(tmp_path / "c2.json")
    (tmp_path / "c2.json").write_text('{"constant": 0, "of_scorer": 1, "of_digit": 0}')  # as the message advises
    assert read_combination(tmp_path / "c2.json") == Combination()


@pytest.mark.parametrize(("scoring", "prompt"), [("json", "screen-1"), ("digits", "screen-digit-1")])
def test_how_a_model_is_asked_tells_digits_from_json(scoring, prompt):
    assert how_asked(LlmConfig(scoring=scoring))["prompt"] == prompt


def test_questions_go_first_to_what_a_scorer_is_unsure_of():
    assert unsure_first([0.01, 0.99, 0.42, 0.30, 0.6], lambda p: p, 3) == [0.42, 0.30, 0.6]
    assert Combination().probability(0.0, 3.0) == 0.5
