"""Accuracy of window scores on labelled recordings: by threshold, by label, by cause, and calibration.

    python -m classifiers.evaluate --labels labels.csv --root recordings/

`labels.csv` has the columns file,label and, where a label holds for a part of a file, start_s,end_s. Spans labelled
`piano` are to be kept, all others to be removed. Other columns are ignored. Segments are not evaluated here.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from classifiers.checkpoint import CheckpointInvalid
from classifiers.predict import Classifier, WindowScores

PIANO = "piano"
WITH_PIANO = (PIANO, "piano_plus_other")
NUM_BINS = 10
THRESHOLDS = (0.1, 0.2, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class Labelled:
    """One row of a labels CSV. `end_s` None: to the end of the file."""

    file: str
    label: str
    start_s: float = 0.0
    end_s: float | None = None
    detail: str = ""


@dataclass(frozen=True)
class ClipResult:
    """One labelled span and the classifier's result for it."""

    file: str
    label: str
    mean_score: float  # of its windows, 0 to 1
    any_piano: float  # mean, 0 to 1
    main_cause: str  # the cause with the largest mean probability
    scores: tuple[float, ...] = ()  # of its windows


@dataclass(frozen=True)
class LabelFigures:
    """The spans with one label: how many a threshold rightly keeps or removes, and their extreme mean scores."""

    label: str
    num_clips: int
    num_right: int
    lowest: float
    highest: float


@dataclass(frozen=True)
class ThresholdFigures:
    """The result of keeping every span whose mean score reaches the threshold."""

    threshold: float
    precision: float  # share of what is kept that is solo piano
    recall: float  # share of solo piano that is kept
    removed: float  # share of everything else that is removed


@dataclass(frozen=True)
class Bin:
    """The windows whose score lies in one tenth of 0 to 1: their mean score, and the share that is solo piano."""

    num_windows: int
    mean_score: float
    share_piano: float


@dataclass(frozen=True)
class Calibration:
    """How well scores match the share of solo piano. `ece` is the expected calibration error: the mean distance of the
    two over bins, weighted by their windows."""

    ece: float
    bins: list[Bin]


def read_rows(path: Path) -> list[Labelled]:
    """Read a labels CSV. Raises `ValueError` with file and line for a missing column, an empty field or a bad time."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:  # Excel puts a mark before the first column
            reader = csv.DictReader(file)
            names = set(reader.fieldnames or ())
            missing = {"file", "label"} - names
            if missing:
                hint = " Commas separate columns, not semicolons." if any(";" in name for name in names) else ""
                raise ValueError(f"{path}: needs the columns file,label; missing: {', '.join(sorted(missing))}.{hint}")
            return [_row(path, line, row) for line, row in enumerate(reader, 2)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: is no CSV in UTF-8 ({error}). Save it as such.") from None


def _row(path: Path, line: int, row: dict[str, str]) -> Labelled:
    try:
        start, end = (row.get(f"{name}_s") or row.get(name) or "" for name in ("start", "end"))
        end_s = float(end) if end else None
        start_s = float(start) if start and end_s is not None else 0.0  # `start` alone is where a clip was cut from
    except ValueError:
        raise ValueError(f"{path}:{line}: start_s and end_s are seconds, such as 12.5.") from None
    if not (row["file"] and row["label"]):
        raise ValueError(f"{path}:{line}: has no file or no label.")
    if not (0 <= start_s < (math.inf if end_s is None else end_s) and (end_s is None or math.isfinite(end_s))):
        raise ValueError(f"{path}:{line}: start_s {start} and end_s {end} are no span: 0 or more, start before end.")
    return Labelled(row["file"], row["label"].strip().lower(), start_s, end_s, row.get("detail") or "")


def span_of(row: Labelled, scored: WindowScores) -> WindowScores:
    """Cut the scores of a recording down to a labelled span, as if the span were a recording."""
    if row.end_s is None:
        return scored
    end_s = min(row.end_s, scored.duration_s)

    def part(values: np.ndarray, step_s: float) -> np.ndarray:
        return values[round(row.start_s / step_s) : max(round(end_s / step_s), round(row.start_s / step_s) + 1)]

    def steps(values: np.ndarray | None) -> np.ndarray | None:
        return None if values is None else part(values, scored.step_s)

    return replace(
        scored,
        scores=part(scored.scores, scored.hop_s),
        any_piano=part(scored.any_piano, scored.hop_s),
        causes=part(scored.causes, scored.hop_s),
        local_scores=part(scored.local_scores, scored.step_s),
        local_any_piano=steps(scored.local_any_piano),
        levels_db=steps(scored.levels_db),
        changes=steps(scored.changes),
        duration_s=end_s - row.start_s,
    )


def clip_result(row: Labelled, scored: WindowScores) -> ClipResult:
    """Average over the windows whose middles lie in the labelled span; without any, scores of 0 and silence."""
    middles_s = (np.arange(len(scored.scores)) + 0.5) * scored.hop_s
    end_s = scored.duration_s if row.end_s is None else row.end_s
    inside = (middles_s >= row.start_s) & (middles_s < max(end_s, row.start_s + scored.hop_s))
    if not inside.any():
        return ClipResult(row.file, row.label, 0.0, 0.0, "silence")
    cause = scored.cause_names[int(scored.causes[inside].mean(axis=0).argmax())]
    mean, any_piano = float(scored.scores[inside].mean()), float(scored.any_piano[inside].mean())
    return ClipResult(row.file, row.label, mean, any_piano, cause, tuple(scored.scores[inside].tolist()))


def figures_by_label(results: Sequence[ClipResult], threshold: float) -> list[LabelFigures]:
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


def figures_by_threshold(results: Sequence[ClipResult]) -> list[ThresholdFigures]:
    """The figures for each of `THRESHOLDS`; a share of no spans is NaN."""
    scores = np.array([result.mean_score for result in results])
    is_piano = np.array([result.label == PIANO for result in results], dtype=bool)
    figures = []
    for threshold in THRESHOLDS:
        kept = scores >= threshold
        figures.append(
            ThresholdFigures(
                threshold,
                _share(is_piano[kept]),
                _share(kept[is_piano]),
                _share(~kept[~is_piano]),
            )
        )
    return figures


def _share(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def area_under_curve(results: Sequence[ClipResult]) -> float:
    """The chance that a random span of solo piano scores above a random other one (AUC); ties count half.

    NaN where one of the two does not occur.
    """
    positive, negative = (
        np.array([result.mean_score for result in results if (result.label == PIANO) is side]) for side in (True, False)
    )
    if not len(positive) or not len(negative):
        return float("nan")
    above = (positive[:, None] > negative[None, :]).mean()
    return float(above + 0.5 * (positive[:, None] == negative[None, :]).mean())


def any_piano_auc(results: Sequence[ClipResult]) -> float:
    """The same for `any_piano`: spans with a piano, alone or not, against those without."""
    as_clips = [
        ClipResult(result.file, PIANO if result.label in WITH_PIANO else "none", result.any_piano, 0.0, "")
        for result in results
    ]
    return area_under_curve(as_clips)


def calibration(results: Sequence[ClipResult]) -> Calibration:
    """Calibration of window scores in ten bins (Guo et al. 2017); every window has its span's label."""
    scores = np.array([score for result in results for score in result.scores])
    is_piano = np.array([result.label == PIANO for result in results for _ in result.scores], dtype=float)
    places = np.minimum((scores * NUM_BINS).astype(int), NUM_BINS - 1)
    bins = []
    for number in range(NUM_BINS):
        inside = places == number
        count = int(inside.sum())
        mean, share = (float(values[inside].mean()) if count else float("nan") for values in (scores, is_piano))
        bins.append(Bin(count, mean, share))
    total = max(1, len(scores))
    ece = sum(one.num_windows * abs(one.mean_score - one.share_piano) for one in bins if one.num_windows) / total
    return Calibration(ece, bins)


def confusion(results: Sequence[ClipResult]) -> dict[str, Counter[str]]:
    """label -> number of spans by main cause."""
    table: dict[str, Counter[str]] = defaultdict(Counter)
    for result in results:
        table[result.label][result.main_cause] += 1
    return dict(table)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m classifiers.evaluate", description=__doc__.split("\n")[0])
    parser.add_argument("--labels", type=Path, required=True, help="CSV: file,label[,start_s,end_s]")
    parser.add_argument("--root", type=Path, help="folder the files are in (default: the CSV's)")
    parser.add_argument("--threshold", type=float, default=0.5)
    parser.add_argument("--weights", type=Path, help="checkpoint to use instead of this project's")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    root = options.root or options.labels.parent
    try:
        rows, classifier = read_rows(options.labels), Classifier.load(options.weights)
    except (OSError, ValueError, CheckpointInvalid) as error:
        print(error, file=sys.stderr)
        return 2
    scored = _scores_of(classifier, root, list(dict.fromkeys(row.file for row in rows)))
    results = [clip_result(row, scored[row.file]) for row in rows if row.file in scored]
    if options.json:
        print(json.dumps([asdict(result) for result in results]))
    elif results:
        _print(results, options.threshold)
    return 0 if len(results) == len(rows) else 1


def _scores_of(classifier: Classifier, root: Path, names: Sequence[str]) -> dict[str, WindowScores]:
    """Score the files below `root`; one that cannot be read is a line on standard error."""
    import av

    scored = {}
    for name in names:
        forms = (root / each for each in (name, *(unicodedata.normalize(form, name) for form in ("NFC", "NFD"))))
        path = next((form for form in forms if form.exists()), root / name)
        try:
            scored[name] = classifier.score_file(path)
        except (OSError, ValueError, av.error.FFmpegError) as error:
            print(f"{path}: {error}", file=sys.stderr)
    return scored


def _print(results: list[ClipResult], threshold: float) -> None:
    print(f"{'label':18s} {'clips':>5s} {'right':>5s} {'share':>7s} {'lowest':>7s} {'highest':>7s}")
    for row in figures_by_label(results, threshold):
        share = row.num_right / row.num_clips
        print(
            f"{row.label:18s} {row.num_clips:5d} {row.num_right:5d} {share:7.1%} {row.lowest:7.3f} {row.highest:7.3f}"
        )
    print(f"AUC {area_under_curve(results):.4f}   any piano {any_piano_auc(results):.4f}   threshold {threshold}")
    print(f"ECE {calibration(results).ece:.4f}")
    for result in sorted(results, key=lambda result: result.mean_score):
        if (result.mean_score >= threshold) != (result.label == PIANO):
            side = "removed" if result.label == PIANO else "kept"
            causes = f"{result.label}, classified as {result.main_cause}"
            print(f"  wrongly {side}: {result.mean_score:.3f}  {result.file} ({causes})")


if __name__ == "__main__":
    raise SystemExit(main())
