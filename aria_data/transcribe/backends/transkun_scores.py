"""The last layers of transkun's network: tokens to scores of notes, and to the attributes of those that were found."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

RANK = 192  # of 256: scores are right to 1e-6 of their size (160: 1e-5, 128: 2e-4)


@dataclass(frozen=True)
class Scores:
    """The network's output for a batch of windows, for each of the 90 pedals and keys.

    A note from frame b to frame e > b scores `begins[.., b] @ ends[.., e] * (e - b)`, one of a single frame
    `single[.., b]`; silence scores 0. `Network.attributes` reads `tokens`.
    """

    begins: Any  # tensor (batch, 90, frames, RANK)
    ends: Any  # tensor (batch, 90, frames, RANK)
    single: Any  # tensor (batch, 90, frames)
    tokens: Any  # tensor (batch, 90, frames / 8, 256)

    def per_window(self) -> Iterator[tuple[Any, Any, Any]]:
        """Give begins, ends and single of each window."""
        return zip(self.begins, self.ends, self.single, strict=True)


class ScoreLayers:
    """Tokens to scores, eight frames of a token at once: the published up-sampling and scoring layers as one matrix.

    A score is the product of two vectors of 256 numbers that are linear in the tokens. Of the matrix between the
    tokens the largest `RANK` singular values are kept; the others are below a thousandth of the largest.
    """

    def __init__(self, model: Any, device: Any):
        import torch

        up, scoring = model.backbone.upConv1dSkip, model.scorer.map[0]
        width = scoring.in_features
        with torch.no_grad():
            scale = torch.ones(scoring.out_features, 1, dtype=torch.float64)
            scale[:width] = width**-0.5
            matrix = scoring.weight.double() * scale  # (513, 256): ends, begins, single
            to_frames = up.weight.double().permute(2, 1, 0)  # (8 frames, 256 out, 256 in)
            bias = scoring.bias.double()[:, None] * scale + matrix @ up.bias.double()[:, None]
            both = torch.cat([matrix @ to_frames, bias.expand(len(to_frames), -1, -1)], dim=2)  # the bias last
            ends, begins, single = both.split([width, width, 1], dim=1)
            to_ends, to_begins = _shorter(ends, begins)
            both = torch.cat([to_ends @ ends, to_begins @ begins, single], dim=1).flatten(0, 1).float().to(device)
        self.weight, self.bias = both[:, :-1].contiguous(), both[:, -1].contiguous()
        self.width, self.num_frames_each = RANK, len(to_frames)

    def scores(self, tokens: Any, num_frames: int) -> Scores:
        """Float32 tokens (batch, 90, steps, 256) to the scores of their windows."""
        import torch

        of_all = torch.nn.functional.linear(tokens, self.weight, self.bias)
        of_all = of_all.unflatten(-1, (self.num_frames_each, -1)).flatten(2, 3)[:, :, :num_frames]
        ends, begins, single = of_all.split([self.width, self.width, 1], dim=-1)
        return Scores(begins, ends, single[..., 0], tokens)


def _shorter(left: Any, right: Any) -> tuple[Any, Any]:
    """Give matrices (RANK, width) that shorten two vectors so that their product stays nearly what it is.

    The vectors are `left @ x` and `right @ y`, of shape (frames, width, inputs), for inputs of unit variance.
    """
    import torch

    def root(of: Any) -> tuple[Any, Any]:
        values, vectors = torch.linalg.eigh(torch.einsum("fwi,fvi->wv", of, of))
        values = values.clamp(min=1e-12 * float(values.max())).sqrt()
        return (vectors * values) @ vectors.T, (vectors / values) @ vectors.T

    (left_root, left_inverse), (right_root, right_inverse) = root(left), root(right)
    lefts, values, rights = torch.linalg.svd(left_root @ right_root)
    share = values[:RANK].sqrt()[:, None]
    return share * (lefts[:, :RANK].T @ left_inverse), share * (rights[:RANK] @ right_inverse)


class Attributes:
    """A note's attributes, from the frames it begins and ends in: velocity, shifts within a frame, cut edges."""

    def __init__(self, model: Any, device: Any):
        up = model.backbone.upConv1dSkip
        self.num_frames_each = up.kernel_size[0]
        self.up_weight = up.weight.detach().permute(2, 1, 0).flatten(0, 1).contiguous().to(device)
        self.up_bias = up.bias.detach().to(device)
        self.velocity = copy.deepcopy(model.velocityPredictor).eval().to(device)
        self.edges = copy.deepcopy(model.refinedOFPredictor).eval().to(device)

    def __call__(self, tokens: Any, notes: Any) -> list[tuple[float, ...]]:
        import torch

        track, begin, end = notes.unbind(1)
        first, last = self._frame(tokens, track, begin), self._frame(tokens, track, end)
        inputs = torch.cat([first, last, first * last], dim=-1)
        velocity = self.velocity(inputs).argmax(-1)
        shift, presence = self.edges(inputs).chunk(2, dim=-1)
        mean = torch.distributions.ContinuousBernoulli(logits=shift, validate_args=False).mean
        shift = ((mean - 0.5) / 0.99).clamp(-0.5, 0.5)  # trained on 0.99 * shift + 0.5
        columns = torch.cat([velocity[:, None].float(), shift, (presence > 0).float()], dim=1)
        return [tuple(row) for row in columns.tolist()]

    def _frame(self, tokens: Any, track: Any, frame: Any) -> Any:
        import torch

        each = self.num_frames_each
        of_step = torch.nn.functional.linear(tokens[track, frame // each], self.up_weight).unflatten(-1, (each, -1))
        return of_step[torch.arange(len(frame), device=frame.device), frame % each] + self.up_bias
