"""Peak memory of a build on one very long recording.

    python benchmarks/memory.py [--hours 10] [--piano-minutes 4]
    python benchmarks/memory.py --transcribe-only --hours 2      all of it piano, `aria-data transcribe`

Makes a recording of that length (rendered piano between noise), builds a dataset from it in a process of its own, and
prints that process's peak resident memory and the time of each stage.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

RATE = 44_100
LIMIT_GB = 3.0  # the project's own promise for a ten-hour file


def write_recording(path: Path, hours: float, piano_minutes: float) -> None:
    """Write a stereo FLAC of soft noise with piano in the middle."""
    from classifiers.soundfont import render

    generator = np.random.default_rng(0)
    notes = [(0.25 * index, 0.25 * index + 0.3, int(generator.integers(36, 90)), 70) for index in range(240)]
    minute = render(notes)[: 60 * RATE]
    with soundfile.SoundFile(path, "w", RATE, 2) as file:
        total_minutes = round(hours * 60)
        first = max(0, (total_minutes - round(piano_minutes)) // 2)
        for index in range(total_minutes):
            is_piano = first <= index < first + piano_minutes
            block = np.zeros((60 * RATE, 2), np.float32)
            if is_piano:
                block[: len(minute)] = minute
            file.write(block + generator.normal(0, 1e-3, block.shape).astype(np.float32))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=10.0)
    parser.add_argument("--piano-minutes", type=float, default=4.0)
    parser.add_argument("--transcribe-only", action="store_true")
    arguments = parser.parse_args()
    if arguments.transcribe_only:
        transcribe_only(arguments.hours)
        return
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "recordings"
        source.mkdir()
        write_recording(source / "long.flac", arguments.hours, arguments.piano_minutes)
        command = [
            sys.executable,
            "-m",
            "flows.cli",
            "build",
            str(source),
            "--out",
            f"{folder}/dataset",
            "--json",
        ]
        began = time.monotonic()
        run = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        took = time.monotonic() - began
    summary = json.loads(run.stdout)
    peak_gb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    print(f"{arguments.hours:g} h of audio in {took:.0f} s; {summary['num_files']} MIDI files")
    for name, stage in summary["stages"].items():
        speed = stage["audio_s"] / stage["seconds"] if stage["seconds"] else 0.0
        print(f"  {name:12} {stage['seconds']:8.1f} s  {speed:8.1f} x real time")
    print(f"peak resident memory {peak_gb:.2f} GB (limit {LIMIT_GB:g} GB)")


def transcribe_only(hours: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_recording(Path(folder) / "long.flac", hours, hours * 60)
        command = [
            sys.executable,
            "-m",
            "flows.cli",
            "transcribe",
            f"{folder}/long.flac",
            "--out",
            f"{folder}/x.mid",
        ]
        began = time.monotonic()
        run = subprocess.run([*command, "--json"], stdout=subprocess.PIPE, text=True)
        took = time.monotonic() - began
    result = json.loads(run.stdout)
    peak_gb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    print(f"{hours:g} h of piano, {result['num_notes']} notes, in {took:.0f} s: {hours * 3600 / took:.1f}x real time")
    print(f"peak resident memory {peak_gb:.2f} GB")


if __name__ == "__main__":
    main()
