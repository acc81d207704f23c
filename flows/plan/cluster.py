"""A description of the machines that a build is planned for: a TOML file, or so many like this one.

    name = "eight H200 at a provider"

    [[machines]]
    name = "h200"
    count = 8
    cores = 64
    gpus = 1
    price_per_hour = 3.5          # of one; in any currency
    rates = { transcribe = 900.0, classify = 3000.0 }   # x real time of one machine, all its cores and GPUs together

A stage that `rates` does not name is taken to be as fast a core as on this machine.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from aria_data.config import build_record
from aria_data.errors import ConfigInvalid
from flows.speed.rates import BY_AUDIO, Rate


@dataclass(frozen=True)
class Machine:
    """Some machines of one kind."""

    name: str = "machine"
    count: int = 1
    cores: int = 0  # 0: as this machine
    gpus: int = 0
    price_per_hour: float | None = None  # of one
    rates: dict[str, float] = field(default_factory=dict)  # x real time, by stage


@dataclass(frozen=True)
class Cluster:
    """The machines that work side by side, each on shards of its own."""

    machines: tuple[Machine, ...]
    name: str = ""
    is_this: bool = False  # one machine like this one, or some

    def speedup(self, stage: str, rate: Rate, cores_here: int) -> float:
        """How many times as fast as this machine the cluster works on a stage. Raises `ConfigInvalid` where that
        cannot be told."""
        return sum(one.count * self._of_one(one, stage, rate, cores_here) for one in self.machines)

    def _of_one(self, machine: Machine, stage: str, rate: Rate, cores_here: int) -> float:
        if stage in machine.rates:
            here = (rate.x_real_time or 0.0) * rate.num_workers
            if not here:
                raise ConfigInvalid(
                    f"machine {machine.name}: rates.{stage}: this stage's time does not depend on the length of audio. "
                    f"Leave it out; rates are for {', '.join(sorted(BY_AUDIO))}."
                )
            return machine.rates[stage] / here
        return (machine.cores or cores_here) / cores_here

    @property
    def price_per_hour(self) -> float | None:
        """Of all machines together; None where one of them has no price."""
        if any(one.price_per_hour is None for one in self.machines):
            return None
        return sum(one.count * (one.price_per_hour or 0.0) for one in self.machines)

    @property
    def gpus(self) -> int:
        return sum(one.count * one.gpus for one in self.machines)

    @property
    def count(self) -> int:
        return sum(one.count for one in self.machines)


def like_this_one(count: int, price_per_hour: float | None) -> Cluster:
    """So many machines like this one."""
    return Cluster((Machine("this machine", count, price_per_hour=price_per_hour),), is_this=True)


def read_cluster(path: Path, price_per_hour: float | None) -> Cluster:
    """Read a description; `price_per_hour`, where given, is that of every machine. Raises `ConfigInvalid`."""
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigInvalid(f"{path}: cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise ConfigInvalid(f"{path}: is no TOML ({error}).") from error
    machines = values.pop("machines", None)
    name = values.pop("name", path.stem)
    if values or not isinstance(machines, list) or not machines:
        wrong = f"unknown key {next(iter(values))!r}" if values else "names no [[machines]]"
        raise ConfigInvalid(f"{path}: {wrong}. A cluster has a name and [[machines]] (aria-data plan --help).")
    read = tuple(_machine(one, f"{path}: machines[{place}]", price_per_hour) for place, one in enumerate(machines))
    return Cluster(read, str(name))


def _machine(values: Any, where: str, price_per_hour: float | None) -> Machine:
    if not isinstance(values, Mapping):
        raise ConfigInvalid(f"{where}: is no table.")
    plain = {name: value for name, value in values.items() if name not in ("rates", "price_per_hour")}
    rates, price = values.get("rates", {}), values.get("price_per_hour")
    if not isinstance(rates, Mapping):
        raise ConfigInvalid(f"{where}: rates: is a table such as {{ transcribe = 900.0 }}, not {rates!r}.")
    for name, rate in rates.items():
        if name not in BY_AUDIO or not _is_number(rate) or rate <= 0:
            known = ", ".join(sorted(BY_AUDIO))
            raise ConfigInvalid(f"{where}: rates.{name} = {rate!r}: a number above 0, of {known}.")
    if price is not None and (not _is_number(price) or price < 0):
        raise ConfigInvalid(f"{where}: price_per_hour = {price!r}: is no price.")
    machine = build_record(Machine, plain, where)
    if machine.count < 1 or machine.cores < 0 or machine.gpus < 0:
        raise ConfigInvalid(f"{where}: count is at least 1; cores and gpus are not below 0.")
    return replace(machine, rates=dict(rates), price_per_hour=price if price_per_hour is None else price_per_hour)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
