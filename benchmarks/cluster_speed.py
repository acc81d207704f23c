"""Builds of real recordings on this machine, by `local` and by Ray with two and four workers, on the same cores.

    python benchmarks/cluster_speed.py RECORDINGS [--keep FOLDER] [--repeats 1]

RECORDINGS is a folder of audio. Each build is a process of its own, without Prefect, in a new dataset; the fastest of
the repeats counts. Prints for each its time, its speed beside `local`'s (limit 0.9), and whether the content hash is
the same. Each build starts Ray (about 10 s), which counts.

Then transcription alone, the stage that needs the most, is made again by one worker and by two: their speed, and the
efficiency, which is the speed of two by twice that of one (limit 0.85). Once by the time from the first outcome to the
last, once by the time in which workers worked, which leaves out what waits at the end. The machine must be quiet.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from million import aria_data, measured

BUILDS = {
    "local": (),
    "ray, 2 workers": ("--engine", "ray", "--workers", "2"),
    "ray, 4 workers": ("--engine", "ray", "--workers", "4"),
}
LIMIT, LIMIT_OF_EFFICIENCY = 0.9, 0.85
ALONE = "transcribe"


def build(source: Path, out: Path, options: tuple[str, ...], settings: list[str]) -> float:
    """Build; gives the seconds of the whole command."""
    given = [word for setting in settings for word in ("--set", setting)]
    run = measured(aria_data("build", source, "--out", out, "--no-prefect", "--json", *options, *given), codes=(0, 1))
    return run.wall_s


def content_of(out: Path) -> str:
    from aria_data.manifest import Manifest

    return Manifest(out).content_sha256()


def last_stage(out: Path, name: str) -> dict[str, Any]:
    """A stage of the newest build in `perf.json`."""
    from flows.speed.perf_file import read_builds

    return next(stage for stage in read_builds(out)[-1]["stages"] if stage["stage"] == name)


def compare(source: Path, folder: Path, repeats: int, settings: list[str]) -> None:
    """Print the time of each kind of build, its speed beside the first's, and whether it made the same."""
    fastest: dict[str, float] = {}
    content = ""
    for name, options in BUILDS.items():
        for number in range(repeats):
            out = folder / f"{name} {number}".replace(", ", " ").replace(" ", "_")
            seconds = build(source, out, options, settings)
            fastest[name] = min(seconds, fastest.get(name, seconds))
            content = content or content_of(out)
            is_same = content_of(out) == content
        share = fastest["local"] / fastest[name]
        verdict = "" if name == "local" else f", {share:.2f} of local's speed ({_judged(share, LIMIT)})"
        same = "the same" if is_same else "DIFFERENT"
        print(f"{name}: {fastest[name]:.1f} s{verdict}; content hash {same}", flush=True)
        for stage in ("ingest", ALONE, "measure"):
            _print_stage(last_stage(out, stage))


def _print_stage(stage: dict[str, Any]) -> None:
    busy = {name: one["working_s"] for name, one in stage["workers"].items() if one["working_s"]}
    each = ", ".join(f"{seconds:.1f} s" for seconds in busy.values())
    print(f"  {stage['stage']}: {stage['began_s']:.1f} to {stage['ended_s']:.1f} s; workers worked {each}", flush=True)


def efficiency(source: Path, folder: Path, settings: list[str]) -> None:
    """Print the speed of transcription by one worker and by two, and what the second one adds."""
    before = folder / "local_0"
    by_wall, by_work = {}, {}
    for number in (1, 2):
        out = folder / f"again_{number}"
        shutil.copytree(before, out)
        for gone in (out / "tables" / ALONE, out / "index"):
            shutil.rmtree(gone)
        build(source, out, ("--engine", "ray", "--workers", str(number)), settings)
        stage = last_stage(out, ALONE)
        outcomes_s = stage["ended_s"] - stage["began_s"]
        by_wall[number] = stage["audio_s"] / outcomes_s
        by_work[number] = stage["x_real_time"]
        both = f"{by_wall[number]:.2f} x real time by the wall, {by_work[number]:.2f} at work"
        print(f"{ALONE} alone, {number} worker(s): {both}", flush=True)
    for what, speeds in (("by the wall, with the start of Ray", by_wall), ("at work", by_work)):
        share = speeds[2] / (2 * speeds[1])
        print(f"efficiency of two workers {what}: {share:.2f} ({_judged(share, LIMIT_OF_EFFICIENCY)})")


def _judged(share: float, limit: float) -> str:
    return f"limit {limit}: {'held' if share >= limit else 'MISSED'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", type=Path)
    parser.add_argument("--keep", type=Path, help="Where the datasets stay, for a look at them.")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="STAGE.KEY=VALUE")
    arguments = parser.parse_args()
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    print(f"{sys.executable}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", flush=True)
    with tempfile.TemporaryDirectory() as made:
        folder = arguments.keep or Path(made)
        compare(arguments.recordings, folder, arguments.repeats, arguments.settings)
        efficiency(arguments.recordings, folder, arguments.settings)


if __name__ == "__main__":
    main()
