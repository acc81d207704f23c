"""Delta tables in an object store: how delta-rs and Arrow reach it, commits whose answer was lost, files left over.

delta-rs, Arrow and fsspec find credentials by themselves, in the same places; only the address and the region are
handed from one to the others. A commit is a conditional put, so of two writers one fails and tries again.
"""

from __future__ import annotations

import functools
import os
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads

from aria_data.errors import DatasetError
from aria_data.storage.copied_files import files_as_copies
from aria_data.storage.local_copies import copy_of_constant
from aria_data.stores.lease import require_lease
from aria_data.stores.object_paths import ObjectInfo, ObjectPath
from aria_data.stores.store_clients import patience_s, store_environment, where_s3_is
from aria_data.stores.store_errors import StoreDenied, StoreUnreachable, explained

GRACE_S = 3600.0  # a file that no commit names is left alone so long: a writer that was stopped may still commit it
NUM_LATEST = 20  # commits in which one of ours is looked for
PAUSE_S = 0.2
SMALL_BYTES = 4 << 20  # up to this, a data file is copied whole; of a larger one Arrow reads the columns it needs
NUM_FETCHED = 8  # files at once
_AWAY = re.compile(
    r"Generic (S3|GCS|MicrosoftAzure) error|AWS Error (NETWORK_CONNECTION|SLOW_DOWN|SERVICE_UNAVAILABLE|"
    r"INTERNAL_FAILURE|THROTTLING|REQUEST_TIMEOUT|UNKNOWN \(HTTP status 5)"
)


def store_options(path: ObjectPath) -> dict[str, str]:
    """The options by which delta-rs opens a table. No credential is among them."""
    return _options(path.scheme, patience_s(), store_environment())


@functools.lru_cache(maxsize=8)
def _options(scheme: str, patience: float, environment: tuple[Any, ...]) -> dict[str, str]:
    options = {"max_retries": "100", "retry_timeout": f"{max(1, round(patience))}s", "connect_timeout": "10s"}
    if scheme != "s3":
        return options
    address, region = where_s3_is()
    options |= {"aws_conditional_put": "etag", "aws_region": region}
    if address:
        options |= {"aws_endpoint_url": address, "aws_allow_http": str(address.startswith("http:")).lower()}
    if not os.environ.get("AWS_ACCESS_KEY_ID"):
        options["aws_force_credential_load"] = "true"  # from files, where an address is given too
    return options


def data_files_of(path: ObjectPath, names: Sequence[str], sizes: Sequence[int], schema: pa.Schema) -> pads.Dataset:
    """Open data files of a table: small ones as copies on this disk, of others Arrow reads what it needs.

    Data files never change. Arrow asks a store again that is busy, but not in the middle of a small answer.
    """
    small = [name for name, size in zip(names, sizes, strict=True) if size <= SMALL_BYTES]
    layout, here = pads.ParquetFileFormat(), files_as_copies(path.scheme)
    there = arrow_files(path) if len(small) < len(names) else None
    with ThreadPoolExecutor(NUM_FETCHED) as pool:
        list(pool.map(lambda name: copy_of_constant(path / name), small))
    copied = set(small)
    fragments = [layout.make_fragment(str(path.key / name), here if name in copied else there) for name in names]
    return pads.FileSystemDataset(fragments, schema, layout, here)  # each fragment has its own file system


def arrow_files(path: ObjectPath) -> Any:
    """Arrow's own file system of a store."""
    return _arrow_files(path.scheme, store_environment())


@functools.lru_cache(maxsize=8)
def _arrow_files(scheme: str, environment: tuple[Any, ...]) -> Any:
    from pyarrow import fs

    if scheme == "s3":
        address, region = where_s3_is()
        retries = fs.AwsStandardS3RetryStrategy(max_attempts=10)
        given = {"endpoint_override": address} if address else {}
        return fs.S3FileSystem(region=region, retry_strategy=retries, connect_timeout=10, request_timeout=60, **given)
    if scheme == "gs":
        return fs.GcsFileSystem(retry_time_limit=timedelta(seconds=patience_s()))
    key = os.environ.get("AZURE_STORAGE_ACCOUNT_KEY")
    return fs.AzureFileSystem(os.environ.get("AZURE_STORAGE_ACCOUNT_NAME", ""), **({"account_key": key} if key else {}))


def open_remote(path: ObjectPath, version: int | None) -> Any:
    """Open a table; None where there is none. An answer that was cut off is asked for again."""
    from deltalake import DeltaTable
    from deltalake.exceptions import TableNotFoundError

    ends = time.monotonic() + patience_s()
    while True:
        try:
            return DeltaTable(str(path), version=version, storage_options=store_options(path))
        except TableNotFoundError:
            return None
        except Exception as error:  # delta-rs raises OSError and its own types
            if not is_away(error) or time.monotonic() > ends:
                raise
        time.sleep(PAUSE_S)


def create_remote(path: ObjectPath, **settings: Any) -> None:
    """Make an empty table, by one commit also where its answer is lost. Raises what delta-rs raises, `LeaseLost`."""
    from deltalake import CommitProperties, DeltaTable

    require_lease(path)
    once = CommitProperties(max_commit_retries=0)  # as in `write_remote`
    try:
        DeltaTable.create(str(path), storage_options=store_options(path), commit_properties=once, **settings)
    except Exception:
        if open_remote(path, None) is None:  # else only the answer was lost
            raise


def write_remote(path: ObjectPath, table: Any, rows: Any, **settings: Any) -> None:
    """Commit rows once, also where the store takes a commit and its answer is lost; `table` is open, or None.

    Rows that can be read only once (a reader) are written once: then the error says that it is not known whether they
    are there. Raises what delta-rs raises, `LeaseLost`.
    """
    from deltalake import write_deltalake

    def write(opened: Any, once: Any) -> None:
        options = store_options(path)
        write_deltalake(opened or str(path), rows, storage_options=options, commit_properties=once, **settings)

    commit_once(path, table, write, {}, is_repeatable=hasattr(rows, "num_rows"))


def commit_once(
    path: ObjectPath,
    table: Any,
    commit: Callable[[Any, Any], None],
    metadata: Mapping[str, str],
    is_repeatable: bool = True,
) -> None:
    """Call `commit` with the open table and what delta-rs shall keep of the commit, until the table has it.

    `table` may be None, and is opened anew for another try. Raises what delta-rs raises, `LeaseLost`.
    """
    from deltalake import CommitProperties
    from deltalake.exceptions import CommitFailedError

    mine = {**metadata, "aria_write": secrets.token_hex(8)}
    # delta-rs itself would take its own commit, whose answer was lost, for another's, and commit again
    once = CommitProperties(custom_metadata=mine, max_commit_retries=0)
    ends = time.monotonic() + patience_s()
    while True:
        require_lease(path)
        try:
            commit(table, once)
            return
        except Exception as error:
            if not is_away(error) and not isinstance(error, CommitFailedError):
                raise
            if _is_committed(path, mine["aria_write"]):
                return
            if not is_repeatable or time.monotonic() > ends:
                raise
        time.sleep(PAUSE_S)
        table = open_remote(path, None)


def _is_committed(path: ObjectPath, token: str) -> bool:
    """Whether one of the latest commits is the one of ours with this token.

    Read here, because delta-rs asks for a table's history while it holds Python's lock: no lease could be renewed.
    """
    commits = list((path / "_delta_log").glob("*.json"))[-NUM_LATEST:]
    return any(token in commit.read_text() for commit in reversed(commits))


def is_away(error: BaseException) -> bool:
    """Whether an error of delta-rs or Arrow says that the store did not answer."""
    return isinstance(error, StoreUnreachable) or bool(_AWAY.search(str(error)))


def of_the_store(path: ObjectPath, error: BaseException) -> DatasetError | None:
    """The error in one line where the store is at fault, not what it holds: it is away, or refuses the request."""
    found = explained(str(path), error)
    if isinstance(found, StoreDenied):
        return found
    return StoreUnreachable.after(str(path), error) if is_away(error) else None


def leftovers(path: ObjectPath, files_named_in: Any) -> list[ObjectPath]:
    """The data files of a table that no commit names, as killed writers leave them, written more than `GRACE_S` ago.

    `files_named_in` gives the names of files that commits name; it is asked only where there may be such a file.
    """
    files = path.files()
    table = open_remote(path, None)
    if table is None:
        return []
    log = path / "_delta_log"
    current = {name.rpartition("/")[2] for name in table.file_uris()}
    suspects = [each for each in files if each.suffix == ".parquet" and log not in each.parents]
    suspects = [each for each in _old(suspects, files, path) if each.name not in current]
    if not suspects:
        return []
    named = files_named_in(sorted(each for each in files if each.parent == log and each.suffix == ".json"))
    return [each for each in suspects if each.name not in named]


def _old(suspects: Sequence[ObjectPath], files: Mapping[ObjectPath, ObjectInfo], path: ObjectPath) -> list[ObjectPath]:
    """Those written long before the dataset's lock was taken, by the store's clock."""
    locks = (path.parent.parent / ".lock").files() or (path.parent / ".lock").files()
    times = [info.modified for info in (*locks.values(), *files.values()) if info.modified is not None]
    if not times:
        return []
    before = max(times) - timedelta(seconds=GRACE_S)
    return [each for each in suspects if (written := files[each].modified) is not None and written < before]
