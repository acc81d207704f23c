"""Builds of many made-up recordings over Ray and an object store on this machine: what each costs besides its work.

    python benchmarks/million_cluster.py [--sizes 1000] [--workers 2] [--folder] [--profile FILE]

The work of stages is replaced by its result, in the workers too; Ray (started by the build), SeaweedFS's S3 on loopback
and everything else are real. `--folder` has the dataset in a folder, for what the store costs. Needs the packages of
the extras `servers` and `dev`.

Prints the wall time of the whole command a recording (limit 3 ms): the start of Python and Ray, some 15 s, counts, and
so does what the store needs of the same processors. Then the processor time a recording of the build, of its bridge to
Ray, of Ray's processes and workers, which together are the orchestration, and of the store beside it; and the peak
memory of the build's own process (limit 2 GB). Of two sizes, what each recording more took, so without any start. The
wall says something on a quiet machine only.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import psutil
from million_world import SETTINGS, add_candidates, replace_work

HERE = Path(__file__).parent
LIMIT_MS, LIMIT_MB = 3.0, 2048
WALL, STORE = "wall", "the store"


def one_build(out: str, workers: int, profile: str) -> None:
    """Build on Ray, and print what came out. For a process of its own."""
    replace_work()
    from aria_data.storage import open_root
    from flows.cli.jobs import run_build
    from flows.engine.orders import Engine
    from flows.executors import on_ray

    on_ray.WORK_OFF = "million_world:work_off"
    on_ray.GONE_S = 1.0
    if profile:
        threading.Thread(target=sample_threads, args=(Path(profile),), daemon=True).start()
    engine = Engine("ray", workers=workers)
    summary = run_build(None, open_root(out), settings=SETTINGS, with_prefect=False, engine=engine)
    stages = {name: round(stage.seconds, 2) for name, stage in summary.stages.items()}
    print(json.dumps({"files": summary.num_files, "not done": len(summary.not_done), "stages": stages}))


def sample_threads(path: Path) -> None:
    """Write, again and again, which functions threads that used the processor were in, and how often."""
    seen: Counter[str] = Counter()
    used: dict[int, int] = {}
    while True:
        time.sleep(0.02)
        frames = sys._current_frames()
        for thread in threading.enumerate():
            with contextlib.suppress(OSError):
                stat = Path(f"/proc/self/task/{thread.native_id}/stat").read_text().rpartition(")")[2].split()
                ticks, before = int(stat[11]) + int(stat[12]), used.get(thread.native_id, 0)
                used[thread.native_id] = ticks
                if ticks > before and thread.ident in frames:
                    seen[f"{thread.name.rstrip('0123456789_-')}: {_place(frames[thread.ident])}"] += ticks - before
        if sum(seen.values()) % 100 < 5:
            path.write_text("\n".join(f"{count:6} {what}" for what, count in seen.most_common(60)))


def _place(frame: Any) -> str:
    """The innermost three functions."""
    names = []
    while frame is not None and len(names) < 4:
        names.append(f"{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_name}:{frame.f_lineno}")
        frame = frame.f_back
    return " < ".join(names)


class Watch:
    """Processor time and peak memory of a process and all below it, by what they are. Looked at while they run."""

    def __init__(self, process: psutil.Process, store: int = 0):
        self._first, self._store = process, store
        self._cpu_s: dict[tuple[str, int], float] = {}
        self.peak_mb: dict[str, float] = defaultdict(float)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look_until_end, daemon=True)
        self._thread.start()

    def _look_until_end(self) -> None:
        while not self._ended.wait(0.3):
            with contextlib.suppress(psutil.Error):
                self._look()

    def _look(self) -> None:
        family = [self._first, *self._first.children(recursive=True)]
        for each in [*family, *([psutil.Process(self._store)] if self._store else [])]:
            with contextlib.suppress(psutil.Error):
                name = self._name(each)
                used = each.cpu_times()
                self._cpu_s[name, each.pid] = used.user + used.system
                self.peak_mb[name] = max(self.peak_mb[name], _peak_mb(each.pid))

    def _name(self, process: psutil.Process) -> str:
        if process.pid == self._first.pid:
            return "the build"
        if process.pid == self._store:
            return STORE
        words = " ".join(process.cmdline())
        if "bridge:serve" in words:
            return "its bridge to Ray"
        if "ray::Hands" in words:
            return "workers"
        is_of_ray = any(part in words for part in ("ray::", "/ray/", "raylet", "gcs_server"))
        return "the rest of Ray" if is_of_ray else "other processes"

    def end(self) -> dict[str, float]:
        """Stop looking. Gives the processor time by kind of process."""
        self._ended.set()
        self._thread.join()
        sums: dict[str, float] = defaultdict(float)
        for (name, _), seconds in self._cpu_s.items():
            sums[name] += seconds
        return sums


def _peak_mb(process: int) -> float:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
    return float(status.get("VmHWM", "0").split()[0]) / 1024  # one that has ended has none


Took = tuple[int, dict[str, float]]  # recordings; seconds by wall, and by kind of process


def simulate(out: str, number: int, workers: int, profile: str, store: int) -> Took:
    """Build once with so many recordings; print and give what it took."""
    from aria_data.storage import open_root

    with tempfile.TemporaryDirectory() as folder:
        add_candidates(open_root(out), 0, number, Path(folder) / "audio" / "one.wav")
        command = [sys.executable, __file__, "--build", out, "--workers", str(workers), "--profile", profile]
        paths = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", str(HERE.parent))])
        environment = {**os.environ, "PYTHONPATH": paths, "RAY_AUTH_MODE": "disabled"}
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        watch = Watch(psutil.Process(process.pid), store)
        said = process.communicate()[0].strip().splitlines()
        wall_s = time.perf_counter() - began
        used = watch.end()
    if process.returncode:
        raise SystemExit(process.returncode)
    print(f"{number:,} recordings, {workers} workers: {wall_s:.1f} s")
    print(f"  {said[-1]}")
    _print_each(number, {WALL: wall_s, **used})
    peaks = ", ".join(f"{name} {peak:.0f} MB" for name, peak in watch.peak_mb.items())
    print(f"  peak memory: {peaks}; of the build {_judged(watch.peak_mb['the build'], LIMIT_MB)} MB", flush=True)
    return number, {WALL: wall_s, **used}


def _print_each(number: int, seconds: dict[str, float]) -> None:
    """Print what a recording took: by the wall, and of the processor, the store apart."""
    each = {name: 1000 * one / number for name, one in seconds.items()}
    own = {name: one for name, one in each.items() if name not in (WALL, STORE)}
    listed = ", ".join(f"{name} {one:.2f}" for name, one in own.items())
    print(f"  a recording: {each[WALL]:.2f} ms by the wall ({_judged(each[WALL], LIMIT_MS)})")
    print(f"  of the processor {sum(own.values()):.2f} ms ({listed}), the store {each.get(STORE, 0.0):.2f}", flush=True)


def _judged(value: float, limit: float) -> str:
    return f"limit {limit:g}: {'held' if value <= limit else 'MISSED'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", action="store_true", help="A folder instead of a store.")
    parser.add_argument("--profile", default="", help="Write what the build's threads did to this file.")
    parser.add_argument("--build", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.build:
        one_build(arguments.build, arguments.workers, arguments.profile)
        return
    with contextlib.ExitStack() as stack:
        folder, store = stack.enter_context(tempfile.TemporaryDirectory()), 0
        os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"
        if not arguments.folder:
            sys.path.insert(0, str(HERE.parent / "tests" / "support"))
            from object_store import BUCKET, Store

            made = stack.enter_context(Store())
            os.environ.update(made.environment())
            store = made.pid
        before: Took | None = None
        for number in arguments.sizes:
            out = f"{folder}/of_{number}" if arguments.folder else f"s3://{BUCKET}/of-{number}"
            took = simulate(out, number, arguments.workers, arguments.profile, store)
            if before and number > before[0]:
                print(f"from {before[0]:,} to {number:,} recordings:")
                _print_each(number - before[0], {name: one - before[1].get(name, 0.0) for name, one in took[1].items()})
            before = took


if __name__ == "__main__":
    main()
