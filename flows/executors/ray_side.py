"""What the process does that talks to Ray: it connects, and hands assignments to actors. `on_ray` calls it.

Pools of actors are kept as long as the process lives: one for GPUs, where the cluster has some, and one for all else.
"""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from aria_data.errors import DatasetError, UsageError
from flows.engine.orders import Engine
from flows.engine.stages import TRANSCRIBE
from flows.executors.assignments import STAGES, Assignment, Begun, Finished, Rest, Setup
from flows.executors.parcels import deliver
from flows.workers.processes import WorkerDied
from flows.workers.ray_cluster import LOOK_EVERY_S, Resources, alive_nodes, connect, is_cut_off, rooms_of
from flows.workers.ray_pool import Actor, NodeAvoided, NoRoom, RayPool

ON_GPU = frozenset({TRANSCRIBE.name})
CODE = ("aria_data", "classifiers", "flows", "manifests")
CUT_OFF = 3  # exit code
MOST_DEAD = 100  # actors that died while they were free, as all of a node's do
_connecting = threading.Lock()


def sizes(send: Callable[[Any], None], engine: Engine) -> dict[str, int]:
    """How many actors may work at the same time, by stage; `gpus` and `nodes` besides. Raises `UsageError`."""
    with _cluster(engine) as cluster:
        counts = {name: max(1, cluster.pool_for(name).num_places) for name in STAGES}
        return counts | {"gpus": cluster.num_on_gpu(), "nodes": len(cluster.resources.nodes())}


def nodes(send: Callable[[Any], None], engine: Engine) -> list[str]:
    """The ids of the nodes that are alive."""
    with _cluster(engine):
        return [node["NodeID"] for node in alive_nodes()]


def work(
    send: Callable[[list[Begun | Finished]], None],
    engine: Engine,
    function: str,
    assignment: Assignment,
    files: Mapping[str, Path],
) -> tuple[Rest, float]:
    """Have an actor do an assignment, once it has the files, which are given by location. Gives its seconds as well.

    Raises `WorkerDied`, and `WorkerUnfit` where the fault is the machine's, such as a full disk.
    """
    with _cluster(engine) as cluster:
        return _work(send, cluster, function, assignment, files)


def _work(
    send: Callable[[list[Begun | Finished]], None],
    cluster: Cluster,
    function: str,
    assignment: Assignment,
    files: Mapping[str, Path],
) -> tuple[Rest, float]:
    for _ in range(MOST_DEAD):
        pool = cluster.pool_for(assignment.stage)
        try:
            with pool.held() as actor:
                began = time.monotonic()
                sent = replace(assignment, setup=cluster.setup_for(pool, assignment.setup))
                try:
                    places = _delivered(actor, files)
                    for messages in actor.call(function, replace(sent, places=places)):
                        send(messages)
                except (OSError, DatasetError) as error:
                    machine = cluster.resources.avoid(actor.node)
                    raise NodeAvoided(f"a worker on {machine}: {error}", actor.node) from error
                return actor.result, time.monotonic() - began
        except NoRoom:  # its nodes have gone: the next look finds another pool, or waits
            time.sleep(LOOK_EVERY_S)
        except _Asleep:  # it had died while it was free
            continue
    raise WorkerDied(f"{MOST_DEAD} workers in a row had died before they were given anything")


class _Asleep(WorkerDied):
    """An actor died before it was given anything to do."""


def _delivered(actor: Actor, files: Mapping[str, Path]) -> dict[str, str]:
    try:
        return deliver(actor.ask, files)
    except WorkerDied as death:
        raise _Asleep(death.how, death.node) from death


class Cluster:
    """A cluster that this process is connected to, and its actors."""

    def __init__(self, engine: Engine):
        root = Path(__file__).resolve().parents[2]
        connect(engine.address, engine.workers or None, [str(root / name) for name in CODE])
        self.engine, self.resources = engine, Resources()
        self.plain = RayPool(self._num_on_cpu, self.resources, num_cpus=1)
        self.on_gpu = RayPool(self.num_on_gpu, self.resources, num_cpus=1, num_gpus=engine.gpus_per_worker)

    def num_on_gpu(self) -> int:
        """How many actors with a GPU, or a part of one, the nodes have room for."""
        share = {"num_gpus": self.engine.gpus_per_worker}
        return sum(rooms_of(node, share) for node in self.resources.nodes().values())

    def _num_on_cpu(self) -> int:
        cores = sum(int(node.get("CPU", 0)) for node in self.resources.nodes().values()) - self.num_on_gpu()
        return max(1, min(self.engine.workers or cores, cores))

    def pool_for(self, stage: str) -> RayPool:
        """Who does a stage's work now."""
        return self.on_gpu if stage in ON_GPU and self.num_on_gpu() else self.plain

    def setup_for(self, pool: RayPool, setup: Setup) -> Setup:
        """The setup on the device that an actor of this pool has."""
        is_on_gpu = pool is self.on_gpu
        device = "cuda" if is_on_gpu else "cpu"
        return replace(setup, compute=replace(setup.compute, device=device, num_threads=0 if is_on_gpu else 1))


@contextmanager
def _cluster(engine: Engine) -> Iterator[Cluster]:
    """The cluster. When it is gone for good, this process ends, as Ray itself ends one that is a part of it."""
    try:
        with _connecting:
            cluster = _connected(engine)
        yield cluster
    except UsageError:
        raise
    except Exception:
        if is_cut_off(engine.address):
            os._exit(CUT_OFF)
        raise


@functools.cache
def _connected(engine: Engine) -> Cluster:
    """Connect, in a thread that lasts as long as the process: a cluster that Ray starts ends with its thread."""
    made: Future[Cluster] = Future()

    def make() -> None:
        try:
            made.set_result(Cluster(engine))
        except BaseException as error:
            made.set_exception(error)
            return
        threading.Event().wait()

    threading.Thread(target=make, name="Ray", daemon=True).start()
    return made.result()
