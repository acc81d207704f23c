"""The style of pictures: an empty one, and how it becomes SVG that is read in light and dark, and by ear."""

from __future__ import annotations

import io
import re
import warnings
from html import escape
from pathlib import Path
from typing import Any

from aria_data.errors import UsageError
from aria_data.storage import printable, write_whole

IN_DARK = {  # colour on white -> colour on the report's dark ground; each has a contrast of 4.5 or more there
    "#1b1e23": "#e8eaee", "#555d68": "#aab2bd", "#c9ced6": "#3b424c", "#1a56a5": "#8ebdf2", "#a8480f": "#f0a878",
    "#1f7046": "#7fd1ae", "#8a3b8f": "#d9a3de", "#7a5c00": "#e0c355", "#a3171d": "#ff9b9b",
}  # fmt: skip
TEXT, GREY, LINE, *_SERIES = IN_DARK
COLOURS = tuple(_SERIES)  # of the series of a picture, in order
GROUNDS = "#ffffff", "#14171b"
SIZE_PX = 72  # of an inch of matplotlib's, in SVG
FONT = "system-ui, sans-serif"
MAX_WORDS = 2000  # characters of what is said of a picture


def canvas(width: float = 7.0, height: float = 4.0, columns: int = 1) -> tuple[Any, Any]:
    """An empty picture of so many inches: matplotlib's figure, and its axes (an array of them for several columns)."""
    import matplotlib
    from matplotlib import rcsetup
    from matplotlib.figure import Figure

    settings: Any = {
        "axes.edgecolor": LINE, "axes.labelcolor": TEXT, "text.color": TEXT, "xtick.color": LINE, "ytick.color": LINE,
        "xtick.labelcolor": GREY, "ytick.labelcolor": GREY, "axes.facecolor": "none", "figure.facecolor": "none",
        "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": LINE,
        "grid.linewidth": 0.6, "axes.axisbelow": True, "font.size": 10.5,
        "axes.prop_cycle": rcsetup.cycler("color", list(COLOURS)),
    }  # fmt: skip
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure.subplots(1, columns)


def svg(figure: Any, title: str, words: str) -> bytes:
    """Write a figure as SVG: text as text, the same bytes for the same numbers. `words` say what it shows."""
    import matplotlib

    _restyle(figure)
    out = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": title}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # the reader's system draws text, not this one
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    drawn = re.sub(r"<!DOCTYPE.*?>|<metadata>.*?</metadata>", "", out.getvalue().decode(), flags=re.DOTALL)
    drawn = re.sub(r"(font: [^;\"]*?px) [^;\"]*", rf"\1 {FONT}", drawn)
    said = escape(printable(f"{title}. {words}", MAX_WORDS), quote=True)
    head = f'role="img" aria-label="{said}"'
    return (
        drawn.replace("<svg ", f"<svg {head} ", 1).replace("<defs>", f"<style>{_dark()}</style>\n <defs>", 1).encode()
    )


def _restyle(figure: Any) -> None:
    """Give what was made after the canvas its colours: matplotlib takes those of the moment."""
    from matplotlib.legend import Legend
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        if text.get_color() == "black":
            text.set_color(TEXT)
    for legend in figure.findobj(Legend):
        legend.set_frame_on(False)


def saved(figure: Any, path: Path, title: str, words: str) -> Path:
    """Write a figure as an SVG file, whole or not at all. Raises `DatasetNotWritable`."""
    write_whole(path, svg(figure, title, words))
    return path


def require_folder(folder: Path) -> None:
    """Make the folder for plots. Raises `UsageError` where that fails, so call it before the work."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--plots {folder}: cannot be made ({error.strerror}). Name another folder.") from None


def _dark() -> str:
    """Rules that replace matplotlib's colours where the reader's system is dark; elsewhere they are as written."""
    rules = [
        f'[style*="{what}: {light}"]{{{what}:{dark}!important}}'
        for light, dark in IN_DARK.items()
        for what in ("fill", "stroke")
    ]
    light, dark = GROUNDS
    return f"svg{{background:{light}}}@media(prefers-color-scheme:dark){{svg{{background:{dark}}}{''.join(rules)}}}"
