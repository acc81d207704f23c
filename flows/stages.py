"""The stages of a build: what each works on, what determines its result, and how it treats a shard of items.

A stage's work takes a shard and yields an outcome an item as soon as it is known. A `PermanentError` is an
item's own failure; a `TemporaryError` leaves the item not done; anything else is a fault of this program.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from aria_data import transcribers
from aria_data.annotate import annotate_many
from aria_data.audio import Readers, mono_blocks
from aria_data.config import BuildConfig
from aria_data.errors import DatasetError, PermanentError, TemporaryError
from aria_data.files import from_location, printable
from aria_data.ingest import ingest, ingest_download
from aria_data.llm import Llm
from aria_data.measure import measure_segment, onset_agreement_of
from aria_data.midi import read_midi
from aria_data.model_tags import annotation_task
from aria_data.quality import SAMPLE_RATE
from aria_data.records import (
    Annotation,
    Candidate,
    Download,
    Measurement,
    Recording,
    Screening,
    Segmentation,
    Transcription,
    Verdict,
    WindowScores,
)
from aria_data.screen import PROMPT, screen_many
from aria_data.screen import verdict as screening_verdict
from aria_data.segment import Scored, find_segments
from aria_data.segment import verdict as segment_verdict
from aria_data.tables import DONE, FAILED, REJECTED, Outcome, StageTable, work_key
from aria_data.transcribe import save_transcription, stretch_of
from aria_data.transcribers.base import Compute, Heard
from aria_data.transcribers.stretches import hear_stretches
from aria_data.web import RequestBudget, Web

KEPT = Verdict(True)
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Item:
    """One thing a stage works on. `inputs` are the values that determine the result."""

    item_id: str
    candidate_id: str
    inputs: Mapping[str, Any]
    payload: Any
    audio_s: float = 0.0  # seconds of audio it stands for, for the progress display


@dataclass
class Workplace:
    """What the work needs besides its items: where the dataset is, and models, loaded once when first used."""

    root: Path
    config: BuildConfig
    compute: Compute = Compute()
    num_threads: int = 2
    requests: RequestBudget = field(default_factory=RequestBudget)
    run_id: str = field(default_factory=lambda: secrets.token_hex(8))  # what a run's language models spend together

    @cached_property
    def transcriber(self) -> Any:
        return transcribers.load_everywhere(self.config.transcribe, self.compute)

    @cached_property
    def second_transcriber(self) -> Any:
        wanted = self.config.measure.second()
        return transcribers.load_everywhere(wanted, self.compute) if wanted else None

    @cached_property
    def second_sha256(self) -> str:
        wanted = self.config.measure.second()
        return transcribers.weights_sha256(wanted) if wanted else ""

    @cached_property
    def classifier(self) -> Any:
        from classifiers.predict import Classifier

        return Classifier.load(device="cpu")

    @cached_property
    def transcriber_sha256(self) -> str:
        return transcribers.weights_sha256(self.config.transcribe)

    @cached_property
    def classifier_sha256(self) -> str:
        from classifiers import checkpoint

        return checkpoint.sha256_of(checkpoint.DEFAULT_PATH)

    @cached_property
    def llm(self) -> Llm | None:
        """The language model that judges, if one is to. Raises `UsageError` without a key or model."""
        screen = self.config.screen
        return self._model(screen.model) if screen.scorer == "llm" else None

    @cached_property
    def annotator(self) -> Llm | None:
        """The language model that reads tags, if one is to; it shares the run's budget."""
        annotate = self.config.annotate
        return self._model(annotate.model) if annotate.annotator == "llm" else None

    def _model(self, name: str) -> Llm:
        config = dataclasses.replace(self.config.llm, model=name or self.config.llm.model)
        return Llm(config, self.root / "llm" / "ledger.sqlite", run_id=self.run_id)

    @cached_property
    def web(self) -> Web:
        return Web(self.config.web, self.requests)

    @cached_property
    def attempts(self) -> Any:
        from flows.downloads import Attempts

        return Attempts(self.root)

    @cached_property
    def downloads(self) -> dict[str, Download]:
        """Everything fetched before, by candidate_id, whatever the limits were."""
        done = (outcome for outcome in StageTable(self.root, "download", Download).all() if outcome.status == DONE)
        return {outcome.item_id: outcome.record for outcome in done}

    def close(self) -> None:
        """Let go of what holds threads and connections."""
        for name in ("llm", "annotator"):
            if self.__dict__.get(name) is not None:
                self.__dict__[name].close()

    def path_of(self, location: str) -> Path:
        return from_location(location, self.root)


Work = Callable[[Workplace, "Stage", Sequence[Item]], Iterator[Outcome]]


@dataclass(frozen=True)
class Stage:
    """A step of the build. A change of `version`, of what `settings` gives, or of an item's inputs redoes the work."""

    name: str
    version: int
    record_type: type
    work: Work
    settings: Callable[[Workplace], Mapping[str, Any]] = field(default=lambda workplace: {})
    file_of: Callable[[Any], str] | None = None  # the file a record names, below the dataset; without it, not done
    is_wanted: Callable[[Workplace], bool] = lambda workplace: True

    def key(self, workplace: Workplace, item: Item) -> str:
        inputs = {**item.inputs, "item_id": item.item_id}
        return work_key(self.name, self.version, self.settings(workplace), inputs)

    def is_intact(self, workplace: Workplace, outcome: Outcome) -> bool:
        """Whether what the outcome names is still there; a file deleted by hand is made again."""
        if self.file_of is None or outcome.record is None:
            return True
        return (workplace.root / self.file_of(outcome.record)).exists()

    def outcome(
        self, workplace: Workplace, item: Item, record: Any, verdict: Verdict = KEPT, detail: str = ""
    ) -> Outcome:
        status = DONE if verdict.is_kept else REJECTED
        key = self.key(workplace, item)
        return Outcome(item.item_id, key, status, verdict.reason, verdict.measured, detail, record)

    def failure(self, workplace: Workplace, item: Item, error: PermanentError) -> Outcome:
        key = self.key(workplace, item)
        return Outcome(item.item_id, key, FAILED, error.reason, error.measured, str(error))


class NotDone(TemporaryError):
    """Some items of a shard could not be finished now. `items` maps their ids to what went wrong;
    `is_worth_retrying` tells whether trying at once may help, `reasons` are those of the errors."""

    def __init__(self, items: Mapping[str, str], is_worth_retrying: bool, reasons: Iterable[str] = ()):
        super().__init__(next(iter(items.values()), "not done"))
        self.items, self.is_worth_retrying, self.reasons = dict(items), is_worth_retrying, frozenset(reasons)


def _screen(workplace: Workplace, stage: Stage, items: Sequence[Item]) -> Iterator[Outcome]:
    config = workplace.config.screen
    found: dict[str, Screening | Exception] = {}

    def one(item: Item) -> Outcome:
        screening = found[item.item_id]
        if isinstance(screening, Exception):
            raise screening
        verdict = screening_verdict(screening, config)
        return stage.outcome(workplace, item, screening, verdict, f"the text says: {screening.evidence}")

    read = _as_read(items, lambda candidates: screen_many(candidates, config, workplace.llm), found)
    yield from each_item(workplace, stage, read, one, is_retried=False)


def _as_read(
    items: Sequence[Item],
    read: Callable[[Iterable[Candidate]], Iterable[tuple[Candidate, Any]]],
    found: dict[str, Any],
) -> Iterator[Item]:
    """Items of candidates in the order in which they are read; `found` gets what was read, or the error."""
    by_id = {item.item_id: item for item in items}
    try:
        for candidate, said in read(item.payload for item in items):
            found[candidate.candidate_id] = said
            yield by_id[candidate.candidate_id]
    except TemporaryError as error:  # the account is empty or the server gone: no other would fare better
        for item in items:
            if item.item_id not in found:
                found[item.item_id] = error
                yield item


def _ingest(workplace: Workplace, stage: Stage, items: Sequence[Item]) -> Iterator[Outcome]:
    def one(item: Item) -> Outcome:
        if isinstance(item.payload, Download):
            recording, verdict = ingest_download(item.payload, workplace.config.ingest)
        else:
            candidate: Candidate = item.payload
            recording, verdict = ingest(candidate, workplace.path_of(candidate.location), workplace.config.ingest)
        return stage.outcome(workplace, item, recording, verdict)

    yield from each_item(workplace, stage, items, one, num_threads=workplace.num_threads)


def _classify(workplace: Workplace, stage: Stage, items: Sequence[Item]) -> Iterator[Outcome]:
    classifier = workplace.classifier
    found: dict[str, Any] = {}

    def finished() -> Iterator[Item]:
        by_id = {item.item_id: item for item in items}
        paths = {item.item_id: workplace.path_of(item.payload.location) for item in items}
        streams = ((key, functools.partial(mono_blocks, path, classifier.sample_rate)) for key, path in paths.items())
        for item_id, scores in classifier.score_many(streams, workplace.num_threads):
            found[item_id] = scores
            yield by_id[item_id]

    def one(item: Item) -> Outcome:
        scores = found.pop(item.item_id)
        if isinstance(scores, Exception):
            raise scores
        record = WindowScores(
            item.payload.recording_id,
            scores.hop_s,
            [round(float(score), 4) for score in scores.scores],
            scores.step_s,
            [round(float(score), 3) for score in scores.local_scores],
            workplace.classifier_sha256,
        )
        return stage.outcome(workplace, item, record)

    yield from each_item(workplace, stage, finished(), one)


def _segment(workplace: Workplace, stage: Stage, items: Sequence[Item]) -> Iterator[Outcome]:
    config = workplace.config.segment

    def one(item: Item) -> Outcome:
        recording, said = item.payload
        scores, local_scores = np.array(said.scores), np.array(said.local_scores)
        scored = Scored(scores, said.hop_s, local_scores, said.step_s, recording.duration_s)
        segments = find_segments(recording.recording_id, scored, config)
        verdict = segment_verdict(segments, scored, config)
        return stage.outcome(workplace, item, Segmentation(recording.recording_id, segments), verdict)

    yield from each_item(workplace, stage, items, one)


def _transcribe(workplace: Workplace, stage: Stage, items: Sequence[Item]) -> Iterator[Outcome]:
    transcriber = workplace.transcriber
    heard: dict[str, Heard | Exception] = {}

    def finished() -> Iterator[Item]:
        in_file_order = sorted(items, key=lambda item: (item.payload[0].location, item.payload[1].start_s))
        by_id = {item.item_id: item for item in in_file_order}
        stretches = (
            stretch_of(workplace.path_of(recording.location), segment)
            for recording, segment in (item.payload for item in in_file_order)
        )
        for item_id, found in hear_stretches(transcriber, stretches):
            heard[item_id] = found
            yield by_id[item_id]

    def one(item: Item) -> Outcome:
        found = heard.pop(item.item_id)
        if isinstance(found, Exception):
            raise found
        _, segment = item.payload
        record = save_transcription(workplace.root, segment, found, transcriber)
        return stage.outcome(workplace, item, record)

    yield from each_item(workplace, stage, finished(), one)


def _measure(workplace: Workplace, stage: Stage, items: Sequence[Item]) -> Iterator[Outcome]:
    second = workplace.second_transcriber
    others: dict[str, Heard | Exception] = {}

    def heard_again() -> Iterator[Item]:
        by_id = {item.item_id: item for item in items}
        stretches = (stretch_of(workplace.path_of(item.payload[0].location), item.payload[1]) for item in items)
        for item_id, other in hear_stretches(second, stretches):
            others[item_id] = other
            yield by_id[item_id]

    def one(item: Item) -> Outcome:
        recording, segment, transcription = item.payload
        performance = read_midi(workplace.root / transcription.midi_path)
        agreement = math.nan
        if second is not None:
            other = others.pop(item.item_id)
            if isinstance(other, Exception):
                raise other
            agreement = onset_agreement_of(performance, other.performance)
        reader = readers.of(workplace.path_of(recording.location))
        record = measure_segment(reader, segment, transcription, performance, agreement)
        return stage.outcome(workplace, item, record)

    items = sorted(items, key=lambda item: (item.payload[0].location, item.payload[1].start_s))
    with Readers(SAMPLE_RATE, 1) as readers:
        if second is None:
            yield from each_item(workplace, stage, items, one, num_threads=workplace.num_threads)
        else:
            yield from each_item(workplace, stage, heard_again(), one)


def _annotate(workplace: Workplace, stage: Stage, items: Sequence[Item]) -> Iterator[Outcome]:
    config = workplace.config.annotate
    found: dict[str, Annotation | Exception] = {}

    def one(item: Item) -> Outcome:
        annotation = found[item.item_id]
        if isinstance(annotation, Exception):
            raise annotation
        return stage.outcome(workplace, item, annotation)

    read = _as_read(items, lambda candidates: annotate_many(candidates, config, workplace.annotator), found)
    yield from each_item(workplace, stage, read, one, is_retried=False)


def each_item(
    workplace: Workplace,
    stage: Stage,
    items: Iterable[Item],
    one: Callable[[Item], Outcome | None],
    num_threads: int = 1,
    is_retried: bool = True,
) -> Iterator[Outcome]:
    """Do each item, in order or in threads (None: nothing is kept of it this time); raise `NotDone` at the end if any
    has to be tried again, `is_retried` telling whether that may be at once."""
    not_done: dict[str, str] = {}
    reasons: set[str] = set()
    surprises = 0

    def guarded(item: Item) -> Outcome | None:
        try:
            return one(item)
        except PermanentError as error:
            return stage.failure(workplace, item, error)
        except TemporaryError as error:
            not_done[item.item_id] = str(error)
            reasons.add(error.reason)
        except DatasetError:  # no space, no permission: no other item would fare better
            raise
        except Exception as error:  # a fault of this program must not cost the other items
            nonlocal surprises
            surprises += 1
            log.exception("%s: %s", stage.name, item.item_id)
            not_done[item.item_id] = f"unexpected {type(error).__name__} in {stage.name}: {printable(str(error))}"
        return None

    yield from (outcome for outcome in _run(guarded, items, num_threads) if outcome is not None)
    if not_done:
        raise NotDone(not_done, is_retried and surprises < len(not_done), reasons)


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


def _settings_of(name: str) -> Callable[[Workplace], Mapping[str, Any]]:
    return lambda workplace: dataclasses.asdict(getattr(workplace.config, name))


def _screen_settings(workplace: Workplace) -> Mapping[str, Any]:
    settings = dict(_settings_of("screen")(workplace))
    return settings | ({"model": workplace.llm.model, "prompt": PROMPT} if workplace.llm else {})


SCREEN = Stage("screen", 2, Screening, _screen, _screen_settings)
INGEST = Stage("ingest", 1, Recording, _ingest, _settings_of("ingest"))
CLASSIFY = Stage("classify", 2, WindowScores, _classify, lambda workplace: {"weights": workplace.classifier_sha256})
SEGMENT = Stage("segment", 2, Segmentation, _segment, _settings_of("segment"))
TRANSCRIBE = Stage(
    "transcribe",
    2,
    Transcription,
    _transcribe,
    lambda workplace: {**_settings_of("transcribe")(workplace), "weights": workplace.transcriber_sha256},
    file_of=lambda transcription: transcription.midi_path,
)
MEASURE = Stage(
    "measure",
    2,
    Measurement,
    _measure,
    lambda workplace: {**_settings_of("measure")(workplace), "weights": workplace.second_sha256},
)


def _annotate_settings(workplace: Workplace) -> Mapping[str, Any]:
    settings = dict(_settings_of("annotate")(workplace))
    model = (
        {"model": workplace.annotator.model, "prompt": annotation_task().prompt_version} if workplace.annotator else {}
    )
    return settings | model


ANNOTATE = Stage("annotate", 2, Annotation, _annotate, _annotate_settings)
