"""What a model answered, as the fields that were asked for: found among other text, brought to their types, checked.

around an answer     reasoning, a code fence, an apology, the schema once more
of another form      "5", 5.0 or "5/5" for 5; null or nothing for an empty text; entries by id instead of a list
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from aria_data.errors import TemporaryError
from aria_data.llm.questions import Payload, Task, probabilities
from aria_data.llm.wire import Reply

MAX_OBJECTS_TRIED = 400
MAX_DEPTH = 8
_THOUGHT = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.S)
_WHOLE = re.compile(r"\s*\+?(\d{1,9})(?:\.0*)?(?:\s*/\s*\d+)?\s*")
_TRAILING_COMMA = re.compile(r",(\s*[}\]])")


class AnswerInvalid(TemporaryError):
    """The model's answer to one item is missing or not valid."""

    reason = "llm_answer_invalid"


def check_answers(task: Task, items: Mapping[str, Payload], reply: Reply) -> dict[str, dict[str, Any] | Exception]:
    """Give each item's checked fields, or an `AnswerInvalid`, by id. Answers with other ids are ignored.

    The answer to a request for one item needs no id: there is nothing to mix it up with.
    """
    if reply.complaint:
        return {item_id: AnswerInvalid(f"the model's answer {reply.complaint}.") for item_id in items}
    if task.choices:
        return {item_id: _chosen(task, payload, reply) for item_id, payload in items.items()}
    given = _entries(reply.content, items, task)
    missing = "was cut short before it" if reply.is_cut else "does not hold it"
    return {item_id: _checked(task, items, item_id, given[item_id], missing, reply.shown) for item_id in items}


def _chosen(task: Task, payload: Payload, reply: Reply) -> dict[str, Any] | Exception:
    found = probabilities(task, reply.first_token)
    if found is None:
        why = "does not rate the choices" if reply.first_token else "comes without probabilities"
        return AnswerInvalid(f"the model's answer {why}. It said: {reply.shown}")
    return task.check(payload, {"probabilities": found}, [])


def _checked(
    task: Task, items: Mapping[str, Payload], item_id: str, entries: list[Any], missing: str, shown: str
) -> dict[str, Any] | Exception:
    said = f" It said: {shown}" if shown else ""
    if len(entries) != 1:
        what = f"holds it {len(entries)} times" if entries else missing
        return AnswerInvalid(f"the model was asked about an item, and its answer {what}.{said}")
    fields = {}
    for name, schema in task.fields.items():
        try:
            fields[name] = as_asked(_named(entries[0], name), schema)
        except ValueError:
            return AnswerInvalid(f"the model's answer has no valid {name!r}.{said}")
    try:
        return task.check(items[item_id], fields, [each for other, each in items.items() if other != item_id])
    except ValueError as error:
        return AnswerInvalid(f"the model's answer was refused: {error}.{said}")


def as_asked(value: Any, schema: Mapping[str, Any]) -> Any:
    """Bring a value to the type that the schema asks for. Raises `ValueError` where that would be a guess."""
    if isinstance(value, list) and len(value) == 1 and schema.get("type") != "array":
        value = value[0]
    if "enum" in schema:
        return _one_of(value, schema["enum"])
    kind = schema["type"]
    if kind == "object":
        return _object(value, schema["properties"])
    if kind == "array":
        items = [] if value is None else value
        if not isinstance(items, list):
            raise ValueError("not a list")
        return [as_asked(each, schema["items"]) for each in items]
    return {"string": _string, "integer": _whole, "number": _number, "boolean": _boolean}[kind](value)


def _one_of(value: Any, allowed: Sequence[Any]) -> Any:
    for each in allowed:
        if type(value) is type(each) and value == each:
            return each
    if all(type(each) is int for each in allowed) and (whole := _whole(value)) in allowed:
        return whole
    for each in allowed:
        if isinstance(value, str) and isinstance(each, str) and value.strip().lower() == each.lower():
            return each
    raise ValueError("not among the values allowed")


def _object(value: Any, parts: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(value, str | int | float) and all(part.get("type") == "string" for part in parts.values()):
        value = dict.fromkeys(parts, value)  # a bare value stands for its quote too, which the check looks for
    if not isinstance(value, Mapping | None):
        raise ValueError("not an object")
    return {name: as_asked(_named(value or {}, name), part) for name, part in parts.items()}


def _string(value: Any) -> str:
    if value is None or value == []:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise ValueError("not a text")


def _whole(value: Any) -> int:
    if type(value) is int:
        return value
    if type(value) is float and value.is_integer():
        return int(value)
    match = _WHOLE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("not a whole number")
    return int(match[1])


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("not a number")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("not a number")
    return number


def _boolean(value: Any) -> bool:
    said = str(value).strip().lower() if isinstance(value, bool | str) else ""
    if said not in ("true", "false", "yes", "no"):
        raise ValueError("neither true nor false")
    return said in ("true", "yes")


def _named(entry: Mapping[str, Any], name: str) -> Any:
    """The value of a field, also if its name is written differently (relevanceScore); None if it is not there."""
    if name in entry:
        return entry[name]
    plain = re.sub(r"[\W_]", "", name).lower()
    return next((value for key, value in entry.items() if re.sub(r"[\W_]", "", str(key)).lower() == plain), None)


def _entries(content: str, items: Mapping[str, Any], task: Task) -> dict[str, list[Any]]:
    """The entries for each item, by id: where a text holds several answers, those of the last."""
    given: dict[str, list[Any]] = {item_id: [] for item_id in items}
    values = _values(content)
    for value in reversed(values):
        found: dict[str, list[Any]] = {}
        for item_id, entry in _with_ids(value, given):
            found.setdefault(item_id, []).append(entry)
        for item_id, entries in found.items():
            given[item_id] = given[item_id] or entries
    if len(items) == 1 and not any(given.values()):
        (only,) = items
        alone = [entry for value in reversed(values) for entry in _without_ids(value, task)]
        given[only] = alone[:1]
    return given


def _with_ids(value: Any, ids: Iterable[str], depth: int = 0) -> Iterator[tuple[str, Any]]:
    """(id, entry) for every object that has one of the ids, or is named by it."""
    if depth > MAX_DEPTH:
        return
    if isinstance(value, list):
        for each in value:
            yield from _with_ids(each, ids, depth + 1)
    elif isinstance(value, dict):
        if isinstance(value.get("id"), str) and value["id"] in ids:
            yield value["id"], value
            return
        for key, inner in value.items():
            if key in ids and isinstance(inner, dict):
                yield key, inner
            elif isinstance(inner, dict | list):
                yield from _with_ids(inner, ids, depth + 1)


def _without_ids(value: Any, task: Task, depth: int = 0) -> Iterator[Any]:
    """Objects that have the task's first field; no schema."""
    if depth > MAX_DEPTH or not isinstance(value, dict | list):
        return
    if isinstance(value, dict) and _named(value, next(iter(task.fields))) is not None and not _is_schema(value):
        yield value
        return
    for inner in value.values() if isinstance(value, dict) else value:
        yield from _without_ids(inner, task, depth + 1)


def _is_schema(entry: Mapping[str, Any]) -> bool:
    return all(isinstance(value, dict) and ("type" in value or "enum" in value) for value in entry.values())


def _values(content: str) -> list[Any]:
    """The JSON values in a reply: the reply itself, or the outermost objects in its text, from left to right."""
    for text in (content, _THOUGHT.sub(" ", content)):
        try:
            value = json.loads(text)
            return [json.loads(value) if isinstance(value, str) else value]
        except (ValueError, RecursionError):
            continue
    text = _THOUGHT.sub(" ", content)
    return list(_objects_in(text)) or list(_objects_in(_TRAILING_COMMA.sub(r"\1", text)))


def _objects_in(content: str) -> Iterator[Any]:
    """Yield the outermost JSON objects among other text (a code fence, reasoning, an apology), from left to right."""
    decoder, place = json.JSONDecoder(), 0
    for _ in range(MAX_OBJECTS_TRIED):
        place = content.find("{", place)
        if place < 0:
            return
        try:
            value, place = decoder.raw_decode(content, place)
            yield value
        except (ValueError, RecursionError):
            place += 1
