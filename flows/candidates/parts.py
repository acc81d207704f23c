"""Folders of Parquet files that are a cache, named with their digests in one `about.json`: whole, or not there.

FOLDER/about.json     what the caller says of the cache, and the files of each part with their digests
FOLDER/<number>/      a part; one that `about.json` does not name is a killed writer's
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from aria_data.errors import DatasetNotReadable, DatasetNotWritable
from aria_data.storage import write_whole


class Parts:
    """The parts in a folder of the disk, as the last `read` or `write` left them."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._named: dict[int, dict[str, str]] = {}  # by number: the digests of files, by name

    @property
    def numbers(self) -> list[int]:
        """The numbers of the parts, the oldest first."""
        return sorted(self._named)

    def file(self, number: int, name: str) -> Path:
        """Where a part keeps its table of this name."""
        return self.folder / str(number) / f"{name}.parquet"

    def read(self) -> dict[str, Any] | None:
        """What was said of the parts when they were written; None where it is missing, or anything of it damaged."""
        self._named = {}
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            about = json.loads((self.folder / "about.json").read_bytes())
            named = {int(number): dict(files) for number, files in about["parts"].items()}
            if self._are_whole(named):
                self._named = named
                return dict(about)
        return None

    def write(self, fill: Callable[[Path], None], about: Callable[[], Mapping[str, Any]], replaces: bool) -> None:
        """Add the part that `fill` writes into a folder, after the others or instead of them.

        Raises what both functions raise, `OSError` and `DatasetNotWritable`; then what was there is there.
        """
        number = max(self._named, default=-1) + 1
        partial, place = self.folder / f"{number}.partial", self.folder / str(number)
        for left in (partial, place):  # by a killed build
            shutil.rmtree(left, ignore_errors=True)
        partial.mkdir(parents=True)
        fill(partial)
        digests = {file.name: _digest(file, is_new=True) for file in sorted(partial.iterdir())}
        partial.rename(place)
        named = {number: digests} if replaces else self._named | {number: digests}
        write_whole(self.folder / "about.json", json.dumps({**about(), "parts": named}).encode())
        self._named = named
        self._delete_all_but(["about.json", *map(str, named)])

    def discard(self) -> None:
        """Delete all: first what names the parts, so that a kill leaves none that is named and not whole."""
        self._named = {}
        with suppress(OSError):
            (self.folder / "about.json").unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Where the block fails because a file was damaged after `read`, say so, and what to do."""
        try:
            yield
        except faults() as error:
            if not self._named or self._are_whole(self._named):
                raise
            self.discard()
            raise DatasetNotReadable(
                f"{self.folder}: files of this cache went missing or were changed while a build used them. It is "
                "deleted. Run the same command again: it looks at all candidates."
            ) from error

    def _are_whole(self, named: Mapping[int, Mapping[str, str]]) -> bool:
        with suppress(OSError):
            return all(
                _digest(self.folder / str(number) / name) == digest
                for number, files in named.items()
                for name, digest in files.items()
            )
        return False

    def _delete_all_but(self, names: Sequence[str]) -> None:
        for path in list(self.folder.iterdir()):
            if path.name not in names:
                shutil.rmtree(path, ignore_errors=True)


def faults() -> tuple[type[Exception], ...]:
    """The errors of reading and writing files by DuckDB."""
    import duckdb

    return DatasetNotWritable, OSError, duckdb.Error


def _digest(file: Path, is_new: bool = False) -> str:
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
        if is_new:
            os.fsync(content.fileno())
    return digest
