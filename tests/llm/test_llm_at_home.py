"""Language models as people run them at home, and models that answer in a form of their own. A real local server."""

from __future__ import annotations

import dataclasses
import json
import threading
import time

import pytest
from llm_child import CONFIG, TASK
from llm_server import LlmServer, items_of

from aria_data.errors import NetworkError, TemporaryError
from aria_data.llm import Answer, Llm, LlmConfig, Question, Task
from aria_data.llm.dialect import Dialect, says_too_long
from aria_data.llm.patience import NothingUsable
from aria_data.llm.replies import as_asked
from aria_data.llm.wire import Endpoint, TooLong

SCORE = Task("score", "score-1", "Score.", {
    "relevance_score": {"type": "integer", "enum": [1, 2, 3, 4, 5]},
    "evidence": {"type": "string"},
    "reason": {"type": "string"},
})  # fmt: skip


@pytest.fixture
def server():
    with LlmServer(lambda data: {"n": data["number"]}).running() as running:
        yield running


@pytest.fixture
def said():
    """What is said while asking."""
    return []


@pytest.fixture
def connect(server, tmp_path, said):
    opened: list[Llm] = []

    def open_llm(**changes) -> Llm:
        config = dataclasses.replace(CONFIG, **changes)
        opened.append(Llm(config, tmp_path / "ledger.sqlite", server.environ, announce=said.append))
        return opened[-1]

    yield open_llm
    for llm in opened:
        llm.close()


def numbers(count: int) -> list[Question]:
    return [Question(number, {"number": number}) for number in range(count)]


def answers(llm: Llm, count: int, task: Task = TASK) -> dict[int, object]:
    asked = llm.ask_many(task, numbers(count))
    return {question.tag: dict(found.fields) if isinstance(found, Answer) else found for question, found in asked}


def right(count: int) -> dict[int, object]:
    return {number: {"n": number} for number in range(count)}


@pytest.mark.parametrize(
    ("address", "is_local"),
    [("http://127.0.0.1:8080/v1", True), ("http://localhost:11434/v1", True), ("http://[::1]:1/v1", True),
     ("http://192.168.1.7/v1", True), ("http://box.local/v1", True), ("http://ollama:11434/v1", True),
     ("https://api.openai.com/v1", False), ("http://8.8.8.8/v1", False)],
)  # fmt: skip
def test_a_server_at_home_starts_with_one_slot_and_two_titles_a_request(address, is_local):
    assert Endpoint(address, "m", {"OPENAI_API_KEY": "k"}).is_local is is_local
    config = LlmConfig().for_server(is_local)
    assert (config.start_concurrency, config.items_per_request) == ((1, 2) if is_local else (4, 10))
    assert LlmConfig(items_per_request=7).for_server(is_local).items_per_request == 7


def test_a_group_that_is_not_answered_in_time_is_asked_in_parts_and_one_line_says_so(connect, server, said):
    server.poison = lambda items: "late" if len(items) > 2 else ""  # "late": a second
    llm = connect(items_per_request=8, deadline_s=0.4, start_concurrency=1)
    assert answers(llm, 16) == right(16)
    sizes = [len(items_of(body)) for body in server.bodies]
    assert sizes[:3] == [8, 4, 2]
    assert set(sizes[3:]) == {2}  # what was learned holds for the second group
    assert [line.split(" were")[0] for line in said] == ["8 items", "4 items"]
    assert server.bodies[-1]["response_format"]["type"] == "json_schema"


FULL = [
    (400, "request (5032 tokens) exceeds the available context size (2048 tokens), try increasing it"),
    (400, "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens. Please reduce."),
    (400, "'max_tokens' or 'max_completion_tokens' is too large: 2500. This model's maximum context length is 2048"),
    (500, "the request exceeds the available context size"),
    (400, "Requested tokens (2500) exceed context window of 2048"),
    (422, "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000"),
]


@pytest.mark.parametrize(("status", "words"), FULL)
def test_a_full_context_splits_the_group_and_keeps_the_dialect(connect, server, said, status, words):
    server.refusal = lambda body: (status, words) if len(items_of(body)) > 2 else (0, "")
    assert answers(connect(items_per_request=5), 10) == right(10)
    assert all(body["response_format"]["type"] == "json_schema" for body in server.bodies)
    assert "context" in said[0]
    assert says_too_long(words.lower())


def test_a_title_that_fits_into_no_context_is_not_done_and_the_line_says_what_to_do(connect, server):
    server.refusal = lambda body: FULL[0] if any(item["data"]["number"] == 3 for item in items_of(body)) else (0, "")
    found = answers(connect(), 6)
    assert "larger context" in str(found.pop(3))
    assert found == {number: {"n": number} for number in (0, 1, 2, 4, 5)}


def test_an_answer_that_leaves_no_room_in_the_context_may_be_shorter(connect, server):
    server.refusal = lambda body: FULL[2] if body["max_tokens"] > 200 else (0, "")
    assert answers(connect(items_per_request=1), 3) == right(3)


LONG = "Recorded live in the small hall, with the composer in the audience and two encores at the end. " * 30


def about(*places: int) -> list[Question]:
    return [Question(number, {"number": number, "text": LONG if number in places else "short"}) for number in range(8)]


def found_by(llm: Llm, questions: list[Question]) -> dict[int, object]:
    return {question.tag: found for question, found in llm.ask_many(TASK, questions)}


@pytest.mark.parametrize("context", [500, 1024, 1500, 2047, 2048])
def test_a_prompt_that_a_server_cuts_in_silence_is_a_full_context(connect, server, said, context):
    server.context = context  # a long title has about 1,000 tokens, as this server counts
    found = found_by(connect(items_per_request=8), about(1, 2, 3, 4, 5, 6))
    sizes = [len(items_of(body)) for body in server.bodies]
    assert sizes[:2] == [8, 4]
    assert "8 items do not fit into the model's context" in said[0]
    for number, answer in found.items():
        is_too_long = context == 500 and 1 <= number <= 6
        assert isinstance(answer, TooLong if is_too_long else Answer), number
        if is_too_long:
            assert "larger context (Ollama: num_ctx)" in str(answer)
    assert server.bodies[-1]["response_format"]["type"] == "json_schema"


def test_what_a_server_reports_of_its_cache_or_makes_up_is_no_full_context(connect, server, said):
    server.context = 60  # tokens that it had not read before
    found = found_by(connect(items_per_request=4), about(2))
    assert all(isinstance(answer, Answer) for answer in found.values())
    assert said == []


REFUSALS = [
    (500, "Jinja Exception: System role not supported"),
    (400, "Conversation roles must alternate user/assistant/user/assistant/..."),
    (400, "Developer instruction is not enabled for models/gemma-3"),
    (422, "messages[0].role: role 'system' is invalid, expected user or assistant"),
]


@pytest.mark.parametrize(("status", "words"), REFUSALS)
def test_where_the_role_of_the_system_is_refused_its_text_begins_the_users_message(connect, server, status, words):
    has_system = lambda body: body["messages"][0]["role"] == "system"  # noqa: E731
    server.refusal = lambda body: (status, words) if has_system(body) else (0, "")
    assert answers(connect(), 10) == right(10)
    (message,) = server.bodies[-1]["messages"]
    assert message["content"].startswith(TASK.prompt)
    assert sum(map(has_system, server.bodies)) <= 4


@pytest.mark.parametrize("name", ["seed", "temperature", "response_format"])
@pytest.mark.parametrize("words", ["Unrecognized request argument supplied: {}", "{}: Extra inputs are not permitted"])
def test_a_refused_parameter_is_dropped_in_whatever_words_it_is_refused(connect, server, name, words):
    server.refusal = lambda body: (400, words.format(name)) if name in body else (0, "")
    assert answers(connect(), 10) == right(10)
    assert name not in server.bodies[-1]


def test_a_server_that_ignores_response_format_gets_the_schema_in_the_prompt(connect, server):
    def writes(items):
        body = server.bodies[-1]
        is_told = "JSON schema" in body["messages"][0]["content"]
        good = json.dumps({"answers": [{"id": item["id"], "n": item["data"]["number"]} for item in items]})
        return good if is_told else "They look like numbers to me."

    server.writes = writes
    assert answers(connect(start_concurrency=1, max_concurrency=1), 20) == right(20)
    assert len(server.bodies) <= 9  # the first group, each of its titles alone, three more groups


def test_texts_in_answers_have_a_greatest_length_except_in_openais_strict_mode(connect, server):
    bounded = json.dumps(SCORE.bounded_schema(["a", "b"]))
    assert bounded.count("maxLength") == 2
    assert '"maxItems": 2' in bounded
    answers(connect(), 5)
    assert "enum" in json.dumps(server.bodies[0]["response_format"])
    assert not Endpoint("", "m", {"OPENAI_API_KEY": "k"}).first_dialect().has_bounds
    refused = Dialect().after("invalid schema for response_format: 'maxlength' is not permitted", may_guess=True)
    assert (refused.format, refused.has_bounds) == ("json_schema", False)


def test_who_is_asked_again_is_asked_with_another_seed_and_not_at_temperature_0(connect, server):
    server.faults.extend(["prose", "prose"])
    assert answers(connect(items_per_request=1), 1) == right(1)
    assert [(body["seed"], body["temperature"] > 0) for body in server.bodies] == [(0, False), (1, True), (2, True)]


def test_a_restart_of_the_server_costs_nothing(tmp_path):
    first = LlmServer(lambda data: {"n": data["number"]})
    address, port = first.environ, first.server_port
    found: dict[int, object] = {}
    with Llm(dataclasses.replace(CONFIG, patience_s=30.0), tmp_path / "l.sqlite", address) as llm:
        first.server_close()  # nothing listens: every connection is refused
        asking = threading.Thread(target=lambda: found.update(answers(llm, 40)))
        asking.start()
        time.sleep(0.5)
        second = LlmServer(lambda data: {"n": data["number"]}, port=port)
        with second.running():
            second.faults.extend(["503", "503"])  # loading the model
            asking.join(60)
    assert found == right(40)


@pytest.mark.parametrize("count", [3, 60])
def test_patience_is_counted_in_time_and_the_first_cause_is_named(tmp_path, count):
    gone = LlmServer(lambda data: {})
    gone.server_close()
    with Llm(dataclasses.replace(CONFIG, patience_s=0.5), tmp_path / "l.sqlite", gone.environ) as llm:
        found = answers(llm, count)
    assert len(found) == count
    assert all(isinstance(each, NetworkError) for each in found.values())
    assert any("connection failed" in str(each) and "nothing more is asked" in str(each) for each in found.values())


@pytest.mark.parametrize("words", ["I cannot rate music.", "{}", '{"answers": []}', '{"n": {"type": "integer"}}', "5?"])
def test_a_systematic_fault_is_noticed_by_the_third_answer(connect, server, words):
    server.writes = lambda items: words
    found = answers(connect(start_concurrency=1, max_concurrency=1, items_per_request=1), 200)
    assert len(server.bodies) <= 3
    assert all(isinstance(each, TemporaryError) for each in found.values())
    last = next(str(each) for each in found.values() if isinstance(each, NothingUsable))
    assert words in last or "answer is" in last


FORMS = {
    "as text": {"relevance_score": "5", "evidence": "piano", "reason": "r"},
    "as a decimal": {"relevance_score": 5.0, "evidence": "piano", "reason": "r"},
    "of five": {"relevance_score": "5/5", "evidence": "piano", "reason": "r"},
    "null texts": {"relevance_score": 5, "evidence": None, "reason": None},
    "no texts": {"relevance_score": 5},
    "another spelling": {"relevanceScore": 5, "Evidence": "piano", "REASON": "r"},
    "a list of one": {"relevance_score": [5], "evidence": ["piano"], "reason": []},
}
AROUND = {
    "bare": "{answers}",
    "reasoning": '<think>Perhaps {{"answers": [1]}}, or {{3}}? No.</think>\n{answers}',
    "reasoning without marks": "Let me think: {{a}} or {{b}}.\nThe answer:\n{answers}\nThat is all.",
    "fence": "```json\n{answers}\n```",
    "the schema again": '{schema}\n{answers}',
    "in the schema": '{{"type": "object", "properties": {answers}}}',
    "a comma too many": "{comma}",
    "as a string": "{string}",
    "by id": "{by_id}",
}  # fmt: skip


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("form", FORMS)
def test_an_answer_of_another_form_is_taken(connect, server, form, around):
    def writes(items):
        entries = [{"id": item["id"], **FORMS[form]} for item in items]
        text = json.dumps({"answers": entries})
        return AROUND[around].format(
            answers=text, schema=json.dumps(SCORE.schema), comma=text.replace("}]", "},]"), string=json.dumps(text),
            by_id=json.dumps({entry.pop("id"): entry for entry in entries}),
        )  # fmt: skip

    server.writes = writes
    found = answers(connect(items_per_request=3), 3, SCORE)
    assert [each["relevance_score"] for each in found.values()] == [5, 5, 5]
    assert len(server.bodies) == 1


@pytest.mark.parametrize("value", ["six", True, 5.5, None, "", {"type": "integer"}, 9, "0"])
def test_what_would_be_a_guess_is_no_answer(value):
    with pytest.raises(ValueError, match=r"."):
        as_asked(value, SCORE.fields["relevance_score"])


def test_what_is_whole_of_a_cut_answer_is_taken_and_only_the_rest_asked_again(connect, server):
    server.faults.append("truncated_json")
    assert answers(connect(start_concurrency=1, max_concurrency=1), 5) == right(5)
    asked_again = sum(len(items_of(body)) for body in server.bodies[1:])
    assert 0 < asked_again < 5


def test_the_reservation_follows_what_instructions_were_seen_to_cost(connect, server):
    llm = connect(items_per_request=1)
    long_task = dataclasses.replace(TASK, prompt="Say the number. " * 200)
    body = {"model": "m", "messages": [{"role": "system", "content": "x" * 3000}, {"role": "user", "content": "y"}]}
    before = llm.exchange.bound(body, 10).prompt_tokens
    answers(llm, 2, long_task)
    sent = server.bodies[-1]
    assert llm.exchange.bound(sent, 10).prompt_tokens < len(json.dumps(sent)) / 2
    assert before > 3000
    assert llm.spent() == server.true_cost
