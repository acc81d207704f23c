"""Which training clips matter: EL2N and GraNd of every clip, and what training on half of them costs.

    python -m classifiers.diet --hours 32 --out build/diet

Paul, Ganguli, Dziugaite 2021, *Deep Learning on a Data Diet* (arXiv 2107.07075): scores of early networks, averaged
over several. EL2N is the length of the error vector (probabilities of the six causes less the label's). GraNd is the
length of the loss gradient; here that of the last layer alone, which is the error vector's times that of its input.
A clip's score is the mean over its windows.

Writes `scores.csv`, hardest first, and `report.md`: the hardest clips, those that every network is sure are something
else (a wrong label, or a sound that is), and the figures of networks trained on all clips, on the hardest half, and
on a random half, all for the same number of steps.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from classifiers.dataset import DB_STEP, AugmentConfig, Clips
from classifiers.features import FeatureConfig
from classifiers.model import PianoNet
from classifiers.synthesize import CAUSES
from classifiers.train import Material, TrainConfig, held_out_figures, judging, load_synthesised, train

BATCH = 32
MISLABELLED_OWN, MISLABELLED_OTHER = 0.1, 0.8  # mean probabilities of the label and of another cause


@dataclass(frozen=True)
class DietScores:
    """Per clip, means over networks: el2n, grand (n,), probabilities of the causes (n, causes)."""

    el2n: np.ndarray
    grand: np.ndarray
    probabilities: np.ndarray

    def probably_mislabelled(self, causes: np.ndarray) -> np.ndarray:
        """Indices of clips whose label hardly any network believes, while they agree on another; worst first."""
        own = self.probabilities[np.arange(len(causes)), causes]
        others = self.probabilities.copy()
        others[np.arange(len(causes)), causes] = 0.0
        found = np.flatnonzero((own < MISLABELLED_OWN) & (others.max(axis=1) > MISLABELLED_OTHER))
        return found[np.argsort(own[found], kind="stable")]


def score_clips(networks: Sequence[PianoNet], clips: Clips) -> DietScores:
    """EL2N and last-layer GraNd of every clip under each network, averaged."""
    totals = [np.zeros(len(clips.causes)), np.zeros(len(clips.causes)), np.zeros((len(clips.causes), len(CAUSES)))]
    for network in networks:
        for first in range(0, len(clips.causes), BATCH):
            part = slice(first, first + BATCH)
            scores = _scores_of(network, clips.frames[part], clips.causes[part])
            for total, values in zip(totals, scores, strict=True):
                total[part] += values / len(networks)
    return DietScores(*totals)


def _scores_of(network: PianoNet, frames: np.ndarray, causes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    frames_db = torch.from_numpy(frames.astype(np.float32) * DB_STEP + FeatureConfig().floor_db)
    inputs: list[torch.Tensor] = []
    last = network.head[-1]
    assert isinstance(last, torch.nn.Linear)
    handle = last.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    with judging(network):
        windows, _ = network(frames_db)
    handle.remove()
    probabilities = functional.softmax(windows.causes.float(), dim=-1)
    label = functional.one_hot(torch.from_numpy(causes), len(CAUSES))[:, None]
    lengths = torch.linalg.vector_norm(probabilities - label, dim=-1)
    gradients = lengths * torch.sqrt(inputs[0].float().square().sum(dim=-1) + 1.0)  # + 1: the bias
    return lengths.mean(dim=1).numpy(), gradients.mean(dim=1).numpy(), probabilities.mean(dim=1).numpy()


def hardest(scores: np.ndarray, causes: np.ndarray, share: float) -> np.ndarray:
    """Indices of the highest scores, the same share of every cause (one at least), in order."""
    chosen: list[int] = []
    for cause in np.unique(causes):
        members = np.flatnonzero(causes == cause)
        count = max(1, round(share * len(members)))
        chosen += members[np.argsort(-scores[members], kind="stable")[:count]].tolist()
    return np.array(sorted(chosen), dtype=np.int64)


def random_share(causes: np.ndarray, share: float, seed: int) -> np.ndarray:
    """As many of every cause as `hardest` takes, at random."""
    return hardest(np.random.default_rng(seed).random(len(causes)), causes, share)


def compare(
    material: Material, scores: DietScores, num_steps: int, seeds: Sequence[int], say: Callable[[str], None]
) -> dict[str, list[dict[str, float]]]:
    """Held-out figures of networks trained on all, the hardest half, and a random half: name -> one a seed."""
    causes = material.clips.causes
    halves = {"all": lambda seed: None, "hardest half (EL2N)": lambda seed: hardest(scores.el2n, causes, 0.5)}
    halves["random half"] = lambda seed: random_share(causes, 0.5, seed)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in halves}
    for seed in seeds:
        for name, choose in halves.items():
            say(f"training on {name}, seed {seed}")
            part = replace(material, chosen=choose(seed))
            network = train(part, TrainConfig(), seed, AugmentConfig(), num_steps, on_report=lambda line: None)
            found[name].append(held_out_figures(network, material.held_out))
    return found


def write_scores(path: Path, clips: Clips, scores: DietScores) -> None:
    """One row a clip, hardest first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["clip", "label", "detail", "el2n", "grand", "heard_as", "label_probability"])
        for index in np.argsort(-scores.el2n, kind="stable").tolist():
            cause = int(clips.causes[index])
            heard = CAUSES[int(scores.probabilities[index].argmax())]
            numbers = f"{scores.el2n[index]:.4f}", f"{scores.grand[index]:.4f}"
            own = f"{scores.probabilities[index, cause]:.4f}"
            writer.writerow([index, CAUSES[cause], clips.detail(index), *numbers, heard, own])


def report(clips: Clips, scores: DietScores, figures: dict[str, list[dict[str, float]]], num_shown: int = 20) -> str:
    """The findings as Markdown."""
    order = np.argsort(-scores.el2n, kind="stable")
    wrong = scores.probably_mislabelled(clips.causes)
    agree = float(np.corrcoef(np.argsort(np.argsort(scores.el2n)), np.argsort(np.argsort(scores.grand)))[0, 1])
    lines = [
        f"# Data diet of {len(clips.causes)} clips",
        "",
        f"Rank correlation of EL2N and last-layer GraNd: {agree:.3f}. Among the hardest tenth: "
        + ", ".join(f"{CAUSES[int(cause)]} {count}" for cause, count in _counts(clips, order[: len(order) // 10])),
        "",
        f"## Hardest ({num_shown} of {len(order)})",
        *(_line(clips, scores, index) for index in order[:num_shown].tolist()),
        "",
        f"## Probably mislabelled ({len(wrong)}; label below {MISLABELLED_OWN}, another above {MISLABELLED_OTHER})",
        *(_line(clips, scores, index) for index in wrong[:num_shown].tolist()),
    ]
    if figures:
        names = list(next(iter(figures.values()))[0])
        lines += ["", "## Trained on", "", "| | " + " | ".join(names) + " | mean |", "|---" * (len(names) + 2) + "|"]
        for name, runs in figures.items():
            means = [float(np.mean([run[key] for run in runs])) for key in names]
            spread = float(np.std([np.mean(list(run.values())) for run in runs]))
            cells = " | ".join(f"{mean:.3f}" for mean in means)
            lines.append(f"| {name} | {cells} | {np.mean(means):.3f} ± {spread:.3f} |")
        lines += ["", f"Share of held-out synthetic clips on the right side of 0.5, {len(runs)} seeds."]
    return "\n".join(lines) + "\n"


def _counts(clips: Clips, indices: np.ndarray) -> list[tuple[int, int]]:
    return Counter(clips.causes[indices].tolist()).most_common()


def _line(clips: Clips, scores: DietScores, index: int) -> str:
    cause = int(clips.causes[index])
    heard = int(scores.probabilities[index].argmax())
    detail = f" ({clips.detail(index)})" if clips.detail(index) else ""
    return (
        f"- clip {index}: {CAUSES[cause]}{detail}, heard as {CAUSES[heard]} "
        f"{scores.probabilities[index, heard]:.2f}; EL2N {scores.el2n[index]:.3f}, GraNd {scores.grand[index]:.2f}"
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m classifiers.diet", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--cache", type=Path, default=Path("build/classifier_cache"), help="folder for clips already made")
    add("--hours", type=float, default=32.0, help="hours of sound, as in classifiers.train")
    add("--out", type=Path, default=Path("build/diet"), help="folder for scores.csv and report.md")
    add("--networks", type=int, default=3, help="early networks whose scores are averaged")
    add("--early-steps", type=int, default=250, help="batches each of them has seen")
    add("--steps", type=int, default=800, help="batches of the networks that are compared; 0: none")
    add("--runs", type=int, default=1, help="seeds of the comparison")
    add("--seed", type=int, default=0)
    add("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    say = lambda line: print(line, file=sys.stderr, flush=True)  # noqa: E731
    material = load_synthesised(options.cache, options.hours, options.seed, options.threads)
    networks = []
    for number in range(options.networks):
        say(f"early network {number + 1} of {options.networks}")
        seed = options.seed + 100 + number
        networks.append(train(material, TrainConfig(), seed, AugmentConfig(), options.early_steps, on_report=say))
    scores = score_clips(networks, material.clips)
    write_scores(options.out / "scores.csv", material.clips, scores)
    seeds = range(options.seed, options.seed + options.runs)
    figures = compare(material, scores, options.steps, seeds, say) if options.steps else {}
    text = report(material.clips, scores, figures)
    (options.out / "report.md").write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
