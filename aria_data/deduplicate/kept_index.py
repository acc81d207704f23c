"""A `NoteIndex` kept in a folder from build to build, with the pairs that were found in it.

It is a cache: what is damaged, made otherwise or holds what is no longer wanted (something was removed) is deleted and
made again. Pairs do not depend on how the index came about, so a dataset built in steps has the same clusters as one
built at once.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Collection
from dataclasses import asdict
from pathlib import Path

from aria_data.deduplicate.note_index import NoteIndex, NoteIndexConfig, Notes, is_same
from aria_data.errors import DatasetCorrupt
from aria_data.storage import write_whole

VERSION = 1  # raise it when the same notes give other patterns or pairs
BATCH = 1000  # performances indexed at once; each batch is a file


class KeptIndex:
    """The index of the contents (sha256) that are wanted now, in `folder`."""

    def __init__(self, folder: Path, config: NoteIndexConfig | None = None):
        self.folder, self.config = folder, config or NoteIndexConfig()
        self._index = NoteIndex(self.config)

    def update(
        self,
        wanted: Collection[str],
        read: Callable[[str], Notes | None],
        on_read: Callable[[int], None] = lambda num: None,
    ) -> None:
        """Bring the index up to date: `read` gives the notes of what is new, None where they cannot be had.

        Raises `DatasetNotWritable`.
        """
        try:
            self._index = NoteIndex.open(self.folder, self.config)
        except DatasetCorrupt:
            self._start_anew()
        if set(self._index.ids) - set(wanted):
            self._start_anew()
        new = sorted(set(wanted) - set(self._index.ids))
        for first in range(0, len(new), BATCH):
            batch = new[first : first + BATCH]
            found = ((content, read(content)) for content in batch)
            self._index.add([(content, notes) for content, notes in found if notes is not None])
            self._index.save(self.folder)
            on_read(len(batch))

    def num_new(self, wanted: Collection[str]) -> int:
        """How many of these are not in the folder, for a progress bar; all where it is unreadable."""
        try:
            return len(set(wanted) - set(NoteIndex.open(self.folder, self.config).ids))
        except DatasetCorrupt:
            return len(set(wanted))

    def _start_anew(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self._index = NoteIndex(self.config)

    def pairs(self) -> list[tuple[str, str]]:
        """The contents that are the same performance, two by two, sorted; looked for only if anything changed."""
        ids = sorted(self._index.ids)
        path, key = self.folder / "pairs.json", self._key(ids)
        try:
            kept = json.loads(path.read_bytes())
            if kept["key"] == key:
                return [(ids[one], ids[other]) for one, other in kept["pairs"]]
        except (OSError, ValueError, LookupError, TypeError):
            pass  # not there, or damaged: looked for again
        place = {content: number for number, content in enumerate(ids)}
        found = sorted((one, other) for one, other, _ in self._index.matches())
        content = {"key": key, "pairs": [[place[one], place[other]] for one, other in found]}
        write_whole(path, json.dumps(content).encode())
        return found

    def _key(self, ids: list[str]) -> str:
        said = json.dumps([VERSION, asdict(self.config), ids], sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()

    def compare(self, one: str, other: str) -> bool:
        """Whether two of its performances are the same."""
        return is_same(self._index.compare(one, other), self.config)
