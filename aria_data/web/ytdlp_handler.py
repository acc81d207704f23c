"""yt-dlp's urllib handler behind the request policy: every request of this project and of yt-dlp goes through it.

`GuardedRH` opens its connections with `request_policy.py`, so no redirect and no extractor leads into the own network.
Files, FTP, impersonation and outside programs are not available. Answers are bounded in bytes and seconds, also when
compressed or sent byte by byte. This module imports yt-dlp, so import it late.
"""

from __future__ import annotations

import functools
import http.client
import io
import time
import urllib.error
import urllib.request
import urllib.response
import zlib
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from yt_dlp import YoutubeDL
from yt_dlp.networking import _urllib
from yt_dlp.networking.common import Response
from yt_dlp.networking.exceptions import HTTPError, IncompleteRead, TransportError
from yt_dlp.utils.networking import HTTPHeaderDict, select_proxy

from aria_data.errors import AriaDataError
from aria_data.storage import printable
from aria_data.web.addresses import host_of, without_secrets
from aria_data.web.challenges import HEAD_BYTES, STATUSES, is_challenge
from aria_data.web.failures import fetch_error
from aria_data.web.pacing import Pacer
from aria_data.web.request_policy import Known, RequestPolicy, Stopped
from aria_data.web.trial_reading import TRIAL

READ_BLOCK_BYTES = 1 << 16
DRIP_AFTER_S = 20.0  # before that, the rate of an answer is not judged
RULES = ("/robots.txt", "/.well-known/tdmrep.json")  # a 403 for these says that there are none
LIVE = ("is_live", "is_upcoming", "post_live")  # yt-dlp's live_status of what has no end, or no recording, yet
MAX_ENCODINGS = 3  # one inside the other
MAX_COOKIES = 50, 4096, 3000  # in one answer, characters of one, in all


class _HTTPHandler(_urllib.HTTPHandler):
    """Lets the policy open connections, and unpacks compressed answers within bounds."""

    def __init__(self, policy: RequestPolicy, **settings: Any):
        super().__init__(**settings)
        self._policy = policy

    def http_open(self, req):
        return self.do_open(functools.partial(self._connection, http.client.HTTPConnection, req), req)

    def https_open(self, req):
        connection = functools.partial(self._connection, http.client.HTTPSConnection, req)
        return self.do_open(connection, req, context=self._context)

    def _connection(self, base, req, *arguments, **settings):
        is_proxy = bool(req.has_proxy() or getattr(req, "_tunnel_host", None))
        connection = self._make_conn_class(base, req)(*arguments, **settings)  # one for SOCKS connects by itself
        connection._create_connection = functools.partial(self._policy.connect, is_proxy=is_proxy)
        return connection

    def http_response(self, req, resp):
        encodings = [
            name.strip().lower() for name in resp.headers.get("Content-Encoding", "").split(",") if name.strip()
        ]
        is_packed = bool(encodings) and encodings != ["identity"]
        content = resp.read(self._policy.max_page_bytes + 1) if is_packed else b""  # the clock runs meanwhile
        if self._policy.stop_clock():
            resp.close()
            raise http.client.HTTPException(f"no whole answer within {self._policy.deadline_s:.0f} s")
        if not is_packed:
            return resp
        resp.close()
        _bounded(content, self._policy.max_page_bytes)
        for encoding in reversed(encodings):
            if encoding not in ("gzip", "x-gzip", "deflate") or len(encodings) > MAX_ENCODINGS:
                raise http.client.HTTPException(f"the answer is packed as {encoding!r}, which was not asked for")
            content = _unpacked(content, self._policy.max_page_bytes)
        unpacked = urllib.response.addinfourl(io.BytesIO(content), resp.headers, resp.url, resp.code)
        unpacked.msg = resp.msg  # type: ignore[attr-defined]
        return unpacked

    https_response = http_response


def _unpacked(content: bytes, limit: int) -> bytes:
    for window_bits in (zlib.MAX_WBITS | 32, -zlib.MAX_WBITS):  # gzip or zlib by its header; raw deflate
        try:
            return _bounded(zlib.decompressobj(window_bits).decompress(content, limit + 1), limit)
        except zlib.error as error:
            failure = error
    raise failure


def _bounded(content: bytes, limit: int) -> bytes:
    if len(content) > limit:
        raise http.client.HTTPException(f"the answer holds more than {limit} bytes")
    return content


class _RedirectHandler(_urllib.RedirectHandler):
    """Lets every step of a redirect pass the policy."""

    def __init__(self, policy: RequestPolicy, proxies: dict[str, str]):
        self._policy, self._proxies = policy, proxies

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None:
            if isinstance(fp, http.client.HTTPResponse):
                fp.close()  # its body, which urllib would read to the end, may have none
            try:
                self._policy.enter(newurl, select_proxy(newurl, self._proxies))
            except Stopped:
                fp.close()
                raise
            for name in ("Authorization", "If-range"):
                if host_of(newurl) != host_of(req.full_url):
                    request.headers.pop(name, None)
        return request


class _CookieProcessor(urllib.request.HTTPCookieProcessor):
    """Takes no more cookies than browsers do (RFC 6265, 6.1), so that a site cannot fill the memory with them."""

    def http_response(self, request, response):
        cookies = response.headers.get_all("Set-Cookie") or ()
        is_bounded = len(cookies) <= MAX_COOKIES[0] and all(len(one) <= MAX_COOKIES[1] for one in cookies)
        if is_bounded and len(self.cookiejar) < MAX_COOKIES[2]:
            return super().http_response(request, response)
        return response

    https_response = http_response


class _Answer(_urllib.UrllibResponseAdapter):
    """An answer whose `read` gives the bytes that are there without waiting for more, and fails when they come too
    slowly."""

    def __init__(self, answer: _urllib.UrllibResponseAdapter, policy: RequestPolicy):
        super().__init__(answer.fp)
        self._kept = answer  # it closes the connection when it is collected
        self._policy, self._began, self._num_bytes = policy, time.monotonic(), 0

    def read(self, amt: int | None = None) -> bytes:
        if amt is None:
            return self._whole()
        try:
            read = getattr(self.fp, "read1", None) or self.fp.read
            data = read(min(amt, READ_BLOCK_BYTES))
        except Exception as error:
            _urllib.handle_response_read_exceptions(error)
            raise
        self._num_bytes += len(data)
        self._require_speed()
        return data

    def _whole(self) -> bytes:
        pieces, size = [], 0
        while data := self.read(READ_BLOCK_BYTES):
            pieces.append(data)
            size += len(data)
            if size > self._policy.max_page_bytes:
                raise TransportError(f"the page holds more than {self._policy.max_page_bytes} bytes")
            if time.monotonic() - self._began > self._policy.deadline_s:
                raise TransportError(f"the page did not arrive within {self._policy.deadline_s:.0f} s")
        missing = getattr(self.fp, "length", None)
        if missing:
            raise IncompleteRead(partial=size, expected=missing)
        return b"".join(pieces)

    def _require_speed(self) -> None:
        took_s = time.monotonic() - self._began
        if took_s > DRIP_AFTER_S and self._num_bytes < self._policy.min_bytes_per_s * took_s:
            raise TransportError(f"the answer drips: {self._num_bytes / took_s:.0f} bytes/s")


class GuardedRH(_urllib.UrllibRH):
    """yt-dlp's urllib handler behind the policy. One for each `GuardedYoutubeDL`."""

    _SUPPORTED_URL_SCHEMES = ("http", "https", "data")
    policy: RequestPolicy  # set on the subclass that `GuardedYoutubeDL` makes

    def _prepare_headers(self, _: Any, headers: HTTPHeaderDict) -> None:
        headers.setdefault("Accept-Encoding", "gzip, deflate")

    def _create_instance(self, proxies, cookiejar, legacy_ssl_support=None):
        opener = urllib.request.OpenerDirector()
        for handler in (
            _urllib.ProxyHandler(proxies),
            _HTTPHandler(
                self.policy,
                context=self._make_sslcontext(legacy_ssl_support=legacy_ssl_support),
                source_address=self.source_address,
            ),
            _CookieProcessor(cookiejar),
            urllib.request.DataHandler(),
            urllib.request.UnknownHandler(),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
            _RedirectHandler(self.policy, proxies),
        ):
            opener.add_handler(handler)
        opener.addheaders = []
        return opener

    def _send(self, request: Any) -> Response:
        if request.url.startswith("data:"):
            return super()._send(request)
        if self.policy.known is not None and request.url in self.policy.known.asked and not request.data:
            return self.policy.known.answer()
        host = host_of(request.url)
        self.policy.enter(request.url, select_proxy(request.url, self._get_proxies(request)))
        try:
            answer = super()._send(request)
        except HTTPError as error:
            _note_status(self.policy.pacer, request.url, error.status, error.response.headers)
            error.response = self._unchallenged(_Answer(error.response, self.policy), request.url)
            self._keep(error.response)
            raise
        except Stopped:
            raise
        except (TransportError, http.client.HTTPException) as error:
            self.policy.pacer.failed(host)
            if isinstance(error, TransportError):
                raise
            raise TransportError(cause=error) from error
        finally:
            self.policy.stop_clock()
        self.policy.pacer.succeeded(host)
        self._show(answer)
        guarded = _Answer(answer, self.policy)
        self._keep(guarded)
        return guarded

    def _keep(self, answer: Response) -> None:
        if self.policy.on_answer is not None:
            self.policy.watched = [one for one in self.policy.watched if not one.closed] + [answer]

    def _show(self, answer: Response) -> None:
        """Call `on_answer` with the headers before the body is read."""
        if self.policy.on_answer is None:
            return
        try:
            headers = {name.lower(): value for name, value in answer.headers.items()}
            self.policy.on_answer(answer.url, answer.status, headers)
        except AriaDataError as error:
            if getattr(error, "reason", "") == "unsupported":
                self._unchallenged(_Answer(answer, self.policy), answer.url)
            answer.close()
            raise Stopped(error) from error

    def _unchallenged(self, answer: Response, url: str) -> Response:
        """Give an answer that is no audio with its body unread. For a check of human visitors, lets the host rest and
        raises `Stopped`."""
        headers = {name.lower(): value for name, value in answer.headers.items()}
        is_page = "html" in headers.get("content-type", "html") and answer.status in {*STATUSES, 200, 202}
        head, is_ended = _head_of(answer) if is_page else (b"", False)
        if is_challenge(answer.status, headers, head):
            answer.close()
            self.policy.pacer.rest(host_of(url))
            shown = printable(without_secrets(url), 160)
            raise Stopped(fetch_error("bot-check", f"{shown}: the site asks for proof of a human visitor."))
        if not is_page:
            return answer
        if is_ended:
            answer.close()
        return Response(io.BytesIO(head), answer.url, answer.headers, answer.status, answer.reason)


def _head_of(answer: Response) -> tuple[bytes, bool]:
    """Read the beginning of a page that is refused, and say whether that is all of it."""
    head = b""
    try:
        while len(head) < HEAD_BYTES:
            block = answer.read(HEAD_BYTES - len(head))
            if not block:
                return head, True
            head += block
    except (TransportError, OSError, http.client.HTTPException):
        return head, True
    return head, False


def _note_status(pacer: Pacer, url: str, status: int, headers: Any) -> None:
    """Tell the pacer what a status means for the host: a wait, a failure, or a fault of this page alone."""
    host, wait_s = host_of(url), retry_after_s(headers.get("Retry-After"))
    if wait_s is not None and status in (429, 503):
        pacer.hold_off(host, wait_s)
    is_refused = status == 403 and urlsplit(url).path not in RULES
    if status == 429 or status >= 500 or is_refused:
        pacer.failed(host)
    else:
        pacer.succeeded(host)


def retry_after_s(value: str | None) -> float | None:
    """Give the seconds that a Retry-After header asks for as a number or a date, 0 to 86,400; None without one."""
    from datetime import UTC, datetime
    from email.utils import parsedate_to_datetime

    if not value:
        return None
    try:
        return min(max(float(value), 0.0), 86_400.0)
    except ValueError:
        pass
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, TypeError):
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return min(max((date - datetime.now(UTC)).total_seconds(), 0.0), 86_400.0)


class GuardedYoutubeDL(YoutubeDL):
    """yt-dlp as a library: all its requests pass the policy, and it prints nothing."""

    def __init__(self, policy: RequestPolicy, params: dict[str, Any], is_trial: bool = False):
        self.policy, self._is_trial = policy, is_trial
        self._handler = type("PolicyRH", (GuardedRH,), {"policy": policy})
        super().__init__(params, auto_init="no_verbose_header")
        self.params["http_headers"].pop("Sec-Fetch-Mode", None)  # which only a browser sends

    def raise_no_formats(self, info, forced=False, *, msg=None):
        """Raise `FetchDelayed` (live) for what has not begun, and yt-dlp's error for anything else without audio."""
        if info.get("is_live") or info.get("live_status") in LIVE:
            shown = printable(str(info.get("webpage_url") or info.get("id")), 160)
            raise fetch_error("live", f"{shown}: runs now or begins later, and has no end yet.")
        super().raise_no_formats(info, forced, msg=msg)

    def get_info_extractor(self, ie_key):
        """Give an extractor; the one for any page reads none that takes too long (see `trial_reading`)."""
        found = super().get_info_extractor(ie_key)
        if ie_key == "Generic" and not self._is_trial and "_webpage_read_content" not in vars(found):
            found._webpage_read_content = functools.partial(self._read_content, found._webpage_read_content)
        return found

    def _read_content(self, read: Callable[..., str], answer: Response, url: str, *given: Any, **more: Any) -> str:
        content = read(answer, url, *given, **more)
        TRIAL.require_readable(url, content, "page")
        return content

    def build_request_director(self, handlers, preferences=None):
        return super().build_request_director([self._handler], None)


__all__ = ["RequestPolicy", "GuardedRH", "GuardedYoutubeDL", "Known", "Stopped", "retry_after_s"]
