"""Draw the rooms of the house and who imports whom, from the code itself: `python docs/draw_rooms.py OUT.svg`.

A line is a room: a folder of `aria_data` or `flows`, a recipe, or `classifiers`. It stands below everything that it
imports, and a dot in column N says that it imports room N. No dot lies right of the diagonal, so there is no circle.
The order is that of the contracts in pyproject.toml.
"""

from __future__ import annotations

import ast
import sys
import tomllib
from html import escape
from pathlib import Path

import grimp

ROOT = Path(__file__).parent.parent
LINE, CELL, NAMES, CAPTION = 20, 17, 150, 96  # px, px, px, characters
GROUPS = {
    "errors": "what several steps share",
    "collect": "the steps, in order",
    "classifiers": "the audio classifier",
    "show": "flows: what a person and Prefect run",
}
STYLE = """
  text { font: 12px system-ui, sans-serif; fill: #1c2733 } .dim { fill: #5c6b7a } .head { font-weight: 600 }
  .room { fill: #eef2f6 } .own { fill: #8fa3b8 } .dot { fill: #c2410c } .paper { fill: #ffffff }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .dim { fill: #9fb0c0 } .room { fill: #1f2933 } .own { fill: #5b7083 } .dot { fill: #fb923c }
    .paper { fill: #0f1720 } }
"""


def rooms() -> list[str]:
    """Give every room as a module's name, what is imported before what imports it."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = {one["containers"][0]: one["layers"] for one in contracts if one.get("containers")}
    ordered = {
        container: [f"{container}.{name.strip()}" for layer in reversed(of) for name in layer.split("|")]
        for container, of in layers.items()
    }
    return [*ordered["aria_data"], "classifiers", *ordered["flows"]]


def caption(room: str) -> str:
    """Give the first sentence of a room's docstring."""
    path = ROOT / room.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    said = (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").split("\n\n")[0].replace("\n", " ")
    first = said.split(". ")[0].rstrip(".")
    return first if len(first) <= CAPTION else first[: CAPTION - 1].rsplit(" ", 1)[0] + " …"


def imports(names: list[str]) -> set[tuple[int, int]]:
    """Give (importer, imported) for every pair of rooms, as places in `names`."""
    graph = grimp.build_graph("aria_data", "classifiers", "flows", cache_dir=None)
    members = {name: {name, *graph.find_descendants(name)} for name in names}
    return {
        (row, column)
        for row, importer in enumerate(names)
        for column, imported in enumerate(names)
        if row != column
        and any(graph.find_modules_directly_imported_by(module) & members[imported] for module in members[importer])
    }


def draw() -> str:
    """Give the picture as SVG."""
    names = rooms()
    pairs = imports(names)
    left = NAMES + 40
    rows: list[str] = []
    y = 10
    for number, name in enumerate(names):
        short = name.removeprefix("aria_data.").removeprefix("flows.")
        if short in GROUPS:
            y += LINE + 6
            rows.append(f'<text class="head" x="12" y="{y - 8}">{escape(GROUPS[short])}</text>')
        middle = y + LINE / 2
        end = left + number * CELL
        rows.append(f'<text class="dim" x="34" y="{middle + 4:.0f}" text-anchor="end">{number + 1}</text>')
        rows.append(f'<text x="42" y="{middle + 4:.0f}">{escape(short)}</text>')
        rows.append(f'<rect class="room" x="{left}" y="{y + 2}" width="{end - left + CELL - 3}" height="{LINE - 4}"/>')
        rows.append(f'<rect class="own" x="{end}" y="{y + 2}" width="{CELL - 3}" height="{LINE - 4}"/>')
        for row, column in sorted(pairs):
            if row == number:
                x = left + column * CELL + (CELL - 3) / 2
                rows.append(f'<circle class="dot" cx="{x:.1f}" cy="{middle:.1f}" r="3.6"/>')
        rows.append(f'<text class="dim" x="{end + CELL + 6}" y="{middle + 4:.0f}">{escape(caption(name))}</text>')
        y += LINE
    width, height = left + len(names) * CELL + CAPTION * 6, y + 14
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img">\n'
        "<title>The rooms, and which rooms each imports</title>\n"
        f'<style>{STYLE}</style>\n<rect class="paper" width="100%" height="100%"/>\n' + "\n".join(rows) + "\n</svg>\n"
    )


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(draw(), encoding="utf-8")
