"""What `make benchmark` runs: the speed of this project against named peers and limits, each pair in one run.

    python benchmarks/ratios.py [--json FILE] [--against FILE] [--quick]

Everything is made here: 43 s of rendered piano. Figures are processor seconds (user and system) of whole processes, or
of a function in this one, the least of three; a ratio above 1 is faster than the peer. Prints one table. With
`--against`, a file that `--json` wrote on the same machine, it ends with 1 where a ratio is less than half of the one
there. The last line says how long the run took itself. `--quick` uses seconds of audio, and leaves transkun's command
out: a rehearsal.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
SECONDS, QUICK_SECONDS = 43, 4
TRANSKUN_GFLOP_A_SECOND = 23.0  # the published network, without overlap
MIN_SHARE_OF_BEFORE = 0.5


@dataclass(frozen=True)
class Ratio:
    """One line of the table. `ours` and `theirs` are processor seconds for the same work; `ratio` is theirs / ours."""

    name: str
    ours_s: float
    theirs_s: float
    against: str

    @property
    def ratio(self) -> float:
        return self.theirs_s / self.ours_s


def cpu_s(command: list[str]) -> float:
    """Run a command; give its processor seconds. Ends with its errors where it fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def all_cpu_s() -> float:
    """Give the processor seconds of this process and of those that it has started."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def least_s(work: Callable[[], object], times: int = 3) -> float:
    """Give the processor seconds of the fastest of several calls."""
    took = []
    for _ in range(times):
        began = time.process_time()
        work()
        took.append(time.process_time() - began)
    return min(took)


def render(folder: Path, seconds: float) -> dict[str, Path]:
    """Write a piece of rendered piano as WAV, FLAC and MP3; give the files by their ending."""
    import soundfile

    from flows.demo.recordings import _solo_sound
    from flows.demo.scores import load_scores
    from flows.demo.sounds import SAMPLE_RATE, to_16_bit

    score = max(load_scores().values(), key=lambda each: len(each.notes))
    _, waveform = _solo_sound(score, 0)
    waveform = to_16_bit(np.resize(waveform, (int(seconds * SAMPLE_RATE), *waveform.shape[1:])))
    files = {}
    for ending in ("wav", "flac", "mp3"):
        files[ending] = folder / f"piano.{ending}"
        soundfile.write(files[ending], waveform, SAMPLE_RATE)
    return files


def first_seconds(audio: Path, folder: Path) -> Path:
    """Write the beginning of a WAV file as one of its own."""
    import soundfile

    beginning, rate = soundfile.read(audio, frames=QUICK_SECONDS * soundfile.info(audio).samplerate)
    soundfile.write(folder / "short.wav", beginning, rate)
    return folder / "short.wav"


def transcription(audio: Path, folder: Path, with_peer: bool, dtype: str) -> list[Ratio]:
    """Whole commands, starts and imports included; and the network against the products it is made of."""
    import torch

    from aria_data.transcribe import Compute, TranscribeConfig, backends

    command = [sys.executable, "-m", "flows.cli", "transcribe", "--out", str(folder / "ours"), "--overwrite"]
    command += ["--dtype", dtype]
    found = []
    if with_peer:
        cpu_s([*command, str(first_seconds(audio, folder))])  # compiled code is kept from here on
        peer = [sys.executable, str(HERE / "transkun_command.py"), str(audio), str(folder / "peer.mid")]
        found.append(Ratio("transcribe a file", cpu_s([*command, str(audio)]), cpu_s(peer), "transkun's own command"))
    torch.set_num_threads(1)
    model = backends.load(TranscribeConfig(), Compute("cpu", dtype))
    window = np.random.default_rng(0).normal(0, 0.1, (1, model.window, model.num_channels)).astype(np.float32)
    model.infer(window)
    rows, weight = torch.randn(2048, 1024), torch.randn(1024, 1024)
    product_s = least_s(lambda: torch.nn.functional.linear(rows, weight), 9)
    gflop = TRANSKUN_GFLOP_A_SECOND * model.window / model.sample_rate
    limit_s = product_s * gflop / (2 * 2048 * 1024 * 1024 / 1e9)
    ours_s = least_s(lambda: model.infer(window))
    return [*found, Ratio(f"transcribe a window ({model.precision})", ours_s, limit_s, "its float32 products alone")]


def decoding(files: dict[str, Path]) -> list[Ratio]:
    """Decode, describe and resample as a build does, against a loop that only decodes."""
    import av

    from aria_data.audio.whole import WholeFile

    def bare(path: Path) -> None:
        with av.open(str(path)) as container:
            for _ in container.decode(audio=0):
                pass

    found = []
    for ending in ("flac", "mp3"):
        path = files[ending]
        ours_s, bare_s = least_s(lambda path=path: list(WholeFile(path, 16_000))), least_s(lambda path=path: bare(path))
        found.append(Ratio(f"decode and describe {ending}", ours_s, bare_s, "bare decoding"))
    return found


def classification(path: Path) -> list[Ratio]:
    """Decode and classify in one thread, against GiantMIDI's detector and against real time."""
    from giantmidi_detector import both_s

    ours_s, theirs_s, audio_s = both_s(path)
    return [
        Ratio("classify mp3, with decoding", ours_s, theirs_s, "GiantMIDI's detector"),
        Ratio("classify mp3, a core", ours_s, audio_s, "real time"),
    ]


def flow(items: int, work_s: float) -> list[Ratio]:
    """The flow and its tables against a bare loop over the same functions, in seconds of the clock."""
    command = [sys.executable, str(HERE / "overhead.py"), "--items", str(items), "--work-s", str(work_s)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    whole, bare = (float(found) for found in re.findall(r"(?:without that|bare loop) +([0-9.]+) s", told)[::-1])
    return [Ratio("a build, once it has begun", whole, bare, "bare loop (clock)")]


def table(ratios: list[Ratio]) -> str:
    lines = [f"{'':36} {'ours':>9} {'theirs':>9} {'ratio':>8}  against"]
    for each in ratios:
        lines.append(f"{each.name:36} {each.ours_s:8.2f}s {each.theirs_s:8.2f}s {each.ratio:8.2f}  {each.against}")
    return "\n".join(lines)


def halved(ratios: list[Ratio], before: dict[str, float]) -> list[str]:
    """Name the ratios that are less than half of what they were."""
    return [each.name for each in ratios if each.ratio < MIN_SHARE_OF_BEFORE * before.get(each.name, 0.0)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--against", type=Path, help="figures of before, from the same machine")
    parser.add_argument("--dtype", default="auto", help="of the transcriber: auto, float32, bfloat16 or int8")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = render(folder, QUICK_SECONDS if options.quick else SECONDS)
        ratios = decoding(files) + classification(files["mp3"]) + flow(*((2, 0.2) if options.quick else (4, 4.0)))
        ratios += transcription(files["wav"], folder, with_peer=not options.quick, dtype=options.dtype)
    asked = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True)
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    print(f"{machine}, {time.strftime('%Y-%m-%d')}, commit {asked.stdout.strip()}\n{table(ratios)}")
    print(f"this run: {time.monotonic() - began:.0f} s by the clock, {all_cpu_s():.0f} s of the processor")
    if options.json:
        rows = {each.name: {**asdict(each), "ratio": each.ratio} for each in ratios}
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(rows, indent=1))
    if options.against:
        before = {name: each["ratio"] for name, each in json.loads(options.against.read_text()).items()}
        slower = halved(ratios, before)
        if slower:
            sys.exit(f"less than half of before: {', '.join(slower)}. See docs/performance.md.")


if __name__ == "__main__":
    main()
