"""What follows from results that are not there yet: how many recordings new files give, how many segments, how long.

Shares are those of the dataset itself, where it holds enough recordings; else those that come with the code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from aria_data.records import Recording
from flows.engine.stages import ANNOTATE, CLASSIFY, FINGERPRINT, INGEST, MEASURE, SCREEN, SEGMENT, TRANSCRIBE
from flows.plan.replay import Replay, StageWork
from flows.show.summaries import PlannedStage
from flows.speed.expected import Load, shipped_shares

ENOUGH = 5  # recordings from which a dataset's own shares are taken


@dataclass(frozen=True, slots=True)
class Shares:
    """What can be expected of one new file, and on what that is based."""

    recordings: float  # of a file: it is whole, audible and no copy
    recording_s: float
    with_piano: float  # of recordings
    segments: float  # of a recording
    segment_s: float
    piano: float  # of the seconds of all recordings
    basis: str


def shares_of_dataset(replay: Replay) -> Shares:
    """The shares of the recordings whose results are known; as shipped where they are too few."""
    found, work = replay.found, replay.work
    recordings = {key: one for key, one in found.recordings.items() if key not in replay.unsegmented}
    segmented = [found.numbered.get(key, []) for key in recordings]
    if len(recordings) < ENOUGH:
        shipped = shipped_shares()
        return Shares(
            shipped["classify"].items,
            shipped["classify"].audio_s,
            shipped["fingerprint"].items,
            shipped["transcribe"].items,
            shipped["transcribe"].audio_s,
            shipped["transcribe"].items * shipped["transcribe"].audio_s / shipped["classify"].audio_s,
            "a guess for a folder of music: this dataset has too few recordings to go by",
        )
    segments = [one for of in segmented for one in of]
    lasts_s, piano_s = (
        sum(one.duration_s for one in recordings.values()),
        sum(one.end_s - one.start_s for one in segments),
    )
    tried = work[INGEST.name].num_done or len(recordings)
    return Shares(
        min(1.0, len(found.recordings) / tried),
        lasts_s / len(recordings),
        sum(map(bool, segmented)) / len(recordings),
        len(segments) / len(recordings),
        piano_s / len(segments) if segments else 0.0,
        piano_s / lasts_s if lasts_s else 0.0,
        f"{len(recordings):,} recordings of this dataset: {sum(map(bool, segmented)) / len(recordings):.0%} have piano",
    )


@dataclass(frozen=True, slots=True)
class Following:
    """What comes to a stage besides the items that are known."""

    expected: Load = Load()
    at_most: Load = Load()


def planned_stages(replay: Replay) -> list[PlannedStage]:
    """The stages in order, with what they have to do for certain, as expected, and at most."""
    shares = shares_of_dataset(replay)
    following = _following(replay, shares)
    return [_planned(work, following.get(name, Following()), shares) for name, work in replay.work.items()]


def _planned(work: StageWork, following: Following, shares: Shares) -> PlannedStage:
    known = Load(sum(chance for _, chance in work.todo), sum(item.audio_s * chance for item, chance in work.todo))
    all_known = Load(len(work.todo), sum(item.audio_s for item, _ in work.todo))
    expected, at_most = known + following.expected, all_known + following.at_most
    num_expected = _whole(expected.num_items)
    is_counted = not following.at_most.num_items and all(chance == 1 for _, chance in work.todo)
    return PlannedStage(
        name=work.name,
        num_done=work.num_done,
        num_certain=work.num_certain,
        audio_certain_s=work.audio_certain_s,
        num_expected=num_expected,
        audio_expected_s=expected.audio_s,
        num_at_most=max(num_expected, math.ceil(at_most.num_items - 1e-6)),
        audio_at_most_s=max(expected.audio_s, at_most.audio_s),
        estimate=work.estimate if is_counted else work.estimate or shares.basis,
    )


def _whole(number: float) -> int:
    """To the next whole number, but never to nothing where there is something."""
    return max(round(number), 1 if number > 0.05 else 0)


def _following(replay: Replay, shares: Shares) -> Mapping[str, Following]:
    """What new files, and recordings that were never cut into segments, give to the stages after them."""
    num_files = sum(chance for _, chance in replay.unknown_files)
    num_at_most = len(replay.unknown_files) + replay.maybe_decoded
    lengths = [item.audio_s for item, _ in replay.unknown_files if item.audio_s]
    length_s = sum(lengths) / len(lengths) if lengths else shares.recording_s
    new = _load(num_files * shares.recordings, length_s)
    most_new = _load(num_at_most, length_s)
    waiting = Load(len(replay.never_segmented), sum(one.duration_s for one in replay.never_segmented))
    uncut, most_uncut = new + waiting, most_new + waiting
    may_change = _may_change(replay)
    unused = [one for one in may_change if not replay.found.numbered.get(one.recording_id)]
    most_used = most_uncut + Load(len(unused), sum(one.duration_s for one in unused))
    segments = Load(uncut.num_items * shares.segments, uncut.audio_s * shares.piano)
    most_segments = _most(most_uncut.audio_s + sum(one.duration_s for one in may_change), _in_todo(replay), shares)
    with_piano = _scaled(uncut, shares.with_piano)
    return {
        SCREEN.name: Following(),
        INGEST.name: _to_decode(replay),
        CLASSIFY.name: Following(new, most_new),
        SEGMENT.name: Following(new, most_new),
        FINGERPRINT.name: Following(with_piano, most_used),
        TRANSCRIBE.name: Following(segments, most_segments),
        MEASURE.name: Following(segments, most_segments),
        ANNOTATE.name: Following(Load(with_piano.num_items), Load(most_used.num_items)),
    }


def _to_decode(replay: Replay) -> Following:
    """What is fetched is decoded afterwards; a file of the user's is among the items already."""
    known = {item.item_id for item, _ in replay.work[INGEST.name].todo}
    more = [(item, chance) for item, chance in replay.unknown_files if item.item_id not in known]
    lasts = sum(item.audio_s for item, _ in more)
    return Following(Load(sum(chance for _, chance in more), lasts), Load(len(more), lasts))


def _may_change(replay: Replay) -> list[Recording]:
    """The recordings that have segments, or none, and may get others."""
    never = {one.recording_id for one in replay.never_segmented}
    return [replay.found.recordings[key] for key in replay.unsegmented if key not in never]


def _in_todo(replay: Replay) -> float:
    """The audio to transcribe that is counted already, of recordings whose segments may change."""
    todo = replay.work[TRANSCRIBE.name].todo
    return sum(item.audio_s for item, _ in todo if item.payload[1].recording_id in replay.unsegmented)


def _most(audio_s: float, counted_s: float, shares: Shares) -> Load:
    """If every second of this audio were piano: what comes on top of the audio that is counted already."""
    more_s = max(0.0, audio_s - counted_s)
    return Load(more_s / shares.segment_s if shares.segment_s else 0.0, more_s)


def _load(num_items: float, each_s: float) -> Load:
    return Load(num_items, num_items * each_s)


def _scaled(load: Load, by: float) -> Load:
    return Load(load.num_items * by, load.audio_s * by)
