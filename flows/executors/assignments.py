"""Work of a stage that is done in another process, maybe on another machine: what is sent there, and what comes back.

An `Assignment` and the messages are plain, picklable values. `work_off` is the other side: it has the models, each
loaded when it is first needed and kept as long as the process lives.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aria_data.config import BuildConfig
from aria_data.storage import open_root
from aria_data.storage.stage_tables import Outcome
from aria_data.transcribe import Compute
from flows.engine.context import Ahead, BuildContext, Item, NotDone, Pending, Stage
from flows.engine.stages import CLASSIFY, FINGERPRINT, INGEST, MEASURE, TRANSCRIBE
from flows.executors.parcels import scratch

STAGES = {stage.name: stage for stage in (INGEST, CLASSIFY, FINGERPRINT, TRANSCRIBE, MEASURE)}  # that can be sent


@dataclass(frozen=True)
class Setup:
    """What the work needs besides its items. A process that has worked with the same one has the models still."""

    root: str  # the dataset's folder there; "": there is none, files are sent to and fro
    config: BuildConfig
    compute: Compute
    num_threads: int

    @classmethod
    def of(cls, context: BuildContext) -> Setup:
        """The setup of processes that see the same folders as this one."""
        return cls(str(context.root), context.config, context.compute, context.num_threads)


@dataclass(frozen=True, slots=True)
class Assignment:
    """Items of one stage."""

    setup: Setup
    stage: str
    items: tuple[Item, ...]
    traces: Mapping[str, Any] = field(default_factory=dict)  # `BuildContext.traces` of these items
    places: Mapping[str, str] = field(default_factory=dict)  # where files are there, by location


@dataclass(frozen=True, slots=True)
class Begun:
    """Work on an item has begun."""

    item_id: str


@dataclass(frozen=True, slots=True)
class Finished:
    """An item's outcome, and what was made on the way for later stages: see `BuildContext`."""

    outcome: Outcome
    ahead: Mapping[str, Ahead] = field(default_factory=dict)
    traces: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)  # that were written, where there is no dataset's folder
    worker: str = ""  # who did it: machine and process


@dataclass(frozen=True, slots=True)
class Rest:
    """What is not done when an assignment has ended: see `NotDone`."""

    not_done: Mapping[str, Pending]
    is_worth_retrying: bool = False
    worker: str = ""


_held: list[tuple[Setup, BuildContext]] = []  # of this process; one at most


def work_off(send: Callable[[Begun | Finished], None], assignment: Assignment) -> Rest:
    """Do the work of an assignment in this process. Raises what concerns no item, such as `UsageError` of a device."""
    context, stage = _context_of(assignment.setup), STAGES[assignment.stage]
    context.on_begin = lambda item_id: send(Begun(item_id))
    context.ahead, context.traces = {}, dict(assignment.traces)
    context.places = {location: Path(place) for location, place in assignment.places.items()}
    context.wants_scores = lambda candidate, sha256: True
    context.wants_onsets = lambda recording: True
    if len(assignment.items) == 1 and stage is not TRANSCRIBE:  # that one tells of each item
        send(Begun(assignment.items[0].item_id))
    try:
        for outcome in stage.work(context, stage, assignment.items):
            ahead, context.ahead = context.ahead, {}
            traces: dict[str, Any] = {}
            if stage is TRANSCRIBE:
                traces, context.traces = context.traces, {}
            files = {} if assignment.setup.root else _taken(context, stage, outcome)
            send(Finished(outcome, ahead, traces, files, _myself()))
    except NotDone as error:
        return Rest(error.items, error.is_worth_retrying, _myself())
    return Rest({}, worker=_myself())


def _myself() -> str:
    return f"{socket.gethostname()} {os.getpid()}"


def load(send: Callable[[Any], None], setup: Setup) -> None:
    """Load the transcriber now, in this process, so that it is there when the first assignment comes."""
    _ = _context_of(setup).transcriber


def _taken(context: BuildContext, stage: Stage, outcome: Outcome) -> dict[str, bytes]:
    """The file that an outcome wrote, which is deleted here: the dataset's folder is elsewhere."""
    if stage.file_of is None or outcome.record is None:
        return {}
    path = stage.file_of(outcome.record)
    content = (context.root / path).read_bytes()
    (context.root / path).unlink()
    return {path: content}


def _context_of(setup: Setup) -> BuildContext:
    if not _held or _held[0][0] != setup:
        root = open_root(setup.root) if setup.root else scratch()
        _held[:] = [(setup, BuildContext(root, setup.config, setup.compute, setup.num_threads))]
    return _held[0][1]
