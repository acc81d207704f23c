"""Collect the audio files below a folder as candidates, with the text of tags and sidecars. Nothing is decoded."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aria_data.audio import AudioInfo, probe
from aria_data.collect.places import FileState, KnownPlaces, is_at
from aria_data.collect.sources.base import text
from aria_data.errors import AudioUnreachable, AudioUnreadable, UsageError
from aria_data.records import Candidate
from aria_data.storage import as_on_disk, printable
from aria_data.storage.files import from_location, to_location

# File endings that are tried as audio (a part of FFmpeg's); any other file is skipped and counted.
AUDIO_SUFFIXES = frozenset(
    ".3g2 .3gp .aa3 .aac .ac3 .aif .aifc .aiff .alac .amr .ape .asf .au .avi .awb .bwf .caf .dff .dsf .eac3 .ec3 "
    ".f4a .f4b .f4v .flac .flv .m2a .m2t .m2ts .m4a .m4b .m4p .m4r .m4v .mk3d .mka .mkv .mov .mp1 .mp2 .mp3 .mp4 .mpa "
    ".mpc .mpeg .mpg .mpga .oga .ogg .ogv .ogx .oma .opus .qt .ra .rf64 .rm .rmvb .shn .snd .spx .tak .tta .vob .voc "
    ".w64 .wav .wave .weba .webm .wma .wmv .wv".split()
)
# Endings of films and of programs: such a file is audio if it can be opened as such.
DOUBTFUL_SUFFIXES = frozenset((".ts", ".mts", ".mod", ".tod", ".trp", ".tp"))
MAX_SIDECAR_BYTES = 4 << 20  # yt-dlp's largest .info.json files are near 1 MB
MAX_TEXT = 10_000  # characters kept of a description


@dataclass(slots=True)
class Folder:
    """The result of a walk through a folder: candidates in order of path, and the number of skipped files by ending.

    `closed_ids` are the candidates that stand for a folder which may not be read: they are none once it may.
    """

    candidates: list[Candidate] = field(default_factory=list)
    closed_ids: set[str] = field(default_factory=set)
    left_aside: Counter[str] = field(default_factory=Counter)


def collect_folder(
    root: Path,
    known: Mapping[str, Candidate] | None = None,
    audio_sha256_of: Callable[[str], str] = lambda candidate_id: "",
    last_observation: int = 0,
) -> Folder:
    """Walk a folder and make a candidate of every audio file in it, in order of path.

    Links are followed, loops are not; hidden files are skipped. A file that `known` (by id) holds in the same state is
    not opened again; one that is known from another place keeps its id (see `places`, also for `audio_sha256_of`).
    `last_observation` is the highest number of all observations before.
    Raises `UsageError` when `root` is not a folder that can be read.
    """
    known = known or {}
    root = Path(os.path.abspath(root))
    if not root.is_dir():
        raise UsageError(f"{printable(str(root))}: is not a folder. Name a folder with recordings.")
    if not os.access(root, os.R_OK | os.X_OK):
        raise UsageError(f"{printable(str(root))}: may not be read. Check its permissions.")
    folder = Folder()
    files, closed = _files_below(root)
    files = [path for path in sorted(files, key=os.fsencode) if _is_wanted(path, folder.left_aside)]
    paths = sorted([*files, *closed], key=os.fsencode)
    folder.closed_ids = {_own_id(path) for path in closed}
    places = KnownPlaces(known, audio_sha256_of, paths)
    count = 1 + last_observation
    folder.candidates = [_candidate(root, path, known, places, count) for path in paths]
    return folder


def _is_wanted(path: Path, left_aside: Counter[str]) -> bool:
    """Whether a file may be audio by its name; others are counted."""
    if path.name.startswith("."):
        left_aside["hidden"] += 1
        return False
    suffix = path.suffix.lower()
    if may_be_audio(path):
        return True
    if not path.name.endswith(".info.json"):
        left_aside[printable(suffix, 20) or "without an ending"] += 1
    return False


def is_closed_folder(candidate: Candidate) -> bool:
    """Whether a candidate of earlier code stands for a folder that could not be read then: it holds no sound itself."""
    if candidate.source != "local" or candidate.num_bytes or candidate.modified_ns:
        return False
    place = from_location(candidate.location, Path())
    return place.suffix.lower() not in AUDIO_SUFFIXES or os.path.isdir(place)


def may_be_audio(path: Path) -> bool:
    """Whether a file is taken for audio: by its ending, or where that tells nothing, by its content."""
    suffix = path.suffix.lower()
    is_doubtful = not suffix or suffix in DOUBTFUL_SUFFIXES
    return suffix in AUDIO_SUFFIXES or (is_doubtful and _probe_quietly(path) is not None)


def _files_below(root: Path) -> tuple[list[Path], list[Path]]:
    """Give every file outside hidden folders, and every folder that may not be read, so that it is reported."""
    seen = set()
    files: list[Path] = []
    closed: list[Path] = []
    walk = os.walk(root, followlinks=True, onerror=lambda error: closed.append(Path(os.fsdecode(error.filename))))
    for directory, subdirectories, names in walk:
        try:
            status = os.stat(directory)
        except OSError:  # its folder may be listed but not entered
            closed.append(Path(directory))
            subdirectories.clear()
            continue
        if (status.st_dev, status.st_ino) in seen:  # a link to a folder that was walked before
            subdirectories.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        subdirectories[:] = sorted(name for name in subdirectories if not name.startswith("."))
        files += (Path(directory, name) for name in names)
    return files, closed


def _candidate(
    root: Path, path: Path, known: Mapping[str, Candidate], places: KnownPlaces, observation: int
) -> Candidate:
    own_id = _own_id(path)
    sidecar = as_on_disk(path.parent, path.with_suffix(".info.json").name)
    state = FileState.of(path)
    state = state._replace(modified_ns=max(state.modified_ns, FileState.of(sidecar).modified_ns))
    before = known.get(own_id) or places.take(path, path.relative_to(root), state)
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    if before is not None and (before.num_bytes, before.modified_ns) == state[:2] and is_at(before, path):
        if (before.inode, before.changed_ns) == state[2:]:
            return before
        content = places.content_of(before, path) if before.inode else before.content_sha256
        return replace(
            before,
            inode=state.inode,
            changed_ns=state.changed_ns,
            content_sha256=content,
            observation=observation,
            collected_at=now,
        )
    info, fields = _probe_quietly(path), _read_sidecar(sidecar)
    tags = {name: value for name, value in (info.tags if info else {}).items() if name != "encoder"}
    web_page = printable(_text(fields, "webpage_url"), 1000)
    return Candidate(
        candidate_id=before.candidate_id if before else own_id,
        source="local",
        location=to_location(path),
        source_url=web_page
        if web_page.startswith(("http://", "https://"))
        else printable(str(path.relative_to(root)), 1000),
        title=_text(fields, "title") or tags.get("title") or printable(path.stem),
        description=_text(fields, "description") or tags.get("comment", "") or _folders(root, path),
        uploader=_text(fields, "uploader") or _text(fields, "channel"),
        licence=_text(fields, "license") or tags.get("license", "") or tags.get("copyright", ""),
        tags=json.dumps(tags, sort_keys=True, ensure_ascii=False),
        announced_duration_s=_number(fields, "duration") or (info.duration_s if info else None),
        num_bytes=state.num_bytes,
        modified_ns=state.modified_ns,
        inode=state.inode,
        changed_ns=state.changed_ns,
        observation=observation,
        discovered_via="folder",
        collected_at=now,
    )


def _own_id(path: Path) -> str:
    return "local-" + hashlib.sha256(os.fsencode(path)).hexdigest()[:16]


def _folders(root: Path, path: Path) -> str:
    """Describe the folders below the source in which a file lies: people sort recordings by composer."""
    parts = [printable(part, 100) for part in path.relative_to(root).parts[:-1]]
    return f"In the folder {' / '.join(parts)}" if parts else ""


def _probe_quietly(path: Path) -> AudioInfo | None:
    """Read the tags of a file; None for a file that cannot be opened, which `ingest` reports later."""
    try:
        return probe(path)
    except (AudioUnreadable, AudioUnreachable):
        return None


def _read_sidecar(path: Path) -> dict[str, Any]:
    """Read a yt-dlp `.info.json`. A damaged or too large one counts as empty, and the audio is used all the same."""
    try:
        if not path.is_file() or path.stat().st_size > MAX_SIDECAR_BYTES:
            return {}
        fields = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    return text(value, MAX_TEXT) if isinstance(value, str) else ""


def _number(fields: Mapping[str, Any], name: str) -> float | None:
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e7:
        return None
    return float(value)


def audio_files(given: Path) -> list[Path]:
    """Give the audio files below a folder in order, as a build takes them; for a file, the file alone."""
    if not given.is_dir():
        return [given]  # a missing one becomes an error of its own, beside the others' results
    below = (path for path in given.rglob("*") if not path.name.startswith(".") and os.path.isfile(path))
    return sorted(path for path in below if may_be_audio(path))
