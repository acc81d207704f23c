"""The time and money of a plan: work by stage, times the speed measured for it, on the machines that are stated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aria_data.errors import ConfigInvalid
from aria_data.storage import is_remote
from flows.plan.cluster import Cluster
from flows.show.summaries import PlannedStage
from flows.speed.expected import Load, seconds_of
from flows.speed.machine import described, machine
from flows.speed.perf_file import NAME, read_builds
from flows.speed.rates import GLOBAL, Rate, alike, idle_seconds, parallelism, rates_of, shipped_rates

MOST_NEIGHBOURS = 50  # folders beside the dataset whose speeds are looked at


@dataclass(frozen=True)
class Speed:
    """What is known of the speed of a build here."""

    rates: Mapping[str, Rate]
    parallelism: float
    idle_s: float  # of a build, besides its stages
    has_gpu: bool


def speed_here(root: Path, settings: Mapping[str, Any]) -> Speed:
    """The rates by stage: of this dataset's builds on this machine; else of datasets beside it; else as shipped."""
    here = machine()
    own = alike(read_builds(root), here)
    rates = shipped_rates(settings["transcriber"], here)
    rates |= rates_of(_neighbours(root), settings, "of datasets beside this one")
    rates |= rates_of(own, settings, "of this dataset")
    worked = [build for build in own if any(stage["num_items"] for stage in build["stages"])]
    return Speed(rates, parallelism(worked), idle_seconds(worked), bool(here["gpus"]))


def _neighbours(root: Path) -> list[Mapping[str, Any]]:
    """The builds of datasets in the same folder, on a machine like this one."""
    try:
        if is_remote(root):
            return []
        files = sorted(root.absolute().parent.glob(f"*/{NAME}"))[:MOST_NEIGHBOURS]
    except OSError:
        return []
    builds = [build for file in files if file.parent != root.absolute() for build in read_builds(file.parent)]
    return alike(builds, machine())


def for_this_work(speed: Speed, stages: Sequence[PlannedStage]) -> Speed:
    """The speed where recordings are classified or fingerprinted that are not decoded by ingest as well.

    Ingest does these two on the way, so that they take next to nothing after it; alone they take a decoding.
    """
    todo = {stage.name: stage.num_expected for stage in stages}
    ingest = speed.rates.get("ingest")
    if ingest is None:
        return speed
    rates = dict(speed.rates)
    for name in ("classify", "fingerprint"):
        own = rates.get(name)
        if own is not None and todo.get(name, 0) > 2 * todo.get("ingest", 0) and _is_quicker(own, ingest):
            rates[name] = replace(ingest, basis=f"{ingest.basis} (ingest, which does it on the way)", factor=own.factor)
    return replace(speed, rates=rates)


def _is_quicker(one: Rate, other: Rate) -> bool:
    return one.seconds_an_audio_s < other.seconds_an_audio_s


@dataclass(frozen=True)
class WallTime:
    """Seconds; None where a stage's speed is not known."""

    expected: float | None
    low: float | None
    high: float | None
    at_most: float | None


def with_times(stages: Sequence[PlannedStage], speed: Speed) -> list[PlannedStage]:
    """The stages with the time that each takes on this machine, and on what that is based."""
    return [_timed(stage, speed.rates.get(stage.name)) for stage in stages]


def _timed(stage: PlannedStage, rate: Rate | None) -> PlannedStage:
    if rate is None:
        return replace(stage, basis="")
    seconds = rate.seconds(stage.num_expected, stage.audio_expected_s) / rate.num_workers if stage.num_expected else 0.0
    return replace(stage, seconds=seconds, basis=rate.basis)


def wall_time(stages: Sequence[PlannedStage], num_candidates: int, speed: Speed, cluster: Cluster) -> WallTime:
    """How long all of it takes. Steps on the whole dataset run on one machine. Raises `ConfigInvalid`."""
    rates = _on(cluster, speed)
    expected = {one.name: Load(one.num_expected, one.audio_expected_s) for one in stages}
    at_most = {one.name: Load(one.num_at_most, one.audio_at_most_s) for one in stages}
    together = {name: Load(num_candidates) for name in GLOBAL if name in speed.rates}
    after = seconds_of(together, speed.rates, 1.0) or 0.0

    def lasts(loads: Mapping[str, Load], is_pessimistic: bool | None = None) -> float | None:
        seconds = seconds_of(loads, rates, speed.parallelism, is_pessimistic)
        return None if seconds is None else seconds + after + speed.idle_s

    return WallTime(lasts(expected), lasts(expected, False), lasts(expected, True), lasts(at_most))


def _on(cluster: Cluster, speed: Speed) -> dict[str, Rate]:
    """The rates of all machines together, as if they were one."""
    cores = int(machine()["cores"])
    if cluster.gpus and not speed.has_gpu and not all("transcribe" in one.rates for one in cluster.machines):
        raise ConfigInvalid(
            f"{cluster.name}: has GPUs, and none was measured here. Name the speed of each machine: "
            "rates = { transcribe = 900.0 }, in x real time."
        )
    rates = {}
    for name, rate in speed.rates.items():
        times = cluster.speedup(name, rate, cores)
        rates[name] = replace(
            rate,
            seconds_an_item=rate.seconds_an_item / times,
            seconds_an_audio_s=rate.seconds_an_audio_s / times,
        )
    return rates


def machines_in_words(cluster: Cluster) -> str:
    """Which machines a plan is for."""
    if cluster.is_this:
        here = described(machine())
        return f"this machine ({here})" if cluster.count == 1 else f"{cluster.count} machines like this one ({here})"
    return f"{cluster.name} ({', '.join(f'{one.count} x {one.name}' for one in cluster.machines)})"


def dollars_of(cluster: Cluster, seconds: float | None) -> float | None:
    """What the machines cost for so long; None without a price or a time."""
    price = cluster.price_per_hour
    return None if price is None or seconds is None else price * seconds / 3600
