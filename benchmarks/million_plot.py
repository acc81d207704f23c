"""The picture of `million.py`: seconds of each step over the number of recordings, both logarithmic."""

from __future__ import annotations

import math
from html import escape
from typing import Any

LEFT, TOP, WIDTH, HEIGHT, LEGEND = 70, 40, 520, 360, 230  # px
COLOURS = ("#1a56a5", "#c2410c", "#15803d", "#7e22ce", "#0e7490", "#a16207", "#be123c", "#4d7c0f", "#525252")
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1b1e23 } .soft { fill: #555d68; font-size: 12px }
  .grid { stroke: #d7dbe2 } .paper { fill: #ffffff } .limit { stroke: #555d68; stroke-dasharray: 4 4 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e8eaee } .soft { fill: #aab2bd } .grid { stroke: #343b45 } .paper { fill: #14171b }
    .limit { stroke: #aab2bd } polyline, circle { filter: brightness(1.7) } }
"""


def draw(found: dict[int, dict[str, Any]]) -> str:
    """Draw the CPU seconds of each step at each size. Its words say the same to those who do not see it."""
    sizes = sorted(found)
    names = list(dict.fromkeys(name for runs in found.values() for name in runs))
    values = [run.cpu_s for runs in found.values() for run in runs.values()]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    first, last = math.log10(sizes[0]), math.log10(sizes[-1]) if len(sizes) > 1 else math.log10(sizes[0]) + 1

    def at(size: int, seconds: float) -> tuple[float, float]:
        x = LEFT + WIDTH * (math.log10(size) - first) / (last - first)
        return round(x, 1), round(TOP + HEIGHT * (high - math.log10(seconds)) / (high - low), 1)

    drawn = [f'<rect class="paper" width="{LEFT + WIDTH + LEGEND}" height="{TOP + HEIGHT + 60}"/>']
    drawn.append(f'<text x="{LEFT}" y="22">CPU seconds of a step over the number of recordings</text>')
    for power in range(low, high + 1):
        _, y = at(sizes[0], 10**power)
        drawn.append(f'<line class="grid" x1="{LEFT}" x2="{LEFT + WIDTH}" y1="{y}" y2="{y}"/>')
        drawn.append(f'<text class="soft" x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{10.0**power:g} s</text>')
    for size in sizes:
        x, y = at(size, 10**low)
        drawn.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{TOP}" y2="{y}"/>')
        drawn.append(f'<text class="soft" x="{x}" y="{y + 20}" text-anchor="middle">{size:,}</text>')
    for number, name in enumerate(names):
        colour = COLOURS[number % len(COLOURS)]
        points = [at(size, found[size][name].cpu_s) for size in sizes if name in found[size]]
        line = " ".join(f"{x},{y}" for x, y in points)
        drawn.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        drawn += [f'<circle cx="{x}" cy="{y}" r="3.5" fill="{colour}"/>' for x, y in points]
        y = TOP + 16 + 22 * number
        drawn.append(f'<circle cx="{LEFT + WIDTH + 24}" cy="{y - 4}" r="5" fill="{colour}"/>')
        drawn.append(f'<text x="{LEFT + WIDTH + 36}" y="{y}">{escape(name)}</text>')
    words = "; ".join(
        f"{name}: " + ", ".join(f"{found[size][name].cpu_s:.1f} s at {size:,}" for size in sizes if name in found[size])
        for name in names
    )
    size = f'width="{LEFT + WIDTH + LEGEND}" height="{TOP + HEIGHT + 60}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{escape(words)}">'
        f"<style>{STYLE}</style>{''.join(drawn)}</svg>\n"
    )
