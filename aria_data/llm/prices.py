"""The cost of requests to language models, in whole picodollars. No request, no ledger.

A dollar per million tokens is a million picodollars per token, so sums of whole numbers are exact.
"""

from __future__ import annotations

import math
import re
import tomllib
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from functools import cache
from importlib import resources

from aria_data.errors import UsageError

PICODOLLARS = 10**12  # in a dollar
_DATE = re.compile(r"-\d{4}-?\d{2}-?\d{2}$")


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens of one request; `cached_tokens` are part of `prompt_tokens`."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Price:
    """Picodollars a token."""

    prompt: int
    cached: int
    completion: int

    def of(self, usage: Usage) -> int:
        """The cost of a request, in picodollars."""
        fresh = usage.prompt_tokens - usage.cached_tokens
        return fresh * self.prompt + usage.cached_tokens * self.cached + usage.completion_tokens * self.completion


def find_price(model: str, input_price: float, output_price: float, in_batch: bool = False) -> Price | None:
    """The price of a model: as given (dollars per million tokens, both 0 or more), else the table's, else None.

    A given price is also used for batches, whose discount is not known. Raises `UsageError` if only one is given.
    """
    if input_price >= 0 and output_price >= 0:
        prompt = _a_token(Decimal(str(input_price)))
        return Price(prompt, prompt, _a_token(Decimal(str(output_price))))
    if input_price >= 0 or output_price >= 0:
        raise UsageError("input_price and output_price go together: give both, in dollars per million tokens.")
    row = _table().get(model) or _table().get(_DATE.sub("", model))
    if row is None:
        return None
    part = row["batch"] if in_batch else Decimal(1)
    return Price(*(_a_token(row[name] * part) for name in ("input", "cached", "output")))


def unknown_price(model: str) -> UsageError:
    """Make the error for a model without a price where one is needed."""
    return UsageError(
        f"the price of the model {model!r} is not known, so no budget can be kept. Give input_price and output_price "
        "in dollars per million tokens (--input-price, --output-price); 0 is right for a server of your own."
    )


def to_picodollars(dollars: float) -> int:
    """Convert dollars, rounding down so that a budget does not grow. Raises `UsageError` for infinity and NaN."""
    if not math.isfinite(dollars):
        raise UsageError(f"{dollars} is not a sum of dollars.")
    return int(Decimal(str(dollars)) * PICODOLLARS)


def to_dollars(picodollars: int) -> float:
    """Convert to dollars for display; add up picodollars first."""
    return picodollars / PICODOLLARS


def _a_token(dollars_a_million: Decimal) -> int:
    return int((dollars_a_million * PICODOLLARS / 10**6).to_integral_value(ROUND_CEILING))


@cache
def _table() -> dict[str, dict[str, Decimal]]:
    source = resources.files("aria_data.llm").joinpath("llm_prices.toml").read_text(encoding="utf-8")
    return tomllib.loads(source, parse_float=Decimal)["models"]
