"""The tree of a crawl, from seeds to candidates: as text, as Graphviz's DOT, as JSON lines."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from aria_data.collect import Frontier
from aria_data.collect.frontier import Seen
from aria_data.errors import DatasetNotFound
from aria_data.storage import local_copy, printable

MAX_TEXT = 80


def draw(root: Path, format_: str, show_rejected: bool = False) -> Iterator[str]:
    """Give the lines of the crawl tree of the dataset at `root`; `format_` is text, dot or json.

    Raises `DatasetNotFound` where there was no crawl.
    """
    path = root / "crawl" / "frontier.sqlite"
    if not path.exists():
        raise DatasetNotFound(f"{root}: was never crawled. Run `aria-data crawl SEED --out {root}` first.")
    frontier = Frontier(local_copy(path))
    try:
        yield from {"text": _as_text, "dot": _as_dot, "json": _as_json}[format_](frontier, show_rejected)
    finally:
        frontier.close()


def _candidates(frontier: Frontier, lead_id: str, show_rejected: bool) -> list[Seen]:
    return [seen for seen in frontier.candidates_of(lead_id) if seen.is_accepted or show_rejected]


def _as_text(frontier: Frontier, show_rejected: bool) -> Iterator[str]:
    leads = list(frontier.tree())
    children = defaultdict(list)
    for lead in leads:
        children[lead[1]].append(lead)
    waiting = [(lead, 0) for lead in reversed(children[""])]
    while waiting:
        (lead_id, _, text, state, num_new, num_accepted), depth = waiting.pop()
        indent = "  " * depth
        note = f"{num_accepted} of {num_new} accepted" if state == "done" else state
        yield f"{indent}{printable(text, MAX_TEXT)}  [{note}]"
        for seen in _candidates(frontier, lead_id, show_rejected):
            mark = "+" if seen.is_accepted else "-"
            yield f"{indent}  {mark} {seen.relevance_score} {seen.candidate_id}  {printable(seen.title, MAX_TEXT)}"
        waiting += [(lead, depth + 1) for lead in reversed(children[lead_id])]


def _as_dot(frontier: Frontier, show_rejected: bool) -> Iterator[str]:
    quote = lambda text: json.dumps(printable(text, MAX_TEXT), ensure_ascii=False)  # noqa: E731
    yield "digraph crawl {"
    yield '  rankdir=LR; node [shape=box, fontname="sans-serif"];'
    for lead_id, parent, text, state, _, num_accepted in frontier.tree():
        yield f"  {quote(lead_id)} [label={quote(text)}, style={'solid' if state == 'done' else 'dashed'}];"
        if parent:
            yield f"  {quote(parent)} -> {quote(lead_id)};"
        for seen in _candidates(frontier, lead_id, show_rejected) if num_accepted or show_rejected else ():
            colour = "darkgreen" if seen.is_accepted else "grey"
            label = quote(f"{seen.relevance_score} {seen.title}")
            yield f"  {quote(seen.candidate_id)} [label={label}, shape=ellipse, color={colour}];"
            yield f"  {quote(lead_id)} -> {quote(seen.candidate_id)};"
    yield "}"


def _as_json(frontier: Frontier, show_rejected: bool) -> Iterator[str]:
    for lead_id, parent, text, state, num_new, num_accepted in frontier.tree():
        found = _candidates(frontier, lead_id, show_rejected)
        candidates = [
            {"candidate_id": s.candidate_id, "title": s.title, "relevance_score": s.relevance_score} for s in found
        ]
        row = {"lead": text, "lead_id": lead_id, "parent": parent, "state": state, "num_new": num_new}
        yield json.dumps({**row, "num_accepted": num_accepted, "candidates": candidates}, ensure_ascii=False)
