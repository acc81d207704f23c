"""Pictures as SVG files in the report's style: shares with their intervals. They need nothing else and run nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from aria_data.storage import printable, write_whole

Interval = tuple[str, float, float, float, str]  # a line's name, its share, its lowest and highest, words for its title
LINE, LEFT, WIDTH = 26, 240, 480  # heights and widths in pixels
STYLE = (
    "text{font:14px system-ui,sans-serif;fill:#1b1e23}.soft{fill:#555d68;font-size:12px}"
    "line{stroke:#c9ced6}.range{stroke:#2f6fb7;stroke-width:5}circle{fill:#1a56a5}"
    "@media(prefers-color-scheme:dark){text{fill:#e8eaee}.soft{fill:#aab2bd}line{stroke:#3b424c}"
    ".range{stroke:#6aa5e8}circle{fill:#8ebdf2}svg{background:#14171b}}"
)


def write_intervals(folder: Path, pictures: Mapping[str, Sequence[Interval]]) -> list[Path]:
    """Write one SVG file a picture, named by it. Gives the files written."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for title, lines in pictures.items():
        path = folder / f"{re.sub('[^a-z0-9]+', '_', title.lower()).strip('_')}.svg"
        write_whole(path, intervals_svg(title, lines).encode())
        written.append(path)
    return written


def intervals_svg(title: str, lines: Sequence[Interval]) -> str:
    """Draw shares, 0 to 1, as dots on their intervals, a line each. The title and each line are there as text, too."""
    height = LINE * (len(lines) + 2) + 14
    drawn = [f'<text x="8" y="20">{_text(title)}</text>']
    for at in range(6):
        x = LEFT + at * WIDTH / 5
        drawn.append(f'<line x1="{x}" x2="{x}" y1="{LINE + 6}" y2="{height - 28}"/>')
        drawn.append(f'<text class="soft" x="{x}" y="{height - 10}" text-anchor="middle">{at / 5:g}</text>')
    for number, line in enumerate(lines, 1):
        drawn.append(_line(*line, LINE * number + 20))
    size = f'width="{LEFT + WIDTH + 30}" height="{height}"'
    words = "; ".join(f"{name}: {said}" for name, _, _, _, said in lines)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{_text(f"{title}. {words}")}">'
        f"<style>{STYLE}</style>{''.join(drawn)}</svg>\n"
    )


def _line(name: str, share: float, low: float, high: float, said: str, y: int) -> str:
    x = [LEFT + round(value * WIDTH, 1) for value in (low, high)]
    dot = "" if math.isnan(share) else f'<circle cx="{LEFT + round(share * WIDTH, 1)}" cy="{y}" r="6"/>'
    return (
        f"<g><title>{_text(f'{name}: {said}, {low:.3f} to {high:.3f}')}</title>"
        f'<text x="8" y="{y + 5}">{_text(printable(name, 32))}</text>'
        f'<line class="range" x1="{x[0]}" x2="{x[1]}" y1="{y}" y2="{y}"/>{dot}</g>'
    )


def _text(text: str) -> str:
    return escape(printable(text, 2000))
