"""A Ray cluster that this process connects to: its nodes, what they have room for, which of them get no work."""

from __future__ import annotations

import importlib.util
import logging
import os
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from aria_data.errors import UsageError

CONNECT_S = 10.0
LOOK_EVERY_S = 5.0  # at the cluster's size, while all actors are busy
UNFIT_S = 600.0  # a node whose disk is full gets no work for so long
CLIENT = "ray://"  # how the address of a cluster begins that this machine is no part of
TRIES = 4  # the server forks a process for each client, which gRPC's own threads end now and then (an abort)
SLOW_START = "timed out during startup"  # what Ray says of a node that took more than 30 s, on a busy machine


def require_ray() -> None:
    """Raise `UsageError` where Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise UsageError("--engine ray: Ray is not installed. Install it: pip install 'aria-data[ray]'")


def connect(address: str, num_cpus: int | None, code: Sequence[str]) -> None:
    """Connect this process to a cluster; without an address, start one on this machine, which ends with this process.

    `code` are folders of packages that the workers of a cluster get. Raises `UsageError` where none answers.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
    if address:
        settings |= {"address": address, "runtime_env": {"py_modules": list(code)}}
    else:
        settings |= {"address": "local", "num_cpus": num_cpus, "include_dashboard": False}
    is_somebody_there = False
    try:
        is_somebody_there = _answers(address)
        _init(settings)
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        raise UsageError(_not_there(address, said, is_somebody_there)) from error


def _not_there(address: str, said: str, is_somebody_there: bool) -> str:
    if is_somebody_there:
        return (
            f"--address {address}: somebody listens there, but Ray does not get in ({said}). RAY_AUTH_MODE has to be "
            "the same here and where the cluster was started: token, with its ~/.ray/auth_token, or disabled; so has "
            "the version of Ray. See docs/cluster.md."
        )
    if address:
        advice = "Start one (ray start --head), or leave --address out to use this machine."
        return f"--address {address}: no Ray cluster answers ({said}). {advice}"
    return (
        f"--engine ray: Ray did not start on this machine ({said}). Is it very busy, or without memory? Build again; "
        "or start a cluster (ray start --head) and name it (--address auto)."
    )


def _init(settings: dict[str, Any]) -> None:
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)  # it says that it leaves SIGTERM alone, for one
    for _ in range(TRIES - 1):
        try:
            ray.init(**settings)
            return
        except Exception as error:
            if not isinstance(error, ConnectionAbortedError) and SLOW_START not in str(error):
                raise
            time.sleep(1.0)
    ray.init(**settings)


def is_cut_off(address: str) -> bool:
    """Whether this process, a client of the cluster at this address, has lost it: nobody answers any more. Unlike one
    that is a part of its cluster, it does not end by itself then, and its calls fail in many ways."""
    if not address.startswith(CLIENT):
        return False
    answered = threading.Event()

    def ask() -> None:
        with suppress(Exception):
            alive_nodes()
            answered.set()

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(CONNECT_S)
    return not answered.is_set()


def _answers(address: str) -> bool:
    """Whether somebody listens at "HOST:PORT" or "ray://HOST:PORT"; False for an address without a port, as "auto".

    Raises `OSError` where nobody does; Ray itself would wait for minutes.
    """
    host, _, port = address.removeprefix(CLIENT).partition(":")
    if not port.isdigit():
        return False
    with socket.create_connection((host, int(port)), timeout=CONNECT_S):
        return True


class Resources:
    """The cluster's processors and GPUs, looked at now and then, and which nodes get no work for a while."""

    def __init__(self) -> None:
        self._seen_at, self._seen = -LOOK_EVERY_S, dict[str, dict[str, Any]]()
        self._unfit: dict[str, float] = {}  # until when, by node
        self._lock = threading.Lock()

    def nodes(self) -> dict[str, dict[str, float]]:
        """What each node that is alive and gets work has in all, by the node's id and by resource."""
        with self._lock:
            if time.monotonic() - self._seen_at >= LOOK_EVERY_S:
                self._seen = {node["NodeID"]: node for node in alive_nodes()}
                self._seen_at = time.monotonic()
            alive = {key: node["Resources"] for key, node in self._seen.items()}
        return {key: node for key, node in alive.items() if not self.is_avoided(key)}

    def avoid(self, node: str) -> str:
        """Give a node no work for a while, as long as there are others; gives the name of its machine."""
        self._unfit[node] = time.monotonic() + UNFIT_S
        return str(self._seen.get(node, {}).get("NodeManagerHostname", "")) or node

    def is_avoided(self, node: str) -> bool:
        """Whether a node gets no work now: there are others."""
        return self._is_unfit(node) and not all(map(self._is_unfit, self._seen))

    def _is_unfit(self, node: str) -> bool:
        return time.monotonic() < self._unfit.get(node, 0.0)

    def place(self, options: Mapping[str, float], num_on: Mapping[str, int]) -> dict[str, Any]:
        """Where to start an actor of these options, as options of Ray's; it is Ray's choice while no node is avoided.
        `num_on` counts the actors of this kind that nodes have."""
        if not any(map(self.is_avoided, list(self._unfit))):
            return {}
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        nodes = self.nodes()
        if not nodes:  # the cluster is away for the moment
            return {}
        left = {key: rooms_of(node, options) - num_on.get(key, 0) for key, node in nodes.items()}
        return {"scheduling_strategy": NodeAffinitySchedulingStrategy(max(left, key=lambda key: left[key]), soft=True)}


def rooms_of(node: Mapping[str, float], options: Mapping[str, float]) -> int:
    """How many actors of these options a node has room for: by processors (`num_cpus`) and GPUs (`num_gpus`)."""
    has = {"num_cpus": node.get("CPU", 0.0), "num_gpus": node.get("GPU", 0.0)}
    return min((int(has[name] / share + 1e-6) for name, share in options.items() if share), default=0)


def alive_nodes() -> list[dict[str, Any]]:
    """What Ray says of each node that is alive."""
    import ray

    return [node for node in ray.nodes() if node["Alive"]]
