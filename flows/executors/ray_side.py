"""What the process does that talks to Ray: it connects, and hands assignments to actors. `on_ray` calls it.

Pools of actors are kept as long as the process lives: one for GPUs, where the cluster has some, and one for all else.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from flows.engine.orders import Engine
from flows.engine.stages import TRANSCRIBE
from flows.executors.assignments import STAGES, Assignment, Begun, Finished, Rest
from flows.executors.parcels import deliver
from flows.workers.ray_pool import RayPool, Resources, connect

ON_GPU = frozenset({TRANSCRIBE.name})
CODE = ("aria_data", "classifiers", "flows", "manifests")
_connecting = threading.Lock()


def sizes(send: Callable[[Any], None], engine: Engine) -> dict[str, int]:
    """How many actors may work at the same time, by stage; `gpus` and `nodes` besides. Raises `UsageError`."""
    pools, resources = _cluster(engine)
    counts = {name: pool.num_places for name, pool in pools.items()}
    return counts | {"gpus": _num_on_gpu(resources, engine), "nodes": len(resources.nodes())}


def work(
    send: Callable[[Begun | Finished], None],
    engine: Engine,
    function: str,
    assignment: Assignment,
    files: Mapping[str, Path],
) -> Rest:
    """Have an actor do an assignment, once it has the files, which are given by location. Raises `WorkerDied`."""
    pools, _ = _cluster(engine)
    with pools[assignment.stage].held() as actor:
        for message in actor.call(function, replace(assignment, places=deliver(actor.ask, files))):
            send(message)
        rest: Rest = actor.result
        return rest


def _cluster(engine: Engine) -> tuple[Mapping[str, RayPool], Resources]:
    with _connecting:
        return _connected(engine)


@functools.cache
def _connected(engine: Engine) -> tuple[Mapping[str, RayPool], Resources]:
    root = Path(__file__).resolve().parents[2]
    connect(engine.address, engine.workers or None, [str(root / name) for name in CODE])
    resources = Resources()

    def num_on_cpu() -> int:
        cores = sum(int(node.get("CPU", 0)) for node in resources.nodes()) - _num_on_gpu(resources, engine)
        return max(1, min(engine.workers or cores, cores))

    plain = RayPool("works", num_on_cpu, num_cpus=1)
    pools = dict.fromkeys(STAGES, plain)
    if _num_on_gpu(resources, engine):
        share = engine.gpus_per_worker
        on_gpu = RayPool("transcribes", lambda: _num_on_gpu(resources, engine), num_cpus=1, num_gpus=share)
        pools |= dict.fromkeys(ON_GPU, on_gpu)
    return pools, resources


def _num_on_gpu(resources: Resources, engine: Engine) -> int:
    return sum(int(node.get("GPU", 0) / engine.gpus_per_worker + 1e-6) for node in resources.nodes())
