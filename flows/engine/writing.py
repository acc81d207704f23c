"""Files that a build writes below its dataset for workers elsewhere: whole, none after its end, and at hand for the
stages that follow, where the dataset is in an object store."""

from __future__ import annotations

from pathlib import Path

from aria_data.storage import is_remote, local_folder, write_whole
from flows.workers.lanes import Gate


class Writing:
    """The files of one build. Safe for threads."""

    def __init__(self, root: Path):
        self._root, self._gate = root, Gate()
        self._fresh: Path | None = None
        if is_remote(root):
            from aria_data.storage.relations import FOLDER  # which is deleted at the end of a build

            self._fresh = local_folder(root) / FOLDER / "fresh"

    def write(self, path: str, content: bytes) -> None:
        """Write a file below the root, whole. Raises `Stopped` when the build has ended: a lane was left behind."""
        with self._gate.passing():
            write_whole(self._root / path, content)
            if self._fresh is not None:
                write_whole(self._fresh / path, content)

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
