"""What a build and a fetch say of themselves when they end."""

from __future__ import annotations

from dataclasses import dataclass

from aria_data.storage.ledger import Balance


@dataclass(frozen=True)
class StageTime:
    """What one stage did in this build."""

    num_done_before: int
    num_worked_on: int
    audio_s: float  # of the items worked on
    seconds: float


@dataclass(frozen=True)
class BuildSummary:
    """How a build ended."""

    version: int  # 0: nothing was ever released
    is_new_version: bool
    num_files: int
    num_notes: int
    audio_s: float
    subsets: dict[str, int]
    rejections: dict[str, int]  # "stage: reason" -> items
    outside_subsets: dict[str, int]  # "subset: reason" -> segments in the manifest but not in that subset
    failures: list[str]  # one line each
    not_done: list[str]
    candidates: Balance | None
    segments: Balance | None
    stages: dict[str, StageTime]
    left_aside: dict[str, int]  # files whose names say that they are not audio, by ending


@dataclass(frozen=True)
class FetchSummary:
    """How fetching ended."""

    num_fetched: int
    num_fetched_before: int
    num_bytes: int
    audio_s: float
    kinds: dict[str, int]  # candidates not fetched, by kind
    lines: list[str]  # one a candidate not fetched
    seconds: float
