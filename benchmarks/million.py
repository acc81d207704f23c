"""Builds of a thousand to a million recordings with the real tables and engine: what each costs besides its work.

    python benchmarks/million.py [--sizes 1000 10000] [--keep FOLDER] [--picture docs/scale.svg]

The work of each stage is replaced by its result, without the wait; everything else is a build as a user runs it,
without Prefect's records. For each size, each in processes of its own: the first build; a build with nothing new, by
the note of the last one and without that note; a build with 1,000 new ones (a tenth of fewer than 10,000); then, as
commands, `remove` of one segment and `subset`, and the next build. Up to `--kill-up-to` recordings, a first build in
another folder that is killed half-way and started again.

Prints seconds of CPU (user and system) and of the wall, the peak memory of the largest process, bytes of the tables,
and the exponent with which a step grows from one size to the next. Copies are not looked for (`near_duplicates.py`
measures that).
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from million_plot import draw
from million_world import SETTINGS, add_candidates, replace_work

FIRST, NOTED, LOOKED, NEW = "first build", "nothing new", "nothing new, no note", "1,000 new"
REMOVE, SUBSET, AFTER = "remove one segment", "subset", "build after these"
KILLED, RESUMED = "killed half-way", "resumed"
STEPS = (FIRST, NOTED, LOOKED, NEW, REMOVE, SUBSET, AFTER)


@dataclass
class Run:
    """What a process took."""

    cpu_s: float
    wall_s: float
    peaks_mb: dict[str, float]  # by the program of each process
    said: str = ""

    @property
    def peak_mb(self) -> float:
        return max(self.peaks_mb.values(), default=0.0)


def one_build(root: Path, profile: str) -> None:
    """Build, and print how many files there are. For a process of its own."""
    replace_work()
    from flows.cli.jobs import run_build

    if profile:
        import cProfile

        with cProfile.Profile() as profiler:
            summary = run_build(None, root, settings=SETTINGS, with_prefect=False)
        profiler.dump_stats(profile)
    else:
        summary = run_build(None, root, settings=SETTINGS, with_prefect=False)
    stages = {name: round(stage.seconds, 2) for name, stage in summary.stages.items()}
    print(json.dumps({"files": summary.num_files, "version": summary.version, "stages": stages}))


def build_command(root: Path, profile: str = "") -> list[str]:
    return [sys.executable, __file__, "--build", str(root), "--profile", profile]


def aria_data(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "flows.cli", *map(str, arguments)]


def measured(
    command: list[str], kill_when: Callable[[], bool] = lambda: False, codes: Sequence[int] = (0, -signal.SIGKILL)
) -> Run:
    """Run a command; what it and its children took. Memory is the highest that Linux saw of each process (`VmHWM`)."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    peaks: dict[str, float] = {}
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        ended = threading.Event()
        watch = threading.Thread(target=_watch, args=(process, peaks, ended, kill_when), daemon=True)
        watch.start()
        said = process.communicate()[0]
        ended.set()
        watch.join()
        errors.seek(0)
        if process.returncode not in codes:
            raise SystemExit(errors.read())
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    return Run(cpu_s, time.perf_counter() - began, peaks, (said.strip().splitlines() or [""])[-1])


def _watch(
    process: subprocess.Popen[str], peaks: dict[str, float], ended: threading.Event, kill_when: Callable[[], bool]
) -> None:
    while not ended.wait(0.2):
        for number, name, peak_mb in _family(process.pid):
            place = name if number == process.pid else f"child {name}"
            peaks[place] = max(peaks.get(place, 0.0), peak_mb)
        if kill_when():
            process.kill()
            return


def _family(first: int) -> list[tuple[int, str, float]]:
    """A process and its children's children: number, name, peak memory in MB."""
    found, waiting = [], [first]
    while waiting:
        number = waiting.pop()
        try:
            status = dict(line.split(":", 1) for line in Path(f"/proc/{number}/status").read_text().splitlines())
            found.append((number, status["Name"].strip(), float(status["VmHWM"].split()[0]) / 1024))
            waiting += map(int, Path(f"/proc/{number}/task/{number}/children").read_text().split())
        except (OSError, KeyError):  # it ended
            continue
    return found


def show(name: str, number: int, run: Run) -> None:
    each = f"{1000 * run.cpu_s / number:8.2f} ms each"
    print(f"  {name:24} {run.cpu_s:8.1f} s CPU {each} {run.wall_s:8.1f} s wall {run.peak_mb:7.0f} MB peak", end="")
    print(f"  {run.said if len(run.said) < 400 else ''}", flush=True)


def table_bytes(root: Path) -> dict[str, int]:
    tables = {path.name: path for path in [*(root / "tables").iterdir(), root / "manifest", root / "index"]}
    return {
        name: sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) for name, path in tables.items()
    }


def simulate(root: Path, number: int, profile: str, steps: Sequence[str]) -> Iterator[tuple[str, Run]]:
    """These steps with `number` recordings, in the order of `STEPS`; they go on where earlier ones ended."""
    num_new = min(1000, max(1, number // 10))
    print(f"{number:,} recordings", flush=True)
    for name in STEPS:
        if name not in steps:
            continue
        command = build_command(root, f"{profile}-{number}-{name.replace(' ', '_')}" if profile else "")
        if name == FIRST:
            add_candidates(root, 0, number)
        elif name == LOOKED:
            (root / "index" / "last_build.json").unlink(missing_ok=True)
        elif name == NEW:
            add_candidates(root, number, num_new)
        elif name == REMOVE:
            command = aria_data("remove", root, _some_segment(root), "--reason", "a benchmark")
        elif name == SUBSET:
            command = aria_data("subset", root, "early", "--where", "composition_id < 'chopin:op2'")
        run = measured(command)
        show(name, num_new if name == NEW else number, run)
        yield name, run


def _some_segment(root: Path) -> str:
    from aria_data.manifest import Manifest

    rows = Manifest(root).reader(["segment_id", "removed_in"]).read_next_batch()
    return str(rows.filter(rows["removed_in"].is_null())["segment_id"][0])


def killed_and_resumed(root: Path, number: int) -> dict[str, Run]:
    """A first build that is killed when half of the MIDI files are there, and the next one."""
    add_candidates(root, 0, number)
    runs = {KILLED: measured(build_command(root), lambda: _num_in_shelf(root) * 256 >= number / 2)}
    runs[RESUMED] = measured(build_command(root))
    for name, run in runs.items():
        show(name, number, run)
    return runs


def _num_in_shelf(root: Path) -> int:
    """How many files one of the 256 shelves holds: they fill alike."""
    shelf = root / "midi" / "00"
    return len(list(shelf.iterdir())) if shelf.is_dir() else 0


def keep(found: dict[int, dict[str, Run]], path: Path | None) -> None:
    """Write what was measured so far."""
    if path is not None:
        plain = {size: {name: asdict(run) for name, run in runs.items()} for size, runs in found.items()}
        path.write_text(json.dumps(plain, indent=1))


def exponents(found: dict[int, dict[str, Run]]) -> dict[str, str]:
    """By step, the exponent with which its CPU time grows from each size to the next that was measured."""
    lines: dict[str, str] = {}
    for name in dict.fromkeys(name for runs in found.values() for name in runs):
        sizes = sorted(size for size in found if name in found[size])
        grown = [
            f"{one:,} to {other:,}: {math.log(found[other][name].cpu_s / found[one][name].cpu_s, other / one):.2f}"
            for one, other in zip(sizes, sizes[1:], strict=False)
        ]
        lines[name] = ", ".join(grown) or "one size only"
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--kill-up-to", type=int, default=100_000)
    parser.add_argument("--steps", nargs="+", default=list(STEPS), choices=STEPS, help="With --keep: only these.")
    parser.add_argument("--keep", type=Path, help="Where the datasets stay, for a look at them.")
    parser.add_argument("--profile", default="", help="Write profiles of the builds to files that begin so.")
    parser.add_argument("--figures", type=Path, help="Add the figures to this JSON file; it is drawn with them.")
    parser.add_argument("--picture", type=Path, help="Draw the figures into this SVG file.")
    parser.add_argument("--build", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.build:
        one_build(arguments.build, arguments.profile)
        return
    found: dict[int, dict[str, Run]] = {}
    if arguments.figures and arguments.figures.exists():
        known = json.loads(arguments.figures.read_text())
        found = {int(size): {name: Run(**run) for name, run in runs.items()} for size, runs in known.items()}
    with tempfile.TemporaryDirectory() as folder:
        for number in arguments.sizes:
            root = (arguments.keep or Path(folder)) / f"of_{number}"
            for name, run in simulate(root, number, arguments.profile, arguments.steps):
                found.setdefault(number, {})[name] = run
                keep(found, arguments.figures)
            sizes = {name: f"{size / number:.0f}" for name, size in sorted(table_bytes(root).items())}
            print(f"  bytes a recording: {', '.join(f'{name} {size}' for name, size in sizes.items())}", flush=True)
            if number <= arguments.kill_up_to:
                found[number] |= killed_and_resumed(root.with_name(f"killed_of_{number}"), number)
                keep(found, arguments.figures)
    for name, line in exponents(found).items():
        print(f"exponent {name}: {line}")
    if arguments.picture:
        arguments.picture.write_text(draw(found))


if __name__ == "__main__":
    main()
