"""Write search queries from the titles that a crawl accepted: by rule from one, by a language model from several."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from aria_data.errors import TemporaryError
from aria_data.llm import Llm, Task
from aria_data.llm.questions import Payload, load_prompt
from aria_data.repertoire import find_composer
from aria_data.text import clean, without_instructions

PROMPT = "queries-1"
MAX_TITLES, MAX_TITLE_CHARS = 20, 150  # shown to a model at a time
MAX_QUERIES, MAX_QUERY_CHARS, MAX_WORDS = 5, 80, 10


def query_by_rule(title: str) -> str:
    """Give a query for more of the composer that a title names; "" where it names none."""
    composer = find_composer(title)
    return f"{composer.text.lower()} solo piano" if composer else ""


def queries_by_model(titles: Sequence[str], llm: Llm) -> list[str]:
    """Ask a model for up to five queries from accepted titles. Gives [] where the model does not answer now."""
    cleaned = [clean(without_instructions(title)[0], MAX_TITLE_CHARS) for title in titles[:MAX_TITLES]]
    payload = {"titles": "\n".join(sorted(filter(None, cleaned)))}
    if not payload["titles"]:
        return []
    try:
        return str(llm.ask(query_task(), payload).fields["queries"]).splitlines()
    except TemporaryError:
        return []


@cache
def query_task() -> Task:
    """Give the task of the model: prompt, answer fields, and the check of an answer."""
    return Task("queries", PROMPT, load_prompt(__package__, PROMPT), {"queries": {"type": "string"}}, _checked)


def _checked(payload: Payload, fields: dict[str, object], company: Sequence[Payload]) -> dict[str, object]:
    """Keep the lines that are queries: a few words, no address, no site's search syntax."""
    kept = []
    for line in str(fields["queries"]).splitlines()[: 4 * MAX_QUERIES]:
        query = clean(re.sub(r"^\s*(?:[-*•]|\d+[.)])\s*", "", line), MAX_QUERY_CHARS).strip("\"' ")
        is_plain = not re.search(r"https?:|www\.|[<>{}\[\]|\\:]", query)
        if is_plain and 2 <= len(query.split()) <= MAX_WORDS or _is_east_asian(query):
            kept.append(query)
    return {"queries": "\n".join(dict.fromkeys(kept[:MAX_QUERIES]))}


def _is_east_asian(query: str) -> bool:
    """Whether a query is in a script that writes words without blanks between them."""
    return bool(re.fullmatch(r"[぀-ヿ㐀-鿿가-힣\w ]{3,40}", query)) and bool(re.search(r"[぀-ヿ㐀-鿿가-힣]", query))
