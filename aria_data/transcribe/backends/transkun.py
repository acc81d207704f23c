"""Transkun (Yan & Duan 2024; MIT licence, weights in its wheel): windows of 16 s, notes as scored intervals.

Its own command transcribes one window after the other in float32, every 8 s. Here `transkun_network` evaluates the
same weights with less work, in bfloat16 or int8 where those are fast, windows start every 14 s, and `intervals`
decodes. Events of neighbouring windows are joined by the published procedure (`transkun_decoder`). Heads that were
trained here say more of pedals, releases and velocities (`transkun_heads`).
"""

from __future__ import annotations

import math
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from aria_data.errors import TranscriptionFailed, UsageError
from aria_data.storage import sha256_of_weights
from aria_data.transcribe import base
from aria_data.transcribe.backends import transkun_int8
from aria_data.transcribe.backends.intervals import Lattice, decode_batch, decode_tracks, silence
from aria_data.transcribe.backends.transkun_decoder import SpanDecoder, WindowOutput
from aria_data.transcribe.base import Compute, TranscribeConfig

WINDOW_S = 16.0  # the length the weights were trained on (2.0.conf of the wheel)
HOP_S = 14.0  # 2 s of overlap; 8 s in the wheel
NOTES_VERSION = 2  # since silence at the end of a window is left out
GPU_BATCH_SIZE = 64  # 16 minutes of audio a pass
HEADS = Path(__file__).with_name("transkun_heads.npz")
EARLIER_HEADS = ("e67c20ae4c1172b65af8dda03e43eb70c30f334b96be6a1ddd12c02b89a82ef1",)  # hashes, newest first


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
    return Transkun(model, sha256, device, config, compute, _loaded_heads(device) if config.heads else None)


def _loaded_heads(device: str) -> Any:
    from aria_data.transcribe.backends.transkun_heads import Heads

    return Heads.load().to(device)


def heads_sha256(config: TranscribeConfig) -> str:
    """Hash the weights of the heads; "" where the published model is used alone."""
    return sha256_of_weights(HEADS) if config.heads else ""


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


class Transkun:
    """The loaded model; see `Transcriber`."""

    name = "transkun"
    num_channels = 2  # the network averages the power of the channels

    def __init__(
        self, model: Any, sha256: str, device: str, config: TranscribeConfig, compute: Compute, heads: Any = None
    ):
        import torch

        from aria_data.transcribe.backends.transkun_network import Network

        self.sha256, self.device, self.heads = sha256, device, heads
        self.heads_sha256 = heads_sha256(config) if heads else ""
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
        with base.one_thread():  # as windows are computed; the matrices that are prepared are small
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
        levels_db = 20 * np.log10(windows.std(axis=(1, 2)) + 1e-9)
        return [
            WindowOutput(lattice, tokens, float(level_db)) if lattice.is_finite else _not_finite()
            for lattice, tokens, level_db in zip(lattices, all_tokens, levels_db, strict=True)
        ]

    def _infer_one(self, waveform: Any) -> tuple[Any, Lattice]:
        """Give the tokens and the lattice of one window. What is silent at its end is left out of the first."""
        tokens, num_frames = self.network.sounding_tokens(waveform)
        lattice = decode_tracks(self.network.tracks(tokens[0], num_frames), len(self.targets), num_frames)
        return tokens[0], lattice.followed_by_silence(self._num_frames)

    def decoder(self) -> SpanDecoder:
        """Begin a new span."""
        return SpanDecoder(self)


def _not_finite() -> TranscriptionFailed:
    return TranscriptionFailed(
        "its audio gives the network no finite scores: samples far out of range. Encode the file again.",
        reason="scores_not_finite",
    )
