"""Fetch the audio that a dataset's crawls found, without building it; mark failed fetches to be tried again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aria_data.download import settle
from aria_data.errors import DatasetNotFound
from aria_data.storage import exclusive_lock, local_folder
from aria_data.web import KINDS
from aria_data.web.failures import require_kind
from flows.build.assemble import Build
from flows.engine.attempts import Attempts
from flows.engine.downloads import DOWNLOAD
from flows.engine.stages import SCREEN
from flows.show.summaries import FetchSummary


def fetch(root: Path, config: Mapping[str, Any] | None = None, only: set[str] | None = None) -> FetchSummary:
    """Fetch every candidate that passed screening and was not fetched yet; with `only`, none but these candidates.

    Settings that `config` does not name are those of the dataset. Raises `DatasetNotFound` where nothing was ever
    collected, `DatasetLocked` when a build or crawl works there.
    """
    require_dataset(root)
    with Build.open(None, str(root), config, None, command="fetch") as build:
        build.collect()
        build.run(SCREEN)
        if only is not None:
            build.found.only = only
        before = set(build.context.downloads)
        build.rejections.clear()
        build.run(DOWNLOAD)
        fetched = build.found.records(DOWNLOAD.name)
        settle(local_folder(root), fetched)
        attempts = build.context.attempts
        not_fetched = [(one.reason, f"{one.source_url}: {one.reason} ({one.detail})") for one in build.rejections]
        for key, pending in build.not_done.items():
            kind = "rate-limited" if key in attempts.resting else attempts.last_kind(key) or "network"
            not_fetched.append((kind, f"{key}: {pending.message}"))
        new = [record for key, record in fetched.items() if key not in before]
        return FetchSummary(
            num_fetched=len(new),
            num_fetched_before=len(fetched) - len(new),
            num_bytes=sum(record.num_bytes for record in new),
            audio_s=sum(record.duration_s for record in new),
            kinds=dict(Counter(kind for kind, _ in not_fetched).most_common()),
            lines=[line for _, line in not_fetched],
            seconds=build.times[DOWNLOAD.name].seconds,
        )


def mark(root: Path, kinds: Sequence[str]) -> set[str]:
    """Record that candidates whose last attempt failed in one of these ways are to be tried again. Gives their ids.

    Without `kinds`, all temporary kinds of `aria_data.web.KINDS`.
    """
    require_dataset(root)
    wanted = [require_kind(kind) for kind in kinds] or [kind.name for kind in KINDS.values() if kind.is_temporary]
    with exclusive_lock(root / ".lock"):
        attempts = Attempts(root)
        by_kind = attempts.by_kind()
        chosen = sorted({candidate_id for kind in wanted for candidate_id in by_kind.get(kind, ())})
        attempts.mark(chosen)
    return set(chosen)


def require_dataset(root: Path) -> None:
    """Raise `DatasetNotFound` where nothing was ever collected."""
    if not (root / "tables" / "collect").is_dir():
        raise DatasetNotFound(f"{root}: holds no dataset. Run `aria-data crawl` or `aria-data build` first.")
