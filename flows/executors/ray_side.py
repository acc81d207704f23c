"""What the process does that talks to Ray: it connects, and hands assignments to actors. `on_ray` calls it.

Pools of actors are kept as long as the process lives: one for GPUs, where the cluster has some, and one for all else.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from aria_data.errors import DatasetError
from flows.engine.orders import Engine
from flows.engine.stages import TRANSCRIBE
from flows.executors.assignments import STAGES, Assignment, Begun, Finished, Rest, Setup
from flows.executors.parcels import deliver
from flows.workers.processes import WorkerUnfit
from flows.workers.ray_pool import LOOK_EVERY_S, NoRoom, RayPool, Resources, connect

ON_GPU = frozenset({TRANSCRIBE.name})
CODE = ("aria_data", "classifiers", "flows", "manifests")
_connecting = threading.Lock()


def sizes(send: Callable[[Any], None], engine: Engine) -> dict[str, int]:
    """How many actors may work at the same time, by stage; `gpus` and `nodes` besides. Raises `UsageError`."""
    cluster = _connected_once(engine)
    counts = {name: max(1, cluster.pool_for(name).num_places) for name in STAGES}
    return counts | {"gpus": cluster.num_on_gpu(), "nodes": len(cluster.resources.nodes())}


def work(
    send: Callable[[Begun | Finished], None],
    engine: Engine,
    function: str,
    assignment: Assignment,
    files: Mapping[str, Path],
) -> tuple[Rest, float]:
    """Have an actor do an assignment, once it has the files, which are given by location. Gives its seconds as well.

    Raises `WorkerDied`, and `WorkerUnfit` where the fault is the machine's, such as a full disk.
    """
    cluster = _connected_once(engine)
    while True:
        pool = cluster.pool_for(assignment.stage)
        try:
            with pool.held() as actor:
                began = time.monotonic()
                sent = replace(assignment, setup=cluster.setup_for(pool, assignment.setup))
                try:
                    places = deliver(actor.ask, files)
                    for message in actor.call(function, replace(sent, places=places)):
                        send(message)
                except (OSError, DatasetError) as error:
                    raise WorkerUnfit(f"a worker: {error}") from error
                return actor.result, time.monotonic() - began
        except NoRoom:  # its nodes have gone: the next look finds another pool, or waits
            time.sleep(LOOK_EVERY_S)


class Cluster:
    """A cluster that this process is connected to, and its actors."""

    def __init__(self, engine: Engine):
        root = Path(__file__).resolve().parents[2]
        connect(engine.address, engine.workers or None, [str(root / name) for name in CODE])
        self.engine, self.resources = engine, Resources()
        self.plain = RayPool(self._num_on_cpu, num_cpus=1)
        self.on_gpu = RayPool(self.num_on_gpu, num_cpus=1, num_gpus=engine.gpus_per_worker)

    def num_on_gpu(self) -> int:
        """How many actors with a GPU, or a part of one, the nodes have room for."""
        share = self.engine.gpus_per_worker
        return sum(int(node.get("GPU", 0) / share + 1e-6) for node in self.resources.nodes())

    def _num_on_cpu(self) -> int:
        cores = sum(int(node.get("CPU", 0)) for node in self.resources.nodes()) - self.num_on_gpu()
        return max(1, min(self.engine.workers or cores, cores))

    def pool_for(self, stage: str) -> RayPool:
        """Who does a stage's work now."""
        return self.on_gpu if stage in ON_GPU and self.num_on_gpu() else self.plain

    def setup_for(self, pool: RayPool, setup: Setup) -> Setup:
        """The setup on the device that an actor of this pool has."""
        is_on_gpu = pool is self.on_gpu
        device = "cuda" if is_on_gpu else "cpu"
        return replace(setup, compute=replace(setup.compute, device=device, num_threads=0 if is_on_gpu else 1))


def _connected_once(engine: Engine) -> Cluster:
    with _connecting:
        return _connected(engine)


_connected = functools.cache(Cluster)
