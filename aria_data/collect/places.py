"""Which known candidate a file is: the same file as before, or the same recording in another place.

A folder that was moved, copied or is reached by a link holds the recordings that are known already. A file is known by
its path; else by being the very file of a known path; else by its place below the folder together with its content.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from aria_data.records import Candidate
from aria_data.storage import sha256_file
from aria_data.storage.files import from_location, to_location


class FileState(NamedTuple):
    """What can be seen of a file without reading it. All 0 for one that cannot be asked about."""

    num_bytes: int = 0
    modified_ns: int = 0
    inode: int = 0
    changed_ns: int = 0  # of the inode: a copy onto it cannot set this back, unlike modified_ns

    @classmethod
    def of(cls, path: Path) -> FileState:
        try:
            status = os.stat(path)
        except (OSError, ValueError):
            return cls()
        if not os.path.isfile(path):
            return cls()
        return cls(status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns)


class KnownPlaces:
    """The local candidates of earlier builds, found by where they are and by what they hold.

    `audio_sha256_of` gives the hash of a candidate's file when it was ingested last, "" where it never was.
    """

    def __init__(self, known: Mapping[str, Candidate], audio_sha256_of: Callable[[str], str], walked: Collection[Path]):
        self._audio_sha256_of = audio_sha256_of
        walked_places = {os.path.abspath(path) for path in walked}
        self._by_name: dict[tuple[str, int], list[tuple[Candidate, Path]]] = {}
        for candidate in known.values():
            if candidate.source == "local" and candidate.location.startswith("file://"):
                place = from_location(candidate.location, Path())
                if str(place) not in walked_places:  # a copy beside the original is a copy
                    self._by_name.setdefault((place.name, candidate.num_bytes), []).append((candidate, place))

    def take(self, path: Path, below: Path, state: FileState) -> Candidate | None:
        """Give the candidate that `path` is in another place, once; `below` is its place below the folder walked."""
        found = self._by_name.get((path.name, state.num_bytes), [])
        for one in found:
            candidate, place = one
            if _is_same_file(path, place) or (_ends_with(place, below) and self._holds(candidate, path)):
                found.remove(one)
                return candidate
        return None

    def content_of(self, candidate: Candidate, path: Path) -> str:
        """Give the `content_sha256` of a file whose inode changed while size and time did not.

        "" or what it was where the file still holds what was ingested, else the hash of what it holds now.
        """
        known = candidate.content_sha256 or self._audio_sha256_of(candidate.candidate_id)
        try:
            now = sha256_file(path)
        except OSError:  # ingest reports it
            return candidate.content_sha256
        return candidate.content_sha256 if known in ("", now) else now

    def _holds(self, candidate: Candidate, path: Path) -> bool:
        known = candidate.content_sha256 or self._audio_sha256_of(candidate.candidate_id)
        try:
            return bool(known) and sha256_file(path) == known
        except OSError:
            return False


def is_at(candidate: Candidate, path: Path) -> bool:
    """Whether a candidate's file is this very file, by whatever path."""
    return candidate.location == to_location(path) or _is_same_file(path, from_location(candidate.location, Path()))


def _is_same_file(path: Path, other: Path) -> bool:
    try:
        return os.path.samefile(path, other)
    except (OSError, ValueError):
        return False


def _ends_with(place: Path, below: Path) -> bool:
    return place.parts[-len(below.parts) :] == below.parts
