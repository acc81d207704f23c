"""Fetch published weights that no package contains: once, whole, verified, never over an existing file."""

from __future__ import annotations

import fcntl
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path

from aria_data.errors import NetworkError
from aria_data.storage import PARTIAL, not_writable, require_space, sha256_file

log = logging.getLogger(__name__)
ATTEMPTS, FIRST_WAIT_S = 5, 1.0
TIMEOUT_S = 30.0  # without a byte


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A file of weights as its authors published it."""

    name: str  # of the file in the cache
    url: str
    num_bytes: int
    sha256: str
    licence: str


def cached_path(checkpoint: Checkpoint) -> Path:
    """Give the path of a checkpoint in the cache: `$XDG_CACHE_HOME` or `~/.cache`, folder `aria-data`."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "aria-data" / checkpoint.name


def is_whole(path: Path, checkpoint: Checkpoint) -> bool:
    """Whether the file has the published size and sha256."""
    return path.is_file() and path.stat().st_size == checkpoint.num_bytes and sha256_file(path) == checkpoint.sha256


def fetch(checkpoint: Checkpoint, path: Path) -> Path:
    """Download a checkpoint to `path`, going on where an earlier try broke off. Gives `path`.

    An existing file is never overwritten. Raises `NetworkError` when it, or what the server gives, is not the
    published file, `DatasetNotWritable` when there is no room or no permission.
    """
    if path.exists():
        return _checked(checkpoint, path)
    partial = path.with_name(path.name + PARTIAL)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # another process may be fetching it: wait, then find it there
            if path.exists():
                return _checked(checkpoint, path)
            require_space(path.parent, checkpoint.num_bytes - partial.stat().st_size)
            log.warning(
                "fetching %.0f MB of weights, once, from %s (licence %s) to %s",
                checkpoint.num_bytes / 1e6,
                checkpoint.url,
                checkpoint.licence,
                path,
            )
            _download(checkpoint, partial)
            os.link(partial, path)  # fails where a file has appeared meanwhile, unlike a rename
            partial.unlink()
    except FileExistsError:
        return _checked(checkpoint, path)
    except OSError as error:
        raise not_writable(path, error) from error
    return path


def _checked(checkpoint: Checkpoint, path: Path) -> Path:
    if is_whole(path, checkpoint):
        return path
    raise NetworkError(
        f"{path}: is not the published checkpoint ({path.stat().st_size} bytes, expected {checkpoint.num_bytes} with "
        f"sha256 {checkpoint.sha256[:12]}...). Move it away to have it fetched, or name it with --checkpoint to use it."
    )


def _download(checkpoint: Checkpoint, partial: Path) -> None:
    """Bring `partial` to its full length, in several tries, and verify it; wrong content is deleted."""
    import httpx

    problem = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(FIRST_WAIT_S * 2 ** (attempt - 1))
        try:
            _append(checkpoint, partial)
        except httpx.HTTPError as error:
            problem = str(error) or type(error).__name__
            continue
        if partial.stat().st_size < checkpoint.num_bytes:
            problem = f"it ended after {partial.stat().st_size} of {checkpoint.num_bytes} bytes"
            continue
        if is_whole(partial, checkpoint):
            return
        problem = "its content is not what was published (another sha256)"
        os.truncate(partial, 0)
    if not partial.stat().st_size:
        partial.unlink()
    raise NetworkError(
        f"{checkpoint.url}: could not be fetched ({problem}). Run the same command again; it goes on from "
        "where it stopped. Or get the file by other means and name it with --checkpoint."
    )


def _append(checkpoint: Checkpoint, partial: Path) -> None:
    """Request the missing bytes and append them, never more than the published length."""
    import httpx

    have = partial.stat().st_size
    if have >= checkpoint.num_bytes:
        return
    headers = {"Range": f"bytes={have}-"} if have else {}
    with httpx.stream("GET", checkpoint.url, headers=headers, timeout=TIMEOUT_S, follow_redirects=True) as answer:
        answer.raise_for_status()
        if answer.status_code != 206:  # the whole file again
            os.truncate(partial, 0)
            have = 0
        with open(partial, "ab") as file:
            for block in answer.iter_bytes():
                file.write(block[: checkpoint.num_bytes - have])
                have += len(block)
                if have > checkpoint.num_bytes:
                    break
