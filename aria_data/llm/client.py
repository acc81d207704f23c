"""One question to a language model, one typed answer: cached, checked, priced, within a budget.

    with Llm(LlmConfig(max_dollars=1.0), ledger_path) as llm:
        for question, answer in llm.ask_many(task, questions):
            ...                                  # an `Answer`, or the error that prevented it

Several questions share a request. Each gets a random id made for that request, so no text in a question can pose as
the answer to another. Answers are checked one by one; a question whose answer is missing or wrong is asked again alone.
An answered question is in the ledger's file and is never asked again, even among other questions.
"""

from __future__ import annotations

import asyncio
import queue
import secrets
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aria_data.errors import NetworkError, TemporaryError, UsageError
from aria_data.llm.exchange import Announce, Asked, Exchange, TooMany
from aria_data.llm.forecast import Forecast, forecast_of
from aria_data.llm.ledger import BudgetSpent, Ledger, Limits
from aria_data.llm.patience import NothingUsable
from aria_data.llm.prices import Price, find_price, to_picodollars, unknown_price
from aria_data.llm.questions import Payload, Question, Task, question_key
from aria_data.llm.settings import LlmConfig
from aria_data.llm.wire import Endpoint, LlmStopped, NotLikeThat, NotNow

__all__ = ["Answer", "BudgetSpent", "Forecast", "Llm", "LlmConfig", "LlmStopped", "Question", "Task"]
NOTHING_LEFT = (UsageError, LlmStopped)  # errors that every other question would meet too
HOPELESS_ALONE = (
    NotNow,
    NotLikeThat,
    BudgetSpent,
    NothingUsable,
)  # after one of these, a request for one item is not repeated


@dataclass(frozen=True, slots=True)
class Answer:
    """The checked fields of an answer, the model that gave it, and whether it was in the ledger already."""

    fields: Mapping[str, Any]
    model: str
    was_cached: bool


Report = Callable[[str, Any], None]


class Llm:
    """One model at one address with one ledger. Threads may share it, with its limits and its budget.

    Raises `UsageError` without a key or a model, for a bad address, and for an unknown price if there is a budget.
    """

    def __init__(
        self,
        config: LlmConfig,
        ledger_path: Path,
        environ: Mapping[str, str] | None = None,
        run_id: str = "",
        announce: Announce = lambda line: None,
    ):
        self.endpoint = Endpoint(config.base_url, config.model, environ)
        self.config = config = config.for_server(self.endpoint.is_local)
        self.model = self.endpoint.model
        self.run_id = run_id or secrets.token_hex(8)
        self.limits = Limits(_limit(config.max_dollars), _limit(config.max_total_dollars))
        self.price = self._find_price(in_batch=False)
        self.batch_price = self._find_price(in_batch=True)
        self.ledger = Ledger(ledger_path)
        self.exchange = Exchange(config, self.endpoint, self.ledger, self.run_id, self.limits, self.price, announce)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="llm", daemon=True)
        self._thread.start()
        try:
            self.run(self.exchange.start())
        except BaseException:
            self.close()
            raise

    def _find_price(self, in_batch: bool) -> Price | None:
        price = find_price(self.model, self.config.input_price, self.config.output_price, in_batch)
        if price is None and (self.limits.run is not None or self.limits.total is not None):
            raise unknown_price(self.endpoint.scrub(self.model))
        return price

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the thread that talks to the server, and give its result."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        finally:
            future.cancel()

    def close(self) -> None:
        """Cancel the requests under way. What was reserved for them counts as spent."""
        if self._loop.is_closed():
            return
        self.run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self.ledger.close()

    async def _close(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.exchange.stop()
        await asyncio.get_running_loop().shutdown_default_executor()

    def __enter__(self) -> Llm:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Llm({self.endpoint!r})"

    def spent(self) -> int:
        """Picodollars that this run has spent or reserved."""
        return self.ledger.spent(self.run_id)

    def cached(self, task: Task, payload: Payload) -> Answer | None:
        """The answer in the ledger, if there is one."""
        fields = self.ledger.answer(question_key(self.model, task, payload))
        return None if fields is None else Answer(fields, self.model, was_cached=True)

    def forecast(self, task: Task, questions: Iterable[Question], in_batch: bool = False) -> Forecast:
        """Estimate requests, tokens, time and, for a model whose price is known, the cost, without asking."""
        is_cached = lambda payload: self.cached(task, payload) is not None  # noqa: E731
        return forecast_of(
            task,
            questions,
            is_cached,
            self.batch_price if in_batch else self.price,
            self.config.items_per_request,
            self.config.extra_output_tokens,
            self.ledger.seen(task.name, self.model),
        )

    def ask(self, task: Task, payload: Payload) -> Answer:
        """Ask one question. Raises `TemporaryError` when it is not answered, and the errors of `ask_many`."""
        for _, answer in self.ask_many(task, [Question(None, payload)]):
            if isinstance(answer, Exception):
                raise answer
            return answer
        raise AssertionError("a question was neither answered nor refused")

    def ask_many(self, task: Task, questions: Iterable[Question]) -> Iterator[tuple[Question, Answer | Exception]]:
        """Ask all questions, and yield each once, in any order; `questions` is read as requests finish.

        An error of one item is yielded with it, as a `TemporaryError`. An error that every other item would meet too
        (key, address, empty account) is raised: `UsageError` or `LlmStopped`.
        """
        arrived: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        waiting: dict[str, list[Question]] = {}
        futures: set[Future[None]] = set()
        most_waiting = 2 * self.config.items_per_request * self.config.max_concurrency

        def submit(group: list[Asked]) -> None:
            work = self._answer(task, group, lambda key, found: arrived.put((key, found)))
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
            futures.add(future)
            future.add_done_callback(futures.discard)

        def take(is_patient: bool) -> Iterator[tuple[Question, Answer | Exception]]:
            try:
                key, found = arrived.get(is_patient)
            except queue.Empty:
                return
            if isinstance(found, NOTHING_LEFT):
                raise found
            for question in waiting.pop(key, ()):
                yield question, found

        try:
            for group in self._groups(task, questions, waiting):
                if isinstance(group, tuple):
                    yield group
                    continue
                submit(group)
                while len(waiting) > most_waiting:
                    yield from take(is_patient=True)
                while not arrived.empty():
                    yield from take(is_patient=False)
            while waiting:
                yield from take(is_patient=True)
        finally:
            for future in list(futures):
                future.cancel()

    def _groups(
        self, task: Task, questions: Iterable[Question], waiting: dict[str, list[Question]]
    ) -> Iterator[list[Asked] | tuple[Question, Answer]]:
        """Yield groups of questions that share a request, or a question with its answer from the ledger."""
        group: list[Asked] = []
        for question in questions:
            key = question_key(self.model, task, question.payload)
            if key in waiting:
                waiting[key].append(question)
                continue
            fields = self.ledger.answer(key)
            if fields is not None:
                yield question, Answer(fields, self.model, was_cached=True)
                continue
            waiting[key] = [question]
            if question.is_alone or task.choices:
                yield [(key, question.payload)]
                continue
            group.append((key, question.payload))
            if len(group) == self.config.items_per_request:
                yield group
                group = []
        if group:
            yield group

    async def _answer(self, task: Task, group: list[Asked], report: Report) -> None:
        """Ask a group together, then each item without a valid answer alone. Every item is reported once."""
        left: dict[str, tuple[Payload, Exception]] = {key: (payload, NetworkError("")) for key, payload in group}
        was_alone: set[str] = set()

        async def ask(part: list[Asked], attempt: int) -> None:
            try:
                found = await self.exchange.ask(task, part, attempt)
            except TooMany:
                most = min(self.exchange.most_items, max(1, len(part) // 2))
                await asyncio.gather(*(ask(part[start : start + most], 0) for start in range(0, len(part), most)))
                return
            except (TemporaryError, UsageError) as error:
                found = {key: error for key, _ in part}
            was_alone.update(key for key, _ in part if len(part) == 1)
            for key, fields in found.items():
                if isinstance(fields, TemporaryError) and not isinstance(fields, LlmStopped):
                    left[key] = (left[key][0], fields)
                    continue
                del left[key]
                is_answer = not isinstance(fields, Exception)
                report(key, Answer(fields, self.model, was_cached=False) if is_answer else fields)

        try:
            await ask(group, 0)
            for attempt in range(1, 1 + (0 if task.choices else self.config.max_asks_alone)):
                again = [
                    (key, payload)
                    for key, (payload, error) in left.items()
                    if not (key in was_alone and isinstance(error, HOPELESS_ALONE))
                ]
                await asyncio.gather(*(ask([each], attempt) for each in again))
        except Exception as error:  # a fault of this program or of the disk is reported with each item left
            left = {key: (payload, error) for key, (payload, _) in left.items()}
        for key, (_, failure) in left.items():
            report(key, failure)


def _limit(dollars: float) -> int | None:
    return None if dollars < 0 else to_picodollars(dollars)
