"""The surrogate network: a small causal transformer over MIDI tokens. Its training is in `training.py`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from aria_data.surrogate.scorable import window_losses


@dataclass(frozen=True)
class SurrogateConfig:
    """Sizes and training. Defaults: the pilot on 762 performances (127,000 parameters, two minutes on one core)."""

    width: int = 64
    layers: int = 2
    heads: int = 4
    dropout: float = 0.1  # not of attention weights, which alone would double the time on a CPU
    learning_rate: float = 3e-3  # AdamW, falling to 0 as a cosine
    weight_decay: float = 0.01
    warm_up_share: float = 0.05  # of the steps, during which the learning rate rises
    batch_windows: int = 24
    num_steps: int | None = None  # None: `num_epochs` of the windows trained on, but at least `min_steps`
    num_epochs: float = 2.4  # the pilot's
    min_steps: int = 600  # the pilot's; with fewer, a small set's surrogate learns little more than the token grammar
    checkpoint_epochs: tuple[float, ...] | None = None  # besides the end; 0: untrained. None: `num_checkpoints`, evenly
    num_checkpoints: int = 6
    max_transposition: int = 5  # semitones up or down, drawn for each window and step; otherwise rare keys look hard
    validation_share: float = 0.1  # of the files, in whole groups
    device: str = "auto"  # cuda where available, else cpu


class _Block(nn.Module):
    """Causal self-attention, then a feed-forward network of two layers, both with layer norm first."""

    def __init__(self, config: SurrogateConfig):
        super().__init__()
        self.heads = config.heads
        self.norm_attention = nn.LayerNorm(config.width)
        self.mix = nn.Linear(config.width, 3 * config.width)
        self.out = nn.Linear(config.width, config.width)
        self.norm_layers = nn.LayerNorm(config.width)
        self.layers = nn.Sequential(
            nn.Linear(config.width, 4 * config.width), nn.GELU(), nn.Linear(4 * config.width, config.width)
        )
        self.drop = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.mix(self.norm_attention(x)).chunk(3, dim=2)
        query, key, value = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in parts)
        seen = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.drop(self.out(seen.transpose(1, 2).flatten(2)))
        return x + self.drop(self.layers(self.norm_layers(x)))


class Surrogate(nn.Module):
    """The network, which is also a `Scorable`. Its head has no bias, so the head's gradient is error times features."""

    def __init__(self, config: SurrogateConfig, num_tokens: int, context: int):
        super().__init__()
        self.config, self.num_tokens, self.context = config, num_tokens, context
        self.tokens = nn.Embedding(num_tokens, config.width)
        self.positions = nn.Parameter(torch.randn(context, config.width) * 0.02)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.out = nn.Linear(config.width, num_tokens, bias=False)
        self.drop = nn.Dropout(config.dropout)
        for part in self.modules():
            if isinstance(part, nn.Linear | nn.Embedding):
                nn.init.normal_(part.weight, std=0.02)

    def embed(self, inputs: Tensor) -> Tensor:
        return self.tokens(inputs)

    def features(self, embedded: Tensor) -> Tensor:
        x = self.drop(embedded + self.positions[: embedded.shape[1]])
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def head(self) -> tuple[Tensor, Tensor | None]:
        return self.out.weight, None

    def module(self) -> nn.Module:
        return self

    def last_block(self) -> list[nn.Parameter]:
        """The parameters of the last block, for the score `effort`; DEALRec uses the last layer's adapter."""
        return list(self.blocks[-1].parameters())

    def forward(self, inputs: Tensor) -> Tensor:
        return self.out(self.features(self.embed(inputs)))


def weighted_loss(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Mean over windows of weight * loss. With weights of mean 1, a window of weight w counts as w copies."""
    return (weights * window_losses(logits, targets)).mean()
