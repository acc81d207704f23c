"""The form of requests that a server accepts, and what a refusal says about it. No request is made here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

FORMATS = ("json_schema", "json_object", "text")  # from the strictest to what every server has
_ABOUT_FORMAT = ("response_format", "json_schema", "json_object", "structured", "schema", "grammar")
_ABOUT_BOUNDS = ("maxlength", "max_length", "minitems", "maxitems", "min_items", "max_items", "enum")
_ABOUT_SYSTEM = re.compile(
    r"system (?:role|message|prompt|instruction)s?\b|role\W{1,4}system|developer instruction|roles must alternate|"
    r"only (?:the )?user and assistant"
)
_TOO_LONG = re.compile(
    r"context[ _](?:size|length|window)|exceeds? (?:the )?(?:available|maximum|model'?s?) context|prompt is too long|"
    r"too many (?:input )?tokens|input is too long|(?:tokens?|inputs?)\b.{0,60}must (?:be|have) (?:<=|less than)"
)
PARAMETERS = ("temperature", "seed", "max_tokens", "max_completion_tokens", "logprobs", *_ABOUT_FORMAT)
_REFUSES = re.compile(r"support|permitted|unknown|unrecogni[sz]ed|unexpected|invalid|not allowed|extra")


@dataclass(frozen=True, slots=True)
class Dialect:
    """The form of requests. It starts as the strictest, and is relaxed after a refusal."""

    format: str = FORMATS[0]
    limit_name: str = "max_tokens"
    has_other_limit_name: bool = True
    has_temperature: bool = True
    has_seed: bool = True
    has_system: bool = True  # else the instructions begin the user's message
    has_bounds: bool = True  # the schema limits strings and names the ids; OpenAI's strict mode refuses that
    shows_schema: bool = False  # the prompt holds the schema too, since the server ignores `response_format`

    def after(self, names: str, may_guess: bool) -> Dialect | None:
        """The dialect after a refusal whose words are `names`, or None when the refusal is not about the form."""
        if self.has_system and _ABOUT_SYSTEM.search(names):
            return replace(self, has_system=False)
        if self.has_bounds and self.format == FORMATS[0] and any(word in names for word in _ABOUT_BOUNDS):
            return replace(self, has_bounds=False)
        if any(word in names for word in _ABOUT_FORMAT):
            return self.plainer()
        if "max_tokens" in names or "max_completion_tokens" in names:
            other = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}[self.limit_name]
            return replace(self, limit_name=other, has_other_limit_name=False) if self.has_other_limit_name else None
        if self.has_temperature and "temperature" in names:
            return replace(self, has_temperature=False)
        if self.has_seed and "seed" in names:
            return replace(self, has_seed=False)
        return next(self._guesses(), None) if may_guess else None

    def plainer(self) -> Dialect | None:
        """With the next plainer format of the answer; None after the plainest."""
        place = FORMATS.index(self.format) + 1
        return replace(self, format=FORMATS[place]) if place < len(FORMATS) else None

    def after_unusable(self) -> Dialect | None:
        """After an answer of another form than was asked for: show the schema in the prompt, then ask more plainly."""
        if self.format == FORMATS[0] and not self.shows_schema:
            return replace(self, shows_schema=True)
        return self.plainer()

    def _guesses(self) -> Iterator[Dialect]:
        """What to leave out when the server does not say what it refuses, likeliest first."""
        if (plainer := self.plainer()) is not None:
            yield plainer
        if self.has_seed:
            yield replace(self, has_seed=False)
        if self.has_temperature:
            yield replace(self, has_temperature=False)
        if self.has_system:
            yield replace(self, has_system=False)


def says_too_long(words: str) -> bool:
    """Whether a refusal, in lower case, says that the request does not fit into the model's context."""
    return bool(_TOO_LONG.search(words)) and "response_format" not in words


def refuses_form(words: str) -> bool:
    """Whether an error, in lower case and whatever its status is, refuses a parameter or the role of the system."""
    if _ABOUT_SYSTEM.search(words):
        return True
    return bool(_REFUSES.search(words)) and any(re.search(rf"\b{name}\b", words) for name in PARAMETERS)
