"""What `diff` and `versions` tell of a version and the one before it: why rows changed, columns, settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from aria_data.manifest import Manifest, Version
from aria_data.manifest.manifest import Difference
from flows.report.charts import MAX_ROWS, Chart, command, entry, shown_value
from flows.report.figures import TABLE, Figure
from flows.report.views import CHANGED, select
from flows.show import differences

MAX_CHANGED = 200_000  # rows compared with the version before; beyond it `diff` says more than a page can
KINDS = ("added", "removed", "changed")
MADE_WITH = ("config", "code", "models", "libraries", "exclusions")  # the facts of a version that steer its rows


def changes_of(root: Path, about: Version, connection: Any) -> list[dict[str, Any]]:
    """The figures of a version after the first, beside those that SQL gives; `connection` has the version's views."""
    old, new = about.number - 1, about.number
    diff = command(root, "diff", str(old), str(new))
    before = Manifest(root).versions()[old - 1]
    made_with = entry(Figure("made with", TABLE, ""), _settings(before, about), command(root, "versions", "--json"))
    counts = select(connection, f"SELECT kind, count(*) AS n FROM ({CHANGED}) GROUP BY kind ORDER BY kind").to_pylist()
    if sum(row["n"] for row in counts) > MAX_CHANGED:
        rows = [[row["kind"], f"{row['n']:,}"] for row in counts]
        return [entry(Figure("rows", TABLE, ""), Chart(TABLE, ["change", "rows"], rows), diff), made_with]
    difference = Manifest(root).diff(old, new)
    return [
        entry(Figure("rows, and why", TABLE, ""), _reasons(root, difference, old, new), diff),
        entry(Figure("columns that changed", TABLE, ""), _columns(difference), f"{diff} --json"),
        made_with,
    ]


def _reasons(root: Path, difference: Difference, old: int, new: int) -> Chart:
    chart = Chart(TABLE, ["change", "reason", "rows"])
    reasons = differences.reasons_of(root, difference, old, new)
    for name in KINDS:
        for reason, count in Counter(getattr(reasons, name).values()).most_common():
            chart.rows.append([name, shown_value(reason), f"{count:,}"])
    chart.summary = "" if chart.rows else "no row changed"
    return chart


def _columns(difference: Difference) -> Chart:
    counts = Counter(name for names in difference.changed.values() for name in names).most_common()
    rows = [[name, f"{count:,}"] for name, count in counts[:MAX_ROWS]]
    summary = "" if rows else "no row that was there before changed"
    return Chart(TABLE, ["column", "rows"], rows, num_more=max(0, len(counts) - MAX_ROWS), summary=summary)


def _settings(before: Version, about: Version) -> Chart:
    """What differs of that which both versions were made with."""
    was, now = (dict(_flat({name: one.facts.get(name) for name in MADE_WITH})) for one in (before, about))
    names = [name for name in sorted(was | now) if was.get(name) != now.get(name)]
    rows = [
        [shown_value(name), shown_value(_plain(was.get(name))), shown_value(_plain(now.get(name)))] for name in names
    ]
    summary = "" if rows else "the same settings, code, models and libraries"
    return Chart(TABLE, ["what", "was", "is"], rows[:MAX_ROWS], num_more=max(0, len(rows) - MAX_ROWS), summary=summary)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, int | float) else str(value)
