"""The download stage: which candidates are fetched now, a record of every attempt, and the outcome of each.

Whether what came is whole is decided by the limits of `ingest`, as for files of a folder.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence

from aria_data.audio import IntegrityLimits, inspect, require_whole
from aria_data.download import download
from aria_data.errors import AriaDataError, AudioUnreadable, DatasetError, PermanentError, TemporaryError
from aria_data.records import Attempt, Candidate, Download, Verdict
from aria_data.storage import local_folder, printable
from aria_data.storage.local_copies import keep_file
from aria_data.storage.stage_tables import Outcome
from aria_data.web import HostResting, host_of, kind_of
from flows.engine.attempts import now
from flows.engine.context import BuildContext, Item, Stage, each_item

# Kinds of failure that are expected rejections.
EXPECTED = frozenset({"too-long", "licence", "robots", "opted-out", "refused"})


def _download(context: BuildContext, stage: Stage, items: Sequence[Item]) -> Iterator[Outcome]:
    config, attempts = context.config.download, context.attempts
    attempts.settle(context.root, context.downloads)

    def one(item: Item) -> Outcome:
        candidate: Candidate = item.payload
        known = context.downloads.get(candidate.candidate_id)
        if known is not None and context.is_there(known.audio_path):
            return _judged(context, stage, item, known)
        attempts.require_due(candidate.candidate_id, config)
        began, started = now(), time.monotonic()
        try:
            here = local_folder(context.root)
            record = download(candidate, here, config, context.web, limits=_limits(context))
            keep_file(here / record.audio_path, context.root / record.audio_path)
        except DatasetError:
            raise
        except HostResting:  # no request was sent: no attempt
            attempts.resting.add(candidate.candidate_id)
            raise
        except AriaDataError as error:
            kind, detail = kind_of(error), printable(str(error), 300)
            took_s = round(time.monotonic() - started, 3)
            attempts.add(Attempt(candidate.candidate_id, host_of(candidate.location), began, took_s, 0, kind, detail))
            return _ended(context, stage, item, error, kind)
        took_s, host = round(time.monotonic() - started, 3), host_of(record.fetched_from)
        attempts.add(Attempt(candidate.candidate_id, host, began, took_s, record.num_bytes, "", ""))
        return stage.outcome(context, item, record)

    try:
        yield from each_item(context, stage, items, one, config.num_parallel, is_retried=False)
    finally:
        attempts.flush()


def _ended(context: BuildContext, stage: Stage, item: Item, error: AriaDataError, kind: str) -> Outcome:
    """The outcome of a permanent failure; a temporary one is raised, so that the item stays not done."""
    if isinstance(error, TemporaryError):
        raise error
    measured = getattr(error, "measured", None)
    if kind in EXPECTED:
        return stage.outcome(context, item, None, Verdict(False, kind, measured), str(error))
    raise PermanentError(str(error), kind, measured) from error


def _judged(context: BuildContext, stage: Stage, item: Item, known: Download) -> Outcome:
    """The outcome of an earlier download under the limits of today."""
    config = context.config.download
    if config.licences and known.licence_code not in config.licences:
        licence = printable(known.licence, 60) or "none is named"
        verdict = Verdict(False, "licence")
        return stage.outcome(context, item, None, verdict, f"{item.payload.source_url}: its licence is {licence}.")
    if known.duration_s > config.max_duration_s:
        return stage.outcome(context, item, None, Verdict(False, "too-long", known.duration_s), "longer than allowed")
    if _own_limits(context):
        _require_whole(context, item, known)
    return stage.outcome(context, item, known)


def _require_whole(context: BuildContext, item: Item, known: Download) -> None:
    """Decode an earlier download once more: the limits may be others than when it was fetched."""
    try:
        require_whole(item.item_id, inspect(context.audio_of(known.audio_path)), _limits(context))
    except AudioUnreadable as error:
        raise PermanentError(str(error), "corrupt", error.measured) from error


def _limits(context: BuildContext) -> IntegrityLimits:
    names = (field.name for field in dataclasses.fields(IntegrityLimits))
    return IntegrityLimits(**{name: getattr(context.config.ingest, name) for name in names})


def _own_limits(context: BuildContext) -> dict[str, object]:
    """The limits, where they are not the defaults, so that what earlier code fetched under those has the same key."""
    limits = _limits(context)
    return {} if limits == IntegrityLimits() else {"integrity": dataclasses.asdict(limits)}


def _settings(context: BuildContext) -> dict[str, object]:
    config = context.config.download
    return {
        **_own_limits(context),
        "licences": sorted(config.licences),
        "max_duration_s": config.max_duration_s,
        "max_bytes": config.max_bytes,
        "max_duration_error": [config.max_duration_error, config.max_duration_error_s],
    }


DOWNLOAD = Stage("download", 1, Download, _download, _settings, file_of=lambda fetched: fetched.audio_path)
