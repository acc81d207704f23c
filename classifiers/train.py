"""Train the classifier on synthesised sound, on a CPU, from a seed.

    python -m classifiers.train --out classifiers/weights/piano_classifier.pt --hours 12 --seed 0 --epochs 16

The first run synthesises the clips into --cache (about 10 minutes for 12 hours of sound on two cores).
"""

from __future__ import annotations

import argparse
import math
import platform
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from classifiers import checkpoint
from classifiers.dataset import AugmentConfig, Batch, Batches, Clips, build_cache, labels_of
from classifiers.features import FeatureConfig
from classifiers.model import Logits, ModelConfig, PianoNet
from classifiers.noises import espeak_languages
from classifiers.soundfont import find_soundfonts
from classifiers.synthesize import CAUSES, SynthesisConfig

HELD_OUT_SEED = 1_000_003  # added to the seed: clips the network never trains on
HELD_OUT_SESSIONS = 12
REPORT_STEPS = 100


@dataclass(frozen=True)
class TrainConfig:
    """Usual values for a network of this size; the rate was tried at 1e-3 and 3e-3."""

    batch_size: int = 48
    learning_rate: float = 3e-3
    weight_decay: float = 0.02
    average_decay: float = 0.996  # of the running mean of the weights, which is what is saved
    label_smoothing: float = 0.02
    short_window_share: float = 0.15  # windows of 2 or 3 s, for short files and edges


def window_targets(
    batch: Batch, num_windows: int, window_frames: int, frames_per_s: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Per window (batch, windows): how much is clean piano, how much has piano, and what fills most of it.

    The middle of a window counts more than its ends, because its value stands for the second in the middle.
    """
    weight = np.hanning(window_frames + 2)[1:-1]
    weight /= weight.sum()
    cuts = [slice(index * frames_per_s, index * frames_per_s + window_frames) for index in range(num_windows)]
    solo = np.stack([batch.solo[:, cut] @ weight for cut in cuts], axis=1)
    any_piano = np.stack([batch.any_piano[:, cut] @ weight for cut in cuts], axis=1)
    causes = np.stack([np.eye(len(CAUSES))[batch.cause[:, cut]].transpose(0, 2, 1) @ weight for cut in cuts], axis=1)
    return torch.tensor(solo).float(), torch.tensor(any_piano).float(), torch.tensor(causes).float()


def loss_of(logits: Logits, targets: tuple[Tensor, Tensor, Tensor], smoothing: float) -> Tensor:
    solo, any_piano, causes = targets
    smooth = lambda target: target * (1 - 2 * smoothing) + smoothing  # noqa: E731
    return (
        functional.binary_cross_entropy_with_logits(logits.solo.float(), smooth(solo))
        + 0.4 * functional.binary_cross_entropy_with_logits(logits.any_piano.float(), smooth(any_piano))
        + 0.4 * functional.cross_entropy(logits.causes.float().flatten(0, 1), causes.flatten(0, 1))
    )


def train(
    clips: Clips,
    held_out: Clips,
    config: TrainConfig,
    seed: int,
    augment: AugmentConfig,
    num_steps: int,
    max_minutes: float = math.inf,
) -> PianoNet:
    """Train for `num_steps` batches and return the averaged network, on the CPU in float32.

    Past `max_minutes` of wall time the learning rate runs out early; then the result depends on the machine's speed.
    """
    torch.manual_seed(seed)
    model, average = PianoNet().to(memory_format=torch.channels_last), PianoNet().eval()  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    rng, started, losses = np.random.default_rng([seed, 2]), time.monotonic(), []
    batches = Batches(clips, FeatureConfig(), augment, config.batch_size, seed)
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
            row = " ".join(f"{name} {value:.3f}" for name, value in held_out_figures(average, held_out).items())
            print(
                f"{step + 1:5d} steps {minutes:5.1f} min loss {np.mean(losses[-REPORT_STEPS:]):.3f} | {row}", flush=True
            )
    return average


def _step(model: PianoNet, optimiser: torch.optim.Optimizer, batch: Batch, window_s: float, smoothing: float) -> float:
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(torch.from_numpy(batch.frames_db), window_s)
    frames_per_s = model.config.frames_per_s
    targets = window_targets(batch, logits.solo.shape[1], int(window_s * frames_per_s), frames_per_s)
    loss = loss_of(logits, targets, smoothing)
    optimiser.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    return loss.item()


@torch.no_grad()
def update_average(average: PianoNet, model: PianoNet, decay: float) -> None:
    """Running mean of weights and of batch norm statistics."""
    for kept, new in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        if kept.is_floating_point():
            kept.mul_(decay).add_(new, alpha=1 - decay)


@contextmanager
def judging(model: PianoNet) -> Iterator[None]:
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        yield
    model.train(was_training)


def held_out_figures(model: PianoNet, clips: Clips) -> dict[str, float]:
    """Share of synthetic clips on the right side of 0.5, per cause."""
    features, solo = FeatureConfig(), []
    with judging(model):
        for start in range(0, len(clips.causes), 32):
            frames = clips.frames[start : start + 32].astype(np.float32) * 0.5 + features.floor_db
            solo.append(torch.sigmoid(model(torch.from_numpy(frames)).solo).mean(dim=1))
    is_solo = torch.cat(solo).numpy() >= 0.5
    right = np.array([is_solo[i] == bool(labels_of(int(cause))[0]) for i, cause in enumerate(clips.causes)])
    return {name: float(right[clips.causes == i].mean()) for i, name in enumerate(CAUSES) if (clips.causes == i).any()}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m classifiers.train", description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=checkpoint.DEFAULT_PATH, help="file to write")
    parser.add_argument(
        "--cache", type=Path, default=Path("build/classifier_cache"), help="folder for synthesised clips"
    )
    parser.add_argument("--hours", type=float, default=12.0, help="hours of sound to synthesise")
    parser.add_argument("--epochs", type=float, default=16.0, help="times every clip is seen")
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="stop earlier than that many minutes of training"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    features, synthesis, config, augment = FeatureConfig(), SynthesisConfig(), TrainConfig(), AugmentConfig()
    num_sessions = max(1, round(options.hours * 3600 / (synthesis.clip_s * synthesis.clips_per_session)))
    clips = build_cache(options.cache, num_sessions, options.seed, features, synthesis, options.threads)
    held_out = build_cache(
        options.cache, HELD_OUT_SESSIONS, options.seed + HELD_OUT_SEED, features, synthesis, options.threads
    )
    print(f"{len(clips.causes)} clips, data sha256 {clips.sha256}", flush=True)
    num_steps = round(options.epochs * len(clips.causes) / config.batch_size)
    model = train(clips, held_out, config, options.seed, augment, num_steps, options.minutes)
    provenance = {
        "command": "python -m classifiers.train " + shlex.join(arguments if arguments is not None else sys.argv[1:]),
        "seed": options.seed,
        "data_sha256": clips.sha256,
        "num_clips": len(clips.causes),
        "synthesis": asdict(synthesis),
        "augment": asdict(augment),
        "train": asdict(config),
        "soundfonts": [font.name for font in find_soundfonts()],
        "num_espeak_languages": len(espeak_languages()),
        "torch": str(torch.__version__),
        "machine": platform.machine(),
        "held_out": held_out_figures(model, held_out),
    }
    saved = checkpoint.Checkpoint(features, asdict(ModelConfig()), CAUSES, model.state_dict(), provenance)
    print(f"{options.out} sha256 {checkpoint.save(saved, options.out)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
