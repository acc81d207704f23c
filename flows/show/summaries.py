"""The results that builds and fetches return and `flows.show` prints."""

from __future__ import annotations

from dataclasses import dataclass, field

from aria_data.storage.balance import Balance

MAX_X_REAL_TIME = 5_000.0  # no sound is decoded as fast: what is faster took what another stage had made on its way


@dataclass(frozen=True)
class StageTime:
    """What one stage did in this build."""

    num_done_before: int  # items
    num_worked_on: int  # items
    audio_s: float  # seconds of audio of the items worked on
    seconds: float  # wall time


@dataclass(frozen=True)
class WorkerSpeed:
    """What one worker (a thread, a process, a GPU) did at one stage. All times are wall time."""

    num_items: int
    audio_s: float
    working_s: float
    waiting_for_input_s: float
    waiting_for_room_s: float  # in the queue of the next stage


@dataclass(frozen=True)
class StageSpeed:
    """What one stage did so far, while a build runs or after it. Times are in seconds since the build began."""

    name: str
    num_done_before: int  # items
    num_expected: int  # items to work on, as far as is known yet
    audio_expected_s: float  # of these
    is_complete: bool  # nothing more is expected
    began_s: float
    ended_s: float  # of a stage that is not complete: now
    workers: dict[str, WorkerSpeed]
    queue: int | None = None  # how much waits before it; None where there is no queue
    queue_room: int = 0
    num_bytes: int = 0  # that were fetched
    rejected: dict[str, int] = field(default_factory=dict)  # items by reason
    failed: dict[str, int] = field(default_factory=dict)
    not_done: dict[str, int] = field(default_factory=dict)

    @property
    def num_items(self) -> int:
        return sum(worker.num_items for worker in self.workers.values())

    @property
    def audio_s(self) -> float:
        return sum(worker.audio_s for worker in self.workers.values())

    @property
    def working_s(self) -> float:
        """Summed over the workers."""
        return sum(worker.working_s for worker in self.workers.values())

    @property
    def x_real_time(self) -> float | None:
        """Seconds of audio a second, of all workers together while they work; None where nothing was measured.

        What was done beside them, as results that an earlier stage made on its way, is left out: nobody's time is its.
        """
        timed = [worker for worker in self.workers.values() if worker.working_s > 0]
        audio_s = sum(worker.audio_s for worker in timed)
        return audio_s * len(timed) / self.working_s if audio_s and timed else None

    @property
    def working_share(self) -> float | None:
        """Which share of the time its workers worked, rather than waited; None where nothing was measured."""
        waited = sum(one.waiting_for_input_s + one.waiting_for_room_s for one in self.workers.values())
        return self.working_s / (self.working_s + waited) if self.working_s + waited else None


@dataclass(frozen=True)
class PlannedStage:
    """What a build would do at one stage. Where `estimate` is "", the numbers to do are exact."""

    name: str
    num_done: int  # items
    num_certain: int  # items that are to be done whatever earlier stages give
    audio_certain_s: float
    num_expected: int  # items to do, with what earlier stages are expected to give
    audio_expected_s: float  # 0 where its length is not known
    num_at_most: int
    audio_at_most_s: float
    estimate: str = ""  # what `num_expected` is based on, where it is no count
    seconds: float | None = None  # of one machine, expected; None where no speed is known
    basis: str = ""  # where the speed was measured


@dataclass(frozen=True)
class Plan:
    """What a build would do and take. Seconds are wall time, dollars those of machines and of language models."""

    stages: list[PlannedStage]
    is_anything_to_do: bool
    seconds: float | None  # expected; None where a speed is not known
    seconds_low: float | None
    seconds_high: float | None
    seconds_at_most: float | None  # if all that may have to be done has to
    machines: str  # on which machines
    dollars_machines: float | None  # None without a price
    dollars_models: float | None  # None where no model is asked, or its price is not known
    models: list[str] = field(default_factory=list)  # what would be asked, one line a step
    remarks: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)  # what cannot be planned, as a source on the web


@dataclass(frozen=True)
class BuildSummary:
    """The result of a build."""

    version: int  # 0: nothing was ever released
    is_new_version: bool
    num_files: int  # of the newest version, as are the next three
    num_notes: int
    audio_s: float
    subsets: dict[str, int]  # column -> files
    rejections: dict[str, int]  # "stage: reason" -> items
    outside_subsets: dict[str, int]  # "subset: reason" -> segments in the manifest but not in that subset
    failures: list[str]  # one line each
    not_done: list[str]
    candidates: Balance | None
    segments: Balance | None
    stages: dict[str, StageTime]
    left_aside: dict[str, int]  # files whose names are not those of audio, by ending
    notes: list[str] = field(default_factory=list)  # on odd files that were read all the same, one line each
    warnings: list[str] = field(default_factory=list)  # on the dataset as a whole
    plan: Plan | None = None  # of a dry run


@dataclass(frozen=True)
class FetchSummary:
    """The result of fetching."""

    num_fetched: int
    num_fetched_before: int
    num_bytes: int  # of the new ones
    audio_s: float  # of the new ones
    kinds: dict[str, int]  # candidates not fetched, by kind of failure (`aria_data.web.KINDS`) or reason
    lines: list[str]  # one for each candidate not fetched
    seconds: float  # wall time
