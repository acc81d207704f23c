"""Files that a build writes below its dataset for workers elsewhere: whole, none after its end, and at hand for the
stages that follow, where the dataset is in an object store."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

from aria_data.storage import is_remote, local_folder, not_writable, write_whole
from flows.workers.lanes import Gate

NUM_AT_ONCE = 8  # files: a disk takes a millisecond for each to be safe, a store some


class Writing:
    """The files of one build. Safe for threads."""

    def __init__(self, root: Path):
        self._root, self._gate = root, Gate()
        self._fresh: Path | None = None
        if is_remote(root):
            from aria_data.storage.relations import FOLDER  # which is deleted when a build begins, and at its end

            self._fresh = local_folder(root) / FOLDER / "fresh"

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(NUM_AT_ONCE, "writing")

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write files, by their paths below the root, each whole, several at the same time.

        Raises `Stopped` when the build has ended: a lane was left behind. Of other errors the first.
        """
        with self._gate.passing():
            if len(files) > 1:
                list(self._threads.map(self._write, files, files.values()))
            else:
                for path, content in files.items():
                    self._write(path, content)

    def _write(self, path: str, content: bytes) -> None:
        write_whole(self._root / path, content)
        if self._fresh is not None:
            copy = self._fresh / path
            try:
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(content)  # nobody looks for it before this returns
            except OSError as error:
                raise not_writable(copy, error) from error

    def at_hand(self, path: str) -> Path | None:
        """A file of this disk with what was written to this path of a store, if it was not forgotten."""
        fresh = self._fresh and self._fresh / path
        return fresh if fresh and fresh.is_file() else None

    def forget(self, path: str) -> None:
        """Say that no stage that follows needs a file."""
        if self._fresh is not None:
            (self._fresh / path).unlink(missing_ok=True)

    def close(self) -> None:
        """Write nothing more; no write is under way when this returns."""
        self._gate.close()
        if "_threads" in self.__dict__:
            self._threads.shutdown(cancel_futures=True)
