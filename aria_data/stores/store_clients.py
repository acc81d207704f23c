"""The clients of object stores: fsspec's file systems, one a process, and what they and others are made from.

fsspec and its implementations find credentials where they always do: the environment and the files of the store's own
tools. None is asked for, kept or printed here.
"""

from __future__ import annotations

import functools
import os
from typing import Any

from aria_data.errors import UsageError

SCHEMES = {"s3": "s3fs", "gs": "gcsfs", "az": "adlfs"}  # and the package that reads it
AWS = ".amazonaws.com"
PATIENCE = "ARIA_DATA_STORE_PATIENCE_S"  # an environment variable
PATIENCE_S = 120.0  # ours: longer than a store's own restarts, shorter than a person's patience


def patience_s() -> float:
    """How long to try again what a store does not answer, in seconds."""
    text = os.environ.get(PATIENCE) or str(PATIENCE_S)
    try:
        return max(0.0, float(text))
    except ValueError:
        raise UsageError(f"{PATIENCE}={text!r}: is no number of seconds.") from None


def filesystem(scheme: str) -> Any:
    """The fsspec file system of a store. Raises `UsageError` where its package is not installed."""
    return _filesystem(scheme, store_environment())


def store_environment() -> tuple[Any, ...]:
    """What clients depend on, so that one is made again when it changes: process and environment."""
    names = sorted(name for name in os.environ if name.startswith(("AWS_", "GOOGLE_", "AZURE_")))  # asked a request
    return os.getpid(), os.environ.get("HOME"), *((name, os.environ.get(name)) for name in names)


@functools.lru_cache(maxsize=8)
def _filesystem(scheme: str, environment: tuple[Any, ...]) -> Any:
    import fsspec

    settings: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
    if scheme == "s3":  # requests are made again by `_ask`, which knows of the lock
        settings["config_kwargs"] = {"connect_timeout": 10, "read_timeout": 60, "retries": {"total_max_attempts": 1}}
    try:
        files = fsspec.filesystem(scheme, **settings)
    except ImportError as error:
        extra = f"pip install 'aria-data[{scheme}]'"
        raise UsageError(f"{scheme}://: needs the package {SCHEMES[scheme]}. Install it: {extra}") from error
    files.retries = 2  # of s3fs: a part of a large object is sent twice before the whole is
    return files


def where_s3_is() -> tuple[str, str]:
    """The address of the S3 server, "" for Amazon's own, and the region, as the environment and ~/.aws have them."""
    files = filesystem("s3")
    files.connect()
    meta = files.s3.meta
    address = str(meta.endpoint_url)
    return ("" if address.endswith(AWS) else address), str(meta.region_name or "us-east-1")
