"""Transkun's network with the same weights and results (up to rounding), computed with less work.

Left out: spectrum bins above the highest mel filter; a second channel equal to the first; computing keys and values
of attention twice (both attentions of a block read the block's input); rows of the last block that nothing reads;
the projection to frames before the projection to scores (their product is one matrix). Work that would not fit into
the processor's cache is done in small pieces. The tests compare it with the published code.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aria_data.transcribe.backends.transkun_layers import Layers, passes_of
from aria_data.transcribe.backends.transkun_scores import Attributes, ScoreLayers, Scores

NUM_HEADS = 8
NUM_MELS = 229
FRAMES_PER_PIECE = 64  # of the spectrum; larger pieces leave a CPU's cache, and fill a GPU's memory
ROWS_PER_PIECE = 8  # of 149 tokens each, on a CPU: 1.2 MB in float32
STEPS_AFTER = 8  # of silence, 1.5 s, in which the network finds the ends of notes, and which stand for the rest
STEPS_AT_END = 4  # of a window, of which it has to see where it ends
MIN_LEFT_OUT = 8  # steps; fewer are not worth another shape
KEYS_MULTIPLE = 32  # torch's attention on a CPU is 1.5 times as fast for whole tiles of keys


class Network:
    """The network with its weights prepared for one device and dtype. Several threads may call it.

    With `ranges` (`transkun_int8.ranges_of`) the linear layers of its blocks multiply 8-bit integers, on a CPU; those
    of the pedals' tokens and all keys and values stay in `dtype`.
    """

    def __init__(self, model: Any, device: str, dtype: Any, ranges: Mapping[str, Any] | None = None):
        import torch

        self.device, self.dtype = torch.device(device), dtype
        is_cpu = self.device.type == "cpu"
        self._rows = ROWS_PER_PIECE if is_cpu else 1 << 30
        self._num_targets = len(model.targetMIDIPitch)
        self._spectrum = _Spectrum(model, self.device, FRAMES_PER_PIECE)
        targets = torch.tensor(model.targetMIDIPitch, dtype=torch.float32)
        self._patches = _Patches(model.backbone, targets, self.device, dtype)
        self._blocks = [
            _Block(layer, Layers(self.device, dtype, ranges, f"{number}."), model.targetMIDIPitch)
            for number, layer in enumerate(model.backbone.encoderLayers)
        ]
        self._score_layers = ScoreLayers(model, self.device)
        self._attributes = Attributes(model, self.device)

    def infer(self, waveforms: Any) -> Scores:
        """Score windows of shape (batch, channels, samples), float32."""
        import torch

        with torch.inference_mode():
            return self._score_layers.scores(*self.tokens(waveforms))

    def tokens(self, waveforms: Any) -> tuple[Any, int]:
        """Give float32 tokens (batch, 90, steps, 256) of windows as `infer` takes them, and their number of frames."""
        import torch

        with torch.inference_mode():
            features = self._spectrum(waveforms.to(self.device))
            return self._transformed(self._patches(features)), features.shape[1]

    def sounding_tokens(self, waveform: Any) -> tuple[Any, int]:
        """As `tokens`, of one window, up to `STEPS_AFTER` after its last sample that is not zero.

        Steps of the silence that follows are left out of the blocks, but for the window's last ones: the network was
        trained on windows of one length, and in a shorter one, whose end it does not see, it finds half of the notes.
        """
        import torch

        with torch.inference_mode():
            num_samples = _num_sounding(waveform)
            features = self._spectrum(waveform.to(self.device), num_samples)
            tokens, each = self._patches(features), self._score_layers.num_frames_each
            num_steps = tokens.shape[1]
            after = 1 + math.ceil(num_samples / self._spectrum.hop / each) + STEPS_AFTER
            if num_steps - STEPS_AT_END - after < MIN_LEFT_OUT:
                return self._transformed(tokens), features.shape[1]
            kept = torch.cat([tokens[:, :after], tokens[:, num_steps - STEPS_AT_END :]], dim=1)
            counts = torch.ones(kept.shape[1])
            counts[after - STEPS_AFTER + 1 : after] += (num_steps - len(counts)) / (STEPS_AFTER - 1)
            return self._transformed(kept, counts)[:, :, : after - 1], (after - 1) * each

    def _transformed(self, tokens: Any, counts: Any = None) -> Any:
        for block in self._blocks[:-1]:
            tokens = block(tokens, self._rows, counts=counts)
        tokens = self._blocks[-1](tokens, self._rows, only_last=self._num_targets, counts=counts)
        return tokens[:, 1:].transpose(1, 2).contiguous()

    def tracks(self, tokens: Any, num_frames: int) -> Iterator[tuple[Any, Any, Any]]:
        """Give begins, ends and single of one window's tracks, one after the other: each stays in the cache."""
        for track in tokens:
            scores = self._score_layers.scores(track[None, None], num_frames)
            yield scores.begins[0, 0], scores.ends[0, 0], scores.single[0, 0]

    def attributes(self, tokens: Any, notes: Sequence[tuple[int, int, int]]) -> list[tuple[float, ...]]:
        """Give (velocity, onset shift, offset shift, has an onset, has an offset) of each note, the last two 0 or 1.

        `notes` are (track, first frame, last frame) of the window that `tokens` belong to; shifts are in frames.
        """
        import torch

        if not notes:
            return []
        with torch.inference_mode():
            return self._attributes(tokens, torch.tensor(notes, device=self.device))


def _num_sounding(waveform: Any) -> int:
    """Count the samples up to the last that is not zero, in any channel and window."""
    import torch

    places = torch.nonzero(waveform.flatten(0, -2).any(dim=0))
    return int(places[-1]) + 1 if len(places) else 0


class _Spectrum:
    """Waveforms to log-mel features: six windows (Hann and five learnt), 229 mels."""

    def __init__(self, model: Any, device: Any, frames_per_piece: int):
        import torch

        extractor = model.framewiseFeatureExtractor
        with torch.no_grad():
            learnt = extractor.spectrogramExtractor.winGen.get().t()
            windows = torch.cat([extractor.spectrogramExtractor.win.unsqueeze(0), learnt])
        mels = extractor.freq2mels
        self.num_bins = int(torch.nonzero(mels.sum(1)).max()) + 1
        self.mels = mels[: self.num_bins].contiguous().to(device)
        self.windows = windows.to(device)
        self.hop, self.width, self.eps = model.hopSize, model.windowSize, extractor.eps
        self.frames_per_piece = frames_per_piece

    def __call__(self, waveforms: Any, num_sounding: int | None = None) -> Any:
        """(batch, channels, samples) to (batch, frames, mels, windows). After `num_sounding` samples all are zero."""
        import torch

        if waveforms.shape[1] > 1 and torch.equal(waveforms[:, 0], waveforms[:, 1]):
            waveforms = waveforms[:, :1]  # the mean power of equal channels is that of one
        frames = self._level(waveforms).unfold(-1, self.width, self.hop)
        num_frames = frames.shape[2]
        if num_sounding is not None:  # frames after it are all alike: one of them is computed
            frames = frames[:, :, : math.ceil((num_sounding + self.width // 2) / self.hop) + 1]
        pieces = [self._mel(piece) for piece in frames.split(self.frames_per_piece, dim=2)]
        pieces.append(pieces[-1][:, -1:].expand(-1, num_frames - frames.shape[2], -1, -1))
        return torch.cat(pieces, dim=1)

    def _level(self, waveforms: Any) -> Any:
        """Pad, then scale every window to mean 0 and standard deviation 1, counted over its overlapping frames."""
        import torch

        batch, channels, num_samples = waveforms.shape
        num_frames = math.ceil(num_samples / self.hop) + 1
        half, per_frame = self.width // 2, self.width // self.hop
        padded = torch.nn.functional.pad(waveforms, (half, (num_frames - 1) * self.hop + half - num_samples))
        steps = padded.reshape(batch, channels, -1, self.hop).double()
        place = torch.arange(steps.shape[2], device=padded.device)
        last = steps.shape[2] - 1 - place
        weight = torch.minimum(torch.minimum(place, last) + 1, torch.tensor(per_frame, device=padded.device)).double()
        count = channels * num_frames * self.width
        mean = (steps.sum(3) * weight).sum((1, 2)) / count
        squares = (steps.square().sum(3) * weight).sum((1, 2))
        deviation = ((squares - count * mean.square()).clamp(min=0) / (count - 1)).sqrt()
        return (padded - mean.float()[:, None, None]) / (deviation.float()[:, None, None] + 1e-8)

    def _mel(self, frames: Any) -> Any:
        import torch

        batch, channels, num_frames, _ = frames.shape
        power = None
        for channel in range(channels):
            spectrum = torch.fft.rfft(frames[:, channel, :, None] * self.windows, norm="ortho")[..., : self.num_bins]
            squared = torch.view_as_real(spectrum).square().sum(-1)
            power = squared if power is None else power.add_(squared)
        mel = (power / channels) @ self.mels
        return (((mel + self.eps).log() - math.log(self.eps)) / -math.log(self.eps)).transpose(-1, -2)


class _Patches:
    """Features to tokens: convolutions that halve the time three times and the frequency twice, plus positions."""

    def __init__(self, backbone: Any, targets: Any, device: Any, dtype: Any):
        import torch

        self.device, self.dtype = device, dtype
        layers = [backbone.inputConv] + [layer for layer in backbone.downConv if isinstance(layer, torch.nn.Conv2d)]
        self.convolutions = [
            copy.deepcopy(layer).to(device, dtype).to(memory_format=torch.channels_last) for layer in layers
        ]
        self.norms = [
            copy.deepcopy(layer).to(device) for layer in backbone.downConv if isinstance(layer, torch.nn.GroupNorm)
        ]
        self.norm_dtype = dtype if device.type == "cpu" else torch.float32  # only a CPU takes mixed dtypes
        self.padding = tuple(backbone.downConv[0].padding)
        with torch.inference_mode():
            places = torch.arange(float(NUM_MELS))
            self.of_mels = backbone.posEmbedBuilder(places).t()[None, :, None].to(device, dtype)
        self._of_spectrum = copy.deepcopy(backbone.posEmbedBuilderAttnTF).to(device)
        self._of_targets = copy.deepcopy(backbone.posEmbedBuilderAttnTE).to(device)
        self.targets = targets.to(device)
        self._positions: dict[tuple[int, int], Any] = {}

    def __call__(self, features: Any) -> Any:
        """(batch, frames, mels, windows) to float32 tokens (batch, 1 + frames / 8, 59 + 90, 256)."""
        import torch
        from torch.nn.functional import gelu, pad

        hidden = features.permute(0, 3, 1, 2).to(self.dtype).contiguous(memory_format=torch.channels_last)
        hidden = pad(self.convolutions[0](hidden) + self.of_mels, self.padding)
        for convolution, norm in zip(self.convolutions[1:], self.norms, strict=True):
            hidden = norm(convolution(hidden).to(self.norm_dtype)).to(self.dtype)
            if norm is not self.norms[-1]:
                hidden = gelu(hidden)
        tokens = pad(hidden.permute(0, 2, 3, 1).float(), (0, 0, 1, 0, 1, 0))
        of_spectrum, of_targets = self._of_shape(tokens.shape[1], tokens.shape[2])
        return torch.cat([tokens + of_spectrum, of_targets.expand(len(tokens), -1, -1, -1)], dim=2)

    def _of_shape(self, num_steps: int, num_bands: int) -> tuple[Any, Any]:
        """Give the positions of the spectrum's tokens and of the targets'. They depend on the shape only."""
        import torch

        if (num_steps, num_bands) not in self._positions:
            steps, bands = (torch.arange(float(number), device=self.device) for number in (num_steps, num_bands))
            of_spectrum = self._of_spectrum(steps, bands)
            of_targets = self._of_targets(steps, self.targets)
            self._positions[num_steps, num_bands] = of_spectrum, of_targets[None]
        return self._positions[num_steps, num_bands]


class _Block:
    """One transformer block: attention over frequency, then over time, each followed by two linear layers.

    Queries come from the normalised stream; keys and values of both attentions from the block's input, unnormalised.
    Where layers are rounded to integers, two of 149 tokens are not: those of the pedals, which suffer most by it, and
    with them the ends of all notes that a pedal holds. Nor are keys and values, which they read.
    """

    def __init__(self, layer: Any, layers: Layers, targets: Sequence[int]):
        import torch

        frequency, time = layer.mhaBlockF.module, layer.mhaBlockT.module
        sides = (frequency.k_proj_weight, frequency.v_proj_weight, time.k_proj_weight, time.v_proj_weight)
        self.dtype, self.is_cpu = layers.dtype, layers.device.type == "cpu"
        with torch.no_grad():
            self.keys_values = layers.exact.linear("keys_values", torch.cat([side.t() for side in sides]), None)
            self.frequency = _Half(layer.mhaBlockF, layer.fnnBlockF, layers.within("frequency."))
            self.time = _Half(layer.mhaBlockT, layer.fnnBlockT, layers.within("time."))
            self._exact: tuple[_Half, _Half] | None = None
            if layers.is_rounded:
                self._exact = (
                    _Half(layer.mhaBlockF, layer.fnnBlockF, layers.exact),
                    _Half(layer.mhaBlockT, layer.fnnBlockT, layers.exact),
                )
        self._num_targets, self._num_pedals = len(targets), sum(target < 0 for target in targets)

    def __call__(self, tokens: Any, rows: int, only_last: int | None = None, counts: Any = None) -> Any:
        """Float32 (batch, steps, places, 256) to the same shape, or to its last `only_last` places.

        A step stands for as many alike as `counts` (steps) says, in the attention over time.
        """
        batch, steps, places, width = tokens.shape
        kept = only_last or places
        pedals = slice(kept - self._num_targets, kept - self._num_targets + self._num_pedals)
        stream = tokens.new_empty(batch, kept, steps, width)  # transposed, for the attention over time
        of_time = tokens.new_zeros(batch, kept, self._padded(steps), 2 * width, dtype=self.dtype)
        together = 1 if self.is_cpu else batch
        for item in range(0, batch, together):
            items = slice(item, item + together)
            for begin in range(0, steps, rows):
                span = slice(begin, min(begin + rows, steps))
                piece = tokens[items, span].flatten(0, 1)
                keys_values = self.keys_values(piece)
                of_time[items, :, span] = _transposed(keys_values[:, places - kept :, 2 * width :], together)
                of_frequency = self._pad(keys_values[..., : 2 * width])
                new = self.frequency(piece[:, places - kept :].clone(), of_frequency, places)
                if self._exact is not None:
                    own = piece[:, places - kept :][:, pedals].clone()
                    new[:, pedals] = self._exact[0](own, of_frequency, places)
                stream[items, :, span] = _transposed(new, together)
        out = tokens.new_empty(batch, steps, kept, width)
        of_pedals = stream[:, pedals].flatten(0, 1).clone()  # the loop below adds to the stream in place
        for item in range(0, batch, together):
            items = slice(item, item + together)
            for begin in range(0, kept, rows):
                span = slice(begin, min(begin + rows, kept))
                new = self.time(stream[items, span].flatten(0, 1), of_time[items, span].flatten(0, 1), steps, counts)
                out[items, :, span] = _transposed(new, together)
        if self._exact is not None:
            new = self._exact[1](of_pedals, of_time[:, pedals].flatten(0, 1), steps, counts)
            out[:, :, pedals] = _transposed(new, batch)
        return out

    def _padded(self, number: int) -> int:
        return -(-number // KEYS_MULTIPLE) * KEYS_MULTIPLE if self.is_cpu else number

    def _pad(self, keys_values: Any) -> Any:
        from torch.nn.functional import pad

        number = keys_values.shape[1]
        return pad(keys_values, (0, 0, 0, self._padded(number) - number)) if self.is_cpu else keys_values


def _transposed(rows: Any, batch: int) -> Any:
    """(batch * steps, places, width) to (batch, places, steps, width), or the other way round."""
    return rows.unflatten(0, (batch, -1)).transpose(1, 2)


class _Half:
    """Attention and the two linear layers after it, added to the stream."""

    def __init__(self, attention: Any, feed_forward: Any, layers: Layers):
        import torch

        module, first, second = attention.module, feed_forward.module[0], feed_forward.module[3]
        self._passes = passes_of(layers.device) if layers.dtype == torch.bfloat16 else None
        self.query = layers.linear("query", module.q_proj_weight.t(), None, normalise=True)
        self.out = layers.linear("out", *_scaled(module.out_proj, attention.scale))
        self.feed_forward = layers.feed_forward((first.weight, first.bias), _scaled(second, feed_forward.scale))

    def __call__(self, stream: Any, keys_values: Any, num_keys: int, counts: Any = None) -> Any:
        """Add to float32 `stream` (rows, places, 256), in place. Keys and values are (rows, num_keys or more, 512).

        Keys from `num_keys` on are padding, which is masked; the others stand for `counts` keys each.
        """
        from torch.nn.functional import scaled_dot_product_attention

        if self._passes is not None:
            fetched = self._passes.attention(self.query(stream), keys_values, num_keys, NUM_HEADS, counts)
            return self.feed_forward.add_to(self.out.add_to(stream, fetched))
        sides = self.query(stream), *keys_values.chunk(2, dim=-1)
        query, key, value = (side.unflatten(-1, (NUM_HEADS, -1)).transpose(1, 2) for side in sides)
        mask = None
        if keys_values.shape[1] != num_keys or counts is not None:
            mask = query.new_zeros(keys_values.shape[1])
            mask[num_keys:] = -math.inf
            if counts is not None:
                mask[:num_keys] = counts.log()
            mask = mask.view(1, 1, 1, -1)
        fetched = scaled_dot_product_attention(query, key, value, mask).transpose(1, 2).flatten(2)
        return self.feed_forward.add_to(self.out.add_to(stream, fetched))


def _scaled(linear: Any, scale: Any) -> tuple[Any, Any]:
    return linear.weight * scale[:, None], linear.bias * scale
