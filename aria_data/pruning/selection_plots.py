"""Plots of a selection beside its pool, as SVG files: scores, and the shares of groups."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from aria_data.pictures import COLOURS, GREY, canvas, saved
from aria_data.pruning.selection_report import SelectionReport
from aria_data.storage import printable

MAX_GROUPS = 20


def draw_selection(report: SelectionReport, folder: Path) -> list[Path]:
    """Draw into a folder that is there. Gives the files written: scores only where files have some."""
    drawn = [_scores(report, folder)] if report.score_edges else []
    return [*drawn, *([_groups(report, folder)] if report.groups else [])]


def _scores(report: SelectionReport, folder: Path) -> Path:
    figure, axes = canvas()
    edges = np.array(report.score_edges)
    for counts, colour, label in (
        (report.score_counts, GREY, "all files"), (report.score_counts_kept, COLOURS[0], "kept")
    ):  # fmt: skip
        axes.bar(edges[:-1], counts, np.diff(edges) * 0.9, align="edge", color=colour, alpha=0.75, label=label)
    axes.set_xlabel("score")
    axes.set_ylabel("files")
    axes.legend()
    words = f"{report.num_kept} of {report.num_files} files kept, scores {edges[0]:.4g} to {edges[-1]:.4g}"
    return saved(figure, folder / "selected_scores.svg", "Scores of all files and of those kept", words)


def _groups(report: SelectionReport, folder: Path) -> Path:
    shown = report.groups[:MAX_GROUPS]
    figure, axes = canvas(7.5, 1.2 + 0.42 * len(shown))
    for number, (name, label) in enumerate((("share", "of all files"), ("share_weighted", "of the weights kept"))):
        places = np.arange(len(shown)) + 0.36 * number
        shares = [getattr(group, name) for group in shown]
        axes.barh(places, shares, 0.34, color=(GREY, COLOURS[0])[number], label=label)
    names = [printable(group.group, 32).replace("$", r"\$") or "(not known)" for group in shown]
    axes.set_yticks(np.arange(len(shown)) + 0.18, names)
    axes.invert_yaxis()
    axes.set_xlabel(f"share (the {len(shown)} largest of {len(report.groups)} groups)")
    axes.legend(loc="lower right")
    said = [f"{group.group or 'not known'}: {group.share:.3f}, then {group.share_weighted:.3f}" for group in shown]
    return saved(figure, folder / "selected_groups.svg", "Shares of groups before and after", "; ".join(said))
