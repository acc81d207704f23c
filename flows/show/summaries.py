"""The results that builds and fetches return and `flows.show` prints."""

from __future__ import annotations

from dataclasses import dataclass, field

from aria_data.storage.balance import Balance


@dataclass(frozen=True)
class StageTime:
    """What one stage did in this build."""

    num_done_before: int  # items
    num_worked_on: int  # items
    audio_s: float  # seconds of audio of the items worked on
    seconds: float  # wall time


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
