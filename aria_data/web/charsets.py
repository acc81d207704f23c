"""Decode what a server sends: by its byte order mark, the charset of the header, of the XML declaration or `<meta>`.

A charset that is named wrongly gives way to UTF-8 where the bytes are UTF-8. Never raises. `charset_of_file` names the
charset of somebody's file.
"""

from __future__ import annotations

import codecs
import re
from pathlib import Path

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# The WHATWG Encoding Standard reads these names as a larger charset, as browsers do; the right side is Python's name.
_READ_AS = {
    "iso8859-1": "cp1252", "ascii": "cp1252", "shift_jis": "cp932", "gb2312": "gb18030", "gbk": "gb18030",
    "euc_kr": "cp949", "iso8859-9": "cp1254", "iso8859-11": "cp874", "tis-620": "cp874", "iso2022_jp": "iso2022_jp_2",
    "big5": "big5hkscs", "utf-16": "utf-16-le", "utf-32": "utf-32-le", "utf-8-sig": "utf-8",
}  # fmt: skip
_OTHER_NAMES = {
    "x-sjis": "cp932", "x-x-big5": "big5hkscs", "x-cp1251": "cp1251", "unicode": "utf-16-le", "x-gbk": "gb18030",
    "x-euc-jp": "euc_jp", "x-mac-cyrillic": "mac_cyrillic", "macintosh": "mac_roman", "x-mac-roman": "mac_roman",
    "windows-874": "cp874", "iso-8859-8-i": "iso8859_8", "ks_c_5601-1987": "cp949", "koi": "koi8_r",
    "win-1251": "cp1251",
}  # fmt: skip
# Charsets only: Python's other text encodings (punycode, unicode_escape) are none, and may take long.
_CHARSET = re.compile(
    r"utf-(8|16|32)(-[lb]e)?|cp\d+|iso8859[-_]\d+|koi8[-_][rtu]|shift_jis.*|euc_.*|gb.*|big5.*|iso2022_.*|mac[-_].*|"
    r"hz|johab|kz1048|tis-620|ptcp154|hp-roman8",
)
_DECLARED = re.compile(
    rb"<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([\w.:-]+)|<meta[^>]{0,200}charset\s*=\s*[\"']?([\w.:-]+)"
)
_WESTERN = ("cp1252", "cp1254")  # in which anything can be read, so that they prove nothing
_HEAD_BYTES = 4096
_GUESS_BYTES = 20_000
_BLOCK_BYTES = 1 << 20
_MAX_BROKEN = 0.3  # ours: share of the bytes above ASCII that are no UTF-8, from which it is another charset


def decode(body: bytes, content_type: str = "") -> str:
    """Decode a body; `content_type` is the header's value. Broken bytes are replaced, a byte order mark is left out."""
    for mark, name in _MARKS:
        if body.startswith(mark):
            return body[len(mark) :].decode(name, "replace")
    declared = [name for name in (_of_header(content_type), _of_content(body)) if name]
    declared = [name for name in declared if not name.startswith(("utf-16", "utf-32")) or b"\0" in body[:_HEAD_BYTES]]
    declared = [(_wide(body) or name) if name == "utf-16-le" else name for name in declared]
    names = declared or ([wide] if (wide := _wide(body)) else [])
    if not names or names[0] in _WESTERN:
        names.insert(0, "utf-8")
    for name in (*names, "utf-8"):
        try:
            return body.decode(name)
        except UnicodeDecodeError:
            continue
    return body.decode(declared[0] if declared else _guessed(body), "replace")


def charset_of_file(path: Path) -> str:
    """Name the charset of a text file, for `open`: by its mark, as UTF-8 or UTF-16, or by what its letters look like.

    Reads all of it, a block at a time. Raises `OSError`.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    with open(path, "rb") as file:
        head = file.read(_HEAD_BYTES)
        marked = next((name for mark, name in _MARKS if head.startswith(mark)), "")
        if marked or _wide(head):
            return {"utf-8": "utf-8-sig"}.get(marked, marked[:6]) or _wide(head)
        block = head
        try:
            while block:
                decoder.decode(block)
                block = file.read(_BLOCK_BYTES)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            return _of_letters(block[max(0, error.start - _HEAD_BYTES) :] + file.read(_GUESS_BYTES))
    return "utf-8"


def _of_letters(body: bytes) -> str:
    """Name the charset of bytes that are no UTF-8: Western where accents stand alone between plain letters."""
    above = [match.end() - match.start() for match in re.finditer(rb"[\x80-\xff]+", body)]
    num_alone = sum(length == 1 for length in above)
    guessed = "cp1252" if 2 * num_alone >= sum(above) else _guessed(body)
    try:
        body.decode(guessed)
    except UnicodeDecodeError as error:
        is_cut = error.end >= len(body) - 3 and guessed != "utf-8"
        return guessed if is_cut or guessed == "utf-8" else "latin-1"
    return guessed


def charset_named(name: str) -> str:
    """Give Python's name of the charset that a label means to browsers, "" for an unknown one."""
    label = name.strip().strip("\"'").lower()
    try:
        known = codecs.lookup(_OTHER_NAMES.get(label, label)).name
    except (LookupError, ValueError):
        return ""
    known = _READ_AS.get(known, known)
    return known if _CHARSET.fullmatch(known) else ""


def _of_header(content_type: str) -> str:
    named = re.search(r"charset\s*=\s*[\"']?\s*([\w.:-]+)", content_type, re.IGNORECASE)
    return charset_named(named[1]) if named else ""


def _of_content(body: bytes) -> str:
    head = body[:_HEAD_BYTES].replace(b"\0", b"").lower()
    named = _DECLARED.search(head)
    name = charset_named((named[1] or named[2]).decode("ascii", "replace")) if named else ""
    is_wide = name.startswith(("utf-16", "utf-32"))  # which a declaration says without the order of the bytes
    return (_wide(body) or "") if is_wide else name


def _wide(body: bytes) -> str:
    """Name UTF-16 without a mark, by the zeros beside its first characters."""
    head = body[:64]
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if len(head) < 8 or max(even, odd) * 4 < len(head):
        return ""
    return "utf-16-le" if odd > even else "utf-16-be"


def _guessed(body: bytes) -> str:
    """Name the charset of bytes that declare none: UTF-8 with some faults, or what their letters look like."""
    head = body[:_GUESS_BYTES]
    num_broken = head.decode("utf-8", "replace").count("�")
    if num_broken <= _MAX_BROKEN * sum(byte >= 0x80 for byte in head):
        return "utf-8"
    from charset_normalizer import from_bytes

    best = from_bytes(head).best()
    return charset_named(best.encoding) if best is not None and charset_named(best.encoding) else "cp1252"
