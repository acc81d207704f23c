"""Tell which players and links of a page are one recording, and which words near them are its title.

Two formats of a player, a download beside it, and files that differ by their ending are one recording. Its title is the
best of: words of its link or player, its caption, the row of its table, the heading above it.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from aria_data.collect.sources.base import text
from aria_data.web import canonical, host_of
from aria_data.web.challenges import NO_TYPES

AUDIO_SUFFIXES = (
    ".mp3 .flac .ogg .oga .opus .m4a .aac .wav .wma .aif .aiff .ape .wv .mka .weba .mp4 .webm .m4b .spx .mp2 .mpga "
    ".aifc .au .snd .caf .ac3 .eac3 .amr .tta .tak .mpc .dsf .dff .w64 .ra .rm .3gp .3g2 .m4r .m4v .mov .mkv .avi "
    ".ogv .wmv .flv .mpg .mpeg .m2ts".split()
)
STREAM_SUFFIXES = (".m3u8", ".mpd")  # of lists of pieces, which yt-dlp joins
MAX_RECORDINGS = 20_000  # on a page
MAX_ASIDE = 2000  # characters of a row or caption that are kept
_HEADINGS = frozenset("h1 h2 h3 h4 h5 h6 dt".split())
_ROWS = frozenset("tr li figure dd article section".split())
# Words that say what a link does and not what it leads to.
_SAYS_NOTHING = re.compile(
    r"[\W\d_]*((click|here|to|the|this|or|and|as|in|a|an|download|downloads|listen|now|play|pause|stream|audio|file|files|"
    r"format|version|sound|link|mp3|flac|ogg|oga|opus|vorbis|m4a|aac|wav|wave|wma|aiff?|lossless|hi|lo|hq|high|low|quality|"
    r"best|only|kbps|kbit|kb|mb|gb|kib|mib|vbr|cbr|khz|hz|bit|min|sec|your|browser|does|not|support|element|html5?|"
    r"herunterladen|anh\u00f6ren|t\u00e9l\u00e9charger|\u00e9couter|descargar|escuchar|ascolta|scarica|"
    r"\u0441\u043a\u0430\u0447\u0430\u0442\u044c|\u0441\u043b\u0443\u0448\u0430\u0442\u044c|"
    r"\u30c0\u30a6\u30f3\u30ed\u30fc\u30c9|\u8a66\u8074|\u8bd5\u542c|\u4e0b\u8f7d)\b[\W\d_]*)*",
    re.IGNORECASE,
)


def is_audio_address(url: str) -> bool:
    """Whether the path of an address has the ending of an audio file."""
    path = re.sub(r"^(?:[a-z]+:)?//[^/]*", "", re.split(r"[?#]", url)[0].lower())  # a.net.au is no sound file
    return path.endswith(tuple(AUDIO_SUFFIXES))


def is_stream_address(url: str) -> bool:
    """Whether the path of an address has the ending of a list of pieces."""
    return re.split(r"[?#]", url)[0].lower().endswith(STREAM_SUFFIXES)


def says_no_type(kind: str, url: str) -> bool:
    """Whether neither the type nor the ending of a file says what it is."""
    return kind.strip().lower() in NO_TYPES and "." not in re.split(r"[?#]", url)[0].rpartition("/")[2]


def title_of_address(url: str) -> str:
    """Give a title for a file that has none: its name in the address, without the ending, or else the host. Never
    raises; "" for what is no address."""
    try:
        path = urlsplit(url).path
    except ValueError:
        return ""
    return text(unquote(PurePosixPath(path).stem).replace("_", " "), 200) or host_of(url)


def says_something(words: str) -> bool:
    """Whether words can be a title: more than "Download", "MP3 (5 MB)" or an address."""
    words = words.strip()[:300]
    return bool(words) and not words.startswith(("http://", "https://", "www.")) and not _SAYS_NOTHING.fullmatch(words)


@dataclass
class _Recording:
    address: str
    group: int  # the row, caption or item that it stands in; 0 = none
    said: list[str] = field(default_factory=list)
    heading: str = ""


class Players:
    """Collects the recordings of a page while its tags are read in order."""

    def __init__(self) -> None:
        self._found: dict[str, _Recording] = {}  # by address without ending
        self._player = ""  # the recording of the player that is open
        self._heading, self._is_in_heading = "", False
        self._num_groups = 0
        self._open: list[tuple[str, int]] = []  # rows, items and figures around this place
        self._beside: dict[int, str] = {}  # their words

    def opened(self, tag: str, given: dict[str, str]) -> None:
        if tag in ("audio", "video"):
            self._player = "open"
        elif tag in _HEADINGS:
            self._heading, self._is_in_heading = "", True
        elif tag in _ROWS and len(self._open) < 50:
            self._num_groups += 1
            self._open.append((tag, self._num_groups))
        elif tag in ("td", "th", "br", "p", "div", "figcaption"):
            self.said(" ")

    def closed(self, tag: str) -> None:
        if tag in ("audio", "video"):
            self._player = ""
        elif tag in _HEADINGS:
            self._is_in_heading = False
        elif tag in _ROWS and any(tag == one for one, _ in self._open):
            while self._open and self._open.pop()[0] != tag:
                continue

    def said(self, data: str) -> None:
        """Note words outside of links to audio."""
        if self._player:
            return  # "Your browser does not support ..."
        if self._is_in_heading:
            self._heading = (self._heading + data)[:MAX_ASIDE]
        elif self._open:
            group = self._open[-1][1]
            kept = self._beside.get(group, "")
            if len(kept) < MAX_ASIDE:
                self._beside[group] = (kept + data)[:MAX_ASIDE]

    def add(self, address: str, words: str, is_beside: bool = True) -> bool:
        """Note an address of audio with the words of its link. Gives whether there was room for it."""
        key = recording_key(address)
        if self._player not in ("", "open"):
            key = self._player
        if key not in self._found:
            if len(self._found) >= MAX_RECORDINGS:
                return False
            self._found[key] = _Recording(address, self._open[-1][1] if self._open and is_beside else 0)
        one = self._found[key]
        if self._player == "open":
            self._player = key
        if is_beside and not one.heading:
            one.heading = self._heading
        if words and len(one.said) < 10:
            one.said.append(words)
        return True

    def recordings(self) -> list[tuple[str, str]]:
        """Give (address, title) of each recording, in order; a title is "" where no words are its own."""
        groups = [one.group for one in self._found.values()]
        headings = [one.heading for one in self._found.values()]
        several, shared = _repeated(groups), _repeated(headings)
        found = []
        for one in self._found.values():
            row = "" if one.group in several else self._beside.get(one.group, "")
            heading = "" if one.heading in shared else one.heading
            words = (" ".join(each.split()) for each in (*one.said, _without_asides(row), heading))
            found.append((one.address, next((each[:300] for each in words if says_something(each)), "")))
        return found


def _repeated(values: list) -> set:
    return {value for value, count in Counter(values).items() if count > 1}


def _without_asides(row: str) -> str:
    """Drop what only looks like words in a row: numbers, lengths and sizes at its ends."""
    row = " ".join(row.split())
    row = re.sub(r"^\d{1,3}[.)]?\s+(?=\D)", "", row)
    return re.sub(r"(\s+[\[(]?(\d{1,2}:)?\d{1,3}:\d{2}[\])]?|\s+[\[(]?[\d.,]+\s?[KMG]i?B[\])]?)+$", "", row)


def recording_key(address: str) -> str:
    """Give what addresses of one recording have in common: all but the ending, and the number WordPress adds."""
    key = canonical(address)
    key = re.sub(r"([?&])_=\d+(&|$)", r"\1", key).rstrip("?&")
    path, mark, query = key.partition("?")
    suffix = next((one for one in AUDIO_SUFFIXES if path.lower().endswith(one)), "")
    return (path[: -len(suffix)] if suffix else path) + mark + query
