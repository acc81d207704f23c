"""Send a group of questions until it is answered: attempts, waits, dialects, reservations. Used by `client.Llm`.

Everything here runs on one event loop; only the ledger is also used by other threads.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from aria_data.errors import NetworkError, UsageError
from aria_data.llm.cut_prompts import CutPrompts
from aria_data.llm.dialect import Dialect
from aria_data.llm.ledger import BudgetSpent, Ledger, Limits
from aria_data.llm.limits import Limiter, backoff_s
from aria_data.llm.patience import MAX_PAUSE_S, Patience
from aria_data.llm.prices import Price, Usage
from aria_data.llm.questions import Payload, Task, request_body
from aria_data.llm.replies import check_answers
from aria_data.llm.settings import LlmConfig
from aria_data.llm.wire import Endpoint, LlmStopped, NotAllowed, NotLikeThat, NotNow, Reply, TooLong

UNSEEN_TOKENS = 256  # tokens of a server's chat template: roles, separators, its own preamble
MIN_OUTPUT = 100  # tokens: less than an answer has
MAX_LATE = 2  # attempts at one item that does not get its answer in time
Announce = Callable[[str], None]
Asked = tuple[str, Payload]  # a question's key and payload


class TooMany(Exception):
    """The items of a request are too many for this server; they are to be asked in smaller groups."""


class Exchange:
    """Sends requests to one server, and adapts to it: its capacity, its dialect, whether requests succeed at all."""

    def __init__(
        self,
        config: LlmConfig,
        endpoint: Endpoint,
        ledger: Ledger,
        run_id: str,
        limits: Limits,
        price: Price | None,
        announce: Announce = lambda line: None,
    ):
        self.config, self.endpoint, self.ledger = config, endpoint, ledger
        self.run_id, self.limits, self.announce = run_id, limits, announce
        self.price = price
        self.dialect = endpoint.first_dialect()
        self.has_succeeded = False
        self.most_items = config.items_per_request
        self.patience = Patience(endpoint.name, config.patience_s, config.first_wait_s)
        self._cut_prompts = CutPrompts()
        self._num_poor = 0  # requests in a row in which most items were not answered
        self._in_flight = 0
        self._closed_until = 0.0  # when a server that asked to wait longer than `max_wait_s` may be asked again
        self._largest_output = 0  # tokens of an output beyond its limit: such a server ignores limits
        self._most_output = 1 << 30  # tokens of an answer that fit into the model's context
        self._least_prompt: dict[str, int] = {}  # tokens seen of a request, by its instructions

    async def start(self) -> None:
        """Make the client and the limiter, inside the event loop."""
        self.client = self.endpoint.open()
        self._limiter = Limiter(self.config.start_concurrency, self.config.max_concurrency)
        self._settled = asyncio.Condition()

    async def stop(self) -> None:
        if hasattr(self, "client"):
            await self.client.close()

    async def ask(self, task: Task, group: Sequence[Asked], attempt: int) -> dict[str, Any]:
        """Make one request with all its attempts. Gives each item's fields or error, by key.

        `attempt` is 0 for a group's first request; later ones are for one item, are retried less and may have longer
        answers. Raises `TooMany` when the items are to be asked in smaller groups, and the last error when no attempt
        succeeded.
        """
        num_failures, num_waits = 0, 0
        most_failures = self.config.max_attempts if attempt == 0 else 2
        while True:
            most_tokens = task.output_tokens(len(group)) * 2**attempt + self.config.extra_output_tokens
            most_tokens = min(most_tokens, self._most_output)
            try:
                return await self._ask_once(task, group, attempt, most_tokens)
            except TooLong as refusal:
                self._fewer(len(group), "do not fit into the model's context")
                if most_tokens <= MIN_OUTPUT or refusal.is_cut:
                    raise TooLong(f"{refusal} Start the server with a larger context (Ollama: num_ctx).", "") from None
                self._most_output = min(self._most_output, max(MIN_OUTPUT, most_tokens // 2))
            except NotLikeThat as refusal:
                self._adapt(refusal)
            except NotNow as trouble:
                if trouble.is_late:
                    self._fewer(len(group), "were not answered in time")
                    most_failures = min(most_failures, MAX_LATE)
                is_waiting = self.patience.waits_for(trouble)
                num_waits, num_failures = num_waits + is_waiting, num_failures + (not is_waiting)
                if num_failures >= most_failures:
                    raise
                await self._pause(trouble, max(num_failures, num_waits))

    async def _pause(self, trouble: NotNow, number: int) -> None:
        """Wait before the next attempt, unless the server asks for more patience than there is."""
        wait_s = trouble.wait_s or 0.0
        if wait_s > self.config.max_wait_s:
            self._closed_until = time.monotonic() + wait_s
            raise trouble
        most_s = MAX_PAUSE_S if trouble.is_away else 60.0
        await asyncio.sleep(max(backoff_s(number - 1, self.config.first_wait_s, most_s), wait_s))

    def _fewer(self, num_items: int, why: str) -> None:
        """Put fewer items into requests from now on. Raises `TooMany` if this one had several."""
        if num_items == 1:
            return
        if num_items <= self.most_items:
            self.most_items = num_items // 2
            self.announce(f"{num_items} items {why}; from now on at most {self.most_items} a request.")
        raise TooMany

    def _check_open(self, task: Task, num_items: int) -> None:
        if num_items > self.most_items:
            raise TooMany
        self.patience.check(task.name)
        if self._closed_until > time.monotonic():
            raise NetworkError(
                f"{self.endpoint.name}: asks to wait {self._closed_until - time.monotonic():.0f} s; run again then."
            )

    def _adapt(self, refusal: NotLikeThat) -> None:
        """Use a plainer dialect from now on, unless another request has changed it already."""
        if refusal.dialect != self.dialect:
            return
        following = self.dialect.after(refusal.names, may_guess=not self.has_succeeded)
        if following is None:
            if not self.has_succeeded:  # then no guess was right
                self.dialect = self.endpoint.first_dialect()
            raise refusal
        self.dialect = following

    async def _ask_once(self, task: Task, group: Sequence[Asked], attempt: int, most_tokens: int) -> dict[str, Any]:
        ids = {secrets.token_hex(6): asked for asked in group}
        sent = {item_id: payload for item_id, (_, payload) in ids.items()}
        async with self._limiter.slot() as taken_at:
            self._check_open(task, len(group))  # the state may have changed while waiting
            dialect = self.dialect
            body = request_body(task, sent, self.endpoint.model, dialect, most_tokens, self.config.seed, attempt)
            request_id, bound = await self._reserve(task, body, len(group), most_tokens)
            reply = await self._send(task, body, request_id, dialect, taken_at)
            self._limiter.answered(reply.headers or {}, self.config.max_wait_s)
            if self._cut_prompts.is_cut(body, reply.usage):
                await self._settle(request_id, self.believed(reply, bound))
                raise self._cut(body, reply.usage)
            found = check_answers(task, sent, reply)
            good = {ids[item_id][0]: fields for item_id, fields in found.items() if isinstance(fields, dict)}
            usage = self.believed(reply, bound)
            await self._settle(request_id, usage, good)
            self._learn(task, body, usage, reply, [found[item_id] for item_id in sent], dialect)
        return {ids[item_id][0]: each for item_id, each in found.items()}

    def _cut(self, body: Any, usage: Usage | None) -> TooLong:
        tokens = usage.prompt_tokens if usage else 0
        refusal = TooLong(
            f"{self.endpoint.name}: read {tokens} tokens of a prompt of {_num_bytes(body['messages'])} bytes, so its "
            "context is full and it cut the rest without saying so.",
            "",
        )
        refusal.is_cut = True
        return refusal

    async def _send(self, task: Task, body: Any, request_id: int, dialect: Dialect, taken_at: float) -> Reply:
        """Send a request; if it fails, settle what was reserved for it, and raise why."""
        try:
            reply = await self.endpoint.ask(self.client, body, self.config.deadline_s)
            if reply.complaint and reply.usage is None:
                raise NotNow(f"{self.endpoint.name}: the answer {reply.complaint}.", may_be_charged=True)
            self.patience.answered()
            return reply
        except NotNow as trouble:
            self._count_failure(task, trouble, taken_at)
            await self._settle(request_id, is_refused=not trouble.may_be_charged)
            raise
        except (NotLikeThat, UsageError, LlmStopped) as refusal:
            self.patience.answered()
            await self._settle(request_id, is_refused=True)
            if isinstance(refusal, NotAllowed) and self.has_succeeded:  # moderation may answer so too
                refusal = NotLikeThat(str(refusal), "")
            if isinstance(refusal, NotLikeThat):
                refusal.dialect = dialect
            raise refusal from None
        except BaseException:
            self._in_flight -= 1  # sent and not seen: what was reserved stays spent
            raise

    def _learn(
        self, task: Task, body: Any, usage: Usage | None, reply: Reply, found: Sequence[Any], dialect: Dialect
    ) -> None:
        """Draw conclusions from an answer: what a prompt costs, how many items fit, whether the form is understood."""
        if usage is not None and (instructions := _instructions(body)):
            least = self._least_prompt.get(instructions, usage.prompt_tokens)
            self._least_prompt[instructions] = min(least, usage.prompt_tokens)
        num_good = sum(isinstance(each, dict) for each in found)
        self.has_succeeded = self.has_succeeded or bool(num_good)
        words = next((str(each) for each in found if isinstance(each, Exception)), "")
        self.patience.judge(task.name, bool(num_good), words)
        is_of_another_form = not num_good and not task.choices and (not reply.complaint or "empty" in reply.complaint)
        if is_of_another_form and not reply.is_cut and not self.has_succeeded and dialect == self.dialect:
            self.dialect = self.dialect.after_unusable() or self.dialect
        self._num_poor = self._num_poor + 1 if 2 * num_good < len(found) else 0
        if self._num_poor >= 2 and len(found) > 1:
            self._num_poor = 0
            with suppress(TooMany):
                self._fewer(len(found), "were mostly left unanswered")

    def _count_failure(self, task: Task, trouble: NotNow, taken_at: float) -> None:
        if trouble.is_late:
            self._limiter.refused(taken_at, 0.0)
            if self.most_items == 1:  # even one item is too slow
                self.patience.judge(task.name, False, str(trouble))
        elif trouble.is_away or not trouble.is_refusal:
            self.patience.failed(trouble, self._limiter)
        if trouble.is_refusal:
            wait_s = backoff_s(0, self.config.first_wait_s) if trouble.wait_s is None else trouble.wait_s
            self._limiter.refused(taken_at, wait_s if wait_s <= self.config.max_wait_s else 0.0)

    async def _reserve(self, task: Task, body: Any, num_items: int, most_tokens: int) -> tuple[int, Usage]:
        """Reserve the worst case. If the budget does not cover it, wait for requests under way to settle for less."""
        bound = self.bound(body, most_tokens)
        while True:
            try:
                worst = None if self.price is None else self.price.of(bound)
                request_id = self.ledger.reserve(
                    self.run_id, task.name, self.endpoint.model, num_items, worst, self.limits
                )
            except BudgetSpent:
                if self._in_flight == 0:
                    raise
                async with self._settled:
                    if self._in_flight:
                        await self._settled.wait()
            else:
                self._in_flight += 1
                return request_id, bound

    async def _settle(
        self,
        request_id: int,
        usage: Usage | None = None,
        answers: Mapping[str, Any] | None = None,
        is_refused: bool = False,
    ) -> None:
        self._in_flight -= 1
        try:
            if is_refused:
                self.ledger.release([request_id])
            else:
                cost = None if usage is None or self.price is None else self.price.of(usage)
                self.ledger.settle(request_id, usage, cost, answers)
        finally:
            async with self._settled:
                self._settled.notify_all()

    def bound(self, body: Any, most_tokens: int) -> Usage:
        """The most tokens a request can use: a token has at least one byte, and what instructions cost is learned."""
        most_prompt = _num_bytes(body) + UNSEEN_TOKENS
        if (instructions := _instructions(body)) in self._least_prompt:  # that request had the same instructions
            most_prompt = min(most_prompt, self._least_prompt[instructions] + _num_bytes(body["messages"][-1]))
        return Usage(most_prompt, max(most_tokens, self._largest_output))

    def believed(self, reply: Reply, bound: Usage) -> Usage | None:
        """The reported usage, or None if it cannot be true; then the reserved worst case counts.

        More output than was allowed is accepted if the text is long enough for it: the server ignores the limit, and
        from then on as much is reserved.
        """
        usage = reply.usage
        if (
            usage is None
            or usage.prompt_tokens > bound.prompt_tokens
            or (reply.content and not usage.completion_tokens)
        ):
            return None
        if usage.completion_tokens > bound.completion_tokens:
            if usage.completion_tokens > len(reply.content.encode("utf-8", "replace")):
                return None
            self._largest_output = max(self._largest_output, usage.completion_tokens)
        return usage


def _instructions(body: Any) -> str:
    """What all requests of a task have in common; "" where it is not apart from the items."""
    messages = body["messages"]
    return f"{messages[0]['content']}{sorted(body)}" if len(messages) > 1 else ""


def _num_bytes(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
