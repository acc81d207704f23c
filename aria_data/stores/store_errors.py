"""What an object store's errors mean: which of them pass, and what a person should do about the others.

Each store's library has its own errors; they are known by their HTTP status, or by where they come from.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterator

from aria_data.errors import DatasetNotReadable

SECRETS = (
    "AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AZURE_STORAGE_ACCOUNT_KEY AZURE_STORAGE_SAS_TOKEN "
    "AZURE_STORAGE_CONNECTION_STRING AZURE_STORAGE_CLIENT_SECRET GOOGLE_SERVICE_ACCOUNT_KEY"
).split()  # environment variables whose values may stand in no message
SHOWN_CHARS = 160
_COLOURS = re.compile(r"\x1b\[[0-9;]*m|\u21b3")  # of delta-rs
_DENIED = re.compile(r"lacked the necessary privileges|ACCESS_DENIED|HTTP status 403|Unauthenticated")
_NO_CREDENTIALS = re.compile(r"no credentials found|credential provider was not enabled")
_PASSING_STATUS = (408, 425, 429, 500, 502, 503, 504)
_LIBRARIES = ("aiohttp", "aiobotocore", "botocore", "azure", "requests", "urllib3", "google", "fsspec", "obstore")
_STATUS_SAID = re.compile(r"returned non-2xx status code: (\d{3})")  # by obstore, which has it nowhere else
_CUT_OFF = ("ClientPayloadError", "ContentLengthError", "IncompleteRead", "ResponseStreamingError")
_OF_CREDENTIALS = (
    "Credential",
    "ProfileNotFound",
    "TokenRetrieval",
    "RefreshError",
    "ClientAuthentication",
    "SSO",
    "Unauthenticated",
)


class StoreDenied(DatasetNotReadable):
    """An object store wants other credentials, or any."""

    reason = "store_denied"

    @classmethod
    def by(cls, place: str, error: BaseException) -> StoreDenied:
        """The error of a store that refused a request."""
        return cls(
            f"{place}: the object store refuses it with these credentials ({said(error)}). Check which are used, and "
            "that they may read, write, list and delete there."
        )

    @classmethod
    def without(cls, place: str, error: BaseException) -> StoreDenied:
        """The error of a store that was asked without credentials."""
        return cls(
            f"{place}: the object store wants credentials ({said(error)}). Give them as its own tools take them, for "
            "S3 by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or by AWS_PROFILE and ~/.aws."
        )


class StoreUnreachable(DatasetNotReadable):
    """An object store does not answer, or refuses to, for longer than a command waits."""

    reason = "store_unreachable"

    @classmethod
    def after(cls, place: str, error: BaseException | str) -> StoreUnreachable:
        """The error of a store that did not answer in time."""
        return cls(
            f"{place}: the object store does not answer ({said(error)}). What is done is kept: "
            "run the same command again when it answers."
        )


def said(error: BaseException | str) -> str:
    """An error's words on one line, short, without colours and without any secret of the environment."""
    text = " ".join(_COLOURS.sub("", str(error)).split()) or type(error).__name__
    for secret in filter(None, (os.environ.get(name) for name in SECRETS)):
        text = text.replace(secret, "***")
    return "".join(char for char in text if char.isprintable())[:SHOWN_CHARS]


def is_passing(error: BaseException) -> bool:
    """Whether making the same request again may help."""
    if any(word in type(each).__name__ for each in _chain(error) for word in _CUT_OFF):
        return True
    status = status_of(error)
    if status is not None:
        return status in _PASSING_STATUS
    if isinstance(error, ConnectionError | TimeoutError | asyncio.TimeoutError):
        return True
    is_of_library = any(type(each).__module__.split(".")[0] in _LIBRARIES for each in _chain(error))
    return is_of_library and not _is_of_credentials(error) and "Validation" not in type(error).__name__


def status_of(error: BaseException) -> int | None:
    """The HTTP status that an error tells of; None where there was no answer."""
    for each in _chain(error):
        response = getattr(each, "response", None)
        found = response.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(response, dict) else None
        for status in (found, *(getattr(each, name, None) for name in ("status_code", "status", "code"))):
            if isinstance(status, int | str) and str(status).isdigit():
                return int(status)
        if said_so := _STATUS_SAID.search(str(each)):
            return int(said_so[1])
    return None


def explained(place: str, error: BaseException) -> Exception:
    """An error that passes not, in one line. Any other `OSError` stays one, for those who expect it."""
    text = str(error)
    if _is_of_credentials(error) or _NO_CREDENTIALS.search(text):
        return StoreDenied.without(place, error)
    if isinstance(error, PermissionError) or _DENIED.search(text):
        return StoreDenied.by(place, error)
    if isinstance(error, OSError):
        return error
    return StoreUnreachable(f"{place}: the object store refuses the request ({said(error)}).")


def _is_of_credentials(error: BaseException) -> bool:
    return any(word in type(each).__name__ for each in _chain(error) for word in _OF_CREDENTIALS)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    for _ in range(5):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__
