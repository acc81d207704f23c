"""Builds of real recordings on this machine, by `local` and by Ray with two and four workers, on the same cores.

    python benchmarks/cluster_speed.py RECORDINGS [--keep FOLDER] [--repeats 1] [--set STAGE.KEY=VALUE]

RECORDINGS is a folder of audio. Each build is a process of its own, without Prefect, in a new dataset; the fastest of
the repeats counts. Prints for each its time, its speed beside `local`'s (limit 0.9), and whether the content hash is
the same. Each build by Ray starts Ray (about 10 s, more on a busy machine), so there are two speeds: of the whole
command, and without that start, which is the steady one and has the limit. Workers load their own model: that counts.

Then transcription alone, the stage that needs the most, is made again by one worker and by two: their speed, and the
efficiency, which is the speed of two by twice that of one (limit 0.85). Once by the time from the start of the work to
its last outcome, without the start of Ray; once by the time in which workers worked, which leaves out what waits at the
end. Beside it stands what the machine itself gives: how much slower a product of matrices is where the other core makes
one, too. The machine must be quiet; where it is not, the seconds of the processor that workers took say more: as many
with two workers as with one are an efficiency of 1.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from million import aria_data
from million_cluster import Watch

BUILDS = {
    "local": (),
    "ray, 2 workers": ("--engine", "ray", "--workers", "2"),
    "ray, 4 workers": ("--engine", "ray", "--workers", "4"),
}
LIMIT, LIMIT_OF_EFFICIENCY = 0.9, 0.85
ALONE = "transcribe"


@dataclass(frozen=True)
class Timed:
    """What a build took."""

    wall_s: float  # the whole command
    start_s: float  # of which Ray needed to start
    cpu_s: dict[str, float]  # of the processor, by kind of process

    @property
    def steady_s(self) -> float:
        return self.wall_s - self.start_s


def build(source: Path, out: Path, options: tuple[str, ...], settings: list[str]) -> Timed:
    """Build; some files may have failed."""
    given = [word for setting in settings for word in ("--set", setting)]
    began = time.perf_counter()
    command = aria_data("build", source, "--out", out, "--no-prefect", "--json", *options, *given)
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    watch = Watch(psutil.Process(run.pid))
    said = run.communicate()[1]
    wall_s, cpu_s = time.perf_counter() - began, watch.end()
    if run.returncode not in (0, 1):
        raise SystemExit(said)
    found = re.search(r"connected in ([\d.]+) s", said)
    return Timed(wall_s, float(found[1]) if found else 0.0, cpu_s)


def content_of(out: Path) -> str:
    from aria_data.manifest import Manifest

    return Manifest(out).content_sha256()


def last_stage(out: Path, name: str) -> dict[str, Any]:
    """A stage of the newest build in `perf.json`."""
    from flows.speed.perf_file import read_builds

    return next(stage for stage in read_builds(out)[-1]["stages"] if stage["stage"] == name)


def compare(source: Path, folder: Path, repeats: int, settings: list[str]) -> None:
    """Print the time of each kind of build, its speed beside the first's, and whether it made the same."""
    fastest: dict[str, Timed] = {}
    content = ""
    for name, options in BUILDS.items():
        is_same = True
        for number in range(repeats):
            out = folder / f"{name} {number}".replace(", ", " ").replace(" ", "_")
            took = build(source, out, options, settings)
            fastest[name] = min(took, fastest.get(name, took), key=lambda one: one.steady_s)
            content = content or content_of(out)
            is_same &= content_of(out) == content
        took, local = fastest[name], fastest["local"]
        print(f"{name}: {took.wall_s:.1f} s, of which {took.start_s:.1f} s Ray's start", flush=True)
        print(f"  content hash {'the same' if is_same else 'DIFFERENT'}; of the processor: {_listed(took.cpu_s)}")
        if took is not local:
            whole, steady = local.wall_s / took.wall_s, local.wall_s / took.steady_s
            print(f"  {steady:.2f} of local's speed ({_judged(steady, LIMIT)}); with Ray's start {whole:.2f}")
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
        took = build(source, out, ("--engine", "ray", "--workers", str(number)), settings)
        stage = last_stage(out, ALONE)
        by_wall[number] = stage["audio_s"] / (stage["ended_s"] - stage["began_s"] - took.start_s)
        by_work[number] = stage["x_real_time"]
        both = f"{by_wall[number]:.2f} x real time by the wall, {by_work[number]:.2f} at work"
        print(f"{ALONE} alone, {number} worker(s): {both}; of the processor: {_listed(took.cpu_s)}", flush=True)
        _print_stage(stage)
    for what, speeds in (("by the wall, without the start of Ray", by_wall), ("at work", by_work)):
        share = speeds[2] / (2 * speeds[1])
        print(f"efficiency of two workers {what}: {share:.2f} ({_judged(share, LIMIT_OF_EFFICIENCY)})")
    print(f"efficiency of two cores in products of matrices: {_of_machine():.2f}")


PRODUCTS = """
import time, torch
torch.set_num_threads(1)
one = torch.rand(1024, 1024)
ends, count = time.perf_counter() + 8, 0
while time.perf_counter() < ends:
    one @ one
    count += 1
print(count)
"""


def _of_machine() -> float:
    """The speed of two processes that do nothing but compute, each in one thread, by twice that of one."""
    speeds = []
    for number in (1, 2):
        made = [subprocess.Popen([sys.executable, "-c", PRODUCTS], stdout=subprocess.PIPE) for _ in range(number)]
        speeds.append(sum(int(one.communicate()[0]) for one in made))
    return speeds[1] / (2 * speeds[0])


def _listed(cpu_s: dict[str, float]) -> str:
    return ", ".join(f"{kind} {seconds:.0f} s" for kind, seconds in cpu_s.items())


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
