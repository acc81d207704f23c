"""One request to an OpenAI-compatible server, and its outcome. No cache, no costs, no second attempt.

    Reply       the server answered with text
    NotNow      trying again may succeed (`NetworkError`); tells whether the request may have been done, and charged
    NotLikeThat the server refuses this form of request, or its content
    UsageError, LlmStopped   no other request of this run can succeed

A server's messages are printed only through `Endpoint.scrub`: bounded, printable, without the key.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from aria_data.errors import NetworkError, TemporaryError, UsageError
from aria_data.llm.dialect import Dialect, refuses_form, says_too_long
from aria_data.llm.limits import retry_after_s
from aria_data.llm.prices import Usage
from aria_data.storage import printable

OPENAI_URL = "https://api.openai.com/v1"
MAX_RESPONSE_BYTES = 8 << 20  # ours; ten answers are some kilobytes
MAX_BATCH_BYTES = 512 << 20  # a batch has at most 200 MB of input (OpenAI's limit)
CONNECT_S = 10.0
_SECRETS = re.compile(r"(?i)\bsk-[\w-]{6,}|\bbearer\s+\S+|\bauthorization\b\W{0,4}\S+(?:\s+\S+)?|(?<=://)[^/@\s]+(?=@)")


class LlmStopped(TemporaryError):
    """The server will not answer any request of this run: the account is empty."""

    reason = "llm_stopped"


class NotAllowed(UsageError):
    """The key may not use this model, or the model does not exist. After successful requests: this item is refused."""


class NotNow(NetworkError):
    """The server did not answer, or its answer cannot be read."""

    def __init__(
        self,
        message: str,
        may_be_charged: bool,
        wait_s: float | None = None,
        is_refusal: bool = False,
        is_away: bool = False,
        is_late: bool = False,
    ):
        super().__init__(message)
        self.may_be_charged, self.wait_s, self.is_refusal = may_be_charged, wait_s, is_refusal
        self.is_away = is_away  # no connection, or a server that is starting: no item is at fault
        self.is_late = is_late  # the deadline passed


class NotLikeThat(TemporaryError):
    """The server refuses the request as it is; `names` is the text in which it names the parameter at fault."""

    reason = "llm_rejected"

    def __init__(self, message: str, names: str):
        super().__init__(message)
        self.names = names
        self.dialect: Dialect | None = None  # of the refused request


class TooLong(NotLikeThat):
    """The request does not fit into the model's context. `is_cut`: the server did not say so, but cut the prompt."""

    is_cut = False


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply: text, or a `complaint` that tells why there is none. `usage` is as the server claims it."""

    content: str
    usage: Usage | None
    complaint: str = ""
    is_cut: bool = False
    headers: Mapping[str, str] | None = None
    shown: str = ""  # the beginning of the text, fit to print
    first_token: Mapping[str, float] = field(default_factory=dict)  # log probabilities of what could stand first


class Endpoint:
    """The server's address, the model and the key, which is never shown. `UsageError` if one is missing or bad."""

    def __init__(self, base_url: str, model: str, environ: Mapping[str, str] | None = None):
        environ = os.environ if environ is None else environ
        self.base_url = (base_url or environ.get("OPENAI_BASE_URL", "") or OPENAI_URL).strip()
        self.model = (model or environ.get("ARIA_DATA_MODEL", "")).strip()
        self._key = environ.get("OPENAI_API_KEY", "").strip()
        if not self._key:
            raise UsageError(
                "no key for a language model: set OPENAI_API_KEY (any text, for a server that asks for none), or use "
                "--scorer rules, which needs neither key nor network."
            )
        if not (self._key.isascii() and self._key.isprintable()):
            raise UsageError("OPENAI_API_KEY: holds characters that no key has. Set it again.")
        if not self.model:
            raise UsageError("no model named: set ARIA_DATA_MODEL or give --model, for example gpt-4o-mini.")
        self._check_address()
        host = urlsplit(self.base_url).hostname or ""
        self.is_openai = host == "api.openai.com"
        self.is_local = _is_local(host)

    def _check_address(self) -> None:
        try:
            parts = urlsplit(self.base_url)
            is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            is_good = False
        if "@" in self.base_url:
            raise UsageError("OPENAI_BASE_URL: holds a name or a password. The key belongs in OPENAI_API_KEY.")
        if not is_good:
            raise UsageError(
                f"OPENAI_BASE_URL: {self.scrub(self.base_url)} is not an address such as {OPENAI_URL} "
                "or http://127.0.0.1:8000/v1."
            )

    def __repr__(self) -> str:
        return f"Endpoint({self.name!r}, {self.model!r})"

    @property
    def name(self) -> str:
        """The address as it may be shown: scrubbed, and without its query."""
        return self.scrub(self.base_url.partition("?")[0])

    def first_dialect(self) -> Dialect:
        """The dialect to begin with. OpenAI has `max_completion_tokens`; every other server knows `max_tokens`."""
        limit_name = "max_completion_tokens" if self.is_openai else "max_tokens"
        return Dialect(limit_name=limit_name, has_bounds=not self.is_openai)

    def scrub(self, text: object, limit: int = 200) -> str:
        """Make a server's text fit to print: one short line without key, password or control characters."""
        plain = str(text)[: 50 * limit].replace(self._key, "[key]") if len(self._key) > 3 else str(text)[: 50 * limit]
        return printable(" ".join(_SECRETS.sub("[secret]", plain).split()), limit)

    def open(self, max_bytes: int = MAX_RESPONSE_BYTES) -> Any:
        """Give an `openai.AsyncOpenAI` that tries once, follows no redirect, and reads at most `max_bytes`."""
        import httpx2
        import openai

        class Bounded(httpx2.AsyncByteStream):
            def __init__(self, stream: Any):
                self._stream, self._room = stream, max_bytes

            async def __aiter__(self) -> Any:
                async for piece in self._stream:
                    self._room -= len(piece)
                    if self._room < 0:
                        raise httpx2.RemoteProtocolError(f"the response is longer than {max_bytes} bytes")
                    yield piece

            async def aclose(self) -> None:
                await self._stream.aclose()

        async def bound(response: Any) -> None:
            if response.headers.get("content-encoding", "identity") != "identity":  # could unpack without end
                raise httpx2.RemoteProtocolError("the response is compressed, which was not asked for")
            response.stream = Bounded(response.stream)

        http_client = openai.DefaultAsyncHttpxClient(
            follow_redirects=False,
            timeout=httpx2.Timeout(None, connect=CONNECT_S),
            event_hooks={"response": [bound]},
            headers={"Accept-Encoding": "identity"},
        )
        return openai.AsyncOpenAI(
            api_key=self._key, base_url=self.base_url, max_retries=0, timeout=None, http_client=http_client
        )

    async def ask(self, client: Any, body: Mapping[str, Any], deadline_s: float) -> Reply:
        """Send one chat completion. `deadline_s` covers everything from the name look-up to the last byte."""
        raw = await self.call(client.chat.completions.with_raw_response.create(**body), deadline_s)
        return self.read(raw.content, raw.headers)

    async def call(self, request: Any, deadline_s: float) -> Any:
        """Await a call of the openai client, and turn its errors into those of this file."""
        import openai

        try:
            async with asyncio.timeout(deadline_s):
                return await request
        except TimeoutError:
            late = f"{self.name}: no whole answer within {deadline_s:g} s (llm.deadline_s)."
            raise NotNow(late, may_be_charged=True, is_late=True) from None
        except openai.APIStatusError as error:
            failure = self._explain(error)
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            may_be_charged = type(cause).__name__ not in ("ConnectError", "ConnectTimeout", "PoolTimeout")
            what = self.scrub(str(cause) or type(cause).__name__)
            failure = NotNow(
                f"{self.name}: the connection failed ({what}).", may_be_charged, is_away=not may_be_charged
            )
        except (openai.OpenAIError, ValueError, RecursionError) as error:
            failure = NotNow(f"{self.name}: answered nothing that can be read ({self.scrub(error)}).", True)
        raise failure from None  # the client's own errors carry the request, and the request the key

    def _explain(self, error: Any) -> Exception:
        status, headers = error.status_code, error.response.headers
        text = f"{self.name}: answered {status} ({self.scrub(_message(error))})."
        names = self.scrub(f"{error.param or ''} {_message(error)}", 2000).lower()
        if status == 401:
            return UsageError(f"{text} Check OPENAI_API_KEY.")
        if status in (301, 302, 303, 307, 308):
            return UsageError(f"{text} It redirects; give the final address as OPENAI_BASE_URL.")
        if status == 402 or (status == 429 and "insufficient_quota" in f"{error.code} {error.type}"):
            return LlmStopped(f"{text} The account has nothing left; top it up and run again.")
        if status != 429 and says_too_long(names):
            return TooLong(text, names)
        if status in (404, 500, 501) and refuses_form(names):
            return NotLikeThat(text, names)
        if status in (429, 503):
            is_away = status == 503
            return NotNow(text, is_away, wait_s=retry_after_s(headers), is_refusal=True, is_away=is_away)
        if status in (408, 409) or status >= 500:
            return NotNow(text, may_be_charged=True, wait_s=retry_after_s(headers), is_away=status in (502, 504))
        if status in (403, 404):
            return NotAllowed(f"{text} Check the model {self.scrub(self.model)!r} and OPENAI_BASE_URL.")
        return NotLikeThat(text, names)

    def read(self, content: bytes, headers: Mapping[str, str] | None = None) -> Reply:
        """Read a chat completion without trusting its form; what is wrong with it becomes the reply's `complaint`."""
        try:
            body = json.loads(content, parse_constant=_refuse)
        except (ValueError, RecursionError):
            start = self.scrub(content[:80].decode("utf-8", "replace"), 80)
            return Reply("", None, f"is not JSON: {start}", headers=headers)
        return self.read_body(body, headers)

    def read_body(self, body: Any, headers: Mapping[str, str] | None = None) -> Reply:
        """As `read`, for a body that is parsed already."""
        usage = _usage(_get(body, "usage"))
        choices = _get(body, "choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        message, finish = _get(choice, "message"), _get(choice, "finish_reason")
        text = _text(_get(message, "content"))
        if not text and finish != "length":  # some servers take an answer for reasoning
            text = _text(_get(message, "reasoning_content")) or _text(_get(message, "reasoning"))
        complaint = ""
        if choice is None:
            complaint = f"holds no choice ({self.scrub(_get(body, 'error') or 'no reason given')})"
        elif _get(message, "refusal") or finish == "content_filter":
            complaint = f"is a refusal ({self.scrub(_get(message, 'refusal') or finish)})"
        elif not text:
            is_reasoning = finish == "length" and _get(message, "reasoning_content")
            complaint = "is empty" if not is_reasoning else "is only reasoning (raise llm.extra_output_tokens)"
        first = _first_token(_get(choice, "logprobs"))
        return Reply(text, usage, complaint, finish == "length", headers, self.scrub(text, 120), first)


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _get(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _text(content: Any) -> str:
    if isinstance(content, list):  # parts, as some servers give them
        content = "".join(part for part in (_get(each, "text") for each in content) if isinstance(part, str))
    return content.strip() if isinstance(content, str) else ""


def _first_token(logprobs: Any) -> dict[str, float]:
    """Log probabilities of the tokens that could stand first, by their text; empty if the server gives none."""
    content = _get(logprobs, "content")
    first = content[0] if isinstance(content, list) and content else None
    tops = _get(first, "top_logprobs")
    found: dict[str, float] = {}
    for each in [*(tops if isinstance(tops, list) else []), first]:
        token, value = _get(each, "token"), _get(each, "logprob")
        if isinstance(token, str) and isinstance(value, int | float) and not isinstance(value, bool):
            found.setdefault(token, float(value))
    return found


def _is_local(host: str) -> bool:
    """Whether a host is this machine or one at home: a name without dots, `.local`, a loopback or private address."""
    if host == "localhost" or host.endswith((".local", ".lan", ".home.arpa", ".internal")):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "." not in host
    return address.is_loopback or address.is_private or address.is_link_local


def _usage(claimed: Any) -> Usage | None:
    """The claimed tokens if they are counts, else None."""
    prompt, completion = _get(claimed, "prompt_tokens"), _get(claimed, "completion_tokens")
    if not (_is_count(prompt) and _is_count(completion) and prompt > 0):
        return None
    cached = _get(_get(claimed, "prompt_tokens_details"), "cached_tokens")
    return Usage(prompt, completion, cached if _is_count(cached) and cached <= prompt else 0)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 10**12


def _message(error: Any) -> str:
    inner = _get(error.body, "error") if _get(error.body, "error") is not None else error.body
    said = _get(inner, "message") or (inner if isinstance(inner, str) else None) or error.message
    return str(said)[:4000]
