"""Builds through faults at random: who does the work, where the dataset lies, and what happens meanwhile.

    python tests/support/long_run.py [--faults 200] [--seed 0]

Builds are real processes, one after another, each in a new dataset that is built until it is finished. A fault meets it
every few seconds: its workers, its connection to Ray or it itself are killed; a node goes and another one comes; the
head of the cluster is lost and back; the object store answers with 503, slowly, not to the end, or not at all. Each
dataset has to be the one of an undisturbed build: the same content hash, one version, no outcome twice, nothing
half-written. The networks are stand-ins that take their time.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import object_store as stores
import psutil
from fakes import melody, noise, write_audio
from places import ROOT, SUPPORT
from ray_nodes import Nodes

CHILD = SUPPORT / "build_child.py"
NUM_FILES = 10
EXECUTORS, PLACES = ("local", "ray"), ("folder", "store")
BETWEEN_S = (0.5, 5.0)  # from one fault to the next
OUTAGE_S = (1.0, 6.0)
PATIENCE_S = 20  # of a command with the store; the store is gone for longer than that now and then
MOST_TRIES = 60  # builds of one dataset: a guard, one takes a handful
MOST_WORKERS = 2  # that are killed in one build: what kills three workers in a row has failed, and rightly so


@dataclass
class World:
    """Recordings, a cluster, a store behind a proxy, and a process that starts builds."""

    folder: Path
    nodes: Nodes
    faults: stores.Faults
    builder: subprocess.Popen
    chance: random.Random
    told: Counter[str] = field(default_factory=Counter)  # faults that were made, by executor, place and kind
    num_killed: int = 0  # workers, in the build that runs
    added: set[int] = field(default_factory=set)  # processes of a node that comes and goes

    @property
    def marks(self) -> Path:
        return self.folder / "marks"

    def environment(self) -> dict[str, str]:
        """What a build has to know."""
        return {
            **self.faults.store.environment(self.faults.address),
            "MARKS": str(self.marks),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "ARIA_DATA_LEASE_S": "3",
            "ARIA_DATA_STORE_PATIENCE_S": str(PATIENCE_S),
        }

    def start(self, out: str, *options: str) -> int:
        """Start a build; gives its process's id."""
        given = [f"{name}={value}" for name, value in self.environment().items()]
        self.builder.stdin.write(json.dumps([str(self.folder / "in"), out, "slow", *options, *given]) + "\n")
        self.builder.stdin.flush()
        self.num_killed = 0
        return int(self._said("started ")[-1].split()[1])

    def is_finished(self) -> bool:
        """Wait for the end of the build. Gives whether it left nothing to another one."""
        *lines, end = self._said("ended ")
        summaries = [line for line in lines if line.startswith("{")]
        return end == "ended 0\n" and not json.loads(summaries[-1])["not_done"]

    def _said(self, start: str) -> list[str]:
        """The builder's next lines, up to the one that begins so."""
        lines: list[str] = []
        while not (lines and lines[-1].startswith(start)):
            line = self.builder.stdout.readline()
            assert line, f"the process that starts builds has ended: {(self.folder / 'log').read_text()[-3000:]}"
            lines.append(line)
        return lines


@contextlib.contextmanager
def world(folder: Path, seed: int) -> Iterator[World]:
    """All of it, for the block."""
    for number in range(NUM_FILES):
        write_audio(folder / "in" / f"take {number}.wav", melody(5, number))
    write_audio(folder / "in" / "rain.wav", noise(5))
    (folder / "in" / "broken.mp3").write_bytes(b"this is no audio")
    (folder / "marks").mkdir()
    with contextlib.ExitStack() as stack:
        nodes = stack.enter_context(Nodes(MARKS=str(folder / "marks"), SLOW="1"))
        nodes.start_head()
        faults = stack.enter_context(stores.Faults(stack.enter_context(stores.Store())))
        command = [sys.executable, str(CHILD)]
        log = stack.enter_context(open(folder / "log", "wb"))
        builder = stack.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, cwd=ROOT)
        )
        stack.callback(builder.stdin.close)
        yield World(folder, nodes, faults, builder, random.Random(seed))


# ---------------------------------------------------------------- faults, each given the world and the build's process


def kill_worker(world: World, build: int) -> bool:
    """One of the build's processes, or an actor that works for it. Gives whether there was one."""
    victims = [each.pid for each in children_of(build)]
    victims += [pid for mark in world.marks.glob("pid *") if psutil.pid_exists(pid := int(mark.name.split()[1]))]
    is_one = bool(victims) and world.num_killed < MOST_WORKERS
    if is_one:
        world.num_killed += 1
        kill(world.chance.choice(victims))
    return is_one


def kill_build(world: World, build: int) -> bool:
    kill(build)
    return True


def end_build(world: World, build: int) -> bool:
    kill(build, signal.SIGTERM)
    return True


def change_nodes(world: World, build: int) -> bool:
    """Take the second node away, or add it."""
    if world.added:
        world.nodes.kill(world.added)
        world.added = set()
    else:
        world.added = world.nodes.add()
    return True


def lose_head(world: World, build: int) -> bool:
    world.nodes.stop()
    time.sleep(world.chance.uniform(*OUTAGE_S))
    world.nodes.start_head()
    world.added = set()
    return True


def disturb_store(world: World, build: int) -> bool:
    """For some seconds the store refuses or loses some requests, or is slow."""
    kinds = world.chance.sample([stores.BUSY, stores.SLOW, stores.CUT, stores.LOSE], 2)
    world.faults.plan = stores.at_random(*kinds, share=0.3)
    time.sleep(world.chance.uniform(*OUTAGE_S))
    world.faults.plan = lambda method, path, number: stores.PASS
    return True


def close_store(world: World, build: int) -> bool:
    """The store is gone, now and then for longer than a build waits."""
    world.faults.plan = lambda method, path, number: stores.BUSY
    time.sleep(world.chance.choice([3.0, PATIENCE_S + 10.0]))
    world.faults.plan = lambda method, path, number: stores.PASS
    return True


Fault = Callable[[World, int], bool]
OF_ALL: tuple[Fault, ...] = (kill_worker, kill_worker, kill_build, end_build)
OF_RAY: tuple[Fault, ...] = (change_nodes, lose_head)
OF_STORE: tuple[Fault, ...] = (disturb_store, disturb_store, close_store)


def children_of(process: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return psutil.Process(process).children()
    return []


def kill(process: int, how: int = signal.SIGKILL) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, how)


# ---------------------------------------------------------------- datasets


def build_through(world: World, executor: str, place: str, number: int, most: int) -> tuple[str, int]:
    """Build a new dataset until it is finished, with at most so many faults. Gives its place, and their number."""
    name = f"{executor}-{place}-{number}"
    out = str(world.folder / name) if place == "folder" else f"s3://{stores.BUCKET}/{name}"
    options = [f"ray={world.nodes.address}"] if executor == "ray" else ["away"]
    faults = OF_ALL + (OF_RAY if executor == "ray" else ()) + (OF_STORE if place == "store" else ())
    num_made = 0
    for _ in range(MOST_TRIES):
        process = world.start(out, *options)
        while is_running(process):
            time.sleep(world.chance.uniform(*BETWEEN_S))
            if num_made < most and is_running(process):
                fault = world.chance.choice(faults)
                if fault(world, process):
                    num_made += 1
                    world.told[f"{executor}, {place}: {fault.__name__}"] += 1
        if world.is_finished():
            return out, num_made
        time.sleep(1.0)  # a lock whose holder was killed is free in a moment
    raise AssertionError(f"{out}: is not finished after {MOST_TRIES} builds")


def is_running(process: int) -> bool:
    with contextlib.suppress(psutil.Error):
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    return False


def check(out: str, content: str) -> None:
    """Raise `AssertionError` where a dataset is not what an undisturbed build makes."""
    from aria_data.manifest import Manifest
    from aria_data.storage import open_root
    from aria_data.storage.stage_tables import StageTable
    from flows.engine.stages import CLASSIFY, FINGERPRINT, INGEST, MEASURE, SEGMENT, TRANSCRIBE

    root = open_root(out)
    assert Manifest(root).content_sha256() == content, out
    assert [version.number for version in Manifest(root).versions()] == [1], out
    for stage in (INGEST, CLASSIFY, SEGMENT, FINGERPRINT, TRANSCRIBE, MEASURE):
        keys = [outcome.key for outcome in StageTable(root, stage.name, stage.record_type).all()]
        assert len(keys) == len(set(keys)), (out, stage.name)
    assert not [path for path in root.rglob("*") if path.name.endswith(".partial")], out


@contextlib.contextmanager
def as_in(environment: dict[str, str]) -> Iterator[None]:
    """Have this environment for the block."""
    before = dict(os.environ)
    os.environ.update(environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def run(folder: Path, num_faults: int, seed: int = 0) -> Counter[str]:
    """Make so many faults over all kinds of builds; gives what was made. Raises `AssertionError`."""
    from aria_data.manifest import Manifest

    with world(folder, seed) as made, as_in(made.environment()):
        made.start(str(folder / "undisturbed"), "away")
        assert made.is_finished()
        content = Manifest(folder / "undisturbed").content_sha256()
        number = 0
        while sum(made.told.values()) < num_faults:
            executor, place = EXECUTORS[number % 2], PLACES[number // 2 % 2]
            left = num_faults - sum(made.told.values())
            most = min(left, max(3, num_faults // 8))
            out, num_made = build_through(made, executor, place, number, most)
            check(out, content)
            print(f"{out}: the same after {num_made} faults", flush=True)
            number += 1
        return made.told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        told = run(Path(folder), given.faults, given.seed)
    for kind, count in sorted(told.items()):
        print(f"{kind}: {count}")
    print(f"{sum(told.values())} faults in {time.monotonic() - began:.0f} s; every dataset was the undisturbed one")


if __name__ == "__main__":
    main()
