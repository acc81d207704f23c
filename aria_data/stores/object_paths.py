"""Paths in an object store, `s3://bucket/dataset`, that behave as `pathlib.Path` does where this project uses one.

`open_root` gives a path of either kind; the rest of the code does not know which it has. An object is written whole or
not at all by the store itself. Requests that fail for a reason that passes (503, a cut connection, a slow server) are
made again until `ARIA_DATA_STORE_PATIENCE_S` is over. The clients are in `store_clients`, errors in `store_errors`.
"""

from __future__ import annotations

import fnmatch
import io
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, TypeVar, cast

from aria_data.errors import AriaDataError, UsageError
from aria_data.stores.small_puts import put_small
from aria_data.stores.store_clients import SCHEMES, filesystem, patience_s
from aria_data.stores.store_errors import StoreUnreachable, explained, is_passing, status_of

MAX_PAUSE_S = 10.0
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_AT_ONCE = {"s3": {"max_concurrency": 1}}  # s3fs would ask for the size first, to read pieces side by side
Item = TypeVar("Item")
Result = TypeVar("Result")
before_writing: list[
    Callable[[ObjectPath], None]
] = []  # called before each request that changes something: see `lease`


def open_root(place: str | Path) -> Path:
    """Give the root of a dataset: a folder's path, or a place in an object store, as in `s3://bucket/dataset`.

    Both are used as a `Path`; one in a store is an `ObjectPath`. Nothing is asked yet. Raises `UsageError` for an
    address that is not of a store, or without a bucket or a name in it.
    """
    if isinstance(place, ObjectPath):
        return place
    found = _ADDRESS.fullmatch(place) if isinstance(place, str) else None
    if found is None:
        return Path(place)
    scheme, rest = found[1].lower(), found[2].rstrip("/")
    if scheme == "file":
        return Path(rest)
    parts = rest.split("/")
    if scheme not in SCHEMES:
        raise UsageError(f"{place}: is no place for a dataset; name a folder, or s3://, gs:// or az://bucket/dataset.")
    if set("@:?#") & set(parts[0]):  # the rest is not shown: it may be a secret
        raise UsageError(f"{scheme}://: a bucket's name has no user, port or key in it. See docs/object_storage.md.")
    if len(parts) < 2 or not all(parts) or {".", ".."} & set(parts):
        raise UsageError(f"{place}: names no dataset in a bucket. Write {scheme}://BUCKET/DATASET.")
    return cast(Path, ObjectPath(scheme, PurePosixPath(*parts)))


def is_remote(path: Any) -> bool:
    """Whether a path is in an object store."""
    return isinstance(path, ObjectPath)


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a store says of an object: its size, a tag that changes with its content, when it was written."""

    st_size: int
    etag: str
    modified: datetime | None

    @property
    def st_mtime_ns(self) -> int:
        """When it was written, by the store's clock; 0 where that is not known."""
        return 0 if self.modified is None else int(self.modified.timestamp() * 1e9)


@dataclass(frozen=True, slots=True, order=True)
class ObjectPath:
    """A place in an object store. `key` begins with the bucket. Raises `StoreUnreachable` where the store is away,
    else the errors of `pathlib.Path`. Turning it into a path of the disk is an error."""

    scheme: str
    key: PurePosixPath

    def __str__(self) -> str:
        return f"{self.scheme}://{self.key}"

    def __repr__(self) -> str:
        return f"ObjectPath({str(self)!r})"

    def __truediv__(self, name: str | PurePosixPath) -> ObjectPath:
        return ObjectPath(self.scheme, self.key / name)

    # ------------------------------------------------------------ names

    @property
    def name(self) -> str:
        return self.key.name

    @property
    def stem(self) -> str:
        return self.key.stem

    @property
    def suffix(self) -> str:
        return self.key.suffix

    @property
    def parent(self) -> ObjectPath:
        return ObjectPath(self.scheme, self.key.parent)

    @property
    def parents(self) -> list[ObjectPath]:
        return [ObjectPath(self.scheme, each) for each in self.key.parents if each.parts]

    def with_name(self, name: str) -> ObjectPath:
        return ObjectPath(self.scheme, self.key.with_name(name))

    def with_suffix(self, suffix: str) -> ObjectPath:
        return ObjectPath(self.scheme, self.key.with_suffix(suffix))

    def relative_to(self, other: ObjectPath) -> PurePosixPath:
        return self.key.relative_to(other.key)

    def absolute(self) -> ObjectPath:
        return self

    def resolve(self) -> ObjectPath:
        return self

    # ------------------------------------------------------------ requests

    def info(self) -> ObjectInfo:
        """What the store says of this object. Raises `FileNotFoundError`."""
        found = self._ask(lambda files, key: files.info(key))
        if found["type"] != "file":
            raise FileNotFoundError(str(self))
        return _info(found)

    stat = info

    def exists(self) -> bool:
        return self._kind() != ""

    def is_file(self) -> bool:
        return self._kind() == "file"

    def is_dir(self) -> bool:
        """Whether there are objects below this place."""
        return self._kind() == "directory"

    def is_symlink(self) -> bool:
        return False

    def _kind(self) -> str:
        try:
            return str(self._ask(lambda files, key: files.info(key))["type"])
        except FileNotFoundError:
            return ""

    def read_bytes(self) -> bytes:
        at_once = _AT_ONCE.get(self.scheme, {})
        return self._ask(lambda files, key: bytes(files.cat_file(key, **at_once)))

    def read_text(self, encoding: str = "utf-8") -> str:
        return self.read_bytes().decode(encoding)

    def open(self, mode: str = "rb") -> BinaryIO:
        """Open for reading, whole in memory. Written are objects by `storage.write_whole`."""
        if mode != "rb":
            raise ValueError(f"{self}: opens for reading only, not {mode!r}")
        return io.BytesIO(self.read_bytes())

    def write_bytes(self, content: bytes) -> int:
        content = bytes(content)
        self._ask(lambda files, key: put_small(self.scheme, key, content) or files.pipe_file(key, content), writes=True)
        return len(content)

    def create(self, content: bytes) -> bool:
        """Write a new object by one conditional put; False where there is one. `content` must be like no other's."""
        try:
            self._ask(lambda files, key: files.pipe_file(key, content, mode="create"))
            return True
        except StoreUnreachable:
            raise
        except OSError as error:  # that there is one already is said in as many ways as there are stores
            try:
                return self.read_bytes() == content  # ours, if the answer to a first try was lost
            except FileNotFoundError:
                if isinstance(error, FileExistsError) or status_of(error) in (409, 412):
                    return False  # it was there, and was deleted meanwhile
                raise error from None

    def upload(self, source: Path) -> None:
        """Write this object from a file of the disk."""
        self._ask(lambda files, key: files.put_file(str(source), key), writes=True)

    def download(self, target: Path) -> None:
        """Write this object into a file of the disk."""
        self._ask(lambda files, key: files.get_file(key, str(target)))

    def unlink(self, missing_ok: bool = False) -> None:
        if not missing_ok and not self.is_file():
            raise FileNotFoundError(str(self))
        self._ask(lambda files, key: files.rm_file(key), writes=True)

    def mkdir(self, parents: bool = True, exist_ok: bool = True) -> None:
        """Nothing: a folder is there when something is in it."""

    def iterdir(self) -> Iterator[ObjectPath]:
        """What is right below, in order of names."""
        return self.glob("*")

    def glob(self, pattern: str) -> Iterator[ObjectPath]:
        """What is below and fits a pattern of as many names, as `*.json` and `*/*.mid`, in order."""
        depth = pattern.count("/") + 1
        if depth == 1:
            names = self._listed(lambda files, key: files.ls(key, detail=False))
            yield from (self / name for name in names if fnmatch.fnmatchcase(name, pattern))
            return
        for path in self.rglob("*"):
            place = path.relative_to(self)
            if len(place.parts) == depth and place.match(pattern):
                yield path

    def rglob(self, pattern: str) -> Iterator[ObjectPath]:
        """Every object below whose name fits the pattern, in order."""
        yield from (path for path in self.files() if fnmatch.fnmatchcase(path.name, pattern))

    def files(self) -> dict[ObjectPath, ObjectInfo]:
        """Every object below, with what the store says of it: a request a thousand."""
        try:
            found = self._ask(lambda files, key: files.find(key, detail=True))
        except FileNotFoundError:
            return {}
        mine = {PurePosixPath(name): entry for name, entry in found.items() if entry["type"] == "file"}
        return {ObjectPath(self.scheme, key): _info(mine[key]) for key in sorted(mine) if key != self.key}

    def remove_all(self) -> None:
        """Delete every object below."""
        names = [str(path.key) for path in self.files()]
        if names:
            self._ask(lambda files, key: files.rm(names), writes=True)

    def _listed(self, ask: Callable[[Any, str], list[str]]) -> list[str]:
        try:
            places = [PurePosixPath(name) for name in self._ask(ask)]
        except FileNotFoundError:
            return []
        return sorted(place.name for place in places if place.parent == self.key)

    def _ask(self, request: Callable[[Any, str], Result], writes: bool = False) -> Result:
        """Make a request, again and again while what it fails for may pass."""
        ends, pause = time.monotonic() + patience_s(), 0.2
        while True:
            for guard in before_writing if writes else ():
                guard(self)
            try:
                return request(filesystem(self.scheme), str(self.key))
            except (AriaDataError, FileNotFoundError):
                raise
            except Exception as error:  # each store has its own
                if not is_passing(error):
                    if (told := explained(str(self), error)) is error:
                        raise
                    raise told from error
                if time.monotonic() + pause > ends:
                    raise StoreUnreachable.after(str(self), error) from error
            time.sleep(pause)
            pause = min(2 * pause, MAX_PAUSE_S)


def read_ahead(items: Iterable[Item], read: Callable[[Item], Result], num_ahead: int = 32) -> Iterator[Result]:
    """Yield what `read` gives of each item, in order, reading some ahead in threads: an answer takes a store long."""
    with ThreadPoolExecutor(num_ahead) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(read, item))
                if len(waiting) > num_ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for each in waiting:
                each.cancel()


def _info(found: dict[str, Any]) -> ObjectInfo:
    """Translate what fsspec's implementations say, each in its own words."""
    etag = found.get("ETag") or found.get("etag") or found.get("generation") or ""
    modified = found.get("LastModified") or found.get("last_modified") or found.get("mtime")
    return ObjectInfo(int(found["size"]), str(etag), modified if isinstance(modified, datetime) else None)
