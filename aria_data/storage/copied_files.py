"""Objects that never change as files of an Arrow file system: each is opened as a copy on this disk.

A copy that was deleted, as of a cache that became too large, is fetched again when it is opened; one that is open can
be read to its end. So what is opened late, as the files of a snapshot, is as good as what is opened at once.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from pyarrow import NativeFile
from pyarrow.fs import FSSpecHandler, LocalFileSystem, PyFileSystem

from aria_data.storage.local_copies import copy_of_constant
from aria_data.stores.object_paths import ObjectPath

MAX_TRIES = 5  # another process may delete a copy between its fetching and its opening


class _Copies(FSSpecHandler):  # type: ignore[misc]
    """Opens keys of a store for reading. Whatever else a file system does, nobody asks of this one."""

    def __init__(self, scheme: str):
        super().__init__(None)
        self._scheme, self._here = scheme, LocalFileSystem()

    def get_type_name(self) -> str:
        return f"copies of {self._scheme}"

    def normalize_path(self, path: str) -> str:
        return path

    def open_input_file(self, path: str) -> NativeFile:
        """Raises `StoreUnreachable`, `DatasetNotWritable`, and `FileNotFoundError` where there is no such object."""
        place = ObjectPath(self._scheme, PurePosixPath(path))
        for _ in range(MAX_TRIES - 1):
            copy = copy_of_constant(place)
            try:
                return self._here.open_input_file(str(copy))
            except FileNotFoundError:
                continue
        return self._here.open_input_file(str(copy_of_constant(place)))

    open_input_stream = open_input_file


def files_as_copies(scheme: str) -> Any:
    """Give the file system of a kind of store, `s3`, whose paths are keys that begin with the bucket."""
    return PyFileSystem(_Copies(scheme))
