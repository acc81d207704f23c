"""The real `openai` client against a local server that misbehaves: answers, money, secrets, batches."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llm_child import CONFIG, TASK
from llm_server import KEY, LlmServer
from places import SUPPORT

from aria_data.errors import DatasetCorrupt, NetworkError, TemporaryError, UsageError
from aria_data.llm import Answer, BudgetSpent, Llm, LlmConfig, LlmStopped, Question, Task
from aria_data.llm.batch import ask_in_batches
from aria_data.llm.dialect import Dialect
from aria_data.llm.ledger import Ledger, Limits
from aria_data.llm.limits import announced_pause_s, retry_after_s, span_s
from aria_data.llm.prices import Usage, find_price, to_picodollars
from aria_data.llm.questions import question_key
from aria_data.llm.replies import AnswerInvalid
from aria_data.llm.wire import Endpoint

CHILD = SUPPORT / "llm_child.py"


@pytest.fixture
def server():
    with LlmServer(lambda data: {"n": data["number"]}).running() as running:
        yield running


@pytest.fixture
def connect(server, tmp_path):
    """Open the client; everything that was opened is closed at the end."""
    opened: list[Llm] = []

    def open_llm(name: str = "ledger.sqlite", run_id: str = "", **changes) -> Llm:
        config = dataclasses.replace(CONFIG, **changes)
        opened.append(Llm(config, tmp_path / name, server.environ, run_id))
        return opened[-1]

    yield open_llm
    for llm in opened:
        llm.close()


@pytest.fixture
def waits(server, monkeypatch):
    """What is slept for: (how many requests had come by then, for how long)."""
    waits: list[tuple[int, float]] = []
    sleep = asyncio.sleep

    async def noted(delay: float, *rest):
        waits.append((len(server.bodies), delay))
        return await sleep(delay, *rest)

    monkeypatch.setattr(asyncio, "sleep", noted)
    return waits


def numbers(count: int, start: int = 0) -> list[Question]:
    return [Question(number, {"number": number}) for number in range(start, start + count)]


def answers(llm: Llm, questions: list[Question], task: Task = TASK) -> dict[int, object]:
    """By tag, the number that was answered, or the error. Each question comes back once."""
    found: dict[int, object] = {}
    for question, answer in llm.ask_many(task, questions):
        assert question.tag not in found
        found[question.tag] = answer.fields["n"] if isinstance(answer, Answer) else answer
    assert set(found) == {question.tag for question in questions}
    return found


def right(count: int) -> dict[int, object]:
    return {number: number for number in range(count)}


def test_many_questions_share_a_request_and_each_gets_its_own_answer(connect, server):
    assert answers(connect(), numbers(23)) == right(23)
    assert sorted(len(json.loads(body["messages"][-1]["content"])["items"]) for body in server.bodies) == [
        3, 5, 5, 5, 5
    ]  # fmt: skip


def test_a_second_run_makes_no_request_and_costs_nothing_whatever_the_company(connect, server):
    answers(connect(), numbers(20))
    num_requests, second = len(server.bodies), connect()
    questions = list(reversed(numbers(20)))
    assert answers(second, questions) == right(20)
    assert len(server.bodies) == num_requests
    assert second.spent() == 0


def test_the_model_the_prompt_and_the_schema_are_part_of_the_question(connect):
    other_prompt = dataclasses.replace(TASK, prompt_version="count-2")
    other_fields = dataclasses.replace(TASK, fields={"n": {"type": "number"}})
    payload = {"number": 1}
    keys = {question_key(model, task, payload) for model in "ab" for task in (TASK, other_prompt, other_fields)}
    assert len(keys) == 6


def test_the_same_question_twice_is_asked_once(connect, server):
    questions = [Question(tag, {"number": 7}) for tag in range(40)]
    assert answers(connect(), questions) == dict.fromkeys(range(40), 7)
    assert len(server.items_asked()) == 1


def test_a_question_that_wants_to_be_alone_is_alone(connect, server):
    questions = [Question(number, {"number": number}, is_alone=number == 3) for number in range(6)]
    assert answers(connect(), questions) == right(6)
    assert [{"number": 3}] in [
        [item["data"] for item in json.loads(body["messages"][-1]["content"])["items"]] for body in server.bodies
    ]


def test_ids_are_new_in_every_request_and_say_nothing(connect, server):
    server.faults.extend(["html", "500"])
    answers(connect(), numbers(5))
    ids = [item["id"] for body in server.bodies for item in json.loads(body["messages"][-1]["content"])["items"]]
    assert len(ids) == len(set(ids)) == 15


MENDED = (
    "429 429:0.05 429:date 500 502 503 500_done drop drop_answer late drip truncated_json length wrong_types "
    "extra_fields out_of_range wrong_ids swapped missing duplicate no_usage absurd_usage negative_usage html "
    "empty_choices no_choices null prose fenced thought gigantic compressed deep parts error_body refusal "
    "content_filter bare nothing_left 400 413"
).split()


@pytest.mark.parametrize("fault", MENDED)
def test_one_fault_costs_no_answer_and_gives_no_wrong_one(connect, server, fault):
    """`check` is what tells a swapped answer: here the answer must say the question's number."""

    def check(payload, fields, company):
        if fields["n"] != payload["number"]:
            raise ValueError("that is another item's")
        return fields

    server.faults.append(fault)
    llm = connect(deadline_s=0.4 if fault in ("late", "drip") else 5.0)
    assert answers(llm, numbers(5), dataclasses.replace(TASK, check=check)) == right(5)
    assert server.true_cost <= llm.spent()


@pytest.mark.parametrize("fault", ["wrong_types", "missing", "refusal", "prose", "duplicate", "null"])
def test_an_item_that_is_never_answered_properly_is_not_guessed(connect, server, fault):
    server.poison = lambda items: fault if {"number": 2} in [item["data"] for item in items] else ""
    found = answers(connect(), sorted(numbers(5), key=lambda question: question.tag != 2))
    assert isinstance(found.pop(2), AnswerInvalid)
    assert found == {0: 0, 1: 1, 3: 3, 4: 4}
    assert sum(data == {"number": 2} for data in server.items_asked()) == 1 + CONFIG.max_asks_alone


@pytest.mark.parametrize("fault", ["400", "500", "413", "drop"])
def test_an_item_that_breaks_its_request_takes_no_other_along(connect, server, fault):
    server.poison = lambda items: fault if {"number": 2} in [item["data"] for item in items] else ""
    found = answers(connect(max_attempts=2), numbers(12))
    assert isinstance(found.pop(2), TemporaryError)
    assert found == {number: number for number in range(12) if number != 2}


def test_an_item_that_a_server_will_not_have_stops_no_run_that_works(connect, server):
    llm = connect()
    answers(llm, numbers(5))
    server.poison = lambda items: "403" if {"number": 12} in [item["data"] for item in items] else ""
    found = answers(llm, numbers(10, start=10))
    assert isinstance(found.pop(12), TemporaryError)
    assert found == {number: number for number in range(10, 20) if number != 12}


def test_a_server_that_never_answers_is_left_alone_after_a_while(connect, server):
    server.mixture = ["500"]
    found = answers(connect(), numbers(500))
    assert all(isinstance(error, NetworkError) for error in found.values())
    assert len(server.bodies) < 100


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [("401", UsageError, "OPENAI_API_KEY"), ("404", UsageError, "model"), ("403", UsageError, "model"),
     ("redirect", UsageError, "redirects"), ("quota", LlmStopped, "nothing left"), ("402", LlmStopped, "top it up")],
)  # fmt: skip
def test_what_would_hit_every_item_stops_the_run_with_one_line(connect, server, fault, error, words):
    server.mixture = [fault]
    with pytest.raises(error, match=words) as raised:
        answers(connect(), numbers(100))
    assert "\n" not in str(raised.value)
    assert len(server.bodies) < 30


@pytest.mark.timeout(100)  # a guard against hanging: an hour is not waited for
def test_a_server_that_asks_for_too_long_a_wait_is_not_waited_for(connect, server, waits):
    server.mixture = ["429:3600"]
    found = answers(connect(), numbers(100))
    assert all(isinstance(error, NetworkError) for error in found.values())
    assert [wait_s for _, wait_s in waits if wait_s > CONFIG.max_wait_s] == []
    assert len(server.bodies) < 10


def test_the_number_of_requests_under_way_halves_when_refused_and_grows_slowly(connect, server):
    server.delay_s = 0.01
    llm = connect(items_per_request=1, start_concurrency=2, max_concurrency=8)
    answers(llm, numbers(60))
    grown = llm.exchange._limiter.room
    assert 4 < grown <= 8
    assert server.most_running <= 8
    server.faults.append("429:0.01")
    answers(llm, numbers(1, start=100))
    assert llm.exchange._limiter.room < grown / 2 + 1


def test_nothing_leaves_before_the_server_says_so(connect, server, waits):
    server.faults.extend(["429:0.5"])
    answers(connect(), numbers(1))
    assert len(server.bodies) == 2
    assert (1, 0.5) in waits


@pytest.mark.parametrize(
    ("unknown", "kept"),
    [
        ({"json_schema"}, {"response_format": {"type": "json_object"}}),
        ({"response_format"}, {"response_format": None}),
        ({"vague"}, {"response_format": None}),
        ({"temperature", "seed"}, {"temperature": None, "seed": None}),
        ({"max_tokens"}, {"max_tokens": None}),
        ({"response_format", "temperature", "seed", "max_tokens"}, {"response_format": None}),
    ],
)
def test_a_server_that_refuses_a_parameter_is_asked_without_it_and_not_again_with_it(connect, server, unknown, kept):
    server.unknown = unknown
    llm = connect(start_concurrency=1)
    assert answers(llm, numbers(30)) == right(30)
    assert {name: server.bodies[-1].get(name) for name in kept} == kept
    assert len(server.bodies) <= 6 + 5
    assert server.bodies[-1].get("max_tokens") or server.bodies[-1].get("max_completion_tokens")


def test_a_server_without_any_limit_of_output_is_not_asked(connect, server):
    server.unknown = {"max_tokens", "max_completion_tokens"}
    assert isinstance(answers(connect(), numbers(1))[0], TemporaryError)
    assert server.true_cost == 0


def test_a_request_is_deterministic_as_far_as_one_can_ask_for_it(connect, server):
    answers(connect(seed=7), numbers(1))
    body = server.bodies[0]
    assert (body["temperature"], body["seed"]) == (0, 7)
    assert body["response_format"]["json_schema"]["strict"] is True


@settings(max_examples=10, deadline=None)
@given(
    st.lists(st.sampled_from(["ok", *MENDED]), min_size=1, max_size=8),
    st.integers(0, 60),
    st.integers(1, 4),
    st.integers(0, 1000),
)
def test_whatever_happens_no_more_is_spent_than_the_budget(tmp_path_factory, mixture, cents, num_threads, seed):
    folder, budget = tmp_path_factory.mktemp("budget"), cents / 1000
    quick = [fault for fault in mixture if fault not in ("429:date", "gigantic")] + ["wordy"]
    found: list[object] = []
    with LlmServer(lambda data: {"n": data["number"]}, seed).running() as server:
        server.mixture = quick
        config = dataclasses.replace(CONFIG, max_dollars=budget, deadline_s=0.3, max_attempts=3)
        with Llm(config, folder / "ledger.sqlite", server.environ) as llm:

            def ask(start: int) -> None:
                found.extend(answer for _, answer in llm.ask_many(TASK, numbers(25, start)))

            threads = [threading.Thread(target=ask, args=(100 * number,)) for number in range(num_threads)]
            [thread.start() for thread in threads]
            [thread.join() for thread in threads]
            assert len(found) == 25 * num_threads
            assert server.true_cost <= llm.spent() <= to_picodollars(budget)


def test_the_budget_stops_before_a_request_that_might_exceed_it(connect, server):
    llm = connect(max_dollars=0.01, start_concurrency=4)
    found = answers(llm, numbers(400))
    refused = [error for error in found.values() if isinstance(error, Exception)]
    assert 0 < len(refused) < 400
    assert all(isinstance(error, BudgetSpent) for error in refused)
    assert "$0.01" in str(refused[0])
    assert server.true_cost <= llm.spent() <= to_picodollars(0.01)
    assert answers(connect(max_dollars=1.0), numbers(400)) == right(400)  # goes on where it stopped


def test_the_ledger_as_a_whole_can_have_a_budget_too(connect, server):
    answers(connect(max_total_dollars=0.01), numbers(400))
    num_requests = len(server.bodies)
    answers(connect(max_total_dollars=0.01), numbers(400, start=1000))
    assert len(server.bodies) <= num_requests + 2
    assert server.true_cost <= to_picodollars(0.01)


def test_two_processes_that_name_the_same_run_share_its_budget(connect, server):
    both = [connect(run_id="night", max_dollars=0.01) for _ in range(2)]
    threads = [threading.Thread(target=answers, args=(llm, numbers(300, 1000 * n))) for n, llm in enumerate(both)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert server.true_cost <= both[0].spent() == both[1].spent() <= to_picodollars(0.01)


def test_a_budget_of_nothing_sends_nothing(connect, server):
    assert isinstance(answers(connect(max_dollars=0.0), numbers(1))[0], BudgetSpent)
    assert server.bodies == []


def test_a_server_of_ones_own_costs_nothing_and_needs_no_budget(connect, server):
    assert answers(connect(input_price=0.0, output_price=0.0, max_dollars=0.0), numbers(5)) == right(5)


def test_a_model_without_a_price_is_refused_where_there_is_a_budget(connect):
    with pytest.raises(UsageError, match="0 is right for a server of your own"):
        connect(input_price=-1.0, output_price=-1.0, max_dollars=1.0)


def test_a_model_without_a_price_works_where_there_is_no_budget_and_the_ledger_says_so(connect):
    llm = connect(input_price=-1.0, output_price=-1.0, max_dollars=-1.0)
    answers(llm, numbers(5))
    (row,) = llm.ledger.table()
    assert (row.num_unpriced, row.picodollars, row.num_requests) == (1, 0, 1)
    assert row.prompt_tokens > 0
    forecast = llm.forecast(TASK, numbers(9))
    assert (forecast.num_requests, forecast.num_cached, forecast.dollars) == (1, 5, None)
    assert forecast.seconds > 0
    assert "no price known" in str(forecast)


def test_usage_is_booked_to_the_token(connect, server):
    llm = connect()
    answers(llm, numbers(20))
    assert llm.spent() == server.true_cost


@pytest.mark.parametrize("fault", ["no_usage", "absurd_usage", "negative_usage"])
def test_where_usage_is_missing_or_absurd_the_reservation_stands(connect, server, fault):
    server.faults.append(fault)
    llm = connect()
    answers(llm, numbers(5))
    assert server.true_cost < llm.spent() < 20 * server.true_cost


def test_the_forecast_says_what_is_known_and_is_near_the_truth(connect, server):
    llm = connect()
    answers(llm, numbers(10))
    before = llm.spent()
    forecast = llm.forecast(TASK, numbers(60))
    assert (forecast.num_items, forecast.num_cached, forecast.num_requests) == (60, 10, 10)
    assert len(server.bodies) == 2  # forecasting asks nothing
    answers(llm, numbers(60))
    true = (llm.spent() - before) / 10**12
    assert forecast.dollars / 2 < true < forecast.dollars * 2
    assert true < forecast.worst_dollars


def test_money_is_whole_numbers_and_a_budget_is_rounded_down():
    assert find_price("gpt-4o-mini-2024-07-18", -1, -1).of(Usage(1000, 100, 400)) == 600 * 150_000 + 400 * 75_000 + (
        100 * 600_000
    )
    assert find_price("gpt-4o-mini", -1, -1, in_batch=True).prompt == 75_000
    assert find_price("gpt-4o-mini", 0.1, 0.2, in_batch=True).prompt == 100_000
    assert find_price("never-heard-of", -1, -1) is None
    assert to_picodollars(0.1) == 10**11
    with pytest.raises(UsageError, match="together"):
        find_price("gpt-4o", 1.0, -1)


SECRET_FAULTS = ["401", "400", "403", "500", "429", "refusal", "402", "error_body", "html"]


@pytest.mark.parametrize("fault", SECRET_FAULTS)
def test_the_key_is_in_no_error_no_file_and_no_output(connect, server, fault, tmp_path, caplog, capsys):
    caplog.set_level("DEBUG")
    server.mixture = [fault]
    llm = connect(max_attempts=1, max_asks_alone=0)
    try:
        errors = list(answers(llm, numbers(3)).values())
    except Exception as error:
        errors = [error]
    llm.close()
    for error in errors:
        texts = [str(error), repr(error), str(error.__cause__), repr(error.__dict__)]
        assert KEY not in "".join(texts)
        assert "\x1b" not in texts[0]
        assert len(texts[0]) < 600
    assert KEY not in caplog.text + repr(llm) + repr(llm.endpoint) + str(capsys.readouterr())
    assert KEY.encode() not in b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_no_password_is_taken_in_the_address_and_none_is_shown():
    environ = {"OPENAI_API_KEY": KEY, "ARIA_DATA_MODEL": "m", "OPENAI_BASE_URL": "http://ann:pw12@127.0.0.1/v1"}
    with pytest.raises(UsageError, match="password") as raised:
        Endpoint("", "", environ)
    assert "pw12" not in str(raised.value)
    endpoint = Endpoint("http://127.0.0.1/v1?api-key=pw12", "", environ)
    assert "pw12" not in endpoint.name + repr(endpoint)
    hidden = (
        f"Authorization: Bearer {KEY}",
        '{"authorization": "Bearer abc.def"}',
        "sk-proj-abcdefgh123",
        "//a:b@c://d:e@f",
    )
    for text in hidden:
        assert not any(secret in endpoint.scrub(text) for secret in (KEY, "abc.def", "abcdefgh", "d:e"))


@pytest.mark.parametrize(
    ("missing", "words"),
    [("OPENAI_API_KEY", "--scorer rules"), ("ARIA_DATA_MODEL", "--model")],
)
def test_what_is_not_set_is_named(server, tmp_path, missing, words):
    environ = {name: value for name, value in server.environ.items() if name != missing}
    with pytest.raises(UsageError, match=words) as raised:
        Llm(CONFIG, tmp_path / "l.sqlite", environ)
    assert missing in str(raised.value)


@pytest.mark.parametrize("address", ["ftp://x/v1", "localhost:80", "http://", "http://[::1", "http://a:99999/", "-"])
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(UsageError, match="OPENAI_BASE_URL"):
        Endpoint(address, "m", {"OPENAI_API_KEY": "k"})


@pytest.mark.parametrize(
    "attempt", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)]
)
def test_a_killed_run_goes_on_and_the_ledger_never_says_too_little(server, tmp_path, attempt):
    server.delay_s = 0.01
    server.mixture = ["ok"] * 6 + ["500_done", "missing", "no_usage", "drop_answer"]
    ledger_path, num_items = tmp_path / "ledger.sqlite", 150
    command = [sys.executable, str(CHILD), str(ledger_path), str(num_items), "live"]
    environ = {**os.environ, **server.environ}
    child = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True)
    for _ in range(random.Random(attempt).randrange(1, 100)):
        assert child.stdout is not None
        child.stdout.readline()
    child.send_signal(signal.SIGKILL)
    seen = [json.loads(line) for line in child.communicate()[0].splitlines() if line.endswith("]")]
    with sqlite3.connect(ledger_path) as database:
        (num_kept,) = database.execute("SELECT COUNT(*) FROM answers").fetchone()
    database.close()
    assert num_kept >= len(seen)
    num_asked = len(server.items_asked())
    again = subprocess.run(command, env=environ, capture_output=True, text=True, check=True, timeout=300)
    assert sorted(map(json.loads, again.stdout.splitlines())) == [[n, {"n": n}] for n in range(num_items)]
    assert num_asked >= num_kept
    ledger = Ledger(ledger_path)
    assert server.true_cost <= ledger.spent()
    ledger.close()


def test_what_is_given_up_is_spent_and_what_was_answered_is_kept(connect, server):
    server.delay_s = 0.2
    llm = connect()
    for _ in llm.ask_many(TASK, numbers(100)):
        break
    llm.close()
    assert llm.exchange._in_flight == 0
    time.sleep(0.5)
    ledger = Ledger(llm.ledger.path)
    assert ledger.spent() >= server.true_cost > 0
    ledger.close()


def test_questions_are_read_as_there_is_room_for_them(connect):
    num_read = 0

    def endless():
        nonlocal num_read
        while True:
            yield Question(num_read, {"number": num_read})
            num_read += 1

    for number, _ in enumerate(connect(max_concurrency=2).ask_many(TASK, endless())):
        if number == 50:
            break
    assert num_read < 200


def test_a_fault_of_this_program_is_passed_on_and_hangs_nothing(connect):
    def broken(payload, fields, company):
        raise KeyError("ours")

    found = answers(connect(), numbers(10), dataclasses.replace(TASK, check=broken))
    assert all(isinstance(error, KeyError) for error in found.values())


def test_a_file_that_is_no_ledger_is_named(tmp_path):
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(DatasetCorrupt, match=r"ledger\.sqlite"):
        Ledger(path)


def test_reservations_from_many_threads_never_pass_the_limit(tmp_path):
    ledgers = [Ledger(tmp_path / "l.sqlite") for _ in range(4)]
    given: list[int] = []

    def reserve(ledger: Ledger) -> None:
        for _ in range(20):
            try:
                given.append(ledger.reserve("r", "t", "m", 1, 7, Limits(run=300)))
            except BudgetSpent:
                return

    threads = [threading.Thread(target=reserve, args=(ledger,)) for ledger in ledgers]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(given) == len(set(given)) == 300 // 7
    [ledger.close() for ledger in ledgers]


def test_waits_are_read_in_every_form_and_nonsense_is_none():
    assert retry_after_s({"retry-after": "2"}) == 2
    assert retry_after_s({"retry-after-ms": "250"}) == 0.25
    tomorrow = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 86_400))
    assert 3_600 < retry_after_s({"retry-after": tomorrow}) <= 86_400
    for text in ("soon", "nan", "inf", "", "Wed, 99 Foo"):
        assert retry_after_s({"retry-after": text}) is None
    assert [span_s(text) for text in ("6m0s", "20ms", "1.5", "1h2m3s", "x", "-3")] == [360, 0.02, 1.5, 3723, 0, 0]
    assert announced_pause_s({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "2s"}) == 2
    assert announced_pause_s({"x-ratelimit-remaining-tokens": "1", "x-ratelimit-reset-tokens": "2s"}) == 0


@given(st.binary(max_size=300) | st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["choices", "message", "content", "usage", "prompt_tokens", "completion_tokens", "refusal",
                         "prompt_tokens_details", "cached_tokens", "finish_reason", "error"]), inner, max_size=4),
    max_leaves=12).map(lambda value: json.dumps(value).encode()))  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_no_reply_is_too_strange_to_be_read(content):
    reply = Endpoint("", "m", {"OPENAI_API_KEY": KEY}).read(content)
    assert reply.content or reply.complaint


def test_the_dialect_only_ever_gets_plainer():
    assert Dialect().format == "json_schema"
    assert Endpoint("", "m", {"OPENAI_API_KEY": "k"}).first_dialect().limit_name == "max_completion_tokens"


# --- batches ---------------------------------------------------------------------------------------------------------


def in_batches(llm: Llm, questions: list[Question]) -> dict[int, object]:
    return {
        question.tag: answer.fields["n"] if isinstance(answer, Answer) else answer
        for question, answer in ask_in_batches(llm, TASK, questions)
    }


def test_a_batch_answers_what_single_requests_would_have(connect, server):
    llm = connect()
    assert in_batches(llm, numbers(23)) == right(23)
    assert server.num_batches_made == 1
    assert llm.spent() == server.true_cost
    assert in_batches(llm, numbers(23)) == right(23)
    assert answers(llm, numbers(23)) == right(23)
    assert server.num_batches_made == 1


@pytest.mark.parametrize("fault", ["missing", "400", "prose", "swapped", "wrong_types", "refusal"])
def test_what_a_batch_leaves_out_is_asked_once_more(connect, server, fault):
    server.batch_faults.extend([fault])
    llm = connect()
    found = in_batches(llm, numbers(10))
    if fault != "swapped":  # nothing in this task tells a swapped answer
        assert found == right(10)
    assert server.true_cost <= llm.spent()


@pytest.mark.parametrize("end", ["expired", "cancelled", "failed"])
def test_a_batch_that_ends_early_gives_what_it_has(connect, server, end):
    server.batch_end = end
    server.batch_faults.extend(["missing"] * 3)
    llm = connect()
    found = in_batches(llm, numbers(10))
    if end == "failed":
        assert all(isinstance(error, AnswerInvalid) for error in found.values())
        assert llm.spent() == 0
    else:
        assert sum(isinstance(answer, int) for answer in found.values()) == 9
        assert llm.spent() == server.true_cost


@pytest.mark.parametrize("refusal", ["500", "drop"])
def test_a_batch_whose_making_was_not_confirmed_is_looked_for_not_made_twice(connect, server, refusal):
    server.batch_refusals.append(refusal)
    llm = connect()
    with pytest.raises(NetworkError):
        in_batches(llm, numbers(10))
    assert in_batches(llm, numbers(10)) == right(10)
    assert server.num_batches_made == 1
    assert llm.spent() == server.true_cost


def test_a_killed_process_fetches_the_batch_it_handed_in(server, tmp_path):
    server.batch_polls = 10**6
    command = [sys.executable, str(CHILD), str(tmp_path / "ledger.sqlite"), "40", "batch"]
    environ = {**os.environ, **server.environ}
    child = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE)
    while not server.num_batches_made:
        time.sleep(0.01)
    time.sleep(0.1)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    for batch in server.batches.values():
        batch["polls"] = 0
    again = subprocess.run(command, env=environ, capture_output=True, text=True, check=True, timeout=300)
    assert sorted(map(json.loads, again.stdout.splitlines())) == [[n, {"n": n}] for n in range(40)]
    assert server.num_batches_made == 1
    ledger = Ledger(tmp_path / "ledger.sqlite")
    assert ledger.spent() == server.true_cost
    ledger.close()


def test_a_batch_keeps_to_the_budget(connect, server):
    llm = connect(max_dollars=0.01)
    found = in_batches(llm, numbers(200))
    assert any(isinstance(error, BudgetSpent) for error in found.values())
    assert 0 < server.true_cost <= llm.spent() <= to_picodollars(0.01)


def test_a_batch_that_does_not_end_is_left_for_the_next_run(connect, server):
    server.batch_polls = 10**6
    with pytest.raises(NetworkError, match="Run again"):
        in_batches(connect(batch_wait_s=0.1), numbers(3))
    server.batches["batch_0"]["polls"] = 0
    assert in_batches(connect(), numbers(3)) == right(3)
    assert server.num_batches_made == 1


def test_configurations_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="1 or more"):
        LlmConfig(items_per_request=0)
