"""The same questions through the batch interface: half the price, an answer within a day.

A batch is recorded in the ledger before it is submitted, with a label that is also sent as its metadata. After a killed
process, the next run fetches what was paid for instead of asking again:

    recorded, not submitted     searched by its label in the server's list, or taken as never made
    submitted                   waited for
    ended, not yet fetched      fetched

Items that a batch does not answer are asked once more in a second batch, each alone; then they stay not done.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from aria_data.errors import NetworkError, UsageError
from aria_data.llm import Answer, Llm
from aria_data.llm.exchange import Asked
from aria_data.llm.ledger import BudgetSpent
from aria_data.llm.limits import backoff_s
from aria_data.llm.prices import Price, Usage
from aria_data.llm.questions import Question, Task, question_key, request_body
from aria_data.llm.replies import AnswerInvalid, check_answers
from aria_data.llm.wire import MAX_BATCH_BYTES, LlmStopped, NotLikeThat, NotNow

MAX_LINES = 10_000  # requests in a batch; OpenAI takes 50,000 and 200 MB
MAX_PAGES = 20  # of the server's list, when a batch is searched
NOT_CHARGED = ("expired", "cancelled", "failed")  # the server does not charge what such a batch did not answer
Announce = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Line:
    """One request of a batch."""

    ids: Mapping[str, Asked]  # the items asked about, by their ids in the request
    body: Mapping[str, Any]
    bound: Usage  # the most it may use


def ask_in_batches(
    llm: Llm, task: Task, questions: Iterable[Question], announce: Announce = lambda line: None
) -> Iterator[tuple[Question, Answer | Exception]]:
    """Ask all questions, as `Llm.ask_many` does, and wait for the batches. A call after a kill continues.

    Raises `NetworkError` when a batch has not ended after `batch_wait_s`; the next call looks for it again.
    """
    batches = _Batches(llm, task, announce)
    llm.run(batches.fetch_open())
    waiting: dict[str, list[Question]] = {}
    for question in questions:
        answer = llm.cached(task, question.payload)
        if answer is not None:
            yield question, answer
        else:
            waiting.setdefault(question_key(llm.model, task, question.payload), []).append(question)
    reasons: dict[str, Exception] = {}
    for is_second in (False, True):
        groups = _groups(waiting, 1 if is_second else llm.config.items_per_request)
        for start in range(0, len(groups), MAX_LINES):
            reasons |= llm.run(batches.ask(groups[start : start + MAX_LINES], is_second))
        for key in list(waiting):
            answer = llm.cached(task, waiting[key][0].payload)
            if answer is not None:
                yield from ((question, replace(answer, was_cached=False)) for question in waiting.pop(key))
    for key, left in waiting.items():
        yield from ((question, reasons.get(key, AnswerInvalid("the batch holds no answer."))) for question in left)


def _groups(waiting: Mapping[str, list[Question]], most: int) -> list[list[Asked]]:
    alone = [[(key, each[0].payload)] for key, each in waiting.items() if each[0].is_alone]
    together = [(key, each[0].payload) for key, each in waiting.items() if not each[0].is_alone]
    return alone + [together[start : start + most] for start in range(0, len(together), most)]


class _Batches:
    """The batches of one task and one model."""

    def __init__(self, llm: Llm, task: Task, announce: Announce):
        self.llm, self.task, self.announce = llm, task, announce
        self.config, self.ledger, self.endpoint = llm.config, llm.ledger, llm.endpoint
        self.kind = f"{task.name} {task.prompt_version}"
        self._spoken = llm.exchange.dialect

    @property
    def price(self) -> Price | None:
        return self.llm.batch_price

    async def call(self, make: Callable[[Any], Any], deadline_s: float | None = None, is_paying: bool = False) -> Any:
        """Make one call of the client, and retry it while that may help; a call that costs money is made only once."""
        client = self.endpoint.open(MAX_BATCH_BYTES)
        try:
            for attempt in range(1 if is_paying else self.config.max_attempts):
                try:
                    return await self.endpoint.call(make(client), deadline_s or self.config.deadline_s)
                except NotNow as trouble:
                    if is_paying or attempt + 1 == self.config.max_attempts:
                        raise
                    await asyncio.sleep(max(backoff_s(attempt, self.config.first_wait_s), trouble.wait_s or 0.0))
        finally:
            await client.close()

    async def fetch_open(self) -> None:
        """Fetch the batches that earlier runs submitted."""
        for label, batch_id in self.ledger.open_batches(self.kind, self.llm.model):
            found = batch_id or await self._find(label)
            if found:
                self.announce(f"going on with batch {self.endpoint.scrub(found)}")
                await self._wait_and_read(label, found)
            else:
                self._drop(label)

    async def ask(self, groups: list[list[Asked]], is_second: bool) -> dict[str, Exception]:
        """Submit one batch and wait for it. Gives the errors of items that were not answered, by key."""
        lines, reasons = self._reserve(groups, is_second)
        if not lines:
            return reasons
        label = secrets.token_hex(12)
        noted = {
            str(number): (number, {"ids": line.ids, "bound": _plain(line.bound)}) for number, line in lines.items()
        }
        self.ledger.open_batch(label, self.kind, self.llm.model, noted)
        try:
            batch_id = await self._hand_in(label, lines)
        except NotNow as trouble:
            if not trouble.may_be_charged:
                self._drop(label)
            raise  # else the next run looks for it by its label
        except (NotLikeThat, UsageError, LlmStopped):
            self._drop(label)
            raise
        self.announce(f"batch {self.endpoint.scrub(batch_id)}: {len(lines)} requests handed in")
        return reasons | await self._wait_and_read(label, batch_id)

    def _reserve(self, groups: list[list[Asked]], is_second: bool) -> tuple[dict[int, Line], dict[str, Exception]]:
        exchange, lines = self.llm.exchange, dict[int, Line]()
        reasons: dict[str, Exception] = {}
        for group in groups:
            ids = {secrets.token_hex(6): asked for asked in group}
            most_tokens = self.task.output_tokens(len(group)) * (1 + is_second) + self.config.extra_output_tokens
            sent = {item_id: payload for item_id, (_, payload) in ids.items()}
            body = request_body(self.task, sent, self.llm.model, exchange.dialect, most_tokens, self.config.seed)
            bound = exchange.bound(body, most_tokens)
            worst = None if self.price is None else self.price.of(bound)
            try:
                number = self.ledger.reserve(
                    self.llm.run_id, self.task.name, self.llm.model, len(group), worst, self.llm.limits, is_batch=True
                )
            except BudgetSpent as error:
                reasons |= {key: error for key, _ in group}
                continue
            lines[number] = Line(ids, body, bound)
        return lines, reasons

    async def _hand_in(self, label: str, lines: Mapping[int, Line]) -> str:
        rows = [
            {"custom_id": str(number), "method": "POST", "url": "/v1/chat/completions", "body": line.body}
            for number, line in lines.items()
        ]
        content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8", "replace")
        file = (f"{label}.jsonl", content, "application/jsonl")
        try:
            raw = await self.call(
                lambda client: client.files.with_raw_response.create(file=file, purpose="batch"), self._long()
            )
        except NotNow as trouble:  # an uploaded file costs nothing
            raise NotNow(str(trouble), may_be_charged=False) from None
        file_id = str(_read(raw.content).get("id", ""))
        raw = await self.call(
            lambda client: client.batches.with_raw_response.create(
                input_file_id=file_id,
                endpoint="/v1/chat/completions",
                completion_window="24h",
                metadata={"aria_data": label},
            ),
            is_paying=True,
        )
        batch_id = _read(raw.content).get("id")
        if not isinstance(batch_id, str) or not batch_id:
            raise NotNow(f"{self.endpoint.name}: took a batch and did not say its id.", may_be_charged=True)
        self.ledger.name_batch(label, batch_id)
        return batch_id

    def _long(self) -> float:
        return 10 * self.config.deadline_s

    async def _find(self, label: str) -> str:
        """The server's id of a recorded batch that may have been submitted before a kill; "" if it was not."""
        after: dict[str, str] = {}
        for _ in range(MAX_PAGES):
            make = lambda client: client.batches.with_raw_response.list(limit=100, **after)  # noqa: B023, E731
            page = _read((await self.call(make)).content)
            rows = [row for row in page.get("data") or [] if isinstance(row, dict) and isinstance(row.get("id"), str)]
            for row in rows:
                if (row.get("metadata") or {}).get("aria_data") == label:
                    self.ledger.name_batch(label, row["id"])
                    return row["id"]
            if not rows or not page.get("has_more"):
                break
            after = {"after": rows[-1]["id"]}
        return ""

    def _drop(self, label: str) -> None:
        """Release what was reserved for a batch that was never made, and close it."""
        self.ledger.release([request_id for request_id, _ in self.ledger.batch_lines(label).values()])
        self.ledger.close_batch(label)

    async def _wait_and_read(self, label: str, batch_id: str) -> dict[str, Exception]:
        batch = await self._wait(batch_id)
        reasons: dict[str, Exception] = {}
        lines, self._spoken = self.ledger.batch_lines(label), self.llm.exchange.dialect
        answered: set[str] = set()
        for name in ("output_file_id", "error_file_id"):
            file_id = batch.get(name)
            if isinstance(file_id, str) and file_id:
                make = lambda client: client.files.with_raw_response.content(file_id)  # noqa: B023, E731
                content = (await self.call(make, self._long())).content
                for row in _rows(content):
                    custom_id = str(row.get("custom_id"))
                    if custom_id in lines and custom_id not in answered:
                        answered.add(custom_id)
                        reasons |= self._read_line(row, *lines[custom_id])
        unseen = [request_id for custom_id, (request_id, _) in lines.items() if custom_id not in answered]
        if batch["status"] in NOT_CHARGED:
            self.ledger.release(unseen)
        stopped = AnswerInvalid(f"the batch ended as {batch['status']}.")
        reasons |= {
            key: stopped
            for custom_id, (_, sent) in lines.items()
            if custom_id not in answered
            for key, _ in sent["ids"].values()
        }
        self.ledger.close_batch(label)
        self.announce(
            f"batch {self.endpoint.scrub(batch_id)}: {batch['status']}, {len(answered)} of {len(lines)} answered"
        )
        return reasons

    async def _wait(self, batch_id: str) -> dict[str, Any]:
        end = time.monotonic() + self.config.batch_wait_s
        while True:
            try:
                raw = await self.call(lambda client: client.batches.with_raw_response.retrieve(batch_id))
                batch = _read(raw.content)
            except (UsageError, NotLikeThat):
                return {"status": "lost"}  # the server does not know it any more
            if batch.get("status") in ("completed", *NOT_CHARGED):
                return batch
            if time.monotonic() > end:
                raise NetworkError(f"batch {self.endpoint.scrub(batch_id)} has not ended. Run again to fetch it.")
            await asyncio.sleep(self.config.batch_poll_s)

    def _read_line(self, row: Mapping[str, Any], request_id: int, sent: Mapping[str, Any]) -> dict[str, Exception]:
        """Settle one request of a batch in the ledger with its answers. Gives the errors of its items, by key."""
        ids = sent["ids"]
        response = row.get("response") if isinstance(row.get("response"), dict) else {}
        assert isinstance(response, dict)
        if response.get("status_code") != 200:
            said = self.endpoint.scrub(json.dumps(row.get("error") or response.get("body")))
            self.ledger.release([request_id])
            self._learn(said)
            return {key: AnswerInvalid(f"the batch says: {said}") for key, _ in ids.values()}
        reply = self.endpoint.read_body(response.get("body"))
        found = check_answers(self.task, {item_id: payload for item_id, (_, payload) in ids.items()}, reply)
        usage = self.llm.exchange.believed(reply, Usage(*sent["bound"]))
        cost = None if usage is None or self.price is None else self.price.of(usage)
        good = {ids[item_id][0]: fields for item_id, fields in found.items() if isinstance(fields, dict)}
        self.ledger.settle(request_id, usage, cost, good)
        return {ids[item_id][0]: error for item_id, error in found.items() if isinstance(error, Exception)}

    def _learn(self, said: str) -> None:
        """Change the dialect after a refusal, so that a second batch is not refused for the same form of request."""
        following = self._spoken.after(said.lower(), may_guess=False)
        if following is not None and self.llm.exchange.dialect == self._spoken:
            self.llm.exchange.dialect = following


def _plain(usage: Usage) -> list[int]:
    return [usage.prompt_tokens, usage.completion_tokens]


def _read(content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise NotNow("the server's answer about a batch is no JSON object.", may_be_charged=True)
    return value


def _rows(content: bytes) -> Iterator[dict[str, Any]]:
    for line in content.splitlines():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            yield row
