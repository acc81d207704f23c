"""Whether anything changed since the last build ended: then a build has nothing to do, and starts nothing.

A build that could finish all of its work notes in `index/last_build.json` what it depended on, as one hash a part: the
files of the dataset folder and of the source as they are on disk, the settings and the files they name, the weights,
the code. Where all of them are the same, the build's result is the same: no table is read, no library loaded. The note
is a cache: without it, the next build looks everything up.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from aria_data.config import to_values
from aria_data.errors import AriaDataError
from aria_data.storage import exclusive_lock, open_root, write_whole
from aria_data.storage.balance import Balance
from aria_data.stores.object_paths import ObjectPath
from flows.engine.context import BuildContext
from flows.engine.downloads import DOWNLOAD
from flows.engine.orders import BuildOrder, settings_of
from flows.engine.stages import ANNOTATE, CLASSIFY, FINGERPRINT, INGEST, MEASURE, SCREEN, SEGMENT, TRANSCRIBE
from flows.show.summaries import BuildSummary, StageTime

PARTS = (
    "tables",
    "manifest",
    "midi",
    "alignments",
    "audio",
    "subsets",
    "dataset.toml",
    "CARD.md",
)  # of the dataset folder
STAGES = (SCREEN, DOWNLOAD, INGEST, CLASSIFY, SEGMENT, FINGERPRINT, TRANSCRIBE, MEASURE, ANNOTATE)
CODE = Path(__file__).parents[2]
PACKAGES = ("aria_data", "classifiers", "flows", "manifests")


def last_summary(order: BuildOrder) -> BuildSummary | None:
    """Give the summary of a build that has nothing to do; None where something may be to do.

    Raises what taking the dataset's lock raises. Nothing is written.
    """
    note = order.out / "index" / "last_build.json"
    if order.name or order.is_dry_run or not note.is_file():
        return None
    began = time.monotonic()
    with exclusive_lock(order.out / ".lock"):
        try:
            noted = json.loads(note.read_bytes())
            context = BuildContext(order.out.absolute(), settings_of(order.out, None, (), order.config))
            alike = noted["state"] == state_of(context, order.source) and _are_where_they_were(noted["copies"])
            return _as_done_before(noted["summary"], time.monotonic() - began) if alike else None
        except (AriaDataError, OSError, ValueError, KeyError, TypeError):  # the build itself says what is wrong
            return None


def note_finished(context: BuildContext, source: str, summary: BuildSummary, copies: Iterable[str]) -> None:
    """Note what a build that finished all of its work depended on.

    `copies` are the locations of all recordings whose bytes another one has as well.
    """
    there = {location: context.has_audio(location) for location in copies}
    state = state_of(context, source if source and Path(source).is_dir() else None)
    noted = {"state": state, "copies": {str(context.path_of(one)): is_there for one, is_there in there.items()}}
    write_whole(context.root / "index" / "last_build.json", json.dumps(noted | {"summary": asdict(summary)}).encode())


def state_of(context: BuildContext, source: str | None) -> dict[str, str]:
    """What a build's result depends on, as a hash a part. A source that is no folder is asked anew by every build."""
    root = context.root
    state = {part: _hash(_files(root / part, root)) for part in PARTS}
    return (
        state
        | {
            "source": "" if source is None else _hash(_files(Path(source).absolute(), Path("/"), without=root)),
            "is_folder": str(source is None or Path(source).is_dir()),
        }
        | state_of_settings(context)
    )


def state_of_settings(context: BuildContext) -> dict[str, str]:
    """What a build's result depends on beside its data: settings and the files they name, weights, code."""
    config = context.config
    named = [*config.release.exclude, *config.download.opt_outs]
    named += [config.release.pruned_limits, config.release.deduplicated_limits, config.release.scores]
    return {
        "settings": _hash([json.dumps(to_values(config), sort_keys=True)]),
        "named": _hash(line for name in named if os.path.exists(name) for line in _files(Path(name), Path("/"))),
        "weights": " ".join((context.classifier_sha256, context.transcriber_sha256, context.second_sha256)),
        "versions": " ".join(f"{stage.name}-{stage.version}" for stage in STAGES),
        "code": state_of_code(),
    }


def state_of_code() -> str:
    """A hash of the states of this package's files."""
    return _hash(line for package in PACKAGES for line in _files(CODE / package, CODE))


def _files(path: Path, below: Path, without: Path | None = None) -> Iterator[str]:
    """A line a file, in order: its place, size, inode and times. Links are followed, as a build does, but not twice."""
    if isinstance(path, ObjectPath):
        yield from _objects(path)
        return
    if not path.is_dir():
        with suppress(OSError):
            yield _line(os.path.relpath(path, below), os.stat(path))
        return
    seen: set[tuple[int, int]] = set()
    waiting = [str(path)]
    while waiting:
        folder = waiting.pop()
        place = os.path.relpath(folder, below)
        try:
            status = os.stat(folder)
        except OSError:  # below a folder that may be listed but not entered
            yield place
            continue
        if (status.st_dev, status.st_ino) in seen or Path(folder) == without:
            continue
        seen.add((status.st_dev, status.st_ino))
        for entry in _entries(folder):
            if _is_folder(entry):
                waiting += [entry.path] if entry.name != "__pycache__" else []
            else:
                with suppress(OSError):
                    yield _line(f"{place}/{entry.name}", entry.stat())


def _objects(path: ObjectPath) -> Iterator[str]:
    """A line an object of a store: its name, size, tag and time."""
    found = path.files()
    with suppress(FileNotFoundError):
        found = found or {path: path.info()}
    for each, info in found.items():
        yield f"{each}\0{info.st_size} {info.etag} {info.modified}"


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:  # a folder that may not be listed
        return []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _line(place: str, status: os.stat_result) -> str:
    return f"{place}\0{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"


def _hash(lines: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(os.fsencode(line) + b"\n")
    return digest.hexdigest()


def _are_where_they_were(copies: dict[str, bool]) -> bool:
    """Files with the same bytes: which of them a row shows depends on which of them are there."""
    places = ((open_root(place) if "://" in place else Path(place), is_there) for place, is_there in copies.items())
    return all(place.exists() == is_there for place, is_there in places)


def _as_done_before(values: dict[str, Any], seconds: float) -> BuildSummary:
    stages = {name: StageTime(**stage) for name, stage in values["stages"].items()}
    done = {name: StageTime(one.num_done_before + one.num_worked_on, 0, 0.0, 0.0) for name, one in stages.items()}
    balances = {name: values[name] and Balance(**values[name]) for name in ("candidates", "segments")}
    summary = BuildSummary(**{**values, **balances, "stages": done, "is_new_version": False})
    return replace(summary, stages=done | {"collect": replace(done["collect"], seconds=seconds)})
