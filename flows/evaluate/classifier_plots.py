"""Plots of an evaluation of the classifier, as SVG files."""

from __future__ import annotations

import math
from pathlib import Path

from aria_data.pictures import COLOURS, GREY, TEXT, canvas, saved
from flows.evaluate.classifier import PIANO, Evaluation


def draw(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Plot scores by label, precision and recall by threshold, reliability, and programmes. Gives the files written."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    if evaluation.clips:
        drawn += [_scores(evaluation, folder), _thresholds(evaluation, folder), _reliability(evaluation, folder)]
    if evaluation.programmes:
        drawn.append(_programmes(evaluation, folder))
    return drawn


def _scores(evaluation: Evaluation, folder: Path) -> Path:
    labels = sorted({clip.result.label for clip in evaluation.clips}, key=lambda label: (label != PIANO, label))
    figure, axes = canvas(7.0, 1.0 + 0.4 * len(labels))
    words = []
    for row, label in enumerate(labels):
        scores = sorted(clip.result.mean_score for clip in evaluation.clips if clip.result.label == label)
        heights = [row + 0.25 * math.sin(7.0 * index) for index in range(len(scores))]  # apart, so that each is seen
        axes.plot(scores, heights, "o", alpha=0.6, color=COLOURS[row == 0])
        words.append(f"{label}: {len(scores)} clips, {scores[0]:.2f} to {scores[-1]:.2f}")
    axes.set_yticks(range(len(labels)), [label.replace("_", " ").replace("$", r"\$") for label in labels])
    axes.set_xlabel("mean window score of a clip")
    axes.set_xlim(-0.02, 1.02)
    return saved(figure, folder / "scores.svg", "Scores by label", "; ".join(words))


def _thresholds(evaluation: Evaluation, folder: Path) -> Path:
    from classifiers.evaluate import figures_by_threshold

    figure, axes = canvas()
    rows = figures_by_threshold([clip.result for clip in evaluation.clips])
    for name, mark in (("precision", "o-"), ("recall", "s--"), ("removed", "^:")):
        axes.plot([row.threshold for row in rows], [getattr(row, name) for row in rows], mark, label=name)
    axes.set_xlabel("threshold of a clip's mean score")
    axes.legend()
    said = [f"at {row.threshold:g} precision {row.precision:.3f}, recall {row.recall:.3f}" for row in rows]
    return saved(figure, folder / "thresholds.svg", "Precision and recall by threshold", "; ".join(said))


def _reliability(evaluation: Evaluation, folder: Path) -> Path:
    from classifiers.evaluate import calibration

    figure, axes = canvas(5.0, 5.0)
    found = calibration([clip.result for clip in evaluation.clips])
    bins = [one for one in found.bins if one.num_windows]
    axes.plot([0, 1], [0, 1], "--", color=GREY)
    sizes = [10 + 2 * math.sqrt(one.num_windows) * 5 for one in bins]
    axes.scatter([one.mean_score for one in bins], [one.share_piano for one in bins], s=sizes, color=COLOURS[0])
    axes.set_xlabel("window score")
    axes.set_ylabel("share that is solo piano")
    axes.set_title(f"expected calibration error {found.ece:.3f}", loc="left")
    said = [f"of windows near {one.mean_score:.2f}, {one.share_piano:.2f} are piano" for one in bins]
    words = f"Expected calibration error {found.ece:.3f}; {'; '.join(said)}"
    return saved(figure, folder / "reliability.svg", "Reliability of window scores", words)


def _programmes(evaluation: Evaluation, folder: Path) -> Path:
    figure, axes = canvas(10.0, 1.0 + 0.9 * len(evaluation.programmes))
    for row, programme in enumerate(evaluation.programmes):
        axes.broken_barh([(start_s, end_s - start_s) for start_s, end_s in programme.true], (row, 0.3), color=TEXT)
        for number, (rule, spans) in enumerate(programme.found.items(), 1):
            place = (row - 0.18 * number, 0.15)
            lengths = [(start_s, end_s - start_s) for start_s, end_s in spans]
            colour = COLOURS[(number - 1) % len(COLOURS)]
            axes.broken_barh(lengths, place, color=colour, label=rule if row == 0 else None)
    names = [Path(programme.file).name for programme in evaluation.programmes]
    axes.set_yticks(range(len(names)), [name.replace("$", r"\$") for name in names])
    axes.set_xlabel("s (in the colour of text: true)")
    axes.legend(loc="upper right")
    said = [f"{name}: {len(one.true)} true spans" for name, one in zip(names, evaluation.programmes, strict=True)]
    return saved(figure, folder / "programmes.svg", "Spans of solo piano found in programmes", "; ".join(said))
