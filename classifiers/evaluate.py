"""Measure the classifier on labelled recordings: clips with one label, or programmes with labelled stretches.

    python -m classifiers.evaluate --labels labels.csv --root recordings/
    python -m classifiers.evaluate --labels programmes.csv --root recordings/

`labels.csv` has columns file,label; `programmes.csv` has file,start,end,label (seconds). The label `piano` is to be
kept, every other to be removed. Other columns are ignored.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from classifiers.checkpoint import CheckpointInvalid
from classifiers.predict import Classifier, WindowScores

PIANO = "piano"


@dataclass(frozen=True)
class ClipResult:
    """One labelled clip and what the classifier made of it."""

    file: str
    label: str
    mean_score: float
    any_piano: float
    main_cause: str


@dataclass(frozen=True)
class LabelFigures:
    """How many clips of a label are on the right side of the threshold."""

    label: str
    num_clips: int
    num_right: int
    lowest: float
    highest: float


@dataclass(frozen=True)
class ProgrammeFigures:
    """Second by second, over all programmes: solo piano found against solo piano there."""

    precision: float
    recall: float
    iou: float
    seconds: int
    wrong_by_label: dict[str, tuple[int, int]]  # label -> (wrong seconds, all seconds)


def score_clips(classifier: Classifier, rows: list[dict[str, str]], root: Path) -> list[ClipResult]:
    """Mean score of every file; an empty recording counts as 0."""
    results = []
    for row in rows:
        scored = classifier.score_file(root / row["file"])
        mean, heard = (float(values.mean()) if len(values) else 0.0 for values in (scored.scores, scored.any_piano))
        results.append(ClipResult(row["file"], row["label"], mean, heard, scored.main_cause))
    return results


def figures_by_label(results: list[ClipResult], threshold: float) -> list[LabelFigures]:
    groups: dict[str, list[float]] = defaultdict(list)
    for result in results:
        groups[result.label].append(result.mean_score)
    return [
        LabelFigures(
            label,
            len(values),
            sum((value >= threshold) == (label == PIANO) for value in values),
            min(values),
            max(values),
        )
        for label, values in sorted(groups.items(), key=lambda item: (item[0] != PIANO, item[0]))
    ]


def area_under_curve(positive: np.ndarray, negative: np.ndarray) -> float:
    """Chance that a random positive is above a random negative; ties count half."""
    if not len(positive) or not len(negative):
        return float("nan")
    above = (positive[:, None] > negative[None, :]).mean()
    return float(above + 0.5 * (positive[:, None] == negative[None, :]).mean())


def programme_figures(
    scored: dict[str, WindowScores], rows: list[dict[str, str]], threshold: float, collar_s: float
) -> ProgrammeFigures:
    """Compare every hop with the label at its middle, unless that is within `collar_s` of a boundary."""
    counts = {"hit": 0, "false": 0, "missed": 0, "seconds": 0}
    wrong: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for row in rows:
        scores = scored[row["file"]]
        middles_s = (np.arange(len(scores.scores)) + 0.5) * scores.hop_s
        inside = (middles_s >= float(row["start"]) + collar_s) & (middles_s < float(row["end"]) - collar_s)
        found, is_piano = scores.scores[inside] >= threshold, row["label"] == PIANO
        counts["hit"] += int(found.sum()) if is_piano else 0
        counts["false"] += 0 if is_piano else int(found.sum())
        counts["missed"] += int((~found).sum()) if is_piano else 0
        counts["seconds"] += len(found)
        wrong[row["label"]][0] += int((found != is_piano).sum())
        wrong[row["label"]][1] += len(found)
    hit, false, missed = counts["hit"], counts["false"], counts["missed"]
    return ProgrammeFigures(
        precision=hit / max(1, hit + false),
        recall=hit / max(1, hit + missed),
        iou=hit / max(1, hit + false + missed),
        seconds=counts["seconds"],
        wrong_by_label={label: (pair[0], pair[1]) for label, pair in sorted(wrong.items())},
    )


def read_rows(path: Path) -> list[dict[str, str]]:
    """Rows of a labels or programmes CSV; a missing column is named."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    missing = {"file", "label"} - set(rows[0] if rows else ())
    if missing:
        raise ValueError(f"{path}: needs columns file,label (and start,end for programmes); missing {sorted(missing)}.")
    return rows


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m classifiers.evaluate", description=__doc__.split("\n")[0])
    parser.add_argument("--labels", type=Path, required=True, help="CSV: file,label or file,start,end,label")
    parser.add_argument("--root", type=Path, help="folder the files are in (default: the CSV's)")
    parser.add_argument("--threshold", type=float, default=0.5)
    parser.add_argument("--collar", type=float, default=0.3, help="seconds around a boundary that are not judged")
    parser.add_argument("--weights", type=Path, help="another checkpoint than the one that comes along")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    root = options.root or options.labels.parent
    try:
        rows, classifier = read_rows(options.labels), Classifier.load(options.weights)
    except (OSError, ValueError, CheckpointInvalid) as error:
        print(error, file=sys.stderr)
        return 2
    if {"start", "end"} <= rows[0].keys():
        scored = {name: classifier.score_file(root / name) for name in sorted({row["file"] for row in rows})}
        figures = programme_figures(scored, rows, options.threshold, options.collar)
        _print_programmes(figures) if not options.json else print(json.dumps(asdict(figures)))
    else:
        results = score_clips(classifier, rows, root)
        if options.json:
            print(json.dumps([asdict(result) for result in results]))
        else:
            _print_clips(results, options.threshold)
    return 0


def _print_clips(results: list[ClipResult], threshold: float) -> None:
    print(f"{'label':18s} {'clips':>5s} {'right':>5s} {'share':>7s} {'lowest':>7s} {'highest':>7s}")
    for row in figures_by_label(results, threshold):
        share = row.num_right / row.num_clips
        print(
            f"{row.label:18s} {row.num_clips:5d} {row.num_right:5d} {share:7.1%} {row.lowest:7.3f} {row.highest:7.3f}"
        )
    positive = np.array([result.mean_score for result in results if result.label == PIANO])
    negative = np.array([result.mean_score for result in results if result.label != PIANO])
    print(f"AUC {area_under_curve(positive, negative):.4f}   threshold {threshold}")
    for result in sorted(results, key=lambda result: result.mean_score):
        if (result.mean_score >= threshold) != (result.label == PIANO):
            kind = "removed" if result.label == PIANO else "kept"
            heard = f"{result.label}, heard as {result.main_cause}"
            print(f"  wrongly {kind}: {result.mean_score:.3f}  {result.file} ({heard})")


def _print_programmes(figures: ProgrammeFigures) -> None:
    print(f"precision {figures.precision:.4f}  recall {figures.recall:.4f}  IoU {figures.iou:.4f}  {figures.seconds} s")
    for label, (num_wrong, num_all) in figures.wrong_by_label.items():
        print(f"  {label:18s} {num_wrong:4d} of {num_all:4d} s wrong")


if __name__ == "__main__":
    raise SystemExit(main())
