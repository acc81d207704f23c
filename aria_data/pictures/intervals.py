"""Shares with their intervals, a line each."""

from __future__ import annotations

import math
from collections.abc import Sequence

from aria_data.pictures.style import COLOURS, canvas, svg
from aria_data.storage import printable

Interval = tuple[str, float, float, float, str]  # a line's name, its share, its lowest and highest, words for its title
LINE_IN, REST_IN = 0.36, 0.9  # heights in inches: of a line, and of title and axis
MAX_NAME = 32


def intervals_svg(title: str, lines: Sequence[Interval]) -> bytes:
    """Draw shares, 0 to 1, as dots on their intervals. The title and each line are there as text, too."""
    figure, axes = canvas(7.5, LINE_IN * len(lines) + REST_IN)
    for place, (_, share, low, high, _) in enumerate(lines):
        axes.plot([low, high], [place, place], color=COLOURS[0], linewidth=4, alpha=0.6, solid_capstyle="butt")
        if not math.isnan(share):
            axes.plot([share], [place], "o", color=COLOURS[0], markersize=8, gid=f"dot-{place}")
    axes.set_yticks(range(len(lines)), [printable(name, MAX_NAME).replace("$", r"\$") for name, *_ in lines])
    axes.set_xlim(0, 1)
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.set_title(title.replace("$", r"\$"), loc="left")
    words = "; ".join(f"{name}: {said}, {low:.3f} to {high:.3f}" for name, _, low, high, said in lines)
    return svg(figure, title, words)
