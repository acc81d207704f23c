"""The network: a small convolutional trunk that runs once over the frames, and a head that classifies 5 s windows.

Overlapping windows share the trunk's output, so with a hop of 1 s each costs a fifth of a separate window.

    frames (batch, frames, mels) dB -> relative_level -> trunk (batch, features, 4 steps a second)
        -> windows -> head  -> for each window of 5 s: logits of solo piano, any piano, and six causes
        -> steps   -> local -> the same for each step of 0.25 s, to find where piano begins and ends
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class ModelConfig:
    """Sizes. Window and hop follow Aria-MIDI's classifier (5 s, 1 s); with the rest two cores can train it."""

    num_mels: int = 96
    frames_per_s: int = 64
    channels: tuple[int, ...] = (32, 64, 128, 192, 256)
    num_features: int = 256
    hidden: int = 128
    num_causes: int = 6
    window_s: int = 5
    hop_s: int = 1
    level_span_s: float = 5.0  # levels are relative to the loudest frame within this span
    level_floor_db: float = -85.0  # spans that never get louder than this count as silence
    range_db: float = 70.0  # levels further below the loudest frame are clipped

    @property
    def frames_per_step(self) -> int:
        return 2 ** (len(self.channels) - 1)

    @property
    def steps_per_s(self) -> int:
        return self.frames_per_s // self.frames_per_step

    @property
    def context_s(self) -> int:
        """Seconds of sound on either side that a chunk needs: beyond them, sound does not change the trunk's output."""
        return 4


class Logits(NamedTuple):
    """Logits of shape (batch, windows or steps); `causes` (batch, windows or steps, num_causes)."""

    solo: Tensor
    any_piano: Tensor
    causes: Tensor


def relative_level(frames_db: Tensor, config: ModelConfig) -> Tensor:
    """Make levels relative to the loudest frame within 2.5 s on either side: (dB + 25) / 25, clipped to -1.8 ... 2.

    `frames_db`: (batch, frames, mels), absolute. A recording 30 dB quieter gives the same values, unless that makes it
    silence (`level_floor_db`).
    """
    loudness = 10.0 * torch.log10(torch.exp(frames_db * (math.log(10.0) / 10.0)).mean(dim=2) + 1e-12)
    half = int(config.level_span_s * config.frames_per_s / 2)
    reference = functional.max_pool1d(loudness[:, None], 2 * half + 1, stride=1, padding=half)[:, 0]
    relative = frames_db - reference.clamp(min=config.level_floor_db)[:, :, None]
    return (relative.clamp(-config.range_db, 25.0) + 25.0) / 25.0


class Block(nn.Sequential):
    """3 x 3 convolution, norm, ReLU; `halve` halves the size by "stride", by "pool" (maximum), or not ("none")."""

    def __init__(self, num_in: int, num_out: int, halve: str):
        stride = 2 if halve == "stride" else 1
        convolution = nn.Conv2d(num_in, num_out, 3, stride=stride, padding=1, bias=False)
        pool = [nn.MaxPool2d(2)] if halve == "pool" else []
        super().__init__(convolution, *pool, nn.BatchNorm2d(num_out), nn.ReLU())


class PianoNet(nn.Module):
    """The network: about 1.6 million parameters, 170 million operations for a second of sound."""

    def __init__(self, config: ModelConfig | None = None):
        super().__init__()
        self.config = config = config or ModelConfig()
        first, *middle = config.channels
        stem = [nn.Conv2d(1, first, 5, stride=2, padding=2, bias=False), nn.BatchNorm2d(first), nn.ReLU()]
        halves = ["stride"] + ["pool"] * (len(middle) - 2) + ["none"]  # a stride for the largest maps: twice as fast
        blocks = [Block(a, b, half) for a, b, half in zip(config.channels[:-1], middle, halves, strict=True)]
        self.trunk = nn.Sequential(*stem, *blocks)
        num_bands = config.num_mels // config.frames_per_step
        self.collapse = nn.Sequential(
            nn.Conv2d(middle[-1], config.num_features, (1, num_bands), bias=False),
            nn.BatchNorm2d(config.num_features),
            nn.ReLU(),
        )
        self.context = nn.Sequential(
            nn.Conv1d(config.num_features, config.num_features, 5, padding=2, bias=False),
            nn.BatchNorm1d(config.num_features),
            nn.ReLU(),
        )
        self.head = nn.Sequential(
            nn.Dropout(0.2),
            nn.Linear(4 * config.num_features, config.hidden),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Linear(config.hidden, 2 + config.num_causes),
        )
        self.local = nn.Sequential(nn.Dropout(0.2), nn.Linear(config.num_features, 2 + config.num_causes))

    def steps(self, frames_db: Tensor) -> Tensor:
        """(batch, frames, mels) in dB -> (batch, features, steps), `config.steps_per_s` steps a second."""
        maps = self.trunk(relative_level(frames_db, self.config)[:, None])
        return self.context(self.collapse(maps)[:, :, :, 0])

    def judge(self, windows: Tensor) -> Logits:
        """(batch, features, windows, steps in a window) -> logits of every window."""
        deviation = torch.sqrt(windows.var(dim=3, unbiased=False) + 1e-5)
        middle = torch.hann_window(windows.shape[3] + 2, periodic=False, device=windows.device)[1:-1]
        centred = windows @ (middle / middle.sum()).to(windows.dtype)  # tells what is in the middle of the window
        pooled = torch.cat([windows.mean(dim=3), windows.amax(dim=3), deviation, centred], dim=1)
        return _split(self.head(pooled.transpose(1, 2)))

    def judge_steps(self, steps: Tensor) -> Logits:
        """(batch, features, steps) -> logits of every step."""
        return _split(self.local(steps.transpose(1, 2)))

    def forward(self, frames_db: Tensor, window_s: float | None = None) -> tuple[Logits, Logits]:
        """Logits of all whole windows, moved by `hop_s`, and of all steps. Frames: (batch, frames, mels) in dB."""
        length = int((window_s or self.config.window_s) * self.config.steps_per_s)
        steps = self.steps(frames_db)
        windows = steps.unfold(2, min(length, steps.shape[2]), self.config.hop_s * self.config.steps_per_s)
        return self.judge(windows), self.judge_steps(steps)


def _split(out: Tensor) -> Logits:
    return Logits(out[..., 0], out[..., 1], out[..., 2:])
