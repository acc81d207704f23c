"""Which SQL conditions a view may have: comparisons of a row's own columns, with functions whose cost is small.

A condition comes from an address, which anyone may have written. Without subqueries, and without functions that make
values larger than what they are given, none can read another table, fill the memory, or go on after it was stopped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from aria_data.errors import UsageError
from aria_data.manifest.row_queries import condition_tree
from aria_data.storage import printable

FUNCTIONS = frozenset(
    "+ - * / // % ** ^ || ~~ !~~ ~~* !~~* ~~~ ~ ! like_escape not_like_escape ilike_escape not_ilike_escape "
    "abs ceil ceiling floor round sign sqrt exp ln log log10 log2 pow power greatest least isnan isinf isfinite "
    "nullif ifnull lower upper length strlen trim ltrim rtrim contains starts_with ends_with suffix prefix position "
    "instr strpos substring substr left right regexp_matches regexp_full_match strip_accents list_value".split()
)
SIMPLE = frozenset("COMPARISON CONJUNCTION CONSTANT COLUMN_REF FUNCTION OPERATOR CAST BETWEEN CASE TYPE".split())
WHOLE_QUERY = ("group_expressions", "having", "qualify", "sample", "modifiers")  # parts that a condition has not


def require_simple(connection: Any, where: str) -> None:
    """Raise `UsageError` in one line unless the text is one such condition; `connection` is DuckDB's, and parses."""
    tree = json.loads(condition_tree(connection, where))
    node = tree["statements"][0]["node"]
    if node["type"] != "SELECT_NODE" or any(node[name] for name in WHOLE_QUERY) or node["cte_map"]["map"]:
        raise UsageError("the condition cannot be used: it is more than one condition.")
    for one in _expressions(node["where_clause"]):
        if one["class"] not in SIMPLE:
            word = printable(str(one["class"]).lower().replace("_", " "), 40)
            raise UsageError(f"the condition cannot be used: it has a {word}. {_ADVICE}")
        name = one.get("function_name", "").lower()
        if one["class"] == "FUNCTION" and (name not in FUNCTIONS or one.get("schema") or one.get("catalog")):
            raise UsageError(f"the condition cannot be used: it calls {printable(name, 60)}. {_ADVICE}")


_ADVICE = "Here, columns are compared; `aria-data sql` answers any SELECT."


def _expressions(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if "class" in node:
            yield node
        for value in node.values():
            yield from _expressions(value)
    elif isinstance(node, list):
        for value in node:
            yield from _expressions(value)
