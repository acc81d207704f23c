"""Tags as their writer meant them: ID3 and INFO tags say Latin-1, or nothing, and often are in another encoding.

All values of a file that are no UTF-8 are judged together, since a title alone is short. General detectors were tried:
on two or three words they call Cyrillic Czech and Chinese Korean (LOG.md). The rules here ask for the marks of each
encoding: letters among ASCII ones, kana, the order of capitals and small letters, the ranges of lead bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

MAX_TAGS, MAX_TAG_LENGTH = 64, 2000
_CYRILLIC = re.compile("[А-Яа-яЁёІіЇїЄєҐґ]")
_GREEK = re.compile("[Ά-ώ]")
_BESIDE_LETTERS = set(" \n\t«»“”„‘’…–—№·°") | {chr(code) for code in range(128)}
_ODD_CASE = re.compile(r"[^\W\d_][^\W\d_]*")


def decoded_tags(found: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Give a file's tags under small names, the first value of a name. What stays broken is left out.

    `found` are FFmpeg's, with bytes that are no UTF-8 as surrogates (`surrogateescape`).
    """
    raw = [pair for tags in found for pair in list(tags.items())[:MAX_TAGS]]
    doubtful = [as_bytes for _, value in raw if (as_bytes := _bytes_of(value[:MAX_TAG_LENGTH])) is not None]
    encoding = encoding_of(b"\n".join(doubtful)) if doubtful else None
    tags: dict[str, str] = {}
    for name, value in raw:
        text = clean(_decoded(value[:MAX_TAG_LENGTH], encoding))
        if not is_broken(text):
            tags.setdefault(clean(name).lower()[:64], text)
    return tags


def _bytes_of(value: str) -> bytes | None:
    """Give the bytes of a value that may be in another encoding than it says; None where it is what it says."""
    if value.isascii():
        return None
    raw = _raw(value)
    return None if raw is None or _utf_8(raw) is not None else raw


def _raw(value: str) -> bytes | None:
    if any("\udc80" <= char <= "\udcff" for char in value):
        return value.encode("utf-8", "surrogateescape")
    for encoding in ("latin-1", "cp1252"):
        try:
            return value.encode(encoding)
        except UnicodeEncodeError:
            continue
    return None


def _utf_8(raw: bytes) -> str | None:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _decoded(value: str, encoding: str | None) -> str:
    if value.isascii():
        return value
    raw = _raw(value)
    if raw is None:
        return value
    utf_8 = _utf_8(raw)
    if utf_8 is not None:
        return utf_8
    if encoding is None:
        return value
    text = raw.decode(encoding, "replace")
    return text[:-1] if text.endswith("\ufffd") else text  # a tag of 30 bytes ends within a character


def encoding_of(raw: bytes) -> str | None:
    """Guess the encoding of text with bytes over 127 that is no UTF-8; None where nothing fits."""
    if _is_shift_jis(raw):
        return "cp932"
    if _is_latin(raw):
        return _latin_of(raw)
    for encoding, letters in (("cp1251", _CYRILLIC), ("koi8_r", _CYRILLIC), ("cp1253", _GREEK)):
        if _is_alphabet(raw, encoding, letters):
            return encoding
    return _double_byte_of(raw)


def _is_latin(raw: bytes) -> bool:
    """Whether accented letters stand among plain ones, at most two in a row."""
    words = [word for word in re.split(rb"[^A-Za-z\x80-\xff]+", raw) if not word.isascii()]
    num_high = sum(byte > 127 for word in words for byte in word)
    return num_high * 2 <= sum(map(len, words)) and not re.search(rb"[\x80-\xff]{3}", raw)


def _latin_of(raw: bytes) -> str:
    """Western or central European: the latter where the former gives signs, or a Danish letter, inside a word."""
    text = raw.decode("cp1252", "replace")
    has_signs = re.search(r"[^\W\d_][¹»¾¼¿³±¢£¥\ufffd]|[¹»¾¼³±£][a-z]", text)
    has_strange = re.search(r"ø[áíýìùèï]|[áíýìùèï]ø|[a-z]ø[^\W\d_]*[áíý]", text)
    return "cp1250" if has_signs or has_strange else "cp1252"


def _is_alphabet(raw: bytes, encoding: str, letters: re.Pattern[str]) -> bool:
    """Whether the text is letters of one alphabet, with capitals only where words begin or all through."""
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError:
        return False
    if not all(char in _BESIDE_LETTERS or letters.match(char) for char in text):
        return False
    words = [word for word in _ODD_CASE.findall(text) if letters.search(word)]
    plain = [word for word in words if word.islower() or word.isupper() or word[1:].islower()]
    return len(letters.findall(text)) >= 2 and len(plain) == len(words)


def _pairs(raw: bytes, trail: str) -> list[tuple[int, int]] | None:
    """Split bytes over 127 into pairs (lead, trail); None where that does not come out even, but for a cut end."""
    pairs, rest = [], raw
    pattern = re.compile(rb"[\x81-\xfe]" + trail.encode("latin-1"), re.DOTALL)
    while rest:
        if rest[0] < 128:
            rest = rest[1:]
        elif found := pattern.match(rest):
            pairs.append((found[0][0], found[0][1]))
            rest = rest[2:]
        elif len(rest) == 1 or rest[1:2] == b"\n":
            rest = rest[1:]
        else:
            return None
    return pairs


def _is_shift_jis(raw: bytes) -> bool:
    pairs = _pairs(raw, "[\x40-\x7e\x80-\xfc]")
    if not pairs or len(pairs) < 2:
        return False
    leads = {lead for lead, _ in pairs}
    kana = [pair for pair in pairs if pair[0] in (0x82, 0x83)]
    return all(0x81 <= lead <= 0x9F or 0xE0 <= lead <= 0xEA for lead in leads) and (
        len(kana) >= 2 or all(0x88 <= lead <= 0x9F for lead in leads)
    )


def _double_byte_of(raw: bytes) -> str | None:
    """Chinese, Korean, or Japanese in EUC, by the ranges in which most of their characters lie."""
    pairs = _pairs(raw, "[\xa1-\xfe]")
    if pairs and len(pairs) >= 2:
        kana = [lead for lead, _ in pairs if lead in (0xA4, 0xA5)]
        if len(kana) * 3 >= len(pairs):
            return "euc_jp"
        if len(pairs) >= 3 and all(0xB0 <= lead <= 0xC8 for lead, _ in pairs):
            return "cp949"
        if all(0xB0 <= lead <= 0xF7 or 0xA1 <= lead <= 0xA9 for lead, _ in pairs):
            return "gb18030"
    pairs = _pairs(raw, "[\x40-\x7e\xa1-\xfe]")
    if pairs and len(pairs) >= 2 and all(0xA1 <= lead <= 0xF9 for lead, _ in pairs):
        return "big5"
    return None


def is_broken(text: str) -> bool:
    """Whether letters were lost: replacement characters, or question marks where words should be."""
    if "\ufffd" in text or any("\x80" <= char <= "\x9f" or "\ud800" <= char <= "\udfff" for char in text):
        return True
    num_marks = sum(len(run) for run in re.findall(r"\?{2,}", text))
    return num_marks > sum(char.isalpha() for char in text)


def clean(text: str) -> str:
    """Drop control characters, which a terminal would act on; half a character of UTF-16 becomes a question mark."""
    kept = "".join(
        char if char.isprintable() or char in "\n\t" or "\x80" <= char <= "\x9f" else " " * char.isspace()
        for char in text
    )
    return "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in (kept or ""))
