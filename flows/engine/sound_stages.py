"""The work of the stages that need all of a recording's samples, ingest, classify, fingerprint: one decoding for all.

Ingest decodes a file; where classify and fingerprint have work to do, their results are made on the way and wait in
`BuildContext.ahead`, by the hash of the file's bytes, until these stages run. What does not wait there is made by the
stage itself, so whatever fails ahead of its stage is found and said by the stage.
"""

from __future__ import annotations

import dataclasses
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from aria_data.audio import ingest_download, remarks_on
from aria_data.audio.ingest import ingest_decoded
from aria_data.audio.reachable import require_length
from aria_data.audio.whole import Order
from aria_data.deduplicate import fingerprints
from aria_data.errors import PermanentError, TemporaryError
from aria_data.records import Candidate, Download, Fingerprint, Recording, Verdict, WindowScores
from aria_data.storage import sha256_file
from aria_data.storage.stage_tables import Outcome
from flows.engine.context import Ahead, BuildContext, Item, Stage, each_item
from flows.workers.decoding import FINGERPRINT, Decoding, decoded_in_threads, hashes_of


def ingest_files(context: BuildContext, stage: Stage, items: Sequence[Item]) -> Iterator[Outcome]:
    """Decode and judge files. Those that were fetched were decoded then."""
    local = [item for item in items if isinstance(item.payload, Candidate)]
    hashes = hashes_of({item.item_id: context.path_of(item.payload.location) for item in local}, context.num_threads)
    scored = _worth_scoring(context, local, hashes)
    decodings = {
        item.item_id: Decoding(context.root, _order(context, item.payload.location, item.item_id in scored, True))
        for item in local
    }

    def one(item: Item) -> Outcome:
        if isinstance(item.payload, Download):
            recording, verdict = _ingest_fetched(context, item.payload)
        else:
            recording, verdict = _ingest_local(context, item.payload, decodings[item.item_id], hashes)
        return stage.outcome(context, item, recording, verdict, verdict.note)

    by_id = {item.item_id: item for item in items}
    keys = chain(
        (item.item_id for item in items if item.item_id not in decodings),
        _scored_ahead(context, {key: decodings[key] for key in scored}, hashes),
        decoded_in_threads({key: one for key, one in decodings.items() if key not in scored}, context.num_threads),
    )
    yield from each_item(context, stage, (by_id[key] for key in keys), one)


def _worth_scoring(context: BuildContext, local: Sequence[Item], hashes: Mapping[str, str]) -> list[str]:
    """The items whose files are to be classified when they are decoded; of identical files one."""
    first: dict[str, str] = {}
    for item in local:
        sha256 = hashes.get(item.item_id)
        if sha256 and context.wants_scores(item.payload, sha256):
            first.setdefault(sha256, item.item_id)
    return list(first.values())


def _order(context: BuildContext, location: str, is_scored: bool, is_ingested: bool, has_onsets: bool = True) -> Order:
    """What to decode a file for."""
    max_duration_s = context.config.ingest.max_duration_s
    location = _place_of(context, location)
    if not is_scored:
        return Order(location, fingerprints.SAMPLE_RATE, max_duration_s, is_ingested, is_sent=False)
    sample_rate = context.classifier.sample_rate
    is_heard = has_onsets and context.config.deduplicate.by_sound and sample_rate == fingerprints.SAMPLE_RATE
    return Order(location, sample_rate, max_duration_s, is_ingested, listener=FINGERPRINT if is_heard else "")


def _place_of(context: BuildContext, location: str) -> str:
    """The location of a file here, which on a worker of a cluster may be another one."""
    return context.places[location].as_uri() if location in context.places else location


def _scored_ahead(context: BuildContext, decodings: Mapping[str, Decoding], hashes: Mapping[str, str]) -> Iterator[str]:
    """Classify files while they are decoded, and keep what comes of it. Yields their keys, in any order."""
    if not decodings:
        return
    streams = ((key, one.__iter__) for key, one in decodings.items())
    for key, scores in context.classifier.score_many(streams, context.num_threads):
        answer = decodings[key].answer
        if answer is not None and not isinstance(scores, Exception):
            context.ahead[hashes[key]] = Ahead(scores, answer.heard or "")
        yield key


def _ingest_fetched(context: BuildContext, fetched: Download) -> tuple[Recording, Verdict]:
    recording, verdict = ingest_download(fetched, context.config.ingest)
    return recording, dataclasses.replace(verdict, note=remarks_on(context.audio_of(recording.location)))


def _ingest_local(
    context: BuildContext, candidate: Candidate, decoding: Decoding, hashes: Mapping[str, str]
) -> tuple[Recording, Verdict]:
    if decoding.error is not None:
        raise decoding.error
    answer = decoding.answer
    if answer is None:  # the classifier gave up on it
        answer = Decoding(context.root, _order(context, candidate.location, False, True)).finish()
    assert answer.facts is not None
    path, sha256 = context.path_of(candidate.location), hashes.get(candidate.candidate_id)
    return ingest_decoded(candidate, path, answer.facts, sha256 or sha256_file(path), context.config.ingest)


def classify(context: BuildContext, stage: Stage, items: Sequence[Item]) -> Iterator[Outcome]:
    """Score recordings, where ingest did not do so on the way."""
    found: dict[str, Any] = {}

    def finished() -> Iterator[Item]:
        left = []
        for item in items:
            ahead = context.ahead.get(item.payload.audio_sha256)
            if ahead is None or ahead.scores is None:
                left.append(item)
                continue
            found[item.item_id], ahead.scores = ahead.scores, None
            yield item
        yield from _scored_now(context, left, found) if left else ()

    def one(item: Item) -> Outcome:
        scores = found.pop(item.item_id)
        if isinstance(scores, Exception):
            raise scores
        require_length(context.path_of(item.payload.location), scores.duration_s, item.payload.duration_s)
        record = WindowScores(
            item.payload.recording_id,
            scores.hop_s,
            _rounded(scores.scores, 4),
            scores.step_s,
            _rounded(scores.local_scores, 3),
            context.classifier_sha256,
            None if scores.local_any_piano is None else _rounded(scores.local_any_piano, 2),
            None if scores.levels_db is None else _rounded(scores.levels_db, 0),
            None if scores.changes is None else _rounded(scores.changes, 2),
        )
        return stage.outcome(context, item, record)

    yield from each_item(context, stage, finished(), one)


def _rounded(values: Iterable[float], digits: int) -> array:
    return array("d", (round(float(value), digits) for value in values))


def _scored_now(context: BuildContext, items: Sequence[Item], found: dict[str, Any]) -> Iterator[Item]:
    by_id = {item.item_id: item for item in items}
    orders = {
        item.item_id: _order(context, item.payload.location, True, False, context.wants_onsets(item.payload))
        for item in items
    }
    decodings = {key: Decoding(context.root, order) for key, order in orders.items()}
    streams = ((key, one.__iter__) for key, one in decodings.items())
    for key, scores in context.classifier.score_many(streams, context.num_threads):
        answer = decodings[key].answer
        if answer is not None and answer.heard:
            context.ahead[by_id[key].payload.audio_sha256] = Ahead(None, answer.heard)
        found[key] = scores
        yield by_id[key]


def take_fingerprints(context: BuildContext, stage: Stage, items: Sequence[Item]) -> Iterator[Outcome]:
    """Make the fingerprints of recordings, where no earlier stage did so on the way."""

    def one(item: Item) -> Outcome | None:
        recording: Recording = item.payload
        ahead = context.ahead.get(recording.audio_sha256)
        try:
            onsets = ahead.onsets if ahead is not None and ahead.onsets else _fingerprint(context, recording)
        except (PermanentError, TemporaryError):  # its file is gone: the recording stays, and is tried again
            return None
        return stage.outcome(context, item, Fingerprint(recording.recording_id, onsets))

    yield from each_item(context, stage, items, one, num_threads=context.num_threads)


def _fingerprint(context: BuildContext, recording: Recording) -> str:
    location = _place_of(context, recording.location)
    order = Order(location, fingerprints.SAMPLE_RATE, is_described=False, is_sent=False, listener=FINGERPRINT)
    return str(Decoding(context.root, order).finish().heard)
