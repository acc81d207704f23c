"""The stages of a build: for each its work on a shard of items, and the settings that determine the result.

The work yields each item's outcome as soon as it is known. What a `Stage` is: `flows.engine.context`. The download
stage is in `flows.engine.downloads`, the work of those that decode whole files in `flows.engine.sound_stages`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from aria_data.annotate import annotate_many
from aria_data.annotate.model_tags import annotation_task
from aria_data.audio import IngestConfig, Readers
from aria_data.errors import TemporaryError
from aria_data.measure import measure_segment
from aria_data.measure.quality import SAMPLE_RATE
from aria_data.midi import read_midi
from aria_data.records import (
    Annotation,
    Candidate,
    Fingerprint,
    Measurement,
    Recording,
    Screening,
    Segmentation,
    Transcription,
    WindowScores,
)
from aria_data.screen import screen_many
from aria_data.screen.learned import LEARNED
from aria_data.screen.screening import PROMPT, how_asked
from aria_data.screen.screening import verdict as screening_verdict
from aria_data.screen.title_model import title_model
from aria_data.segment import Scored, SegmentConfig, find_segments
from aria_data.segment.segmentation import verdict as segment_verdict
from aria_data.storage.stage_tables import Outcome
from aria_data.transcribe import Span, TranscriptionResult, backends, transcribe_spans
from aria_data.transcribe.midi_output import save_transcription, span_of
from flows.engine.context import BuildContext, Item, Stage, each_item
from flows.engine.sound_stages import classify, ingest_files, take_fingerprints

SOUND_ANALYSIS = "aria_data.measure.quality:SoundAnalysis"  # measures a span while it is read to be transcribed


def _screen(context: BuildContext, stage: Stage, items: Sequence[Item]) -> Iterator[Outcome]:
    config = context.config.screen
    found: dict[str, Screening | Exception] = {}

    def one(item: Item) -> Outcome:
        screening = found[item.item_id]
        if isinstance(screening, Exception):
            raise screening
        verdict = screening_verdict(screening, config, item.payload.source == "local")
        return stage.outcome(context, item, screening, verdict, f"the text says: {screening.evidence}")

    read = _in_order_read(items, lambda candidates: screen_many(candidates, config, context.llm), found)
    yield from each_item(context, stage, read, one, is_retried=False)


def _in_order_read(
    items: Sequence[Item],
    read: Callable[[Iterable[Candidate]], Iterable[tuple[Candidate, Any]]],
    found: dict[str, Any],
) -> Iterator[Item]:
    """Items in the order in which `read` gives their candidates' results; `found` gets the result, or the error."""
    by_id = {item.item_id: item for item in items}
    try:
        for candidate, result in read(item.payload for item in items):
            found[candidate.candidate_id] = result
            yield by_id[candidate.candidate_id]
    except TemporaryError as error:  # the budget is spent or the server gone: every other item would fail as well
        for item in items:
            if item.item_id not in found:
                found[item.item_id] = error
                yield item


def _segment(context: BuildContext, stage: Stage, items: Sequence[Item]) -> Iterator[Outcome]:
    config = context.config.segment
    in_table = {item.item_id: item.inputs["scores"] for item in items if item.payload[1] is None}
    scores_of = CLASSIFY.table(context).records_of(in_table)

    def one(item: Item) -> Outcome:
        recording, windows = item.payload
        windows = windows or scores_of[item.item_id]
        scores, local_scores = np.frombuffer(windows.scores), np.frombuffer(windows.local_scores)
        recorded = windows.local_any_piano, windows.levels_db, windows.changes
        others = (None if one is None else np.frombuffer(one) for one in recorded)
        scored = Scored(scores, windows.hop_s, local_scores, windows.step_s, recording.duration_s, *others)
        segments = find_segments(recording.recording_id, scored, config)
        verdict = segment_verdict(segments, scored, config)
        return stage.outcome(context, item, Segmentation(recording.recording_id, segments), verdict)

    yield from each_item(context, stage, items, one)


def _transcribe(context: BuildContext, stage: Stage, items: Sequence[Item]) -> Iterator[Outcome]:
    transcriber = context.transcriber
    results: dict[str, TranscriptionResult | Exception] = {}

    def begun(item: Item) -> Span:
        context.on_begin(item.item_id)
        recording, segment = item.payload
        return span_of(context.audio_of(recording.location), segment, SOUND_ANALYSIS)

    def finished() -> Iterator[Item]:
        in_file_order = sorted(items, key=lambda item: (item.payload[0].location, item.payload[1].start_s))
        by_id = {item.item_id: item for item in in_file_order}
        spans = (begun(item) for item in in_file_order)
        for item_id, result in transcribe_spans(transcriber, spans):
            results[item_id] = result
            yield by_id[item_id]

    def one(item: Item) -> Outcome:
        result = results.pop(item.item_id)
        if isinstance(result, Exception):
            raise result
        _, segment = item.payload
        context.traces[segment.segment_id] = result.heard
        record = save_transcription(context.root, segment, result, transcriber)
        return stage.outcome(context, item, record)

    yield from each_item(context, stage, finished(), one)


def _measure(context: BuildContext, stage: Stage, items: Sequence[Item]) -> Iterator[Outcome]:
    second = context.second_transcriber
    second_results: dict[str, TranscriptionResult | Exception] = {}

    def transcribed_again() -> Iterator[Item]:
        by_id = {item.item_id: item for item in items}
        spans = (span_of(context.audio_of(item.payload[0].location), item.payload[1]) for item in items)
        for item_id, result in transcribe_spans(second, spans):
            second_results[item_id] = result
            yield by_id[item_id]

    def one(item: Item) -> Outcome:
        recording, segment, transcription = item.payload
        performance = read_midi(context.path_of(transcription.midi_path))
        other = None
        if second is not None:
            result = second_results.pop(item.item_id)
            if isinstance(result, Exception):
                raise result
            other = result.performance
        sound = context.traces.pop(segment.segment_id, None) or readers.of(context.audio_of(recording.location))
        record = measure_segment(sound, segment, transcription, performance, other, recording.duration_s)
        return stage.outcome(context, item, record)

    items = sorted(items, key=lambda item: (item.payload[0].location, item.payload[1].start_s))
    with Readers(SAMPLE_RATE, 1) as readers:
        if second is None:
            yield from each_item(context, stage, items, one, num_threads=context.num_threads)
        else:
            yield from each_item(context, stage, transcribed_again(), one)


def _annotate(context: BuildContext, stage: Stage, items: Sequence[Item]) -> Iterator[Outcome]:
    config = context.config.annotate
    found: dict[str, Annotation | Exception] = {}

    def one(item: Item) -> Outcome:
        annotation = found[item.item_id]
        if isinstance(annotation, Exception):
            raise annotation
        return stage.outcome(context, item, annotation)

    read = _in_order_read(items, lambda candidates: annotate_many(candidates, config, context.annotator), found)
    yield from each_item(context, stage, read, one, is_retried=False)


def _settings_of(name: str) -> Callable[[BuildContext], Mapping[str, Any]]:
    return lambda context: dataclasses.asdict(getattr(context.config, name))


def _ingest_settings(context: BuildContext) -> Mapping[str, Any]:
    """A setting younger than datasets counts only where it is not the default, so that nothing is decoded again."""
    settings = dict(_settings_of("ingest")(context))
    if settings["max_wild_share"] == IngestConfig().max_wild_share:
        del settings["max_wild_share"]
    return settings


def _segment_settings(context: BuildContext) -> Mapping[str, Any]:
    """The same for settings by which pieces are followed: where scores say nothing of it, segments are as before."""
    settings, default = dict(_settings_of("segment")(context)), SegmentConfig()
    return {
        name: value
        for name, value in settings.items()
        if name not in ("max_hole_s", "max_edge_s", "redo") or value != getattr(default, name)
    }


def _redone(context: BuildContext) -> Mapping[str, Any]:
    """The part of a key that asks for what earlier code did to be done again; before there was one, and at 0, none."""
    return {"redo": context.config.segment.redo} if context.config.segment.redo else {}


def _classify_settings(context: BuildContext) -> Mapping[str, Any]:
    return {"weights": context.classifier_sha256, **_redone(context)}


def _earlier_classify_settings(context: BuildContext) -> Sequence[Mapping[str, Any]]:
    """Scores of an earlier number, newest first."""
    now = {"weights": context.classifier_sha256}
    return [now | ({"redo": before} if before else {}) for before in range(context.config.segment.redo - 1, -1, -1)]


def _has_all_scores(record: Any) -> bool:
    """Whether scores hold what segments are found by today: those of earlier code say nothing of levels or changes."""
    return record is not None and record.levels_db is not None and record.changes is not None


def _transcribe_settings(context: BuildContext) -> Mapping[str, Any]:
    """Heads count by their weights, and not at all where the published model works alone, as it did before them.

    With the number of the model's notes, from the second on: the first was made before there were numbers.
    """
    config = context.config.transcribe
    settings = {name: value for name, value in _settings_of("transcribe")(context).items() if name != "heads"}
    if heads := backends.heads_sha256(config):
        settings["heads"] = heads
    number = backends.notes_version(config)
    return settings | {"weights": context.transcriber_sha256} | ({"notes": number} if number > 1 else {})


def _earlier_transcribe_settings(context: BuildContext) -> Sequence[Mapping[str, Any]]:
    """Notes of every earlier number, and of earlier heads, stand: they are as good to 0.001 of onset F1."""
    now = dict(_transcribe_settings(context))
    newest = now.pop("notes", 1)
    numbers = [{"notes": number} if number > 1 else {} for number in range(newest, 0, -1)]
    heads = [{"heads": sha256} for sha256 in backends.earlier_heads(context.config.transcribe)]
    return [now | of_heads | of_notes for of_heads in ({}, *heads) for of_notes in numbers][1:]


def _screen_settings(context: BuildContext) -> Mapping[str, Any]:
    settings = dict(_settings_of("screen")(context))
    if context.config.screen.scorer == LEARNED:
        settings["weights"] = title_model().sha256
    if not context.llm:
        return settings
    is_asked = context.config.screen.scorer == "llm"  # else the model only words the queries of a crawl
    return settings | {
        "model": context.llm.model,
        **(how_asked(context.llm.config) if is_asked else {"prompt": PROMPT}),
    }


SCREEN = Stage("screen", 2, Screening, _screen, _screen_settings)
INGEST = Stage("ingest", 1, Recording, ingest_files, _ingest_settings)
CLASSIFY = Stage(
    "classify",
    2,
    WindowScores,
    classify,
    _classify_settings,
    earlier=_earlier_classify_settings,
    is_good_enough=_has_all_scores,
    keeps_records=False,
)
SEGMENT = Stage("segment", 2, Segmentation, _segment, _segment_settings)
FINGERPRINT = Stage(
    "fingerprint",
    1,
    Fingerprint,
    take_fingerprints,
    is_wanted=lambda context: context.config.deduplicate.by_sound,
    keeps_records=False,
)
TRANSCRIBE = Stage(
    "transcribe",
    2,
    Transcription,
    _transcribe,
    _transcribe_settings,
    file_of=lambda transcription: transcription.midi_path,
    earlier=_earlier_transcribe_settings,
)
MEASURE = Stage(
    "measure",
    2,
    Measurement,
    _measure,
    lambda context: {**_settings_of("measure")(context), "weights": context.second_sha256, **_redone(context)},
    keeps_records=False,
)


def _annotate_settings(context: BuildContext) -> Mapping[str, Any]:
    settings = dict(_settings_of("annotate")(context))
    if context.annotator:
        return settings | {"model": context.annotator.model, "prompt": annotation_task().prompt_version}
    return settings | {"rules": 3}  # which rules read a title; what a model read stays


ANNOTATE = Stage("annotate", 3, Annotation, _annotate, _annotate_settings, keeps_records=False)
