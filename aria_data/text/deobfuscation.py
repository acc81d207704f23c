"""De-obfuscation: views of a text with look-alikes, spaced letters and the like undone, and encoded text in it.

Nothing is judged here; `prompt_injection.py` decides whether a view holds instructions to a model.
"""

from __future__ import annotations

import base64
import binascii
import html
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from aria_data.text.cleaning import fold

MAX_CHARS = 8_000  # of a text that is examined; no stage reads so much
Span = tuple[int, int]

_LOOK_ALIKES = str.maketrans("аеорсухіјѕԁɡһпмтвкзгьνικαορτυχεηвԛԝıɩ", "aeopcyxijsdghnmtbk3rbvikaoptuxenbqwii")
_LOOK_ALIKES_IN_CYRILLIC = str.maketrans("aeopcyxikmtb6hn", "аеорсухікмтвбнп")
_LETTER = re.compile("[a-z]")
ROT13 = str.maketrans("abcdefghijklmnopqrstuvwxyz", "nopqrstuvwxyzabcdefghijklm")
_LEET = str.maketrans("013457@$!|", "oieastasil")
_LEET_IN_WORD = re.compile(
    r"(?<=[a-z])[013457@$]{1,3}(?![\d])|(?<!\d)[013457@$]{1,3}(?=[a-z])|(?<=[a-z])[013457@$]+(?=[a-z])"
)
_SPACED = re.compile(r"(?<!\w)(?:\w(?:[\s.\-_*]|[^\w\s,;:()]){1,3}){4,}\w(?!\w)")
UNSPACED = re.compile(
    r"[\u0590-\u06ff\u0900-\u0dff\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]"
)  # scripts without spaces or with attached particles: their words are searched anywhere


@dataclass(frozen=True)
class View:
    """One reading of a text, and for each of its characters the position in the text that it comes from."""

    text: str
    origin: Sequence[int]

    def span(self, start: int, end: int) -> Span:
        """Give the span of the text that a span of the view comes from."""
        return self.origin[start], self.origin[end - 1] + 1


def plain_view(text: str) -> View:
    """Fold the text: NFKC, lower case, without accents and invisible characters; at most about `MAX_CHARS` long."""
    if text.isascii() and text.isprintable():
        plain = fold(text[:MAX_CHARS])
        return View(plain, range(len(plain)))
    characters: list[str] = []
    origin: list[int] = []
    for place, character in enumerate(text):
        if len(characters) >= MAX_CHARS:
            break
        plain = _PLAIN[character]
        characters += plain
        origin += [place] * len(plain)
    return View("".join(characters), origin)


class _Plain(dict[str, str]):
    """What is left of each character in `plain_view`, computed when it is first looked up."""

    def __missing__(self, character: str) -> str:
        self[character] = "".join(map(_shown, unicodedata.normalize("NFKC", character)))
        return self[character]


def _shown(character: str) -> str:
    category = unicodedata.category(character)
    if category in ("Cf", "Cs", "Co", "Cn", "Mn", "Me") and not UNSPACED.match(character):
        return ""
    return "\n" if character == "\n" else " " if category in ("Cc", "Zl", "Zp", "Zs") else fold(character)


_PLAIN = _Plain()


def other_views(view: View) -> Iterator[tuple[View, bool]]:
    """Yield views with one obfuscation undone each, and whether to search marks of a conversation in them as well."""
    if not view.text.isascii():
        alike = view.text.translate(_LOOK_ALIKES)
        if alike != view.text:
            yield View(alike, view.origin), True
    if _LEET_IN_WORD.search(view.text):
        yield View(_LEET_IN_WORD.sub(lambda match: match.group().translate(_LEET), view.text), view.origin), False
    if _SPACED.search(view.text):
        yield _joined(view), True
    has_letters = bool(_LETTER.search(view.text))
    if has_letters and not view.text.isascii():
        yield View(view.text.translate(_LOOK_ALIKES_IN_CYRILLIC), view.origin), False
    lines = view.text.split("\n")
    if len(lines) > 3 and sum(len(line.split()) <= 2 for line in lines) > len(lines) / 2:
        yield _joined(_in_one_line(view)), True
    if has_letters:
        yield View(view.text.translate(ROT13), view.origin), False
        yield View(view.text[::-1], view.origin[::-1]), True


_GLUED = re.compile(
    r"ignore|disregard|forget|override|previous|prior|above|instructions?|rules?|give|rate|score|rating|output|answer|"
    r"respond|return|system|prompt|this|all|the|and|it|as|with|five|5|1"
)


def _in_one_line(view: View) -> View:
    """Join the lines, and words that were hyphenated at the end of a line."""
    broken = {place for match in re.finditer(r"-\n", view.text) for place in range(*match.span())}
    kept = [place for place in range(len(view.text)) if place not in broken]
    text = "".join(view.text[place] for place in kept).replace("\n", " ")
    return View(text, [view.origin[place] for place in kept])


def _joined(view: View) -> View:
    """Join letters that were spaced out; where words of `_GLUED` are among them, they are set apart by spaces."""
    characters: list[str] = []
    origin: list[int] = []
    place = 0
    for run in _SPACED.finditer(view.text):
        characters += view.text[place : run.start()]
        origin += view.origin[place : run.start()]
        places = [at for at in range(*run.span()) if view.text[at].isalnum()]
        letters = "".join(view.text[at] for at in places)
        for match in re.finditer(rf"{_GLUED.pattern}|.", letters):
            own = places[match.start() : match.end()]
            is_word = len(own) > 1
            characters += f" {match.group()} " if is_word else match.group()
            origin += [view.origin[at] for at in ([own[0], *own, own[-1]] if is_word else own)]
        place = run.end()
    return View("".join([*characters, view.text[place:]]), [*origin, *view.origin[place:]])


def hidden_in(text: str, is_writing: Callable[[str], bool]) -> Iterator[Span]:
    """Yield the spans that hold encoded text, such as base64 or escapes. `is_writing` judges what was decoded."""
    for pattern, decode in _CODES:
        for match in pattern.finditer(text):
            if is_writing(decode(match.group())):
                yield match.span()


def may_be_disguised(text: str, plain: str) -> bool:
    """Whether a text may hold encoded text, l33t or spaced letters; `plain` is its plain view, in ASCII."""
    return bool(
        _MAY_BE_ENCODED.search(text)
        or any(pattern.search(text) for pattern, _ in _CODES[:2])
        or _LEET_IN_WORD.search(plain)
        or _SPACED.search(plain)
    )


def _base64(text: str) -> str:
    compact = re.sub(r"\s", "", text).rstrip("=").translate(str.maketrans("-_", "+/"))
    return _decoded(lambda: base64.b64decode(compact + "=" * (-len(compact) % 4)))


def _decoded(decode: Callable[[], bytes]) -> str:
    try:
        return decode().decode("utf-8")
    except (ValueError, binascii.Error):
        return ""


def _escapes(text: str) -> str:
    codes = [int(code, 16) for code in re.findall(r"\\(?:u\{?|x)([0-9a-fA-F]{2,6})", text)]
    return "".join(chr(code) for code in codes if code < 0x110000)


def _tags(text: str) -> str:
    return "".join(chr(ord(character) - 0xE0000) for character in text if 0xE0020 <= ord(character) <= 0xE007E)


_CODES: tuple[tuple[re.Pattern[str], Callable[[str], str]], ...] = (
    (re.compile(r"(?<![\w/+=-])(?:[A-Za-z0-9+/_-]{16,}|[A-Za-z0-9+/_-]{8,}=)=?(?![\w/+=])"), _base64),
    (re.compile(r"(?<!\w)(?:[0-9a-fA-F]{2}\s?){10,}(?!\w)"), lambda text: _decoded(lambda: bytes.fromhex(text))),
    (re.compile(r"(?:\\(?:u\{?[0-9a-fA-F]{4,6}\}?|x[0-9a-fA-F]{2})\s?){4,}"), lambda text: _escapes(text) * 3),
    (re.compile(r"(?:&#x?[0-9a-fA-F]{2,6};\s?){4,}"), lambda text: html.unescape(text) * 3),
    (re.compile(r"(?:%[0-9a-fA-F]{2}[\w.]?){8,}"), lambda text: _decoded(lambda: unquote_to_bytes(text))),
    (
        re.compile(r"(?:[01]{8}\s?){8,}"),
        lambda text: _decoded(lambda: bytes(int(x, 2) for x in re.findall("[01]{8}", text))),
    ),
    (re.compile("(?<!\U0001f3f4)[\U000e0020-\U000e007f]{4,}"), lambda text: _tags(text) * 2),
    (re.compile("\u202e[^\u202c\n]{2,300}\u202c?"), lambda text: "hidden writing"),
    (re.compile("[\u200b-\u200f\u2060-\u2064\ufeff]{8,}"), lambda text: "hidden writing"),
)
# What stands in every text that holds one of these codes but the first two, and no letter that is shown.
_MAY_BE_ENCODED = re.compile("[\\\\%\u200b-\u200f\u202e\u2060-\u2064\ufeff\U000e0020-\U000e007f]|&#|[01]{8}")
