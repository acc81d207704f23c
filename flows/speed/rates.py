"""How long a stage takes: of the builds in `perf.json`, or, where there is none, as measured when the code was written.

A stage's work is counted in items, or in seconds of audio where its time depends on that.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.speed.machine import is_alike

BY_AUDIO = frozenset({"download", "ingest", "classify", "fingerprint", "transcribe", "measure"})
# the work before each stage, whose results give it its items
AFTER = {
    "screen": "",
    "download": "screen",
    "ingest": "screen",  # or download
    "classify": "ingest",
    "segment": "classify",
    "fingerprint": "segment",
    "transcribe": "segment",
    "measure": "transcribe",
    "annotate": "segment",
}
DECIDING = {  # settings on which the speed of a stage depends
    "screen": ("scorer",),
    "transcribe": ("transcriber", "device"),
    "measure": ("second_transcriber", "device"),
    "annotate": ("annotator",),
}
GLOBAL = ("collect", "prune", "deduplicate", "release")  # steps on all candidates at once
SHIPPED = Path(__file__).with_name("shipped_rates.toml")
ENOUGH_AUDIO_S, ENOUGH_ITEMS = 600.0, 50  # measured on less, a rate is half or twice as much
FACTOR_OF_MUCH, FACTOR_OF_LITTLE, FACTOR_OF_ANOTHER_MACHINE = 1.25, 2.0, 3.0


@dataclass(frozen=True, slots=True)
class Rate:
    """What one worker needs for a stage's work, and on what that was measured."""

    seconds_an_item: float
    seconds_an_audio_s: float  # 0: its time does not depend on the length of the audio
    num_workers: int  # that worked at the same time
    num_items: int
    audio_s: float
    basis: str  # whence it is, for people
    factor: float  # the time may be this many times shorter or longer

    def seconds(self, num_items: float, audio_s: float) -> float:
        """The time that one worker would need. Where the length of the audio is not known, an item is as those were."""
        if self.seconds_an_audio_s and audio_s:
            return audio_s * self.seconds_an_audio_s
        return num_items * self.seconds_an_item

    @property
    def x_real_time(self) -> float | None:
        return 1 / self.seconds_an_audio_s if self.seconds_an_audio_s else None


def rates_of(builds: Sequence[Mapping[str, Any]], settings: Mapping[str, Any], whose: str) -> dict[str, Rate]:
    """Rates by stage, of all work in these entries of `perf.json` together, as far as models were those of `settings`.

    `whose` builds they are is for people.
    """
    sums: dict[str, list[tuple[float, float, float]]] = {}
    workers: dict[str, int] = {}
    for had, stage in ((one.get("settings", {}), stage) for one in builds for stage in one["stages"]):
        name = stage["stage"]
        is_alike = all(had.get(key) == settings.get(key) for key in DECIDING.get(name, ()))
        if is_alike and stage.get("num_items") and stage.get("working_s"):
            sums.setdefault(name, []).append(_timed(stage))
            workers[name] = num_workers_of(stage)
    return {name: _rate(name, of, workers[name], f"{_builds(len(of))} {whose}") for name, of in sums.items()}


def _timed(stage: Mapping[str, Any]) -> tuple[float, float, float]:
    """Items, seconds of audio and of work of a stage, without what was done beside its workers in nobody's time."""
    timed = [one for one in (stage.get("workers") or {}).values() if one.get("working_s") and one.get("num_items")]
    of = timed or [stage]
    return sum(one["num_items"] for one in of), sum(one["audio_s"] for one in of), stage["working_s"]


def num_workers_of(stage: Mapping[str, Any]) -> int:
    """How many workers a stage had, by an entry of `perf.json`: those that worked, not a lane that waited for them."""
    return sum(1 for one in (stage.get("workers") or {}).values() if one.get("working_s")) or 1


def _builds(count: int) -> str:
    return "1 build" if count == 1 else f"{count} builds"


def _rate(name: str, measured: Sequence[tuple[float, float, float]], num_workers: int, basis: str) -> Rate:
    num_items, audio_s, working_s = (sum(column) for column in zip(*measured, strict=True))
    is_by_audio = name in BY_AUDIO and audio_s > 0
    is_much = audio_s >= ENOUGH_AUDIO_S if is_by_audio else num_items >= ENOUGH_ITEMS
    return Rate(
        seconds_an_item=working_s / num_items,
        seconds_an_audio_s=working_s / audio_s if is_by_audio else 0.0,
        num_workers=num_workers,
        num_items=round(num_items),
        audio_s=audio_s,
        basis=basis,
        factor=FACTOR_OF_MUCH if is_much else FACTOR_OF_LITTLE,
    )


def alike(builds: Sequence[Mapping[str, Any]], machine: dict[str, Any]) -> list[Mapping[str, Any]]:
    """The builds that ran on such a machine: what they measured holds there."""
    return [build for build in builds if is_alike(build["machine"], machine)]


@functools.cache
def shipped() -> dict[str, Any]:
    """What `shipped_rates.toml` holds: the machines on which rates were measured, and shares by stage."""
    return tomllib.loads(SHIPPED.read_text("utf-8"))


def shipped_rates(transcriber: str, of_machine: Mapping[str, Any]) -> dict[str, Rate]:
    """The rates that come with the code, for such a machine. What was not measured has none: another transcriber, or a
    GPU."""
    machines = shipped()["machine"]
    measured = next((one for one in machines if set(one["flags"]) <= set(of_machine["flags"])), machines[-1])
    basis = f"measured on {measured['name']} ({measured['measured']})"
    return {
        name: Rate(
            seconds_an_item=each["seconds_an_item"],
            seconds_an_audio_s=1 / each["x_real_time"] if "x_real_time" in each else 0.0,
            num_workers=1,
            num_items=0,
            audio_s=0.0,
            basis=basis,
            factor=FACTOR_OF_ANOTHER_MACHINE,
        )
        for name, each in measured["stages"].items()
        if name != "transcribe" or (transcriber in each["transcribers"] and not of_machine["gpus"])
    }


def parallelism(builds: Sequence[Mapping[str, Any]]) -> float:
    """How many stages worked at the same time, on average: 1 where they follow each other."""
    worked = sum(stage["working_s"] for build in builds for stage in build["stages"])
    lasted = sum(build["wall_s"] for build in builds)
    return max(1.0, worked / lasted) if lasted else 1.0


def idle_seconds(builds: Sequence[Mapping[str, Any]]) -> float:
    """What a build takes besides its stages, the median of these builds: to look up what is done, to load libraries."""
    idle = sorted(max(0.0, build["wall_s"] - sum(one["working_s"] for one in build["stages"])) for build in builds)
    return idle[len(idle) // 2] if idle else 0.0
