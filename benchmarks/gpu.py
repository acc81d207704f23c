"""The transcriber on a GPU, part by part and end to end. `benchmarks/gpu.sh` runs it within a limit of time.

    python benchmarks/gpu.py --json OUT.json [--device cuda] [--batch-sizes 16 32 64 128 256] [--minutes 60] [--quick]

Parts, in seconds of audio a second (x real time): reading by one process; everything from files; spectrum, network and
decoder by batch size in bfloat16 and float32; the network as a CUDA graph; copying windows to the device from pageable
and from pinned memory; joining. With use and memory of the GPU, and the share of this device's matrix rate. A batch
that does not fit is noted, and the next one measured. Audio is rendered here. OUT.json is written after each part.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ratios import TRANSKUN_GFLOP_A_SECOND, render
from transcription import gpu_watched, matrix_rate

from aria_data.audio import AudioReader
from aria_data.transcribe import Compute, Span, TranscribeConfig, backends, transcribe_spans
from aria_data.transcribe.backends.intervals import decode_batch

BATCH_SIZES = (16, 32, 64, 128, 256)


class Findings:
    """Figures by name, written whole whenever one is added."""

    def __init__(self, path: Path):
        self.path, self.values = path, dict[str, Any]()

    def add(self, name: str, value: Any) -> None:
        self.values[name] = value
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(self.values, indent=1))
        partial.rename(self.path)
        print(f"{name}: {value}", flush=True)


class Device:
    """Waits for the device, so that seconds are those of work done."""

    def __init__(self, name: str, times: int):
        import torch

        self.name, self.is_cuda, self.times = name, torch.device(name).type == "cuda", times

    def seconds(self, work: Callable[[], object]) -> float:
        """Give the least of `times` runs, after one that is not counted where there are several."""
        import torch

        took = []
        for _ in range(self.times + (self.times > 1)):
            if self.is_cuda:
                torch.cuda.synchronize()
            began = time.perf_counter()
            work()
            if self.is_cuda:
                torch.cuda.synchronize()
            took.append(time.perf_counter() - began)
        return min(took[-self.times :])

    def peak_gb(self) -> float:
        """Give the peak of the memory since the last call."""
        import torch

        if not self.is_cuda:
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        peak = torch.cuda.max_memory_allocated() / 1e9
        torch.cuda.reset_peak_memory_stats()
        return round(peak, 2)


def windows_of(path: Path, model: Any, number: int) -> np.ndarray:
    """Give windows of a file, (number, window, channels), the file over and over."""
    with AudioReader(path, model.sample_rate, model.num_channels) as reader:
        waveform = np.concatenate(list(reader.blocks()))
    long = np.resize(waveform, (model.window + number * model.hop, model.num_channels))
    return np.stack([long[place * model.hop :][: model.window] for place in range(number)])


def reading(path: Path, model: Any) -> float:
    """Give how many seconds of audio one process reads in a second."""
    began, num_samples = time.perf_counter(), 0
    with AudioReader(path, model.sample_rate, model.num_channels) as reader:
        for block in reader.blocks():
            num_samples += len(block)
    return num_samples / model.sample_rate / (time.perf_counter() - began)


def copying(windows: np.ndarray, device: Device) -> dict[str, float]:
    """Give GB/s to the device, from pageable memory and from pinned, two buffers in turns."""
    import torch

    plain, size = torch.from_numpy(windows), windows.nbytes / 1e9
    found = {"pageable": size / device.seconds(lambda: plain.to(device.name))}
    if device.is_cuda:
        pinned = [plain.pin_memory(), plain.clone().pin_memory()]
        stream = torch.cuda.Stream()

        def both() -> None:
            with torch.cuda.stream(stream):
                for each in pinned:
                    each.to(device.name, non_blocking=True)

        found["pinned, double-buffered"] = 2 * size / device.seconds(both)
    return found


def parts(model: Any, windows: np.ndarray, device: Device) -> dict[str, float]:
    """Give x real time of the spectrum, the network and the decoder for one batch."""
    import torch

    network, audio_s = model.network, len(windows) * model.hop / model.sample_rate
    waveforms = torch.from_numpy(np.ascontiguousarray(windows.transpose(0, 2, 1))).to(device.name)
    with torch.inference_mode():
        times = {"spectrum": device.seconds(lambda: network._spectrum(waveforms))}
        times["spectrum and network"] = device.seconds(lambda: network.infer(waveforms))
        scores = network.infer(waveforms)
        times["decoder on the device"] = device.seconds(lambda: decode_batch(scores))
    times["all, from samples to notes"] = device.seconds(lambda: model.infer(windows))
    return {name: round(audio_s / took, 1) for name, took in times.items()}


def graphed(model: Any, windows: np.ndarray, device: Device) -> float:
    """Give x real time of the network as a CUDA graph, whose kernels start without Python."""
    import torch

    waveforms = torch.from_numpy(np.ascontiguousarray(windows.transpose(0, 2, 1))).to(device.name)
    stream = torch.cuda.Stream()
    with torch.inference_mode(), torch.cuda.stream(stream):
        features = model.network._spectrum(waveforms)

        def network() -> Any:
            tokens = model.network._patches(features)
            for block in model.network._blocks:
                tokens = block(tokens, model.network._rows)
            return tokens

        for _ in range(3):
            network()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            network()
        took = device.seconds(graph.replay)
    return len(windows) * model.hop / model.sample_rate / took


def joining(model: Any, windows: np.ndarray) -> float:
    """Give x real time of joining what the windows gave."""
    outputs = model.infer(windows)
    decoder, began = model.decoder(), time.perf_counter()
    for output in outputs:
        decoder.add(output)
    decoder.finish()
    return len(windows) * model.hop / model.sample_rate / (time.perf_counter() - began)


def end_to_end(model: Any, path: Path, minutes: float, gflops: float) -> dict[str, float]:
    """Transcribe a file over and over, that long; give speed, use and memory of the GPU, share of the rate."""
    with AudioReader(path, model.sample_rate, 1) as reader:
        file_s = sum(len(block) for block in reader.blocks()) / model.sample_rate
    number = max(2, round(minutes * 60 / file_s))
    with gpu_watched() as samples:
        began = time.perf_counter()
        results = list(transcribe_spans(model, [Span(f"{place}", path) for place in range(number)]))
        took = time.perf_counter() - began
    errors = [str(result) for _, result in results if isinstance(result, Exception)]
    speed = number * file_s / took
    found = {"x real time": speed, "readers": model.num_readers, "errors": len(errors)}
    found["share of the matrix rate"] = speed * TRANSKUN_GFLOP_A_SECOND / gflops
    if samples:
        use, memory = np.array(samples).T
        found |= {"GPU use, %": float(use.mean()), "GPU memory, GB": float(memory.max()) / 1000}
    return {name: round(value, 3) for name, value in found.items()}


def loaded(device: str, dtype: str, batch_size: int) -> Any:
    return backends.load(TranscribeConfig(), Compute(device, dtype, batch_size))


def measure(options: argparse.Namespace, folder: Path, found: Findings) -> None:
    """Measure part after part, the most wanted first."""
    device = Device(options.device, 1 if options.quick else 3)
    files = render(folder, 4 if options.quick else 180)
    size = 512 if options.quick else 4096
    rates = {dtype: round(matrix_rate(dtype, options.device, size)) for dtype in ("float32", "bfloat16")}
    found.add("matrix rate, GFLOP/s", rates)
    model = loaded(options.device, options.dtype, options.batch_sizes[0])
    found.add("reading, x real time a process", round(reading(files["mp3"], model), 1))
    found.add("end to end from mp3", end_to_end(model, files["mp3"], options.minutes, max(rates.values())))
    for dtype in (options.dtype,) if options.quick else ("bfloat16", "float32"):
        for batch_size in options.batch_sizes:
            name = f"{dtype}, {batch_size} windows"
            try:
                if (dtype, batch_size) != (options.dtype, options.batch_sizes[0]):  # that one is loaded
                    model = loaded(options.device, dtype, batch_size)
                windows = windows_of(files["wav"], model, batch_size)
                device.peak_gb()
                found.add(name, parts(model, windows, device) | {"peak, GB": device.peak_gb()})
                if device.is_cuda:
                    found.add(f"{name}, CUDA graph", round(graphed(model, windows, device), 1))
            except RuntimeError as error:  # out of memory, or a product that a graph cannot hold: the next one may go
                found.add(f"{name}, failed", str(error).splitlines()[0])
    found.add("copying, GB/s", copying(windows, device))
    found.add("joining, x real time", round(joining(model, windows), 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="auto", choices=("auto", "float32", "bfloat16"))
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=BATCH_SIZES)
    parser.add_argument("--minutes", type=float, default=120.0, help="of audio, end to end")
    parser.add_argument("--quick", action="store_true", help="seconds of audio and one small batch: a rehearsal")
    options = parser.parse_args()
    if options.quick:
        options.batch_sizes, options.minutes = (1,), 0.1
    found = Findings(options.json)
    asked = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    found.add("made", {"device": options.device, "on": time.strftime("%Y-%m-%d"), "commit": asked.stdout.strip()})
    try:
        with tempfile.TemporaryDirectory() as folder:
            measure(options, Path(folder), found)
        found.add("is whole", True)
    except KeyboardInterrupt:
        sys.exit(f"the time is up: {options.json} holds what was measured until then")


if __name__ == "__main__":
    main()
