"""What some questions would take: requests, tokens, time, and dollars where the price is known. Nothing is asked."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from aria_data.llm.dialect import Dialect
from aria_data.llm.ledger import Seen
from aria_data.llm.prices import Price, Usage, to_dollars
from aria_data.llm.questions import FRAME_TOKENS, Payload, Question, Task, request_body


@dataclass(frozen=True, slots=True)
class Forecast:
    """The expected requests, tokens, seconds and cost of some questions, and the cost at worst.

    `dollars` and `worst_dollars` are None for a model without a price, `seconds` before the first answers.
    """

    num_items: int
    num_cached: int
    num_requests: int
    input_tokens: int
    output_tokens: int
    seconds: float | None
    dollars: float | None
    worst_dollars: float | None

    def __str__(self) -> str:
        time = "time unknown before a first answer" if self.seconds is None else f"about {_span(self.seconds)}"
        cost = "no price known, so no cost (--input-price, --output-price)"
        if self.dollars is not None:
            cost = f"about ${self.dollars:.4f} (at most ${self.worst_dollars:.4f} if each is answered at once)"
        return (
            f"{self.num_items} titles, {self.num_cached} answered before: {self.num_requests} requests, about "
            f"{self.input_tokens} tokens in and {self.output_tokens} out, {time}, {cost}."
        )


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def forecast_of(
    task: Task,
    questions: Iterable[Question],
    is_cached: Callable[[Payload], bool],
    price: Price | None,
    items_per_request: int,
    extra_output_tokens: int,
    seen: Seen,
) -> Forecast:
    """Estimate what `questions` would take, from the texts and from what was seen of earlier answers."""
    counts = {"items": 0, "cached": 0, "alone": 0, "together": 0}
    item_bytes, item_tokens = 0, 0
    known: set[int] = set()
    for question in questions:
        counts["items"] += 1
        text = json.dumps(question.payload, ensure_ascii=False)
        if hash(text) in known or is_cached(question.payload):
            counts["cached"] += 1
            continue
        known.add(hash(text))
        counts["alone" if question.is_alone or task.choices else "together"] += 1
        item_bytes += len(json.dumps(text, ensure_ascii=False).encode("utf-8", "replace")) + FRAME_TOKENS
        item_tokens += _tokens(text) + FRAME_TOKENS // 2
    asked = counts["alone"] + counts["together"]
    requests = counts["alone"] + math.ceil(counts["together"] / items_per_request)
    frame = json.dumps(request_body(task, {"": {}}, "", Dialect(), 0, 0), ensure_ascii=False)
    usual = 1.0 if task.choices else task.tokens_an_item / 3 + FRAME_TOKENS
    an_answer = usual if seen.tokens_an_item is None else seen.tokens_an_item
    expected = Usage(item_tokens + requests * _tokens(frame), math.ceil(asked * an_answer))
    most_output = requests * (100 + extra_output_tokens) + asked * (task.tokens_an_item + FRAME_TOKENS)
    worst = Usage(item_bytes + requests * (len(frame.encode()) + 400), most_output)
    return Forecast(
        counts["items"],
        counts["cached"],
        requests,
        expected.prompt_tokens,
        expected.completion_tokens,
        None if seen.seconds_an_item is None else asked * seen.seconds_an_item,
        None if price is None else to_dollars(price.of(expected)),
        None if price is None else to_dollars(price.of(worst)),
    )


def _tokens(text: str) -> int:
    """Estimate the tokens of a text: one for four ASCII characters, one for every other character."""
    num_ascii = sum(character.isascii() for character in text)
    return num_ascii // 4 + (len(text) - num_ascii) + 1
