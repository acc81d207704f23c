"""Reports of a comparison: a table for a terminal, report.md, losses.csv, comparison.json, loss.svg. No statistics."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aria_data.compare.comparison import Comparison, Row, Tail
from aria_data.compare.differences import BETTER, WORSE, Difference
from aria_data.pictures import COLOURS, GREY, TEXT, canvas, svg
from aria_data.storage import printable, write_whole

HEADER = ("trained on", "files", "share", "test loss", "beside random files", "beside all files")
DISTANCE_HEADER = ("trained on", "distance from what is tested on", "beside random files")
TAIL_HEADER = ("trained on", "rare compositions", "beside random files", "hardest compositions", "beside random files")


def terminal_lines(comparison: Comparison) -> list[str]:
    """Give the table for a terminal, line by line, with how to read it and the warnings."""
    return [
        *_aligned([HEADER, *(_cells(row) for row in comparison.rows)]),
        "",
        *_reading(comparison),
        *(f"warning: {line}" for line in comparison.warnings),
    ]


def save_report(comparison: Comparison, folder: Path) -> list[Path]:
    """Write report.md, losses.csv, comparison.json and loss.svg, and give their paths. Raises `DatasetNotWritable`."""
    contents = {
        "report.md": _markdown(comparison).encode(),
        "losses.csv": _losses(comparison).encode(),
        "comparison.json": _json(comparison).encode(),
        "loss.svg": _plot(comparison),
    }
    for name, content in contents.items():
        write_whole(folder / name, content)
    return [folder / name for name in contents]


def series(name: str) -> str:
    """A name without the number at its end: `el2n:top` of `el2n:top:0.1`. A line of the plot joins a series' sizes."""
    return re.sub(r"[:@_ ]\d*\.?\d+%?$", "", name)


def _cells(row: Row) -> tuple[str, ...]:
    return (
        printable(row.name),
        f"{row.num_files} ({row.effective_num_files:.0f})" if _is_weighted(row) else str(row.num_files),
        f"{100 * row.fraction:.3g}%",
        f"{row.loss.mean:.3f}",
        _apart(row.against_random),
        _apart(row.against_all),
    )


def _is_weighted(row: Row) -> bool:
    return row.effective_num_files < 0.995 * row.num_files


def _apart(found: Difference | None) -> str:
    if found is None:
        return ""
    if not math.isfinite(found.low):
        return f"{found.mean:+.3f} (spread not known): {found.verdict}"
    return f"{found.mean:+.3f} ({found.low:+.3f} to {found.high:+.3f}): {found.verdict}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _reading(comparison: Comparison) -> list[str]:
    steps, tested = comparison.about["config"]["num_steps"], comparison.tested
    found = [
        f"Nats a token on {len(tested.ids)} files of {len(tested.compositions)} compositions of which nothing was "
        f"trained on; every training had {steps} steps. Below 0 is better than what it stands beside.",
        f"In brackets {comparison.confidence:.0%} intervals: other compositions, other draws, other initialisations. "
        "What holds 0 is no difference.",
        "A small model was trained, not yours: what it does not tell apart, a larger one may.",
    ]
    if any(each.kind == "subset" and len(each.losses) == 1 for each in comparison.measured):
        found.append(
            "A line of one choice of files is about these files; for a method as such, give several draws of it."
        )
    if any(_is_weighted(row) for row in comparison.rows):
        found.append("In brackets after a number of files: how many equal ones weigh as much (effective sample size).")
    return found


def _markdown(comparison: Comparison) -> str:
    about, pairs = comparison.about, [(one, other, _apart(found)) for one, other, found in comparison.pairs()]
    distances = [_distance_cells(row) for row in comparison.rows if row.distance is not None]
    tails = [_tail_cells(row) for row in comparison.rows if row.rare or row.worst]
    parts = ["# Subsets compared", _md_table(HEADER, [_cells(row) for row in comparison.rows])]
    parts += ["\n\n".join(map(_md, _reading(comparison))), "![loss against share](loss.svg)"]
    if comparison.warnings:
        parts += ["## Warnings", _md_list(comparison.warnings)]
    if distances:
        parts += ["## Distances", _md_table(DISTANCE_HEADER, distances), _what_distances_are(comparison)]
    if tails:
        parts += ["## Tails", _md_table(TAIL_HEADER, tails), _what_tails_are(comparison)]
    if pairs:
        parts += ["## Subsets beside each other", _md_table(("subset", "minus", "difference"), pairs)]
    facts = {key: value for key, value in about.items() if key != "config"} | about["config"]
    parts += ["## Made with", _md_list([f"{key}: {value}" for key, value in facts.items()])]
    return "\n\n".join(parts) + "\n"


def _distance_cells(row: Row) -> tuple[str, str, str]:
    apart = row.distance_against_random
    if apart is None or not math.isfinite(apart.low):
        return row.name, f"{row.distance:.3f}", "" if apart is None else f"{apart.mean:+.3f}"
    verdict = {BETTER: "closer", WORSE: "farther"}.get(apart.verdict, apart.verdict)
    return row.name, f"{row.distance:.3f}", f"{apart.mean:+.3f} ({apart.low:+.3f} to {apart.high:+.3f}): {verdict}"


def _what_distances_are(comparison: Comparison) -> str:
    rho = comparison.distance_agreement
    known = "too few choices of one size to say" if rho is None else f"Spearman's rho {rho:+.2f}"
    return (
        "Fréchet distances of histograms (pitch classes, octaves, intervals, times, durations, velocities) from the "
        "files tested on; no model is asked. They fall with the number of windows, so compare within one size. Do "
        f"choices of one size that lie closer have the lower loss? {known} (1: always)."
    )


def _what_tails_are(comparison: Comparison) -> str:
    num_rare, num_worst = int(comparison.tested.is_rare.sum()), int(comparison.is_worst.sum())
    return (
        f"Rare: {num_rare} compositions with the fewest files. Hardest: {num_worst} with the highest loss on average "
        "over all lines, the same for each."
    )


def _tail_cells(row: Row) -> tuple[str, ...]:
    def cells(tail: Tail | None) -> tuple[str, str]:
        return (f"{tail.loss:.3f}", _apart(tail.against_random)) if tail else ("", "")

    return (row.name, *cells(row.rare), *cells(row.worst))


def _md_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(map(_md, cells))} |" for cells in (header, ["---"] * len(header), *rows))


def _md_list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {_md(line)}" for line in lines)


def _md(text: str) -> str:
    return printable(text, limit=1000).replace("|", "\\|")


def _losses(comparison: Comparison) -> str:
    """A CSV with one line for each training run and test file, from which everything else can be computed."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("name", "kind", "num_files", "fraction", "variant", "seed", "test_file", "composition", "loss"))
    for one in comparison.measured:
        num_variants, num_seeds, _ = one.losses.shape
        for variant in range(num_variants):
            for turn in range(num_seeds):
                start = (one.name, one.kind, one.num_files, round(one.fraction, 6), variant)
                writer.writerows(
                    (*start, variant + turn * num_variants, *cells)
                    for cells in _files(comparison, one.losses[variant, turn])
                )
    return out.getvalue()


def _files(comparison: Comparison, losses: Any) -> Iterator[tuple[str, str, float]]:
    tested = comparison.tested
    for file_id, code, loss in zip(tested.ids, tested.codes, losses, strict=True):
        yield file_id, tested.compositions[code], round(float(loss), 6)


def _json(comparison: Comparison) -> str:
    content = {
        "rows": [_plain(asdict(row)) for row in comparison.rows],
        "distance_agreement": comparison.distance_agreement,
        "pairs": [(one, other, _plain(asdict(found))) for one, other, found in comparison.pairs()],
        "confidence": comparison.confidence,
        "warnings": list(comparison.warnings),
        "about": comparison.about,
    }
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    """Replace infinite ends of intervals, which JSON cannot write, by null."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _plot(comparison: Comparison) -> bytes:
    """An SVG: left the loss of each training run, right the subsets' differences from random files, with intervals."""
    figure, (left, right) = canvas(11.0, 4.5, 2)
    _draw_losses(left, comparison)
    _draw_differences(right, comparison)
    left.set_ylabel("test loss, nats a token (a dot: one training)")
    right.set_ylabel("loss minus that of random files")
    for axes in (left, right):
        axes.set_xlabel("share of the files trained on, %")
    left.legend(fontsize="small")
    said = [f"{row.name}: {100 * row.fraction:.3g} % of the files, {row.loss.mean:.3f}" for row in comparison.rows]
    return svg(figure, "Test loss by the share of the files trained on", "; ".join(said))


def _by_series(comparison: Comparison) -> dict[str, list[int]]:
    """The indices of the rows in each series, which a line joins in order of their share."""
    found: dict[str, list[int]] = {}
    for number in sorted(range(len(comparison.rows)), key=lambda number: comparison.rows[number].fraction):
        row = comparison.rows[number]
        found.setdefault("random files" if row.kind == "random" else series(row.name), []).append(number)
    return found


def _draw_losses(axes: Any, comparison: Comparison) -> None:
    for color, (name, numbers) in enumerate(_by_series(comparison).items()):
        rows = [comparison.rows[number] for number in numbers]
        style = {"color": _KINDS.get(rows[0].kind, COLOURS[color % len(COLOURS)])}
        if rows[0].kind == "all":
            axes.axhline(rows[0].loss.mean, linestyle=":", label=name, **style)
            continue
        places = [100 * row.fraction for row in rows]
        axes.plot(places, [row.loss.mean for row in rows], "-", marker="_", label=_label(name), **style)
        for number, place in zip(numbers, places, strict=True):
            means = comparison.measured[number].by_composition.mean(axis=2).ravel()
            axes.plot([place] * len(means), means, ".", **style)


_KINDS = {"random": TEXT, "all": GREY}


def _draw_differences(axes: Any, comparison: Comparison) -> None:
    axes.axhline(0, color=TEXT, linewidth=0.8)
    for color, (_, numbers) in enumerate(_by_series(comparison).items()):
        for number in numbers:
            row, apart = comparison.rows[number], comparison.rows[number].against_random
            if apart is not None and math.isfinite(apart.low):
                ends = [[apart.mean - apart.low], [apart.high - apart.mean]]
                place = 100 * row.fraction + 0.6 * (color % 10)  # moved apart, so that none hides another
                own = COLOURS[color % len(COLOURS)]
                axes.errorbar([place], [apart.mean], yerr=ends, fmt="o", capsize=3, color=own)


def _label(name: str) -> str:
    """A name for a legend: matplotlib hides labels that begin with an underscore, and reads a dollar as a formula."""
    return name.replace("$", r"\$").lstrip("_") or "subset"
