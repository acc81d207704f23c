"""Reports of a check of attributions: lines for a terminal, scores.md, scores.json. No statistics."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from aria_data.compare.attribution_check import Check
from aria_data.compare.datamodel import Foretold
from aria_data.storage import printable, write_whole

HEADER = ("attribution", "datamodelling score", "95% interval", "the same for all probes")


def terminal_lines(found: Check) -> list[str]:
    """Give the table for a terminal, line by line, with how to read it and the warnings."""
    rows = [HEADER, *(_cells(row) for row in found.rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [*lines, "", *_reading(found), *(f"warning: {line}" for line in found.warnings)]


def save_report(found: Check, folder: Path) -> list[Path]:
    """Write scores.md and scores.json, and give their paths. Raises `DatasetNotWritable`."""
    content = {
        "rows": [asdict(row) for row in found.rows],
        "ceiling": found.ceiling,
        "warnings": list(found.warnings),
        "about": found.about,
    }
    write_whole(folder / "scores.md", _markdown(found).encode())
    write_whole(folder / "scores.json", (json.dumps(content, indent=1) + "\n").encode())
    return [folder / "scores.md", folder / "scores.json"]


def _cells(row: Foretold) -> tuple[str, ...]:
    retrieved = row.retrieval
    same = "yes, by construction" if retrieved is None else f"{retrieved.overlap:.0%} of the highest tenth"
    flag = " (flagged)" if retrieved is not None and retrieved.is_same_for_all else ""
    return row.name, f"{row.score:+.3f}", f"{row.low:+.3f} to {row.high:+.3f}", same + flag


def _reading(found: Check) -> list[str]:
    config, about = found.about["config"], found.about
    lines = [
        f"Trained on {config['num_parts']} random parts of {config['share']:.0%} of {about['num_files_to_train_on']} "
        f"files, {config['num_seeds']} times each, {config['num_steps']} steps; tested on "
        f"{about['num_files_tested_on']} files of {about['num_compositions_tested_on']} other compositions.",
        "The score is Spearman's rho of foretold and measured losses over the parts, in the mean over the files tested "
        "on: 0 is chance. The interval is over other compositions and other parts.",
    ]
    if found.ceiling is not None:
        lines.append(f"Trainings differ by their seed, too: without any error the score would be {found.ceiling:.2f}.")
    return lines


def _markdown(found: Check) -> str:
    table = [_row(HEADER), _row(["---"] * len(HEADER)), *(_row(_cells(row)) for row in found.rows)]
    parts = ["# Attributions against training", "\n".join(table), *_reading(found)]
    if found.warnings:
        parts += ["## Warnings", "\n".join(f"- {printable(line, limit=1000)}" for line in found.warnings)]
    facts = {key: value for key, value in found.about.items() if key != "config"} | found.about["config"]
    parts += ["## Made with", "\n".join(f"- {key}: {value}" for key, value in facts.items())]
    return "\n\n".join(parts) + "\n"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
