"""Whether a server has read less of a prompt than it was sent: Ollama cuts what is longer than its context in silence.

Only the number of tokens that the server reports is looked at. A few tokens are what is left when a server does not
count what it had in its cache, so they say nothing.
"""

from __future__ import annotations

import re
from typing import Any

from aria_data.llm.prices import Usage

MIN_CONTEXT = 128  # tokens; a count below it is no context but what a cache left over, or made up
MAX_BYTES_A_TOKEN = 5.5  # of a text: English has 4 to 4.8 with the vocabularies of today, other languages less
USUAL_BYTES_A_TOKEN = 4.0  # below this, a count that looks like a context is one by chance
_SAME_AGAIN = re.compile(r"(.)\1{3,}", re.DOTALL)  # a long rule is one token


class CutPrompts:
    """Remembers which counts of tokens were reported for prompts of which lengths."""

    def __init__(self) -> None:
        self._least_bytes: dict[int, int] = {}  # of the prompts for which a count was reported

    def is_cut(self, body: dict[str, Any], usage: Usage | None) -> bool:
        """Whether the reported tokens are too few for a request: for its items alone, or as many as a context holds."""
        if usage is None or usage.prompt_tokens < MIN_CONTEXT:
            return False
        texts = [_SAME_AGAIN.sub(r"\1\1\1", message["content"]) for message in body["messages"]]
        num_bytes = [len(text.encode("utf-8", "replace")) for text in texts]
        of_all, of_items, tokens = sum(num_bytes), num_bytes[-1], usage.prompt_tokens
        least = self._least_bytes.setdefault(tokens, of_all)
        self._least_bytes[tokens] = min(least, of_all)
        if of_items > MAX_BYTES_A_TOKEN * tokens:
            return True
        return of_all > USUAL_BYTES_A_TOKEN * tokens and (_is_round(tokens) or of_all > 1.2 * least)


def _is_round(tokens: int) -> bool:
    """Whether a count is a power of two from 512, as contexts are, or one less."""
    return any(count >= 512 and count & (count - 1) == 0 for count in (tokens, tokens + 1))
