"""Transkun (Yan & Duan 2024; MIT licence, weights in its wheel): windows of 16 s, notes as scored intervals.

Its own command transcribes one window after the other in float32, every 8 s. Here `transkun_network` evaluates the
same weights with less work, in bfloat16 or int8 where those are fast, windows start every 14 s, and `intervals`
decodes. Events of neighbouring windows are joined by the published procedure.
"""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from aria_data.errors import TranscriptionFailed, UsageError
from aria_data.midi import HIGHEST_PITCH, LOWEST_PITCH, Note, Pedal, Performance
from aria_data.storage import sha256_of_weights
from aria_data.transcribe import base
from aria_data.transcribe.backends import transkun_int8
from aria_data.transcribe.backends.intervals import Lattice, decode_batch, decode_tracks, silence
from aria_data.transcribe.base import Compute, TranscribeConfig, TranscriptionResult

WINDOW_S = 16.0  # the length the weights were trained on (2.0.conf of the wheel)
HOP_S = 14.0  # 2 s of overlap; 8 s in the wheel
NOTES_VERSION = 2  # since silence at the end of a window is left out
GPU_BATCH_SIZE = 64  # 16 minutes of audio a pass
NEAR_FRAMES = 2  # an onset detected up to 46 ms beside the note's counts for it, as it does for the F1


def load(config: TranscribeConfig, compute: Compute) -> Transkun:
    """Load the weights of the installed wheel. Raises `UsageError` for a device that cannot be used."""
    import json

    base.allow_torchaudio_on_cpu()
    import torch

    with base.unloaded("mir_eval"), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # its decoder is a torch.jit.script
        from transkun.ModelTransformer import ModelConfig, TransKun

    device = base.choose_device(compute.device)
    weights, sha256 = weights_path(), weights_sha256(config)
    settings = ModelConfig()
    vars(settings).update(json.loads(weights.with_suffix(".conf").read_text())["Model"]["config"])
    checkpoint = torch.load(weights, map_location="cpu", weights_only=True)
    model = TransKun(conf=settings)
    model.load_state_dict(checkpoint.get("best_state_dict") or checkpoint["state_dict"], strict=False)
    model.eval()
    return Transkun(model, sha256, device, config, compute)


def weights_sha256(config: TranscribeConfig) -> str:
    """Hash the installed wheel's weights.

    Raises `UsageError` for a configured checkpoint and without the wheel, `ConfigInvalid` for a hop below 1 s or above
    15 s.
    """
    if config.checkpoint:
        raise UsageError("transcribe.checkpoint: transkun brings its own weights. Leave it empty.")
    base.hop_of(config, HOP_S, WINDOW_S, 1.0)
    return sha256_of_weights(weights_path())


def weights_path() -> Path:
    """Give the path of the installed wheel's weights without importing the package, which would load torch."""
    spec = find_spec("transkun")
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(
            "the package transkun is not installed. Run `make` in the repository, or `pip install transkun`."
        )
    return Path(spec.submodule_search_locations[0]) / "pretrained" / "2.0.pt"


@dataclass(frozen=True, slots=True)
class WindowOutput:
    """The network's output for one window, decoded as far as that is possible without the window before."""

    lattice: Lattice
    tokens: Any  # tensor (90, steps, 256), for the attributes of the notes; None where there are none


class Transkun:
    """The loaded model; see `Transcriber`."""

    name = "transkun"
    num_channels = 2  # the network averages the power of the channels

    def __init__(self, model: Any, sha256: str, device: str, config: TranscribeConfig, compute: Compute):
        import torch

        from aria_data.transcribe.backends.transkun_network import Network

        self.sha256, self.device = sha256, device
        self.sample_rate: int = model.fs
        self.frame: int = model.hopSize
        hop_s = base.hop_of(config, HOP_S, WINDOW_S, 1.0)
        self.hop = math.ceil(hop_s * model.fs / self.frame) * self.frame
        self.window = math.ceil(WINDOW_S * model.fs)
        self.lead = self.window - self.hop
        self._num_frames = math.ceil(self.window / self.frame) + 1
        self.num_workers = base.choose_num_workers(compute, device)
        self.correct_tuning = config.correct_tuning
        self.num_readers = base.choose_num_readers(device)
        self.batch_size = compute.batch_size or (1 if device == "cpu" else GPU_BATCH_SIZE)
        self.targets: list[int] = list(model.targetMIDIPitch)  # pedals as minus their controller, then pitches
        ranges = transkun_int8.ranges_of(sha256)
        self.precision = base.choose_dtype(compute.dtype, device, has_int8=ranges is not None)
        is_int8 = self.precision == "int8"
        dtype = torch.float32 if is_int8 else getattr(torch, self.precision)
        self.network = Network(model, device, dtype, ranges if is_int8 else None)

    def infer(self, windows: np.ndarray) -> list[Any]:
        """See `Transcriber.infer`. A window whose scores are not finite gives an error."""
        import torch

        if not windows.any():  # nothing sounds, and the network finds nothing in it
            return [WindowOutput(silence(len(self.targets), self._num_frames), None) for _ in windows]
        waveforms = torch.from_numpy(np.ascontiguousarray(windows.transpose(0, 2, 1)))
        with torch.inference_mode():
            if self.device == "cpu":
                found = [self._infer_one(each[None]) for each in waveforms]
                all_tokens, lattices = [tokens for tokens, _ in found], [lattice for _, lattice in found]
            else:
                scores = self.network.infer(waveforms)
                all_tokens, lattices = scores.tokens, decode_batch(scores)
        return [
            WindowOutput(lattice, tokens) if lattice.is_finite else _not_finite()
            for lattice, tokens in zip(lattices, all_tokens, strict=True)
        ]

    def _infer_one(self, waveform: Any) -> tuple[Any, Lattice]:
        """Give the tokens and the lattice of one window. What is silent at its end is left out of the first."""
        tokens, num_frames = self.network.sounding_tokens(waveform)
        lattice = decode_tracks(self.network.tracks(tokens[0], num_frames), len(self.targets), num_frames)
        return tokens[0], lattice.followed_by_silence(self._num_frames)

    def decoder(self) -> _Decoder:
        """Begin a new span."""
        return _Decoder(self)


def _not_finite() -> TranscriptionFailed:
    return TranscriptionFailed(
        "its audio gives the network no finite scores: samples far out of range. Encode the file again.",
        reason="scores_not_finite",
    )


@dataclass(slots=True)
class _Event:
    """A note or a pedal press, or the part of it in one window. A pedal's pitch is minus its controller number."""

    start_s: float
    end_s: float
    pitch: int
    velocity: int
    has_onset: bool
    has_offset: bool
    confidence: float


class _Decoder:
    """Follows the lattice of each window from where that of the window before ended, and joins the events."""

    def __init__(self, model: Transkun):
        self._model = model
        self._events: dict[int, list[_Event]] = defaultdict(list)
        self._overlap = (model.window - model.hop) // model.frame
        self._starts = [self._overlap] * len(model.targets)
        self._num_windows = 0
        self._num_expected = 0.0  # onsets, by the model's own probabilities
        self._tail_expected = 0.0  # onsets in the last half overlap, which the next window counts if there is one

    def add(self, output: WindowOutput) -> None:
        model, lattice = self._model, output.lattice
        paths = [lattice.path(track, start) for track, start in enumerate(self._starts)]
        where = [(track, begin, end) for track, path in enumerate(paths) for begin, end in path]
        attributes = model.network.attributes(output.tokens, where)
        begin_s = (self._num_windows * model.hop - model.lead) / model.sample_rate
        reached = [0.0] * len(paths)
        last_frame = round(model.window / model.frame)
        last_ends = [0] * len(paths)
        for (track, begin, end), (velocity, onset_shift, offset_shift, is_onset, is_offset) in zip(
            where, attributes, strict=True
        ):
            start = max((begin + onset_shift) * model.frame / model.sample_rate, reached[track])
            reached[track] = max((end + offset_shift) * model.frame / model.sample_rate, start + 1e-8)
            has_offset = end < last_frame or is_offset > 0
            if has_offset:
                last_ends[track] = end
            near = lattice.onset_probability[track, max(0, begin - NEAR_FRAMES) : begin + NEAR_FRAMES + 1]
            event = _Event(
                max(start + begin_s, 0.0),
                max(reached[track] + begin_s, 0.0),
                model.targets[track],
                int(velocity),
                begin > 0 or is_onset > 0,
                has_offset,
                min(1.0, float(near.sum())),
            )
            self._join(event)
        self._starts = [max(last - model.hop // model.frame, 0) for last in last_ends]
        self._count_expected(lattice)
        self._num_windows += 1

    def _join(self, event: _Event) -> None:
        known = self._events[event.pitch]
        if known and event.start_s < known[-1].end_s:
            if event.has_onset:
                known[-1] = event
            else:
                known[-1].has_offset = event.has_offset
                known[-1].end_s = max(event.end_s, known[-1].end_s)
        elif event.has_onset:
            known.append(event)

    def _count_expected(self, lattice: Lattice) -> None:
        """Add up the onset probabilities of notes, each frame once: each of two windows counts half of the overlap."""
        of_frames = lattice.onset_probability[self._first_key :].sum(axis=0, dtype=float)
        half = self._overlap // 2
        first = half if self._num_windows else 0
        self._num_expected += float(of_frames[first : -half or None].sum())
        self._tail_expected = float(of_frames[-half:].sum()) if half else 0.0

    @property
    def _first_key(self) -> int:
        return next(track for track, pitch in enumerate(self._model.targets) if pitch > 0)

    def finish(self) -> TranscriptionResult:
        """Give the notes and pedals that have an end; one still held at the end of the audio ends there."""
        notes: list[tuple[Note, float]] = []
        pedals = []
        for pitch, events in self._events.items():
            if events:
                events[-1].has_offset = True
            whole = [event for event in events if event.has_offset]
            for event, following in zip_longest(whole, whole[1:]):
                end_s = event.end_s if following is None else min(event.end_s, following.start_s)
                if end_s <= event.start_s:
                    continue
                if pitch < 0:
                    pedals.append(Pedal(event.start_s, end_s, -pitch))
                elif LOWEST_PITCH <= pitch <= HIGHEST_PITCH:
                    velocity = min(127, max(1, event.velocity))
                    notes.append((Note(event.start_s, end_s, pitch, velocity), event.confidence))
        notes.sort()
        confidences = np.array([confidence for _, confidence in notes])
        expected = self._num_expected + self._tail_expected
        total = len(notes) + expected
        confidence = min(1.0, 2 * float(confidences.sum()) / total) if total > 0 and len(notes) else 0.0
        return TranscriptionResult(Performance([note for note, _ in notes], sorted(pedals)), confidence, confidences)
