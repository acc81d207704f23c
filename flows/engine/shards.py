"""A shard: some candidates on their way through the stages together, and what the stages found of them.

Records stay with a shard only while it is on its way. What remains of it are keys, rejections and what is not done.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import NamedTuple

from aria_data.records import Candidate, Rejection
from aria_data.storage.stage_tables import FAILED, Outcome
from flows.engine.context import Pending
from flows.engine.items import BuildState

BLOCK = 16_384  # candidates whose finished work is looked up together
FIRST = (
    4  # so many shards are small, so that every lane has something to do soon, and the first MIDI file is there soon
)
MAX_FIRST = 2  # candidates of the first; each has four times as many as the one before
MAX_FIRST_S = 150.0  # and its audio, of which each has four times as much: a minute of transcription on two slow cores
LOSSLESS = frozenset({".wav", ".flac", ".aif", ".aiff", ".wv", ".ape", ".w64", ".caf", ".dsf"})
BYTES_PER_S, BYTES_PER_S_LOSSLESS = 20_000, 100_000  # 160 kbit/s; FLAC of CD quality


class Key(NamedTuple):
    """A finished item of a stage, and the key of its outcome."""

    item_id: str
    candidate_id: str
    key: str


@dataclass
class Shard:
    """Some candidates, and what was found of them so far."""

    number: int
    found: BuildState
    known: Mapping[str, Mapping[str, Outcome]] = field(default_factory=dict)  # stage -> key -> what was looked up
    rejections: list[Rejection] = field(default_factory=list)
    not_done: dict[str, Pending] = field(default_factory=dict)  # by item_id
    keys: dict[str, list[Key]] = field(default_factory=lambda: defaultdict(list))  # by stage, of what is not rejected
    known_to: dict[str, list[str]] = field(
        default_factory=lambda: defaultdict(list)
    )  # stage -> candidates, an item each
    undone: set[str] = field(default_factory=set)  # candidates for which a look found work
    unsettled: set[str] = field(default_factory=set)  # candidates for which the next build may find something else
    files: list[tuple[str, str]] = field(default_factory=list)  # candidate, and a file that its results need
    is_complete: bool = True  # every item has an outcome that the next build takes as it is

    def reject(self, step: str, candidate_id: str, outcome: Outcome) -> None:
        """Note an outcome that is no result."""
        self.rejections.append(
            Rejection(
                item_id=outcome.item_id,
                candidate_id=candidate_id,
                source_url=self.found.candidates[candidate_id].source_url,
                stage=step,
                reason=outcome.reason,
                measured=outcome.measured,
                detail=outcome.detail,
                is_failure=outcome.status == FAILED,
            )
        )

    def without(self, candidate_ids: Collection[str]) -> Shard:
        """What was found of the other candidates, whose work is finished; `found` is left out."""
        kept = {
            name: [one for one in keys if one.candidate_id not in candidate_ids] for name, keys in self.keys.items()
        }
        known_to = {name: [one for one in ids if one not in candidate_ids] for name, ids in self.known_to.items()}
        rejections = [one for one in self.rejections if one.candidate_id not in candidate_ids]
        files = [one for one in self.files if one[0] not in candidate_ids]
        unsettled = self.unsettled.difference(candidate_ids)
        return Shard(
            self.number,
            BuildState(),
            rejections=rejections,
            keys=kept,
            known_to=known_to,
            unsettled=unsettled,
            files=files,
        )


def blocks_of(candidates: Sequence[Candidate], size: int = 0) -> Iterator[Sequence[Candidate]]:
    """Cut candidates into blocks, in order."""
    size = size or BLOCK
    for start in range(0, len(candidates), size):
        yield candidates[start : start + size]


def cut(
    candidates: Iterable[Candidate],
    num_before: int,
    max_items: int,
    max_audio_s: float,
    times: Callable[[], int] = lambda: 1,
) -> Iterator[list[Candidate]]:
    """Cut candidates into shards, in order: at most `max_items`, and about `max_audio_s` unless one alone is longer;
    both `times` as many, which is asked for each shard.

    The first `FIRST` of a build, of which `num_before` were cut before, are small.
    """
    shard: list[Candidate] = []
    audio_s, number = 0.0, num_before

    def limits() -> tuple[int, float]:
        if number < FIRST:
            return min(MAX_FIRST * 4**number, max_items), min(MAX_FIRST_S * 4**number, max_audio_s)
        return max_items * times(), max_audio_s * times()

    limit, limit_s = limits()
    for candidate in candidates:
        seconds = seconds_of(candidate)
        if shard and (len(shard) >= limit or audio_s + seconds > limit_s):
            yield shard
            shard, audio_s, number = [], 0.0, number + 1
            limit, limit_s = limits()
        shard.append(candidate)
        audio_s += seconds
    if shard:
        yield shard


def seconds_of(candidate: Candidate) -> float:
    """About how long a candidate's audio is: as announced, else by its size."""
    if candidate.announced_duration_s:
        return candidate.announced_duration_s
    is_lossless = PurePath(candidate.location).suffix.lower() in LOSSLESS
    return (candidate.num_bytes or 0) / (BYTES_PER_S_LOSSLESS if is_lossless else BYTES_PER_S)
