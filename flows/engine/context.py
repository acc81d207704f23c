"""What a stage is, what its work needs, and how its items are worked on. The stages are in `flows.engine.stages`.

A `PermanentError` is an item's own failure; a `TemporaryError` leaves the item not done; any other error is a bug and
leaves the item not done as well.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import pyarrow.compute as pc

from aria_data.audio.integrity import READER
from aria_data.config import BuildConfig
from aria_data.errors import AudioUnreachable, DatasetError, PermanentError, TemporaryError
from aria_data.llm import Llm
from aria_data.records import Candidate, Download, Recording, Rejection, Verdict
from aria_data.storage import is_remote, local_audio, printable
from aria_data.storage.files import from_location
from aria_data.storage.local_copies import fetch_database, give_back_database
from aria_data.storage.stage_tables import DONE, FAILED, REJECTED, Outcome, RecordTable, StageTable
from aria_data.storage.work_keys import key_of, key_start
from aria_data.transcribe import Compute, TranscribeConfig, backends, devices
from aria_data.web import RequestBudget, Web
from flows.engine.attempts import Attempts
from flows.engine.writing import Writing
from flows.workers.processes import POISON

KEPT = Verdict(True)
LEDGER = "llm/ledger.sqlite"  # below a dataset's root
WEIGHTS, SECOND_WEIGHTS = "weights:transcribe", "weights:measure"  # as locations of files: of the two transcribers
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Item:
    """What a stage works on at a time: a candidate, a recording or a segment. `inputs` are the values that determine
    the result and so go into the key; `payload` is what the work reads."""

    item_id: str
    candidate_id: str
    inputs: Mapping[str, Any]
    payload: Any
    audio_s: float = 0.0  # seconds of audio, for shards and the progress display


@dataclass(slots=True)
class Ahead:
    """What was made of a file for later stages, when it was decoded for an earlier one."""

    scores: Any = None  # of the classifier
    onsets: str = ""  # the fingerprint, as its table has it


class Executor(Protocol):
    """Who does the work of stages: this process, others on this machine, a cluster (`flows.executors`)."""

    name: str

    @property
    def num_places(self) -> int:
        """How many machines like this one it is worth now: a shard has so many times as much work."""

    def work(self, context: BuildContext, stage: Stage, items: Sequence[Item]) -> Iterator[Outcome]:
        """Yield outcomes as `Stage.work` does, whoever finds them. Raises what it raises."""

    def is_counted(self, stage: Stage) -> bool:
        """Whether the time of this stage's work is told to `BuildContext.on_work`, by worker; else it is the lane's."""

    def close(self) -> None:
        """End what was started for the work."""


class Here:
    """Does all work in this process, but for what stages themselves hand to others."""

    name = "here"
    num_places = 1

    def work(self, context: BuildContext, stage: Stage, items: Sequence[Item]) -> Iterator[Outcome]:
        return stage.work(context, stage, items)

    def is_counted(self, stage: Stage) -> bool:
        return False

    def close(self) -> None:
        pass


@dataclass
class BuildContext:
    """What the work needs besides its items: the dataset's folder, settings, and models, loaded when first used."""

    root: Path
    config: BuildConfig
    compute: Compute = Compute()
    num_threads: int = max(2, min(8, (os.cpu_count() or 2) // 2))  # that decode, or measure
    requests: RequestBudget = field(default_factory=RequestBudget)
    run_id: str = field(default_factory=lambda: secrets.token_hex(8))  # the language models of a run share a budget
    ahead: dict[str, Ahead] = field(default_factory=dict)  # by the hash of the file's bytes
    traces: dict[str, Any] = field(default_factory=dict)  # of the sound of segments, made when they were transcribed
    wants_scores: Callable[[Candidate, str], bool] = lambda candidate, sha256: False  # of a file with these bytes
    wants_onsets: Callable[[Recording], bool] = lambda recording: False
    places: Mapping[str, Path] = field(default_factory=dict)  # of files that lie elsewhere here, by location
    stopped: threading.Event = field(default_factory=threading.Event)  # nothing more is wanted of the work
    on_begin: Callable[[str], None] = lambda item_id: (
        None
    )  # told of each item of a stage that work begins on, if it can
    on_work: Callable[[str, str, float], None] = lambda stage, worker, seconds: None  # told how long workers worked
    done_by: dict[str, str] = field(default_factory=dict)  # the worker, by item, where it is no thread of this process
    executor: Executor = field(default_factory=lambda: Here())  # who does the work of stages
    key_starts: dict[str, str] = field(default_factory=dict)  # by stage; settings do not change during a run

    @cached_property
    def transcriber(self) -> Any:
        return devices.load_everywhere(self._found(WEIGHTS, self.config.transcribe), self.compute)

    @cached_property
    def second_transcriber(self) -> Any:
        wanted = self.config.measure.second()
        return devices.load_everywhere(self._found(SECOND_WEIGHTS, wanted), self.compute) if wanted else None

    @cached_property
    def second_sha256(self) -> str:
        wanted = self.config.measure.second()
        return backends.weights_sha256(self._found(SECOND_WEIGHTS, wanted)) if wanted else ""

    def _found(self, location: str, config: TranscribeConfig) -> TranscribeConfig:
        """The configuration with the checkpoint that was sent to this machine, if one was."""
        place = self.places.get(location)
        return dataclasses.replace(config, checkpoint=str(place)) if place else config

    def weights_files(self, stage: str) -> dict[str, Path]:
        """The files of weights that a stage needs and no package brings, by location, as `places` has them."""
        if stage not in self._weights_files:  # to look whether a fetched file is whole, it is read
            wanted = {
                "transcribe": (WEIGHTS, self.config.transcribe),
                "measure": (SECOND_WEIGHTS, self.config.measure.second()),
            }
            location, config = wanted.get(stage, ("", None))
            path = backends.weights_file(config) if config else None
            self._weights_files[stage] = {location: path} if path else {}
        return self._weights_files[stage]

    @cached_property
    def _weights_files(self) -> dict[str, dict[str, Path]]:
        return {}

    @cached_property
    def classifier(self) -> Any:
        from classifiers.predict import Classifier

        return Classifier.load(device="cpu")

    @cached_property
    def transcriber_sha256(self) -> str:
        return backends.weights_sha256(self._found(WEIGHTS, self.config.transcribe))

    @cached_property
    def classifier_sha256(self) -> str:
        from classifiers import checkpoint

        return checkpoint.sha256_of(checkpoint.DEFAULT_PATH)

    @cached_property
    def llm(self) -> Llm | None:
        """The model that screens, where `screen.scorer` is "llm". Raises `UsageError` without a key or model."""
        screen = self.config.screen
        return self._model(screen.model) if screen.scorer == "llm" else None

    @cached_property
    def annotator(self) -> Llm | None:
        """The model that annotates, where `annotate.annotator` is "llm"; it shares the run's budget."""
        annotate = self.config.annotate
        return self._model(annotate.model) if annotate.annotator == "llm" else None

    def _model(self, name: str) -> Llm:
        config = dataclasses.replace(self.config.llm, model=name or self.config.llm.model)
        return Llm(config, fetch_database(self.root / LEDGER), run_id=self.run_id)

    @cached_property
    def web(self) -> Web:
        return Web(self.config.web, self.requests)

    @cached_property
    def attempts(self) -> Any:
        return Attempts(self.root)

    @cached_property
    def downloads(self) -> dict[str, Download]:
        """All downloads of earlier runs, by candidate_id, under whatever limits they were made."""
        done = (outcome for outcome in StageTable(self.root, "download", Download).all() if outcome.status == DONE)
        return {outcome.item_id: outcome.record for outcome in done}

    @cached_property
    def writing(self) -> Writing:
        """What workers elsewhere made is written by it."""
        return Writing(self.root)

    def close(self) -> None:
        """Close the executor, and the language models, which hold threads and connections. Nothing is written by
        `writing` when this returns, nor later: then the lock may be let go of."""
        self.stopped.set()
        self.writing.close()
        self.executor.close()
        for name in ("llm", "annotator"):
            if self.__dict__.get(name) is not None:
                self.__dict__[name].close()
                give_back_database(self.root / LEDGER)

    def path_of(self, location: str) -> Path:
        return self.places.get(location) or from_location(location, self.root)

    def audio_of(self, location: str) -> Path:
        """A file of this disk with a recording's audio, or its MIDI; fetched, where it is in an object store."""
        return self.writing.at_hand(location) or local_audio(self.path_of(location))

    def has_audio(self, location: str) -> bool:
        """Whether a recording's file is there."""
        path = self.path_of(location)
        return self.is_there(location) if is_remote(path) else os.path.exists(path)

    def can_read(self, location: str) -> bool:
        """Whether a recording's file is there and may be read."""
        path = self.path_of(location)
        return self.is_there(location) if is_remote(path) else os.access(path, os.R_OK)

    def is_there(self, name: str) -> bool:
        """Whether the dataset has the file `name`, a path below its root.

        In an object store, all names of a folder are asked for once, so only what is missing costs a request.
        """
        path = self.root / name
        if not is_remote(path):
            return os.path.exists(path)
        folder = name.split("/")[0]
        if folder not in self._names:
            self._names[folder] = {str(each.relative_to(self.root)) for each in (self.root / folder).rglob("*")}
        return name in self._names[folder] or path.is_file()

    @cached_property
    def quarantined(self) -> frozenset[str]:
        """Items of which a build that came to its end says that they kill their workers."""
        rejections = RecordTable(self.root, "rejections", Rejection).reader()
        found = (batch.filter(pc.equal(batch["reason"], POISON))["item_id"].to_pylist() for batch in rejections)
        return frozenset(item_id for item_ids in found for item_id in item_ids)

    @cached_property
    def _names(self) -> dict[str, set[str]]:
        return {}


Work = Callable[[BuildContext, "Stage", Sequence[Item]], Iterator[Outcome]]


@dataclass(frozen=True)
class Stage:
    """A step of the build. `version`, the values of `settings` and an item's inputs make the key: with another key the
    work is done again, except under one of the `earlier` settings: what earlier code found stands, and keeps its key.
    """

    name: str
    version: int
    record_type: type
    work: Work
    settings: Callable[[BuildContext], Mapping[str, Any]] = field(default=lambda context: {})
    file_of: Callable[[Any], str] | None = None  # a record's file, below the dataset; if it is gone, work is redone
    is_wanted: Callable[[BuildContext], bool] = lambda context: True
    earlier: Callable[[BuildContext], Sequence[Mapping[str, Any]]] = lambda context: ()
    is_good_enough: Callable[[Any], bool] | None = None  # which records of `earlier` settings stand; None: all
    keeps_records: bool = True  # False: no later stage needs them, or they are large; they stay in the table

    def key(self, context: BuildContext, item: Item) -> str:
        start = context.key_starts.get(self.name)
        if start is None:
            start = context.key_starts[self.name] = key_start(self.name, self.version, self.settings(context))
        return key_of(start, {**item.inputs, "item_id": item.item_id})

    def found_earlier(
        self, context: BuildContext, items: Mapping[str, Item], lookup: Callable[..., Mapping[str, Outcome]]
    ) -> dict[str, Outcome]:
        """What earlier code found of items, which are given by their keys of today, as the outcomes are."""
        starts = [key_start(self.name, self.version, settings) for settings in self.earlier(context)]
        today = {
            key_of(start, {**item.inputs, "item_id": item.item_id}): key
            for start in starts
            for key, item in items.items()
        }
        if not today:
            return {}
        if self.is_good_enough is None:
            return {today[key]: outcome for key, outcome in lookup(today.keys()).items()}
        found = lookup(today.keys(), with_records=True)
        good = {key: outcome for key, outcome in found.items() if self.is_good_enough(outcome.record)}
        return {
            today[key]: outcome if self.keeps_records else dataclasses.replace(outcome, record=None)
            for key, outcome in good.items()
        }

    def table(self, context: BuildContext) -> StageTable:
        return StageTable(context.root, self.name, self.record_type)

    def is_intact(self, context: BuildContext, outcome: Outcome) -> bool:
        """Whether the outcome's file still exists; a file deleted by hand is made again."""
        if self.file_of is None or outcome.record is None:
            return True
        return context.is_there(self.file_of(outcome.record))

    def outcome(
        self, context: BuildContext, item: Item, record: Any, verdict: Verdict = KEPT, detail: str = ""
    ) -> Outcome:
        status = DONE if verdict.is_kept else REJECTED
        key = self.key(context, item)
        return Outcome(item.item_id, key, status, verdict.reason, verdict.measured, detail, record)

    def failure(self, context: BuildContext, item: Item, error: PermanentError) -> Outcome:
        key = self.key(context, item)
        return Outcome(item.item_id, key, FAILED, error.reason, error.measured, str(error), reader=READER)


@dataclass(frozen=True)
class Pending:
    """An item that has to be tried again, and what stood in the way."""

    candidate_id: str
    message: str  # one line
    reason: str
    is_unreachable: bool  # its audio could not be read


class NotDone(TemporaryError):
    """Some items of a shard could not be finished now. `items` has them by their ids."""

    def __init__(self, items: Mapping[str, Pending], is_worth_retrying: bool):
        super().__init__(next((pending.message for pending in items.values()), "not done"))
        self.items, self.is_worth_retrying = dict(items), is_worth_retrying
        self.reasons = frozenset(pending.reason for pending in items.values())


def each_item(
    context: BuildContext,
    stage: Stage,
    items: Iterable[Item],
    one: Callable[[Item], Outcome | None],
    num_threads: int = 1,
    is_retried: bool = True,
) -> Iterator[Outcome]:
    """Call `one` for each item, in order or in threads, and give its outcomes; None records nothing this time.

    Raises `NotDone` at the end if any item has to be tried again. `is_retried` permits that at once, where it may help:
    audio that cannot be reached stays away for a while, and a bug stays a bug.
    """
    not_done: dict[str, Pending] = {}
    may_help = False  # to try again at once

    def attempt(item: Item) -> Outcome | None:
        try:
            return one(item)
        except PermanentError as error:
            return stage.failure(context, item, error)
        except TemporaryError as error:
            nonlocal may_help
            is_away = isinstance(error, AudioUnreachable)
            may_help = may_help or not is_away
            not_done[item.item_id] = Pending(item.candidate_id, str(error), error.reason, is_away)
        except DatasetError:  # no space, no permission: no other item would fare better
            raise
        except Exception as error:  # a bug must not cost the other items
            log.exception("%s: %s", stage.name, item.item_id)
            message = f"unexpected {type(error).__name__} in {stage.name}: {printable(str(error))}"
            not_done[item.item_id] = Pending(item.candidate_id, message, "unexpected", False)
        return None

    yield from (outcome for outcome in _run(attempt, items, num_threads) if outcome is not None)
    if not_done:
        raise NotDone(not_done, is_retried and may_help)


def _run(
    function: Callable[[Item], Outcome | None], items: Iterable[Item], num_threads: int
) -> Iterable[Outcome | None]:
    if num_threads == 1:
        yield from map(function, items)
        return
    pool = ThreadPoolExecutor(num_threads)
    try:
        yield from (future.result() for future in as_completed([pool.submit(function, item) for item in items]))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
