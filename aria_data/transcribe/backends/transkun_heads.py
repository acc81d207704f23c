"""Heads on transkun's tokens, which stay as they are: the sustain pedal, and how hard keys were struck.

`flows.tools.train_heads` trains them on performances that it plays itself; `transkun_heads.md` is their model card.
Here is what they compute; `transkun_decoder` uses it, `pedal_presses` finds presses. This module loads torch.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

WEIGHTS = Path(__file__).with_name("transkun_heads.npz")
WIDTH = 256  # of a token
EACH = 8  # frames of a token
SUSTAIN_TRACK = 0
FIRST_KEY = 2  # the tracks before it are pedals
CHANNELS = 96
MEMBERS = 3  # pedal heads
DROPOUT = 0.2
DILATIONS = (1, 2, 4, 8)  # of steps of 186 ms: 15 steps to either side are seen
BEFORE, AFTER = 1, 2  # steps around a strike that its velocity is read from


class _Convolutions(nn.Module):
    """Residual convolutions over time. (batch, channels, steps) to the same shape."""

    def __init__(self, channels: int, dilations: tuple[int, ...]):
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv1d(channels, channels, 3, padding=each, dilation=each) for each in dilations)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, hidden: Tensor) -> Tensor:
        for layer in self.layers:
            hidden = hidden + self.dropout(gelu(layer(hidden)))
        return hidden


class PedalHead(nn.Module):
    """Tokens of the sustain pedal and of all keys together to what the pedal does in every frame."""

    def __init__(self) -> None:
        super().__init__()
        self.into = nn.Sequential(nn.LayerNorm(3 * WIDTH), nn.Dropout(0.1), nn.Linear(3 * WIDTH, CHANNELS))
        self.over_time = _Convolutions(CHANNELS, DILATIONS)
        self.out = nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(CHANNELS, EACH * 3))

    def forward(self, pooled: Tensor) -> Tensor:
        """Pooled (batch, steps, 768), of `pool`, to logits (batch, frames, 3): down, going down, going up."""
        hidden = self.over_time(gelu(self.into(pooled)).transpose(1, 2)).transpose(1, 2)
        return self.out(hidden).unflatten(-1, (EACH, 3)).flatten(1, 2)


class PedalHeads(nn.Module):
    """Several of them, each from other random numbers; what they say on average is right more often than one alone."""

    def __init__(self, number: int = MEMBERS) -> None:
        super().__init__()
        self.members = nn.ModuleList(PedalHead() for _ in range(number))

    def forward(self, pooled: Tensor) -> Tensor:
        """As `PedalHead`."""
        return torch.stack([member(pooled) for member in self.members]).mean(0)


def pool(tokens: Tensor) -> Tensor:
    """Tokens (90, steps, 256) to (steps, 768): the pedal's, and the mean and the maximum of the keys'."""
    keys = tokens[FIRST_KEY:]
    return torch.cat([tokens[SUSTAIN_TRACK], keys.mean(0), keys.amax(0)], dim=-1)


class VelocityHead(nn.Module):
    """Tokens around strikes to velocities, with what all strikes of the window have in common."""

    def __init__(self) -> None:
        super().__init__()
        width = (BEFORE + AFTER) * WIDTH
        self.of_strike = nn.Sequential(nn.LayerNorm(width), nn.Dropout(DROPOUT), nn.Linear(width, 96))
        self.of_place = nn.Linear(EACH + 2, 96)
        self.mix = nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(4 * 96, 96), nn.GELU(), nn.Linear(96, 1))

    def forward(self, around: Tensor, strikes: Tensor, velocities: Tensor) -> Tensor:
        """What `around` gives, strikes (strikes, 2), which are track and frame, and their published velocities to
        velocities."""
        track, frame = strikes.unbind(1)
        place = nn.functional.one_hot(frame % EACH, EACH).float()
        scale = torch.stack([track / 44 - 1, velocities / 64 - 1], dim=-1)
        hidden = gelu(self.of_strike(around) + self.of_place(torch.cat([place, scale], dim=-1)))
        common = [hidden.mean(0), hidden.std(0, unbiased=False), hidden.amax(0)]
        return 64 + 24 * self.mix(torch.cat([hidden, *(each.expand_as(hidden) for each in common)], dim=-1))[:, 0]


def around(tokens: Tensor, strikes: Tensor) -> Tensor:
    """Tokens (90, steps, 256) around strikes (strikes, 2), which are track and frame: (strikes, 768)."""
    track, frame = strikes.unbind(1)
    steps = frame[:, None] // EACH + torch.arange(-BEFORE + 1, AFTER + 1, device=strikes.device)
    return tokens[track[:, None], steps.clamp(0, tokens.shape[1] - 1)].flatten(1)


class Heads(nn.Module):
    """The heads, and what makes velocities of what the last one says.

    `scale` is: times what it says beside the usual, plus, the worth of a dB, times what it usually says in a recording.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pedal, self.velocity = PedalHeads(), VelocityHead()
        self.register_buffer("scale", torch.tensor([1.0, 0.0, 0.0, 1.0]))

    @classmethod
    def load(cls, path: Path = WEIGHTS) -> Heads:
        """Read weights that `save` wrote."""
        heads = cls()
        with np.load(path) as arrays:
            heads.load_state_dict({name: torch.from_numpy(arrays[name].astype(np.float32)) for name in arrays.files})
        return heads.eval().requires_grad_(False)

    def to_bytes(self) -> bytes:
        """The weights in half precision, as the content of a .npz."""
        buffer = io.BytesIO()
        arrays = {name: value.numpy().astype(np.float16) for name, value in self.state_dict().items()}
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
        return buffer.getvalue()


@dataclass(frozen=True, slots=True)
class Reading:
    """What the heads say of one window. Velocities are of its events, as they were given; those of pedals are NaN."""

    pedal: np.ndarray  # float32 (frames, 3): logits of `PedalHead`
    velocities: np.ndarray  # before `Heads.scale`


def read_window(
    heads: Heads, tokens: Tensor, events: Sequence[tuple[int, int, int]], velocities: Sequence[float]
) -> Reading:
    """Apply the heads to a window: its tokens (90, steps, 256), its events (track, first and last frame) by track and
    time, and their published velocities."""
    with torch.inference_mode():
        logits = heads.pedal(pool(tokens)[None])[0]
        found = np.full(len(events), np.nan)
        keys = [place for place, event in enumerate(events) if event[0] >= FIRST_KEY]
        if keys:
            strikes = torch.tensor([events[place][:2] for place in keys], device=tokens.device)
            published = torch.tensor([float(velocities[place]) for place in keys], device=tokens.device)
            found[keys] = heads.velocity(around(tokens, strikes), strikes, published).cpu().numpy()
    return Reading(logits.cpu().numpy(), found)
