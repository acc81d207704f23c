"""Scores of the audio classifier's training clips, by `aria_data.pruning`. Selections: `flows.tools.classifier_diet`.

The scores treat a clip as a file with one window. Each position of it is a span of five seconds that the network
classifies, and the class is the clip's cause.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from aria_data.errors import UsageError
from aria_data.pruning import ScoreTable
from aria_data.pruning.columns import DIRECTIONS, Snapshot, Task, columns_of, require_known
from aria_data.pruning.scoring import combine, rank_agreement
from aria_data.surrogate import Examples, Scorable
from aria_data.surrogate.forward import BATCH, passes
from aria_data.surrogate.scorable import scoring_mode
from classifiers.dataset import DB_STEP, AugmentConfig, Clips
from classifiers.features import FeatureConfig
from classifiers.model import ModelConfig, PianoNet
from classifiers.synthesize import CAUSES
from classifiers.train import Material, TrainConfig, train

CHEAP = ("loss", "el2n", "grand_token", "grand_window", "pvi", "influence")  # need one forward pass
OVER_TIME = ("forgetting", "tracin")  # need several checkpoints
BACKWARD = ("vog", "grand_full", "effort", "dealrec", "dealrec_train")  # need a backward pass for each clip
MISLABELLED_OWN, MISLABELLED_OTHER = 0.1, 0.8  # mean probabilities of the label and of another cause
Announce = Callable[[str], None]


@dataclass(frozen=True)
class ClassifierModel:
    """A `PianoNet` as a `Scorable`: its classes are the six causes, its positions the windows of a clip."""

    network: PianoNet

    def embed(self, inputs: Tensor) -> Tensor:
        """Frames in dB, (clips, frames, mels), as they are."""
        return inputs

    def features(self, embedded: Tensor) -> Tensor:
        """(clips, windows, hidden)."""
        caught: list[Tensor] = []
        with self._last().register_forward_pre_hook(lambda _, given: caught.append(given[0])):
            self.network(embedded)
        return caught[0]

    def head(self) -> tuple[Tensor, Tensor | None]:
        """The rows of the last layer for the causes, without those of `solo` and `any_piano` before them."""
        num_causes, last = self.network.config.num_causes, self._last()
        return last.weight[-num_causes:], last.bias[-num_causes:]

    def module(self) -> nn.Module:
        return self.network

    def _last(self) -> nn.Linear:
        last = self.network.head[-1]
        assert isinstance(last, nn.Linear)
        return last


@dataclass(frozen=True)
class CachedFeatureModel:
    """A checkpoint whose features `Examples` already hold (`cached_feature_examples`), so the trunk runs only once.

    `number` is its place among the checkpoints whose features are cached. A `Scorable`.
    """

    model: Scorable
    number: int

    def embed(self, inputs: Tensor) -> Tensor:
        """(clips, checkpoints, windows, hidden) -> (clips, windows, hidden)."""
        return inputs[:, self.number]

    def features(self, embedded: Tensor) -> Tensor:
        return embedded

    def head(self) -> tuple[Tensor, Tensor | None]:
        return self.model.head()

    def module(self) -> nn.Module:
        return self.model.module()


def examples_of(clips: Clips, model: ModelConfig | None = None) -> Examples:
    """Clips as `Examples`: a clip is a file with one window, each span that the network classifies a position."""
    model = model or ModelConfig()
    num_steps, floor_db = clips.frames.shape[1] // model.frames_per_step, FeatureConfig().floor_db
    num_inside = max(num_steps - model.window_s * model.steps_per_s, 0) // (model.hop_s * model.steps_per_s) + 1

    def take(indices: np.ndarray) -> tuple[Tensor, Tensor]:
        frames_db = torch.from_numpy(clips.frames[indices].astype(np.float32) * DB_STEP + floor_db)
        return frames_db, torch.from_numpy(clips.causes[indices])[:, None].repeat(1, num_inside)

    return Examples(take, np.arange(len(clips.causes)), len(clips.causes))


def cached_feature_examples(models: Sequence[Scorable], clips: Clips) -> Examples:
    """Compute every network's features of every clip once, for one `CachedFeatureModel` each.

    Memory: 3 kB for each clip and network.
    """
    examples = examples_of(clips)
    features, targets = [], []
    with ExitStack() as stack, torch.no_grad():
        for model in models:
            stack.enter_context(scoring_mode(model))
        for indices in examples.batches(BATCH):
            inputs, labels = examples.take(indices)
            features.append(torch.stack([model.features(model.embed(inputs)) for model in models], dim=1))
            targets.append(labels)
    cached, labelled = torch.cat(features), torch.cat(targets)
    return Examples(lambda indices: (cached[indices], labelled[indices]), examples.owners, examples.num_files)


@dataclass(frozen=True)
class DietConfig:
    """The networks that score clips. Paul et al. 2021 average ten early networks; the table's `seed_rank_correlation`
    shows whether fewer suffice."""

    num_networks: int = 3
    num_checkpoints: int = 1  # of each network, in one training; scores of a single checkpoint use the last one
    num_steps: int = 250  # batches before each checkpoint: an epoch of 32 hours, the least (Fayyaz et al. 2022)
    seed: int = 0
    scores: tuple[str, ...] = ()  # besides `CHEAP` and, with several checkpoints, `OVER_TIME`


@dataclass(frozen=True)
class DietScores:
    """Scores of clips and the networks' probabilities of the causes, (clips, causes). Both are means over networks."""

    table: ScoreTable
    probabilities: np.ndarray

    def hardest(self, score: str) -> np.ndarray:
        """Indices of all clips, the highest value of column `score` first, those without one last."""
        return np.argsort(-self.table.columns[score], kind="stable")

    def probably_mislabelled(self, causes: np.ndarray) -> np.ndarray:
        """Indices of clips whose label is improbable (below `MISLABELLED_OWN`) and another cause probable; worst first.

        `causes` are the labels, as indices into `CAUSES`.
        """
        own = self.probabilities[np.arange(len(causes)), causes]
        others = self.probabilities.copy()
        others[np.arange(len(causes)), causes] = 0.0
        found = np.flatnonzero((own < MISLABELLED_OWN) & (others.max(axis=1) > MISLABELLED_OTHER))
        return found[np.argsort(own[found], kind="stable")]


def train_early(
    material: Material, config: DietConfig, training: TrainConfig, number: int, announce: Announce = print
) -> list[Snapshot]:
    """Train network `number` up to its last checkpoint. The learning rate runs its full schedule before each one.

    Raises `UsageError` where the clips do not fill a batch.
    """
    require_batch(len(material.clips.causes), training)
    snapshots: list[Snapshot] = []
    network: PianoNet | None = None
    for leg in range(config.num_checkpoints):
        announce(
            f"early network {number + 1} of {config.num_networks}, checkpoint {leg + 1} of {config.num_checkpoints}"
        )
        seed = config.seed + 100 + number + 1000 * leg
        network = train(material, training, seed, AugmentConfig(), config.num_steps, start=network, on_report=announce)
        epoch = (leg + 1) * config.num_steps * training.batch_size / len(material.clips.causes)
        snapshots.append(Snapshot(ClassifierModel(network), epoch, training.learning_rate / 2))  # mean of a cosine
    return snapshots


def require_scores(config: DietConfig) -> set[str]:
    """Give the scores to compute. Raises `UsageError` for an unknown one, or one that needs more checkpoints."""
    over_time = OVER_TIME if config.num_checkpoints > 1 else ()
    for name in config.scores:
        if name in ("vog", "forgetting") and config.num_checkpoints < 2:
            raise UsageError(f"{name} compares checkpoints of one training. Take --checkpoints 2 or more.")
        if name.startswith("el2n_"):
            raise UsageError(f"{name} is for files of notes. Of a clip of sound there is el2n alone.")
    return require_known({*CHEAP, *over_time, *config.scores})


def require_batch(num_clips: int, training: TrainConfig) -> None:
    """Raise `UsageError` for fewer clips than a batch: training would wait for its first batch for ever."""
    if num_clips < training.batch_size:
        raise UsageError(f"{num_clips} clips do not fill a batch of {training.batch_size}. Raise --hours or --keep.")


def score_clips(material: Material, runs: Sequence[Sequence[Snapshot]], config: DietConfig) -> DietScores:
    """Score `material.clips` with every network and average. Each of `runs` is one network's list of checkpoints."""
    found = [_scores_of(material, run, require_scores(config)) for run in runs]
    stacks = {name: np.stack([each.columns[name] for each in found]) for name in found[0].columns}
    causes = [CAUSES[cause] for cause in material.clips.causes]
    about = {
        "config": asdict(config),
        "data_sha256": material.clips.sha256,
        "checkpoint_epochs": [round(snapshot.epoch, 3) for snapshot in runs[0]],
        "directions": {name: DIRECTIONS[name] for name in stacks},
        "seed_rank_correlation": {name: rank_agreement(values) for name, values in stacks.items()},
        "warnings": sorted({line for each in found for line in each.warnings}),
    }
    columns = {name: combine(values) for name, values in stacks.items()}
    minutes = np.full(len(causes), material.clips.frames.shape[1] / FeatureConfig().frames_per_s / 60)
    table = ScoreTable.of(clip_ids(material.clips), columns, causes, minutes, about=about)
    return DietScores(table, np.mean([each.probabilities for each in found], axis=0))


@dataclass(frozen=True)
class _OfNetwork:
    columns: dict[str, np.ndarray]
    warnings: list[str]
    probabilities: np.ndarray


def _scores_of(material: Material, run: Sequence[Snapshot], wanted: set[str]) -> _OfNetwork:
    models = [snapshot.model for snapshot in run]
    cached = [replace(snapshot, model=CachedFeatureModel(snapshot.model, at)) for at, snapshot in enumerate(run)]
    examples, probe = (cached_feature_examples(models, clips) for clips in (material.clips, material.held_out))
    columns, warnings = columns_of(Task(cached, examples, len(CAUSES), probe), wanted - set(BACKWARD))
    if slow := wanted & set(BACKWARD):
        whole = Task(run, examples_of(material.clips), len(CAUSES), examples_of(material.held_out))
        more, warned = columns_of(whole, slow)
        columns, warnings = columns | more, warnings + warned
    probabilities = [last.probabilities().mean(dim=1).numpy() for _, last in passes(cached[-1].model, examples)]
    return _OfNetwork(columns, warnings, np.concatenate(probabilities))


def clip_ids(clips: Clips) -> list[str]:
    """Ids that sort in the order of the clips, and stay the same when more clips are synthesised."""
    return [f"{index:08d}" for index in range(len(clips.causes))]
