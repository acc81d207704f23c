"""Recordings decoded in worker processes, once for all stages that need all of their samples.

What is wanted of a file is an `Order` of plain values; how it is made is `aria_data.audio.whole`. A file that kills its
decoder is decoded by the next one, and fails alone when it has killed several.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path

import numpy as np

from aria_data.audio.reachable import state_of
from aria_data.audio.whole import Answer, Order
from aria_data.errors import AriaDataError, PermanentError
from aria_data.storage import printable, sha256_file
from aria_data.storage.files import from_location
from flows.workers.processes import POISON, workers

FINGERPRINT = "aria_data.deduplicate.fingerprints:fingerprint_text"  # a listener
DECODE = "aria_data.audio.whole:decode_whole"


class Decoding:
    """One decoding of a file in a worker. Iterate over its blocks of samples, if wanted; then `answer` is there."""

    def __init__(self, root: Path, order: Order):
        self._root, self._order = str(root), order
        self._path = from_location(order.location, root)
        self.answer: Answer | None = None
        self.error: Exception | None = None

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield the blocks. Raises what decoding raises, and `PermanentError` for a file that kills its decoders."""
        call = workers().call(DECODE, self._root, self._order)
        try:
            yield from call
        except Exception as error:
            self.error = named_poison(error, self._path)
            raise self.error from error
        self.answer = call.result

    def finish(self) -> Answer:
        """Decode to the end, without looking at samples."""
        for _ in self:
            pass
        assert self.answer is not None
        return self.answer


def named_poison(error: Exception, path: Path) -> Exception:
    """Put the file's name before the error of a call that killed its workers, and what to do behind it."""
    if not isinstance(error, PermanentError) or error.reason != POISON:
        return error
    advice = "Get the file again, convert it to FLAC, or remove it; a file that changed is tried again."
    return PermanentError(f"{printable(path.name)}: {error}. {advice}", error.reason, error.measured)


def hashes_of(paths: Mapping[str, Path], num_threads: int) -> dict[str, str]:
    """The hashes of the bytes of files, by their keys. What cannot be read is left out, and what may have no end."""

    def of(path: Path) -> str:
        with suppress(OSError, AriaDataError):
            state_of(path)  # it is a regular file
            return sha256_file(path)
        return ""

    with ThreadPoolExecutor(num_threads) as pool:
        found = zip(paths, pool.map(of, paths.values()), strict=True)
        return {key: sha256 for key, sha256 in found if sha256}


def decoded_in_threads(decodings: Mapping[str, Decoding], num_threads: int) -> Iterator[str]:
    """Decode files at the same time. Yields their keys, in any order; each has its answer, or its error."""

    def finish(key: str) -> str:
        with suppress(Exception):  # is kept with the decoding
            decodings[key].finish()
        return key

    pool = ThreadPoolExecutor(num_threads)
    try:
        yield from (future.result() for future in as_completed([pool.submit(finish, key) for key in decodings]))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
