"""Transkun (Yan & Duan 2024; MIT licence, weights in its wheel) over a stream of audio.

The network hears windows of 16 s. Its own loop needs the whole waveform in memory and moves 8 s a step;
this one streams, moves 14 s a step (the same onset F1 at 0.57 of the work) and uses bfloat16 where the
processor has it. The joining of events across windows follows the published procedure.
"""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from aria_data.errors import UsageError
from aria_data.files import sha256_file
from aria_data.midi import HIGHEST_PITCH, LOWEST_PITCH, Note, Pedal, Performance
from aria_data.transcribers.base import allow_torchaudio_on_cpu, choose_device, has_fast_bfloat16

WINDOW_S = 16.0  # the length the weights were trained on (2.0.conf of the wheel)
HOP_S = 14.0  # 2 s of overlap; 8 s in the wheel


class Transkun:
    """One loaded model. Not for use from two threads at once."""

    name = "transkun"
    num_channels = 2  # the network averages the power of the channels

    def __init__(self, model: Any, sha256: str, device: str):
        self.model, self.sha256, self.device = model, sha256, device
        self.sample_rate: int = model.fs
        self._frame = model.hopSize
        self._hop = math.ceil(HOP_S * model.fs / self._frame) * self._frame
        self._window = math.ceil(WINDOW_S * model.fs)

    @classmethod
    def load(cls, device: str = "auto") -> Transkun:
        """Load the weights of the installed wheel."""
        import json

        allow_torchaudio_on_cpu()
        import torch

        with warnings.catch_warnings():  # its decoder is a torch.jit.script, which torch 2.13 calls deprecated
            warnings.simplefilter("ignore", DeprecationWarning)
            from transkun.ModelTransformer import ModelConfig, TransKun

        device = choose_device(device)
        weights = weights_path()
        config = ModelConfig()
        vars(config).update(json.loads(weights.with_suffix(".conf").read_text())["Model"]["config"])
        checkpoint = torch.load(weights, map_location=device, weights_only=True)
        model = TransKun(conf=config).to(device)
        model.load_state_dict(checkpoint.get("best_state_dict") or checkpoint["state_dict"], strict=False)
        model.eval()
        model.backbone.useGradientCheckpoint = False  # saves nothing without gradients, and warns
        _run_backbone_in_bfloat16(model, device)
        return cls(model, sha256_file(weights), device)

    def transcribe(self, blocks: Iterable[np.ndarray]) -> Performance:
        """Hear one stretch; see `Transcriber.transcribe`."""
        joiner = _Joiner()
        padding = self._window - self._hop
        held_from = [padding // self._frame] * len(self.model.targetMIDIPitch)
        for index, window in enumerate(self._windows(blocks)):
            events, last_ends = self._hear(window, held_from)
            joiner.add(events, begin_s=(index * self._hop - padding) / self.sample_rate)
            held_from = [max(last - self._hop // self._frame, 0) for last in last_ends]
        return joiner.performance()

    def _windows(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield windows of shape (window, channels), the first one beginning one overlap before the audio."""
        buffer = np.zeros((self._window - self._hop, self.num_channels), np.float32)
        heard = False
        for block in blocks:
            heard = heard or len(block) > 0
            buffer = np.concatenate([buffer, block])
            while len(buffer) > self._window:
                yield buffer[: self._window]
                buffer = buffer[self._hop :]
        if heard:
            yield np.pad(buffer, ((0, self._window - len(buffer)), (0, 0)))

    def _hear(self, window: np.ndarray, held_from: list[int]) -> tuple[list[Any], list[int]]:
        import torch
        from transkun.Util import makeFrame

        with torch.inference_mode():
            waveform = torch.from_numpy(np.ascontiguousarray(window.T)).to(self.device)
            frames = makeFrame(waveform, self._frame, self.model.windowSize).unsqueeze(0)
            events, last_ends = self.model.transcribeFrames(
                frames, forcedStartPos=held_from, lastFrameIdx=round(self._window / self._frame)
            )
        return events[0], last_ends


def weights_path() -> Path:
    """Where the installed wheel keeps its weights; found without importing the package, which loads torch."""
    spec = find_spec("transkun")
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(
            "the package transkun is not installed. Run `make` in the repository, or `pip install transkun`."
        )
    return Path(spec.submodule_search_locations[0]) / "pretrained" / "2.0.pt"


def _run_backbone_in_bfloat16(model: Any, device: str) -> None:
    """Run the transformer in bfloat16 where that is fast; spectrogram, scores and decoding stay in float32."""
    import torch

    kind = torch.device(device).type
    if kind == "cpu" and not has_fast_bfloat16():
        return
    forward = model.backbone.forward

    def in_bfloat16(*args, **kwargs):
        with torch.autocast(kind, torch.bfloat16):
            return forward(*args, **kwargs).float()

    model.backbone.forward = in_bfloat16


class _Joiner:
    """Joins the events of overlapping windows: an event cut by a window's edge is continued by the next window's."""

    def __init__(self) -> None:
        self._events: dict[int, list[Any]] = defaultdict(list)

    def add(self, events: list[Any], begin_s: float) -> None:
        for event in events:
            event.start = max(event.start + begin_s, 0.0)
            event.end = max(event.end + begin_s, event.start)
            known = self._events[event.pitch]
            if known and event.start < known[-1].end:
                if event.hasOnset:
                    known[-1] = event
                else:
                    known[-1].hasOffset = event.hasOffset
                    known[-1].end = max(event.end, known[-1].end)
            elif event.hasOnset:
                known.append(event)

    def performance(self) -> Performance:
        """Give the finished notes and pedals; one still held at the end of the audio ends there."""
        notes, pedals = [], []
        for pitch, events in self._events.items():
            if events:
                events[-1].hasOffset = True
            whole = [event for event in events if event.hasOffset]
            for event, following in zip_longest(whole, whole[1:]):
                end_s = event.end if following is None else min(event.end, following.start)
                if end_s <= event.start:
                    continue
                if pitch < 0:
                    pedals.append(Pedal(event.start, end_s, -pitch))
                elif LOWEST_PITCH <= pitch <= HIGHEST_PITCH:
                    notes.append(Note(event.start, end_s, pitch, min(127, max(1, event.velocity))))
        return Performance(sorted(notes), sorted(pedals))
