"""Plots of an evaluation of the classifier, as PNG files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from aria_data.errors import UsageError
from flows.evaluate.classifier import PIANO, Evaluation


def require_folder(folder: Path) -> None:
    """Make the folder for plots. Raises `UsageError` where that fails, so call it before the evaluation."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--plots {folder}: cannot be made ({error.strerror}). Name another folder.") from None


def draw(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Plot scores by label, precision and recall by threshold, reliability, and programmes. Gives the files written."""
    import matplotlib

    matplotlib.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    if evaluation.clips:
        drawn += [_scores(evaluation, folder), _thresholds(evaluation, folder), _reliability(evaluation, folder)]
    if evaluation.programmes:
        drawn.append(_programmes(evaluation, folder))
    return drawn


def _figure(width: float = 7.0, height: float = 4.0) -> Any:
    from matplotlib import pyplot

    return pyplot.subplots(figsize=(width, height), layout="constrained")


def _save(figure: Any, path: Path) -> Path:
    from matplotlib import pyplot

    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path


def _scores(evaluation: Evaluation, folder: Path) -> Path:
    figure, axes = _figure()
    labels = sorted({clip.result.label for clip in evaluation.clips}, key=lambda label: (label != PIANO, label))
    for row, label in enumerate(labels):
        scores = sorted(clip.result.mean_score for clip in evaluation.clips if clip.result.label == label)
        heights = [row + 0.25 * math.sin(7.0 * index) for index in range(len(scores))]  # apart, so that each is seen
        axes.plot(scores, heights, "o", alpha=0.6)
    axes.set_yticks(range(len(labels)), [label.replace("_", " ") for label in labels])
    axes.set_xlabel("mean window score of a clip")
    axes.set_xlim(-0.02, 1.02)
    return _save(figure, folder / "scores.png")


def _thresholds(evaluation: Evaluation, folder: Path) -> Path:
    from classifiers.evaluate import figures_by_threshold

    figure, axes = _figure()
    rows = figures_by_threshold([clip.result for clip in evaluation.clips])
    for name in ("precision", "recall", "removed"):
        axes.plot([row.threshold for row in rows], [getattr(row, name) for row in rows], "o-", label=name)
    axes.set_xlabel("threshold of a clip's mean score")
    axes.legend()
    return _save(figure, folder / "thresholds.png")


def _reliability(evaluation: Evaluation, folder: Path) -> Path:
    from classifiers.evaluate import calibration

    figure, axes = _figure(5.0, 5.0)
    found = calibration([clip.result for clip in evaluation.clips])
    bins = [one for one in found.bins if one.num_windows]
    axes.plot([0, 1], [0, 1], "--", color="grey")
    sizes = [10 + 2 * math.sqrt(one.num_windows) * 5 for one in bins]
    axes.scatter([one.mean_score for one in bins], [one.share_piano for one in bins], s=sizes)
    axes.set_xlabel("window score")
    axes.set_ylabel("share that is solo piano")
    axes.set_title(f"ECE {found.ece:.3f}")
    return _save(figure, folder / "reliability.png")


def _programmes(evaluation: Evaluation, folder: Path) -> Path:
    figure, axes = _figure(10.0, 1.0 + 0.9 * len(evaluation.programmes))
    for row, programme in enumerate(evaluation.programmes):
        axes.broken_barh([(start_s, end_s - start_s) for start_s, end_s in programme.true], (row, 0.3), color="black")
        for number, (rule, spans) in enumerate(programme.found.items(), 1):
            place = (row - 0.18 * number, 0.15)
            lengths = [(start_s, end_s - start_s) for start_s, end_s in spans]
            axes.broken_barh(lengths, place, color=f"C{number}", label=rule if row == 0 else None)
    names = [Path(programme.file).name for programme in evaluation.programmes]
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("s (black: true)")
    axes.legend(loc="upper right")
    return _save(figure, folder / "programmes.png")
