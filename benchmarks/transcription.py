"""Accuracy and speed of a transcriber against the command line of transkun, on audio with true MIDI beside it.

    python benchmarks/transcription.py FOLDER                 this project only
    python benchmarks/transcription.py FOLDER --peer          and transkun's own command, one process a file
    python benchmarks/transcription.py FOLDER --device cuda --repeat 100     a long run on a GPU

FOLDER holds pairs `name.<audio>` and `name.mid`. This project runs as its users run it: one command for all files, in a
process of its own, start and imports included. Prints the machine's matrix rate, accuracy by file, both speeds, their
ratio, and where the time goes.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from aria_data.audio import AudioReader, probe
from aria_data.midi import read_midi
from aria_data.midi.accuracy import NoteAccuracy, compare_notes
from aria_data.transcribe import Compute, TranscribeConfig, backends

GFLOP_A_SECOND = 23.0  # the published network, a second of audio without overlap
HERE = Path(__file__).parent


def pairs_in(folder: Path) -> list[tuple[Path, Path]]:
    """Give the audio files that have a .mid beside them."""
    return [
        (audio, audio.with_suffix(".mid"))
        for audio in sorted(folder.iterdir())
        if audio.suffix != ".mid" and audio.with_suffix(".mid").exists()
    ]


def matrix_rate(dtype: str, device: str, size: int = 4096) -> float:
    """Give GFLOP/s of a large product, the best of five. A kind of number that a processor lacks is hundreds of times
    slower: it gets one product, of a quarter of the rows and columns."""
    import torch

    def seconds(size: int) -> float:
        left, right = (torch.randn(size, size, dtype=getattr(torch, dtype), device=device) for _ in range(2))
        began = time.perf_counter()
        float((left @ right)[0, 0])
        return time.perf_counter() - began

    small = seconds(size // 4)
    if small > 1.0:
        return 2 * (size // 4) ** 3 / small / 1e9
    return 2 * size**3 / min(seconds(size) for _ in range(6)) / 1e9


def run(command: list[str]) -> tuple[float, float]:
    """Run a command; give its seconds and its CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    ended = subprocess.run(command, capture_output=True, text=True)
    took = time.perf_counter() - began
    if ended.returncode:
        sys.exit(f"{' '.join(command)}\n{ended.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@contextmanager
def gpu_watched() -> Iterator[list[tuple[float, float]]]:
    """Sample utilisation in % and memory in MB of the GPU, twice a second, while the block runs."""
    samples: list[tuple[float, float]] = []
    if not shutil.which("nvidia-smi"):
        yield samples
        return
    command = ["nvidia-smi", "--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits", "-lms", "500"]
    watcher = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield samples
    finally:
        watcher.terminate()
        lines = (watcher.communicate()[0] or "").splitlines()
        samples += [(float(a), float(b)) for a, _, b in (line.partition(",") for line in lines) if b.strip()]


def run_ours(audio: list[Path], out: Path, arguments: argparse.Namespace) -> tuple[float, float]:
    command = [sys.executable, "-m", "flows.cli", "transcribe", *map(str, audio), "--out", str(out), "--json"]
    command += ["--transcriber", arguments.transcriber, "--device", arguments.device, "--dtype", arguments.dtype]
    command += ["--hop-s", str(arguments.hop_s), "--batch-size", str(arguments.batch_size), "--overwrite"]
    return run([*command, "--checkpoint", arguments.checkpoint] if arguments.checkpoint else command)


def run_peer(audio: list[Path], out: Path) -> tuple[float, float]:
    """Run transkun's command. It gets 16-bit WAV, which pydub reads without ffmpeg, written before the clock starts."""
    import soundfile

    took = cpu = 0.0
    for path in audio:
        with AudioReader(path, 44_100, 2) as reader, tempfile.TemporaryDirectory() as folder:
            wave = Path(folder) / "audio.wav"
            soundfile.write(wave, np.concatenate(list(reader.blocks())), 44_100, subtype="PCM_16")
            command = [sys.executable, str(HERE / "transkun_command.py"), str(wave), str(out / f"{path.stem}.mid")]
            seconds, cpu_seconds = run(command)
        took, cpu = took + seconds, cpu + cpu_seconds
        print(f"  peer: {path.name} {seconds:.1f} s", file=sys.stderr, flush=True)
    return took, cpu


def accuracy(pairs: list[tuple[Path, Path]], out: Path) -> dict[str, NoteAccuracy]:
    return {audio.stem: compare_notes(read_midi(midi), read_midi(out / f"{audio.stem}.mid")) for audio, midi in pairs}


def print_accuracy(name: str, found: dict[str, NoteAccuracy]) -> None:
    print(f"\n{name:36} {'onset':>8} {'on+off':>8} {'on+rel':>8} {'on+vel':>8} {'pedal':>8}")
    fields = ("onset_f1", "onset_offset_f1", "onset_release_f1", "onset_velocity_f1", "pedal_f1")
    for stem, one in found.items():
        print(f"{stem[:36]:36} " + " ".join(f"{getattr(one, field):8.4f}" for field in fields))
    means = [np.nanmean([getattr(one, field) for one in found.values()]) for field in fields]
    print(f"{'mean':36} " + " ".join(f"{mean:8.4f}" for mean in means))


def profile(audio: Path, arguments: argparse.Namespace) -> None:
    """Print how long each part of the work takes in one thread, and each operation's share."""
    import torch
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as torch_profile

    config = TranscribeConfig(arguments.transcriber, arguments.hop_s, arguments.checkpoint)
    model = backends.load(config, Compute(arguments.device, arguments.dtype, arguments.batch_size, 1))
    with AudioReader(audio, model.sample_rate, model.num_channels) as reader:
        waveform = np.concatenate(list(reader.blocks()))[: model.window]
    window = np.pad(waveform, ((0, model.window - len(waveform)), (0, 0)))[None]
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    model.infer(window)
    began = time.perf_counter()
    output = model.infer(window)
    infer_s = time.perf_counter() - began
    with torch_profile(activities=[ProfilerActivity.CPU]) as found:
        model.infer(window)
    began = time.perf_counter()
    decoder = model.decoder()
    decoder.add(output[0])
    join_s = time.perf_counter() - began
    began = time.perf_counter()
    with AudioReader(audio, model.sample_rate, model.num_channels) as reader:
        read = sum(len(block) for block in reader.blocks()) / model.sample_rate
    read_s = (time.perf_counter() - began) * model.hop / model.sample_rate / read
    torch.set_num_threads(before)
    print(
        f"\none window on one core: infer {infer_s:.3f} s, join {join_s:.3f} s, "
        f"decode and resample its audio {read_s:.3f} s"
    )
    rows = sorted(found.key_averages(), key=lambda row: -row.self_cpu_time_total)
    total = sum(row.self_cpu_time_total for row in rows)
    for row in rows[:10]:
        print(f"  {row.key[:48]:48} {row.self_cpu_time_total / total:6.1%} of the operations' time")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--transcriber", default="transkun", choices=backends.NAMES)
    parser.add_argument("--checkpoint", default="")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--hop-s", type=float, default=0.0)
    parser.add_argument("--batch-size", type=int, default=0)
    parser.add_argument("--peer", action="store_true", help="also run transkun's own command")
    parser.add_argument("--repeat", type=int, default=1, help="transcribe every file so often, for a long run")
    arguments = parser.parse_args()
    pairs = pairs_in(arguments.folder)
    if not pairs:
        sys.exit(f"{arguments.folder}: holds no pairs of audio and .mid")
    import torch

    device = "cpu" if arguments.device == "cpu" or not torch.cuda.is_available() else "cuda"
    rates = {dtype: matrix_rate(dtype, device) for dtype in ("float32", "bfloat16")}
    print(f"{os.cpu_count()} cores, {device}: " + ", ".join(f"{k} {v:.0f} GFLOP/s" for k, v in rates.items()))
    total_s = sum(probe(audio).duration_s or 0.0 for audio, _ in pairs)
    with tempfile.TemporaryDirectory() as folder:
        ours, peer = Path(folder) / "ours", Path(folder) / "peer"
        peer.mkdir()
        audio = repeated([audio for audio, _ in pairs], arguments.repeat, Path(folder))
        run_ours(audio[:1], ours, arguments)  # compiled code is kept from here on
        with gpu_watched() as samples:
            took, cpu = run_ours(audio, ours, arguments)
        audio_s = total_s * arguments.repeat
        print_accuracy("ours", accuracy(pairs, ours))
        rtfx, floor = audio_s / took, max(rates.values()) / GFLOP_A_SECOND
        print(
            f"\nours: {audio_s:.0f} s of audio in {took:.1f} s, {rtfx:.2f}x real time, "
            f"{cpu / audio_s:.3f} CPU-s a second"
        )
        print(f"share of the floor ({floor:.0f}x real time at {max(rates.values()):.0f} GFLOP/s): {rtfx / floor:.1%}")
        print(
            f"peak memory of the largest process: {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6:.2f} GB"
        )
        if samples and device == "cuda":
            use, memory = np.array(samples).T
            thirds = [f"{part.max() / 1000:.1f}" for part in np.array_split(memory, 3)]
            print(f"GPU: busy {use.mean():.0f} % of the run, start included; memory by thirds {', '.join(thirds)} GB")
        if arguments.peer:
            peer_took, peer_cpu = run_peer([audio for audio, _ in pairs], peer)
            print_accuracy("transkun's command", accuracy(pairs, peer))
            peer_rtfx = total_s / peer_took
            print(f"\npeer: {peer_took:.1f} s, {peer_rtfx:.2f}x real time, {peer_cpu / total_s:.3f} CPU-s a second")
            print(f"ratio ours / peer: {rtfx / peer_rtfx:.2f}")
    profile(pairs[0][0], arguments)


def repeated(audio: list[Path], times: int, folder: Path) -> list[Path]:
    """Give each file so many times; repetitions are links with names of their own."""
    found = list(audio)
    for number in range(1, times):
        for path in audio:
            link = folder / f"{path.stem}~{number}{path.suffix}"
            link.symlink_to(path.resolve())
            found.append(link)
    return found


if __name__ == "__main__":
    main()
