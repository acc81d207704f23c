"""Which language model is asked, how, and for how much."""

from __future__ import annotations

from dataclasses import dataclass, replace

SCORINGS = ("auto", "json", "digits")


@dataclass(frozen=True)
class LlmConfig:
    """Which model to ask, how, and for how much. The key is not part of it: it comes from OPENAI_API_KEY."""

    base_url: str = ""  # empty: OPENAI_BASE_URL, else OpenAI's own
    model: str = ""  # empty: ARIA_DATA_MODEL
    max_dollars: float = 1.0  # of one run; below 0: no limit. Ours: a mistake costs a dollar, not a rent
    max_total_dollars: float = -1.0  # of everything in the ledger; below 0: no limit
    input_price: float = -1.0  # dollars per million tokens; below 0: from llm_prices.toml
    output_price: float = -1.0
    items_per_request: int = -1  # below 0: 10 (a tenth of the prompt's cost each), 2 from a server at home
    scoring: str = "auto"  # of titles: "json", "digits" (probabilities of 1 to 5), or digits at home and json elsewhere
    max_asks_alone: int = 2  # ours: more requests for an item without a valid answer
    combination: str = ""  # file with the weights of digits and other scorer (`screen/digits.py`); empty: ours
    max_attempts: int = 6  # ours: with waits that double from 1 s, this bridges half a minute of failures
    first_wait_s: float = 1.0
    max_wait_s: float = 120.0  # if a server asks to wait longer, the item fails
    patience_s: float = 60.0  # ours: so long a server may be away; starting one takes half a minute
    deadline_s: float = -1.0  # of one request, to its last byte. Below 0: 120, 600 from a server at home
    start_concurrency: int = -1  # below 0: 4, 1 at a server at home, which has one slot
    max_concurrency: int = -1  # below 0: 16 (adapted to refusals, 429), at home as many as at the start
    extra_output_tokens: int = 0  # a request; reasoning models need some thousand
    seed: int = 0
    batch_poll_s: float = 30.0
    batch_wait_s: float = 90000.0  # a batch may take 24 h (OpenAI), and an hour for its files

    def __post_init__(self) -> None:
        counts = (self.items_per_request, self.start_concurrency, self.max_concurrency)
        if self.max_attempts < 1 or self.max_asks_alone < 0 or 0 in counts:
            raise ValueError("items_per_request, max_attempts and both concurrencies are 1 or more.")
        if self.deadline_s == 0:
            raise ValueError("deadline_s is more than 0.")
        if self.scoring not in SCORINGS:
            raise ValueError(f"scoring is one of {', '.join(SCORINGS)}, not {self.scoring!r}.")

    def for_server(self, is_local: bool) -> LlmConfig:
        """With a number for each setting that depends on whether the server stands at home."""
        start = self.start_concurrency if self.start_concurrency > 0 else (1 if is_local else 4)
        return replace(
            self,
            start_concurrency=start,
            max_concurrency=self.max_concurrency if self.max_concurrency > 0 else (start if is_local else 16),
            items_per_request=self.items_per_request if self.items_per_request > 0 else (2 if is_local else 10),
            deadline_s=self.deadline_s if self.deadline_s > 0 else (600.0 if is_local else 120.0),
            scoring=("digits" if is_local else "json") if self.scoring == "auto" else self.scoring,
        )
