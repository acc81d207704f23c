"""Answers of web APIs: JSON as a dict, the errors inside it, and fields of any shape as plain text. Knows no site."""

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
WAIT_S = 5.0  # when an API asks for patience without saying how long: MediaWiki's Manual:Maxlag parameter
# What APIs call their errors. Looked at in this order; the first that fits decides.
_ERRORS = (
    ("rate-limited", r"maxlag|rate.?limit|throttl|too many|too busy|overload"),
    ("network", r"internal|backend|time.?out|timed out|temporar|readonly|read-only|try again"),
    ("gone", r"locate item|not found|does not exist|doesn't exist|no such|missing ?title"),
)
_BLOCKS = frozenset("br p div li ul ol tr td th table dl dt dd h1 h2 h3 h4 h5 h6 blockquote hr".split())
_UNSEEN = frozenset(("script", "style", "template"))


def get_json(web: Web, url: str) -> dict[str, Any]:
    """Ask an API and give the object it answers.

    Raises as `Web.get` does; `network` for anything but a JSON object, and the kind of error that the answer speaks of.
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
    """Raise the error an API speaks of: a sentence, or an object with a code and a sentence."""
    has_code = isinstance(error, dict)
    said = " ".join(plain(error.get(name)) for name in ("code", "info", "message")) if has_code else plain(error)
    kind = next((kind for kind, pattern in _ERRORS if re.search(pattern, said, re.IGNORECASE)), "")
    if kind == "rate-limited":
        web.pacer.hold_off(host_of(page.url), _wait_s(page))
    kind = kind or ("unsupported" if has_code else "network")  # a code names what is wrong with the question
    raise fetch_error(kind, f"{shown}: the API answers an error: {printable(said.strip(), 200) or 'without words'}.")


def _wait_s(page: Page) -> float:
    from aria_data.web.ytdlp_handler import retry_after_s

    said = retry_after_s(page.headers.get("retry-after"))
    return WAIT_S if said is None else said


def values(value: Any) -> list[str]:
    """A field that holds one value or a list of them, as strings; anything else in it is left out."""
    several = value[:MAX_VALUES] if isinstance(value, list) else [value]
    found = [str(one).strip() for one in several if isinstance(one, str | int | float) and not isinstance(one, bool)]
    return [one for one in found if one]


def plain(value: Any) -> str:
    """The same in one line."""
    return ", ".join(values(value))


def whole(value: Any) -> int:
    """A count as a number or as digits, "8419768"; 0 for anything else."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,15}", value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def is_true(value: Any) -> bool:
    """Whether a flag is set, in any of the ways APIs write it."""
    return value is True or (isinstance(value, str | int) and str(value).lower() in ("true", "1", "yes"))


def strip_html(text: str) -> str:
    """The text a reader of the HTML would see, one line for each block; text without marks comes back as it is."""
    text = text[:MAX_HTML_CHARS]
    if "<" not in text and "&" not in text:
        return text.strip()
    end = text.rfind(">") + 1  # behind it is no mark any more, and html.parser is slow at marks without an end
    reader = _Reader()
    try:
        reader.feed(text[:end])
        reader.close()
        reader.handle_data(unescape(text[end:]))
        seen = "".join(reader.pieces)
    except AssertionError:  # html.parser on some broken declarations
        seen = re.sub(r"<[^<>]{0,500}>", " ", text)
    lines = (" ".join(line.split()) for line in seen.split("\n"))
    return "\n".join(line for line in lines if line)


class _Reader(HTMLParser):
    """Collects text; what is in scripts and styles is none."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._unseen = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._unseen += tag in _UNSEEN
        if tag in _BLOCKS:
            self.pieces.append("\n")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _BLOCKS:
            self.pieces.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._unseen = max(0, self._unseen - (tag in _UNSEEN))
        if tag in _BLOCKS:
            self.pieces.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self.pieces.append(data)
