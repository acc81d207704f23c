"""Which candidate represents each set of identical files, while recordings come one after the other."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from aria_data.storage.files import not_writable
from aria_data.storage.key_index import HEX_DIGITS, GrowingIndex, KeyIndex, word_of, words_of

LINES_TOGETHER = 1000  # that wait until they are written


class File(NamedTuple):
    """The file of a candidate."""

    candidate_id: str
    location: str
    source_url: str


class SameFiles:
    """The first file seen with each content, until `mistaken` decides truly. Safe for threads.

    In memory are 24 bytes a content, and the files of those that came twice; the others wait in a file of `folder`.
    """

    def __init__(self, folder: Path, preference: Callable[[File], str]):
        self._preference = preference
        self._places = GrowingIndex()  # of the first files in the file of lines
        self._known: tuple[KeyIndex, Callable[[int], File]] | None = None
        self._lines: list[bytes] = []  # that are not written yet
        self._path, self._length = folder / "first_files", 0
        self._decided: dict[str, File] = {}  # by audio_sha256, where the first one was not the right one
        self._groups: dict[str, dict[str, File]] = {}  # by audio_sha256, then by candidate, of two and more
        self._lock = threading.Lock()

    def know(self, index: KeyIndex, file_at: Callable[[int], File]) -> None:
        """Take files that were seen before, each with bytes of its own: `index` has the words of the first 32 digits of
        their hashes, and the places by which `file_at` gives them."""
        self._known = index, file_at

    def representative(self, audio_sha256: str, file: File) -> File:
        """The file that is kept of those with these bytes: the first one seen. Raises `DatasetNotWritable`."""
        with self._lock:
            first = self._first(audio_sha256)
            if first is None:
                self._note(audio_sha256, file)
                return file
            if first.candidate_id != file.candidate_id:
                self._groups.setdefault(audio_sha256, {first.candidate_id: first})[file.candidate_id] = file
            return first

    def first_of(self, audio_sha256: str) -> str:
        """The first candidate seen with these bytes; "" for none."""
        with self._lock:
            first = self._first(audio_sha256)
            return first.candidate_id if first else ""

    def mistaken(self) -> Iterator[list[str]]:
        """The groups in which another candidate than the first one seen is the representative; it is, from now on."""
        for sha256, group in self._groups.items():
            true = min(group.values(), key=lambda one: (self._preference(one), one.candidate_id))
            first = self._first(sha256)
            if first is not None and true.candidate_id != first.candidate_id:
                self._decided[sha256] = true
                yield sorted(group)

    def _first(self, audio_sha256: str) -> File | None:
        if audio_sha256 in self._decided:
            return self._decided[audio_sha256]
        place = self._places.get(word_of(audio_sha256[:HEX_DIGITS]))
        if place is None:
            return self._known_before(audio_sha256)
        self._write()
        with self._path.open("rb") as lines:
            lines.seek(place)
            return File(*json.loads(lines.readline()))

    def _known_before(self, audio_sha256: str) -> File | None:
        if self._known is None:
            return None
        index, file_at = self._known
        places = index.find(words_of([audio_sha256[:HEX_DIGITS]]))[1]
        return file_at(int(places[0])) if len(places) else None

    def _note(self, audio_sha256: str, file: File) -> None:
        line = json.dumps(file).encode() + b"\n"
        self._places.add(word_of(audio_sha256[:HEX_DIGITS]), self._length)
        self._lines.append(line)
        self._length += len(line)
        if len(self._lines) >= LINES_TOGETHER:
            self._write()

    def _write(self) -> None:
        """Put the lines that wait into the file."""
        try:
            with self._path.open("ab") as lines:
                lines.write(b"".join(self._lines))
        except OSError as error:
            raise not_writable(self._path, error) from error
        self._lines = []
