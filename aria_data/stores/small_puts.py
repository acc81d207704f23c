"""Puts of small objects into S3 by obstore (Rust), an eighth of what s3fs needs of a processor: a build has one a MIDI
file. Everything else, and every other store, is asked by fsspec.

Credentials are those that fsspec's client found; none is looked for here.
"""

from __future__ import annotations

import functools
import os
from datetime import UTC, datetime, timedelta
from typing import Any

from aria_data.stores.store_clients import filesystem, store_environment, where_s3_is

MOST_BYTES = 4 << 20  # of one request; what is larger goes in parts, by fsspec
ASK_AGAIN = timedelta(minutes=5)  # for credentials that end: fsspec's client renews them long before
TIMES = {"connect_timeout": "10s", "timeout": "60s"}


def put_small(scheme: str, key: str, content: bytes) -> bool:
    """Put an object in one request; False where nothing was asked, since this is not for it: then ask `filesystem`.

    `key` begins with the bucket. Raises obstore's errors, and `FileNotFoundError` where there is no such bucket.
    """
    if scheme != "s3" or len(content) > MOST_BYTES or _process() != os.getpid():
        return False
    bucket, _, name = key.partition("/")
    store = _store(bucket, store_environment())
    if store is None:
        return False
    import obstore
    from obstore.exceptions import NotFoundError

    try:
        obstore.put(store, name, content, use_multipart=False)
    except NotFoundError as error:
        raise FileNotFoundError(key) from error
    return True


@functools.cache
def _process() -> int:
    """The process that asked first: obstore's threads do not live on in one that is forked from it."""
    return os.getpid()


@functools.lru_cache(maxsize=8)
def _store(bucket: str, environment: tuple[Any, ...]) -> Any:
    """obstore's client of a bucket; None without credentials. Requests are made again by `ObjectPath`."""
    try:
        from obstore.store import S3Store
    except ImportError:  # of an installation that is older than this
        return None
    credentials = _Credentials()
    if credentials() is None:
        return None
    address, region = where_s3_is()
    settings: dict[str, Any] = {
        "region": region,
        "client_options": {**TIMES, "allow_http": address.startswith("http:")},
        "retry_config": {"max_retries": 0},
        "credential_provider": credentials,
    }
    return S3Store(bucket, **settings | ({"endpoint": address} if address else {}))


class _Credentials:
    """What obstore calls for the credentials of fsspec's client, from the environment, files or a service."""

    def __call__(self) -> Any:
        from fsspec.asyn import sync

        files = filesystem("s3")
        return sync(files.loop, self._found, files)

    async def _found(self, files: Any) -> dict[str, Any] | None:
        await files.set_session()
        found = await files.session.get_credentials()
        if found is None:
            return None
        now = await found.get_frozen_credentials()
        ends = datetime.now(UTC) + ASK_AGAIN if hasattr(found, "refresh_needed") else None
        return {
            "access_key_id": now.access_key,
            "secret_access_key": now.secret_key,
            "token": now.token,
            "expires_at": ends,
        }
