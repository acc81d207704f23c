"""Data pruning for the audio classifier: its clips through the scores and selectors of `aria_data.pruning`.

    python -m flows.tools.classifier_diet --hours 32 --out build/diet

Networks trained briefly score every clip. Writes `scores.parquet` (a `ScoreTable`), `scores.csv`, hardest first, and
`report.md`: the hardest clips, the clips that are probably mislabelled, and the accuracy of networks trained on all
clips and on those that each selector keeps, all for the same number of steps.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from aria_data.errors import AriaDataError
from aria_data.pruning import Budget, Pool, ScoreTable, SelectConfig, select
from aria_data.pruning.selection import METHODS
from aria_data.storage import write_whole
from classifiers.dataset import AugmentConfig, Clips
from classifiers.synthesize import CAUSES
from classifiers.train import Material, TrainConfig, held_out_figures, load_synthesised, train
from flows.tools.classifier_scores import (
    MISLABELLED_OTHER,
    MISLABELLED_OWN,
    Announce,
    DietConfig,
    DietScores,
    require_batch,
    require_scores,
    score_clips,
    train_early,
)


@dataclass(frozen=True)
class Kept:
    """Clips to train on: ascending indices (n,) into the clips, and their weights (n,)."""

    indices: np.ndarray
    weights: np.ndarray
    warnings: tuple[str, ...]


def keep_clips(table: ScoreTable, score: str, method: str, share: float, seed: int = 0) -> Kept:
    """Keep a share (0 to 1) of the clips by a method of `aria_data.pruning`.

    The share is the same for every cause, with at least one clip each. `group_random` keeps equally many clips of every
    cause instead, as far as there are enough.
    """
    pool = table.pool(score)
    causes = [""] if method == "group_random" else sorted(set(pool.groups))
    found: dict[str, float] = {}
    warnings: list[str] = []
    for cause in causes:
        part = _of_cause(pool, cause) if cause else pool
        config = SelectConfig(method, Budget(files=max(1, round(share * len(part)))))
        selection = select(part, config, seed)
        found |= dict(zip(selection.ids, selection.weights.tolist(), strict=True))
        warnings += [f"{cause}: {line}" if cause else line for line in selection.warnings]
    kept = sorted(found)
    return Kept(np.array(kept, dtype=np.int64), np.array([found[each] for each in kept]), tuple(warnings))


def _of_cause(pool: Pool, cause: str) -> Pool:
    mine = np.flatnonzero(pool.groups == cause)
    return Pool.of([pool.ids[at] for at in mine], *(each[mine] for each in (pool.scores, pool.groups, pool.minutes)))


@dataclass(frozen=True)
class Trained:
    """Networks trained on one choice of clips: their `held_out_figures`, one dictionary for each seed."""

    figures: list[dict[str, float]]
    num_clips: int
    warnings: tuple[str, ...] = ()


def compare(
    material: Material,
    choices: dict[str, Callable[[int], Kept | None]],
    training: TrainConfig,
    num_steps: int,
    seeds: Sequence[int],
    announce: Announce = print,
) -> dict[str, Trained]:
    """Train on each choice with every seed, for `num_steps` batches each.

    `choices` maps a name to a function that gives the clips kept for a seed; None means all. Raises `UsageError` for a
    choice with fewer clips than a batch.
    """
    found: dict[str, Trained] = {}
    for seed in seeds:
        for name, choose in choices.items():
            announce(f"training on {name}, seed {seed}")
            kept = choose(seed)
            part = replace(material, chosen=kept.indices, weights=kept.weights) if kept else material
            num_clips = len(kept.indices) if kept else len(material.clips.causes)
            require_batch(num_clips, training)
            network = train(part, training, seed, AugmentConfig(), num_steps, on_report=lambda line: None)
            before = found[name].figures if name in found else []
            figures = [*before, held_out_figures(network, material.held_out)]
            found[name] = Trained(figures, num_clips, kept.warnings if kept else ())
    return found


# -- reports ---------------------------------------------------------------------------------------------------------


def scores_csv(clips: Clips, scores: DietScores, by: str) -> str:
    """A CSV with one row for each clip, the highest score of column `by` first."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["clip", "label", "detail", *scores.table.columns, "heard_as", "label_probability"])
    for index in scores.hardest(by).tolist():
        cause, predicted = int(clips.causes[index]), int(scores.probabilities[index].argmax())
        numbers = [f"{values[index]:.6g}" for values in scores.table.columns.values()]
        own = f"{scores.probabilities[index, cause]:.4f}"
        writer.writerow([index, CAUSES[cause], clips.detail(index), *numbers, CAUSES[predicted], own])
    return out.getvalue()


def report(clips: Clips, scores: DietScores, by: str, trained: dict[str, Trained], num_shown: int = 20) -> str:
    """The results as Markdown; at most `num_shown` clips are listed of each kind."""
    order, wrong = scores.hardest(by), scores.probably_mislabelled(clips.causes)
    tenth = Counter(CAUSES[cause] for cause in clips.causes[order[: len(order) // 10]])
    lines = [
        f"# Data diet of {len(clips.causes)} clips",
        "",
        *_columns(scores.table, by),
        "",
        f"Among the hardest tenth: {', '.join(f'{cause} {count}' for cause, count in tenth.most_common())}",
        *(f"Warning: {line}" for line in scores.table.about["warnings"]),
        "",
        f"## Hardest ({min(num_shown, len(order))} of {len(order)}, by {by})",
        *(_line(clips, scores, by, index) for index in order[:num_shown].tolist()),
        "",
        f"## Probably mislabelled ({len(wrong)}; label below {MISLABELLED_OWN}, another above {MISLABELLED_OTHER})",
        *(_line(clips, scores, by, index) for index in wrong[:num_shown].tolist()),
        *_comparison(trained),
    ]
    return "\n".join(lines) + "\n"


def _columns(table: ScoreTable, by: str) -> list[str]:
    """A table row for each score: its rank correlation with `by`, and with itself between networks."""
    agreements = table.about["seed_rank_correlation"]
    lines = [f"| score | rank correlation with {by} | between networks |", "|---|---|---|"]
    for name, value in table.rank_correlations()[by].items():
        own = agreements.get(name)
        lines.append(f"| {name} | {value:.3f} | {'' if own is None else f'{own:.3f}'} |")
    return lines


def _line(clips: Clips, scores: DietScores, by: str, index: int) -> str:
    cause, predicted = int(clips.causes[index]), int(scores.probabilities[index].argmax())
    detail = f" ({clips.detail(index)})" if clips.detail(index) else ""
    return (
        f"- clip {index}: {CAUSES[cause]}{detail}, classified as {CAUSES[predicted]} "
        f"{scores.probabilities[index, predicted]:.2f}; {by} {scores.table.columns[by][index]:.3f}"
    )


def _comparison(trained: dict[str, Trained]) -> list[str]:
    if not trained:
        return []
    runs = next(iter(trained.values())).figures
    names = list(runs[0])
    lines = [
        "",
        "## Accuracy by training clips",
        "",
        "| | clips | " + " | ".join(names) + " | mean |",
        "|---" * (len(names) + 3) + "|",
    ]
    for name, each in trained.items():
        cells = [f"{np.mean([run[key] for run in each.figures]):.3f}" for key in names]
        means = [np.mean(list(run.values())) for run in each.figures]
        lines.append(
            f"| {name} | {each.num_clips} | {' | '.join(cells)} | {np.mean(means):.3f} ± {np.std(means):.3f} |"
        )
    lines += [
        "",
        f"Share of held-out synthetic clips rightly above or below 0.5, mean and spread of {len(runs)} seeds.",
        "",
    ]
    return lines + [f"- {name}: {line}" for name, each in trained.items() for line in each.warnings]


# -- the program -----------------------------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    try:
        print(_run(options, lambda line: print(line, file=sys.stderr, flush=True)))
    except AriaDataError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _run(options: argparse.Namespace, announce: Announce) -> str:
    scores_wanted = (options.by, *options.scores)
    config = DietConfig(options.networks, options.checkpoints, options.early_steps, options.seed, scores_wanted)
    require_scores(config)
    material, training = load_synthesised(options.cache, options.hours, options.seed, options.threads), TrainConfig()
    runs = [train_early(material, config, training, number, announce) for number in range(config.num_networks)]
    scores = score_clips(material, runs, config)
    scores.table.save(options.out / "scores.parquet")
    write_whole(options.out / "scores.csv", scores_csv(material.clips, scores, options.by).encode())
    choices: dict[str, Callable[[int], Kept | None]] = {"all": lambda seed: None}
    for method in options.methods:
        choices[method] = partial(keep_clips, scores.table, options.by, method, options.keep)
    seeds = range(options.seed, options.seed + options.runs)
    trained = compare(material, choices, training, options.steps, seeds, announce) if options.steps else {}
    text = report(material.clips, scores, options.by, trained)
    write_whole(options.out / "report.md", text.encode())
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m flows.tools.classifier_diet", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--cache", type=Path, default=Path("build/classifier_cache"), help="folder for clips already made")
    add("--hours", type=float, default=32.0, help="hours of sound, as in classifiers.train")
    add("--out", type=Path, default=Path("build/diet"), help="folder for scores.parquet, scores.csv and report.md")
    add("--networks", type=_count, default=3, help="early networks whose scores are averaged")
    add("--early-steps", type=_count, default=250, help="batches between two checkpoints of each network")
    add("--checkpoints", type=_count, default=1, help="of each network; with 2 or more also forgetting and tracin")
    add("--scores", nargs="*", default=[], help="more scores: vog (2 checkpoints), grand_full (slow)")
    add("--by", default="el2n", help="the score that clips are ordered and selected by")
    add("--methods", nargs="*", default=["top", "random"], choices=METHODS, help="selectors to compare")
    add("--keep", type=_share, default=0.5, help="share of the clips that they keep")
    add("--steps", type=int, default=800, help="batches to train each compared network on; 0: no comparison")
    add("--runs", type=_count, default=1, help="seeds of the comparison")
    add("--seed", type=int, default=0)
    add("--threads", type=int, default=2)
    return parser


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} does not lie between 0 and 1")
    return value


if __name__ == "__main__":
    raise SystemExit(main())
