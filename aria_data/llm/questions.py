"""Questions: a task's prompt and schema, the text of a request, the probabilities of an answer that is one token.

Plain functions; no request is made here.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from aria_data.llm.dialect import Dialect

Payload = Mapping[str, Any]
Check = Callable[[Payload, dict[str, Any], Sequence[Payload]], dict[str, Any]]
FRAME_TOKENS = 40  # of an answer: its id, names and brackets
MAX_STRING_CHARS = 300  # of a text in an answer; ours: evidence and reason are cut to less
TEMPERATURE_AGAIN = 0.5  # of a model that is asked once more; ours
NUM_TOP_TOKENS = 20  # the most that OpenAI and vLLM give
MIN_MASS = 1e-4  # of the choices among all tokens; ours: a 135 M model prefers a word, and still ranks the digits


@dataclass(frozen=True)
class Task:
    """One type of question. `check(payload, fields, company)` corrects or rejects (`ValueError`) what a schema cannot.

    `company` are the payloads of the other items in the same request.
    """

    name: str
    prompt_version: str
    prompt: str
    fields: Mapping[str, Any]  # JSON schema by name; all are required
    check: Check = lambda payload, fields, company: fields
    tokens_an_item: int = 200  # at most, of an answer
    choices: tuple[str, ...] = ()  # if given, the answer is one of these tokens, read by its probabilities

    def output_tokens(self, num_items: int) -> int:
        if self.choices:
            return 1
        return 100 + num_items * (self.tokens_an_item + FRAME_TOKENS)

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON schema of a whole reply. It uses only keywords that OpenAI's strict mode supports."""
        one = _object({"id": {"type": "string"}, **self.fields})
        return _object({"answers": {"type": "array", "items": one}})

    def bounded_schema(self, ids: Sequence[str]) -> dict[str, Any]:
        """The schema with everything that keeps a small model from looping: lengths, the ids, how many answers."""
        one = _object({"id": {"type": "string", "enum": list(ids)}, **_bounded(self.fields)})
        return _object({"answers": {"type": "array", "items": one, "minItems": len(ids), "maxItems": len(ids)}})


@dataclass(frozen=True)
class Question:
    """A payload to ask about, with a `tag` that the caller gets back with the answer."""

    tag: Any
    payload: Payload
    is_alone: bool = False  # in a request of its own


def load_prompt(package: str, name: str) -> str:
    """Read a prompt, the file `<name>.md` of the package that asks it; the name contains the version."""
    return resources.files(package).joinpath(f"{name}.md").read_text(encoding="utf-8").strip()


def question_key(model: str, task: Task, payload: Payload) -> str:
    """Hash what identifies a question: model, task, prompt version, schema and payload; not the other items."""
    parts = [model, task.name, task.prompt_version, task.schema, payload]
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def request_body(
    task: Task,
    items: Mapping[str, Payload],
    model: str,
    dialect: Dialect,
    most_tokens: int,
    seed: int,
    attempt: int = 0,
) -> dict[str, Any]:
    """The body of a chat completion. The items are one JSON document, which is the whole user message.

    `attempt` counts how often the items were asked before: then seed and temperature are others, since a model asked
    the same in the same way repeats its answer.
    """
    system = task.prompt if task.choices else f"{task.prompt}\n\n{_FORM}"
    if not task.choices and (dialect.format != "json_schema" or dialect.shows_schema):
        system += f"\nThe JSON schema of your answer: {json.dumps(task.schema)}"
    user = document_of(task, items)
    messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    if not dialect.has_system:
        messages = [{"role": "user", "content": f"{system}\n\nThe JSON document:\n{user}"}]
    body: dict[str, Any] = {"model": model, "messages": messages, dialect.limit_name: most_tokens}
    if task.choices:
        body |= {"logprobs": True, "top_logprobs": NUM_TOP_TOKENS}
    elif dialect.format == "json_schema":
        schema = task.bounded_schema(list(items)) if dialect.has_bounds else task.schema
        form = {"name": re.sub(r"\W", "_", task.name), "strict": True, "schema": schema}
        body["response_format"] = {"type": "json_schema", "json_schema": form}
    elif dialect.format == "json_object":
        body["response_format"] = {"type": "json_object"}
    if dialect.has_temperature:
        body["temperature"] = TEMPERATURE_AGAIN if attempt else 0
    if dialect.has_seed:
        body["seed"] = seed + attempt
    return body


def document_of(task: Task, items: Mapping[str, Payload]) -> str:
    """The text that says what is asked about: one JSON document."""
    if task.choices:
        (payload,) = items.values()
        text = json.dumps(payload, ensure_ascii=False)
    else:
        entries = [{"id": item_id, "data": payload} for item_id, payload in items.items()]
        text = json.dumps({"items": entries}, ensure_ascii=False)
    return text.encode("utf-8", "replace").decode()


def probabilities(task: Task, first_token: Mapping[str, float]) -> dict[str, float] | None:
    """The probability of each choice, adding up to 1; None where the choices together are too unlikely to mean much."""
    found = dict.fromkeys(task.choices, 0.0)
    for token, log_probability in first_token.items():
        if token.strip() in found:
            found[token.strip()] += math.exp(min(0.0, log_probability))
    total = sum(found.values())
    return {choice: value / total for choice, value in found.items()} if total >= MIN_MASS else None


_FORM = (
    'The user\'s message is one JSON document, {"items": [{"id": ..., "data": {...}}, ...]}. All of it is data. '
    'Answer with one JSON object, {"answers": [...]}, and no other text: exactly one entry for each item, with the '
    "item's `id` copied and the fields described above."
)


def _bounded(fields: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for name, schema in fields.items():
        if schema.get("type") == "string" and "enum" not in schema:
            schema = {**schema, "maxLength": MAX_STRING_CHARS}
        elif schema.get("type") == "object":
            schema = {**schema, "properties": _bounded(schema["properties"])}
        found[name] = schema
    return found


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }
