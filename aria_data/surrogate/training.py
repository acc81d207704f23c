"""Train the surrogate of `network.py` on windows of MIDI tokens.

With `num_steps` set, every training run takes the same number of steps on any set of files, as Paul et al. 2021 compare
subsets. A file's weight multiplies its loss, which the calibrated selection of Ayed & Hayou 2023 requires.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor, nn

from aria_data.errors import ConfigInvalid
from aria_data.surrogate import forward
from aria_data.surrogate.network import Surrogate, SurrogateConfig, weighted_loss
from aria_data.surrogate.windows import Windows, inputs_and_targets, transpose


@dataclass(frozen=True)
class Checkpoint:
    """The parameters after some steps of a training run."""

    step: int  # steps done
    epoch: float
    learning_rate: float  # of the next step
    state: Mapping[str, Tensor]  # on the CPU


@dataclass(frozen=True)
class Run:
    """A finished training run."""

    model: Surrogate
    checkpoints: tuple[Checkpoint, ...]  # in order; the last is the model itself
    history: tuple[dict[str, float], ...]  # step, epoch, train_loss, validation_loss (NaN: nothing was held out)
    held_out: tuple[int, ...]  # numbers of the files that were not trained on
    seed: int

    def at(self, checkpoint: Checkpoint) -> Surrogate:
        """Give the network as it was at a checkpoint, in evaluation mode on the model's device."""
        mine = self.model
        return _restored(mine.config, mine.num_tokens, mine.context, checkpoint).to(next(mine.parameters()).device)

    def weights_sha256(self) -> str:
        """Hash the final parameters."""
        digest = hashlib.sha256()
        for name, values in sorted(self.checkpoints[-1].state.items()):
            digest.update(name.encode() + values.numpy().tobytes())
        return digest.hexdigest()


def _restored(config: SurrogateConfig, num_tokens: int, context: int, checkpoint: Checkpoint) -> Surrogate:
    with torch.random.fork_rng(devices=[]):  # the initial parameters are drawn, then overwritten
        model = Surrogate(config, num_tokens, context)
    model.load_state_dict(dict(checkpoint.state))
    return model.eval()


def train(
    windows: Windows,
    config: SurrogateConfig,
    seed: int,
    weights: Sequence[float] | np.ndarray | None = None,
    progress: Callable[[int, int], None] | None = None,
    held_out: Sequence[int] | None = None,
) -> Run:
    """Train on all files except those held out: `held_out`, or `validation_share` of the files, chosen by the seed.

    `weights` has one number a file, scaled to a mean of 1 over the windows trained on. The same arguments give the same
    parameters on a CPU with the same number of threads. `progress` gets the steps done and their number. Raises
    `ConfigInvalid` when no file is left to train on, for bad weights, and for a device that is not available.
    """
    held = disjoint_folds(windows.groups, config.validation_share, 1, seed)[0] if held_out is None else tuple(held_out)
    rows = np.flatnonzero(~np.isin(windows.owners, held))
    if not len(rows):
        raise ConfigInvalid("No file is left to train on. Hold fewer files out.")
    training = _Training(windows, config, rows, _window_weights(windows, rows, weights), held)
    device = _device(config)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        model = Surrogate(config, len(windows.vocabulary), windows.config.context_tokens).to(device)
        return training.run(model, seed, np.random.default_rng(seed), progress)


def disjoint_folds(groups: Sequence[str], share: float, count: int, seed: int) -> list[tuple[int, ...]]:
    """Choose `count` disjoint folds of whole groups, each about `share` of the files, in an order that the seed gives.

    `groups` has one name a file; the folds are file numbers, ascending. A group much larger than a fold is skipped, so
    a fold may be empty. No fold has all files.
    """
    members: dict[str, list[int]] = {}
    for number, group in enumerate(groups):
        members.setdefault(group, []).append(number)
    order = sorted(members)
    waiting = [order[place] for place in np.random.default_rng(seed).permutation(len(order))]
    wanted = share * len(groups)
    smallest = min(map(len, members.values()))
    most = min(max(2 * wanted, smallest), len(groups) - 1) if share > 0 else 0
    folds = []
    for _ in range(count):
        fold: list[int] = []
        for group in list(waiting):
            if len(fold) < wanted and len(fold) + len(members[group]) <= most:
                fold += members[group]
                waiting.remove(group)
        folds.append(tuple(sorted(fold)))
    return folds


def _device(config: SurrogateConfig) -> torch.device:
    if config.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if config.device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigInvalid(f"device: {config.device} is not there. Use auto or cpu.")
    try:
        return torch.device(config.device)
    except RuntimeError as error:
        raise ConfigInvalid(f"device: {config.device!r} is none. Use auto, cpu or cuda.") from error


def _window_weights(windows: Windows, rows: np.ndarray, weights: Sequence[float] | np.ndarray | None) -> np.ndarray:
    """The weight of each row's file, scaled to mean 1 over the rows."""
    if weights is None:
        return np.ones(len(rows))
    given = np.asarray(weights, dtype=np.float64)
    if len(given) != len(windows.ids) or not np.isfinite(given).all() or (given < 0).any():
        raise ConfigInvalid(f"{len(windows.ids)} files need as many weights, none negative; {len(given)} were given.")
    mine = given[windows.owners[rows]]
    if not mine.sum():
        raise ConfigInvalid("Every file to train on has weight 0. Give one a weight.")
    return mine / mine.mean()


class _Training:
    """What stays the same during a training run, and the loop over its steps."""

    def __init__(
        self,
        windows: Windows,
        config: SurrogateConfig,
        rows: np.ndarray,
        weights: np.ndarray,
        held_out: tuple[int, ...],
    ):
        self.windows, self.config, self.rows, self.weights, self.held_out = windows, config, rows, weights, held_out
        self.steps_per_epoch = len(rows) / min(config.batch_windows, len(rows))
        least = max(config.min_steps, round(config.num_epochs * self.steps_per_epoch))
        self.num_steps = config.num_steps or least
        self.kept_steps = self._kept_steps()

    def run(
        self,
        model: Surrogate,
        seed: int,
        generator: np.random.Generator,
        progress: Callable[[int, int], None] | None,
    ) -> Run:
        optimiser = torch.optim.AdamW(
            model.parameters(), lr=self.config.learning_rate, weight_decay=self.config.weight_decay
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, self._rate)
        checkpoints, history = [], []
        losses: list[float] = []
        batches = self._batches(generator)
        for step in range(self.num_steps + 1):
            if step in self.kept_steps:
                rate = float(self.config.learning_rate * self._rate(step))
                state = {name: values.detach().cpu().clone() for name, values in model.state_dict().items()}
                checkpoints.append(Checkpoint(step, step / self.steps_per_epoch, rate, state))
                history.append(self._figures(step, losses, model))
            if step < self.num_steps:
                losses.append(self._step(model, optimiser, *next(batches)))
                schedule.step()
                if progress:
                    progress(step + 1, self.num_steps)
        return Run(model.eval(), tuple(checkpoints), tuple(history), self.held_out, seed)

    def _kept_steps(self) -> set[int]:
        """The steps after which there is a checkpoint; the last is always one."""
        epochs = self.config.checkpoint_epochs
        if epochs is None:
            count = self.config.num_checkpoints
            return {max(1, round(self.num_steps * number / count)) for number in range(1, count + 1)}
        wanted = {math.ceil(epoch * self.steps_per_epoch - 1e-6) for epoch in epochs}  # the first step not before it
        return {step for step in wanted if step < self.num_steps} | {self.num_steps}

    def _rate(self, step: int) -> float:
        """The learning rate's factor, 0 to 1: a linear warm-up, then a cosine."""
        rising = max(1, round(self.config.warm_up_share * self.num_steps))
        if step < rising:
            return (step + 1) / rising
        return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, self.num_steps - rising)))

    def _batches(self, generator: np.random.Generator):
        """Yield tokens and weights without end; every window comes once before any is repeated."""
        size = min(self.config.batch_windows, len(self.rows))
        queue = np.zeros(0, dtype=np.int64)
        while True:
            while len(queue) < size:
                queue = np.concatenate([queue, generator.permutation(len(self.rows))])
            chosen, queue = queue[:size], queue[size:]
            reach = self.config.max_transposition
            semitones = generator.integers(-reach, reach + 1, size)
            rows = np.asarray(self.windows.tokens[self.rows[chosen]])
            yield transpose(rows, semitones, self.windows.vocabulary), self.weights[chosen]

    def _step(self, model: Surrogate, optimiser: torch.optim.Optimizer, rows: np.ndarray, weights: np.ndarray) -> float:
        model.train()
        device = next(model.parameters()).device
        inputs, targets = (part.to(device) for part in inputs_and_targets(rows, self.windows.vocabulary))
        loss = weighted_loss(model(inputs), targets, torch.as_tensor(weights, dtype=torch.float32, device=device))
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        return loss.item()

    def _figures(self, step: int, losses: list[float], model: Surrogate) -> dict[str, float]:
        """One entry of the history; the training loss is the mean since the entry before."""
        validation = float("nan")
        if self.held_out:
            validation = float(np.nanmean(forward.loss(model, self.windows.examples(self.held_out))))
        train_loss = float(np.mean(losses)) if losses else float("nan")
        losses.clear()
        epoch = step / self.steps_per_epoch
        return {"step": step, "epoch": epoch, "train_loss": train_loss, "validation_loss": validation}


def run_bytes(run: Run) -> bytes:
    """Serialise a run for `run_from_bytes`."""
    network = run.model
    out = io.BytesIO()
    content = {
        "config": asdict(network.config),
        "sizes": (network.num_tokens, network.context),
        "checkpoints": [(c.step, c.epoch, c.learning_rate, dict(c.state)) for c in run.checkpoints],
        "history": list(run.history),
        "held_out": list(run.held_out),
        "seed": run.seed,
    }
    torch.save(content, out)
    return out.getvalue()


def run_from_bytes(content: bytes, config: SurrogateConfig) -> Run:
    """Read a run that `run_bytes` wrote; the network goes to the device of `config`. No code in the bytes is run."""
    stored = torch.load(io.BytesIO(content), weights_only=True)
    checkpoints = tuple(Checkpoint(*parts) for parts in stored["checkpoints"])
    num_tokens, context = stored["sizes"]
    model = _restored(config, num_tokens, context, checkpoints[-1]).to(_device(config))
    return Run(model, checkpoints, tuple(stored["history"]), tuple(stored["held_out"]), stored["seed"])
