"""How much work is left in a build, with what its stages will still give to those after them, and how long it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from flows.show.summaries import StageSpeed
from flows.speed.rates import AFTER, FACTOR_OF_LITTLE, FACTOR_OF_MUCH, Rate, rates_of, shipped

RECORDINGS = "recordings"  # the name under which a build counts all candidates
ENOUGH_OF_THIS_RUN = 20  # items of the stage before, from which this run itself says how many of them go on
ENOUGH_WORK_S = 10.0  # of a stage in this run, from which its speed is taken from it


@dataclass(frozen=True, slots=True)
class Load:
    """Work of a stage: items, and seconds of their audio as far as it is known."""

    num_items: float = 0.0
    audio_s: float = 0.0

    def __add__(self, other: Load) -> Load:
        return Load(self.num_items + other.num_items, self.audio_s + other.audio_s)


@dataclass(frozen=True, slots=True)
class Share:
    """How many items of a stage come from one of the stage before, and how long each is; known within a factor."""

    items: float
    audio_s: float  # of an item
    factor: float = FACTOR_OF_LITTLE


NOTHING = Share(0.0, 0.0)  # what is fetched, of candidates of which nothing is known: most are files


def shares_of(builds: Sequence[Mapping[str, Any]]) -> dict[str, Share]:
    """What earlier builds of a dataset say: of the last one that got so far, how many items came to each stage."""
    shares: dict[str, Share] = {}
    for build in builds:
        stages = {stage["stage"]: stage for stage in build["stages"]}
        came = {name: one["num_done_before"] + one["num_expected"] for name, one in stages.items()}
        for name in AFTER:
            before = before_of(name, bool(came.get("download")))
            if came.get(before) and name in came and build["is_finished"]:
                length_s = stages[name]["audio_s"] / stages[name]["num_items"] if stages[name]["num_items"] else 0.0
                length_s = length_s or (shares[name].audio_s if name in shares else 0.0)
                factor = FACTOR_OF_MUCH if came[before] >= ENOUGH_OF_THIS_RUN else FACTOR_OF_LITTLE
                shares[name] = Share(came[name] / came[before], length_s, factor)
    return shares


def shipped_shares() -> dict[str, Share]:
    """What can be expected of a folder of music of which nothing is known."""
    return {name: Share(**each) for name, each in shipped()["shares"].items()}


def before_of(stage: str, has_downloads: bool) -> str:
    """The stage whose results are the items of this one; "" for the first."""
    return "download" if stage == "ingest" and has_downloads else AFTER[stage]


def seconds_of(
    loads: Mapping[str, Load], rates: Mapping[str, Rate], parallelism: float, is_pessimistic: bool | None = None
) -> float | None:
    """The wall time of these loads: as many stages work at the same time as before, and none is faster than its
    workers. `is_pessimistic` takes each rate at its worst (False: at its best). None where a rate is missing."""
    busy, longest = 0.0, 0.0
    for name, load in loads.items():
        if load.num_items <= 0:
            continue
        if name not in rates:
            return None
        rate = rates[name]
        factor = 1.0 if is_pessimistic is None else rate.factor if is_pessimistic else 1 / rate.factor
        seconds = rate.seconds(load.num_items, load.audio_s) * factor
        busy += seconds
        longest = max(longest, seconds / rate.num_workers)
    return max(busy / parallelism, longest)


@dataclass(frozen=True)
class TimeLeft:
    """Says how long the rest of a build takes, from what its stages did so far and what earlier builds tell.

    `rates` and `shares` are of earlier builds, or come with the code. What this run measures goes before them.
    """

    rates: Mapping[str, Rate]
    shares: Mapping[str, Share]

    def __call__(self, stages: Mapping[str, StageSpeed]) -> tuple[float, float] | None:
        """Seconds at least and at most; None where nothing can be said yet, or nothing is left."""
        now = max((stage.ended_s for stage in stages.values()), default=0.0)
        worked = sum(stage.working_s for stage in stages.values())
        parallelism = max(1.0, worked / now) if now else 1.0
        rates = {**self.rates, **self._measured(stages)}
        bounds = []
        for sign in (-1, 1):
            loads = self._loads_left(stages, sign)
            seconds = None if loads is None else seconds_of(loads, rates, parallelism, sign > 0)
            if not seconds:
                return None
            bounds.append(seconds)
        return min(bounds), max(bounds)

    def _measured(self, stages: Mapping[str, StageSpeed]) -> dict[str, Rate]:
        enough = [stage for stage in stages.values() if stage.working_s >= ENOUGH_WORK_S and stage.num_items]
        measured = [
            {
                "stage": stage.name,
                "num_items": stage.num_items,
                "audio_s": stage.audio_s,
                "working_s": stage.working_s,
                "workers": {name: asdict(worker) for name, worker in stage.workers.items()},
            }
            for stage in enough
        ]
        of_this_run = rates_of([{"stages": measured}], {}, "that runs now")
        return {name: replace(rate, factor=1 + 1 / rate.num_items**0.5) for name, rate in of_this_run.items()}

    def _loads_left(self, stages: Mapping[str, StageSpeed], sign: int) -> dict[str, Load] | None:
        """What is left for each stage; `sign` takes uncertain shares at their lowest (-1) or highest (1).

        None where what comes to a stage is not known at all.
        """
        totals: dict[str, Load] = {}  # what came, and will come
        left: dict[str, Load] = {}
        has_downloads = "download" in stages and _came(stages["download"]) > 0
        has_downloads = has_downloads or ("download" in self.shares and self.shares["download"].items > 0)
        for name in AFTER:
            stage, before = stages.get(name), before_of(name, has_downloads)
            came = Load() if stage is None else Load(_came(stage), stage.audio_expected_s)
            if not before and RECORDINGS in stages:  # each of them has its text read
                came = Load(max(came.num_items, stages[RECORDINGS].num_expected), came.audio_s)
            totals[name] = came
            if not _is_all_known(stage, stages.get(before)) and totals.get(before, Load()).num_items > 0:
                share = self._share(name, before, stages)
                if share is None:
                    return None
                num_more = max(0.0, totals[before].num_items * share.items * share.factor**sign - came.num_items)
                totals[name] = came + Load(num_more, num_more * share.audio_s)
            left[name] = _left_of(stage, totals[name])
        return left

    def _share(self, name: str, before: str, stages: Mapping[str, StageSpeed]) -> Share | None:
        """How many items come to a stage for one of the stage before: in this run, if enough is done, or earlier."""
        one, of = stages.get(name), stages.get(before)
        told = self.shares.get(name, NOTHING if name == "download" else None)
        num_done = 0 if of is None else of.num_items + of.num_done_before
        if one is None or num_done < ENOUGH_OF_THIS_RUN or not _came(one):
            return told
        length_s = one.audio_expected_s / one.num_expected if one.num_expected else told.audio_s if told else 0.0
        return Share(_came(one) / num_done, length_s, 1 + 2 / num_done**0.5)


def _came(stage: StageSpeed) -> int:
    return stage.num_done_before + stage.num_expected


def _is_all_known(stage: StageSpeed | None, before: StageSpeed | None) -> bool:
    """Whether everything that will come to a stage has come."""
    if stage is None:
        return False
    return stage.is_complete or (before is not None and before.is_complete and _came(stage) > 0)


def _left_of(stage: StageSpeed | None, total: Load) -> Load:
    if stage is None:
        return total
    if stage.is_complete:
        return Load()
    num_done = stage.num_done_before + stage.num_items
    return Load(max(0.0, total.num_items - num_done), max(0.0, total.audio_s - stage.audio_s))
