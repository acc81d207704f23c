"""What a transcriber is, and what every backend built on torchaudio needs before its first import."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterable
from typing import Protocol

import numpy as np

from aria_data.errors import UsageError
from aria_data.midi import Performance


class Transcriber(Protocol):
    """A model that hears notes. To add one: a file beside this one with these members, and its name in `load`."""

    name: str
    sha256: str  # of the weights
    sample_rate: int  # what `transcribe` must be fed, in Hz
    num_channels: int

    def transcribe(self, blocks: Iterable[np.ndarray]) -> Performance:
        """Hear one stretch of audio, given as float32 blocks of shape (num_samples, num_channels).

        Times in the result count from the first sample. Memory does not grow with the length.
        """
        ...


def allow_torchaudio_on_cpu() -> None:
    """Let torchaudio be imported beside a CPU build of torch.

    torchaudio's wheels for Linux hold a CUDA extension only, which a CPU build of torch cannot load, although
    the functions used here (resampling, mel filters) need no extension. The stub says so before the import.
    """
    import torch

    name = "torchaudio._extension"
    if torch.version.cuda is not None or name in sys.modules or "torchaudio" in sys.modules:
        return
    stub = types.ModuleType(name)
    stub._IS_TORCHAUDIO_EXT_AVAILABLE = False  # type: ignore[attr-defined]
    stub._IS_ALIGN_AVAILABLE = False  # type: ignore[attr-defined]
    stub.fail_if_no_align = lambda function: function  # type: ignore[attr-defined]
    stub._check_cuda_version = lambda: None  # type: ignore[attr-defined]
    sys.modules[name] = stub


def choose_device(device: str) -> str:
    """Give "cuda" for "auto" when there is a GPU, else "cpu". Raises `UsageError` for a device that is not here."""
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"--device {device}: cannot be used here ({reason}). Use auto or cpu.") from error
    return device


def has_fast_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 in hardware; elsewhere it would be slower than float32."""
    import torch

    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
