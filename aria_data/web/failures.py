"""The kinds of failure of a fetch: each is temporary or permanent and has a next step.

Every failure on the web gets one of these kinds. The tables `attempts` and `rejections` store the kind, and
`aria-data retry --kind` takes it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from aria_data.errors import AriaDataError, PermanentError, TemporaryError, UsageError
from aria_data.web.pacing import HostResting


@dataclass(frozen=True)
class Kind:
    """One kind of failure. `next_step` is shown to people. What `waits` is not tried again within a run."""

    name: str
    is_temporary: bool
    next_step: str
    waits: bool = False


KINDS = {
    kind.name: kind
    for kind in (
        Kind("gone", False, "it is not there any more; nothing is tried again"),
        Kind("private", False, "it needs an account; set web.cookies if you may use one"),
        Kind("geo", False, "it is not shown in this country; nothing is done against that"),
        Kind("age", False, "it asks for proof of age; set web.cookies if you may use an account"),
        Kind("copyright", False, "its holder had it taken down; nothing is tried again"),
        Kind("unsupported", False, "no audio was found at the address; a newer yt-dlp may know the site"),
        Kind("too-long", False, "it is longer or larger than download.max_duration_s or max_bytes allow"),
        Kind("refused", False, "the address may not be asked (see web.allow_hosts)"),
        Kind("robots", False, "the site asks programs not to fetch it"),
        Kind("licence", False, "its licence is not on the list asked for"),
        Kind("opted-out", False, "its holder or you had it removed"),
        Kind(
            "bot-check", True, "the site asks for proof of a human visitor; its host rests, tried in a later run", True
        ),
        Kind(
            "forbidden",
            True,
            "the server refuses now; after several its host rests; tried in a later run",
            True,
        ),
        Kind("live", True, "it runs now or begins later; tried in a later run, when it has an end", True),
        Kind("rate-limited", True, "the site asks to wait; tried again at the time it names, or in a later run"),
        Kind("network", True, "no answer, or only a part of it; tried again in a later run"),
        Kind("corrupt", True, "the audio is not whole; fetched again, given up if the same bytes come twice"),
    )
}


class FetchFailed(PermanentError):
    """A fetch failed, and another try will not change that. `reason` is the kind."""


class FetchDelayed(TemporaryError):
    """A fetch failed, and a later try may succeed. `reason` is the kind."""

    def __init__(self, message: str, kind: str, measured: float | None = None):
        super().__init__(message)
        self.reason, self.measured = kind, measured


def fetch_error(kind: str, message: str, measured: float | None = None) -> FetchFailed | FetchDelayed:
    """Make the error of a kind: `FetchDelayed` for a temporary one, else `FetchFailed`."""
    if KINDS[kind].is_temporary:
        return FetchDelayed(message, kind, measured)
    return FetchFailed(message, kind, measured)


def kind_of(error: BaseException) -> str:
    """Name the kind of any error met while fetching. An unknown error is `network`, which is tried again."""
    if isinstance(error, HostResting):
        return "rate-limited"
    reason = getattr(error, "reason", "")
    if isinstance(error, AriaDataError) and reason in KINDS:
        return reason
    return "refused" if reason == "address_refused" else "network"


def require_kind(name: str) -> str:
    """Give a kind's name as it is stored. Raises `UsageError` for an unknown one."""
    wanted = name.strip().lower().replace("_", "-")
    if wanted not in KINDS:
        raise UsageError(f"--kind {name}: unknown. Known: {', '.join(KINDS)}.")
    return wanted


# The messages of sites, as yt-dlp passes them on. The first pattern that matches decides.
_MESSAGES = (
    (
        "bot-check",
        r"not a (ro)?bot|captcha|unusual traffic|verify (that )?you are (a )?human|cloudflare anti-bot|"
        r"checking your browser|just a moment",
    ),
    ("rate-limited", r"rate.?limit|too many requests|HTTP Error 429|try again later|session has been|quota"),
    ("age", r"age.?restrict|confirm your age|age.?gate|inappropriate for some users|adults? only"),
    ("geo", r"in your country|your country|geo.?restrict|geo.?block|from your location|in your region"),
    ("copyright", r"copyright|DMCA|blocked it on|content owner|infring"),
    ("gone", r"live ?stream recording is not available"),
    (
        "live",
        r"live event|live ?stream.{0,40}(offline|begin|start|not)|premiere|"
        r"(is|are|not) (currently |yet )?(live|offline)\b|"
        r"(will|to) (begin|start)|(begins|starts) in \d|not (yet )?(begun|started)|hasn.t started|"
        r"is (upcoming|scheduled)|"
        r"scheduled (for|to)|upcoming|(still )?being processed|processing this video|check back later",
    ),
    ("network", r"(temporarily|service|currently) (un|not )available|internal server error|bad gateway|timed? ?out"),
    (
        "gone",
        r"HTTP Error (404|410)|has been removed|no longer (available|exists)|not found|does not exist|"
        r"account.{0,30}terminated|unavailable|deleted",
    ),
    (
        "private",
        r"private|members?.only|log ?in|sign ?in|HTTP Error (401|402|407)|subscri|paid|premium|password|cookies",
    ),
    (
        "unsupported",
        r"unsupported url|no (video|audio|media|suitable|formats)|not a valid url|DRM|"
        r"requested format is not",
    ),
    ("forbidden", r"HTTP Error 403|forbidden|access denied"),
)


def kind_of_message(text: str) -> str:
    """Give the kind that a site's message means, `network` for one that is not known."""
    for kind, pattern in _MESSAGES:
        if re.search(pattern, text, re.IGNORECASE):
            return kind
    return "network"


def kind_of_status(status: int) -> str:
    """Give the kind that an HTTP status means by itself."""
    if status in (404, 410):
        return "gone"
    if status in (401, 402, 407):
        return "private"
    if status == 403:
        return "forbidden"
    if status == 451:
        return "copyright"  # unavailable for legal reasons
    if status in (408, 416, 425, 429):
        return "rate-limited" if status == 429 else "network"
    return "network" if status >= 500 else "unsupported"
