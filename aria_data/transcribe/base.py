"""What a transcriber is, and what every backend built on torch needs.

A backend is one file in `backends/`, or a module outside this project. It has `load(config, compute)`, which gives a
`Transcriber`, and `weights_sha256(config)`, which gives the hash of its weights without loading a model. It may have a
`NOTES_VERSION`.
"""

from __future__ import annotations

import functools
import math
import sys
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from aria_data.errors import ConfigInvalid, UsageError
from aria_data.midi import Performance

MIN_BFLOAT16_GAIN = 1.3  # measured 5.5 with AMX, 2 to 3 with AVX-512 on an EPYC, 0.5 without AMX on a Xeon
MIN_INT8_GAIN = 1.5  # measured 2.3 with AVX2, 4.5 with VNNI; much else of a network stays in float32
DTYPES = ("auto", "float32", "bfloat16", "int8")
MAX_READERS = 14  # each decodes and resamples at 100 to 200 times real time
MAX_CPU_WORKERS = 16  # each transcribes a window of its own and needs about 150 MB; 16 stay below 4 GB


@dataclass(frozen=True)
class TranscribeConfig:
    """Which model transcribes, and how. A change of any of these transcribes again."""

    transcriber: str = "transkun"  # a backend of this project, or with a dot a module of yours: my_models.loudest
    hop_s: float = 0.0  # from one window to the next; 0: the value that measured best for the backend
    correct_tuning: bool = True  # resample a recording that is 8 to 50 cents off to 440 Hz before inference
    checkpoint: str = ""  # a file with weights, where the backend does not bring its own
    heads: bool = True  # transkun: pedal and velocity by heads trained here; false: the published model


@dataclass(frozen=True)
class Compute:
    """On which device and in which batches inference runs. None of this counts as a change of configuration.

    Raises `UsageError` for an unknown dtype or a negative number.
    """

    device: str = "auto"  # auto (every GPU, else the CPU), cpu, cuda, cuda:1, or several with commas between
    dtype: str = "auto"  # auto (bfloat16 where fast; transkun on other CPUs: int8), float32, bfloat16, int8
    batch_size: int = 0  # windows in a forward pass; 0: chosen by device
    num_threads: int = 0  # windows transcribed at the same time on a CPU; 0: one a core

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise UsageError(f"--dtype {self.dtype}: is not one of {', '.join(DTYPES)}.")
        for name in ("batch_size", "num_threads"):
            if getattr(self, name) < 0:
                raise UsageError(f"--{name.replace('_', '-')} {getattr(self, name)}: must not be negative.")


@dataclass(frozen=True, slots=True)
class TranscriptionResult:
    """The notes and pedals of one span of audio. Times count from its first sample.

    `confidence` is 0 to 1: for transkun the onset F1 that it expects, for bytedance the mean strength of the onsets.
    """

    performance: Performance
    confidence: float = 0.0
    note_confidences: np.ndarray = field(default_factory=lambda: np.zeros(0))  # of performance.notes, in their order
    remarks: tuple[str, ...] = ()  # on its audio: what is odd, and how it was read all the same
    heard: Any = None  # what the span's listener found in its sound
    published_velocities: np.ndarray | None = None  # of performance.notes, where theirs are calibrated


class Decoder(Protocol):
    """Joins the outputs of the windows of one span, in order. Holds the notes so far, never the audio."""

    def add(self, output: Any) -> None:
        """Take the next window's output."""
        ...

    def finish(self) -> TranscriptionResult:
        """Give everything, once the last window is in."""
        ...


class Transcriber(Protocol):
    """A model that transcribes windows. `infer` treats each window by itself; a `Decoder` joins their outputs."""

    name: str
    sha256: str  # of the weights
    precision: str  # float32, bfloat16 or int8: in which numbers it computes
    sample_rate: int  # of the windows, in Hz
    num_channels: int
    window: int  # samples in a window
    hop: int  # samples from one window to the next
    lead: int  # samples of silence before the first sample of a span
    batch_size: int  # windows in a call of `infer`
    num_workers: int  # calls of `infer` at the same time, each in a thread of its own
    correct_tuning: bool  # whether audio is resampled to 440 Hz before inference
    num_readers: int  # processes that read audio ahead; 0: it is read between the calls, in this process

    def infer(self, windows: np.ndarray) -> list[Any]:
        """Transcribe float32 windows of shape (batch, window, channels): an output, or an error, for each."""
        ...

    def decoder(self) -> Decoder:
        """Begin a new span."""
        ...


def hop_of(config: TranscribeConfig, default_s: float, window_s: float, step_s: float) -> float:
    """Give the hop in seconds, `default_s` where none is configured.

    Raises `ConfigInvalid` for a hop below `step_s`, or so long that windows overlap by less than `step_s`.
    """
    hop_s = config.hop_s or default_s
    if not step_s <= hop_s <= window_s - step_s:
        raise ConfigInvalid(
            f"transcribe.hop_s: {hop_s:g} is not between {step_s:.3g} and {window_s - step_s:.4g}; "
            f"{config.transcriber} reads windows of {window_s:g} s, which must overlap."
        )
    return hop_s


def allow_torchaudio_on_cpu() -> None:
    """Let torchaudio be imported beside a CPU build of torch.

    torchaudio's wheels for Linux hold a CUDA extension only, which a CPU build of torch cannot load, although
    the functions used here (resampling, mel filters) need no extension. A stub takes the extension's place.
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


@contextmanager
def unloaded(name: str) -> Iterator[None]:
    """Let a package be imported without another one that only its evaluation needs, and that loads half of scipy."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = types.ModuleType(name)
    try:
        yield
    finally:
        del sys.modules[name]


def choose_device(device: str) -> str:
    """Give "cuda" for "auto" when there is a GPU, else "cpu". Raises `UsageError` for a device that cannot be used."""
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"--device {device}: cannot be used here ({reason}). Use auto or cpu.") from error
    return device


def choose_dtype(dtype: str, device: str, has_int8: bool = False) -> str:
    """Give float32, bfloat16 or int8: for "auto" bfloat16 where it is fast on the device, else int8, else float32.

    `has_int8` says whether the model can be computed in int8. Raises `UsageError` for int8 where it cannot.
    """
    import torch

    is_cpu = torch.device(device).type == "cpu"
    if dtype == "int8" and not (is_cpu and has_int8):
        raise UsageError("--dtype int8: needs a CPU, and transkun with the weights of its wheel. Use auto.")
    if dtype != "auto":
        return dtype
    if is_cpu:
        float32_s, bfloat16_s, int8_s = product_seconds()
        if bfloat16_s * MIN_BFLOAT16_GAIN < float32_s:
            return "bfloat16"
        return "int8" if has_int8 and int8_s * MIN_INT8_GAIN < float32_s else "float32"
    return "bfloat16" if torch.cuda.get_device_capability(device)[0] >= 8 else "float32"


@functools.cache
def product_seconds() -> tuple[float, float, float]:
    """Measure a product of transkun's size in float32, bfloat16 and int8, once; infinite for what is lacking.

    The processor's list of instructions is not enough: one that has them ran bfloat16 at half of float32's rate, and
    one that lacks them at a four-hundredth. So the product is a small one, and a hopeless kind is tried only once.
    """
    import torch

    rows, weight = torch.randn(596, 256), torch.randn(1024, 256)
    linear, halves = torch.nn.functional.linear, (rows.bfloat16(), weight.bfloat16())
    ways: list[Callable[[], Any]] = [lambda: linear(rows, weight), lambda: linear(*halves), _product_of_int8(weight)]
    best = [math.inf] * len(ways)
    for number in range(12):  # in turns, so that a busy moment hits all
        for place, way in enumerate(ways):
            if number and best[place] > 20 * best[0]:
                continue
            began = time.perf_counter()
            with suppress(RuntimeError, NotImplementedError):  # a torch without this product
                way()
                best[place] = min(best[place], time.perf_counter() - began)
    return best[0], best[1], best[2]


def _product_of_int8(weight: Any) -> Callable[[], Any]:
    """A product of as many numbers by oneDNN; calling it raises `RuntimeError` where torch lacks it."""
    import torch

    def lacking() -> Any:
        raise RuntimeError

    values = torch.zeros(596, weight.shape[1], dtype=torch.uint8)
    steps, zeros = torch.ones(len(weight)), torch.zeros(len(weight), dtype=torch.int32)
    with suppress(AttributeError, RuntimeError, NotImplementedError):
        packed = torch.ops.onednn.qlinear_prepack(weight.to(torch.int8), None)
        weights = values, 1.0, 128, packed, steps, zeros, None
        product = torch.ops.onednn.qlinear_pointwise
        return lambda: product(*weights, 1.0, 0, torch.float32, "none", [], "")
    return lacking


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute in one thread while the block runs.

    Small problems gain nothing by more, and where other work has the cores, threads wait for each other at every step:
    the eigenvalues of a matrix of 256 rows took 3.3 s with two threads on two busy cores, 0.008 s with one.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def choose_num_workers(compute: Compute, device: str) -> int:
    """Give how many calls of `infer` run at once: on a CPU one a core, on a GPU two, so that it never waits."""
    import torch

    if torch.device(device).type != "cpu":
        return 2
    return compute.num_threads or max(1, min(torch.get_num_threads(), MAX_CPU_WORKERS))


def choose_num_readers(device: str) -> int:
    """Give how many processes read audio: none on a CPU, where they would take cores from the model."""
    import torch

    return 0 if torch.device(device).type == "cpu" else max(1, min(torch.get_num_threads() - 2, MAX_READERS))
