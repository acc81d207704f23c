"""Train the heads of transkun on windows of `heads_windows`: what is learned from them, the losses, the loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import lsq_linear
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, smooth_l1_loss
from torch.nn.utils.rnn import pad_sequence

from aria_data.transcribe.backends.transkun_heads import EACH, FIRST_KEY, Heads, around, pool
from flows.tools.heads_pianos import DOWN, SAMPLE_RATE
from flows.tools.heads_windows import Window, load

FRAME_S = 1024 / SAMPLE_RATE
ONSET_TOLERANCE_S = 0.05
LOWEST_PITCH = 21
MAX_WIDER = 1.5


@dataclass(frozen=True)
class Example:
    """A window as tensors. Of its notes only those that are true are learned from."""

    pooled: Tensor  # float32 (steps, 768)
    pedal: Tensor  # float32 (frames, 3): down; near to going down, near to going up
    strikes: Tensor  # int64 (notes, 2): track and frame
    around: Tensor  # float16 (notes, 768): tokens around strikes
    velocities: Tensor  # float32 (notes,): as published
    true_velocities: Tensor  # float32 (notes,)


def example(window: Window) -> Example:
    """Match the window's notes with the true ones, and say of every frame what is true."""
    tokens = torch.from_numpy(window.tokens)
    matched = list(_matched(window))
    strikes = np.array([strike for strike, _, _ in matched], np.int64).reshape(-1, 2)
    velocities, true = (np.array([each[place] for each in matched], np.float32) for place in (1, 2))
    places = torch.from_numpy(strikes)
    return Example(
        pool(tokens.float()),
        torch.from_numpy(_pedal_truth(window.position, tokens.shape[1] * EACH)),
        places,
        around(tokens, places),
        torch.from_numpy(velocities),
        torch.from_numpy(true),
    )


def _matched(window: Window) -> Iterator[tuple[tuple[int, int], float, float]]:
    """Yield ((track, frame), published velocity, true velocity) of the strikes of keys that have a true note."""
    for track, begin, _, velocity, onset_shift, *_ in sorted(window.events.tolist()):
        away = np.abs(window.notes[:, 0] - (begin + onset_shift) * FRAME_S)
        away[window.notes[:, 2] != track - FIRST_KEY + LOWEST_PITCH] = math.inf
        if track >= FIRST_KEY and begin > 0 and len(away) and away.min() < ONSET_TOLERANCE_S:
            yield (int(track), int(begin)), velocity, float(window.notes[int(away.argmin()), 3])


def _pedal_truth(position: np.ndarray, num_frames: int) -> np.ndarray:
    """Of every frame: whether the pedal is down; how near it is to going down, and up: 1, and 0.5 a frame beside."""
    is_down = np.zeros(num_frames, np.float32)
    is_down[: len(position)] = position[:num_frames] >= DOWN
    is_down[len(position) :] = is_down[min(len(position), num_frames) - 1]
    moves = np.diff(is_down, prepend=is_down[:1])
    near = [np.convolve((moves == sign).astype(np.float32), [0.5, 1.0, 0.5], "same").clip(0, 1) for sign in (1, -1)]
    return np.stack([is_down, *near], axis=1).astype(np.float32)


def load_examples(paths: Sequence[Path]) -> list[Example]:
    """Read windows; those without a true note are left out."""
    examples = [example(load(path)) for path in paths]
    return [each for each in examples if len(each.strikes)]


def loss_of_pedal(heads: Heads, batch: Sequence[Example]) -> Tensor:
    """Cross entropy of all frames, of each head by itself. Frames in which the pedal moves are few, so they count four
    times. Windows whose end is silent are shorter: what is added to them counts nothing."""
    pooled = pad_sequence([each.pooled for each in batch], batch_first=True)
    truth = pad_sequence([each.pedal for each in batch], batch_first=True)
    counts = pad_sequence([torch.ones(len(each.pedal), 1) for each in batch], batch_first=True)
    weight = counts * truth.numel() / (3 * counts.sum())
    losses = [
        binary_cross_entropy_with_logits(member(pooled), truth, weight, pos_weight=torch.tensor([1.0, 4.0, 4.0]))
        for member in heads.pedal.members
    ]
    return torch.stack(losses).sum()


def loss_of_velocities(heads: Heads, batch: Sequence[Example]) -> Tensor:
    """How far velocities are off, squared where it is little."""
    found = [heads.velocity(one.around.float(), one.strikes, one.velocities) for one in batch]
    return smooth_l1_loss(torch.cat(found), torch.cat([one.true_velocities for one in batch]), beta=8.0)


EPOCHS = {"pedal": 40, "velocity": 24}
LOSSES = {"pedal": loss_of_pedal, "velocity": loss_of_velocities}


def train(
    heads: Heads,
    name: str,
    examples: Sequence[Example],
    num_epochs: int,
    seed: int = 0,
    show: Callable[[str], None] = lambda line: None,
    batch_size: int = 8,
    learning_rate: float = 2e-3,
) -> Heads:
    """Train one head, a name of `LOSSES`. The same windows and seed give the same weights on the same machine."""
    torch.manual_seed(seed)
    heads.eval()
    head = getattr(heads, name).train()
    optimiser = torch.optim.AdamW(head.parameters(), lr=learning_rate, weight_decay=0.05)
    num_steps = num_epochs * math.ceil(len(examples) / batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=num_steps, pct_start=0.15)
    for epoch in range(num_epochs):
        total, order = 0.0, torch.randperm(len(examples)).tolist()
        for start in range(0, len(order), batch_size):
            batch = [examples[place] for place in order[start : start + batch_size]]
            loss = LOSSES[name](heads, batch)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            total += float(loss.detach()) * len(batch) / len(order)
        show(f"{name}, epoch {epoch + 1} of {num_epochs}: loss {total:.4f}")
    return heads.eval()


def fit_scale(heads: Heads, strikes: np.ndarray) -> str:
    """Set the scale by strikes (n, 4): velocity by the head beside the recording's usual one, the usual one, dB beside
    the usual level, true velocity.

    A plane is fitted, then what differs within recordings is spread until all is spread as the true velocities are: a
    network that is unsure says something near the middle, so that soft is too loud and loud too soft. How hard a whole
    recording was played is heard least surely, and neither fitted, for which there are too few, nor spread. Gives what
    was found.
    """
    beside, usual, level_db, true = strikes.T
    design = np.stack([beside, level_db, np.ones(len(usual))], axis=1)
    bounds = [0, 0, -np.inf], [np.inf, np.inf, np.inf]  # what is louder, or sounds so, is struck no more softly
    times, per_db, plus = lsq_linear(design, true - usual, bounds).x
    within, rest = design[:, :2] @ np.array([times, per_db]), usual + plus
    wider = float(np.clip(true.std() / max((within + rest).std(), 1e-6), 1.0, MAX_WIDER))
    with torch.no_grad():
        heads.get_buffer("scale").copy_(torch.tensor([wider * times, plus, wider * per_db, 1.0]))
    fitted = wider * within + rest
    errors = [np.median(np.abs(each - true)) for each in (beside + usual, fitted)]
    return (
        f"velocity: {wider * times:.2f} within a recording, its usual + {plus:.1f}, {wider * per_db:.2f} a dB, "
        f"made {wider:.2f} times wider; correlation {np.corrcoef(fitted, true)[0, 1]:.3f}, "
        f"slope {np.polyfit(true, fitted, 1)[0]:.3f}, median error {errors[0]:.1f} before, {errors[1]:.1f} after"
    )
