"""Claims of five papers on data pruning, tested on scikit-learn's handwritten digits.

    python benchmarks/data_pruning_images.py [--repetitions N]

The scores and selectors are those for music, applied to another network through `Scorable`. Each repetition has its own
split of the images, draws and initialisations; differences are taken within a repetition, and intervals (95 %,
Student's t) are over repetitions. Every training run takes the same number of steps, whatever is kept.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from aria_data.pruning import Budget, Pool, SelectConfig, select
from aria_data.pruning.columns import ColumnsConfig, Snapshot, Task, columns_of
from aria_data.pruning.scores import el2n
from aria_data.surrogate import Examples
from aria_data.surrogate.scorable import logits_of, scoring_mode

NUM_TRAIN, NUM_PROBE = 1200, 97  # of 1,797; the other 500 are the test
NUM_CLASSES, WIDTH, BATCH = 10, 64, 32
LEARNING_RATE = 2e-3
NUM_STEPS = 400
STEPS_PER_EPOCH = NUM_TRAIN / BATCH
EARLY_STEPS = 2  # 0.05 epochs
CHECKPOINT_EPOCHS = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0)
SCORE_EPOCH = 4.0  # an epoch is 38 steps only; after one EL2N still tells classes apart, and half is not enough
SCORE_SEEDS = 5
WRONG_SHARE = 0.12
CHOOSING = ("el2n", "vog")  # the scores that selections use
SCORES = (
    *("loss", "el2n", "grand_token", "grand_window", "grand_full", "vog", "forgetting", "pvi", "tracin"),
    *("influence", "influence_train"),
)

Way = tuple[str, dict[str, Any]]  # a score, and settings of `SelectConfig`
RANDOM: Way = ("el2n", {"method": "random"})
TOP: Way = ("el2n", {"method": "top"})
BOTTOM: Way = ("el2n", {"method": "bottom"})
HALF: dict[str, Way] = {
    "random": RANDOM,
    "EL2N top": TOP,
    "EL2N at 0.05 epochs, top": ("el2n_early", {"method": "top"}),
    "EL2N at 1 epoch, top": ("el2n_first", {"method": "top"}),
    "EL2N bottom": BOTTOM,
    "VoG top": ("vog", {"method": "top"}),
}
TENTH: dict[str, Way] = HALF | {
    "EL2N window, hardest 10 % skipped": ("el2n", {"method": "window", "offset": 0.1}),
    "EL2N stratified": ("el2n", {"method": "stratified"}),
    "EL2N calibrated 0.1": ("el2n", {"method": "calibrated", "alpha": 0.1}),
    "EL2N calibrated 0.5": ("el2n", {"method": "calibrated", "alpha": 0.5}),
    "EL2N calibrated 0.9": ("el2n", {"method": "calibrated", "alpha": 0.9}),
    "EL2N mixed 0.5, no weights": ("el2n", {"method": "calibrated", "alpha": 0.5, "weights": "none"}),
    "EL2N ht_proportional": ("el2n", {"method": "ht_proportional"}),
}
WRONG: dict[str, Way] = {
    "random": RANDOM,
    "EL2N top": TOP,
    "EL2N window, hardest 15 % skipped": ("el2n", {"method": "window", "offset": 0.15}),
    "EL2N middle": ("el2n", {"method": "window", "offset": 0.25}),
    "EL2N bottom": BOTTOM,
    "EL2N stratified, nothing cut": ("el2n", {"method": "stratified", "hard_cut": 0.0}),
    "EL2N stratified, hardest 15 % cut": ("el2n", {"method": "stratified", "hard_cut": 0.15}),
}
EXPERIMENTS: dict[str, tuple[float, Mapping[str, Way], float]] = {  # share kept, ways, share of wrong labels
    "50 %": (0.5, HALF, 0.0),
    "10 %": (0.1, TENTH, 0.0),
    "50 %, 12 % of the labels wrong": (0.5, WRONG, WRONG_SHARE),
}


@dataclass(frozen=True)
class Images:
    """Inputs (images, 1, 64) and labels (images, 1): an image is a window with one position."""

    inputs: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def examples(self) -> Examples:
        return Examples(lambda at: (self.inputs[at], self.labels[at]), np.arange(len(self)), len(self))


@dataclass(frozen=True)
class World:
    """One split of the images."""

    train: Images
    probe: Images
    test: Images
    is_wrong: np.ndarray  # of `train`: its label was changed


@dataclass(frozen=True)
class Outcome:
    """The result of one training run."""

    test_loss: float
    error: float  # share of the test images, 0 to 1
    num_kept: int
    num_effective: float
    share_wrong: float  # of what was kept


class Mlp(nn.Module):
    """A `Scorable`: two layers and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU())
        self.out = nn.Linear(WIDTH, NUM_CLASSES)

    def embed(self, inputs: Tensor) -> Tensor:
        return inputs

    def features(self, embedded: Tensor) -> Tensor:
        return self.body(embedded)

    def head(self) -> tuple[Tensor, Tensor | None]:
        return self.out.weight, self.out.bias

    def module(self) -> nn.Module:
        return self


def make_world(seed: int, wrong_share: float) -> World:
    from sklearn.datasets import load_digits

    rng = np.random.default_rng(seed)
    images, labels = load_digits(return_X_y=True)
    order = rng.permutation(len(labels))
    inputs = torch.from_numpy(images[order] / 16).float()[:, None]
    targets = labels[order].astype(np.int64)[:, None]
    is_wrong = np.zeros(NUM_TRAIN, dtype=bool)
    is_wrong[rng.choice(NUM_TRAIN, round(wrong_share * NUM_TRAIN), replace=False)] = True
    moved = rng.integers(1, NUM_CLASSES, (NUM_TRAIN, 1)) * is_wrong[:, None]
    targets[:NUM_TRAIN] = (targets[:NUM_TRAIN] + moved) % NUM_CLASSES
    edges = (0, NUM_TRAIN, NUM_TRAIN + NUM_PROBE, len(order))
    train, probe, test = (
        Images(inputs[first:end], torch.from_numpy(targets[first:end]))
        for first, end in zip(edges, edges[1:], strict=False)
    )
    return World(train, probe, test, is_wrong)


def train(images: Images, weights: np.ndarray, seed: int, steps: Sequence[int]) -> list[Mlp]:
    """Train to the last of `steps` and give the network at each; a weight multiplies its image's loss."""
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Mlp()
    optimiser = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    of_image = torch.from_numpy(weights / weights.mean()).float()
    queue, found = np.zeros(0, dtype=np.int64), []
    size = min(BATCH, len(images))
    for step in range(1, max(steps) + 1):
        if len(queue) < size:
            queue = np.concatenate([queue, rng.permutation(len(images))])
        chosen, queue = queue[:size], queue[size:]
        logits = logits_of(model, model.features(images.inputs[chosen]))[:, 0]
        losses = functional.cross_entropy(logits, images.labels[chosen, 0], reduction="none")
        optimiser.zero_grad()
        (of_image[chosen] * losses).mean().backward()
        optimiser.step()
        if step in steps:
            found.append(copy.deepcopy(model))
    return found


def score_all(world: World, seed: int, names: Collection[str]) -> dict[str, np.ndarray]:
    """Scores, each the mean over networks; `el2n_early` after a few steps, `el2n_first` after one epoch."""
    steps = [EARLY_STEPS, *(round(epoch * STEPS_PER_EPOCH) for epoch in CHECKPOINT_EPOCHS)]
    found: dict[str, list[np.ndarray]] = {}
    for network in range(SCORE_SEEDS):
        early, *models = train(world.train, np.ones(len(world.train)), 1000 * (seed + 1) + network, steps)
        snapshots = [
            Snapshot(model, epoch, LEARNING_RATE) for model, epoch in zip(models, CHECKPOINT_EPOCHS, strict=True)
        ]
        examples, probe = world.train.examples(), world.probe.examples()
        task = Task(snapshots, examples, NUM_CLASSES, probe, config=ColumnsConfig(score_epoch=SCORE_EPOCH))
        columns, _ = columns_of(task, names)
        columns |= {"el2n_early": el2n(early, examples), "el2n_first": el2n(models[0], examples)}
        for name, values in columns.items():
            found.setdefault(name, []).append(values)
    return {name: np.mean(values, axis=0) for name, values in found.items()}


def retrain(world: World, kept: np.ndarray, weights: np.ndarray, seed: int) -> Outcome:
    images = Images(world.train.inputs[kept], world.train.labels[kept])
    model = train(images, weights, seed, [NUM_STEPS])[0]
    with torch.no_grad(), scoring_mode(model):
        logits = logits_of(model, model.features(world.test.inputs))[:, 0]
    labels = world.test.labels[:, 0]
    loss = functional.cross_entropy(logits, labels).item()
    error = (logits.argmax(dim=1) != labels).float().mean().item()
    effective = float(weights.sum() ** 2 / np.square(weights).sum())
    return Outcome(loss, error, len(kept), effective, float(world.is_wrong[kept].mean()))


def try_ways(
    world: World, scores: Mapping[str, np.ndarray], ways: Mapping[str, Way], share: float, seed: int
) -> dict[str, Outcome]:
    """Train on each selection and, for comparison, on all images."""
    found = {"all": retrain(world, np.arange(len(world.train)), np.ones(len(world.train)), seed)}
    ids = [f"{number:04d}" for number in range(len(world.train))]
    for name, (score, settings) in ways.items():
        config = SelectConfig(budget=Budget(fraction=share), **settings)
        selection = select(Pool.of(ids, scores[score]), config, seed)
        found[name] = retrain(world, np.array(selection.ids, dtype=int), selection.weights, seed)
    return found


def auc(values: np.ndarray, is_wrong: np.ndarray) -> float:
    """The chance that a wrong label has the higher score; 1: all at the hard end, 0: all at the easy end."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(is_wrong, values))


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half of the 95 % interval."""
    from scipy.stats import t

    given = np.array(values)
    return float(given.mean()), float(t.ppf(0.975, len(given) - 1) * given.std(ddof=1) / len(given) ** 0.5)


def verdict(difference: float, error: float) -> str:
    return "not resolved" if abs(difference) <= error else "better" if difference < 0 else "worse"


def print_experiment(title: str, runs: Sequence[Mapping[str, Outcome]]) -> None:
    print(f"\n### {title} kept\n")
    print("| choice | test loss | minus random | | errors | minus random | | effective / kept | wrong labels kept |")
    print("|" + " --- |" * 9)
    for name in sorted(runs[0], key=lambda each: np.mean([run[each].test_loss for run in runs])):
        cells = [name]
        for field, scale, unit in (("test_loss", 1, ""), ("error", 100, " %")):
            mine, random = (np.array([getattr(run[each], field) for run in runs]) * scale for each in (name, "random"))
            difference, error = interval((mine - random).tolist())
            decision = "" if name == "random" else verdict(difference, error)
            cells += [f"{mine.mean():.3f}{unit}", f"{difference:+.3f} ± {error:.3f}", decision]
        effective = np.mean([run[name].num_effective / run[name].num_kept for run in runs])
        cells += [f"{effective:.2f}", f"{np.mean([run[name].share_wrong for run in runs]):.3f}"]
        print("| " + " | ".join(cells) + " |")


def print_aucs(aucs: Sequence[Mapping[str, float]]) -> None:
    print("\n### Where scores put wrong labels: AUC (1: hard end, 0: easy end)\n\n| score | AUC |\n| --- | --- |")
    for name in sorted(aucs[0], key=lambda each: -np.mean([of[each] for of in aucs])):
        mean, error = interval([of[name] for of in aucs])
        print(f"| {name} | {mean:.3f} ± {error:.3f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=8)
    arguments = parser.parse_args()
    runs: dict[str, list[dict[str, Outcome]]] = {title: [] for title in EXPERIMENTS}
    aucs = []
    for seed in range(arguments.repetitions):
        worlds = {wrong: make_world(seed, wrong) for wrong in (0.0, WRONG_SHARE)}
        scored = {wrong: score_all(world, seed, SCORES if wrong else CHOOSING) for wrong, world in worlds.items()}
        aucs.append({name: auc(values, worlds[WRONG_SHARE].is_wrong) for name, values in scored[WRONG_SHARE].items()})
        for title, (share, ways, wrong) in EXPERIMENTS.items():
            runs[title].append(try_ways(worlds[wrong], scored[wrong], ways, share, seed))
    print(f"`python benchmarks/data_pruning_images.py --repetitions {arguments.repetitions}`")
    for title, of_title in runs.items():
        print_experiment(title, of_title)
    print_aucs(aucs)


if __name__ == "__main__":
    main()
