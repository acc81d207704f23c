"""Train the classifier on synthesised clips and, with --labels, real recordings; on a CPU, from a seed.

    python -m classifiers.train --out classifiers/weights/piano_classifier.pt --hours 32 --seed 0 --epochs 16
    python -m classifiers.train --out mine.pt --labels mine.csv --start classifiers/weights/piano_classifier.pt

The first run synthesises the clips into --cache (about 20 minutes for 32 hours of sound on two cores).
"""

from __future__ import annotations

import argparse
import math
import platform
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from classifiers import checkpoint
from classifiers.dataset import AugmentConfig, Batch, Batches, Clips, Recorded, build_cache, labels_of
from classifiers.features import FeatureConfig
from classifiers.model import Logits, ModelConfig, PianoNet
from classifiers.noises import espeak_languages
from classifiers.recordings import Span, read_labels, recorded_clips
from classifiers.samples import find_sampled_pianos
from classifiers.soundfont import find_soundfonts
from classifiers.synthesize import CAUSES, SynthesisConfig

HELD_OUT_SEED = 1_000_003  # added to the seed: clips the network never trains on
HELD_OUT_SESSIONS = 12
REPORT_STEPS = 100
RECORDED_VARIANTS = 8  # of every piece of a real recording (`recorded_clips`)
LOCAL_WEIGHT = 0.5  # weight of the loss of steps; that of windows has 1


@dataclass(frozen=True)
class TrainConfig:
    """Usual values for a network of this size; learning rates of 1e-3 and 3e-3 were tried."""

    batch_size: int = 48
    learning_rate: float = 3e-3
    weight_decay: float = 0.02
    average_decay: float = 0.996  # of the running mean of the weights; the mean is saved
    label_smoothing: float = 0.02
    short_window_share: float = 0.15  # windows of 2 or 3 s, for short files and edges


Targets = tuple[Tensor, Tensor, Tensor]  # solo, any piano: (batch, places); causes: (batch, places, num_causes)


def window_targets(batch: Batch, num_windows: int, window_frames: int, frames_per_s: int) -> Targets:
    """Targets of every window: the shares of clean solo piano, of any piano, and of each cause.

    Frames are weighted by a Hann window, because a window's score is for the second in its middle.
    """
    weight = np.hanning(window_frames + 2)[1:-1]
    weight /= weight.sum()
    cuts = [slice(index * frames_per_s, index * frames_per_s + window_frames) for index in range(num_windows)]
    return _targets(batch, lambda values: np.stack([weight @ values[cut] for cut in cuts]))


def step_targets(batch: Batch, frames_per_step: int) -> Targets:
    """Targets of every step, with equal weights for its frames."""
    return _targets(batch, lambda values: values.reshape(-1, frames_per_step, *values.shape[1:]).mean(axis=1))


def _targets(batch: Batch, pool: Callable[[np.ndarray], np.ndarray]) -> Targets:
    """`pool` takes (frames, batch, ...) to (places, batch, ...)."""
    solo, any_piano = pool(batch.solo.T), pool(batch.any_piano.T)
    one_hot = np.eye(len(CAUSES), dtype=np.float32)[batch.cause.T]
    causes = pool(one_hot.reshape(len(one_hot), -1)).reshape(-1, *one_hot.shape[1:])
    return (
        torch.from_numpy(np.ascontiguousarray(solo.T)).float(),
        torch.from_numpy(np.ascontiguousarray(any_piano.T)).float(),
        torch.from_numpy(np.ascontiguousarray(causes.transpose(1, 0, 2))).float(),
    )


def loss_of(logits: Logits, targets: Targets, smoothing: float) -> Tensor:
    solo, any_piano, causes = targets
    smooth = lambda target: target * (1 - 2 * smoothing) + smoothing  # noqa: E731
    return (
        functional.binary_cross_entropy_with_logits(logits.solo.float(), smooth(solo))
        + 0.4 * functional.binary_cross_entropy_with_logits(logits.any_piano.float(), smooth(any_piano))
        + 0.4 * functional.cross_entropy(logits.causes.float().flatten(0, 1), causes.flatten(0, 1))
    )


@dataclass(frozen=True)
class Material:
    """Training data: synthesised clips, which of them to train on, clips to evaluate on, and real recordings."""

    clips: Clips
    held_out: Clips
    recorded: Recorded | None = None
    chosen: np.ndarray | None = None  # indices into `clips`; None: all
    weights: np.ndarray | None = None  # of `chosen`: relative frequencies of drawing each; None: equal


def as_copies(indices: np.ndarray, weights: np.ndarray, seed: int) -> np.ndarray:
    """Repeat each index by its weight; a fractional part gives one more copy with that probability.

    Weights set how often a clip is drawn, not a factor of its loss, because clips are also mixed and spliced. Where a
    positive weight is below 1, all are scaled up until the smallest is 1, so that no clip with a weight is left out.
    Raises `ValueError` for weights of another shape, below 0, not finite, or all 0.
    """
    if weights.shape != indices.shape or not (np.isfinite(weights) & (weights >= 0)).all() or not weights.any():
        raise ValueError("every chosen clip needs a weight, finite and not below 0, and one of them above it")
    raised = weights / min(1.0, float(weights[weights > 0].min()))
    draws = np.random.default_rng([seed, 3]).random(len(indices))
    return np.repeat(indices, np.floor(raised + draws).astype(np.int64))


def train(
    material: Material,
    config: TrainConfig,
    seed: int,
    augment: AugmentConfig,
    num_steps: int,
    max_minutes: float = math.inf,
    start: PianoNet | None = None,
    on_report: Callable[[str], None] = print,
) -> PianoNet:
    """Train for `num_steps` batches and return the averaged network, on the CPU in float32.

    `max_minutes` of wall time may end training earlier, with a shorter learning rate schedule; then the result depends
    on the machine's speed. With `start`, training goes on from that network's weights.
    """
    torch.manual_seed(seed)
    model, average = PianoNet().to(memory_format=torch.channels_last), PianoNet().eval()  # type: ignore[call-overload]
    if start is not None:
        model.load_state_dict(start.state_dict())
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    rng, started, losses = np.random.default_rng([seed, 2]), time.monotonic(), []
    chosen = _chosen(material, seed)
    batches = Batches(material.clips, FeatureConfig(), augment, config.batch_size, seed, material.recorded, chosen)
    for step, batch in enumerate(batches):
        minutes = (time.monotonic() - started) / 60
        progress = max(step / num_steps, minutes / max_minutes)
        if progress >= 1:
            break
        for group in optimiser.param_groups:
            group["lr"] = config.learning_rate * min(1.0, (step + 1) / 100) * (0.5 + 0.5 * math.cos(math.pi * progress))
        window_s = float(rng.choice([2, 3])) if rng.random() < config.short_window_share else model.config.window_s
        losses.append(_step(model, optimiser, batch, window_s, config.label_smoothing))
        update_average(average, model, min(config.average_decay, (1 + step) / (10 + step)))
        if step % REPORT_STEPS == REPORT_STEPS - 1:
            row = " ".join(
                f"{name} {value:.3f}" for name, value in held_out_figures(average, material.held_out).items()
            )
            on_report(f"{step + 1:5d} steps {minutes:5.1f} min loss {np.mean(losses[-REPORT_STEPS:]):.3f} | {row}")
    return average


def _chosen(material: Material, seed: int) -> np.ndarray | None:
    if material.weights is None:
        return material.chosen
    indices = np.arange(len(material.clips.causes)) if material.chosen is None else material.chosen
    return as_copies(indices, material.weights, seed)


def _step(model: PianoNet, optimiser: torch.optim.Optimizer, batch: Batch, window_s: float, smoothing: float) -> float:
    with torch.autocast("cpu", torch.bfloat16):
        windows, steps = model(torch.from_numpy(batch.frames_db), window_s)
    frames_per_s = model.config.frames_per_s
    targets = window_targets(batch, windows.solo.shape[1], int(window_s * frames_per_s), frames_per_s)
    loss = loss_of(windows, targets, smoothing)
    loss = loss + LOCAL_WEIGHT * loss_of(steps, step_targets(batch, model.config.frames_per_step), smoothing)
    optimiser.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    return loss.item()


@torch.no_grad()
def update_average(average: PianoNet, model: PianoNet, decay: float) -> None:
    """Move the running means of weights and batch norm statistics towards `model`, in place."""
    for kept, new in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        if kept.is_floating_point():
            kept.mul_(decay).add_(new, alpha=1 - decay)


@contextmanager
def judging(model: PianoNet) -> Iterator[None]:
    """Evaluation mode without gradients while the block runs; then the former mode."""
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        yield
    model.train(was_training)


def held_out_figures(model: PianoNet, clips: Clips) -> dict[str, float]:
    """The share of clips whose mean score is rightly above or below 0.5, by cause."""
    features, solo = FeatureConfig(), []
    with judging(model):
        for start in range(0, len(clips.causes), 32):
            frames = clips.frames[start : start + 32].astype(np.float32) * 0.5 + features.floor_db
            solo.append(torch.sigmoid(model(torch.from_numpy(frames))[0].solo).mean(dim=1))
    is_solo = torch.cat(solo).numpy() >= 0.5
    right = np.array([is_solo[i] == bool(labels_of(int(cause))[0]) for i, cause in enumerate(clips.causes)])
    return {name: float(right[clips.causes == i].mean()) for i, name in enumerate(CAUSES) if (clips.causes == i).any()}


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    try:
        recorded, spans = load_recorded(options.labels, options.root, options.hold_out, options.cache, options.seed)
        start = load_network(options.start) if options.start else None
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    synthesis, config, augment = SynthesisConfig(), TrainConfig(), AugmentConfig()
    config = replace(config, learning_rate=options.learning_rate or config.learning_rate)
    material = replace(load_synthesised(options.cache, options.hours, options.seed, options.threads), recorded=recorded)
    print(f"{len(material.clips.causes)} clips, data sha256 {material.clips.sha256}", flush=True)
    if recorded:
        num_sources = len(set(recorded.sources))
        print(f"{len(recorded.sources)} recorded clips of {num_sources} sources, sha256 {recorded.clips.sha256}")
    num_steps = options.steps or round(options.epochs * len(material.clips.causes) / config.batch_size)
    model = train(material, config, options.seed, augment, num_steps, options.minutes, start, _print_now)
    provenance = {
        "command": "python -m classifiers.train " + shlex.join(arguments if arguments is not None else sys.argv[1:]),
        "seed": options.seed,
        "data_sha256": material.clips.sha256,
        "num_clips": len(material.clips.causes),
        "recorded_sha256": recorded.clips.sha256 if recorded else "",
        "recorded": [f"{item.path.name} ({item.label}, {item.licence})" for item in spans],
        "start": checkpoint.sha256_of(options.start) if options.start else "",
        "synthesis": asdict(synthesis),
        "augment": asdict(augment),
        "train": asdict(config),
        "soundfonts": [font.name for font in find_soundfonts()],
        "sampled_pianos": [folder.name for folder in find_sampled_pianos()],
        "num_espeak_languages": len(espeak_languages()),
        "torch": str(torch.__version__),
        "machine": platform.machine(),
        "held_out": held_out_figures(model, material.held_out),
    }
    saved = checkpoint.Checkpoint(FeatureConfig(), asdict(ModelConfig()), CAUSES, model.state_dict(), provenance)
    print(f"{options.out} sha256 {checkpoint.save(saved, options.out)}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m classifiers.train", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--out", type=Path, default=checkpoint.DEFAULT_PATH, help="file to write")
    add("--cache", type=Path, default=Path("build/classifier_cache"), help="folder for clips already made")
    add("--hours", type=float, default=32.0, help="hours of sound to synthesise")
    add("--epochs", type=float, default=16.0, help="times every synthesised clip is seen")
    add("--steps", type=int, default=0, help="batches to train on, instead of --epochs")
    add("--minutes", type=float, default=math.inf, help="stop after that many minutes of training")
    add("--labels", type=Path, help="real recordings too: a CSV with file,label and start_s,end_s,licence,source")
    add("--root", type=Path, help="folder the recordings are in (default: the CSV's)")
    add("--hold-out", default="", help="a regular expression for sources not to train on")
    add("--start", type=Path, help="weights to go on from")
    add("--learning-rate", type=float, default=0.0, help="instead of the default")
    add("--seed", type=int, default=0)
    add("--threads", type=int, default=2)
    return parser


def _print_now(line: str) -> None:
    print(line, flush=True)


def load_synthesised(cache: Path, hours: float, seed: int, num_workers: int) -> Material:
    """Load `hours` of clips, and held-out clips of another seed; those missing in `cache` are synthesised."""
    features, synthesis = FeatureConfig(), SynthesisConfig()
    if not hours > 0:
        raise SystemExit("--hours: name a time above 0; this project's weights were made with 32.")
    num_sessions = max(1, round(hours * 3600 / (synthesis.clip_s * synthesis.clips_per_session)))
    clips = build_cache(cache, num_sessions, seed, features, synthesis, num_workers)
    held_out = build_cache(cache, HELD_OUT_SESSIONS, seed + HELD_OUT_SEED, features, synthesis, num_workers)
    return Material(clips, held_out)


def load_recorded(
    labels: Path | None, root: Path | None, hold_out: str, cache: Path, seed: int
) -> tuple[Recorded | None, list[Span]]:
    """The openly licensed recordings of a CSV as clips, without sources that match the regular expression `hold_out`.

    Gives the clips and their spans; (None, []) without `labels`.
    """
    if labels is None:
        return None, []
    spans = [item for item in read_labels(labels, root) if not (hold_out and re.search(hold_out, item.source))]
    synthesis = SynthesisConfig()
    made = recorded_clips(cache / "recorded", spans, FeatureConfig(), synthesis.clip_s, seed, RECORDED_VARIANTS)
    return Recorded(*made), spans


def load_network(path: Path) -> PianoNet:
    """Load the network of a checkpoint, in evaluation mode. Raises `CheckpointInvalid`."""
    loaded = checkpoint.load(path)
    model = PianoNet(ModelConfig(**loaded.model))
    model.load_state_dict(loaded.weights)
    return model.eval()


if __name__ == "__main__":
    raise SystemExit(main())
