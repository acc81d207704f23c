"""Polite and safe requests: pages for our own use, and a yt-dlp whose requests obey the same policy.

    web = Web(WebConfig(contact="me@example.org"))
    page = web.get("https://example.org/recital.html")
    with web.youtube_dl(extract_flat=True) as ydl: ...

Use one `Web` for a run: it paces every host, counts requests against the budget, and turns every failure into an
`AriaDataError` of a known kind (`failures.py`).
"""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aria_data.errors import AriaDataError, ConfigInvalid, TemporaryError
from aria_data.storage import not_writable, printable
from aria_data.web.addresses import AddressConfig, host_of, without_secrets
from aria_data.web.challenges import HEAD_BYTES, NO_TYPES, SNIFFED_BYTES, is_audio_head, is_challenge
from aria_data.web.charsets import decode
from aria_data.web.failures import fetch_error, kind_of_message, kind_of_status
from aria_data.web.pacing import Pacer, PacingConfig

if TYPE_CHECKING:
    from aria_data.web.ytdlp_handler import GuardedYoutubeDL, Known

OnAnswer = Callable[[str, int, Mapping[str, str]], None]
JS_RUNTIMES = ("deno", "node", "bun", "quickjs")  # that yt-dlp can use for sites that ask for one
_PROGRAMS = {"quickjs": "qjs"}
KINDS_IN_WORDS = ("bot-check", "geo", "age", "copyright")  # that count more than the status they come with
CHALLENGED = "the site asks for proof of a human visitor"
NO_PROGRAM = "/nonexistent"  # the path given for ffmpeg, so that no outside program fetches anything


@dataclass(frozen=True)
class WebConfig:
    """The user agent, the proxy, and the bounds of every answer. Numbers are ours."""

    contact: str = ""  # an e-mail address or page for the owner of a site; part of the user agent
    proxy: str = ""  # http(s):// or socks5://; empty: the environment's
    cookies: str = ""  # a cookies.txt of an account that you may use
    timeout_s: float = 20.0  # without a byte
    page_deadline_s: float = 60.0  # for a whole page
    max_page_bytes: int = 20_000_000
    min_bytes_per_s: float = 1000.0  # an answer that is slower after 20 s is ended
    is_robots_honoured: bool = True  # for pages and files fetched directly
    allow_private: bool = False  # addresses of the own network: see `addresses`
    allow_hosts: tuple[str, ...] = ()
    min_interval_s: float = 1.0  # and the rest of pacing: see `pacing`
    jitter: float = 0.5
    max_parallel: int = 2
    max_wait_s: float = 120.0
    max_failures: int = 5
    rest_s: float = 900.0

    def __post_init__(self) -> None:
        if "@" in self.proxy:
            raise ValueError("web.proxy names a user. Configurations are stored: set https_proxy in the environment.")

    def addresses(self) -> AddressConfig:
        return AddressConfig(self.allow_private, tuple(self.allow_hosts))

    def pacing(self) -> PacingConfig:
        return PacingConfig(
            self.min_interval_s, self.jitter, self.max_parallel, self.max_wait_s, self.max_failures, self.rest_s
        )


class RequestsSpent(TemporaryError):
    """The run's budget of requests is used up."""

    reason = "requests_spent"


@dataclass
class RequestBudget:
    """Counts the requests of a run. Safe for threads."""

    max_requests: int = 0  # 0: any number
    num_requests: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def count(self) -> None:
        """Count one request. Raises `RequestsSpent`, without counting, when none is left."""
        with self._lock:
            if self.max_requests and self.num_requests >= self.max_requests:
                raise RequestsSpent(f"the budget of {self.max_requests} requests is used up. Run again to go on.")
            self.num_requests += 1


@dataclass(frozen=True)
class Page:
    """The answer to a request: headers with lower-case names, and the body if it was read."""

    url: str  # after redirects
    status: int
    headers: Mapping[str, str]
    body: bytes
    is_read: bool = True
    is_sniffed: bool = False  # its type says nothing, and its first bytes, `body`, are those of audio

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "").split(";")[0].strip().lower()

    def text(self) -> str:
        """Decode the body by its mark, its header, its own declaration, or as UTF-8; broken bytes are replaced."""
        return decode(self.body, self.headers.get("content-type", ""))

    def head_text(self) -> str:
        """Decode the first 4000 bytes of the body."""
        return decode(self.body[:4000], self.headers.get("content-type", ""))


class Web:
    """Makes all requests of a run. Safe for threads. Raises `ConfigInvalid` for a cookies file that does not exist."""

    def __init__(
        self, config: WebConfig | None = None, budget: RequestBudget | None = None, pacer: Pacer | None = None
    ):
        self.config = config or WebConfig()
        self.budget = budget or RequestBudget()
        self.pacer = pacer or Pacer(self.config.pacing())
        self._local = threading.local()
        if self.config.cookies and not Path(self.config.cookies).is_file():
            raise ConfigInvalid(
                f"web.cookies: {self.config.cookies} is no file. Name a cookies.txt, or leave it empty."
            )

    @property
    def user_agent(self) -> str:
        contact = f"; {printable(self.config.contact, 100)}" if self.config.contact else ""
        return f"aria-data/{version('aria-data')} (builds piano MIDI datasets from recordings{contact})"

    def get(self, url: str, wants: Callable[[str], bool] = lambda content_type: True, accept: str = "*/*") -> Page:
        """Fetch a page. The body is read if `wants` is true for its content type; if not, the connection is closed.
        Where the type says nothing, the first bytes are read, and of audio only these.

        Raises `FetchFailed`, `FetchDelayed`, `AddressRefused`, `HostResting` or `RequestsSpent`, each in one line.
        """
        from yt_dlp.networking import Request

        request = Request(url, headers={"User-Agent": self.user_agent, "Accept": accept})
        with self.errors_of(url), self.own_youtube_dl().urlopen(request) as answer:
            headers = {name.lower(): value for name, value in answer.headers.items()}
            page = Page(answer.url, answer.status, headers, b"", is_read=False)
            head = _first(answer, SNIFFED_BYTES) if page.content_type in NO_TYPES else b""
            if is_audio_head(head):
                return replace(page, body=head, is_sniffed=True)
            if not wants(page.content_type):
                return page
            page = replace(page, body=head + answer.read(), is_read=True)
            if is_challenge(page.status, headers, page.body[:HEAD_BYTES]):
                raise fetch_error("bot-check", f"{printable(without_secrets(url), 160)}: {CHALLENGED}.")
            return page

    @contextmanager
    def watched(self, on_answer: OnAnswer) -> Iterator[GuardedYoutubeDL]:
        """Give this thread's yt-dlp. Inside, `on_answer` is called with the address, status and headers of each answer
        before its body is read. An `AriaDataError` that it raises ends the request."""
        ydl = self.own_youtube_dl()
        ydl.policy.on_answer = on_answer
        try:
            yield ydl
        finally:
            ydl.policy.on_answer = None
            for answer in ydl.policy.watched:
                answer.close()
            ydl.policy.watched.clear()

    def youtube_dl(self, **params: Any) -> GuardedYoutubeDL:
        """Make a quiet yt-dlp whose requests pass the policy, without outside programs. Not for several threads.

        `params` are yt-dlp's, on top of ours.
        """
        from aria_data.web.ytdlp_handler import GuardedYoutubeDL, RequestPolicy

        config = self.config
        policy = RequestPolicy(
            config.addresses(),
            self.pacer,
            self.budget.count,
            config.min_bytes_per_s,
            config.max_page_bytes,
            config.page_deadline_s,
        )
        given: dict[str, Any] = {
            "quiet": True,
            "no_warnings": True,
            "noprogress": True,
            "logger": _Silent(),
            "ignoreconfig": True,
            "cachedir": False,
            "socket_timeout": config.timeout_s,
            "http_headers": {"User-Agent": self.user_agent},
            "ffmpeg_location": NO_PROGRAM,
            "fixup": "never",
            "extractor_retries": 1,
            "js_runtimes": {name: {} for name in JS_RUNTIMES if shutil.which(_PROGRAMS.get(name, name))}
            or {"deno": {}},
            "check_formats": False,
            "geo_bypass": False,  # it would send an invented IP address
            "allowed_extractors": ["default"],
            "cookiefile": config.cookies or None,
            **({"proxy": config.proxy} if config.proxy else {}),
        }
        return GuardedYoutubeDL(policy, given | params)

    def known(self, page: Page, *asked: str) -> Known:
        """Give a page in the form that yt-dlp uses instead of requesting it again at `asked` or the page's address."""
        from aria_data.web.ytdlp_handler import Known

        return Known((*asked, page.url), page.url, page.status, page.headers, page.body)

    def own_youtube_dl(self) -> GuardedYoutubeDL:
        """Give this thread's yt-dlp, which keeps connections and cached facts about sites."""
        if not hasattr(self._local, "ydl"):
            self._local.ydl = self.youtube_dl()
        return self._local.ydl

    @contextmanager
    def errors_of(self, url: str) -> Iterator[None]:
        """Turn an error of yt-dlp or the network raised inside into an `AriaDataError` that names the address."""
        from yt_dlp.networking.exceptions import HTTPError
        from yt_dlp.utils import YoutubeDLError

        try:
            yield
        except AriaDataError as error:
            self._rest_after(error, url)
            raise
        except (YoutubeDLError, OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            for one in _chain(error):
                if isinstance(one, HTTPError):
                    one.close()  # its answer still holds the connection
            translated = translate(error, url)
            self._rest_after(translated, url)
            raise translated from error

    def _rest_after(self, error: AriaDataError, url: str) -> None:
        if getattr(error, "reason", "") == "bot-check":
            self.pacer.rest(host_of(url))


def translate(error: BaseException, url: str) -> AriaDataError:
    """Give an error of yt-dlp or the network as one of ours. A site's own words are escaped and shortened."""
    from aria_data.web.ytdlp_handler import Stopped

    chain = _chain(error)
    for one in chain:
        if isinstance(one, Stopped):
            return one.error
        if isinstance(one, AriaDataError):
            return one
        if "unable to write data" in str(one) or "unable to open for writing" in str(one):
            return not_writable("the dataset's audio folder", one)
    shown = printable(without_secrets(url), 160)
    kind, message, measured = _kind(chain)
    return fetch_error(kind, f"{shown}: {message}.", measured)


def _kind(chain: list[BaseException]) -> tuple[str, str, float | None]:
    from yt_dlp.networking.exceptions import HTTPError, SSLError, TransportError
    from yt_dlp.utils import ContentTooShortError, GeoRestrictedError, UnsupportedError

    message = printable(_words(chain[0]), 200)
    for one in chain:
        if isinstance(one, GeoRestrictedError):
            return "geo", message, None
        if isinstance(one, UnsupportedError):
            return "unsupported", "no audio was found at this address", None
        if isinstance(one, HTTPError):
            if one.redirect_loop:
                return "unsupported", "leads round in a circle of redirects", None
            kind = kind_of_message(_words(chain[0]))
            kind = kind if kind in KINDS_IN_WORDS else kind_of_status(one.status)
            return kind, f"the server answers {one.status} {printable(str(one.reason), 60)}", float(one.status)
        if isinstance(one, SSLError):
            return "network", f"no safe connection ({message})", None
        if isinstance(one, TransportError | ContentTooShortError | OSError):
            return "network", f"the connection failed ({message})", None
    status = re.search(r"HTTP Error (\d{3})", _words(chain[0]))  # where a downloader has lost the cause
    if status:
        return kind_of_status(int(status[1])), f"the server answers {status[1]}", float(status[1])
    return kind_of_message(_words(chain[0])), message, None


def _chain(error: BaseException) -> list[BaseException]:
    """Give an error and its causes, as yt-dlp and Python record them."""
    found: list[BaseException] = []
    waiting: list[Any] = [error]
    while waiting and len(found) < 20:
        one = waiting.pop(0)
        if not isinstance(one, BaseException) or one in found:
            continue
        found.append(one)
        info = getattr(one, "exc_info", None)
        waiting += [info[1] if info else None, getattr(one, "cause", None), one.__cause__, one.__context__]
    return found


def _first(answer: Any, num_bytes: int) -> bytes:
    """Read the first bytes of an answer, fewer where it is shorter."""
    head = b""
    while len(head) < num_bytes and (block := answer.read(num_bytes - len(head))):
        head += block
    return head


def _words(error: BaseException) -> str:
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)) or type(error).__name__
    text = re.sub(r"^(ERROR: )?(\[[^\]]+\] )?(Got error: )?", "", " ".join(text.split()))
    return without_secrets(re.split(r"; please report this issue|\(caused by", text)[0].strip(" .;"))


class _Silent:
    """A logger that drops what yt-dlp logs: its failures come as exceptions."""

    def debug(self, message: str) -> None: ...
    def info(self, message: str) -> None: ...
    def warning(self, message: str) -> None: ...
    def error(self, message: str) -> None: ...
