"""Send a group of questions until it is answered: attempts, waits, dialects, reservations. Used by `client.Llm`.

Everything here runs on one event loop; only the ledger is also used by other threads.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aria_data.errors import NetworkError, UsageError
from aria_data.llm.ledger import BudgetSpent, Ledger, Limits
from aria_data.llm.limits import Limiter, backoff_s
from aria_data.llm.prices import Price, Usage
from aria_data.llm.questions import Payload, Task, check_answers, request_body
from aria_data.llm.wire import Endpoint, LlmStopped, NotAllowed, NotLikeThat, NotNow, Reply

UNSEEN_TOKENS = 256  # tokens of a server's chat template: roles, separators, its own preamble
MAX_FAILURES_IN_ROW = 24  # requests, after which no further ones are sent
Asked = tuple[str, Payload]  # a question's key and payload


@dataclass(frozen=True)
class LlmConfig:
    """Which model to ask, how, and for how much. The key is not part of it: it comes from OPENAI_API_KEY."""

    base_url: str = ""  # empty: OPENAI_BASE_URL, else OpenAI's own
    model: str = ""  # empty: ARIA_DATA_MODEL
    max_dollars: float = 1.0  # of one run; below 0: no limit. Ours: a mistake costs a dollar, not a rent
    max_total_dollars: float = -1.0  # of everything in the ledger; below 0: no limit
    input_price: float = -1.0  # dollars per million tokens; below 0: from llm_prices.toml
    output_price: float = -1.0
    items_per_request: int = 10  # ours: the cost of the prompt falls to a tenth, and a failed request affects ten items
    max_asks_alone: int = 2  # ours: more requests for an item without a valid answer
    max_attempts: int = 6  # ours: with waits that double from 1 s, this bridges half a minute of failures
    first_wait_s: float = 1.0
    max_wait_s: float = 120.0  # if a server asks to wait longer, the item fails
    deadline_s: float = 120.0  # of one request, to its last byte; reasoning models take a minute
    start_concurrency: int = 4
    max_concurrency: int = 16  # ours; the limit is adapted to refusals (429)
    extra_output_tokens: int = 0  # a request; reasoning models need some thousand
    seed: int = 0
    batch_poll_s: float = 30.0
    batch_wait_s: float = 90000.0  # a batch may take 24 h (OpenAI), and an hour for its files

    def __post_init__(self) -> None:
        counts = (self.items_per_request, self.max_attempts, self.start_concurrency, self.max_concurrency)
        if min(counts) < 1 or self.max_asks_alone < 0:
            raise ValueError("items_per_request, max_attempts and both concurrencies are 1 or more.")


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
    ):
        self.config, self.endpoint, self.ledger = config, endpoint, ledger
        self.run_id, self.limits = run_id, limits
        self.price = price
        self.dialect = endpoint.first_dialect()
        self.has_succeeded = False
        self._failures_in_row = 0
        self._in_flight = 0
        self._closed_until = 0.0  # when a server that asked to wait longer than `max_wait_s` may be asked again
        self._largest_output = 0  # tokens of an output beyond its limit: such a server ignores limits

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
        answers. Raises the last error when no attempt succeeded.
        """
        failure: Exception = NetworkError(f"{self.endpoint.name}: was not asked.")
        num_failures, most_failures = 0, self.config.max_attempts if attempt == 0 else 2
        while num_failures < most_failures:
            try:
                return await self._ask_once(task, group, attempt)
            except NotLikeThat as refusal:
                failure = refusal
                self._adapt(refusal)
            except NotNow as trouble:
                failure = trouble
                num_failures += 1
                wait_s = trouble.wait_s or 0.0
                if wait_s > self.config.max_wait_s:
                    self._closed_until = time.monotonic() + wait_s
                elif num_failures < most_failures:
                    await asyncio.sleep(max(backoff_s(num_failures - 1, self.config.first_wait_s), wait_s))
        raise failure

    def _check_open(self) -> None:
        if self._failures_in_row >= MAX_FAILURES_IN_ROW:
            raise NetworkError(f"{self.endpoint.name}: nothing has come through for a while. Run again later.")
        if self._closed_until > time.monotonic():
            raise NetworkError(
                f"{self.endpoint.name}: asks to wait {self._closed_until - time.monotonic():.0f} s; run again then."
            )

    def _adapt(self, refusal: NotLikeThat) -> None:
        """Use a plainer dialect from now on, unless another request has changed it already."""
        if refusal.dialect != self.dialect:
            return
        following = self.dialect.after(refusal, may_guess=not self.has_succeeded)
        if following is None:
            if not self.has_succeeded:  # then no guess was right
                self.dialect = self.endpoint.first_dialect()
            raise refusal
        self.dialect = following

    async def _ask_once(self, task: Task, group: Sequence[Asked], attempt: int) -> dict[str, Any]:
        ids = {secrets.token_hex(6): asked for asked in group}
        sent = {item_id: payload for item_id, (_, payload) in ids.items()}
        most_tokens = task.output_tokens(len(group)) * 2**attempt + self.config.extra_output_tokens
        async with self._limiter.slot() as taken_at:
            self._check_open()  # the state may have changed while waiting
            dialect = self.dialect
            body = request_body(task, sent, self.endpoint.model, dialect, most_tokens, self.config.seed)
            request_id, bound = await self._reserve(task, body, len(group), most_tokens)
            try:
                reply = await self.endpoint.ask(self.client, body, self.config.deadline_s)
                if reply.complaint and reply.usage is None:
                    raise NotNow(f"{self.endpoint.name}: the answer {reply.complaint}.", may_be_charged=True)
            except NotNow as trouble:
                self._count_failure(trouble, taken_at)
                await self._settle(request_id, is_refused=not trouble.may_be_charged)
                raise
            except (NotLikeThat, UsageError, LlmStopped) as refusal:
                await self._settle(request_id, is_refused=True)
                if isinstance(refusal, NotAllowed) and self.has_succeeded:  # moderation may answer so too
                    refusal = NotLikeThat(str(refusal), "")
                if isinstance(refusal, NotLikeThat):
                    refusal.dialect = dialect
                raise refusal from None
            except BaseException:
                self._in_flight -= 1  # sent and not seen: what was reserved stays spent
                raise
            self._failures_in_row = 0
            self._limiter.answered(reply.headers or {}, self.config.max_wait_s)
            found = check_answers(task, sent, reply)
            good = {ids[item_id][0]: fields for item_id, fields in found.items() if isinstance(fields, dict)}
            self.has_succeeded = self.has_succeeded or bool(good)
            await self._settle(request_id, self.believed(reply, bound), good)
        return {ids[item_id][0]: each for item_id, each in found.items()}

    def _count_failure(self, trouble: NotNow, taken_at: float) -> None:
        self._failures_in_row += not trouble.is_refusal
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
        """The most tokens a request can use, since a token has at least one byte."""
        num_bytes = len(json.dumps(body, ensure_ascii=False).encode("utf-8", "replace"))
        return Usage(num_bytes + UNSEEN_TOKENS, max(most_tokens, self._largest_output))

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
