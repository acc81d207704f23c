"""A `NoteIndex` kept in a folder from build to build, with the pairs found in it.

The folder is a cache. It is deleted and made again when it is damaged, was made with other settings, or holds something
that is no longer wanted because it was removed. The pairs do not depend on the order of additions, so a dataset built
in steps has the same clusters as one built at once.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from aria_data.deduplicate.note_index import NoteIndex, NoteIndexConfig, Notes, is_same
from aria_data.errors import DatasetCorrupt
from aria_data.storage import remove_folder, write_whole

VERSION = 1  # raise it when the same notes would give other pairs
BATCH = 1000  # performances indexed at once; each batch becomes a file

Contents: TypeAlias = "pa.Array | pa.ChunkedArray"  # of strings, each once
Read = Callable[[Contents], Iterable[tuple[str, Notes | None]]]


class KeptIndex:
    """An index in `folder` of performances, called by the sha256 of their content."""

    def __init__(self, folder: Path, config: NoteIndexConfig | None = None):
        self.folder, self.config = folder, config or NoteIndexConfig()
        self._index = NoteIndex(self.config)
        self._before: list[tuple[str, str]] | None = []

    def update(self, wanted: Contents, read: Read, on_read: Callable[[int], None] = lambda num: None) -> None:
        """Make the index hold the `wanted` contents and nothing else.

        `read` gives the notes of new contents, in any order, or None to leave one out. `on_read` gets the number of
        contents in each finished batch. Raises `DatasetNotWritable`.
        """
        try:
            self._index = NoteIndex.open(self.folder, self.config)
        except DatasetCorrupt:
            self._start_anew()
        self._before = self._noted(sorted(self._index.ids)) if self._index.ids else None
        if pc.any(pc.invert(pc.is_in(self._there(), value_set=wanted))).as_py():
            self._start_anew()
        found = iter(read(_without(wanted, self._there())))
        while batch := list(itertools.islice(found, BATCH)):
            self._index.add([(content, notes) for content, notes in batch if notes is not None])
            self._index.save(self.folder)
            on_read(len(batch))

    def num_new(self, wanted: Contents) -> int:
        """Count the wanted contents that are not in the folder yet, for a progress bar; all when it cannot be used."""
        try:
            there = pa.array(NoteIndex.open(self.folder, self.config).ids, pa.string())
            return len(_without(wanted, there))
        except DatasetCorrupt:
            return len(wanted)

    def _there(self) -> pa.Array:
        return pa.array(self._index.ids, pa.string())

    def _start_anew(self) -> None:
        remove_folder(self.folder)
        self._index = NoteIndex(self.config)

    def pairs(self) -> list[tuple[str, str]]:
        """Give the pairs of contents that are the same performance, sorted. They are searched only after a change."""
        ids = sorted(self._index.ids)
        noted = self._noted(ids)
        if noted is not None:
            return noted
        path, key = self.folder / "pairs.json", self._key(ids)
        place = {content: number for number, content in enumerate(ids)}
        found = sorted((one, other) for one, other, _ in self._index.matches())
        content = {"key": key, "pairs": [[place[one], place[other]] for one, other in found]}
        write_whole(path, json.dumps(content).encode())
        return found

    def changed_pairs(self) -> set[tuple[str, str]] | None:
        """The pairs that `update` added or took away; None where those before it are not known.

        A pair depends on what else is indexed: patterns that many have are not followed to all of them.
        """
        if self._before is None:
            return None if self._index.ids else set()
        return set(self._before) ^ set(self.pairs())

    def _noted(self, ids: list[str]) -> list[tuple[str, str]] | None:
        """The pairs that were found among these contents, sorted; None where the note is missing, or of others."""
        try:
            kept = json.loads((self.folder / "pairs.json").read_bytes())
            if kept["key"] == self._key(ids):
                return [(ids[one], ids[other]) for one, other in kept["pairs"]]
        except (OSError, ValueError, LookupError, TypeError):
            pass  # missing or damaged
        return None

    def _key(self, ids: list[str]) -> str:
        content = json.dumps([VERSION, asdict(self.config), ids], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    def compare(self, one: str, other: str) -> bool:
        """Whether two contents of the index are the same performance. Raises `KeyError` for one that is not in it."""
        return is_same(self._index.compare(one, other), self.config)


def _without(wanted: Contents, there: pa.Array) -> Contents:
    """The wanted contents that are not there, sorted."""
    new = wanted.filter(pc.invert(pc.is_in(wanted, value_set=there)))
    return new.take(pc.array_sort_indices(new))
