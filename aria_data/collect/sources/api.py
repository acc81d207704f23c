"""Read the answers of web APIs: JSON as a dict, the errors in it, and fields of any shape as text. For any site."""

from __future__ import annotations

import json
import re
from html import unescape
from html.parser import HTMLParser
from typing import Any

from aria_data.storage import printable
from aria_data.web import Page, Web, fetch_error, host_of, without_secrets

MAX_VALUES = 20  # of a field that holds a list
MAX_HTML_CHARS = 20_000  # twice what is kept of a description
WAIT_S = 5.0  # when an API asks to wait without a time: MediaWiki's Manual:Maxlag parameter
# Words in the errors of APIs. The first pattern that matches decides.
_ERRORS = (
    ("rate-limited", r"maxlag|rate.?limit|throttl|too many|too busy|overload"),
    ("network", r"internal|backend|time.?out|timed out|temporar|readonly|read-only|try again"),
    ("gone", r"locate item|not found|does not exist|doesn't exist|no such|missing ?title"),
)
_BLOCKS = frozenset("br p div li ul ol tr td th table dl dt dd h1 h2 h3 h4 h5 h6 blockquote hr".split())
_HIDDEN = frozenset(("script", "style", "template"))


def get_json(web: Web, url: str) -> dict[str, Any]:
    """Request an address of an API and give the JSON object of its answer.

    Raises as `Web.get` does; also with the kind `network` for anything but a JSON object, and with the kind of an error
    that the answer holds.
    """
    page = web.get(url, wants=_may_be_json, accept="application/json")
    shown = printable(without_secrets(url), 160)
    if not page.is_read:
        raise fetch_error("network", f"{shown}: answers {printable(page.content_type, 60)} where JSON was asked for.")
    try:
        answer = json.loads(page.body.decode("utf-8-sig", "replace"))  # RFC 8259: UTF-8, whatever a header says
    except (ValueError, RecursionError) as error:
        raise fetch_error("network", f"{shown}: the answer is no JSON ({printable(str(error), 80)}).") from error
    if not isinstance(answer, dict):
        raise fetch_error("network", f"{shown}: the answer is a JSON {type(answer).__name__}, not an object.")
    if answer.get("error"):
        _raise_error(answer["error"], page, web, shown)
    return answer


def _may_be_json(content_type: str) -> bool:
    return content_type in ("", "text/plain", "text/javascript", "application/octet-stream") or "json" in content_type


def _raise_error(error: Any, page: Page, web: Web, shown: str) -> None:
    """Raise the error of an answer: a sentence, or an object with a code and a sentence."""
    has_code = isinstance(error, dict)
    message = " ".join(plain(error.get(name)) for name in ("code", "info", "message")) if has_code else plain(error)
    kind = next((kind for kind, pattern in _ERRORS if re.search(pattern, message, re.IGNORECASE)), "")
    if kind == "rate-limited":
        web.pacer.hold_off(host_of(page.url), _wait_s(page))
    kind = kind or ("unsupported" if has_code else "network")  # a code names a fault of the request
    raise fetch_error(kind, f"{shown}: the API answers an error: {printable(message.strip(), 200) or 'without words'}.")


def _wait_s(page: Page) -> float:
    from aria_data.web.ytdlp_handler import retry_after_s

    wait_s = retry_after_s(page.headers.get("retry-after"))
    return WAIT_S if wait_s is None else wait_s


def values(value: Any) -> list[str]:
    """Give a field that holds one text or number, or a list of them, as strings; other values are left out."""
    several = value[:MAX_VALUES] if isinstance(value, list) else [value]
    found = [str(one).strip() for one in several if isinstance(one, str | int | float) and not isinstance(one, bool)]
    return [one for one in found if one]


def plain(value: Any) -> str:
    """Give the `values` of a field in one line, separated by commas."""
    return ", ".join(values(value))


def whole(value: Any) -> int:
    """Give a count that is a number or digits ("8419768"); 0 for anything else."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,15}", value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def is_true(value: Any) -> bool:
    """Whether a flag is set: true, 1, "true", "1" or "yes"."""
    return value is True or (isinstance(value, str | int) and str(value).lower() in ("true", "1", "yes"))


def strip_html(text: str) -> str:
    """Give the text that HTML shows, one line for each block; text without tags comes back stripped."""
    text = text[:MAX_HTML_CHARS]
    if "<" not in text and "&" not in text:
        return text.strip()
    end = text.rfind(">") + 1  # no tag ends after it, and html.parser is slow at tags without an end
    reader = _Reader()
    try:
        reader.feed(text[:end])
        reader.close()
        reader.handle_data(unescape(text[end:]))
        shown = "".join(reader.pieces)
    except AssertionError:  # html.parser on some broken declarations
        shown = re.sub(r"<[^<>]{0,500}>", " ", text)
    lines = (" ".join(line.split()) for line in shown.split("\n"))
    return "\n".join(line for line in lines if line)


class _Reader(HTMLParser):
    """Collects text outside scripts, styles and templates."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._num_hidden = 0  # open elements whose text is not shown

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._num_hidden += tag in _HIDDEN
        if tag in _BLOCKS:
            self.pieces.append("\n")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _BLOCKS:
            self.pieces.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._num_hidden = max(0, self._num_hidden - (tag in _HIDDEN))
        if tag in _BLOCKS:
            self.pieces.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._num_hidden:
            self.pieces.append(data)
